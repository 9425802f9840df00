//! The `cardinal` command: reads the arguments, runs one subcommand, turns its outcome into an
//! exit code. What is printed where, and which code means what, is in [`exit`] and [`render`].

mod args;
mod classify;
mod commands;
mod compare;
mod engine;
mod exit;
mod image_input;
mod loading;
mod mapped;
mod model_file;
mod output;
mod random;
mod render;
mod tensors;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    render::install_panic_hook();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return render::usage(&error),
    };
    let outcome = match &cli.command {
        Command::Compile(args) => commands::compile::run(args),
        Command::Relink(args) => commands::relink::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Verify(args) => commands::verify::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => render::failure(&failure),
    }
}
