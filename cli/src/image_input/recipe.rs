//! What is done to an image before the model sees it, and who says so.

use std::fmt;
use std::num::NonZeroU32;

use cardinal_runtime::DType;

use super::options::{ImageOptions, Interpolation};
use crate::exit::{Failure, Outcome};
use crate::tensors::Spec;

/// timm's default: the crop keeps this much of the resized image.
const DEFAULT_CROP_PCT: f64 = 0.875;

/// How large an image is made before the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Resize {
    /// The shorter side gets this length.
    Shorter(u32),
    /// The crop is this fraction of the resized image; an image of exactly the crop's size is left
    /// as it is.
    CropPct(f64),
}

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Flag,
    Metadata,
    Default,
}

/// Everything between a decoded image and the model's input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recipe {
    /// 1 for grey, 3 for red, green, blue.
    pub(crate) channels: usize,
    /// Height and width of the centre crop.
    pub(crate) crop: (u32, u32),
    /// What comes before it.
    pub(crate) resize: Resize,
    /// How.
    pub(crate) interpolation: Interpolation,
    /// Subtracted from each channel, after scaling to [0, 1].
    pub(crate) mean: Vec<f32>,
    /// Divides each channel after that.
    pub(crate) std: Vec<f32>,
    sources: [Source; 4],
}

impl Recipe {
    /// The recipe for a model's only input: flags first, then the model's metadata in timm's keys
    /// (`mean`, `std`, `crop_pct`, `interpolation`), then defaults: ImageNet's statistics for
    /// colour, 0.5 and 0.5 for grey.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the model takes no images or a flag does not fit it;
    /// [`Failure::BadModel`] when its metadata makes no sense.
    pub(crate) fn of(
        inputs: &[Spec],
        metadata: &[(String, String)],
        options: &ImageOptions,
        model: &str,
    ) -> Outcome<Recipe> {
        let (channels, crop) = image_input(inputs)?;
        let settings = Settings { metadata, channels, model };
        let (mean_default, std_default) = match channels {
            3 => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
            _ => (vec![0.5], vec![0.5]),
        };
        let (mean, mean_from) =
            settings.per_channel("mean", options.mean.as_deref(), mean_default)?;
        let (std, std_from) = settings.per_channel("std", options.std.as_deref(), std_default)?;
        if std.contains(&0.) {
            return Err(Failure::usage("an image cannot be divided by a standard deviation of 0"));
        }
        let (resize, resize_from) = settings.resize(options.resize.map(NonZeroU32::get))?;
        let (interpolation, how_from) = settings.interpolation(options.interpolation)?;
        let sources = [resize_from, how_from, mean_from, std_from];
        Ok(Recipe { channels, crop, resize, interpolation, mean, std, sources })
    }
}

/// Channels, height and width of the only input, when that can be an image.
fn image_input(inputs: &[Spec]) -> Outcome<(usize, (u32, u32))> {
    let refusal = || {
        let takes: Vec<String> = inputs.iter().map(|spec| format!("`{spec}`")).collect();
        Failure::usage(format!("this model takes {}, which is no image", takes.join(", ")))
            .with_help("images are for one input f32[N, C, H, W] with C 1 (grey) or 3 (red, green, blue); give other inputs with --input X.npy")
    };
    let [Spec { dtype: DType::F32, shape, .. }] = inputs else {
        return Err(refusal());
    };
    let [(1..), channels @ (1 | 3), height @ (1..), width @ (1..)] = **shape else {
        return Err(refusal());
    };
    match (u32::try_from(height), u32::try_from(width)) {
        (Ok(height), Ok(width)) => Ok((channels, (height, width))),
        _ => Err(refusal()),
    }
}

struct Settings<'a> {
    metadata: &'a [(String, String)],
    channels: usize,
    model: &'a str,
}

impl Settings<'_> {
    fn stored(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value.trim())
    }

    fn nonsense(&self, key: &str, value: &str) -> Failure {
        Failure::BadModel {
            file: self.model.to_owned(),
            message: format!("its metadata says {key} = `{value}`, which makes no sense here"),
            help: Some(
                "say what to do with flags: --mean, --std, --resize, --interpolation".into(),
            ),
        }
    }

    fn per_channel(
        &self,
        key: &str,
        flag: Option<&[f32]>,
        default: Vec<f32>,
    ) -> Outcome<(Vec<f32>, Source)> {
        if let Some(values) = flag {
            let message = format!(
                "--{key} takes one number, or one for each of the model's {} channels; {} are given",
                self.channels,
                values.len()
            );
            let values = self.spread(values).ok_or_else(|| Failure::usage(message))?;
            return Ok((values, Source::Flag));
        }
        let Some(text) = self.stored(key) else {
            return Ok((default, Source::Default));
        };
        let values = numbers(text).and_then(|values| self.spread(&values));
        Ok((values.ok_or_else(|| self.nonsense(key, text))?, Source::Metadata))
    }

    /// One value a channel.
    fn spread(&self, values: &[f32]) -> Option<Vec<f32>> {
        match values {
            [one] => Some(vec![*one; self.channels]),
            all => (all.len() == self.channels).then(|| all.to_vec()),
        }
    }

    fn resize(&self, flag: Option<u32>) -> Outcome<(Resize, Source)> {
        if let Some(side) = flag {
            return Ok((Resize::Shorter(side), Source::Flag));
        }
        let Some(text) = self.stored("crop_pct") else {
            return Ok((Resize::CropPct(DEFAULT_CROP_PCT), Source::Default));
        };
        let fraction = text.parse().ok().filter(|f| (0.05..=1.).contains(f));
        Ok((
            Resize::CropPct(fraction.ok_or_else(|| self.nonsense("crop_pct", text))?),
            Source::Metadata,
        ))
    }

    fn interpolation(&self, flag: Option<Interpolation>) -> Outcome<(Interpolation, Source)> {
        if let Some(how) = flag {
            return Ok((how, Source::Flag));
        }
        match self.stored("interpolation") {
            Some("bilinear") => Ok((Interpolation::Bilinear, Source::Metadata)),
            Some("bicubic") => Ok((Interpolation::Bicubic, Source::Metadata)),
            Some(other) => Err(self.nonsense("interpolation", other)),
            None => Ok((Interpolation::Bicubic, Source::Default)),
        }
    }
}

/// `0.485,0.456,0.406`, bare or in brackets.
fn numbers(text: &str) -> Option<Vec<f32>> {
    let bare = text.trim_matches(|c: char| "[]() ".contains(c)).trim_end_matches(',');
    let finite = |x: &f32| x.is_finite();
    bare.split(',').map(|word| word.trim().parse().ok().filter(finite)).collect()
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [resize, how, mean, std] = self.sources;
        match self.resize {
            Resize::Shorter(side) => write!(f, "shorter side to {side} ({resize})")?,
            Resize::CropPct(fraction) => write!(f, "crop_pct {fraction} ({resize})")?,
        }
        let how_name = match self.interpolation {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
        };
        let colour = if self.channels == 1 { "grey" } else { "RGB" };
        write!(f, ", {how_name} ({how}), centre crop {}x{}, {colour}", self.crop.0, self.crop.1)?;
        write!(f, ", mean {:?} ({mean}), std {:?} ({std})", self.mean, self.std)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Flag => "flag",
            Source::Metadata => "the model's metadata",
            Source::Default => "default",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(
        shape: &[usize],
        metadata: &[(&str, &str)],
        options: &ImageOptions,
    ) -> Outcome<Recipe> {
        let spec = Spec { name: "x".into(), dtype: DType::F32, shape: shape.to_vec() };
        let metadata: Vec<_> =
            metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Recipe::of(&[spec], &metadata, options, "m.onnx")
    }

    #[test]
    fn flags_win_over_metadata_over_defaults() {
        let options = ImageOptions { std: Some(vec![0.25]), ..Default::default() };
        let metadata = [("mean", "[0.1, 0.2, 0.3]"), ("std", "1"), ("crop_pct", "0.95")];
        let recipe = recipe(&[1, 3, 224, 224], &metadata, &options).unwrap();
        assert_eq!(
            recipe.to_string(),
            "crop_pct 0.95 (the model's metadata), bicubic (default), centre crop 224x224, RGB, \
             mean [0.1, 0.2, 0.3] (the model's metadata), std [0.25, 0.25, 0.25] (flag)"
        );
    }

    #[test]
    fn the_digits_model_says_its_own() {
        let metadata = [("mean", "0.1307"), ("std", "0.3081")];
        let recipe = recipe(&[1, 1, 28, 28], &metadata, &ImageOptions::default()).unwrap();
        assert_eq!((recipe.mean, recipe.std), (vec![0.1307], vec![0.3081]));
    }

    #[test]
    fn other_layouts_are_refused_with_what_was_expected() {
        for shape in [&[1, 224, 224, 3][..], &[1, 10], &[1, 4, 8, 8]] {
            let failure = recipe(shape, &[], &ImageOptions::default()).unwrap_err();
            assert!(failure.help().unwrap().contains("f32[N, C, H, W]"), "{failure}");
        }
    }

    #[test]
    fn senseless_settings_are_refused() {
        let none = ImageOptions::default();
        for (key, value) in [
            ("mean", "a"),
            ("mean", "1,2"),
            ("crop_pct", "0"),
            ("crop_pct", "NaN"),
            ("interpolation", "magic"),
        ] {
            let failure = recipe(&[1, 3, 8, 8], &[(key, value)], &none).unwrap_err();
            assert!(matches!(failure, Failure::BadModel { .. }), "{failure}");
        }
        let zero = ImageOptions { std: Some(vec![0.]), ..Default::default() };
        assert!(recipe(&[1, 3, 8, 8], &[], &zero).is_err());
        let four = ImageOptions { mean: Some(vec![0.; 4]), ..Default::default() };
        assert!(recipe(&[1, 3, 8, 8], &[], &four).is_err());
    }
}
