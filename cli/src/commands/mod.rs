//! The `cardinal` command: reads the arguments, runs one subcommand, turns its outcome into an exit
//! code. One file a subcommand.

mod bench;
mod bisect;
mod compile;
mod completions;
mod doctor;
mod explain;
mod inspect;
mod operators;
mod profile;
mod quantize;
mod relink;
mod run;
mod score;
#[cfg(feature = "full")]
mod serve;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Command};
use crate::exit::Outcome;
use crate::reporting::Reporting;
use crate::{ending, own_pages, render};

#[cfg(feature = "library")]
pub(crate) use inspect::text_of;

/// Runs the command line of this process.
pub fn cardinal() -> ExitCode {
    ending::install();
    own_pages::own();
    render::install_panic_hook();
    match parse() {
        Ok(cli) => render::outcome(run(&cli.command)),
        Err(error) => render::usage(&error),
    }
}

fn parse() -> clap::error::Result<Cli> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut command = Cli::command().color(Reporting::choose(&arguments).color);
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn run(command: &Command) -> Outcome {
    match command {
        Command::Compile(args) => compile::run(args),
        Command::Relink(args) => relink::run(args),
        Command::Quantize(args) => quantize::run(args),
        Command::Run(args) => run::run(args),
        Command::Score(args) => score::run(args),
        #[cfg(feature = "full")]
        Command::Serve(args) => serve::run(args),
        #[cfg(not(feature = "full"))]
        Command::Serve(_) => Err(crate::serving::left_out()),
        Command::Inspect(args) => inspect::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Bisect(args) => bisect::run(args),
        Command::Operators(args) => operators::run(args),
        Command::Completions(args) => completions::run(args),
    }
}
