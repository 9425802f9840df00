//! What Winograd's filtering costs, beside the definition.

use std::fmt;

use super::Grid;
use crate::ir::{Conv, Window};
use crate::plan::tile::Vectors;

/// Outputs of the tiles that there are estimates for.
pub const SIZES: [usize; 3] = [2, 3, 4];

/// What a convolution costs in cycles of one core, by an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    direct: f64,
    /// With tiles of each of the [`SIZES`].
    winograd: [f64; SIZES.len()],
}

impl Estimate {
    /// The estimate for a 3×3 convolution that Winograd's transforms could serve; `None` for any
    /// other. `read` and `made` are channels of a group, filled up to blocks.
    pub fn of(
        vectors: Vectors,
        conv: &Conv,
        [read, made]: [usize; 2],
        [h, w]: [usize; 2],
        images: usize,
    ) -> Option<Estimate> {
        let dilation = conv.window.dilation[0];
        let around = [dilation; 2];
        let padded = Window {
            kernel: [3, 3],
            pad_before: around,
            pad_after: around,
            dilation: around,
            ..Window::POINT
        };
        let assembled = matches!(vectors, Vectors::Avx2 | Vectors::Avx512);
        // Phases of one size only.
        let phases = [h, w].iter().all(|n| n.is_multiple_of(dilation));
        if conv.window != padded || !phases || !assembled || read < 16 || made < 16 {
            return None;
        }
        let lanes = vectors.lanes() as f64;
        let products = |tiled: f64, elements: usize| {
            products(vectors, conv.groups, [read, made], tiled, elements as f64)
        };
        let [groups, read, made, images] = [conv.groups, read, made, images].map(|n| n as f64);
        let cost = |outputs: usize| {
            let grid = Grid::new(outputs, dilation, [h, w], 1);
            let tiled = images * grid.products() as f64;
            // Both transforms move each element through registers about four times.
            let transforms = 4.0 * tiled * groups * (read + made) / lanes;
            products(tiled, grid.elements()) + transforms
        };
        let direct = products(images * (h * w * 9) as f64, 9);
        Some(Estimate { direct, winograd: SIZES.map(cost) })
    }

    /// Cycles of the fastest way.
    pub(in crate::plan) fn least(&self) -> f64 {
        self.winograd.into_iter().fold(self.direct, f64::min)
    }

    /// The size of the fastest tiles; `None` where direct convolution is faster.
    pub fn outputs(&self) -> Option<usize> {
        let ways = self.winograd.into_iter().zip(SIZES);
        let (cost, outputs) = ways.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (cost < self.direct).then_some(outputs)
    }
}

/// Cycles that so many products of all channels with each other take in each group, with so many
/// elements of a filter. `read` and `made` are channels of a group, filled up to blocks.
pub(in crate::plan) fn products(
    vectors: Vectors,
    groups: usize,
    [read, made]: [usize; 2],
    products: f64,
    elements: f64,
) -> f64 {
    let lanes = vectors.lanes() as f64;
    let [groups, read, made] = [groups, read, made].map(|n| n as f64);
    // Two multiply-adds a cycle; weights come from beyond the caches once an inference.
    const BYTES_PER_CYCLE: f64 = 8.0;
    let compute = groups * products * read * made / (2.0 * lanes);
    compute.max(groups * elements * read * made * 4.0 / BYTES_PER_CYCLE)
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kilocycles = |cycles: f64| (cycles / 1e3).round();
        f.write_str("estimated kilocycles: ")?;
        for (cost, m) in self.winograd.into_iter().zip(SIZES).rev() {
            write!(f, "F({m}x{m}) {}, ", kilocycles(cost))?;
        }
        write!(f, "direct {}", kilocycles(self.direct))
    }
}
