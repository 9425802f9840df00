//! What Winograd's filtering costs, beside the definition.

use std::fmt;

use super::Grid;
use crate::ir::{Conv, Window};
use crate::plan::cost::Direct;
use crate::plan::cut::Products;
use crate::plan::tile::{BLOCK, Vectors};

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
        let cost = |outputs: usize| {
            let tiled = images * Grid::new(outputs, dilation, [h, w], 1).products();
            // Both transforms move each element through registers about four times.
            let transforms = 4.0 * (tiled * (read + made)) as f64 / vectors.lanes() as f64;
            let products = Products {
                vectors,
                images,
                size: [h, w],
                dilation,
                outputs,
                blocks: made / BLOCK,
                depth: read,
            };
            conv.groups as f64 * (products.cycles() + transforms)
        };
        let direct = Direct {
            vectors,
            groups: conv.groups,
            channels: [read, made],
            taps: 9,
            rows: images * h,
            columns: w,
        };
        Some(Estimate { direct: direct.cycles(), winograd: SIZES.map(cost) })
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
