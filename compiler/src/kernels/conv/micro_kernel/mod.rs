//! The micro-kernel of convolutions in blocks: a register tile of pixels by blocks of output channels,
//! over all contracted elements.
//!
//! ```text
//! out[pixel][block][16] = steps(bias[block][16] + Σ_r in[pixel + r] · w[r][block][16])
//! ```
//!
//! Bytes are multiplied four channels at a time, a word each, and summed in i32:
//!
//! ```text
//! sum = start[block][16] + Σ_r in[pixel + r] · w[r][block][16]
//! out[pixel][block][16] = rounded(steps(bias[block][16] + scale[block][16] · sum))
//! ```
//!
//! bfloat16 are multiplied two channels at a time, and summed in f32 as above. Products of i16, of Winograd's
//! domain, are made two channels at a time, summed in i32 from 0 on, and scaled.
//!
//! One specification serves 1×1 convolutions, direct k×k ones, the products in Winograd's transformed
//! domain and those of Strassen's quarters.

mod assembled;
mod cranelift;
mod finish;

pub(in crate::kernels) use finish::can_finish;

use crate::asm;
use crate::codegen::{Leaf, LeafCode};
use crate::error::{Error, Result};
use crate::ir::expr::Expr;
use crate::machine::{BLOCK, Element, Vectors};
use crate::plan::kernel::Fields;
use crate::plan::{Loop, Walk};
use crate::schedule::byte_scale::ByteScale;
use crate::schedule::epilogue::FusedStep;

/// The innermost function: computes tiles of one row of pixels, one after the other.
///
/// Called as `(in, weights, out, bias, tiles, residual)`. Distances are in elements, those of input and
/// weights that are not f32 in words of four bytes. Weights of a block lie in the order they are read,
/// `[reduce…][16]`, whatever the tile: so CPUs with other registers share them. Before those of bytes are
/// two lines: what their sums start from, as i32, and what they are scaled by. Before those of i16 is one of
/// what sums are scaled by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MicroKernel {
    /// What the input is stored as, and the weights, those of bytes with signs.
    pub element: Element,
    /// Whether products of a word are not added up by one instruction, but a pair at a time. Then no pair of
    /// weights in bytes of one sign adds up to more than [`LARGEST_PAIR`](crate::machine::LARGEST_PAIR).
    pub pairs: bool,
    /// What else is bytes, where these are.
    pub bytes: Bytes,
    /// Pixels of a tile.
    pub pixels: usize,
    /// Blocks of output channels of a tile.
    pub blocks: usize,
    /// Distance between blocks in the weights.
    pub weights_block: usize,
    /// Distance between pixels in the input.
    pub input_pixel: usize,
    /// Distance between pixels in the output, and in the residual operand.
    pub output_pixel: usize,
    /// Distance between blocks in the output.
    pub output_block: usize,
    /// Distance between blocks in the residual operand.
    pub residual_block: usize,
    /// The contracted loops, outermost first; the last is unrolled.
    pub reduce: Vec<Loop>,
    /// Channels of a group that is narrower than a block, 1, 4 or 8; 0 where groups are whole blocks.
    /// A lane then contracts the channels of its own group, and the last of the loops runs over
    /// them.
    pub narrow: usize,
    /// The weights that are fetched meanwhile.
    pub prefetch: Prefetch,
    /// Whether sums start from a bias.
    pub bias: bool,
    /// Whether sums are added to what the output holds.
    pub accumulate: bool,
    /// What is applied to the sums, first to last.
    pub steps: Vec<FusedStep>,
    /// What becomes of what these make, `x0`, and of the residual operand, `x1`: functions of many steps, which need
    /// the registers of the sums. So they are applied to a tile that is stored already, and still is in the
    /// first-level cache. Only where f32 are stored.
    pub finish: Expr,
}

/// What is bytes of output and residual operand; f32 is what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes {
    /// What those of the output stand for.
    pub made: Option<ByteScale>,
    /// What those of the residual operand stand for.
    pub residual: Option<ByteScale>,
}

/// Words of a group of so many channels, for each of which a vector's lanes are told which word of a block is their
/// own group's. No lane is told where words are found otherwise: the channel of a group of one is the lane's own, and
/// elements of f32 are broadcast within quarters, or to a register that is one group.
pub fn orders(element: Element, narrow: usize, vectors: Vectors) -> usize {
    match (element, narrow) {
        (_, 0 | 1) | (Element::F32, 4) => 0,
        (Element::F32, of_group) if of_group >= vectors.lanes() => 0,
        (Element::F32 | Element::U8 | Element::I16 | Element::Bf16, of_group) => {
            of_group.div_ceil(element.of_word())
        }
    }
}

/// Fetching of the weights that the next call wants into the second-level cache, while tiles run through
/// those of this one: each tile fetches its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prefetch {
    /// How many tiles run through these weights, those of other functions too; 0 where fetching is not
    /// worth it.
    pub tiles: usize,
    /// How many of them come before those of this function.
    pub earlier: usize,
    /// Elements from these weights to those of the next call: where, and not how far ahead.
    pub distance: usize,
}

/// Something for each micro-kernel of one part of a contraction, by blocks and pixels: of whole tiles,
/// then of what is left; `None` where nothing is.
pub type Variants<T> = [[Option<T>; 2]; 2];

impl MicroKernel {
    /// What a sum runs over: words of four bytes, which an element of f32 is.
    pub fn depth(&self) -> usize {
        self.reduce.iter().map(|r| r.count).product()
    }

    /// Multiply-adds of an output element.
    pub(super) fn multiply_adds(&self) -> usize {
        // A channel of its own has a word of its own.
        if self.narrow == 1 { self.depth() } else { self.depth() * self.element.of_word() }
    }

    /// Lines before the weights of a block.
    pub(super) fn header(&self) -> usize {
        match self.element {
            Element::F32 | Element::Bf16 => 0,
            Element::I16 => 1,
            Element::U8 => 2,
        }
    }

    /// Lines of the weights of a block.
    pub(super) fn lines(&self) -> usize {
        self.header() + self.depth()
    }

    /// Whether something is contracted, the weights of blocks lie one after the other, in so many matrices
    /// each, and the last loop runs over the channels of a narrow group.
    pub(super) fn is_packed(&self, matrices: usize) -> bool {
        if self.reduce.is_empty() || self.depth() == 0 {
            return false;
        }
        let of_group = self.narrow.div_ceil(self.element.of_word());
        if self.narrow > 0 && self.reduce.last().is_none_or(|last| last.count != of_group) {
            return false;
        }
        match self.element {
            Element::F32 | Element::Bf16 if self.pairs || self.bytes != Bytes::default() => {
                return false;
            }
            Element::Bf16 if self.narrow == 1 => return false,
            _ if self.narrow > 0 && self.blocks != 1 => return false,
            Element::I16 if self.narrow > 0 || self.bytes != Bytes::default() => return false,
            Element::F32 | Element::U8 | Element::I16 | Element::Bf16 => {}
        }
        let block = [matrices, self.lines(), BLOCK].into_iter().fold(1, usize::saturating_mul);
        self.blocks == 1 || self.weights_block == block
    }

    /// What is read of the input for so many pixels, in loops around them.
    pub(super) fn read_by(
        &self,
        around: impl IntoIterator<Item = (usize, usize)>,
        pixels: usize,
    ) -> Walk {
        let (channels, taps) = match (&self.reduce[..], self.narrow) {
            // Each lane reads the channels of its own group.
            ([taps @ .., _], 1..) => (BLOCK / self.element.of_word(), taps),
            (taps, _) => (1, taps),
        };
        let pixels = (pixels, self.input_pixel);
        Walk::floats([channels]).by(around).by([pixels]).by(taps.iter().map(Loop::read))
    }

    /// Whether it reads the residual operand.
    pub(super) fn reads_residual(&self) -> bool {
        self.steps.contains(&FusedStep::AddResidual) || finish::reads_residual(&self.finish)
    }

    /// Whether it can finish what it stores: only sums of f32 that are stored as such have the registers for it.
    pub(in crate::kernels) fn finishes(&self) -> bool {
        let is_float = match self.element {
            Element::F32 | Element::Bf16 => self.bytes.made.is_none(),
            Element::U8 | Element::I16 => false,
        };
        is_float && can_finish(&self.finish)
    }

    /// What the output is stored as.
    pub(super) fn made(&self) -> Element {
        if self.bytes.made.is_some() { Element::U8 } else { Element::F32 }
    }

    /// What the residual operand is stored as.
    pub(super) fn added(&self) -> Element {
        if self.bytes.residual.is_some() { Element::U8 } else { Element::F32 }
    }

    /// The same for tiles of another size.
    pub fn sized(&self, pixels: usize, blocks: usize) -> MicroKernel {
        let weights_block = if blocks > 1 { self.weights_block } else { 0 };
        MicroKernel { pixels, blocks, weights_block, ..self.clone() }
    }

    /// The micro-kernels for rows of so many pixels and groups of so many blocks.
    pub(super) fn variants(&self, columns: usize, blocks: usize) -> Variants<MicroKernel> {
        let sizes = |count: usize, size: usize| {
            let (whole, rest) = (count / size, count % size);
            [(whole > 0).then_some(size), (rest > 0).then_some(rest)]
        };
        let (pixels, blocks) = (sizes(columns, self.pixels), sizes(blocks, self.blocks));
        let prefetch = Prefetch { earlier: columns / self.pixels, ..self.prefetch };
        let rest = MicroKernel { prefetch, ..self.clone() };
        blocks.map(|b| {
            [(self, pixels[0]), (&rest, pixels[1])].map(|(kernel, p)| Some(kernel.sized(p?, b?)))
        })
    }

    /// The loop over a row of the window, for narrow groups, where pixels are whole taps apart and so
    /// read the same words.
    pub(crate) fn shared_taps(&self) -> Option<Loop> {
        let [.., taps, _] = self.reduce[..] else { return None };
        let apart = taps.input > 0 && self.input_pixel.is_multiple_of(taps.input);
        (self.narrow > 0 && self.blocks == 1 && apart).then_some(taps)
    }

    /// Visits every attribute.
    pub(super) fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        let mut tile = [self.pixels, self.blocks];
        v.field("tile", &mut tile)?;
        [self.pixels, self.blocks] = tile;
        v.field_unless("f32", "elements", &mut self.element)?;
        v.field_unless("false", "pairs", &mut self.pairs)?;
        v.field_unless("none", "bytes_made", &mut self.bytes.made)?;
        v.field_unless("none", "bytes_added", &mut self.bytes.residual)?;
        v.field("weights_block", &mut self.weights_block)?;
        v.field("in_pixel", &mut self.input_pixel)?;
        v.field("out_pixel", &mut self.output_pixel)?;
        v.field("out_block", &mut self.output_block)?;
        v.field("residual_block", &mut self.residual_block)?;
        v.field("reduce", &mut self.reduce)?;
        v.field("narrow", &mut self.narrow)?;
        v.field("prefetch_tiles", &mut self.prefetch.tiles)?;
        v.field("prefetch_earlier", &mut self.prefetch.earlier)?;
        v.field("prefetch_distance", &mut self.prefetch.distance)?;
        v.field("bias", &mut self.bias)?;
        v.field("accumulate", &mut self.accumulate)?;
        v.field("then", &mut self.steps)?;
        v.field_unless("x0", "finish", &mut self.finish)
    }
}

/// Loops over blocks of the input, then over the words of a block.
pub(in crate::kernels) fn contracted(mut reduce: Vec<Loop>, words: usize) -> Vec<Loop> {
    reduce.retain(|r| r.count != 1);
    reduce.push(Loop::reading(words, 1));
    reduce
}

impl Leaf for MicroKernel {
    fn name(&self) -> String {
        format!("micro.{}x{}", self.pixels, self.blocks)
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        if self.finish != Expr::default() && !self.finishes() {
            return Err(Error::internal("a micro-kernel that finishes what it cannot"));
        }
        if asm::is_encoded(vectors) {
            return Ok(LeafCode::Assembled(self.assembled(vectors)));
        }
        if self.element != Element::F32 {
            return Err(Error::internal("without an assembler, micro-kernels are of f32"));
        }
        Ok(LeafCode::Body(Box::new(|e, args| cranelift::emit(e, self, args))))
    }
}
