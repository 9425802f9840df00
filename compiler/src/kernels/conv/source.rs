//! How a window reads a value.

use super::micro_kernel::contracted;
use crate::error::Result;
use crate::ir::{NodeId, Window};
use crate::kernels::lowering::{InBlocks, Lowering, four};
use crate::machine::{BLOCK, Element};
use crate::plan::{Loop, Place};
use crate::schedule::algorithm::padding;
use crate::schedule::blocked::{Blocked, for_groups};
use crate::schedule::problem::{ConvProblem, apart, serves};

/// What a convolution reads: where, and how far apart things are in elements, or in words of four bytes.
pub(super) struct Source {
    pub(super) at: Place,
    pub(super) image: usize,
    /// From one group of channels to the next.
    pub(super) group: usize,
    /// From what one row of outputs reads to what the next does.
    pub(super) row: usize,
    /// From what one output reads to what the next does.
    pub(super) pixel: usize,
    /// The contracted loops.
    pub(super) reduce: Vec<Loop>,
    /// Segments, for a value in blocks.
    pub(super) segments: Option<usize>,
}

impl Source {
    /// The operand in blocks, or row-major where it has fewer channels than a block; without a border if
    /// it is read as one run of pixels.
    pub(super) fn of(
        l: &mut Lowering<'_, '_>,
        x: NodeId,
        problem: &ConvProblem,
        flat: bool,
    ) -> Result<Source> {
        let (groups, window, bytes) =
            (problem.tile_groups(), &problem.window, problem.read_bytes());
        let Some(source) = &problem.source else {
            return match problem.reads {
                Element::F32 | Element::U8 | Element::I16 => {
                    Source::row_major(l, x, window, groups)
                }
                Element::Bf16 => Source::row_major_words(l, x, problem),
            };
        };
        let halo = if flat { [0; 4] } else { padding(window) };
        let fits = |layout: &Blocked| {
            let borders = || layout.halo.iter().zip(halo).all(|(have, want)| *have >= want);
            serves(layout, groups, problem.narrow)
                && if flat { layout.is_flat() } else { borders() }
        };
        let otherwise = for_groups(l.ty(x), apart(groups, problem.narrow), halo);
        let from = match problem.reads {
            Element::Bf16 => l.in_bfloats(x, source, fits, halo)?,
            Element::F32 | Element::U8 | Element::I16 => {
                l.in_layout(x, fits, otherwise.stored(bytes))?
            }
        };
        let source = Source::in_blocks(from, window, groups, problem.narrow);
        Ok(match problem.reads {
            Element::F32 => source,
            Element::U8 | Element::I16 | Element::Bf16 => source.in_words(problem),
        })
    }

    /// The same in words of four bytes.
    fn in_words(mut self, problem: &ConvProblem) -> Source {
        let (of_word, words) = (problem.reads.of_word(), problem.read_words());
        // Channels of a narrow group are found by lanes.
        let word = self.reduce.last().map_or(1, |channels| channels.input);
        let all = [&mut self.image, &mut self.group, &mut self.row, &mut self.pixel];
        let inputs = self.reduce.iter_mut().map(|r| &mut r.input);
        all.into_iter().chain(inputs).for_each(|distance| *distance /= of_word);
        if let Some(channels) = self.reduce.last_mut() {
            *channels = Loop::reading(words.min(BLOCK / of_word), word);
        }
        self
    }

    fn row_major(
        l: &mut Lowering<'_, '_>,
        x: NodeId,
        window: &Window,
        groups: usize,
    ) -> Result<Source> {
        let ([kh, kw], stride, dilation) = (window.kernel, window.stride, window.dilation);
        let [n, c, h, w] = four(l.ty(x))?;
        let group = c / groups;
        let (at, [h, w]) = l.padded(x, window, [n, c, h, w])?;
        Ok(Source {
            at,
            image: c * h * w,
            group: group * h * w,
            row: w * stride[0],
            pixel: stride[1],
            reduce: over_window([
                Loop::reading(group, h * w),
                Loop::reading(kh, w * dilation[0]),
                Loop::reading(kw, dilation[1]),
            ]),
            segments: None,
        })
    }

    /// Of a copy in bfloat16, two neighbours of a row a word. A window that ends with the first of a word has a zero
    /// for the other.
    fn row_major_words(
        l: &mut Lowering<'_, '_>,
        x: NodeId,
        problem: &ConvProblem,
    ) -> Result<Source> {
        let Window { kernel: [kh, _], stride, dilation, .. } = problem.window;
        let [_, c, _, _] = four(l.ty(x))?;
        let (at, [h, w]) = l.rows_in_bfloats(x, &problem.window)?;
        let [w, step] = [w, stride[1]].map(|elements| elements / problem.reads.of_word());
        Ok(Source {
            at,
            image: c * h * w,
            group: c * h * w,
            row: w * stride[0],
            pixel: step,
            reduce: over_window([
                Loop::reading(c, h * w),
                Loop::reading(kh, w * dilation[0]),
                Loop::reading(problem.row_words(), 1),
            ]),
            segments: None,
        })
    }

    /// What a window reads of a value in blocks.
    pub(super) fn in_blocks(
        from: InBlocks,
        window: &Window,
        groups: usize,
        narrow: Option<usize>,
    ) -> Source {
        let ([kh, kw], stride, dilation) = (window.kernel, window.stride, window.dilation);
        let [top, left] = window.pad_before;
        let layout = from.layout;
        let blocks = layout.blocks() / groups;
        let around = vec![
            Loop::reading(blocks, layout.block()),
            Loop::reading(kh, layout.row() * dilation[0]),
            Loop::reading(kw, BLOCK * dilation[1]),
        ];
        let mut reduce = contracted(around, BLOCK);
        if let (Some(channels), Some(last)) = (narrow, reduce.last_mut()) {
            *last = Loop::reading(channels, 0);
        }
        Source {
            at: from.back(top * layout.row() + left * BLOCK),
            image: layout.image,
            group: blocks * layout.block(),
            row: layout.row() * stride[0],
            pixel: BLOCK * stride[1],
            reduce,
            segments: Some(layout.segments),
        }
    }
}

/// Loops over channels, rows and columns of a window that is read row-major. The last is unrolled, unless it is long.
fn over_window(loops: [Loop; 3]) -> Vec<Loop> {
    let mut reduce = Vec::from(loops);
    reduce.retain(|r| r.count != 1);
    if reduce.last().is_none_or(|r| r.count > BLOCK) {
        reduce.push(Loop::ONCE);
    }
    reduce
}
