//! Resampling with the results of Pillow, to the byte.
//!
//! Models are trained on images that Pillow has resized, so its arithmetic is the specification: columns first and then
//! rows, each pass with weights in fixed point (22 bits after the point) and rounded to bytes. A pixel of the output is
//! a weighted sum of those of the input that lie within the filter's support, which grows as an image shrinks; weights
//! outside of the image are left out, and the others sum up to 1.

use std::ops::Range;

use super::options::Interpolation;

/// Bits after the point: a sum of bytes by weights stays within an `i32`.
const POINT: u32 = 22;

/// One side of an image: from how many pixels to how many, and which of these are wanted.
pub(super) struct Side {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) wanted: Range<usize>,
}

/// The wanted part of an image of `C` interleaved channels, u8[H, W, C], once it has been resized.
pub(super) fn resample<const C: usize>(
    pixels: &[u8],
    width: &Side,
    height: &Side,
    filter: Interpolation,
) -> Vec<u8> {
    let columns = Weights::new(width, filter);
    let rows = Weights::new(height, filter);
    let Range { start, end } = rows.reads();
    let read = pixels.chunks_exact(width.from * C).take(end).skip(start);
    let narrow: Vec<u8> = read.flat_map(|row| columns.of_row::<C>(row)).collect();
    rows.of_columns(&narrow, width.wanted.len() * C, start)
}

/// What each wanted pixel of a side is made of.
struct Weights {
    taps: Vec<Taps>,
}

/// The weights of the pixels from `first` on.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Weights {
    fn new(side: &Side, filter: Interpolation) -> Weights {
        Weights { taps: side.wanted.clone().map(|at| Taps::new(at, side, filter)).collect() }
    }

    /// The pixels that any of them takes.
    fn reads(&self) -> Range<usize> {
        let start = self.taps.iter().map(|taps| taps.first).min();
        let end = self.taps.iter().map(|taps| taps.first + taps.weights.len()).max();
        start.unwrap_or(0)..end.unwrap_or(0)
    }

    /// A row of pixels of `C` channels, resized.
    fn of_row<const C: usize>(&self, row: &[u8]) -> impl Iterator<Item = u8> {
        self.taps.iter().flat_map(move |Taps { first, weights }| {
            let mut sums = [HALF; C];
            for (weight, pixel) in weights.iter().zip(row[first * C..].chunks_exact(C)) {
                for (sum, byte) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(*byte);
                }
            }
            sums.map(rounded)
        })
    }

    /// Columns of bytes, resized: of rows of `length` bytes, the first of which is number `start` of the image.
    fn of_columns(&self, bytes: &[u8], length: usize, start: usize) -> Vec<u8> {
        let mut sums = vec![0; length];
        let mut resized = Vec::with_capacity(self.taps.len() * length);
        for Taps { first, weights } in &self.taps {
            sums.fill(HALF);
            let rows = bytes[(first - start) * length..].chunks_exact(length);
            for (weight, row) in weights.iter().zip(rows) {
                for (sum, byte) in sums.iter_mut().zip(row) {
                    *sum += weight * i32::from(*byte);
                }
            }
            resized.extend(sums.iter().map(|sum| rounded(*sum)));
        }
        resized
    }
}

/// What sums begin with, so that cutting off what is behind the point rounds them.
const HALF: i32 = 1 << (POINT - 1);

fn rounded(sum: i32) -> u8 {
    (sum >> POINT).clamp(0, 255) as u8
}

impl Taps {
    fn new(at: usize, side: &Side, filter: Interpolation) -> Taps {
        let scale = side.from as f64 / side.to as f64;
        // An enlarged image is interpolated, a smaller one averaged.
        let widened = scale.max(1.);
        let reach = reach(filter) * widened;
        let centre = (at as f64 + 0.5) * scale;
        // Cut off, and below 0 where the filter begins outside of the image.
        let first = (centre - reach + 0.5) as usize;
        let end = ((centre + reach + 0.5) as usize).min(side.from);
        let shrink = 1. / widened;
        let weight = |pixel: usize| kernel(filter, (pixel as f64 - centre + 0.5) * shrink);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let weights = weights.iter().map(|weight| fixed(weight / total)).collect();
        Taps { first, weights }
    }
}

/// The nearest number in fixed point, halves away from zero.
fn fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << POINT);
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

/// How many pixels from its centre a filter is not zero, where the image is not made smaller.
fn reach(filter: Interpolation) -> f64 {
    match filter {
        Interpolation::Bilinear => 1.,
        Interpolation::Bicubic => 2.,
    }
}

/// The filter at a distance from its centre: a triangle, or Keys' cubic convolution with a = -1/2 (Keys 1981, eq. 15).
fn kernel(filter: Interpolation, distance: f64) -> f64 {
    const A: f64 = -0.5;
    let x = distance.abs();
    match filter {
        Interpolation::Bilinear => (1. - x).max(0.),
        Interpolation::Bicubic if x < 1. => ((A + 2.) * x - (A + 3.)) * x * x + 1.,
        Interpolation::Bicubic if x < 2. => (((x - 5.) * x + 8.) * x - 4.) * A,
        Interpolation::Bicubic => 0.,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 97;
    const HEIGHT: usize = 61;

    /// Noise, with which nothing that is wrong stays hidden.
    fn noise() -> Vec<u8> {
        let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let states = std::iter::successors(Some(1), next).skip(1);
        states.take(WIDTH * HEIGHT * 3).map(|state| (state >> 24) as u8).collect()
    }

    fn resized(to: (usize, usize), filter: Interpolation) -> Vec<u8> {
        let width = Side { from: WIDTH, to: to.0, wanted: 0..to.0 };
        let height = Side { from: HEIGHT, to: to.1, wanted: 0..to.1 };
        resample::<3>(&noise(), &width, &height, filter)
    }

    /// FNV-1a.
    fn hash(bytes: &[u8]) -> u64 {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
    }

    /// Hashes of what Pillow 13.0 makes of the same pixels: `Image.resize(to, filter)`.
    #[test]
    fn every_byte_is_pillows() {
        let expected = [
            (Interpolation::Bilinear, (40, 25), 0xd01d_024c_31a7_bc1c),
            (Interpolation::Bilinear, (150, 94), 0x088b_a7e5_9a38_9ad0),
            (Interpolation::Bilinear, (97, 20), 0x571f_c2c9_2297_ce18),
            (Interpolation::Bilinear, (9, 300), 0x1e41_e1fc_2b93_1ae2),
            (Interpolation::Bicubic, (40, 25), 0x6f56_e67d_d42c_e31b),
            (Interpolation::Bicubic, (150, 94), 0xc4ae_9494_1c15_cb4c),
            (Interpolation::Bicubic, (97, 20), 0x07c9_1029_7a9d_388d),
            (Interpolation::Bicubic, (9, 300), 0xfd13_dd67_98c2_dfe2),
        ];
        for (filter, to, expected) in expected {
            assert_eq!(hash(&resized(to, filter)), expected, "{filter:?} to {to:?}");
        }
    }

    #[test]
    fn a_part_is_what_it_is_in_the_whole() {
        for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let whole = resized((40, 94), filter);
            let width = Side { from: WIDTH, to: 40, wanted: 7..30 };
            let height = Side { from: HEIGHT, to: 94, wanted: 50..93 };
            let part = resample::<3>(&noise(), &width, &height, filter);
            let rows = whole.chunks(40 * 3).skip(50).take(43);
            assert!(rows.flat_map(|row| &row[7 * 3..30 * 3]).eq(&part));
        }
    }
}
