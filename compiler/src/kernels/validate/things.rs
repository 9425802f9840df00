//! What lies in memory besides inputs and constants, and how it lies there: values, and what is made on the
//! way to them.

use super::{Check, Validation, flat};
use crate::ir::{Excite, NodeId, Op, SplitAttention};
use crate::machine::{BLOCK, F32_BYTES};
use crate::schedule::blocked::Blocked;
use crate::schedule::byte_scale::ByteScale;

/// A value, or something on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thing {
    pub(super) node: NodeId,
    pub(super) part: Part,
}

/// Which part of the way to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The value.
    Whole,
    /// A convolution's, after so many steps of its epilogue.
    After(usize),
    /// A convolution's rows of tiles added up, `[n, block, row, 16]`.
    Totals,
    /// Of a Split-Attention `[n, k, c]`: means over planes, added up over splits.
    Squeezed,
    /// The same before they are rounded, where that is asked for.
    Means,
    /// The same over planes and splits, before it is multiplied by the number of splits.
    Mean,
    /// What its inner layer makes, `[n, k, width]`.
    Inner,
    /// What its second layer makes, `[n, k, r, c]`.
    Logits,
    /// The softmax of that before it is rounded, where that is asked for.
    Shares,
    /// The weights of its splits, `[n, k, r, c]`.
    Weights,
    /// The sum of its first splits, so many.
    Weighed(usize),
}

impl Part {
    /// What the kernels that squeeze make.
    pub(super) fn squeezed(op: &SplitAttention) -> Part {
        if op.rounding.squeezed.is_empty() { Part::Squeezed } else { Part::Means }
    }

    /// What the softmax over splits makes.
    pub(super) fn softmax(op: &SplitAttention) -> Part {
        if op.rounding.weights.is_empty() { Part::Weights } else { Part::Shares }
    }
}

impl Thing {
    pub(super) fn whole(node: NodeId) -> Thing {
        Thing { node, part: Part::Whole }
    }

    pub(super) fn of(node: NodeId, part: Part) -> Thing {
        Thing { node, part }
    }
}

/// Extents of a Split-Attention, and how its splits lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Splits {
    pub(super) images: usize,
    pub(super) k: usize,
    pub(super) r: usize,
    pub(super) c: usize,
    pub(super) plane: [usize; 2],
    /// Numbers of a split in memory.
    pub(super) places: usize,
    /// Numbers between a layer's inputs in one group and in the next, where there is an inner layer.
    pub(super) width: usize,
}

impl Validation<'_> {
    /// Its extents, for the images of a group.
    pub(super) fn shape(&self, thing: Thing) -> Check<Vec<usize>> {
        let Thing { node, part } = thing;
        Ok(match part {
            Part::Whole | Part::After(_) | Part::Weighed(_) => {
                self.schedule.view(self.graph, self.schedule.stage_of(node)).ty(node).shape()
            }
            Part::Totals => {
                let layout = self.layout(node)?;
                vec![layout.images, layout.blocks(), self.rows_of_tiles(node)?, BLOCK]
            }
            Part::Squeezed | Part::Means | Part::Mean => {
                let Splits { images, k, c, .. } = self.splits(node)?;
                vec![images, k, c]
            }
            Part::Inner => {
                let Splits { images, k, width, .. } = self.splits(node)?;
                vec![images, k, width]
            }
            Part::Logits | Part::Shares | Part::Weights => {
                let Splits { images, k, r, c, .. } = self.splits(node)?;
                vec![images, k, r, c]
            }
        })
    }

    /// Bytes from its first element to this one.
    pub(super) fn address(&self, thing: Thing, index: &[usize]) -> Check<i64> {
        let mut shape = self.shape(thing)?;
        if index.iter().zip(&shape).any(|(at, n)| at >= n) {
            return Err(format!("{thing:?} has no element {index:?} in this group of images"));
        }
        if let Some(layout) = self.in_blocks(thing) {
            return Ok(in_layout(&layout, index) as i64);
        }
        let is_of_splits = match thing.part {
            Part::Squeezed | Part::Means | Part::Mean => true,
            Part::Logits | Part::Shares | Part::Weights => true,
            Part::Whole | Part::After(_) | Part::Totals | Part::Inner | Part::Weighed(_) => false,
        };
        if let Some(last) = shape.last_mut().filter(|_| is_of_splits) {
            *last = self.splits(thing.node)?.places;
        }
        let size = match thing.part {
            Part::Whole => self.graph.ty(thing.node).dtype.size(),
            _ => F32_BYTES,
        };
        Ok((flat(index, &shape) * size) as i64)
    }

    /// What its elements stand for, where they are bytes.
    pub(super) fn bytes_of(&self, thing: Thing) -> Option<ByteScale> {
        self.in_blocks(thing).and_then(|layout| layout.bytes)
    }

    /// How it lies in blocks, if it does.
    pub(super) fn in_blocks(&self, thing: Thing) -> Option<Blocked> {
        match thing.part {
            Part::Whole | Part::Weighed(_) => self.schedule.layout(thing.node),
            Part::After(_) => self.schedule.conv(thing.node).map(|conv| conv.problem.made),
            Part::Totals
            | Part::Squeezed
            | Part::Means
            | Part::Mean
            | Part::Inner
            | Part::Logits
            | Part::Shares
            | Part::Weights => None,
        }
    }

    /// How a value lies in blocks.
    pub(super) fn layout(&self, id: NodeId) -> Check<Blocked> {
        self.schedule.layout(id).ok_or_else(|| "it lies in no blocks".into())
    }

    pub(super) fn splits(&self, id: NodeId) -> Check<Splits> {
        let Op::SplitAttention(op) = &self.graph.node(id).op else {
            return Err("it is no Split-Attention".into());
        };
        let view = self.schedule.view(self.graph, self.schedule.stage_of(id));
        let shape = view.ty(self.operand(id, SplitAttention::U)?).shape();
        let (k, r) = (op.cardinality, op.radix);
        let c = shape[1] / (k * r);
        let layout = self.schedule.layout(id);
        // Where whole blocks have channels of several groups, groups run on into each other.
        let runs_on = layout.is_some_and(|l| l.is_full()) && !c.is_multiple_of(BLOCK);
        let places = if layout.is_some() && !runs_on { c.next_multiple_of(BLOCK) } else { c };
        let width = match op.excite {
            Excite::Inner { width, .. } => width,
            Excite::Direct => 0,
        };
        Ok(Splits { images: shape[0], k, r, c, plane: [shape[2], shape[3]], places, width })
    }
}

/// Bytes from the first pixel to an element.
fn in_layout(layout: &Blocked, index: &[usize]) -> usize {
    let [n, c, y, x] = [0, 1, 2, 3].map(|axis| index.get(axis).copied().unwrap_or(0));
    let (block, lane) = block_of(layout, c);
    let at = n * layout.image + block * layout.block() + y * layout.row() + x * BLOCK + lane;
    layout.bytes_of(at)
}

/// The block that a channel lies in, and where it lies there.
pub(super) fn block_of(layout: &Blocked, channel: usize) -> (usize, usize) {
    let channels = layout.channels.max(1);
    let (segment, within) = (channel / channels, channel % channels);
    (segment * channels.div_ceil(BLOCK) + within / BLOCK, within % BLOCK)
}

/// The place of the last channel in so many segments of channels.
pub(super) fn last_place(channels: usize, segments: usize) -> usize {
    let segments = segments.max(1);
    let each = channels / segments;
    (segments - 1) * each.next_multiple_of(BLOCK) + each.saturating_sub(1)
}

/// The channel that lies in a place of so many segments of channels, if it is none that is made up.
pub(super) fn channel_at(place: usize, channels: usize, segments: usize) -> Option<usize> {
    let each = channels / segments.max(1);
    let places = each.next_multiple_of(BLOCK).max(1);
    let (segment, within) = (place / places, place % places);
    (within < each).then_some(segment * each + within)
}
