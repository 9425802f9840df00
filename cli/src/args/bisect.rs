//! What `cardinal bisect` takes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{ModelOptions, ToleranceOptions};

/// `cardinal bisect`
#[derive(Debug, Args)]
pub(crate) struct BisectArgs {
    /// The ONNX model; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// An input tensor, as for `run` [default: random]
    ///
    /// Example: --input x.npy
    #[arg(short, long, value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// An expected output, X.npy, NAME=X.npy or X.npz [default: the reference interpreter's]
    ///
    /// Example: --expected y.npy
    #[arg(short, long, value_name = "[NAME=]FILE", requires = "input")]
    pub(crate) expected: Vec<String>,
    /// Where to write the nodes that show it, beside an .npz with their inputs
    /// [default: MODEL's name with .bisect.onnx, in this folder]
    ///
    /// Example: -o wrong.onnx
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// What differences are allowed.
    #[command(flatten)]
    pub(crate) tolerance: ToleranceOptions,
    /// Seed of the random inputs
    ///
    /// Example: --seed 1
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads to run on [default: all of this machine]
    ///
    /// Example: --threads 1
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Print one JSON object (cardinal.bisect/v1)
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}
