//! A BatchNormalization that no layer before it takes becomes a convolution of one pixel whose channels are alone:
//! so it is computed in blocks, with what is done behind it.
//!
//! With `s = scale / sqrt(var + epsilon)` per channel, its filter is `s` and its bias `bias − mean · s`, computed in
//! f64 and rounded once. Left as it is where nothing around it lies in blocks, and where `x · s` and `mean · s` would
//! cancel: then `x − mean` comes first.

use std::collections::BTreeSet;

use super::channels::{is_exact, values};
use crate::ir::{
    Answer, Conv, DType, Edit, Epilogue, Graph, NodeId, Op, Operand, TensorType, Weight, Window,
};
use crate::schedule::is_vast;

/// Fewer channels fill no block, and are better left as they are.
const FEWEST: usize = 16;

/// How many times what a channel adds to results, or scales them by, its shifted mean may be: what cancels loses as
/// many units of the last place.
const CANCELLED: f64 = 64.0;

/// Values between it and a layer, at most.
const FARTHEST: usize = 32;

pub(super) fn convolve_batch_norm(graph: &Graph, id: NodeId) -> Answer {
    let Op::BatchNorm { epsilon } = graph.node(id).op else { return Answer::NoMatch };
    if !fits_blocks(graph.ty(id)) || !is_near_blocks(graph, id) {
        return Answer::NoMatch;
    }
    match Channels::of(graph, id, f64::from(epsilon)) {
        None => Answer::failed("its statistics are not constant"),
        Some(channels) if !channels.keep() => {
            Answer::failed("its means are so large beside its deviations that results would cancel")
        }
        Some(channels) => channels.convolution(graph, id).unwrap_or(Answer::NoMatch),
    }
}

/// Whether such a value can lie in blocks.
fn fits_blocks(ty: &TensorType) -> bool {
    let is_plane = ty.dtype == DType::F32 && ty.rank() == 4 && ty.elements() > 0;
    is_plane && ty.shape()[1] >= FEWEST && !is_vast(ty)
}

/// Whether a layer in blocks comes before or behind, with nothing in between but what keeps blocks.
fn is_near_blocks(graph: &Graph, id: NodeId) -> bool {
    let before = |id: NodeId| graph.operands(id).iter().map(|(_, x)| *x).collect::<Vec<_>>();
    let behind = |id: NodeId| graph.uses(id).into_iter().map(|(user, _)| user).collect();
    leads_to_blocks(graph, id, before) || leads_to_blocks(graph, id, behind)
}

fn leads_to_blocks(graph: &Graph, from: NodeId, next: impl Fn(NodeId) -> Vec<NodeId>) -> bool {
    let (mut seen, mut left) = (BTreeSet::from([from]), next(from));
    while let Some(id) = left.pop() {
        if seen.len() > FARTHEST || !seen.insert(id) {
            continue;
        }
        match graph.node(id).op {
            Op::Conv(_) | Op::Pool(_) | Op::SplitAttention(_) => return true,
            Op::Unary(..) | Op::Binary(..) | Op::Concat { axis: 1 } | Op::BatchNorm { .. } => {
                left.extend(next(id));
            }
            Op::Concat { .. }
            | Op::Input
            | Op::Weight(_)
            | Op::MatMul { .. }
            | Op::Where
            | Op::Cast { .. }
            | Op::Quantize
            | Op::Dequantize
            | Op::Softmax { .. }
            | Op::Reduce(_)
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Reshape
            | Op::Expand
            | Op::Gather { .. }
            | Op::Scatter { .. }
            | Op::Pad { .. }
            | Op::ArgMax { .. }
            | Op::Identity => {}
        }
    }
    false
}

/// What becomes of each channel.
struct Channels {
    scale: Vec<f32>,
    bias: Vec<f32>,
    mean: Vec<f32>,
    /// `scale / sqrt(var + epsilon)`.
    factors: Vec<f64>,
}

impl Channels {
    fn of(graph: &Graph, id: NodeId, epsilon: f64) -> Option<Channels> {
        let get = |slot: usize| values(graph, graph.operand(id, slot)?);
        let [scale, bias, mean, var] = [get(1)?, get(2)?, get(3)?, get(4)?];
        let factor =
            |(scale, var): (&f32, &f32)| f64::from(*scale) / (f64::from(*var) + epsilon).sqrt();
        let factors = scale.iter().zip(&var).map(factor).collect();
        Some(Channels { scale, bias, mean, factors })
    }

    /// Of each channel its factor, and what is added.
    fn each(&self) -> impl Iterator<Item = (f64, f64)> {
        let moved = self.factors.iter().zip(&self.mean).zip(&self.bias);
        moved.map(|((factor, mean), bias)| (*factor, f64::from(*bias) - f64::from(*mean) * factor))
    }

    /// Whether results are as exact as those of the definition.
    fn keep(&self) -> bool {
        let unit = |i: usize| f64::from(self.scale[i].abs().max(self.bias[i].abs()));
        self.each().enumerate().all(|(i, (factor, shift))| {
            let moved = (f64::from(self.mean[i]) * factor).abs();
            is_exact(factor) && (shift as f32).is_finite() && moved <= CANCELLED * unit(i)
        })
    }

    fn convolution(&self, graph: &Graph, id: NodeId) -> Option<Answer> {
        let channels = self.factors.len();
        let (filters, shifts): (Vec<f32>, Vec<f32>) =
            self.each().map(|(factor, shift)| (factor as f32, shift as f32)).unzip();
        let name = |slot: usize| Some(graph.node(graph.operand(id, slot)?).name.clone());
        let mut edit = Edit::of([id]);
        let filter_ty = TensorType::new(DType::F32, &[channels, 1, 1, 1]);
        let filter = edit.constant(name(1)?, filter_ty, Weight::from_f32(&filters));
        let bias_ty = TensorType::new(DType::F32, &[channels]);
        let bias = edit.constant(name(2)?, bias_ty, Weight::from_f32(&shifts));
        let op =
            Op::Conv(Conv { groups: channels, window: Window::POINT, epilogue: Epilogue::none() });
        let x = Operand::Old(graph.operand(id, 0)?);
        let new = edit.add(&graph.node(id).name, op, vec![(0, x), (1, filter), (2, bias)]);
        Some(edit.replace(id, new))
    }
}
