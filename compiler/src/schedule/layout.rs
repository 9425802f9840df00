//! Which values lie in blocks of 16 channels, and with which borders.

use std::collections::{BTreeMap, BTreeSet};

use super::blocked::Blocked;
use super::byte_scale::ByteScale;
use super::byte_values::ByteValues;
use super::groups::Groups;
use super::stages::{Stages, View};
use super::tiled::{is_tiled, is_vast, narrow_groups};
use crate::ir::{Conv, DType, Epilogue, Graph, NodeId, Op, Step};
use crate::machine::BLOCK;

/// Where each value lies that lies in blocks.
pub(crate) type Layouts = BTreeMap<NodeId, Blocked>;

/// The layout of every value that lies in blocks, without borders, for groups that are computed like
/// this.
pub(super) fn assign(
    graph: &Graph,
    stages: &Stages,
    groups: &Groups,
    bytes: &ByteValues,
) -> Layouts {
    let blocked = candidates(graph, stages, bytes);
    let wishes = wishes(graph, stages, &blocked, groups);
    let mut layouts = Layouts::new();
    for (view, nodes) in stages.views(graph) {
        for &id in nodes.iter().filter(|id| blocked.contains(id)) {
            let shape = view.ty(id).shape();
            if let Op::Slice { .. } = view.node(id).op {
                layouts.extend(sliced(view, id, &layouts).map(|layout| (id, layout)));
                continue;
            }
            let segments = segments(view, id, groups, &wishes, &layouts);
            let size = [shape[2], shape[3]];
            let layout = Blocked::new(shape[0], segments, shape[1] / segments, size, [0; 4]);
            layouts.insert(id, layout.stored(stored(view, id, bytes, &layouts)));
        }
    }
    layouts
}

/// The same with the border that each convolution reads, where the value is not made without one,
/// whatever its users read.
pub(super) fn with_borders(
    graph: &Graph,
    stages: &Stages,
    flat: &Layouts,
    border: impl Fn(NodeId, &Conv) -> [usize; 4],
    without: impl Fn(NodeId) -> bool,
) -> Layouts {
    let mut halos: BTreeMap<NodeId, [usize; 4]> = BTreeMap::new();
    for (view, nodes) in stages.views(graph).rev() {
        for &id in nodes.iter().rev().filter(|id| flat.contains_key(id)) {
            let wish = match &view.node(id).op {
                // A part of its operand, whose border it shares.
                Op::Slice { .. } => halos.get(&id).copied(),
                Op::Conv(conv) => Some(border(id, conv)),
                _ => None,
            };
            if let (Some(wish), Some(x)) = (wish, view.operand(id, 0)) {
                let halo = halos.entry(x).or_default();
                *halo = std::array::from_fn(|side| halo[side].max(wish[side]));
            }
        }
    }
    let mut layouts = Layouts::new();
    for (view, nodes) in stages.views(graph) {
        for &id in nodes {
            let Some(layout) = flat.get(&id) else { continue };
            let halo = halos.get(&id).copied().filter(|_| !without(id)).unwrap_or_default();
            let bordered = match view.node(id).op {
                Op::Slice { .. } => sliced(view, id, &layouts),
                _ => Some(layout.with_halo(halo)),
            };
            layouts.extend(bordered.map(|layout| (id, layout)));
        }
    }
    layouts
}

/// What the bytes of a value stand for, where it is bytes. Maxima are what they are taken of.
fn stored(graph: View<'_>, id: NodeId, bytes: &ByteValues, layouts: &Layouts) -> Option<ByteScale> {
    match graph.node(id).op {
        Op::Pool(_) => bytes.of(id).and_then(|_| layouts.get(&graph.operand(id, 0)?)?.bytes),
        _ => bytes.of(id),
    }
}

/// A slice is a view, but of channels that lie as they are counted only. It is of as many images as its
/// own stage takes: more than a stage before it made at a time.
fn sliced(view: View<'_>, id: NodeId, layouts: &Layouts) -> Option<Blocked> {
    let source = view.operand(id, 0).and_then(|x| layouts.get(&x)).filter(|l| l.is_full())?;
    let [images, channels] = [view.ty(id).shape()[0], view.ty(id).shape()[1]];
    Some(Blocked { images, segments: 1, channels, ..*source })
}

/// The values that can lie in blocks.
fn candidates(graph: &Graph, stages: &Stages, bytes: &ByteValues) -> BTreeSet<NodeId> {
    let mut blocked = BTreeSet::new();
    for (view, nodes) in stages.views(graph) {
        for &id in nodes {
            if fits_blocks(view, id, &blocked, bytes) {
                blocked.insert(id);
            }
        }
    }
    blocked
}

/// Whether a value can lie in blocks, given which ones before it do.
fn fits_blocks(
    graph: View<'_>,
    id: NodeId,
    blocked: &BTreeSet<NodeId>,
    bytes: &ByteValues,
) -> bool {
    let ty = graph.ty(id);
    if ty.dtype != DType::F32 || ty.rank() != 4 || ty.elements() == 0 || is_vast(ty) {
        return false;
    }
    let operand = |slot| graph.operand(id, slot).filter(|o| blocked.contains(o));
    let whole = |id: NodeId| graph.ty(id).shape()[1].is_multiple_of(BLOCK);
    // Whether a user of the value reads it in blocks.
    let in_blocks = |(user, slot): (NodeId, usize)| match &graph.node(user).op {
        Op::Conv(conv) => slot == 0 && is_tiled(graph, user, conv),
        Op::Binary(..) => {
            let operands = graph.operands(user);
            operands.len() == 2 && operands.iter().any(|(_, other)| blocked.contains(other))
        }
        _ => false,
    };
    match &graph.node(id).op {
        Op::Conv(conv) => is_tiled(graph, id, conv) && keeps_zero_finite(&conv.epilogue),
        Op::Pool(_) => operand(0).is_some(),
        Op::SplitAttention(a) => operand(0).is_some() && keeps_zero_finite(&a.epilogue),
        // What convolutions multiply as bytes is brought into blocks where it becomes bytes.
        Op::Unary(f, then) if bytes.of(id).is_some() && operand(0).is_none() => {
            let users = graph.uses(id);
            let is_multiplied = |(user, slot)| slot == 0 && bytes.are_multiplied(user);
            f.keeps_zero_finite() && then.is_empty() && users.into_iter().any(is_multiplied)
        }
        Op::Unary(f, then) => {
            operand(0).is_some() && f.keeps_zero_finite() && keeps_zero_finite(then)
        }
        Op::Binary(f, then) => {
            let same =
                |slot: &usize| operand(*slot).is_some_and(|o| graph.ty(o).shape() == ty.shape());
            [0, 1].iter().all(same) && f.keeps_zero_finite() && keeps_zero_finite(then)
        }
        Op::Concat { axis: 1 } => {
            graph.operands(id).iter().all(|(_, o)| blocked.contains(o) && whole(*o))
        }
        // Channels that come last come in rows, which are copied block by block.
        Op::Transpose { perm } => {
            *perm == CHANNELS_TO_FRONT && whole(id) && graph.uses(id).into_iter().any(in_blocks)
        }
        Op::Slice { starts, steps } => {
            operand(0).is_some_and(|x| whole(x) && is_run_of_blocks(graph, x, id, starts, steps))
        }
        Op::Concat { .. }
        | Op::Input
        | Op::Weight(_)
        | Op::BatchNorm { .. }
        | Op::MatMul { .. }
        | Op::Where
        | Op::Cast { .. }
        | Op::Quantize
        | Op::Dequantize
        | Op::Softmax { .. }
        | Op::Reduce(_)
        | Op::Reshape
        | Op::Expand
        | Op::Gather { .. }
        | Op::Scatter { .. }
        | Op::Pad { .. }
        | Op::ArgMax { .. }
        | Op::Identity => false,
    }
}

/// The axes of a value whose channels come last, as those of one whose channels come before height and width.
const CHANNELS_TO_FRONT: [usize; 4] = [0, 3, 1, 2];

/// Whether a slice takes whole blocks of channels, one after the other, and everything else.
fn is_run_of_blocks(
    graph: View<'_>,
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

/// Whether an epilogue is safe where channels are made up: they are 0, and must stay finite.
fn keeps_zero_finite(then: &Epilogue) -> bool {
    then.steps.iter().all(|step| match step {
        Step::Unary(function) => function.keeps_zero_finite(),
        Step::Binary(function, _) => function.keeps_zero_finite(),
    })
}

/// How many segments the users of values would like.
type Wishes = BTreeMap<NodeId, usize>;

fn wishes(graph: &Graph, stages: &Stages, blocked: &BTreeSet<NodeId>, groups: &Groups) -> Wishes {
    let mut wishes = Wishes::new();
    for (view, nodes) in stages.views(graph).rev() {
        for &id in nodes.iter().rev().filter(|id| blocked.contains(id)) {
            let Some(x) = view.operand(id, 0) else { continue };
            let own = wishes.get(&id).copied();
            let channels = view.ty(x).shape()[1];
            let aligned = |segments: usize| (channels / segments).is_multiple_of(BLOCK);
            let wish = match &view.node(id).op {
                Op::Conv(conv) => {
                    let parts = narrow_groups(&view, id, conv).is_some();
                    Some(groups.of(id, conv)).filter(|groups| !parts && !aligned(*groups))
                }
                Op::SplitAttention(a) if a.radix == 1 && aligned(1) => own,
                Op::SplitAttention(a) => Some(a.cardinality * a.radix).filter(|s| !aligned(*s)),
                Op::Pool(_) | Op::Unary(..) | Op::Binary(..) => own,
                _ => None,
            };
            if let Some(wish) = wish {
                wishes.entry(x).or_insert(wish);
            }
        }
    }
    wishes
}

fn segments(
    graph: View<'_>,
    id: NodeId,
    groups: &Groups,
    wishes: &Wishes,
    layouts: &Layouts,
) -> usize {
    let channels = graph.ty(id).shape()[1];
    let divides = |segments: &usize| channels.is_multiple_of(*segments);
    let wish = wishes.get(&id).copied().filter(divides);
    let aligned = |segments: usize| (channels / segments).is_multiple_of(BLOCK);
    let x = graph.operand(id, 0).and_then(|x| layouts.get(&x));
    match &graph.node(id).op {
        Op::Conv(conv) if narrow_groups(&graph, id, conv).is_some() => 1,
        Op::Conv(conv) => {
            let groups = groups.of(id, conv);
            let least = if groups == 1 || aligned(groups) { 1 } else { groups };
            wish.filter(|s| s.is_multiple_of(groups)).unwrap_or(least)
        }
        Op::SplitAttention(a) => {
            let dense = a.radix == 1 && x.is_some_and(Blocked::is_full);
            if dense || aligned(a.cardinality) { 1 } else { a.cardinality }
        }
        Op::Pool(_) | Op::Unary(..) | Op::Binary(..) => x.map_or(1, |layout| layout.segments),
        _ => 1,
    }
}
