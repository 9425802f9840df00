//! What can be asked of a compiled model: the flags that `cardinal run` and `cardinal bench` share
//! with the executables that `cardinal compile` makes.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::Args;

use crate::image_input::Interpolation;

/// Everything of `run` that is not about the model.
#[derive(Debug, Args)]
pub(crate) struct RunRequest {
    /// PNG or JPEG images, each a sample
    #[arg(value_name = "IMAGE", conflicts_with = "input", required_unless_present = "input")]
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
    /// How many of the best classes to print [default: 5]
    ///
    /// Example: --top 1
    #[arg(long, value_name = "K")]
    pub(crate) top: Option<NonZeroUsize>,
    /// Names of the classes, one a line in class order
    ///
    /// Example: --labels imagenet_classes.txt
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Print one JSON object (cardinal.run/v1) instead of text
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
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

/// How to run a compiled model.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct IsaOption {
    /// Run the code for this CPU, of those that the model was compiled for
    ///
    /// The best that this machine has is taken otherwise; `inspect` lists them. An .onnx is compiled
    /// for this CPU, unless --cpu says for which.
    ///
    /// Example: --isa x86-64-v3
    #[arg(long, value_name = "CPU", env = "CARDINAL_ISA", hide_env_values = true)]
    isa: Option<String>,
}

impl IsaOption {
    /// The CPU asked for. An empty variable asks for none.
    pub(crate) fn name(&self) -> Option<&str> {
        self.isa.as_deref().filter(|name| !name.is_empty())
    }
}

/// Preprocessing of images.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Image options")]
pub(crate) struct ImageOptions {
    /// Make the shorter side of an image this long before the centre crop
    ///
    /// By default the model's input divided by the model's crop_pct, or by 0.875; an image of
    /// exactly the input's size is left as it is.
    ///
    /// Example: --resize 256
    #[arg(long, value_name = "N")]
    pub(crate) resize: Option<NonZeroU32>,
    /// Mean of each channel of the images trained on, in [0, 1]
    ///
    /// By default the model's metadata `mean`, or else ImageNet's for colour and 0.5 for grey.
    ///
    /// Example: --mean 0.485,0.456,0.406
    #[arg(long, value_name = "M,…", value_delimiter = ',', allow_negative_numbers = true)]
    pub(crate) mean: Option<Vec<f32>>,
    /// Standard deviation of each channel of the images trained on
    ///
    /// By default the model's metadata `std`, or else ImageNet's for colour and 0.5 for grey.
    ///
    /// Example: --std 0.229,0.224,0.225
    #[arg(long, value_name = "S,…", value_delimiter = ',')]
    pub(crate) std: Option<Vec<f32>>,
    /// How to resample [default: the model's metadata `interpolation`, or else bicubic]
    ///
    /// Example: --interpolation bilinear
    #[arg(long, value_name = "HOW")]
    pub(crate) interpolation: Option<Interpolation>,
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
