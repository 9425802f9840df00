//! Batches: which operators compute each image by itself.

use super::graph::{Graph, NodeId};
use super::op::Op;
use super::types::TensorType;

/// Whether a node's result for some images depends on these images alone, at the same positions of its first axis:
/// given that of its operands, those that are not constant have as many images in theirs.
pub(crate) fn is_by_image(
    graph: &Graph,
    id: NodeId,
    images: usize,
    is_constant: &dyn Fn(NodeId) -> bool,
) -> bool {
    let leads = |ty: &TensorType| ty.axes.first().is_some_and(|axis| axis.size() == images);
    let node = graph.node(id);
    let Some(own) = operands_by_image(&node.op) else { return false };
    let fits = |(slot, operand): (usize, NodeId)| {
        let ty = graph.ty(operand);
        let is_weight = is_constant(operand);
        if slot < own {
            return !is_weight && leads(ty);
        }
        let is_broadcast = own == 0 || node.op.epilogue_slot().is_some_and(|then| slot >= then);
        match (is_broadcast, is_weight) {
            // Constants of the operator itself.
            (false, constant) => constant,
            // Those of elements: the same ones for all images.
            (true, true) => {
                ty.rank() < node.ty.rank() || ty.axes.first().is_none_or(|a| a.size() == 1)
            }
            (true, false) => ty.rank() == node.ty.rank() && leads(ty),
        }
    };
    // A broadcast may bring an axis in front of that of images.
    let is_of_rank = match &node.op {
        Op::Expand => graph.operand(id, 0).is_some_and(|x| graph.ty(x).rank() == node.ty.rank()),
        _ => true,
    };
    // Matrices of a batch differ from image to image.
    let is_one_matrix = match &node.op {
        Op::MatMul { .. } => graph.operand(id, 1).is_some_and(|b| graph.ty(b).rank() == 2),
        _ => true,
    };
    leads(&node.ty) && is_of_rank && is_one_matrix && graph.operands(id).into_iter().all(fits)
}

/// How many operands of an operator have to have images in their first axis, where its result has then
/// too; none for elementwise ones, whose operands are broadcast. `None` where images meet.
fn operands_by_image(op: &Op) -> Option<usize> {
    match op {
        Op::Conv(_)
        | Op::Pool(_)
        | Op::SplitAttention(_)
        | Op::BatchNorm { .. }
        | Op::Reshape
        | Op::Expand
        | Op::Identity => Some(1),
        Op::Softmax { axis, .. } => (*axis != 0).then_some(1),
        Op::Reduce(reduce) => (!reduce.axes.contains(&0)).then_some(1),
        Op::Transpose { perm } => (perm.first() == Some(&0)).then_some(1),
        Op::Slice { starts, steps } => {
            (starts.first() == Some(&0) && steps.first() == Some(&1)).then_some(1)
        }
        Op::Pad { before, after, .. } => {
            (before.first() == Some(&0) && after.first() == Some(&0)).then_some(1)
        }
        Op::ArgMax { axis, .. } | Op::Gather { axis, .. } => (*axis != 0).then_some(1),
        Op::MatMul { transpose_a: false, .. } => Some(1),
        Op::Concat { axis } => (*axis != 0).then_some(usize::MAX),
        Op::Unary(..)
        | Op::Binary(..)
        | Op::Where
        | Op::Cast { .. }
        | Op::Quantize
        | Op::Dequantize => Some(0),
        Op::MatMul { transpose_a: true, .. } | Op::Scatter { .. } | Op::Input | Op::Weight(_) => {
            None
        }
    }
}
