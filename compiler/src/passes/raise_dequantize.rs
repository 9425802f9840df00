//! Dequantizes before elements are moved or picked instead of after, where they have just been quantized:
//! the two then meet.

use super::grid::Grid;
use crate::ir::{Answer, DType, Edit, Graph, NodeId, Op, Operand, Pool, PoolKind, TensorType};

/// Most values that are looked through to what quantizes them.
const FURTHEST: usize = 256;

pub(super) fn raise_dequantize(graph: &Graph, id: NodeId) -> Answer {
    let (Op::Dequantize, Some(grid)) = (&graph.node(id).op, Grid::of(graph, id)) else {
        return Answer::NoMatch;
    };
    let Some(moved) = graph.operand(id, 0).and_then(|x| Moved::at(graph, x)) else {
        return Answer::NoMatch;
    };
    if !are_quantized(graph, &moved.sources, &grid) {
        return Answer::NoMatch;
    }
    match raised(graph, id, &moved, &grid) {
        Some(answer) => answer,
        None => Answer::NoMatch,
    }
}

/// What moves or picks integers.
struct Moved {
    /// The operator that does.
    by: NodeId,
    /// What it reads of these integers, in its first slots.
    sources: Vec<NodeId>,
    /// Nodes on the way.
    nodes: Vec<NodeId>,
}

impl Moved {
    fn at(graph: &Graph, id: NodeId) -> Option<Moved> {
        let first = graph.operand(id, 0)?;
        match &graph.node(id).op {
            Op::Concat { .. } => {
                let sources = graph.operands(id).into_iter().map(|(_, part)| part).collect();
                Some(Moved { by: id, sources, nodes: vec![id] })
            }
            Op::Identity
            | Op::Reshape
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Gather { .. }
            | Op::Pad { .. } => Some(Moved { by: id, sources: vec![first], nodes: vec![id] }),
            Op::Cast { .. } => Moved::largest(graph, id, first),
            _ => None,
        }
    }

    /// The largest integers of windows, which are compared as floats.
    fn largest(graph: &Graph, id: NodeId, pool: NodeId) -> Option<Moved> {
        let Op::Pool(Pool { kind: PoolKind::Max, .. }) = graph.node(pool).op else { return None };
        let floats = graph.operand(pool, 0)?;
        let cast = matches!(graph.node(floats).op, Op::Cast { to: DType::F32 });
        let source = graph.operand(floats, 0).filter(|_| cast)?;
        let same = graph.ty(source).dtype == graph.ty(id).dtype;
        let nodes = vec![floats, pool, id];
        same.then_some(Moved { by: pool, sources: vec![source], nodes })
    }
}

/// Whether all of these values have been put on the grid, before elements were moved at most.
fn are_quantized(graph: &Graph, values: &[NodeId], grid: &Grid) -> bool {
    let mut work = values.to_vec();
    for _ in 0..FURTHEST {
        let Some(id) = work.pop() else { return true };
        if graph.node(id).op == Op::Quantize {
            if Grid::of(graph, id) != Some(*grid) {
                return false;
            }
            continue;
        }
        match Moved::at(graph, id) {
            Some(moved) => work.extend(moved.sources),
            None => return false,
        }
    }
    false
}

fn raised(graph: &Graph, id: NodeId, moved: &Moved, grid: &Grid) -> Option<Answer> {
    let (scale, zero) = (graph.operand(id, 1)?, graph.operand(id, 2)?);
    let by = graph.node(moved.by);
    let mut edit = Edit::of(moved.nodes.iter().copied().chain([id]));
    let mut operands = Vec::new();
    for (slot, operand) in graph.operands(moved.by) {
        let Some(&source) = moved.sources.get(slot) else {
            operands.push((slot, Operand::Old(operand)));
            continue;
        };
        let grid = [source, scale, zero].map(Operand::Old).into_iter().enumerate().collect();
        let name = format!("{}:float", graph.node(source).name);
        operands.push((slot, edit.add(name, Op::Dequantize, grid)));
    }
    let mut op = by.op.clone();
    if let Op::Pad { value, .. } = &mut op {
        *value = grid.float(*value);
    }
    let ty = TensorType { dtype: DType::F32, axes: graph.ty(id).axes.clone() };
    let new = edit.add_typed(&graph.node(id).name, op, Some(ty), operands);
    Some(edit.replace(id, new))
}
