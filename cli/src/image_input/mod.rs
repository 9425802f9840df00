//! Photographs as model inputs.

mod jpeg;
mod options;
mod pixels;
mod recipe;

pub(crate) use options::ImageOptions;
pub(crate) use recipe::Recipe;

use std::path::Path;

use crate::exit::Outcome;
use crate::tensors::{Array, read_bytes};

/// Reads one image as the recipe says: `f32[1, C, H, W]`.
///
/// # Errors
/// [`Failure::Io`](crate::exit::Failure::Io), `Damaged` when it is no image, `Usage` when it
/// cannot be fitted to the model.
pub(crate) fn read(path: &Path, recipe: &Recipe) -> Outcome<Array> {
    let image = pixels::decode(&read_bytes(path)?, path)?;
    pixels::prepare(image, recipe)
        .map_err(|what| crate::exit::Failure::usage(format!("`{}`: {what}", path.display())))
}
