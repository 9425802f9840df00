//! Filters in Winograd's transformed domain.

use super::points::filter_products;
use crate::ir::TensorType;
use crate::kernels::conv::pack::{ChannelPacking, Channels, is_filter};
use crate::plan::weights::{Order, Packing, float, run_of};

/// Filters in Winograd's transformed domain, with tiles of so many outputs.
#[derive(Debug)]
pub(super) struct Transformed(pub(super) ChannelPacking, pub(super) usize);

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
    /// What each transformed element is of a filter's.
    products: Vec<[f64; TAPS]>,
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
            products: filter_products(outputs),
        }
    }
}

impl Order for Winograd {
    fn stripes(&self) -> Vec<usize> {
        self.channels.stripes(self.products.len())
    }

    fn gain(&self) -> f64 {
        let sum = |factors: &[f64; TAPS]| factors.iter().map(|factor| factor.abs()).sum();
        self.products.iter().map(sum).fold(0.0, f64::max)
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let from = from.as_chunks::<4>().0;
        let rows = self.channels.rows(stripe);
        let (inputs, to) = (self.channels.inputs, to.as_chunks_mut::<4>().0);
        // The filters from one input channel, tap by tap, so that all outputs are computed at once.
        let mut taps = vec![0f64; TAPS * rows.len()];
        let mut sums = vec![0f64; rows.len()];
        for (at, input) in inputs.iter().enumerate() {
            for (lane, filters) in rows.iter().enumerate() {
                let filter = filters.as_ref().zip(input).and_then(|(f, i)| f.of(i));
                for tap in 0..TAPS {
                    let tapped = |filter| float(from[filter * TAPS + tap]);
                    taps[tap * rows.len() + lane] = filter.map_or(0.0, tapped);
                }
            }
            for (element, factors) in self.products.iter().enumerate() {
                sums.fill(0.0);
                for (factor, lanes) in factors.iter().zip(taps.chunks_exact(rows.len())) {
                    sums.iter_mut().zip(lanes).for_each(|(sum, tap)| *sum += factor * tap);
                }
                let line = &mut to[(element * inputs.len() + at) * rows.len()..][..rows.len()];
                line.iter_mut().zip(&sums).for_each(|(to, sum)| *to = (*sum as f32).to_le_bytes());
            }
        }
    }
}
