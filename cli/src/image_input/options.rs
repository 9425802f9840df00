//! The flags that say how images are made inputs.

use std::num::NonZeroU32;

use clap::Args;

use super::settings::Preprocess;

/// Preprocessing of images.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Image options")]
pub(crate) struct ImageOptions {
    /// How images are prepared: imagenet, timm:NAME, none, or FILE.json (not in executables)
    ///
    /// `timm:resnest50d` is what timm does for that model; a file is timm's config.json, Hugging Face's
    /// preprocessor_config.json, or has mean, std, crop_pct, interpolation or resize. By default as the
    /// model's metadata say, else (not in executables) as such a file in its folder does, else as timm does
    /// for the model that the file is called after.
    ///
    /// Example: --preprocess timm:resnest50d
    #[arg(long, value_name = "HOW", value_parser = Preprocess::parse)]
    pub(crate) preprocess: Option<Preprocess>,
    /// Make the shorter side of an image this long before the centre crop
    ///
    /// By default the model's input divided by crop_pct.
    ///
    /// Example: --resize 256
    #[arg(long, value_name = "N")]
    pub(crate) resize: Option<NonZeroU32>,
    /// Mean of each channel of the images trained on, in [0, 1]
    ///
    /// Example: --mean 0.485,0.456,0.406
    #[arg(long, value_name = "M,…", value_delimiter = ',', allow_negative_numbers = true)]
    pub(crate) mean: Option<Vec<f32>>,
    /// Standard deviation of each channel of the images trained on
    ///
    /// Example: --std 0.229,0.224,0.225
    #[arg(long, value_name = "S,…", value_delimiter = ',')]
    pub(crate) std: Option<Vec<f32>>,
    /// How to resample
    ///
    /// Example: --interpolation bilinear
    #[arg(long, value_name = "HOW")]
    pub(crate) interpolation: Option<Interpolation>,
}

#[cfg(feature = "serving")]
impl ImageOptions {
    /// Whether any is given.
    pub(crate) fn says_anything(&self) -> bool {
        let ImageOptions { preprocess, resize, mean, std, interpolation } = self;
        let numbers = mean.is_some() || std.is_some() || resize.is_some();
        preprocess.is_some() || interpolation.is_some() || numbers
    }
}

/// How pixels are resampled. Both average over the source when they shrink, like Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Interpolation {
    /// A triangle of two pixels.
    Bilinear,
    /// Keys' cubic with a = -0.5.
    Bicubic,
}
