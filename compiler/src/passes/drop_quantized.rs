//! Drops what changes nothing around `quantized`: a second one on the same grid, and clipping before it to
//! what it clips to itself.

use super::grid::quantized;
use crate::ir::{Answer, Edit, Epilogue, Graph, NodeId, Op, Operand, Pool, PoolKind, Unary};

/// Most values that are looked through to what put them on a grid.
const FURTHEST: usize = 256;

pub(super) fn drop_quantized(graph: &Graph, id: NodeId) -> Answer {
    let Some(function) = quantized(graph, id) else { return Answer::NoMatch };
    let Some(x) = graph.operand(id, 0) else { return Answer::NoMatch };
    if let Some(passed) = on_grid(graph, x, function) {
        return Edit::of(passed.into_iter().chain([id])).replace(id, Operand::Old(x));
    }
    let Some(unclipped) = needless_clip(graph, x, function) else { return Answer::NoMatch };
    let mut edit = Edit::of([x, id]);
    let op = Op::Unary(function, Epilogue::none());
    let new = edit.add(&graph.node(id).name, op, vec![(0, Operand::Old(unclipped))]);
    edit.replace(id, new)
}

/// The nodes because of which a value is on the grid of `function` already; `None` where it may not be.
fn on_grid(graph: &Graph, id: NodeId, function: Unary) -> Option<Vec<NodeId>> {
    let has = |x: f64| function.of_floats(x) == x;
    let (mut work, mut passed) = (vec![id], Vec::new());
    while let Some(id) = work.pop() {
        if passed.len() == FURTHEST {
            return None;
        }
        passed.push(id);
        if quantized(graph, id) == Some(function) {
            continue;
        }
        match &graph.node(id).op {
            Op::Concat { .. } => work.extend(graph.operands(id).iter().map(|(_, part)| *part)),
            Op::Pad { value, .. } if has(*value) => work.push(graph.operand(id, 0)?),
            Op::Unary(Unary::Relu, then) if then.is_empty() && has(0.0) => {
                work.push(graph.operand(id, 0)?);
            }
            Op::Pool(Pool { kind: PoolKind::Max, .. })
            | Op::Identity
            | Op::Reshape
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Gather { .. } => work.push(graph.operand(id, 0)?),
            _ => return None,
        }
    }
    Some(passed)
}

/// What a value clips, where `function` of that is the same as of the value and nothing else reads it.
fn needless_clip(graph: &Graph, id: NodeId, function: Unary) -> Option<NodeId> {
    let (low, high) = match &graph.node(id).op {
        Op::Unary(Unary::Relu, then) if then.is_empty() => (0.0, f32::INFINITY),
        Op::Unary(Unary::Clip { low, high }, then) if then.is_empty() => (*low, *high),
        _ => return None,
    };
    let same = |a: f32, b: f32| function.of_floats(a.into()) == function.of_floats(b.into());
    // It never falls, so what holds at the bounds holds beyond them.
    let needless = same(low, f32::NEG_INFINITY) && same(high, f32::INFINITY);
    let sole = graph.sole_use(id).is_some();
    graph.operand(id, 0).filter(|_| needless && sole)
}
