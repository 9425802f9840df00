//! The kernels of Strassen's products, and the sums around them.

use crate::error::Result;
use crate::ir::Window;
use crate::ir::text::lexer::Cursor;
use crate::ir::text::values::Value;
use crate::kernels::conv::blocked::BlockedConv;
use crate::machine::BLOCK;
use crate::plan::Loop;
use crate::schedule::epilogue::FusedStep;

/// Products of quarters.
pub(super) const PRODUCTS: usize = 7;

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
pub(super) const FACTORS: [Factor; PRODUCTS] = [
    Factor::Quarter(0, 0),
    Factor::Quarter(0, 1),
    Factor::Sum(3),
    Factor::Quarter(1, 1),
    Factor::Sum(0),
    Factor::Sum(1),
    Factor::Sum(2),
];

/// Distances, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Halves {
    /// From one half of the pixels to the other.
    pub pixels: usize,
    /// From one half of the channels to the other.
    pub channels: usize,
}

impl Halves {
    /// Both halves of both, as loops.
    pub(super) fn both(&self) -> [(usize, usize); 2] {
        [(2, self.pixels), (2, self.channels)]
    }

    /// A quarter's place.
    pub fn at(&self, pixels: usize, channels: usize) -> usize {
        pixels * self.pixels + channels * self.channels
    }
}

/// One of the two leaf functions, for a row of pixels: `fn(from, next, to, bias, pixels, residual)`.
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
        /// Of the residual.
        residual: Halves,
        /// Elements of the bias from one half to the other, if one is added.
        bias: Option<usize>,
        /// What is applied then.
        steps: Vec<FusedStep>,
        /// Where the sums of these as inputs go, if they are made: their halves are those of the
        /// output.
        next: Option<Halves>,
    },
}

/// The sums of inputs. Items are (image, block, piece).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StrassenInput {
    /// Images.
    pub images: Loop,
    /// Blocks of half the channels, as far apart in the output.
    pub blocks: Loop,
    /// Pieces of the pixels that half the outputs read, and pixels of a piece.
    pub pieces: [usize; 2],
    /// Halves of the input.
    pub from: Halves,
    /// Halves of the output.
    pub to: Halves,
}

/// The products and their sums. Weights are `[block of half][7][…][16]`. Items are those of `tile`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StrassenOutput {
    /// A product: half of the blocks and of the rows, written to scratch memory. Strides of loops
    /// around it are those of the input, the output and the residual.
    pub tile: BlockedConv,
    /// Distance between blocks of the output and of the residual.
    pub block: [usize; 2],
    /// Halves of the input.
    pub from: Halves,
    /// Halves of the sums of inputs.
    pub sums: Halves,
    /// Distance between images of the sums.
    pub sums_image: usize,
    /// Halves of the output.
    pub to: Halves,
    /// Halves of the residual.
    pub residual: Halves,
    /// Whether there is a bias.
    pub bias: bool,
    /// What is applied to each output.
    pub steps: Vec<FusedStep>,
    /// The sums that another one wants of the outputs. They are made here, where all four quarters are
    /// in registers.
    pub next: Option<NextSums>,
}

/// Sums of outputs, as [`StrassenInput`] makes them: distances within halves are those of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NextSums {
    /// Halves of the sums.
    pub to: Halves,
    /// Distance between images.
    pub image: usize,
}

impl StrassenInput {
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

    /// The leaf function.
    pub fn sums(&self) -> Sums {
        Sums::Products {
            product: self.product(),
            to: self.to,
            residual: self.residual,
            bias: self.bias.then_some(self.tile.blocks * BLOCK),
            steps: self.steps.clone(),
            next: self.next.map(|next| next.to),
        }
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

/// As text `PIXELSxCHANNELS`.
impl Value for Halves {
    fn write(&self) -> String {
        [self.pixels, self.channels].write()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Halves> {
        let [pixels, channels] = Value::read(cursor)?;
        Ok(Halves { pixels, channels })
    }
}
