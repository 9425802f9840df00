//! Filters of convolutions in blocks, rounded to bfloat16: a word is two of them, whose products are added up.

use super::pack::{ChannelPacking, Channels, Narrow, is_filter};
use crate::ir::{DType, TensorType};
use crate::machine::{BLOCK, Element, bfloat16};
use crate::plan::weights::{Order, Packing, Word, float};

/// Factors of a word.
const PAIR: usize = Element::Bf16.of_word();

/// A convolution's weights for tiles of the definition, by what the two weights of a word are of.
#[derive(Debug)]
pub(in crate::kernels) enum BfloatPairs {
    /// Of two channels of a pixel, which has so many words.
    Channels { packing: ChannelPacking, words: usize },
    /// Of two neighbours of a row, for an input that is read row-major.
    Row(ChannelPacking),
    /// Of two channels of a group, where groups are parts of a block.
    Narrow,
}

impl Packing for BfloatPairs {
    fn accepts(&self, ty: &TensorType) -> bool {
        is_filter(ty)
    }

    fn dtype(&self, _: &TensorType) -> DType {
        DType::I8
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        let shape = ty.shape();
        let channels = |packing| Channels::new(&shape, packing);
        match *self {
            BfloatPairs::Channels { packing, words } => {
                let taps = shape[2..].iter().product();
                Box::new(ChannelPairs { channels: channels(packing), taps, words })
            }
            BfloatPairs::Row(packing) => {
                Box::new(RowPairs { channels: channels(packing), kernel: [shape[2], shape[3]] })
            }
            BfloatPairs::Narrow => Box::new(NarrowPairs(Narrow::new(&shape))),
        }
    }
}

/// A word of two bfloat16, the first one in its lower half.
fn bfloats(pair: [f32; 2]) -> Word {
    let [[a, b], [c, d]] = pair.map(|x| bfloat16::nearest(x).to_bits().to_le_bytes());
    [a, b, c, d]
}

/// Fills lines of 16 words with the weights of a line, a lane and a half of its word; zeros where there are none.
fn fill_lines(to: &mut [u8], weight: impl Fn(usize, usize, usize) -> Option<Word>) {
    let lines = to.as_chunks_mut::<4>().0.chunks_exact_mut(BLOCK);
    for (line, slots) in lines.enumerate() {
        for (lane, slot) in slots.iter_mut().enumerate() {
            let half = |half: usize| weight(line, lane, half).map_or(0.0, |w| float(w) as f32);
            *slot = bfloats([0, 1].map(half));
        }
    }
}

/// `[m, c, kh, kw]` as `[group][block][c blocks][kh][kw][c / 2 of a block][16][2]`.
struct ChannelPairs {
    channels: Channels,
    /// Elements of a filter.
    taps: usize,
    /// Words of a pixel.
    words: usize,
}

impl Order for ChannelPairs {
    fn stripes(&self) -> Vec<usize> {
        let blocks = self.channels.groups * self.channels.blocks();
        vec![self.taps * self.words * BLOCK * size_of::<Word>(); blocks]
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let from = from.as_chunks::<4>().0;
        let (rows, inputs) = (self.channels.rows(stripe), self.channels.inputs);
        let of_block = self.words.clamp(1, BLOCK / PAIR);
        fill_lines(to, |line, lane, half| {
            let (block, within) = (line / (self.taps * of_block), line % (self.taps * of_block));
            let (tap, word) = (within / of_block, within % of_block);
            let input = inputs.get((block * of_block + word) * PAIR + half)?;
            let filter = rows[lane].as_ref()?.of(input)?;
            from.get(filter * self.taps + tap).copied()
        });
    }
}

/// `[m, c, kh, kw]` as `[group][block][c][kh][kw / 2][16][2]`, with a zero behind an odd kw.
struct RowPairs {
    channels: Channels,
    kernel: [usize; 2],
}

impl RowPairs {
    /// Words of a row of the window.
    fn words(&self) -> usize {
        self.kernel[1].div_ceil(PAIR)
    }
}

impl Order for RowPairs {
    fn stripes(&self) -> Vec<usize> {
        self.channels.stripes(self.kernel[0] * self.words())
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let ([rows, columns], words) = (self.kernel, self.words());
        let from = from.as_chunks::<4>().0;
        let filters = self.channels.rows(stripe);
        fill_lines(to, |line, lane, half| {
            let (row, column) = (line / words, line % words * PAIR + half);
            let input = self.channels.inputs.get(row / rows)?;
            let filter = filters[lane].as_ref()?.of(input)?;
            let at = (filter * rows + row % rows) * columns + column;
            from.get(at).filter(|_| column < columns).copied()
        });
    }
}

/// `[m, c, kh, kw]` with as many channels in each group on both sides as `[block][kh][kw][c / 2][16][2]`.
struct NarrowPairs(Narrow);

impl NarrowPairs {
    fn words(&self) -> usize {
        self.0.channels.div_ceil(PAIR)
    }
}

impl Order for NarrowPairs {
    fn stripes(&self) -> Vec<usize> {
        let Narrow { blocks, taps, .. } = self.0;
        vec![taps * self.words() * BLOCK * size_of::<Word>(); blocks]
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let (Narrow { channels, taps, .. }, words) = (&self.0, self.words());
        let block = self.0.filters(from.as_chunks::<4>().0, stripe);
        fill_lines(to, |line, lane, half| {
            let (tap, channel) = (line / words, line % words * PAIR + half);
            let at = (lane * channels + channel) * taps + tap;
            block.get(at).filter(|_| channel < *channels).copied()
        });
    }
}
