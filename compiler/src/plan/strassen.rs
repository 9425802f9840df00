//! Strassen's products of matrices cut in halves (Strassen 1969, "Gaussian Elimination is not
//! Optimal"), in the form with the fewest sums, which is Winograd's: 7 products of quarters instead
//! of 8, for 4 sums of inputs and 7 of products.
//!
//! A convolution is such a product for each tap: pixels by input channels, times input channels by
//! output channels. All three are cut in halves, pixels between rows of the output:
//!
//! ```text
//! X = | a b |   pixels 1        W = | e f |   inputs 1
//!     | c d |   pixels 2            | g h |   inputs 2
//!       inputs 1, 2                   outputs 1, 2
//!
//! s1 = c + d     s2 = s1 - a    s3 = a - c     s4 = b - s2
//!
//! p1 = a e                      p2 = b g       p3 = s4 h
//! p4 = d (g - h + f - e)        p5 = s1 (f - e)
//! p6 = s2 (h - f + e)           p7 = s3 (h - f)
//!
//! Y = | p1 + p2               p1 + p6 + p5 + p3 |
//!     | p1 + p6 + p7 + p4     p1 + p6 + p7 + p5 |
//! ```
//!
//! What is done to X and W is linear and does not mix pixels but with those of the other half, so the
//! sums serve windows of any size. Rounding errors are about 2.7 times those of the definition.

use std::fmt;

use super::cost::STEP;
use super::kernel::Span;
use super::tile::{Around, BLOCK, Tile, TileStep, Vectors};
use crate::ir::Window;

/// Products of quarters.
pub const PRODUCTS: usize = 7;

/// What of the quarters `e f g h` of the weights each product is with.
pub(super) const WEIGHTS: [[f64; 4]; PRODUCTS] = [
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 0.0],
    [0.0, 0.0, 0.0, 1.0],
    [-1.0, 1.0, 1.0, -1.0],
    [-1.0, 1.0, 0.0, 0.0],
    [1.0, -1.0, 0.0, 1.0],
    [0.0, -1.0, 0.0, 1.0],
];

/// Where a product reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// This half of the pixels and of the channels.
    Quarter(usize, usize),
    /// The sum of this number, from 0.
    Sum(usize),
}

/// The inputs of each product.
pub const FACTORS: [Factor; PRODUCTS] = [
    Factor::Quarter(0, 0),
    Factor::Quarter(0, 1),
    Factor::Sum(3),
    Factor::Quarter(1, 1),
    Factor::Sum(0),
    Factor::Sum(1),
    Factor::Sum(2),
];

/// Distances, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halves {
    /// From one half of the pixels to the other.
    pub pixels: usize,
    /// From one half of the channels to the other.
    pub channels: usize,
}

impl Halves {
    /// A quarter's place.
    pub fn at(&self, pixels: usize, channels: usize) -> usize {
        pixels * self.pixels + channels * self.channels
    }
}

/// One of the two leaf functions, for a row of pixels: `fn(from, next, to, bias, pixels, other)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sums {
    /// The sums of inputs.
    Inputs {
        /// Of the input.
        from: Halves,
        /// Of the sums: s1 and s2 are halves of pixels, these and s3 and s4 of channels.
        to: Halves,
    },
    /// The sums of products, which are the outputs.
    Products {
        /// Distance between products.
        product: usize,
        /// Of the output.
        to: Halves,
        /// Of the other operand.
        other: Halves,
        /// Elements of the bias from one half to the other, if one is added.
        bias: Option<usize>,
        /// What is applied then.
        steps: Vec<TileStep>,
        /// Where the sums of these as inputs go, if they are made: their halves are those of the
        /// output.
        next: Option<Halves>,
    },
}

/// The sums of inputs. Arguments: out, in. Items are (image, block, piece).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrassenInput {
    /// Images: count, strides in the input and the output.
    pub images: Around,
    /// Blocks of half the channels: count, stride in both.
    pub blocks: Span,
    /// Pieces of the pixels that half the outputs read, and pixels of a piece.
    pub pieces: [usize; 2],
    /// Halves of the input.
    pub from: Halves,
    /// Halves of the output.
    pub to: Halves,
}

/// The products and their sums. Arguments: out, in, weights `[block of half][7][…][16]`, sums of inputs,
/// scratch, bias if there is one, the other operand if a step reads one, the sums of the outputs as inputs
/// of another one if there are any. Items are those of `tile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrassenOutput {
    /// A product: half of the blocks and of the rows, written to scratch memory. Strides of loops
    /// around it are those of the input, the output and the other operand.
    pub tile: Tile,
    /// Distance between blocks of the output and of the other operand.
    pub block: [usize; 2],
    /// Halves of the input.
    pub from: Halves,
    /// Halves of the sums of inputs.
    pub sums: Halves,
    /// Distance between images of the sums.
    pub sums_image: usize,
    /// Halves of the output.
    pub to: Halves,
    /// Halves of the other operand.
    pub other: Halves,
    /// Whether there is a bias.
    pub bias: bool,
    /// What is applied to each output.
    pub steps: Vec<TileStep>,
    /// The sums that another one wants of the outputs. They are made here, where all four quarters are
    /// in registers.
    pub next: Option<NextSums>,
}

/// Sums of outputs, as [`StrassenInput`] makes them: distances within halves are those of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextSums {
    /// Halves of the sums.
    pub to: Halves,
    /// Distance between images.
    pub image: usize,
}

impl StrassenInput {
    /// Independent items.
    pub fn items(&self) -> usize {
        self.images.count * self.blocks.count * self.pieces[0]
    }

    /// The leaf function.
    pub fn sums(&self) -> Sums {
        Sums::Inputs { from: self.from, to: self.to }
    }
}

impl StrassenOutput {
    /// Distance between products in scratch memory, `[product][block][pixel][16]`.
    pub fn product(&self) -> usize {
        product(self.tile.micro.blocks, self.tile.columns)
    }

    /// Scratch elements of a thread.
    pub fn scratch(&self) -> usize {
        PRODUCTS * self.product()
    }

    /// The leaf function.
    pub fn sums(&self) -> Sums {
        Sums::Products {
            product: self.product(),
            to: self.to,
            other: self.other,
            bias: self.bias.then_some(self.tile.blocks * BLOCK),
            steps: self.steps.clone(),
            next: self.next.map(|next| next.to),
        }
    }

    /// The arguments' number of the bias, the other operand and the next sums, where there are such.
    pub fn optional(&self) -> [Option<usize>; 3] {
        let mut next = 5;
        let other = self.steps.contains(&TileStep::AddOther);
        [self.bias, other, self.next.is_some()].map(|is_there| {
            let at = is_there.then_some(next);
            next += usize::from(is_there);
            at
        })
    }

    /// Multiply-adds of the definition.
    pub fn multiply_adds(&self) -> usize {
        let Tile { images, rows, columns, blocks, micro, .. } = &self.tile;
        8 * images.count * rows.count * columns * blocks * BLOCK * micro.depth()
    }
}

/// Pixels from the first to the last that half of the outputs read, in rows so far apart. Where neither
/// side has a border (`flat`), a half need not end with a row.
pub(super) fn half_read(window: &Window, flat: bool, [h, w]: [usize; 2], row: usize) -> usize {
    if flat {
        return (h * w).div_ceil(2);
    }
    let reach = |axis: usize, outputs: usize| {
        (outputs.saturating_sub(1)) * window.stride[axis]
            + (window.kernel[axis].saturating_sub(1)) * window.dilation[axis]
    };
    reach(0, h / 2) * row / BLOCK + reach(1, w) + 1
}

/// A distance of at least so many blocks of pixels, odd, so that products lie in different sets of the
/// caches.
pub(super) fn product(blocks: usize, columns: usize) -> usize {
    ((blocks * columns) | 1) * BLOCK
}

/// What a convolution costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    /// By its definition.
    pub(super) direct: f64,
    /// With Strassen's products.
    pub(super) strassen: f64,
}

/// The extents of the sums around products.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extents {
    /// Output pixels of all images.
    pub(super) pixels: usize,
    /// Pixels that half of them read.
    pub(super) read: usize,
    /// Elements that are copied besides.
    pub(super) copied: usize,
    /// Channels on both sides, made up ones too.
    pub(super) channels: [usize; 2],
}

impl Extents {
    /// Cycles of the sums, and of a step that makes some of them.
    pub(super) fn sums(&self, vectors: Vectors) -> f64 {
        // What a vector of inputs and one of outputs cost on their way: products of larger vectors are
        // faster, what feeds them is not.
        let [input, output] = match vectors {
            Vectors::Avx512 => [11.0, 9.0],
            Vectors::Sse | Vectors::Neon | Vectors::Avx2 => [5.5, 4.0],
        };
        const COPIED: f64 = 2.0;
        let Extents { pixels, read, copied, channels } = *self;
        let [read, copied, pixels, from, to] =
            [read, copied, pixels, channels[0], channels[1]].map(|n| n as f64);
        // Both halves of the pixels are read once.
        let elements = input * 2.0 * read * from + output * pixels * to + COPIED * copied;
        elements / vectors.lanes() as f64 + STEP
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [strassen, direct] = [self.strassen, self.direct].map(|c| (c / 1e3).round());
        write!(f, "estimated kilocycles: Strassen {strassen}, direct {direct}")
    }
}
