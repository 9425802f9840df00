//! Weights as integers times a scale.

use crate::plan::weights::{Word, float};
use crate::schedule::byte_values::scale_of;

/// The weights of an output channel, as multiples of a scale. What are none are not scheduled so.
pub(super) struct Multiples<'w> {
    weights: &'w [Word],
    pub(super) scale: f32,
}

impl<'w> Multiples<'w> {
    pub(super) fn of(weights: &'w [Word]) -> Multiples<'w> {
        Multiples { weights, scale: scale_of(weights).unwrap_or(1.0) }
    }

    /// How many times the scale a weight is; 0 where there is none.
    pub(super) fn steps(&self, at: usize) -> i8 {
        let steps = |word: &Word| (float(*word) / f64::from(self.scale)).round() as i8;
        self.weights.get(at).map_or(0, steps)
    }

    /// Of all weights together.
    pub(super) fn sum(&self) -> i32 {
        (0..self.weights.len()).map(|at| i32::from(self.steps(at))).sum()
    }
}
