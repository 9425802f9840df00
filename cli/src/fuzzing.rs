//! The readers of files that come from anywhere, for the programs in `fuzz`: without the files.

use std::path::Path;

use cardinal_runtime::DType;

use crate::exit::Outcome;
use crate::image_input::{self, ImageOptions, Recipe};
use crate::limits::Largest;
use crate::tensors::{self, Array, Spec};

/// Larger images only take longer.
const LARGEST: Largest = Largest { side: 1 << 9, bytes: 1 << 20 };

/// Reads a `.npy` or an `.npz`, and writes each of its arrays as a `.npy`.
///
/// # Errors
/// What is wrong with it.
pub fn arrays(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let arrays = tensors::decode(bytes)?;
    Ok(arrays.iter().map(|(_, array)| tensors::encode(array)).collect())
}

/// Reads a PNG or JPEG as the input of a small model that takes so many channels; the input's shape.
///
/// # Errors
/// What is wrong with it, as the command says it.
pub fn image(bytes: &[u8], channels: usize) -> Result<Vec<usize>, String> {
    decode(bytes, channels).map(|input| input.shape).map_err(|failure| failure.to_string())
}

fn decode(bytes: &[u8], channels: usize) -> Outcome<Array> {
    let spec = Spec { name: "x".into(), dtype: DType::F32, shape: vec![1, channels, 8, 8] };
    let recipe = Recipe::of(&[spec], &[], &ImageOptions::default(), "m")?;
    image_input::decode(bytes, Path::new("image"), &recipe, LARGEST)
}
