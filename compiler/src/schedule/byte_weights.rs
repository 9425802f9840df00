//! Which dense layers have their weights stored as bytes: those whose weights are multiples of a scale, one
//! for each output channel. What they multiply is f32 all the same, on every machine; but the weights, of
//! which each is read once in an inference, are a quarter as long.

use std::collections::BTreeSet;

use super::byte_values::scale_of;
use crate::ir::{DType, Graph, NodeId, Op, SplitAttention};

/// Weights of fewer bytes stay f32, which their scales would hardly be less than.
const LEAST_BYTES: usize = 4 << 10;
/// The shortest sum: of few weights any are multiples of something.
const LEAST_DEPTH: usize = 16;

/// Where the weights of an output channel lie.
#[derive(Debug, Clone, Copy)]
enum Channel {
    /// In an element of the outermost axis.
    Filter,
    /// In a row.
    Row,
    /// In a column.
    Column,
}

/// The weights that are stored as bytes, by who reads them in which slot.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ByteWeights(pub(super) BTreeSet<(NodeId, usize)>);

impl ByteWeights {
    /// Of a verified graph, of which some convolutions are computed in blocks.
    pub(super) fn find(graph: &Graph, is_blocked: impl Fn(NodeId) -> bool) -> ByteWeights {
        let mut found = BTreeSet::new();
        for id in graph.nodes().filter(|id| !is_blocked(*id)) {
            let slots: &[(usize, Channel)] = match &graph.node(id).op {
                Op::Conv(_) if is_one_pixel(graph, id) => &[(1, Channel::Filter)],
                Op::MatMul { transpose_b: true, .. } => &[(1, Channel::Row)],
                Op::MatMul { transpose_b: false, .. } => &[(1, Channel::Column)],
                Op::SplitAttention(_) => {
                    &[(SplitAttention::W1, Channel::Row), (SplitAttention::W2, Channel::Row)]
                }
                _ => &[],
            };
            let fits = |(slot, channel): &&(usize, Channel)| {
                graph.operand(id, *slot).is_some_and(|weight| fits(graph, weight, *channel))
            };
            found.extend(slots.iter().filter(fits).map(|(slot, _)| (id, *slot)));
        }
        ByteWeights(found)
    }

    /// Whether a node's weights are bytes.
    pub(crate) fn has(&self, id: NodeId, slot: usize) -> bool {
        self.0.contains(&(id, slot))
    }
}

/// Whether a convolution is a dense layer.
fn is_one_pixel(graph: &Graph, conv: NodeId) -> bool {
    graph.ty(conv).shape().iter().skip(2).product::<usize>() == 1
}

/// Whether this is a weight of which each output channel is multiples of a scale.
fn fits(graph: &Graph, weight: NodeId, channel: Channel) -> bool {
    let (Op::Weight(values), ty) = (&graph.node(weight).op, graph.ty(weight)) else { return false };
    let shape = ty.shape();
    let [outer @ .., depth, width] = &shape[..] else { return false };
    let length = match channel {
        Channel::Filter => outer.iter().skip(1).chain([depth, width]).product(),
        Channel::Row => *width,
        Channel::Column => *depth,
    };
    let elements = values.bytes(ty).unwrap_or_default();
    let is_large = elements.len() >= LEAST_BYTES && length >= LEAST_DEPTH;
    if ty.dtype != DType::F32 || !is_large {
        return false;
    }
    let words = elements.as_chunks::<4>().0;
    match channel {
        Channel::Filter | Channel::Row => {
            words.chunks(length).all(|channel| scale_of(channel).is_some())
        }
        Channel::Column => words.chunks(depth * width).all(|matrix| {
            let column = |at: usize| matrix[at..].iter().step_by(*width).copied();
            (0..*width).all(|at| scale_of(&column(at).collect::<Vec<_>>()).is_some())
        }),
    }
}
