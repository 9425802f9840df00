//! Folds BatchNormalization into the weights and bias of what computes its operand.
//!
//! With `s = scale / sqrt(var + epsilon)` per channel, `w' = w · s` and
//! `b' = (b − mean) · s + bias`, where an absent `b` is 0. Computed in f64 and rounded once.

use super::channels::{Rows, channel_rows, scaled, values};
use super::fuse_epilogues::join_bias;
use crate::ir::{Answer, Edit, Graph, NodeId, Op, Operand, Weight};

pub(super) fn fold_batch_norm(graph: &Graph, id: NodeId) -> Answer {
    let Op::BatchNorm { epsilon } = graph.node(id).op else { return Answer::NoMatch };
    let Some(producer) = graph.operand(id, 0) else { return Answer::NoMatch };
    // The layer may have its bias added to it.
    if let Some(answer) = join_bias(graph, producer) {
        return answer;
    }
    let op = &graph.node(producer).op;
    let Some(rows) = channel_rows(graph, producer) else {
        return Answer::failed(format!("`{}` before it has no constant weights", op.mnemonic()));
    };
    if op.epilogue().is_none_or(|e| !e.is_empty()) {
        return Answer::failed("something is applied between the two");
    }
    if graph.sole_use(producer).is_none() {
        return Answer::failed("the value before it is used elsewhere too");
    }
    match fold(graph, id, producer, f64::from(epsilon), rows) {
        Some(answer) => answer,
        None => Answer::failed("its statistics or the bias before it are not constant"),
    }
}

fn fold(graph: &Graph, id: NodeId, producer: NodeId, epsilon: f64, rows: Rows) -> Option<Answer> {
    let [scale, bias, mean, var] = {
        let get = |slot| values(graph, graph.operand(id, slot)?);
        [get(1)?, get(2)?, get(3)?, get(4)?]
    };
    let wide = |v: &[f32], i: usize| f64::from(v[i]);
    let factor: Vec<f64> =
        (0..scale.len()).map(|i| wide(&scale, i) / (wide(&var, i) + epsilon).sqrt()).collect();
    let before = match graph.operand(producer, 2) {
        Some(b) => values(graph, b)?,
        None => vec![0.0; scale.len()],
    };
    let shifted = |i: usize| (wide(&before, i) - wide(&mean, i)) * factor[i] + wide(&bias, i);
    let new_bias: Vec<f32> = (0..scale.len()).map(|i| shifted(i) as f32).collect();

    let weight = graph.operand(producer, 1)?;
    let scaled = scaled(&values(graph, weight)?, rows, &factor)?;

    let bias_ty = graph.ty(graph.operand(id, 2)?).clone();
    let bias_name = graph.operand(producer, 2).or(graph.operand(id, 2))?;
    let name = |id: NodeId| graph.node(id).name.as_str();
    let mut edit = Edit::of([producer, id]);
    let weight_ty = graph.ty(weight).clone();
    let weight = edit.constant(name(weight), weight_ty, Weight::from_f32(&scaled));
    let bias = edit.constant(name(bias_name), bias_ty, Weight::from_f32(&new_bias));
    let x = Operand::Old(graph.operand(producer, 0)?);
    let op = graph.node(producer).op.clone();
    let folded = edit.add(name(id), op, vec![(0, x), (1, weight), (2, bias)]);
    Some(edit.replace(id, folded))
}
