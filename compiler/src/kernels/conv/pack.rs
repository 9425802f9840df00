//! Filters of convolutions in blocks.

use std::ops::Range;

use super::micro_kernel::MicroKernel;
use crate::ir::{DType, TensorType};
use crate::kernels::multiples::Multiples;
use crate::machine::{BLOCK, Element};
use crate::plan::weights::{Order, Packing, Places, Word};
use crate::schedule::byte_scale::ByteScale;
use crate::schedule::problem::WORD;

/// How a convolution's channels are packed for tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) struct ChannelPacking {
    /// Groups of channels, as they are computed.
    pub(in crate::kernels) groups: usize,
    /// How many of the weight's groups each of them is, with zeros between one and another.
    pub(in crate::kernels) joined: usize,
    /// Segments of all output channels, each filled up to whole blocks.
    pub(in crate::kernels) out_segments: usize,
    /// Segments of all input channels; `None` for a row-major input.
    pub(in crate::kernels) in_segments: Option<usize>,
}

/// Whether it is the weight of a convolution.
pub(super) fn is_filter(ty: &TensorType) -> bool {
    ty.dtype == DType::F32 && ty.axes.len() == 4
}

/// A convolution's weights for tiles of the definition.
#[derive(Debug)]
pub(in crate::kernels) struct Direct(pub(in crate::kernels) ChannelPacking);

impl Packing for Direct {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(Tiles::new(&ty.shape(), self.0))
    }
}

/// The same for sums of bytes, of so many words of each pixel and tap.
#[derive(Debug)]
pub(in crate::kernels) struct DirectBytes {
    pub(in crate::kernels) packing: ChannelPacking,
    /// What the bytes of the input stand for.
    pub(in crate::kernels) read: ByteScale,
    /// Words of four bytes that a pixel has.
    pub(in crate::kernels) words: usize,
}

impl Packing for DirectBytes {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn dtype(&self, _: &TensorType) -> DType {
        DType::I8
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        let channels = Channels::new(&ty.shape(), self.packing);
        let taps = ty.shape()[2..].iter().product();
        Box::new(ByteTiles { channels, taps, words: self.words, read: self.read })
    }
}

/// The same where groups are parts of a block.
#[derive(Debug)]
pub(in crate::kernels) struct NarrowGroups;

impl Packing for NarrowGroups {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(Narrow::new(&ty.shape()))
    }
}

/// The same for sums of bytes.
#[derive(Debug)]
pub(in crate::kernels) struct NarrowBytes {
    /// What the bytes of the input stand for.
    pub(in crate::kernels) read: ByteScale,
}

impl Packing for NarrowBytes {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn dtype(&self, _: &TensorType) -> DType {
        DType::I8
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(NarrowWords { groups: Narrow::new(&ty.shape()), read: self.read })
    }
}

/// The channels of a convolution in the order in which tiles want them. A stripe is the weights of a
/// block of output channels.
pub(super) struct Channels {
    /// Groups of channels.
    pub(super) groups: usize,
    /// How many of the weight's groups each of these is.
    joined: usize,
    /// Output and input channels of one of the weight's.
    made: usize,
    read: usize,
    /// Output channels of a group as tiles write them, some made up.
    outputs: Places,
    /// Its input channels in the order they are read, some made up.
    pub(super) inputs: Places,
}

/// The filters of an output channel.
pub(super) struct Filters {
    /// The position of the first in the weight.
    first: usize,
    /// The input channels of the computed group that they are for.
    of: Range<usize>,
}

impl Filters {
    /// The position of the first.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// Their weights, of so many elements each.
    pub(super) fn weights<'w>(&self, all: &'w [Word], taps: usize) -> &'w [Word] {
        &all[self.first * taps..][..self.of.len() * taps]
    }

    /// The position of that for an input channel; none joins groups.
    #[inline]
    pub(super) fn of(&self, input: usize) -> Option<usize> {
        self.of.contains(&input).then(|| self.first + input - self.of.start)
    }
}

impl Channels {
    /// Of a weight `[m, c, kh, kw]`.
    pub(super) fn new(shape: &[usize], packing: ChannelPacking) -> Channels {
        let groups = packing.groups.max(1);
        let joined = packing.joined.max(1);
        let (made, read) = (shape[0] / (groups * joined), shape[1]);
        let of_group = |segments: usize| (segments / groups).max(1);
        Channels {
            groups,
            joined,
            made,
            read,
            outputs: Places::in_blocks(joined * made, of_group(packing.out_segments)),
            inputs: match packing.in_segments {
                Some(segments) => Places::in_blocks(joined * read, of_group(segments)),
                None => Places::all(joined * read),
            },
        }
    }

    /// Sizes of the stripes for so many elements of each pair of channels.
    pub(super) fn stripes(&self, elements: usize) -> Vec<usize> {
        let depth = self.inputs.len() * elements * size_of::<Word>();
        vec![depth * BLOCK; self.groups * self.blocks()]
    }

    /// Blocks of a group.
    pub(super) fn blocks(&self) -> usize {
        self.outputs.len() / BLOCK
    }

    /// The filters of the output channels of a stripe.
    pub(super) fn rows(&self, stripe: usize) -> [Option<Filters>; BLOCK] {
        let (group, block) = (stripe / self.blocks(), stripe % self.blocks());
        std::array::from_fn(|lane| {
            let output = self.outputs.get(block * BLOCK + lane)?;
            let row = group * self.joined * self.made + output;
            let start = output / self.made * self.read;
            Some(Filters { first: row * self.read, of: start..start + self.read })
        })
    }
}

/// `[m, c, kh, kw]` as `[group][block][c blocks][kh][kw][16][16]`, or for row-major inputs
/// `[group][block][c][kh][kw][16]`; zeros where channels are made up.
struct Tiles {
    channels: Channels,
    /// Elements of a filter.
    taps: usize,
    /// Inputs between which no other tap comes.
    step: usize,
}

impl Tiles {
    fn new(shape: &[usize], packing: ChannelPacking) -> Tiles {
        let taps = shape[2] * shape[3];
        let step = if packing.in_segments.is_some() { BLOCK } else { 1 };
        Tiles { channels: Channels::new(shape, packing), taps, step }
    }
}

impl Order for Tiles {
    fn stripes(&self) -> Vec<usize> {
        self.channels.stripes(self.taps)
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let from = from.as_chunks::<4>().0;
        let rows = self.channels.rows(stripe);
        let mut lines = to.as_chunks_mut::<4>().0.chunks_exact_mut(BLOCK);
        let inputs = self.channels.inputs;
        for first in (0..inputs.len()).step_by(self.step) {
            for tap in 0..self.taps {
                for (input, line) in (first..first + self.step).zip(&mut lines) {
                    let input = inputs.get(input);
                    for (slot, filters) in line.iter_mut().zip(&rows) {
                        let filter = filters.as_ref().zip(input).and_then(|(f, i)| f.of(i));
                        *slot = filter.map_or([0; 4], |filter| from[filter * self.taps + tap]);
                    }
                }
            }
        }
    }
}

/// `[m, c, kh, kw]` as `[group][block]` and then a line of what sums start from, as i32, one of what they are
/// scaled by, as f32, and the weights as i8, `[c blocks][kh][kw][c / 4 of a block][16][4]`.
struct ByteTiles {
    channels: Channels,
    /// Elements of a filter.
    taps: usize,
    /// Words of a pixel.
    words: usize,
    /// What the bytes of the input stand for.
    read: ByteScale,
}

impl ByteTiles {
    /// The weights of an output channel.
    fn row<'w>(&self, from: &'w [Word], filters: &Filters) -> Multiples<'w> {
        Multiples::of(filters.weights(from, self.taps))
    }
}

impl Order for ByteTiles {
    fn stripes(&self) -> Vec<usize> {
        let header = MicroKernel { element: Element::U8, ..MicroKernel::default() }.header();
        let lines = header + self.taps * self.words;
        let blocks = self.channels.groups * self.channels.blocks();
        vec![lines * BLOCK * size_of::<Word>(); blocks]
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let from = from.as_chunks::<4>().0;
        let mut lines = to.as_chunks_mut::<4>().0.chunks_exact_mut(BLOCK);
        let (Some(starts), Some(scales)) = (lines.next(), lines.next()) else { return };
        let rows = self.channels.rows(stripe);
        let rows = rows.each_ref().map(|f| f.as_ref().map(|f| (f, self.row(from, f))));
        for (lane, row) in rows.iter().enumerate() {
            let header = row.as_ref().map_or([[0; 4]; 2], |(_, row)| header(row, self.read));
            [starts[lane], scales[lane]] = header;
        }
        let inputs = self.channels.inputs;
        let of_block = self.words.min(BLOCK / WORD);
        for first in (0..self.words).step_by(of_block.max(1)) {
            for (tap, word) in (0..self.taps).flat_map(|t| (0..of_block).map(move |w| (t, w))) {
                let Some(line) = lines.next() else { return };
                for (slot, row) in line.iter_mut().zip(&rows) {
                    *slot = std::array::from_fn(|byte| {
                        let input = inputs.get((first + word) * WORD + byte);
                        let weight = row.as_ref().zip(input).and_then(|((filters, row), input)| {
                            let channel = filters.of(input)? - filters.first;
                            Some(row.steps(channel * self.taps + tap))
                        });
                        weight.unwrap_or(0).cast_unsigned()
                    });
                }
            }
        }
    }
}

/// What the sums of bytes that stand for this start from, and what they are scaled by.
fn header(row: &Multiples<'_>, read: ByteScale) -> [Word; 2] {
    [(read.lowest * row.sum()).to_le_bytes(), (read.scale * row.scale).to_le_bytes()]
}

/// `[m, c, kh, kw]` with as many channels in each group on both sides as `[block][kh][kw][c][16]`, zeros behind the
/// last of m. A stripe is a block.
pub(super) struct Narrow {
    pub(super) blocks: usize,
    /// Channels of a group.
    pub(super) channels: usize,
    pub(super) taps: usize,
}

impl Narrow {
    pub(super) fn new(shape: &[usize]) -> Narrow {
        let (blocks, taps) = (shape[0].div_ceil(BLOCK), shape[2..].iter().product());
        Narrow { blocks, channels: shape[1], taps }
    }

    /// The filters of a block, as many as there are.
    pub(super) fn filters<'w>(&self, from: &'w [Word], stripe: usize) -> &'w [Word] {
        let block = BLOCK * self.channels * self.taps;
        let rest = &from[stripe * block..];
        &rest[..rest.len().min(block)]
    }
}

impl Order for Narrow {
    fn stripes(&self) -> Vec<usize> {
        vec![self.taps * self.channels * BLOCK * size_of::<Word>(); self.blocks]
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let (from, to) = (from.as_chunks::<4>().0, to.as_chunks_mut::<4>().0);
        let row = self.channels * self.taps;
        let block = self.filters(from, stripe);
        to.fill([0; 4]);
        for (at, line) in to.chunks_exact_mut(BLOCK).enumerate() {
            let (tap, channel) = (at / self.channels, at % self.channels);
            for (slot, filters) in line.iter_mut().zip(block.chunks_exact(row)) {
                *slot = filters[channel * self.taps + tap];
            }
        }
    }
}

/// The same as `[block]` and then lines of what sums start from and are scaled by, and the weights as i8,
/// `[kh][kw][c / 4][16][4]`.
struct NarrowWords {
    groups: Narrow,
    /// What the bytes of the input stand for.
    read: ByteScale,
}

impl NarrowWords {
    fn words(&self) -> usize {
        self.groups.channels.div_ceil(WORD)
    }
}

impl Order for NarrowWords {
    fn stripes(&self) -> Vec<usize> {
        let Narrow { blocks, channels, taps } = self.groups;
        let tile = MicroKernel { element: Element::U8, narrow: channels, ..MicroKernel::default() };
        let lines = tile.header() + taps * self.words();
        vec![lines * BLOCK * size_of::<Word>(); blocks]
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let Narrow { channels, taps, .. } = self.groups;
        let (from, words) = (from.as_chunks::<4>().0, self.words());
        let block = self.groups.filters(from, stripe);
        to.fill(0);
        let mut lines = to.as_chunks_mut::<4>().0.chunks_exact_mut(BLOCK);
        let (Some(starts), Some(scales)) = (lines.next(), lines.next()) else { return };
        let rows: Vec<Multiples<'_>> = block.chunks(channels * taps).map(Multiples::of).collect();
        for (lane, row) in rows.iter().enumerate() {
            [starts[lane], scales[lane]] = header(row, self.read);
        }
        for ((tap, word), line) in
            (0..taps).flat_map(|t| (0..words).map(move |w| (t, w))).zip(lines)
        {
            for (slot, row) in line.iter_mut().zip(&rows) {
                *slot = std::array::from_fn(|byte| {
                    let channel = word * WORD + byte;
                    let weight =
                        if channel < channels { row.steps(channel * taps + tap) } else { 0 };
                    weight.cast_unsigned()
                });
            }
        }
    }
}
