//! Images as inputs of a model.

use std::num::NonZeroU32;
use std::path::Path;

use cardinal_runtime::Artifact;
use clap::ValueEnum as _;

use super::refusal::Refusal;
use crate::exit::{Failure, Outcome};
use crate::image_input::{self, Interpolation, Preprocess, Recipe};
use crate::limits::Largest;
use crate::program;

/// How images are prepared: the image options of `cardinal run`.
#[derive(Debug, Clone, Default)]
pub struct ImageOptions {
    /// `--preprocess`
    pub preprocess: Option<String>,
    /// `--resize`
    pub resize: Option<NonZeroU32>,
    /// `--mean`
    pub mean: Option<Vec<f32>>,
    /// `--std`
    pub std: Option<Vec<f32>>,
    /// `--interpolation`
    pub interpolation: Option<String>,
}

impl ImageOptions {
    /// # Errors
    /// [`Failure::Usage`].
    pub(super) fn parse(&self) -> Outcome<image_input::ImageOptions> {
        let preprocess = self.preprocess.as_deref().map(Preprocess::parse).transpose();
        let named = |name: &String| Interpolation::from_str(name, false);
        let interpolation = self.interpolation.as_ref().map(named).transpose();
        Ok(image_input::ImageOptions {
            preprocess: preprocess.map_err(Failure::usage)?,
            resize: self.resize,
            mean: self.mean.clone(),
            std: self.std.clone(),
            interpolation: interpolation
                .map_err(|_| Failure::usage("images are resampled `bilinear` or `bicubic`"))?,
        })
    }
}

/// How images become inputs of a model.
pub struct Images(Recipe);

impl Images {
    /// For a model that takes images. `name` is its file, by which timm's models are known, and beside which
    /// settings are looked for.
    ///
    /// # Errors
    /// What no image can be an input of, and options that do not fit it.
    pub fn of(artifact: &Artifact, name: &str, options: &ImageOptions) -> Result<Images, Refusal> {
        let specs: Vec<_> = artifact.inputs().iter().map(program::spec).collect();
        let metadata: Vec<_> = artifact.manifest().metadata.iter().map(program::pair).collect();
        Ok(Images(Recipe::of(&specs, &metadata, &options.parse()?, name)?))
    }

    /// What is done, in a line, and who said so.
    pub fn describe(&self) -> String {
        self.0.to_string()
    }

    /// What is only assumed, a line each.
    pub fn warnings(&self) -> Vec<String> {
        self.0.warnings().collect()
    }

    /// Reads the bytes of a PNG or JPEG as one sample: `f32[1, C, H, W]`, row-major. `name` is for messages.
    ///
    /// # Errors
    /// What is wrong with the image.
    pub fn decode(&self, bytes: &[u8], name: &str) -> Result<Vec<f32>, Refusal> {
        let array = image_input::decode(bytes, Path::new(name), &self.0, Largest::USUAL)?;
        Ok(array.to_f32().unwrap_or_default())
    }

    /// The shape of what [`decode`](Self::decode) gives.
    pub fn shape(&self) -> [usize; 4] {
        let (height, width) = self.0.crop;
        [1, self.0.channels, height as usize, width as usize]
    }
}
