//! Where each element of a resized axis comes from: ONNX's coordinate transformations.
//!
//! Computed in f32, as ONNX Runtime does, so that elements halfway between two fall the same way.

use crate::error::Result;
use crate::onnx::refusal::bad;

/// How a position of the result becomes one of the operand
/// (`coordinate_transformation_mode`, Resize-19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// How a position between two elements becomes one (`nearest_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// What Resize-10 does without saying so: up where elements become fewer, down elsewhere.
    ByScale,
}

impl Transform {
    /// The mode of that name.
    pub(super) fn named(name: &str) -> Result<Transform> {
        Ok(match name {
            "half_pixel" => Transform::HalfPixel,
            "half_pixel_symmetric" => Transform::HalfPixelSymmetric,
            "pytorch_half_pixel" => Transform::PytorchHalfPixel,
            "align_corners" => Transform::AlignCorners,
            "asymmetric" => Transform::Asymmetric,
            "tf_half_pixel_for_nn" => Transform::TfHalfPixelForNn,
            "tf_crop_and_resize" => Transform::TfCropAndResize,
            other => {
                let what = format!("attribute `coordinate_transformation_mode` is `{other}`");
                return Err(bad(what));
            }
        })
    }
}

impl Rounding {
    /// The mode of that name.
    pub(super) fn named(name: &str) -> Result<Rounding> {
        Ok(match name {
            "round_prefer_floor" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            other => return Err(bad(format!("attribute `nearest_mode` is `{other}`"))),
        })
    }

    fn apply(self, x: f32, scale: f32) -> f32 {
        match self {
            Rounding::PreferFloor => (x - 0.5).ceil(),
            Rounding::PreferCeil => (x + 0.5).floor(),
            Rounding::Floor => x.floor(),
            Rounding::ByScale if scale < 1.0 => x.ceil(),
            Rounding::ByScale => x.floor(),
            Rounding::Ceil => x.ceil(),
        }
    }
}

/// One axis to be resized.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// Elements before; at least one.
    pub(super) from: usize,
    /// Elements after.
    pub(super) to: usize,
    /// What the model gives as their ratio, which rounding may make another.
    pub(super) scale: f32,
    /// Start and end of what is cropped, of which 0 is the first element and 1 the last.
    pub(super) region: [f32; 2],
}

/// How a position between elements is interpolated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    /// The coefficient of cubic interpolation; linear without one.
    pub(super) cubic: Option<f64>,
    /// Stretch the kernel where elements become fewer.
    pub(super) antialias: bool,
    /// Give elements beyond the ends no weight, instead of that of the ends.
    pub(super) exclude_outside: bool,
}

impl Kernel {
    /// How far it reaches.
    fn reach(&self) -> f64 {
        if self.cubic.is_some() { 2.0 } else { 1.0 }
    }

    /// The weight of an element so far away.
    fn weight(&self, distance: f64) -> f64 {
        let x = distance.abs();
        match self.cubic {
            None => (1.0 - x).max(0.0),
            Some(a) if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Some(a) if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            Some(_) => 0.0,
        }
    }
}

/// One of the elements that each element of the result is a sum of.
#[derive(Debug, Clone, Default)]
pub(super) struct Tap {
    /// Which one, for each element of the result.
    pub(super) places: Vec<i64>,
    /// Its weight.
    pub(super) weights: Vec<f64>,
}

impl Axis {
    /// An axis of which nothing is cropped.
    pub(super) fn new(from: usize, to: usize, scale: f32) -> Axis {
        Axis { from, to, scale, region: [0.0, 1.0] }
    }

    /// Whether every element comes from the one at its own place.
    pub(super) fn is_kept(&self) -> bool {
        self.from == self.to && self.scale == 1.0 && self.region == [0.0, 1.0]
    }

    fn position(&self, i: usize, transform: Transform) -> f32 {
        let (x, scale, from, to) = (i as f32, self.scale, self.from as f32, self.to as f32);
        match transform {
            Transform::HalfPixel => (x + 0.5) / scale - 0.5,
            Transform::HalfPixelSymmetric => {
                let adjustment = to / (scale * from);
                let offset = from / 2.0 * (1.0 - adjustment);
                offset + (x + 0.5) / scale - 0.5
            }
            Transform::PytorchHalfPixel if self.to == 1 => 0.0,
            Transform::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Transform::AlignCorners if self.to == 1 => 0.0,
            Transform::AlignCorners => x * (from - 1.0) / (to - 1.0),
            Transform::Asymmetric => x / scale,
            Transform::TfHalfPixelForNn => (x + 0.5) / scale,
            Transform::TfCropAndResize => {
                let ([start, end], last) = (self.region, from - 1.0);
                let inside = if self.to == 1 { 0.5 } else { x / (to - 1.0) };
                start * last + inside * (end - start) * last
            }
        }
    }

    /// For each element of the result whether it lies between the ends of what it is made of.
    pub(super) fn is_inside(&self) -> Vec<bool> {
        let last = self.from as f32 - 1.0;
        let inside = |i| (0.0..=last).contains(&self.position(i, Transform::TfCropAndResize));
        (0..self.to).map(inside).collect()
    }

    /// For each element of the result the one it is a copy of.
    pub(super) fn nearest(&self, transform: Transform, rounding: Rounding) -> Vec<i64> {
        let last = self.from as i64 - 1;
        let pick =
            |i| (rounding.apply(self.position(i, transform), self.scale) as i64).clamp(0, last);
        (0..self.to).map(pick).collect()
    }

    /// The elements that each one of the result is a weighted sum of.
    pub(super) fn taps(&self, transform: Transform, kernel: Kernel) -> Vec<Tap> {
        let stretch = if kernel.antialias { f64::from(self.scale.min(1.0)) } else { 1.0 };
        let first = (-kernel.reach() / stretch).floor() as i64 + 1;
        let mut taps = vec![Tap::default(); (2 - 2 * first).max(2) as usize];
        let last = self.from as i64 - 1;
        for i in 0..self.to {
            let position = f64::from(self.position(i, transform));
            // Linear weights do not tell one that lies beyond the ends from one at them.
            let beyond = kernel.cubic.is_none() && !kernel.antialias;
            let position = if beyond { position.clamp(0.0, last as f64) } else { position };
            let below = position.ceil() as i64 - 1;
            let place = |tap: usize| below + first + tap as i64;
            let weight = |tap: usize| match kernel.exclude_outside {
                true if !(0..=last).contains(&place(tap)) => 0.0,
                _ => kernel.weight((place(tap) as f64 - position) * stretch),
            };
            let sum: f64 = (0..taps.len()).map(weight).sum();
            for (index, tap) in taps.iter_mut().enumerate() {
                tap.places.push(place(index).clamp(0, last));
                tap.weights.push(weight(index) / sum);
            }
        }
        taps
    }
}
