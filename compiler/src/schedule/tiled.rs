//! Which convolutions are computed in blocks of channels.

use super::stages::View;
use crate::ir::{Conv, Graph, NodeId, Op, TensorType};
use crate::machine::BLOCK;

/// Whether planes are so large that distances within a tile would not fit an instruction.
pub(crate) fn is_vast(ty: &TensorType) -> bool {
    const MOST_PIXELS: usize = 1 << 21;
    let shape = ty.shape();
    shape.iter().skip(2).map(|n| n.saturating_add(2 * BLOCK)).fold(1, usize::saturating_mul)
        > MOST_PIXELS
}

/// Whether a convolution is computed in blocks: not when groups are so narrow that filling them up
/// costs more than it saves, and only with constant weights.
pub(super) fn is_tiled(graph: View<'_>, id: NodeId, conv: &Conv) -> bool {
    let Some(weight) = graph.operand(id, 1) else { return false };
    let shape = graph.ty(weight).shape();
    let window = &conv.window;
    let border = window.pad_before.iter().chain(&window.pad_after).all(|n| *n <= BLOCK);
    if !border || graph.operand(id, 0).is_none_or(|x| is_vast(graph.ty(x))) {
        return false;
    }
    if narrow_groups(&graph, id, conv).is_some() {
        return graph.operand(id, 2).is_none_or(|b| matches!(graph.node(b).op, Op::Weight(_)));
    }
    let constant =
        |slot| graph.operand(id, slot).is_none_or(|o| matches!(graph.node(o).op, Op::Weight(_)));
    let [made, read] = [shape[0] / conv.groups.max(1), shape[1]];
    let filled = |n: usize| n.next_multiple_of(BLOCK);
    let waste = (filled(made) * filled(read)) / (made * read).max(1);
    constant(1) && constant(2) && (conv.groups == 1 || waste <= 4)
}

/// Channels of a group, for a convolution whose groups are parts of a block. The last block need not be full where
/// channels are alone.
pub(crate) fn narrow_groups(graph: &Graph, id: NodeId, conv: &Conv) -> Option<usize> {
    let weight = graph.operand(id, 1)?;
    let shape = graph.ty(weight).shape();
    let constant = matches!(graph.node(weight).op, Op::Weight(_));
    let (read, same) = (shape[1], shape[0] == shape[1] * conv.groups);
    let fits = conv.groups > 1 && same && matches!(read, 1 | 4 | 8) && constant;
    (fits && (read == 1 || shape[0].is_multiple_of(BLOCK))).then_some(read)
}
