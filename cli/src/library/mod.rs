//! What the command does, for programs in which it is a library: the Python package. Nothing is printed on
//! stdout, no signal is handled, and what goes wrong is a [`Refusal`].
//!
//! Running compiled models needs none of this: that is the crate `cardinal-runtime`.

mod images;
mod looking;
mod model;
mod quantizing;
mod refusal;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cardinal_runtime::Artifact;

use crate::{about, output};

pub use images::{ImageOptions, Images};
pub use looking::{Measuring, explain, profile};
pub use model::{Model, Options, Source};
pub use quantizing::{Quantization, quantize};
pub use refusal::{Kind, Node, Refusal};

/// One file at a time: [`crate::ending`] knows the names of only a few that are not finished.
static WRITING: Mutex<()> = Mutex::new(());

/// What there is to say of an artifact, as `cardinal inspect` shows it: names and values, in order.
pub fn describe(artifact: &Artifact) -> Vec<(String, String)> {
    about::lines(artifact)
}

/// Writes a file that is there whole or not at all, whoever else writes to its place.
///
/// # Errors
/// [`Kind::File`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(output::write(path, bytes)?)
}
