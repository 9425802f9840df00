//! What is done to an image before the model sees it, and who says so.

use std::fmt;
use std::num::NonZeroU32;

use cardinal_runtime::DType;

use super::options::{ImageOptions, Interpolation};
use super::settings::{Settings, Source};
use super::timm;
use crate::exit::{Failure, Outcome};
use crate::render;
use crate::tensors::Spec;

/// How large an image is made before the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Resize {
    /// The shorter side gets this length.
    Shorter(u32),
    /// The crop is this fraction of the resized image.
    CropPct(f64),
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
    /// The recipe for the only input of the model in a file: as the flags say, then as its [`Settings`] do,
    /// else as most models of ImageNet want it for colour, and whole with 0.5 and 0.5 for grey.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the model takes no images or a flag does not fit it; [`Failure::BadModel`]
    /// when its settings make no sense; those of reading what `--preprocess` names.
    pub(crate) fn of(
        inputs: &[Spec],
        metadata: &[(String, String)],
        options: &ImageOptions,
        model: &str,
    ) -> Outcome<Recipe> {
        let (channels, crop) = image_input(inputs)?;
        let settings = Settings::of(options.preprocess.as_ref(), metadata, model)?;
        let reading = Reading { settings, channels, model };
        let (mean_default, std_default, crop_default) = match channels {
            3 => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225], 0.875),
            _ => (vec![0.5], vec![0.5], 1.),
        };
        let (mean, mean_from) =
            reading.per_channel("mean", options.mean.as_deref(), mean_default)?;
        let (std, std_from) = reading.per_channel("std", options.std.as_deref(), std_default)?;
        if !std.iter().all(|std| *std > 0. && std.is_normal()) {
            let message = format!(
                "an image cannot be divided by a standard deviation of {std:?} ({std_from})"
            );
            return Err(Failure::usage(message));
        }
        let (resize, resize_from) =
            reading.resize(options.resize.map(NonZeroU32::get), crop_default)?;
        let (interpolation, how_from) = reading.interpolation(options.interpolation)?;
        let sources = [resize_from, how_from, mean_from, std_from];
        Ok(Recipe { channels, crop, resize, interpolation, mean, std, sources })
    }

    /// Says on stderr what is done, and what of that is only assumed.
    pub(crate) fn announce(&self) {
        render::long_note(format_args!("images: {self}"));
        self.warnings().for_each(render::long_note);
    }

    /// What of it is only assumed, a line each.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        [self.assumed(), self.ambiguous()].into_iter().flatten()
    }

    /// What is said of a file that is called after a model of timm's, where torchvision has one of that name: what
    /// is assumed, and what the other would want. Means and deviations are the same.
    fn ambiguous(&self) -> Option<String> {
        let [resize, interpolation, ..] = &self.sources;
        let name = [resize, interpolation].into_iter().find_map(|source| match source {
            Source::Called(name) if timm::is_torchvisions(name) => Some(name),
            _ => None,
        })?;
        Some(format!(
            "warning: torchvision has a {name} too, and timm's is assumed: weights of torchvision's want \
             --interpolation bilinear --resize 232, or those called IMAGENET1K_V1 mostly --resize 256"
        ))
    }

    /// What is assumed because nothing says it; `None` where everything is said, and of grey images, which no
    /// customs go with.
    fn assumed(&self) -> Option<String> {
        let names = ["the crop", "the interpolation", "the mean", "the standard deviation"];
        let all = names.iter().zip(&self.sources);
        let assumed: Vec<&str> =
            all.filter(|(_, source)| **source == Source::Default).map(|(name, _)| *name).collect();
        (self.channels == 3 && !assumed.is_empty()).then(|| {
            format!(
                "warning: nothing says how images are prepared for this model, so {} are assumed: wrong ones \
                 change results; see --preprocess",
                assumed.join(", ")
            )
        })
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

/// Settings that are read for a model.
struct Reading<'a> {
    settings: Settings,
    channels: usize,
    model: &'a str,
}

impl Reading<'_> {
    fn nonsense(&self, key: &str, value: &str, source: &Source) -> Failure {
        Failure::BadModel {
            file: self.model.to_owned(),
            message: format!("{source} says {key} = `{value}`, which makes no sense here"),
            help: Some(
                "say what to do with --preprocess, or with --mean, --std, --resize and --interpolation".into(),
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
        let Some((text, source)) = self.settings.stored(key) else {
            return Ok((default, Source::Default));
        };
        match numbers(text).and_then(|values| self.spread(&values)) {
            Some(values) => Ok((values, source)),
            None => Err(self.nonsense(key, text, &source)),
        }
    }

    /// One value a channel.
    fn spread(&self, values: &[f32]) -> Option<Vec<f32>> {
        match values {
            [one] => Some(vec![*one; self.channels]),
            all => (all.len() == self.channels).then(|| all.to_vec()),
        }
    }

    fn resize(&self, flag: Option<u32>, default: f64) -> Outcome<(Resize, Source)> {
        if let Some(side) = flag {
            return Ok((Resize::Shorter(side), Source::Flag));
        }
        let Some((key, text, source)) = self.settings.stored_as(&["resize", "crop_pct"]) else {
            return Ok((Resize::CropPct(default), Source::Default));
        };
        let side = || text.parse().ok().filter(|side| *side > 0).map(Resize::Shorter);
        let fraction =
            || text.parse().ok().filter(|f| (0.05..=1.).contains(f)).map(Resize::CropPct);
        let resize = if key == "resize" { side() } else { fraction() };
        resize
            .map(|resize| (resize, source.clone()))
            .ok_or_else(|| self.nonsense(key, text, &source))
    }

    fn interpolation(&self, flag: Option<Interpolation>) -> Outcome<(Interpolation, Source)> {
        if let Some(how) = flag {
            return Ok((how, Source::Flag));
        }
        match self.settings.stored("interpolation") {
            Some(("bilinear", source)) => Ok((Interpolation::Bilinear, source)),
            Some(("bicubic", source)) => Ok((Interpolation::Bicubic, source)),
            Some((other, source)) => Err(self.nonsense("interpolation", other, &source)),
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
        let [resize, how, mean, std] = &self.sources;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_input::settings::Preprocess;

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
    fn a_file_called_after_a_model_of_timms_is_prepared_as_timm_does() {
        let spec = Spec { name: "x".into(), dtype: DType::F32, shape: vec![1, 3, 224, 224] };
        let of = |file: &str, options: &ImageOptions| {
            Recipe::of(std::slice::from_ref(&spec), &[], options, file).unwrap()
        };
        let none = ImageOptions::default();
        let called = of("models/resnest50d.int8.onnx", &none);
        assert_eq!(
            (called.interpolation, called.resize, called.assumed()),
            (Interpolation::Bilinear, Resize::CropPct(0.875), None)
        );
        assert!(called.to_string().contains("timm's resnest50d, by the file's name"), "{called}");
        assert_eq!(called.ambiguous(), None);
        let warning = of("resnet50.onnx", &none).ambiguous().unwrap();
        assert!(warning.contains("torchvision has a resnet50 too"), "{warning}");
        let said = ImageOptions {
            interpolation: Some(Interpolation::Bilinear),
            resize: NonZeroU32::new(232),
            ..none.clone()
        };
        assert_eq!(of("resnet50.onnx", &said).ambiguous(), None);
        assert_eq!(of("resnet50.tv_in1k.onnx", &none).ambiguous(), None);
        let unknown = of("model.onnx", &none);
        let warning = unknown.assumed().unwrap();
        assert!(warning.contains("the interpolation, the mean, the standard"), "{warning}");
        let asked = ImageOptions { preprocess: Some(Preprocess::None), ..none };
        let asked = of("resnest50d.onnx", &asked);
        assert_eq!((asked.mean, asked.resize), (vec![0.; 3], Resize::CropPct(1.)));
    }

    #[test]
    fn a_file_of_settings_beside_the_model_goes_before_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("resnest50d.onnx").display().to_string();
        let spec = Spec { name: "x".into(), dtype: DType::F32, shape: vec![1, 3, 8, 8] };
        let of = || Recipe::of(std::slice::from_ref(&spec), &[], &ImageOptions::default(), &model);
        let write = |text: &str| std::fs::write(folder.path().join("config.json"), text).unwrap();
        write(r#"{"model_type": "something else"}"#);
        assert_eq!(of().unwrap().interpolation, Interpolation::Bilinear);
        write(r#"{"pretrained_cfg": {"interpolation": "bicubic", "mean": [0.5, 0.5, 0.5]}}"#);
        let recipe = of().unwrap();
        assert_eq!((recipe.interpolation, &recipe.mean), (Interpolation::Bicubic, &vec![0.5; 3]));
        assert!(recipe.to_string().contains("bicubic (config.json beside it)"), "{recipe}");
        write(r#"{"mean": [1, 2]}"#);
        let failure = of().unwrap_err();
        assert!(failure.to_string().contains("config.json beside it says mean"), "{failure}");
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
