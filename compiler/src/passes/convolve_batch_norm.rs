//! A BatchNormalization that no layer before it takes becomes a convolution of one pixel whose channels are alone:
//! so it is computed in blocks, with what is done behind it.
//!
//! With `s = scale / sqrt(var + epsilon)` per channel, its filter is `s` and its bias `bias − mean · s`, computed in
//! f64 and rounded once.

use super::channels::values;
use crate::ir::{
    Answer, Conv, DType, Edit, Epilogue, Graph, NodeId, Op, Operand, TensorType, Weight, Window,
};

/// Fewer channels fill no block, and are better left as they are.
const FEWEST: usize = 16;

pub(super) fn convolve_batch_norm(graph: &Graph, id: NodeId) -> Answer {
    let Op::BatchNorm { epsilon } = graph.node(id).op else { return Answer::NoMatch };
    let shape = graph.ty(id).shape();
    if graph.ty(id).dtype != DType::F32 || shape.len() != 4 || shape[1] < FEWEST {
        return Answer::NoMatch;
    }
    match convolution(graph, id, f64::from(epsilon)) {
        Some(answer) => answer,
        None => Answer::failed("its statistics are not constant"),
    }
}

fn convolution(graph: &Graph, id: NodeId, epsilon: f64) -> Option<Answer> {
    let get = |slot: usize| values(graph, graph.operand(id, slot)?);
    let [scale, bias, mean, var] = [get(1)?, get(2)?, get(3)?, get(4)?];
    let wide = |all: &[f32], i: usize| all.get(i).map(|x| f64::from(*x));
    let factor = |i: usize| Some(wide(&scale, i)? / (wide(&var, i)? + epsilon).sqrt());
    let shift = |i: usize| Some((wide(&bias, i)? - wide(&mean, i)? * factor(i)?) as f32);
    let channels = graph.ty(id).shape()[1];
    let filters: Vec<f32> =
        (0..channels).map(|i| factor(i).map(|s| s as f32)).collect::<Option<_>>()?;
    let shifts: Vec<f32> = (0..channels).map(shift).collect::<Option<_>>()?;
    let name = |slot: usize| Some(graph.node(graph.operand(id, slot)?).name.clone());
    let mut edit = Edit::of([id]);
    let filter_ty = TensorType::new(DType::F32, &[channels, 1, 1, 1]);
    let filter = edit.constant(name(1)?, filter_ty, Weight::from_f32(&filters));
    let bias_ty = TensorType::new(DType::F32, &[channels]);
    let bias = edit.constant(name(2)?, bias_ty, Weight::from_f32(&shifts));
    let op = Op::Conv(Conv { groups: channels, window: Window::POINT, epilogue: Epilogue::none() });
    let x = Operand::Old(graph.operand(id, 0)?);
    let new = edit.add(&graph.node(id).name, op, vec![(0, x), (1, filter), (2, bias)]);
    Some(edit.replace(id, new))
}
