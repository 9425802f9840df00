//! Computes what depends on constants only, in the reference interpreter, and drops operators that
//! give back their operand: identities, casts to the same type, reshapes to the same shape, `0 + x`
//! (Python's `sum` starts so), `x * 1`, pools over one element.

use crate::interp::{Tensor, fold};
use crate::ir::{
    Answer, Binary, DType, Edit, Graph, NodeId, Op, Operand, PoolKind, TensorType, Weight, Window,
    broadcast_shapes,
};
use crate::limits::FOLDED;

pub(super) fn fold_constants(graph: &Graph, id: NodeId) -> Answer {
    let node = graph.node(id);
    if matches!(node.op, Op::Input | Op::Weight(_)) {
        return Answer::NoMatch;
    }
    let operands = graph.operands(id);
    let constant = |id: NodeId| matches!(graph.node(id).op, Op::Weight(_));
    if !operands.is_empty() && operands.iter().all(|(_, o)| constant(*o)) {
        return compute(graph, id);
    }
    match unchanged_operand(graph, id) {
        Some(operand) => replace_by(id, operand),
        None if node.op == Op::Reshape => reshape_of_reshape(graph, id),
        None => needless_expand(graph, id),
    }
}

fn compute(graph: &Graph, id: NodeId) -> Answer {
    let node = graph.node(id);
    if node.ty.elements() > FOLDED {
        return Answer::failed(format!("the constant has {} elements", node.ty.elements()));
    }
    let mut values = Vec::new();
    for (slot, operand) in graph.operands(id) {
        match tensor(graph, operand) {
            Some(value) => values.push((slot, value)),
            None => return Answer::failed("a constant's contents are not known"),
        }
    }
    let borrowed: Vec<(usize, &Tensor)> = values.iter().map(|(s, v)| (*s, v)).collect();
    match fold(&node.op, &borrowed, &node.ty) {
        Ok(result) => {
            let mut edit = Edit::of([id]);
            let weight = Weight::from_bytes(result.to_bytes());
            let constant = edit.constant(&node.name, node.ty.clone(), weight);
            edit.replace(id, constant)
        }
        Err(error) => Answer::failed(error.to_string()),
    }
}

fn tensor(graph: &Graph, id: NodeId) -> Option<Tensor> {
    let node = graph.node(id);
    match &node.op {
        Op::Weight(weight) => Tensor::from_bytes(&node.ty, &weight.bytes(&node.ty)?),
        _ => None,
    }
}

fn replace_by(id: NodeId, operand: NodeId) -> Answer {
    Edit::of([id]).replace(id, Operand::Old(operand))
}

/// The operand that the node gives back as it is.
fn unchanged_operand(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    let x = graph.operand(id, 0)?;
    let same = |operand: NodeId| same_type(graph.ty(operand), &node.ty);
    let drops = match &node.op {
        Op::Identity => true,
        Op::Cast { .. } | Op::Reshape | Op::Expand => same(x),
        Op::Slice { steps, .. } => same(x) && steps.iter().all(|s| *s == 1),
        Op::Transpose { perm } => perm.iter().enumerate().all(|(i, p)| i == *p),
        Op::Concat { .. } => graph.operands(id).len() == 1,
        Op::Pad { .. } => same(x),
        Op::Pool(pool) => {
            let point = Window { stride: [1, 1], ..pool.window } == Window::POINT;
            let average = matches!(pool.kind, PoolKind::Average { .. } | PoolKind::Max);
            same(x) && point && average && pool.window.stride == [1, 1]
        }
        Op::Binary(function, then) if then.is_empty() => {
            return neutral_operand(graph, id, *function).filter(|o| same(*o));
        }
        _ => false,
    };
    drops.then_some(x)
}

fn same_type(a: &TensorType, b: &TensorType) -> bool {
    a.dtype == b.dtype && a.shape() == b.shape()
}

/// `x` of `x + 0`, `0 + x`, `x - 0`, `x * 1`, `1 * x`, `x / 1`, `x ^ 1`.
fn neutral_operand(graph: &Graph, id: NodeId, function: Binary) -> Option<NodeId> {
    let (a, b) = (graph.operand(id, 0)?, graph.operand(id, 1)?);
    let neutral = match function {
        Binary::Add | Binary::Sub => 0.0,
        Binary::Mul | Binary::Div | Binary::Pow => 1.0,
        Binary::Min | Binary::Max | Binary::Equal => return None,
    };
    if is_filled_with(graph, b, neutral) {
        return Some(a);
    }
    (function.commutes() && is_filled_with(graph, a, neutral)).then_some(b)
}

fn is_filled_with(graph: &Graph, id: NodeId, value: f64) -> bool {
    let node = graph.node(id);
    let Op::Weight(weight) = &node.op else { return false };
    // Large constants are real weights; do not read them all.
    let first = match node.ty.dtype {
        DType::F32 if node.ty.elements() <= 4096 => weight.to_f32(&node.ty),
        _ if node.ty.elements() <= 16 => tensor(graph, id).map(|t| {
            let ints = |v: &i64| *v as f32;
            match &t.data {
                crate::interp::Data::Float(v) => v.iter().map(|x| *x as f32).collect(),
                crate::interp::Data::Int(v) => v.iter().map(ints).collect(),
            }
        }),
        _ => None,
    };
    first.is_some_and(|v| v.iter().all(|x| f64::from(*x) == value))
}

/// An operand that is broadcast anyway need not be expanded first.
fn needless_expand(graph: &Graph, id: NodeId) -> Answer {
    let node = graph.node(id);
    let Op::Binary(_, then) = &node.op else { return Answer::NoMatch };
    let (Some(a), Some(b)) = (graph.operand(id, 0), graph.operand(id, 1)) else {
        return Answer::NoMatch;
    };
    // Of a value with itself, nothing else says how far.
    if a == b {
        return Answer::NoMatch;
    }
    for (expand, other) in [(a, b), (b, a)] {
        let Some(x) = graph.operand(expand, 0).filter(|_| graph.node(expand).op == Op::Expand)
        else {
            continue;
        };
        let (x_shape, other) = (graph.ty(x).shape(), graph.ty(other).shape());
        let broadcast = broadcast_shapes(&[&x_shape, &other]);
        if !then.is_empty() || broadcast != Some(node.ty.shape()) {
            continue;
        }
        let mut edit = Edit::of([expand, id]);
        let source = |operand: NodeId| Operand::Old(if operand == expand { x } else { operand });
        let operands = vec![(0, source(a)), (1, source(b))];
        let new = edit.add(&node.name, node.op.clone(), operands);
        return edit.replace(id, new);
    }
    Answer::NoMatch
}

fn reshape_of_reshape(graph: &Graph, id: NodeId) -> Answer {
    let node = graph.node(id);
    let inner = graph.operand(id, 0);
    match (&node.op, inner) {
        (Op::Reshape, Some(inner)) if graph.node(inner).op == Op::Reshape => {
            let Some(source) = graph.operand(inner, 0) else { return Answer::NoMatch };
            let mut edit = Edit::of([inner, id]);
            let operands = vec![(0, Operand::Old(source))];
            let new = edit.add_typed(&node.name, Op::Reshape, Some(node.ty.clone()), operands);
            edit.replace(id, new)
        }
        _ => Answer::NoMatch,
    }
}
