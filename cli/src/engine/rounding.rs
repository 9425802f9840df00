//! What an operator gives by its definition, and how far from it rounding alone may bring it.

use std::collections::HashMap;

use cardinal_compiler::error::Error as ModelError;
use cardinal_compiler::interp::{self, Data, Tensor};
use cardinal_compiler::ir::work::multiply_adds;
use cardinal_compiler::ir::{
    DType, Epilogue, Graph, Node, NodeId, Op, Step, TensorType, Unary, Weight,
};

use super::{ModelResult, tensor};
use crate::tensors::Array;

/// Half of the distance of neighbouring numbers of f32, relative to the larger: what a rounding changes at most.
const UNIT: f64 = 1.0 / (1 << 24) as f64;
/// Roundings of a function of f32 such as exp, in units of one.
const FUNCTION: f64 = 6.0;

/// An operator on the operands that compiled code gave it.
pub(crate) struct Alone {
    /// Its result in f64.
    pub(crate) exact: Vec<f64>,
    /// What rounding every sum and every product to f32 changes at most of an element, as far as roundings are
    /// independent: not a bound, but an estimate that is seldom passed.
    pub(crate) rounding: f64,
}

impl Alone {
    /// Evaluates a node on values by their names.
    ///
    /// # Errors
    /// Those of the interpreter.
    pub(crate) fn of(
        graph: &Graph,
        id: NodeId,
        values: &HashMap<String, Array>,
    ) -> ModelResult<Alone> {
        let operands = operands(graph, id, values)?;
        let result = evaluate(graph.node(id), &operands)?;
        let exact = floats(&result);
        let rounding = match graph.ty(id).dtype {
            // What is rounded to a multiple may be so to a neighbour.
            DType::F32 | DType::F64 => {
                rounding(graph, id, &operands, &exact)? + largest_multiple(&graph.node(id).op)
            }
            // What is rounded to an integer may be so to a neighbour.
            _ => f64::from(u8::from(graph.node(id).op == Op::Quantize)),
        };
        Ok(Alone { exact, rounding })
    }
}

/// Operands by slot.
type Operands = Vec<(usize, Tensor)>;

fn operands(graph: &Graph, id: NodeId, values: &HashMap<String, Array>) -> ModelResult<Operands> {
    let operand = |(slot, operand): (usize, NodeId)| {
        let node = graph.node(operand);
        let value = match &node.op {
            Op::Weight(weight) => weight_of(weight, &node.ty),
            _ => values.get(&node.name).map(tensor).transpose()?,
        };
        let value = value
            .ok_or_else(|| ModelError::internal(format!("the value `{}` is lost", node.name)))?;
        Ok((slot, value))
    };
    graph.operands(id).into_iter().map(operand).collect()
}

fn weight_of(weight: &Weight, ty: &TensorType) -> Option<Tensor> {
    Tensor::from_bytes(ty, &weight.bytes(ty)?)
}

fn evaluate(node: &Node, operands: &Operands) -> ModelResult<Tensor> {
    let operands: Vec<(usize, &Tensor)> = operands.iter().map(|(slot, x)| (*slot, x)).collect();
    Ok(interp::evaluate(&node.op, &operands, &node.ty)?)
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    match &tensor.data {
        Data::Float(all) => all.clone(),
        Data::Int(all) => all.iter().map(|x| *x as f64).collect(),
    }
}

fn largest(all: &[f64]) -> f64 {
    all.iter().filter(|x| x.is_finite()).fold(0.0, |most, x| most.max(x.abs()))
}

/// So many roundings of numbers as large as these.
fn rounding(graph: &Graph, id: NodeId, operands: &Operands, exact: &[f64]) -> ModelResult<f64> {
    let node = graph.node(id);
    let of_operands = operands.iter().filter(|(_, x)| x.dtype.is_float());
    let of_operands = of_operands.map(|(_, x)| largest(&floats(x))).fold(0.0, f64::max);
    let magnitude = match &node.op {
        Op::Conv(_) | Op::MatMul { .. } => largest(&floats(&magnitudes(node, operands)?)),
        // Elements are moved as they are.
        op if moves(op) => return Ok(0.0),
        _ => of_operands,
    };
    let functions = node.op.epilogue().map_or(0, |then| functions(&then.steps));
    let own = matches!(node.op, Op::Unary(..) | Op::Softmax { .. } | Op::SplitAttention(_));
    let roundings = (terms(graph, id) as f64).sqrt()
        + FUNCTION * (functions + usize::from(own)) as f64
        + node.op.epilogue().map_or(0, |then| then.steps.len()) as f64;
    Ok(UNIT * roundings * magnitude.max(largest(exact)))
}

/// The largest distance between neighbours among what an operator and its epilogue round to; 0 where they round to
/// no multiples.
fn largest_multiple(op: &Op) -> f64 {
    let own = if let Op::Unary(function, _) = op { Some(*function) } else { None };
    let steps = op.epilogue().into_iter().flat_map(|then| &then.steps);
    let then = steps.filter_map(|step| if let Step::Unary(f) = step { Some(*f) } else { None });
    let scale = |function| if let Unary::Quantized { scale, .. } = function { scale } else { 0.0 };
    own.into_iter().chain(then).map(scale).map(f64::from).fold(0.0, f64::max)
}

/// Whether an operator computes nothing.
fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Identity
            | Op::Reshape
            | Op::Slice { .. }
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::Scatter { .. }
            | Op::Where
    )
}

fn functions(steps: &[Step]) -> usize {
    steps.iter().filter(|step| matches!(step, Step::Unary(_))).count()
}

/// How many numbers are added up for an element of the result.
fn terms(graph: &Graph, id: NodeId) -> usize {
    let node = graph.node(id);
    let made = node.ty.elements().max(1);
    let read = graph.operand(id, 0).map_or(1, |x| graph.ty(x).elements());
    match &node.op {
        // Means of planes, and dense layers of all channels.
        Op::SplitAttention(_) => {
            let shape = graph.operand(id, 0).map(|x| graph.ty(x).shape()).unwrap_or_default();
            shape.iter().skip(1).copied().max().unwrap_or(1).max(read / made)
        }
        Op::Softmax { .. } => node.ty.shape().into_iter().max().unwrap_or(1),
        _ => (multiply_adds(graph, id) / made).max(read / made).max(1),
    }
}

/// The sums of the magnitudes of what a product adds up, without what is done to sums.
fn magnitudes(node: &Node, operands: &Operands) -> ModelResult<Tensor> {
    let mut node = node.clone();
    let own = node.op.epilogue_slot().unwrap_or(usize::MAX);
    if let Some(epilogue) = node.op.epilogue_mut() {
        *epilogue = Epilogue::none();
    }
    let positive = |tensor: &Tensor| {
        let data = match &tensor.data {
            Data::Float(all) => Data::Float(all.iter().map(|x| x.abs()).collect()),
            Data::Int(all) => Data::Int(all.iter().map(|x| x.saturating_abs()).collect()),
        };
        Tensor { data, ..tensor.clone() }
    };
    let operands = operands.iter().filter(|(slot, _)| *slot < own);
    evaluate(&node, &operands.map(|(slot, x)| (*slot, positive(x))).collect())
}
