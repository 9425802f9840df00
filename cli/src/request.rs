//! What can be asked of a compiled model: the flags that `cardinal run` and `cardinal bench` share
//! with the executables that `cardinal compile` makes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use crate::image_input::ImageOptions;

/// Everything of `run` that is not about the model.
#[derive(Debug, Args)]
pub(crate) struct RunRequest {
    /// PNG or JPEG images, each a sample
    // A model without inputs has outputs alone.
    #[arg(
        value_name = "IMAGE",
        conflicts_with = "input",
        required_unless_present_any = ["input", "output"]
    )]
    pub(crate) images: Vec<PathBuf>,
    /// An input tensor: X.npy for the only input, NAME=X.npy, or X.npz with an array per input
    ///
    /// Can be repeated. `-` reads a .npy from stdin.
    ///
    /// Example: --input tokens=t.npy --input mask=m.npy
    #[arg(short, long, value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// Write the outputs to a .npy (one output) or .npz (any number); `-` is stdout
    ///
    /// Example: --output y.npz
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Which classes are shown, and how they are called.
    #[command(flatten)]
    pub(crate) classes: ClassOptions,
    /// Write what the images became, before the model saw it, to a .npy (not in executables)
    ///
    /// Example: --dump-input x.npy
    // Executables are to be small.
    #[cfg(feature = "compiler")]
    #[arg(long, value_name = "FILE", requires = "images")]
    dump_input: Option<PathBuf>,
    /// Print one JSON object (cardinal.run/v1) with all results at the end
    ///
    /// Example: --json
    #[arg(long, conflicts_with_all = ["jsonl", "csv"])]
    pub(crate) json: bool,
    /// Print a JSON object for each sample, a line each, as soon as it is there
    ///
    /// Example: --jsonl
    #[arg(long, conflicts_with = "csv")]
    pub(crate) jsonl: bool,
    /// Print CSV with a row for each class of each sample
    ///
    /// Example: --csv
    #[arg(long)]
    pub(crate) csv: bool,
    /// Say nothing on stderr but what goes wrong
    ///
    /// Example: --quiet
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Threads to run on [default: all of this machine]
    ///
    /// The results do not depend on it.
    ///
    /// Example: --threads 4
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Which code to run.
    #[command(flatten)]
    pub(crate) isa: IsaOption,
    /// How images are made inputs.
    #[command(flatten)]
    pub(crate) image: ImageOptions,
}

impl RunRequest {
    /// Where to write what the images became.
    #[cfg(feature = "compiler")]
    pub(crate) fn dump_input(&self) -> Option<&PathBuf> {
        self.dump_input.as_ref()
    }

    /// The same, in executables.
    #[cfg(not(feature = "compiler"))]
    pub(crate) fn dump_input(&self) -> Option<&PathBuf> {
        None
    }

    /// Whether results are printed although the outputs are written to a file.
    pub(crate) fn wants_text(&self) -> bool {
        self.json || self.jsonl || self.csv || self.classes.top.is_some()
    }
}

/// Which classes of a sample are shown, and how they are called.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClassOptions {
    /// How many of the best classes to give [default: 5]
    ///
    /// Example: --top 1
    #[arg(long, value_name = "K")]
    pub(crate) top: Option<NonZeroUsize>,
    /// Names of the classes, one a line in class order
    ///
    /// Example: --labels imagenet_classes.txt
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Lines of the file of names before that of the first class [default: 0]
    ///
    /// Such as 1 for a file that begins with a background class. After them there must be as many lines
    /// as the model has classes.
    ///
    /// Example: --labels-offset 1
    #[arg(long, value_name = "N", requires = "labels")]
    pub(crate) labels_offset: Option<usize>,
}

/// How to run a compiled model.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct IsaOption {
    /// Run the code for this CPU, of those that the model was compiled for
    ///
    /// The best that this machine has is taken otherwise; `inspect` lists them. An .onnx is compiled
    /// for this CPU, unless --cpu says for which.
    ///
    /// Example: --isa x86-64-v3
    #[arg(
        long,
        value_name = "CPU",
        env = "CARDINAL_ISA",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    isa: String,
}

impl IsaOption {
    /// The CPU asked for. An empty variable asks for none.
    pub(crate) fn name(&self) -> Option<&str> {
        (!self.isa.is_empty()).then_some(&self.isa)
    }
}

/// How a model is measured.
#[derive(Debug, Args)]
pub(crate) struct Measurement {
    /// Inferences before measuring begins
    ///
    /// Example: --warmup 10
    #[arg(long, value_name = "W", default_value_t = 5)]
    pub(crate) warmup: usize,
    /// Inferences to measure
    ///
    /// Example: --iterations 200
    #[arg(long, value_name = "N", default_value = "50")]
    pub(crate) iterations: NonZeroUsize,
    /// Seed of the random inputs
    ///
    /// Example: --seed 1
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) seed: u64,
}
