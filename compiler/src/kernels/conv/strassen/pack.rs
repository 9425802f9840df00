//! Filters for Strassen's products.

use super::spec::{PRODUCTS, WEIGHTS};
use crate::ir::TensorType;
use crate::kernels::conv::pack::{ChannelPacking, Channels, is_filter};
use crate::machine::BLOCK;
use crate::plan::weights::{Order, Packing, Word, float};

/// Filters for Strassen's products: for each product, a sum of quarters of them.
#[derive(Debug)]
pub(in crate::kernels) struct QuarterSums(pub(in crate::kernels) ChannelPacking);

impl Packing for QuarterSums {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(Strassen::new(&ty.shape(), self.0))
    }
}

/// `[m, c, kh, kw]` as `[block][product][c blocks][kh][kw][16][16]`, where blocks are of half the output
/// channels and c blocks of half the input channels. A stripe is a block.
struct Strassen {
    channels: Channels,
    taps: usize,
}

impl Strassen {
    fn new(shape: &[usize], packing: ChannelPacking) -> Strassen {
        let taps = shape[2] * shape[3];
        Strassen { channels: Channels::new(shape, packing), taps }
    }

    /// Input channels of a half.
    fn half(&self) -> usize {
        self.channels.inputs.len() / 2
    }
}

impl Order for Strassen {
    fn stripes(&self) -> Vec<usize> {
        let whole = self.channels.stripes(self.taps);
        // Half as many outputs, and of each product half as many inputs.
        whole.iter().take(whole.len() / 2).map(|bytes| bytes / 2 * PRODUCTS).collect()
    }

    fn gain(&self) -> f64 {
        let sum = |factors: &[f64; 4]| factors.iter().map(|factor| factor.abs()).sum();
        WEIGHTS.iter().map(sum).fold(0.0, f64::max)
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let from = from.as_chunks::<4>().0;
        let half = self.half();
        let rows = [stripe, stripe + self.channels.blocks() / 2].map(|s| self.channels.rows(s));
        let inputs = self.channels.inputs;
        let product = half * self.taps * BLOCK;
        let to = to.as_chunks_mut::<4>().0;
        for first in (0..half).step_by(BLOCK) {
            for tap in 0..self.taps {
                for input in first..first + BLOCK {
                    let at = ((first * self.taps) + tap * BLOCK + input - first) * BLOCK;
                    let columns = [input, input + half].map(|input| inputs.get(input));
                    for lane in 0..BLOCK {
                        // e, f, g, h
                        let quarters: [f64; 4] = std::array::from_fn(|quarter| {
                            let filters = rows[quarter % 2][lane].as_ref();
                            let filter =
                                filters.zip(columns[quarter / 2]).and_then(|(f, i)| f.of(i));
                            filter.map_or(0.0, |filter| float(from[filter * self.taps + tap]))
                        });
                        for (number, factors) in WEIGHTS.iter().enumerate() {
                            let sum = factors.iter().zip(quarters).fold(0.0, |s, (a, x)| s + a * x);
                            to[number * product + at + lane] = word(sum);
                        }
                    }
                }
            }
        }
    }
}

fn word(value: f64) -> Word {
    (value as f32).to_le_bytes()
}
