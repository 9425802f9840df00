//! Filters in Winograd's transformed domain.

use super::points::filter_products;
use crate::ir::TensorType;
use crate::kernels::conv::pack::{ChannelPacking, Channels, is_filter};
use crate::machine::BLOCK;
use crate::plan::weights::{Order, Packing, float, run_of};

/// Filters in Winograd's transformed domain, with tiles of so many outputs.
#[derive(Debug)]
pub(in crate::kernels) struct Transformed(
    pub(in crate::kernels) ChannelPacking,
    pub(in crate::kernels) usize,
);

impl Packing for Transformed {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        run_of(&*self.order(ty))
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(Winograd::new(&ty.shape(), self.0, self.1))
    }
}

/// `[m, c, 3, 3]` as `[group][block][element][c blocks][16][16]` in the transformed domain.
struct Winograd {
    channels: Channels,
    /// What each transformed element is of a filter's taps: those that have a part in it, with factors.
    products: Vec<Vec<(usize, f64)>>,
}

const TAPS: usize = 9;

impl Winograd {
    fn new(shape: &[usize], packing: ChannelPacking, outputs: usize) -> Winograd {
        Winograd {
            // Inputs are always in blocks.
            channels: Channels::new(
                shape,
                ChannelPacking { in_segments: packing.in_segments.or(Some(1)), ..packing },
            ),
            products: filter_products(outputs).into_iter().map(parts).collect(),
        }
    }
}

/// The taps that have a part in an element, with their factors.
fn parts(factors: [f64; TAPS]) -> Vec<(usize, f64)> {
    factors.into_iter().enumerate().filter(|(_, factor)| *factor != 0.0).collect()
}

impl Order for Winograd {
    fn stripes(&self) -> Vec<usize> {
        self.channels.stripes(self.products.len())
    }

    fn gain(&self) -> f64 {
        let sum = |parts: &Vec<(usize, f64)>| parts.iter().map(|(_, factor)| factor.abs()).sum();
        self.products.iter().map(sum).fold(0.0, f64::max)
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let from = from.as_chunks::<4>().0;
        let rows = self.channels.rows(stripe);
        let (inputs, to) = (self.channels.inputs, to.as_chunks_mut::<4>().0);
        // The filters from one input channel, tap by tap, so that all outputs are computed at once.
        let mut taps = [[0f64; BLOCK]; TAPS];
        for (at, input) in inputs.iter().enumerate() {
            for (lane, filters) in rows.iter().enumerate() {
                let filter = filters.as_ref().zip(input).and_then(|(f, i)| f.of(i));
                for (tap, lanes) in taps.iter_mut().enumerate() {
                    let tapped = |filter| float(from[filter * TAPS + tap]);
                    lanes[lane] = filter.map_or(0.0, tapped);
                }
            }
            for (element, parts) in self.products.iter().enumerate() {
                let line = &mut to[(element * inputs.len() + at) * BLOCK..][..BLOCK];
                let sums = transformed(parts, &taps).map(|sum| (sum as f32).to_le_bytes());
                line.copy_from_slice(&sums);
            }
        }
    }
}

/// An element of the filters from one input channel to the outputs of a block, whose sums stay in
/// registers.
fn transformed(parts: &[(usize, f64)], taps: &[[f64; BLOCK]; TAPS]) -> [f64; BLOCK] {
    let mut sums = [0f64; BLOCK];
    for (tap, factor) in parts {
        sums.iter_mut().zip(&taps[*tap]).for_each(|(sum, tap)| *sum += factor * tap);
    }
    sums
}
