//! Which values lie in blocks of 16 channels, and with which borders.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::Groups;
use super::lower::keeps_zero_finite;
use super::tile::BLOCK;
use crate::ir::{Conv, DType, Graph, NodeId, Op, SplitAttention, TensorType};

/// `[n][segment][block][h][w][16]` with a border of zeros around each plane. A segment is a run of
/// channels that begins at a block of its own, because a group of a convolution or a split begins
/// there; channels that fill its last block up are zero. Strides are in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocked {
    /// Images.
    pub(super) images: usize,
    /// Runs of channels.
    pub(super) segments: usize,
    /// Channels of a run.
    pub(super) channels: usize,
    /// Height and width.
    pub(super) size: [usize; 2],
    /// Rows above, columns left, rows below, columns right.
    pub(super) halo: [usize; 4],
    /// Distance between images.
    pub(super) image: usize,
}

impl Blocked {
    pub(super) fn new(
        images: usize,
        segments: usize,
        channels: usize,
        size: [usize; 2],
        halo: [usize; 4],
    ) -> Blocked {
        let mut layout = Blocked { images, segments, channels, size, halo, image: 0 };
        layout.image = layout.blocks() * layout.block();
        layout
    }

    /// The same channels of planes of another size.
    pub(super) fn with_size(&self, size: [usize; 2]) -> Blocked {
        Blocked::new(self.images, self.segments, self.channels, size, self.halo)
    }

    /// The same with another border.
    pub(super) fn with_halo(&self, halo: [usize; 4]) -> Blocked {
        Blocked::new(self.images, self.segments, self.channels, self.size, halo)
    }

    /// Blocks of a segment.
    pub(super) fn segment_blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Blocks of an image.
    pub(super) fn blocks(&self) -> usize {
        self.segments * self.segment_blocks()
    }

    /// Distance between rows.
    pub(super) fn row(&self) -> usize {
        (self.size[1] + self.halo[1] + self.halo[3]) * BLOCK
    }

    /// Distance between blocks.
    pub(super) fn block(&self) -> usize {
        (self.size[0] + self.halo[0] + self.halo[2]) * self.row()
    }

    /// Where the first pixel inside the border is.
    pub(super) fn origin(&self) -> usize {
        self.halo[0] * self.row() + self.halo[1] * BLOCK
    }

    /// Elements in memory.
    pub(super) fn elements(&self) -> usize {
        self.images * self.image
    }

    /// Whether there is no border.
    pub(super) fn is_flat(&self) -> bool {
        self.halo == [0; 4]
    }

    /// Whether so many groups of channels begin at blocks.
    pub(super) fn serves(&self, groups: usize) -> bool {
        let aligned = (self.segments * self.channels / groups).is_multiple_of(BLOCK);
        self.segments.is_multiple_of(groups) || (aligned && self.is_full()) || groups == 1
    }

    /// Whether channels begin at blocks where those of the other do.
    pub(super) fn is_like(&self, other: &Blocked) -> bool {
        self.segments == other.segments || (self.is_full() && other.is_full())
    }

    /// Whether Split-Attention can read it: each split begins at a block. A single one of each group
    /// may begin anywhere, if no channel is made up, as nothing is summed over splits.
    pub(super) fn is_of_splits(&self, op: &SplitAttention) -> bool {
        let splits = op.cardinality * op.radix;
        let aligned = (self.segments * self.channels / splits).is_multiple_of(BLOCK);
        self.segments == splits || (self.is_full() && (aligned || op.radix == 1))
    }

    /// Whether no channel is made up.
    pub(super) fn is_full(&self) -> bool {
        self.channels.is_multiple_of(BLOCK)
    }
}

/// The layout of every value that lies in blocks, given the border that each convolution reads, how its
/// groups are computed, and which values are made without a border, whatever their users read.
pub(super) fn assign(
    graph: &Graph,
    groups: &Groups,
    border: impl Fn(NodeId, &Conv) -> [usize; 4],
    without: impl Fn(NodeId) -> bool,
) -> BTreeMap<NodeId, Blocked> {
    let order = graph.topological();
    let blocked = candidates(graph, &order);
    let wishes = wishes(graph, &order, &blocked, groups, border);
    let mut layouts: BTreeMap<NodeId, Blocked> = BTreeMap::new();
    for &id in order.iter().filter(|id| blocked.contains(id)) {
        let shape = graph.ty(id).shape();
        let segments = segments(graph, id, groups, &wishes, &layouts);
        let halo = if without(id) { [0; 4] } else { wishes.halo(id) };
        let size = [shape[2], shape[3]];
        let source = graph.operand(id, 0).and_then(|x| layouts.get(&x).copied());
        if let Op::Slice { .. } = graph.node(id).op {
            // A view, but of channels that lie as they are counted only.
            if let Some(source) = source.filter(Blocked::is_full) {
                layouts.insert(id, Blocked { segments: 1, channels: shape[1], ..source });
            }
            continue;
        }
        layouts.insert(id, Blocked::new(shape[0], segments, shape[1] / segments, size, halo));
    }
    layouts
}

fn candidates(graph: &Graph, order: &[NodeId]) -> BTreeSet<NodeId> {
    let mut blocked = BTreeSet::new();
    for &id in order {
        let ty = graph.ty(id);
        if ty.dtype != DType::F32 || ty.rank() != 4 || ty.elements() == 0 || is_vast(ty) {
            continue;
        }
        let operand = |slot| graph.operand(id, slot).filter(|o| blocked.contains(o));
        let whole = |id: NodeId| graph.ty(id).shape()[1].is_multiple_of(BLOCK);
        let fits = match &graph.node(id).op {
            Op::Conv(conv) => is_tiled(graph, id, conv) && keeps_zero_finite(&conv.epilogue),
            Op::Pool(_) => operand(0).is_some(),
            Op::SplitAttention(a) => operand(0).is_some() && keeps_zero_finite(&a.epilogue),
            Op::Unary(f, then) => {
                operand(0).is_some() && f.keeps_zero_finite() && keeps_zero_finite(then)
            }
            Op::Binary(f, then) => {
                let same = |slot: &usize| {
                    operand(*slot).is_some_and(|o| graph.ty(o).shape() == ty.shape())
                };
                [0, 1].iter().all(same) && f.keeps_zero_finite() && keeps_zero_finite(then)
            }
            Op::Concat { axis: 1 } => {
                graph.operands(id).iter().all(|(_, o)| blocked.contains(o) && whole(*o))
            }
            Op::Concat { axis: 0 } => {
                let alike = |o: &NodeId| graph.ty(*o).shape()[1..] == ty.shape()[1..];
                graph.operands(id).iter().all(|(_, o)| blocked.contains(o) && alike(o))
            }
            Op::Slice { starts, steps } => operand(0)
                .is_some_and(|x| whole(x) && is_run_of_blocks(graph, x, id, starts, steps)),
            _ => false,
        };
        if fits {
            blocked.insert(id);
        }
    }
    blocked
}

/// Whether a slice takes whole blocks of channels, one after the other, and everything else.
fn is_run_of_blocks(
    graph: &Graph,
    x: NodeId,
    id: NodeId,
    starts: &[usize],
    steps: &[isize],
) -> bool {
    let (from, to) = (graph.ty(x).shape(), graph.ty(id).shape());
    let rest = (0..4).filter(|axis| *axis != 1).all(|axis| from[axis] == to[axis]);
    let blocks = [starts[1], to[1]].iter().all(|n| n.is_multiple_of(BLOCK));
    rest && blocks && steps.iter().all(|step| *step == 1)
}

/// Whether planes are so large that distances within a tile would not fit an instruction.
fn is_vast(ty: &TensorType) -> bool {
    const MOST_PIXELS: usize = 1 << 21;
    let shape = ty.shape();
    shape.iter().skip(2).map(|n| n.saturating_add(2 * BLOCK)).fold(1, usize::saturating_mul)
        > MOST_PIXELS
}

/// Whether a convolution is computed in blocks: not when groups are so narrow that filling them up
/// costs more than it saves, and only with constant weights.
fn is_tiled(graph: &Graph, id: NodeId, conv: &Conv) -> bool {
    let Some(weight) = graph.operand(id, 1) else { return false };
    let shape = graph.ty(weight).shape();
    let window = &conv.window;
    let border = window.pad_before.iter().chain(&window.pad_after).all(|n| *n <= BLOCK);
    if !border || graph.operand(id, 0).is_none_or(|x| is_vast(graph.ty(x))) {
        return false;
    }
    if narrow_groups(graph, id, conv).is_some() {
        return graph.operand(id, 2).is_none_or(|b| matches!(graph.node(b).op, Op::Weight(_)));
    }
    let constant =
        |slot| graph.operand(id, slot).is_none_or(|o| matches!(graph.node(o).op, Op::Weight(_)));
    let [made, read] = [shape[0] / conv.groups.max(1), shape[1]];
    let filled = |n: usize| n.next_multiple_of(BLOCK);
    let waste = (filled(made) * filled(read)) / (made * read).max(1);
    constant(1) && constant(2) && (conv.groups == 1 || waste <= 4)
}

/// Channels of a group, for a convolution whose groups are parts of a block.
pub(super) fn narrow_groups(graph: &Graph, id: NodeId, conv: &Conv) -> Option<usize> {
    let weight = graph.operand(id, 1)?;
    let shape = graph.ty(weight).shape();
    let constant = matches!(graph.node(weight).op, Op::Weight(_));
    let (read, same) = (shape[1], shape[0] == shape[1] * conv.groups);
    let fits = conv.groups > 1 && same && matches!(read, 1 | 4 | 8) && constant;
    (fits && shape[0].is_multiple_of(BLOCK)).then_some(read)
}

/// What the users of values would like.
struct Wishes {
    segments: BTreeMap<NodeId, usize>,
    halos: BTreeMap<NodeId, [usize; 4]>,
}

impl Wishes {
    fn halo(&self, id: NodeId) -> [usize; 4] {
        self.halos.get(&id).copied().unwrap_or([0; 4])
    }

    /// A border at least as wide as this.
    fn widen(&mut self, id: NodeId, border: [usize; 4]) {
        let halo = self.halos.entry(id).or_insert([0; 4]);
        for (most, here) in halo.iter_mut().zip(border) {
            *most = here.max(*most);
        }
    }
}

fn wishes(
    graph: &Graph,
    order: &[NodeId],
    blocked: &BTreeSet<NodeId>,
    groups: &Groups,
    border: impl Fn(NodeId, &Conv) -> [usize; 4],
) -> Wishes {
    let mut wishes = Wishes { segments: BTreeMap::new(), halos: BTreeMap::new() };
    for &id in order.iter().rev().filter(|id| blocked.contains(id)) {
        let own = wishes.segments.get(&id).copied();
        if let Op::Concat { axis: 0 } = graph.node(id).op {
            // Its operands are made in its place.
            for (_, operand) in graph.operands(id) {
                wishes.widen(operand, wishes.halo(id));
                if let Some(own) = own {
                    wishes.segments.entry(operand).or_insert(own);
                }
            }
            continue;
        }
        let Some(x) = graph.operand(id, 0) else { continue };
        let channels = graph.ty(x).shape()[1];
        let aligned = |segments: usize| (channels / segments).is_multiple_of(BLOCK);
        let wish = match &graph.node(id).op {
            // A part of its operand, whose border it shares.
            Op::Slice { .. } => {
                wishes.widen(x, wishes.halo(id));
                None
            }
            Op::Conv(conv) => {
                wishes.widen(x, border(id, conv));
                let parts = narrow_groups(graph, id, conv).is_some();
                Some(groups.of(id, conv)).filter(|groups| !parts && !aligned(*groups))
            }
            Op::SplitAttention(a) if a.radix == 1 && aligned(1) => own,
            Op::SplitAttention(a) => Some(a.cardinality * a.radix).filter(|s| !aligned(*s)),
            Op::Pool(_) | Op::Unary(..) | Op::Binary(..) => own,
            _ => None,
        };
        if let Some(wish) = wish {
            wishes.segments.entry(x).or_insert(wish);
        }
    }
    wishes
}

fn segments(
    graph: &Graph,
    id: NodeId,
    groups: &Groups,
    wishes: &Wishes,
    layouts: &BTreeMap<NodeId, Blocked>,
) -> usize {
    let channels = graph.ty(id).shape()[1];
    let divides = |segments: &usize| channels.is_multiple_of(*segments);
    let wish = wishes.segments.get(&id).copied().filter(divides);
    let aligned = |segments: usize| (channels / segments).is_multiple_of(BLOCK);
    let x = graph.operand(id, 0).and_then(|x| layouts.get(&x));
    match &graph.node(id).op {
        Op::Conv(conv) if narrow_groups(graph, id, conv).is_some() => 1,
        Op::Conv(conv) => {
            let groups = groups.of(id, conv);
            let least = if groups == 1 || aligned(groups) { 1 } else { groups };
            wish.filter(|s| s.is_multiple_of(groups)).unwrap_or(least)
        }
        Op::SplitAttention(a) => {
            let dense = a.radix == 1 && x.is_some_and(Blocked::is_full);
            if dense || aligned(a.cardinality) { 1 } else { a.cardinality }
        }
        Op::Pool(_) | Op::Unary(..) | Op::Binary(..) | Op::Concat { axis: 0 } => {
            x.map_or(1, |layout| layout.segments)
        }
        _ => 1,
    }
}

/// The layout that a value is brought into for a user whose groups of channels begin at blocks.
pub(super) fn for_groups(ty: &TensorType, groups: usize, halo: [usize; 4]) -> Blocked {
    let shape = ty.shape();
    let aligned = (shape[1] / groups).is_multiple_of(BLOCK);
    let segments = if aligned { 1 } else { groups };
    Blocked::new(shape[0], segments, shape[1] / segments, [shape[2], shape[3]], halo)
}
