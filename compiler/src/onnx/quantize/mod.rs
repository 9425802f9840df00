//! Post-training quantization: from a float model to one with QuantizeLinear and DequantizeLinear, which
//! rounds activations to u8 and weights to i8.
//!
//! - [`network`] opens a model for changes, with what is [`constants`] made so; [`opset`] raises its operator
//!   set where that is needed;
//! - [`fold`] takes BatchNormalization into the convolution before it;
//! - [`histogram`] counts how often elements of a value lie where, and [`range`] chooses from that what is kept;
//! - [`points`] decides which layers and which values are rounded;
//! - [`weights`] rounds weights and biases;
//! - [`write`](mod@write) puts the operators in.
//!
//! What values there are is for the caller to find out: [`Quantizer::observed`] is the same model with
//! the values in question for outputs, to be run on samples and counted.

mod constants;
mod fold;
mod histogram;
mod network;
mod opset;
mod points;
mod range;
mod weights;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{ExternalData, ImportOptions};
use crate::error::{Error, Problem, Result};
use network::Network;
use points::Placement;

pub use histogram::Histogram;
pub use points::Point;
pub use range::Range;
pub use write::{Layer, Quantized};

/// A model that is to be quantized.
#[derive(Debug, Clone)]
pub struct Quantizer {
    network: Network,
}

/// How a value is rounded to u8: `x` to `scale * (clamp(round(x / scale) + zero, 0, 255) - zero)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// The distance of two numbers that there are; positive.
    pub scale: f32,
    /// The u8 that stands for 0.
    pub zero: u8,
}

/// What is known of a value from running the float model.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// How it is to be rounded.
    pub grid: Grid,
    /// The mean of each of its channels, with which biases make up for the rounding of weights; empty
    /// to leave them as they are.
    pub channel_means: Vec<f64>,
}

impl Grid {
    /// The grid whose numbers reach from `low` to `high`, widened to hold 0.
    pub fn spanning(low: f64, high: f64) -> Grid {
        let (low, high) = (low.min(0.), high.max(0.));
        let scale = ((high - low) / 255.) as f32;
        // Of nothing but zeros, and of what is too small to be told from them.
        if !scale.is_normal() {
            return Grid { scale: 1., zero: 0 };
        }
        let zero = (-low / f64::from(scale)).round_ties_even().clamp(0., 255.);
        Grid { scale, zero: zero as u8 }
    }

    /// The number of the grid that `x` is rounded to.
    pub fn nearest(self, x: f64) -> f64 {
        let (scale, zero) = (f64::from(self.scale), f64::from(self.zero));
        scale * ((x / scale).round_ties_even() + zero).clamp(0., 255.) - scale * zero
    }
}

impl Quantizer {
    /// Reads a float model as [`import`](super::import()) does.
    ///
    /// # Errors
    /// Those of an import, and what cannot be quantized: a model that is already, or has no
    /// convolution with constant weights over more than one pixel.
    pub fn open(
        model: &Bytes,
        external: &dyn ExternalData,
        options: &ImportOptions,
    ) -> Result<Quantizer> {
        let mut network = Network::open(model, external, options)?;
        fold::fold_batch_norm(&mut network);
        let quantizer = Quantizer { network };
        if Placement::of(&quantizer.network, &BTreeSet::new()).convs.is_empty() {
            let what = "no convolution with constant weights over more than one pixel";
            return Err(Error::from(Problem::Unsupported(what.into()))
                .with_remedy("only convolutions are quantized: leave this model as it is"));
        }
        Ok(quantizer)
    }

    /// The names of the layers that are quantized, those in `kept` left out: convolutions, and dense layers, of
    /// which only the weights are.
    pub fn layers(&self, kept: &BTreeSet<String>) -> Vec<String> {
        let placement = Placement::of(&self.network, kept);
        placement.layers().map(|layer| self.network.node_name(layer)).collect()
    }

    /// The values that are rounded when the layers in `kept` stay in float. Those with more
    /// layers kept are among those with fewer.
    pub fn points(&self, kept: &BTreeSet<String>) -> Vec<Point> {
        Placement::of(&self.network, kept).points
    }

    /// How many outputs the model has.
    pub fn outputs(&self) -> usize {
        self.network.model.graph.output.len()
    }

    /// The float model, with every value that is to be rounded for another output after its own. Its
    /// BatchNormalization is folded, as it will be in the quantized model.
    ///
    /// # Errors
    /// A model of 2 GiB or more.
    pub fn observed(&self) -> Result<Vec<u8>> {
        write::observed(&self.network, &self.points(&BTreeSet::new()))
    }

    /// The quantized model, in which the layers in `kept` stay in float. `seen` is by the names
    /// of points.
    ///
    /// # Errors
    /// [`Problem::BadOption`] for a point of which nothing is known.
    pub fn quantized(
        &self,
        seen: &BTreeMap<String, Seen>,
        kept: &BTreeSet<String>,
    ) -> Result<Quantized> {
        write::quantized(&self.network, &Placement::of(&self.network, kept), seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_hold_zero_and_reach_both_ends() {
        for (low, high) in [(0., 6.), (-1., 3.), (-2., -1.), (1., 2.), (-1e-3, 1e3)] {
            let grid = Grid::spanning(low, high);
            let half = f64::from(grid.scale) * 0.501;
            assert_eq!(grid.nearest(0.), 0., "{low} {high}");
            for end in [low, high] {
                assert!((grid.nearest(end) - end).abs() <= half, "{low} {high}: {end}");
            }
        }
        assert_eq!(Grid::spanning(0.5, 2.).zero, 0);
        assert_eq!(Grid::spanning(-2., -1.).zero, 255);
        assert_eq!(Grid::spanning(0., 0.), Grid { scale: 1., zero: 0 });
    }

    #[test]
    fn what_is_beyond_a_grid_is_cut_off_and_ties_go_to_even() {
        let grid = Grid { scale: 0.5, zero: 10 };
        let values = [(-100., -5.), (1000., 122.5), (0.25, 0.), (0.75, 1.), (-0.3, -0.5)];
        for (x, nearest) in values {
            assert_eq!(grid.nearest(x), nearest, "{x}");
        }
    }
}
