//! What `cardinal relink` takes.

use std::path::PathBuf;

use clap::Args;

use crate::signing::{Signing, Trust};

/// `cardinal relink`
#[derive(Debug, Args)]
pub(crate) struct RelinkArgs {
    /// The compiled model, .cardinal; `-` reads it from stdin
    #[arg(value_name = "ARTIFACT")]
    pub(crate) artifact: PathBuf,
    /// The ONNX model that has the new weights
    ///
    /// Example: --weights finetuned.onnx
    #[arg(long, value_name = "MODEL")]
    pub(crate) weights: PathBuf,
    /// Where to write; `-` is stdout
    ///
    /// Example: -o finetuned.cardinal
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Whether to sign it.
    #[command(flatten)]
    pub(crate) signing: Signing,
    /// Whose artifact to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
}
