//! Where each element of a resized axis comes from: ONNX's coordinate transformations.
//!
//! Computed in f32, as ONNX Runtime does, so that elements halfway between two fall the same way.

use crate::error::Result;
use crate::onnx::refusal::{bad, unsupported};

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
            "tf_crop_and_resize" => {
                return Err(unsupported("resizing of a cropped region")
                    .with_remedy("crop with Slice, and resize what is left with half_pixel"));
            }
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
}

impl Axis {
    /// Whether every element comes from the one at its own place.
    pub(super) fn is_kept(&self) -> bool {
        self.from == self.to && self.scale == 1.0
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
        }
    }

    /// For each element of the result the one it is a copy of.
    pub(super) fn nearest(&self, transform: Transform, rounding: Rounding) -> Vec<i64> {
        let last = self.from as i64 - 1;
        let pick =
            |i| (rounding.apply(self.position(i, transform), self.scale) as i64).clamp(0, last);
        (0..self.to).map(pick).collect()
    }

    /// For each element of the result the two it lies between, and the weight of the second.
    pub(super) fn linear(&self, transform: Transform) -> (Vec<i64>, Vec<i64>, Vec<f64>) {
        let last = self.from as i64 - 1;
        let mut result = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..self.to {
            let position = self.position(i, transform).clamp(0.0, last as f32);
            let below = (position as i64).min(last);
            result.0.push(below);
            result.1.push((below + 1).min(last));
            result.2.push(f64::from(position - below as f32));
        }
        result
    }
}
