//! How the weights of a layer belong to its output channels.

use crate::ir::{Graph, NodeId, Op, Weight};

/// How a weight's elements belong to output channels.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows {
    /// Channels are the outermost axis: each has `len` consecutive elements.
    Outer(usize),
    /// Channels are the innermost axis, of so many elements.
    Inner(usize),
}

impl Rows {
    /// Of the matrix that a product multiplies with; `None` where there are several.
    pub(super) fn of_matrix(graph: &Graph, product: NodeId, turned: bool) -> Option<Rows> {
        let weight = graph.operand(product, 1)?;
        constant(graph, weight)?;
        match graph.ty(weight).shape()[..] {
            [_, width] if turned => Some(Rows::Outer(width)),
            [_, width] => Some(Rows::Inner(width)),
            _ => None,
        }
    }
}

/// Of a layer whose channels are the second axis of its result.
pub(super) fn channel_rows(graph: &Graph, layer: NodeId) -> Option<Rows> {
    let weight = graph.operand(layer, 1)?;
    constant(graph, weight)?;
    let shape = graph.ty(weight).shape();
    match graph.node(layer).op {
        Op::Conv(_) => Some(Rows::Outer(shape.iter().skip(1).product())),
        Op::MatMul { transpose_b, .. } if graph.ty(layer).rank() == 2 => {
            Rows::of_matrix(graph, layer, transpose_b)
        }
        _ => None,
    }
}

/// Each element times the factor of its channel.
pub(super) fn scaled(weights: &[f32], rows: Rows, factors: &[f64]) -> Option<Vec<f32>> {
    let each = products(weights, rows, factors);
    each.map(|product| product.map(|product| product as f32)).collect()
}

/// The same, where nothing of it is too large or too small for f32.
pub(super) fn scaled_exactly(weights: &[f32], rows: Rows, factors: &[f64]) -> Option<Vec<f32>> {
    let each = products(weights, rows, factors);
    each.map(|product| product.filter(|it| is_exact(*it)).map(|it| it as f32)).collect()
}

fn products(weights: &[f32], rows: Rows, factors: &[f64]) -> impl Iterator<Item = Option<f64>> {
    weights.iter().enumerate().map(move |(i, weight)| {
        let channel = match rows {
            Rows::Outer(len) => i / len.max(1),
            Rows::Inner(len) => i % len.max(1),
        };
        Some(f64::from(*weight) * factors.get(channel)?)
    })
}

/// Whether a factor is as exact in f32 as these get.
pub(super) fn is_exact(factor: f64) -> bool {
    factor == 0.0 || (factor as f32).is_normal()
}

fn constant(graph: &Graph, id: NodeId) -> Option<&Weight> {
    match &graph.node(id).op {
        Op::Weight(weight) => Some(weight),
        _ => None,
    }
}

/// The elements of a constant.
pub(super) fn values(graph: &Graph, id: NodeId) -> Option<Vec<f32>> {
    constant(graph, id)?.to_f32(graph.ty(id))
}
