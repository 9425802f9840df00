//! The flags that say how images are made inputs.

use std::num::NonZeroU32;

use clap::Args;

/// Preprocessing of images.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Image options")]
pub(crate) struct ImageOptions {
    /// Make the shorter side of an image this long before the centre crop
    ///
    /// By default the model's input divided by the model's crop_pct, or by 0.875; an image of
    /// exactly the input's size is left as it is.
    ///
    /// Example: --resize 256
    #[arg(long, value_name = "N")]
    pub(crate) resize: Option<NonZeroU32>,
    /// Mean of each channel of the images trained on, in [0, 1]
    ///
    /// By default the model's metadata `mean`, or else ImageNet's for colour and 0.5 for grey.
    ///
    /// Example: --mean 0.485,0.456,0.406
    #[arg(long, value_name = "M,…", value_delimiter = ',', allow_negative_numbers = true)]
    pub(crate) mean: Option<Vec<f32>>,
    /// Standard deviation of each channel of the images trained on
    ///
    /// By default the model's metadata `std`, or else ImageNet's for colour and 0.5 for grey.
    ///
    /// Example: --std 0.229,0.224,0.225
    #[arg(long, value_name = "S,…", value_delimiter = ',')]
    pub(crate) std: Option<Vec<f32>>,
    /// How to resample [default: the model's metadata `interpolation`, or else bicubic]
    ///
    /// Example: --interpolation bilinear
    #[arg(long, value_name = "HOW")]
    pub(crate) interpolation: Option<Interpolation>,
}

/// How pixels are resampled. Both average over the source when they shrink, like Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Interpolation {
    /// A triangle of two pixels.
    Bilinear,
    /// Keys' cubic with a = -0.5.
    Bicubic,
}
