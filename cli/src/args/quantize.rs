//! What `cardinal quantize` takes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::ModelOptions;
use crate::image_input::ImageOptions;

/// `cardinal quantize`
#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// The float ONNX model; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Samples to take the ranges of values from: images, .npy, .npz, or folders of these
    ///
    /// Some hundreds of what the model was trained on are enough. The rows of an array are a sample
    /// each; an .npz has an array for every input.
    ///
    /// Example: --calibrate photos/ more.npy
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub(crate) calibrate: Vec<PathBuf>,
    /// Other samples to compare the models on [default: those of --calibrate]
    ///
    /// Example: --test validation/
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) test: Vec<PathBuf>,
    /// Keep layers in float until so many percent of the samples have the float model's top class
    ///
    /// Those whose weights and inputs have the largest rounding errors stay first, as few as will do.
    ///
    /// Example: --agree 99.5
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) agree: Option<f64>,
    /// Where to write; `-` is stdout [default: MODEL's name with .int8.onnx, in this folder]
    ///
    /// Example: -o resnest50.int8.onnx
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// Threads to run on [default: all of this machine]
    ///
    /// What is written does not depend on it.
    ///
    /// Example: --threads 4
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Print one JSON object (cardinal.quantize/v1) instead of text
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
    /// How images are made inputs.
    #[command(flatten)]
    pub(crate) image: ImageOptions,
    /// How to read and run it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(value) if (0. ..=100.).contains(&value) => Ok(value),
        _ => Err("expected a number of percent from 0 to 100".into()),
    }
}
