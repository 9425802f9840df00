//! How much work nodes are, by their definitions.

use super::attention::{Excite, SplitAttention};
use super::graph::{Graph, NodeId};
use super::op::Op;

/// Products of convolutions, matrix products and Split-Attention, by the definition: algorithms may need
/// fewer. 0 for what multiplies nothing or hardly anything; saturates where numbers end.
pub fn multiply_adds(graph: &Graph, id: NodeId) -> usize {
    let node = graph.node(id);
    let shape =
        |slot: usize| graph.operand(id, slot).map(|x| graph.ty(x).shape()).unwrap_or_default();
    match &node.op {
        // The weight is [m, channels of a group, kh, kw].
        Op::Conv(_) => product(shape(1).iter().skip(1)).saturating_mul(node.ty.elements()),
        Op::MatMul { transpose_a, .. } => {
            let a = shape(0);
            let depth = a.len().checked_sub(if *transpose_a { 2 } else { 1 });
            depth.map_or(0, |axis| a[axis]).saturating_mul(node.ty.elements())
        }
        Op::SplitAttention(attention) => {
            let u = shape(SplitAttention::U);
            let images = u.first().copied().unwrap_or(0);
            images.saturating_mul(dense(attention, &u)).saturating_add(product(u.iter()))
        }
        _ => 0,
    }
}

/// Those of the dense layers, for one image.
fn dense(attention: &SplitAttention, u: &[usize]) -> usize {
    let all = u.get(1).copied().unwrap_or(0);
    let of_split = all / attention.radix.max(1) / attention.cardinality.max(1);
    match &attention.excite {
        Excite::Inner { width, .. } => {
            let first = attention.cardinality.saturating_mul(*width).saturating_mul(of_split);
            first.saturating_add(all.saturating_mul(*width))
        }
        Excite::Direct => all.saturating_mul(of_split),
    }
}

fn product<'a>(extents: impl Iterator<Item = &'a usize>) -> usize {
    extents.fold(1, |all, extent| all.saturating_mul(*extent))
}
