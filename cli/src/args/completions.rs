//! What `cardinal completions` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `cardinal completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell, or man for manual pages
    #[arg(value_name = "SHELL")]
    pub(crate) written: Written,
    /// The folder that pages go to, one a command; without it, one page of all goes to stdout
    ///
    /// Folders are made where they are not there.
    ///
    /// Example: -o share/man/man1
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Written {
    /// For bash
    Bash,
    /// For zsh
    Zsh,
    /// For fish
    Fish,
    /// For Elvish
    Elvish,
    /// For PowerShell
    Powershell,
    /// Manual pages
    Man,
}
