//! How a process says what goes wrong: in which form, and in which colours.

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::builder::EnumValueParser;
use clap::{Args, ColorChoice, ValueEnum};

/// Options that every command has.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Reporting {
    /// How to say what goes wrong, on stderr
    ///
    /// With `json` each error is a line with an object of the schema cardinal.error/v1.
    ///
    /// Example: --errors json
    #[arg(long, value_name = "FORM", default_value = "text", global = true)]
    pub(crate) errors: Errors,
    /// When to use colours on stderr
    ///
    /// With `auto`, on a terminal, unless the environment has NO_COLOR.
    ///
    /// Example: --color never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        global = true,
        value_parser = EnumValueParser::<ColorChoice>::new()
    )]
    pub(crate) color: ColorChoice,
}

/// The form of errors: for people, or for programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Errors {
    #[default]
    Text,
    Json,
}

static CHOSEN: OnceLock<Reporting> = OnceLock::new();

impl Reporting {
    /// What this process was told; the defaults before it was told anything.
    pub(crate) fn chosen() -> Reporting {
        CHOSEN.get().copied().unwrap_or_default()
    }

    /// Takes from a command line what is said there of errors, so that what is wrong with the line itself is
    /// reported as it asks for.
    pub(crate) fn choose(arguments: &[OsString]) -> Reporting {
        *CHOSEN.get_or_init(|| Reporting::of(arguments))
    }

    /// What cannot be understood is left for the parser to refuse.
    fn of(arguments: &[OsString]) -> Reporting {
        let mut found = Reporting::default();
        let words = arguments.iter().map(|word| word.to_str().unwrap_or_default());
        let words: Vec<&str> = words.take_while(|word| *word != "--").collect();
        for (at, word) in words.iter().enumerate() {
            let (name, value) =
                word.split_once('=').unwrap_or((word, words.get(at + 1).unwrap_or(&"")));
            match name {
                "--errors" => found.errors = Errors::from_str(value, false).unwrap_or(found.errors),
                "--color" => {
                    found.color = ColorChoice::from_str(value, false).unwrap_or(found.color)
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(line: &str) -> Reporting {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        Reporting::of(&words)
    }

    #[test]
    fn what_is_said_of_errors_is_found_wherever_it_stands() {
        for line in [
            "cardinal --errors json run",
            "cardinal run m --errors=json x",
            "c run --nonsense --errors json",
        ] {
            assert_eq!(choose(line).errors, Errors::Json, "{line}");
        }
        for line in
            ["cardinal run --errors", "cardinal run -- --errors json", "cardinal --errors xml", "c"]
        {
            assert_eq!(choose(line).errors, Errors::Text, "{line}");
        }
        assert_eq!(choose("cardinal --color never run --color=always").color, ColorChoice::Always);
    }
}
