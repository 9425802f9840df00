//! What `cardinal serve` takes.

use std::path::PathBuf;

use clap::Args;

use super::ModelOptions;
use crate::serving::ServingOptions;
use crate::signing::Trust;

/// `cardinal serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The models, .onnx or .cardinal; each is served under its file's stem
    #[arg(value_name = "MODEL", required = true)]
    pub(crate) models: Vec<PathBuf>,
    /// How they are served.
    #[command(flatten)]
    pub(crate) serving: ServingOptions,
    /// Whose compiled models to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How to read and compile them.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}
