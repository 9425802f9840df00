//! Photographs as model inputs.

mod jpeg;
mod options;
mod pixels;
mod recipe;
mod resample;
mod settings;
#[cfg(feature = "compiler")]
mod settings_file;
mod timm;

pub(crate) use options::ImageOptions;
#[cfg(feature = "library")]
pub(crate) use options::Interpolation;
#[cfg(feature = "serving")]
pub(crate) use pixels::is_image;
pub(crate) use recipe::Recipe;
#[cfg(feature = "compiler")]
pub(crate) use settings::{Preprocess, keep, store};

use std::path::Path;

use bytes::Bytes;

use crate::exit::{Failure, Outcome};
use crate::limits::{IMAGE_FILE, Largest};
use crate::mapped;
use crate::names;
use crate::stdio::is_dash;
use crate::tensors::Array;

/// What files of images are called that are looked for in folders and archives.
#[cfg(all(feature = "compiler", feature = "formats"))]
pub(crate) const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];
#[cfg(all(feature = "compiler", not(feature = "formats")))]
pub(crate) const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png"];

/// Reads one image as the recipe says: `f32[1, C, H, W]`.
///
/// # Errors
/// [`Failure::Io`], and those of [`decode`].
pub(crate) fn read(path: &Path, recipe: &Recipe) -> Outcome<Array> {
    decode(&bytes_of(path)?, path, recipe, Largest::USUAL)
}

/// The bytes of an image's file, or stdin for `-`.
///
/// # Errors
/// [`Failure::Io`].
pub(crate) fn bytes_of(path: &Path) -> Outcome<Bytes> {
    let bytes = match is_dash(path) {
        true => mapped::stdin().map(|stdin| stdin.bytes),
        false => mapped::copy(path, IMAGE_FILE),
    };
    bytes.map_err(|error| Failure::reading(path, error))
}

/// What [`read`] makes of the bytes of the file at `path`.
///
/// # Errors
/// [`Failure::Damaged`] when they are no image or too large a one, [`Failure::Usage`] when it cannot be
/// fitted to the model.
pub(crate) fn decode(
    bytes: &[u8],
    path: &Path,
    recipe: &Recipe,
    largest: Largest,
) -> Outcome<Array> {
    let image = pixels::decode(bytes, path, largest)?;
    pixels::prepare(image, recipe)
        .map_err(|what| Failure::usage(format!("`{}`: {what}", names::shown(path))))
}
