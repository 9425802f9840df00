//! Filters in Winograd's transformed domain.

use super::points::Points;
use crate::ir::{DType, TensorType};
use crate::kernels::conv::micro_kernel::MicroKernel;
use crate::kernels::conv::pack::{ChannelPacking, Channels, Filters, is_filter};
use crate::kernels::multiples::Multiples;
use crate::machine::{BLOCK, Element, bfloat16};
use crate::plan::weights::{Order, Packing, Word, float};
use crate::schedule::byte_scale::ByteScale;

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

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(Winograd::new(&ty.shape(), self.0, self.1))
    }
}

/// The same for products of i16, of filters that are multiples of a scale.
#[derive(Debug)]
pub(in crate::kernels) struct TransformedHalves {
    pub(in crate::kernels) packing: ChannelPacking,
    /// m of the tiles.
    pub(in crate::kernels) outputs: usize,
    /// What the bytes of the input stand for.
    pub(in crate::kernels) read: ByteScale,
}

impl Packing for TransformedHalves {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn dtype(&self, _: &TensorType) -> DType {
        DType::I8
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        let points = Points::of_integers(self.outputs);
        Box::new(Halves {
            channels: channels(&ty.shape(), self.packing),
            products: products(points),
            largest: points.largest(self.read),
            read: self.read,
        })
    }
}

/// The same for products of bfloat16.
#[derive(Debug)]
pub(in crate::kernels) struct TransformedBfloats {
    pub(in crate::kernels) packing: ChannelPacking,
    /// m of the tiles.
    pub(in crate::kernels) outputs: usize,
}

impl Packing for TransformedBfloats {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn dtype(&self, _: &TensorType) -> DType {
        DType::I8
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(Bfloats(Winograd::new(&ty.shape(), self.packing, self.outputs)))
    }
}

/// `[m, c, 3, 3]` as `[group][block][element][c blocks][16][16]` in the transformed domain.
struct Winograd {
    channels: Channels,
    products: Vec<Parts>,
}

/// What a transformed element is of a filter's taps: those that have a part in it, with factors.
type Parts = Vec<(usize, f64)>;

const TAPS: usize = 9;

impl Winograd {
    fn new(shape: &[usize], packing: ChannelPacking, outputs: usize) -> Winograd {
        Winograd {
            channels: channels(shape, packing),
            products: products(Points::of_floats(outputs)),
        }
    }
}

/// Inputs are always in blocks.
fn channels(shape: &[usize], packing: ChannelPacking) -> Channels {
    let in_segments = packing.in_segments.or(Some(1));
    Channels::new(shape, ChannelPacking { in_segments, ..packing })
}

/// Of each transformed element.
fn products(points: Points) -> Vec<Parts> {
    points.filter_products().into_iter().map(parts).collect()
}

/// The taps that have a part in an element, with their factors.
fn parts(factors: [f64; TAPS]) -> Parts {
    factors.into_iter().enumerate().filter(|(_, factor)| *factor != 0.0).collect()
}

impl Order for Winograd {
    fn stripes(&self) -> Vec<usize> {
        self.channels.stripes(self.products.len())
    }

    fn gain(&self) -> f64 {
        let sum = |parts: &Parts| parts.iter().map(|(_, factor)| factor.abs()).sum();
        self.products.iter().map(sum).fold(0.0, f64::max)
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let (inputs, to) = (self.channels.inputs.len(), to.as_chunks_mut::<4>().0);
        self.each(from, stripe, |input, element, sums| {
            let line = &mut to[(element * inputs + input) * BLOCK..][..BLOCK];
            for (word, sum) in line.iter_mut().zip(sums) {
                *word = sum.to_le_bytes();
            }
        });
    }
}

impl Winograd {
    /// Calls with each element of the filters from an input channel to the outputs of a block.
    #[inline]
    fn each(&self, from: &[u8], stripe: usize, mut line: impl FnMut(usize, usize, &[f32; BLOCK])) {
        let from = from.as_chunks::<4>().0;
        let rows = self.channels.rows(stripe);
        let inputs = self.channels.inputs;
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
                line(at, element, &transformed(parts, &taps));
            }
        }
    }
}

/// The same as `[group][block][element][c blocks][8][16][2]`, rounded to bfloat16.
struct Bfloats(Winograd);

impl Order for Bfloats {
    fn stripes(&self) -> Vec<usize> {
        self.0.stripes().into_iter().map(|bytes| bytes / Element::Bf16.of_word()).collect()
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        const PAIR: usize = Element::Bf16.of_word();
        let (inputs, halves) = (self.0.channels.inputs.len(), to.as_chunks_mut::<2>().0);
        self.0.each(from, stripe, |input, element, sums| {
            let line = (element * inputs / PAIR + input / PAIR) * BLOCK * PAIR;
            for (lane, sum) in sums.iter().enumerate() {
                let bits = bfloat16::nearest(*sum).to_bits();
                halves[line + lane * PAIR + input % PAIR] = bits.to_le_bytes();
            }
        });
    }
}

/// An element of the filters from one input channel to the outputs of a block, whose sums stay in
/// registers.
#[inline]
fn transformed(parts: &[(usize, f64)], taps: &[[f64; BLOCK]; TAPS]) -> [f32; BLOCK] {
    let mut sums = [0f64; BLOCK];
    for (tap, factor) in parts {
        for (sum, tap) in sums.iter_mut().zip(&taps[*tap]) {
            *sum += factor * tap;
        }
    }
    let mut rounded = [0f32; BLOCK];
    for (to, sum) in rounded.iter_mut().zip(&sums) {
        *to = *sum as f32;
    }
    rounded
}

/// `[m, c, 3, 3]` as `[group][block][element]` and then a line of what sums are scaled by, as f32, and the
/// transformed filters as i16, `[c / 2][16][2]`.
///
/// A transformed filter is rounded to multiples of a step, one for each element and output channel: the
/// smallest of which multiples are i16, and with which no sum can be more than an i32, whatever the input.
struct Halves {
    channels: Channels,
    products: Vec<Parts>,
    /// The largest size of what each element is multiplied with.
    largest: Vec<f64>,
    /// What the bytes of the input stand for.
    read: ByteScale,
}

impl Halves {
    /// Lines of an element's weights.
    fn lines(&self) -> usize {
        let header = MicroKernel { element: Element::I16, ..MicroKernel::default() }.header();
        header + self.channels.inputs.len() / Element::I16.of_word()
    }

    /// The filters of an output channel in the transformed domain, `[input][element]`, in the scale of its
    /// weights.
    fn transformed(&self, weights: &Multiples<'_>, filters: &Filters) -> Vec<Vec<f64>> {
        let of = |input: Option<usize>| {
            let filter = input.and_then(|input| filters.of(input)).map(|f| f - filters.first());
            let tap = |tap: usize| filter.map_or(0, |filter| weights.steps(filter * TAPS + tap));
            let taps: [f64; TAPS] = std::array::from_fn(|at| f64::from(tap(at)));
            let element =
                |parts: &Parts| parts.iter().map(|(tap, factor)| factor * taps[*tap]).sum();
            self.products.iter().map(element).collect()
        };
        self.channels.inputs.iter().map(of).collect()
    }

    /// How many steps the scale of an output channel's weights is, at an element.
    fn steps(&self, transformed: &[Vec<f64>], element: usize) -> f64 {
        const MOST_SUM: f64 = i32::MAX as f64;
        const MOST: f64 = i16::MAX as f64;
        let sizes = || transformed.iter().map(|elements| elements[element].abs());
        let (largest, sum) = (sizes().fold(0.0, f64::max), sizes().sum::<f64>());
        if largest == 0.0 {
            return 1.0;
        }
        // Each may be rounded up by half a step.
        let rounded = 0.5 * sizes().filter(|size| *size > 0.0).count() as f64;
        let of_sum = (MOST_SUM / self.largest[element] - rounded) / sum;
        of_sum.min(MOST / largest)
    }
}

impl Order for Halves {
    fn stripes(&self) -> Vec<usize> {
        let blocks = self.channels.stripes(0).len();
        vec![self.products.len() * self.lines() * BLOCK * size_of::<Word>(); blocks]
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let from = from.as_chunks::<4>().0;
        let lines = self.lines();
        let to = to.as_chunks_mut::<4>().0;
        for (lane, filters) in self.channels.rows(stripe).iter().enumerate() {
            let Some(filters) = filters else { continue };
            let weights = Multiples::of(filters.weights(from, TAPS));
            let transformed = self.transformed(&weights, filters);
            let scale = f64::from(self.read.scale) * f64::from(weights.scale);
            for (element, line) in to.chunks_exact_mut(lines * BLOCK).enumerate() {
                let steps = self.steps(&transformed, element);
                line[lane] = ((scale / steps) as f32).to_le_bytes();
                let half = |elements: Option<&Vec<f64>>| {
                    let size = elements.map_or(0.0, |elements| elements[element] * steps);
                    (size.round() as i16).to_le_bytes()
                };
                for (pair, inputs) in transformed.chunks(Element::I16.of_word()).enumerate() {
                    let ([a, b], [c, d]) = (half(inputs.first()), half(inputs.get(1)));
                    line[(1 + pair) * BLOCK + lane] = [a, b, c, d];
                }
            }
        }
    }
}
