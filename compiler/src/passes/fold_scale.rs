//! Folds the multiplication by one constant for each channel into the weights and the bias of the layer before it,
//! be it through a transpose:
//!
//! ```text
//!   (x · w + b) · s = x · (w · s) + b · s
//! ```
//!
//! Computed in f64 and rounded once. Left as it is where something of it is too large or too small for f32.

use super::channels::{Rows, channel_rows, scaled_exactly, values};
use super::fuse_epilogues::join_bias;
use crate::ir::{Answer, Binary, Edit, Graph, NodeId, Op, Operand, Weight};

pub(super) fn fold_scale(graph: &Graph, id: NodeId) -> Answer {
    let Op::Binary(Binary::Mul, then) = &graph.node(id).op else { return Answer::NoMatch };
    if !then.is_empty() {
        return Answer::NoMatch;
    }
    let operands = [0, 1].map(|slot| graph.operand(id, slot));
    let [Some(a), Some(b)] = operands else { return Answer::NoMatch };
    let found = [(a, b), (b, a)].into_iter().find_map(|(x, scale)| {
        let is_constant = matches!(graph.node(scale).op, Op::Weight(_));
        is_constant.then(|| Layer::of(graph, id, x, scale)).flatten()
    });
    let Some(layer) = found else { return Answer::NoMatch };
    // The layer may have its bias added to it.
    if let Some(answer) = join_bias(graph, layer.value) {
        return answer;
    }
    layer.fold(graph, id).unwrap_or(Answer::NoMatch)
}

/// A layer whose result is multiplied.
struct Layer {
    /// Its result, or that with a bias added.
    value: NodeId,
    /// The axes' order between them, if it is another.
    transpose: Option<NodeId>,
    /// The factors of channels.
    factors: Vec<f64>,
}

impl Layer {
    /// `None` unless a value that nothing else reads is multiplied by one constant for each channel.
    fn of(graph: &Graph, id: NodeId, x: NodeId, scale: NodeId) -> Option<Layer> {
        let is_inner = |id: NodeId| graph.sole_use(id).is_some();
        let (value, transpose, perm) = match &graph.node(x).op {
            Op::Transpose { perm } => (graph.operand(x, 0)?, Some(x), Some(perm)),
            _ => (x, None, None),
        };
        let own = match graph.node(value).op {
            Op::Conv(_) => 1,
            Op::MatMul { .. } => graph.ty(value).rank().checked_sub(1)?,
            // A bias of rows.
            Op::Binary(Binary::Add, _) => graph.ty(value).rank().checked_sub(1)?,
            _ => return None,
        };
        let axis = perm.map_or(Some(own), |perm| perm.iter().position(|axis| *axis == own))?;
        let (shape, small) = (graph.ty(id).shape(), graph.ty(scale).shape());
        let ahead = shape.len().checked_sub(small.len())?;
        let is_along =
            |(at, n): (usize, &usize)| if at + ahead == axis { *n == shape[axis] } else { *n == 1 };
        let fits =
            graph.ty(x).shape() == shape && axis >= ahead && small.iter().enumerate().all(is_along);
        if !fits || !is_inner(x) || !is_inner(value) {
            return None;
        }
        let factors = values(graph, scale)?.into_iter().map(f64::from).collect();
        Some(Layer { value, transpose, factors })
    }

    fn fold(&self, graph: &Graph, id: NodeId) -> Option<Answer> {
        let layer = self.value;
        let rows = match graph.node(layer).op {
            Op::MatMul { transpose_b, .. } => Rows::of_matrix(graph, layer, transpose_b)?,
            _ => channel_rows(graph, layer)?,
        };
        let (op, name) = (&graph.node(layer).op, |id: NodeId| graph.node(id).name.as_str());
        if !op.epilogue()?.is_empty() {
            return None;
        }
        let mut edit = Edit::of([layer].into_iter().chain(self.transpose).chain([id]));
        let weight = graph.operand(layer, 1)?;
        let new = scaled_exactly(&values(graph, weight)?, rows, &self.factors)?;
        let ty = graph.ty(weight).clone();
        let mut operands = vec![
            (0, Operand::Old(graph.operand(layer, 0)?)),
            (1, edit.constant(name(weight), ty, Weight::from_f32(&new))),
        ];
        if let Some(bias) = graph.operand(layer, 2) {
            let new = scaled_exactly(&values(graph, bias)?, Rows::Outer(1), &self.factors)?;
            let ty = graph.ty(bias).clone();
            operands.push((2, edit.constant(name(bias), ty, Weight::from_f32(&new))));
        }
        let mut made = edit.add(name(layer), op.clone(), operands);
        if let Some(transpose) = self.transpose {
            let op = graph.node(transpose).op.clone();
            made = edit.add(name(id), op, vec![(0, made)]);
        }
        Some(edit.replace(id, made))
    }
}
