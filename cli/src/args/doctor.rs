//! What `cardinal doctor` takes.

use std::path::PathBuf;

use clap::Args;

use super::ModelOptions;
use crate::image_input::ImageOptions;

/// `cardinal doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The ONNX model; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Print one JSON object (cardinal.doctor/v2)
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
    /// How images would be made inputs.
    #[command(flatten)]
    pub(crate) image: ImageOptions,
    /// How it would be read and compiled.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}
