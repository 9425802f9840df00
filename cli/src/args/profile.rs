//! What `cardinal profile` takes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ModelOptions;
use crate::request::{IsaOption, Measurement};
use crate::signing::Trust;

/// `cardinal profile`
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// The model, .onnx or .cardinal; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Threads to run on [default: all of this machine]
    ///
    /// The peak and the bandwidth are measured on as many.
    ///
    /// Example: --threads 1
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// How to show it
    ///
    /// chrome-trace is one inference in time, for Perfetto or chrome://tracing; html is a page with a roofline.
    ///
    /// Example: --format html > profile.html
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ProfileFormat,
    /// Print one JSON object (cardinal.profile/v1): the same as --format json
    ///
    /// Example: --json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// List every step, not the slowest alone
    ///
    /// Example: --all
    #[arg(long)]
    pub(crate) all: bool,
    /// Compare with a profile that --json has printed before, step by step
    ///
    /// Example: --against yesterday.json
    #[arg(long, value_name = "OLD.json")]
    pub(crate) against: Option<PathBuf>,
    /// What to measure.
    #[command(flatten)]
    pub(crate) measurement: Measurement,
    /// Which code to run.
    #[command(flatten)]
    pub(crate) isa: IsaOption,
    /// Whose compiled models to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

impl ProfileArgs {
    /// The format, however it is asked for.
    pub(crate) fn format(&self) -> ProfileFormat {
        if self.json { ProfileFormat::Json } else { self.format }
    }
}

/// Formats of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileFormat {
    /// Tables
    Text,
    /// JSON (cardinal.profile/v1)
    Json,
    /// One inference in time, a track a thread, for Perfetto
    ChromeTrace,
    /// A page with a roofline and bars
    Html,
}
