//! What can be typed after an executable's name: `run`'s arguments, without `run MODEL`.

use std::ffi::OsString;

use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser};

use crate::reporting::Reporting;
use crate::request::{Measurement, RunRequest};
#[cfg(feature = "serving")]
use crate::serving::ServingOptions;

/// Classifies images, or runs on tensors: one model, compiled by Cardinal, with all it needs.
#[derive(Debug, Parser)]
#[command(
    name = "cardinal",
    version = concat!(env!("CARGO_PKG_VERSION"), " (executable)"),
    arg_required_else_help = true
)]
pub(super) struct ExecutableArgs {
    /// What to run it on.
    #[command(flatten)]
    pub(super) request: RunRequest,
    /// Say what the model is: name, digest, inputs, outputs, instruction set, versions and sizes
    ///
    /// Example: --info
    #[arg(long, help_heading = "Instead of running", conflicts_with_all = ["bench", "selftest"])]
    pub(super) info: bool,
    /// Run the stored sample and compare the outputs with the stored ones
    ///
    /// The expected outputs were computed when this file was made, by code of the same model for the
    /// simplest CPU of this architecture. The exit code is 4 when they differ by more than 1e-3 of
    /// the largest magnitude, or somewhat more where halves were rounded in Winograd's domain.
    ///
    /// Example: --selftest
    #[arg(long, help_heading = "Instead of running", conflicts_with = "bench")]
    pub(super) selftest: bool,
    /// Measure how fast the model runs
    ///
    /// Example: --bench --threads 1
    #[arg(long, help_heading = "Instead of running")]
    pub(super) bench: bool,
    /// What to measure.
    #[command(flatten)]
    pub(super) measurement: Measurement,
    /// How it is said what goes wrong.
    #[command(flatten)]
    pub(super) reporting: Reporting,
    /// Another way to use it.
    #[cfg(feature = "serving")]
    #[command(subcommand)]
    pub(super) command: Option<Action>,
}

/// What an executable does besides, that was made with `--with-serve`.
#[cfg(feature = "serving")]
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Serve the model to other programs over HTTP
    #[command(after_help = "\
The interface is the Open Inference Protocol, version 2, and besides POST /v2/models/NAME/classify
for the bytes of an image, and GET /metrics. NAME is this file's. The address is printed once the
model is ready. SIGINT and SIGTERM end it when requests that have begun are answered.")]
    Serve(Box<ServingOptions>),
}

/// The flags that ask for something else than running the model.
const INSTEAD: [&str; 3] = ["info", "selftest", "bench"];
/// The arguments that mean nothing with those.
const OF_RUNNING: [&str; 13] = [
    "images",
    "input",
    "output",
    "top",
    "labels",
    "labels_offset",
    "jsonl",
    "csv",
    "preprocess",
    "resize",
    "mean",
    "std",
    "interpolation",
];
/// The arguments that mean something with `--bench` only.
const OF_BENCH: [&str; 3] = ["warmup", "iterations", "seed"];

/// The command line of the executable called `name`.
pub(super) fn command(name: &str) -> Command {
    let mut command = ExecutableArgs::command().bin_name(name).after_help(help(name));
    for argument in OF_RUNNING {
        command = command.mut_arg(argument, |a| a.conflicts_with_all(INSTEAD));
    }
    for argument in OF_BENCH {
        // What is required need not be there when it conflicts with what is, so both are said.
        command = command.mut_arg(argument, |a| {
            let bench_only = a.requires("bench").help_heading("With --bench");
            bench_only.conflicts_with_all(["images", "input", "info", "selftest"])
        });
    }
    if cfg!(feature = "serving") {
        command = command.args_conflicts_with_subcommands(true).subcommand_negates_reqs(true);
    }
    command.mut_arg("images", |a| a.required_unless_present_any(INSTEAD))
}

fn help(name: &str) -> String {
    format!(
        "\
Results go to stdout, everything else to stderr; `-` is stdin or stdout.
Exit codes: 0 done, 1 failed, 2 usage, 3 this file is damaged or not for this machine,
4 a comparison failed, 5 input/output error.

Examples:
  {name} cat.jpg dog.png --labels imagenet.txt --top 3
  {name} --input x.npy --output y.npy
  {name} --selftest
  {name} --bench --threads 1 --json"
    )
}

impl ExecutableArgs {
    /// Reads a command line; the first argument is the executable's name.
    ///
    /// # Errors
    /// What clap has to say, help and version included.
    pub(super) fn parse(
        name: &str,
        arguments: Vec<OsString>,
    ) -> Result<ExecutableArgs, clap::Error> {
        Reporting::choose(&arguments);
        let mut command = command(name);
        let matches: ArgMatches = command.try_get_matches_from_mut(arguments)?;
        ExecutableArgs::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<ExecutableArgs, clap::Error> {
        let words = std::iter::once("digits").chain(arguments.split_whitespace());
        ExecutableArgs::parse("digits", words.map(OsString::from).collect())
    }

    #[test]
    fn the_definitions_hold_together() {
        command("digits").debug_assert();
    }

    #[test]
    fn every_flag_has_an_example() {
        for flag in command("digits").get_arguments().filter(|a| a.get_long().is_some()) {
            let help = flag.get_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example: -"), "{flag}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for good in [
            "a.png",
            "--input x.npy",
            "--info --json",
            "--selftest --threads 2",
            "--bench --warmup 1 --iterations 2 --seed 3 --json",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "--json",
            "--info a.png",
            "--selftest --input x.npy",
            "--bench --top 3",
            "--info --bench",
            "--selftest --info",
            "--warmup 3 a.png",
            "--selftest --seed 1",
            "a.png --input x.npy",
            "--info --output y.npy",
            "--bench --mean 1",
            "--model x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
