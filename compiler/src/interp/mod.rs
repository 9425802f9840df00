//! The reference interpreter: every operator, naively, in f64. It shares no code with the code
//! generator and is what compiled results are compared with.

mod conv;
mod elementwise;
mod layout;
mod reduce;
mod tensor;

pub use tensor::{Data, Tensor};

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::ir::{Epilogue, Graph, NodeId, Op, Step, TensorType};

/// Operands by slot.
pub(crate) struct Operands<'a> {
    all: &'a [(usize, &'a Tensor)],
}

impl<'a> Operands<'a> {
    fn optional(&self, slot: usize) -> Option<&'a Tensor> {
        self.all.iter().find(|(s, _)| *s == slot).map(|(_, t)| *t)
    }

    fn get(&self, slot: usize) -> Result<&'a Tensor> {
        self.optional(slot).ok_or_else(|| Error::internal(format!("operand {slot} is missing")))
    }

    fn floats(&self, slot: usize) -> Result<&'a [f64]> {
        self.get(slot)?.floats()
    }
}

/// Computes one operator. `operands` are (slot, value) by ascending slot; `ty` is the result's
/// type.
///
/// # Errors
/// [`crate::error::Problem::Internal`] when operands contradict `ty`.
pub fn evaluate(op: &Op, operands: &[(usize, &Tensor)], ty: &TensorType) -> Result<Tensor> {
    check_types(op, operands, ty)?;
    let own = Operands { all: operands };
    let data = match op {
        Op::Input => Err(Error::internal("an input is not computed")),
        Op::Weight(weight) => {
            let bytes = weight.bytes(ty);
            let tensor = bytes.and_then(|b| Tensor::from_bytes(ty, &b));
            let missing = || Error::internal("a weight of which the dump has only the hash");
            tensor.map(|t| t.data).ok_or_else(missing)
        }
        Op::Conv(conv) => conv::conv(conv, &own, ty),
        Op::BatchNorm { epsilon } => elementwise::batch_norm(f64::from(*epsilon), &own, ty),
        Op::MatMul { transpose_a, transpose_b, .. } => {
            conv::matmul(*transpose_a, *transpose_b, &own, ty)
        }
        Op::Unary(f, _) => elementwise::unary(*f, own.get(0)?),
        Op::Binary(f, _) => elementwise::binary(*f, own.get(0)?, own.get(1)?, ty),
        Op::Where => elementwise::choose(&own, ty),
        Op::Cast { .. } => elementwise::cast(own.get(0)?, ty.dtype),
        Op::Softmax { axis, log } => reduce::softmax(*axis, *log, own.get(0)?),
        Op::Pool(pool) => conv::pool(pool, own.get(0)?, ty),
        Op::Reduce(reduce) => reduce::reduce(reduce, own.get(0)?, ty),
        Op::Reshape | Op::Identity => Ok(own.get(0)?.data.clone()),
        Op::Expand => layout::expand(own.get(0)?, ty),
        Op::Transpose { perm } => layout::transpose(perm, own.get(0)?, ty),
        Op::Concat { axis } => layout::concat(*axis, &own, ty),
        Op::Slice { starts, steps } => layout::slice(starts, steps, own.get(0)?, ty),
        Op::Gather { axis } => layout::gather(*axis, own.get(0)?, own.get(1)?, ty),
        Op::Pad { before, value, .. } => layout::pad(before, *value, own.get(0)?, ty),
        Op::ArgMax { axis, last, .. } => reduce::argmax(*axis, *last, own.get(0)?),
    }?;
    let result = Tensor { dtype: ty.dtype, shape: ty.shape(), data };
    let result = match op.epilogue() {
        Some(then) => epilogue(result, then, &own)?,
        None => result,
    };
    if result.len() != ty.elements() {
        return Err(Error::internal(format!("{} gave {} elements", op.mnemonic(), result.len())));
    }
    Ok(result.wrapped())
}

/// Operators index by `ty` and by their operands' shapes: those must agree first.
fn check_types(op: &Op, operands: &[(usize, &Tensor)], ty: &TensorType) -> Result<()> {
    let types: Vec<(usize, TensorType)> = operands.iter().map(|(s, t)| (*s, t.ty())).collect();
    let types: Vec<(usize, &TensorType)> = types.iter().map(|(s, t)| (*s, t)).collect();
    let consistent = match op {
        Op::Input | Op::Weight(_) => true,
        Op::Reshape => types.first().is_some_and(|(_, t)| t.elements() == ty.elements()),
        Op::Expand => types.first().is_some_and(|(_, t)| {
            crate::ir::broadcast_shapes(&[&t.shape(), &ty.shape()]) == Some(ty.shape())
        }),
        Op::Slice { starts, steps } => types
            .first()
            .is_some_and(|(_, t)| layout::slice_fits(&t.shape(), &ty.shape(), starts, steps)),
        _ => {
            let found = crate::ir::infer(op, &types)?;
            found.dtype == ty.dtype && found.shape() == ty.shape()
        }
    };
    if consistent {
        return Ok(());
    }
    Err(Error::internal(format!("the operands of a {} do not give {ty}", op.mnemonic())))
}

fn epilogue(mut x: Tensor, then: &Epilogue, own: &Operands<'_>) -> Result<Tensor> {
    let ty = x.ty();
    for step in &then.steps {
        x.data = match step {
            Step::Unary(f) => elementwise::unary(*f, &x)?,
            Step::Binary(f, slot) => elementwise::binary(*f, &x, own.get(*slot)?, &ty)?,
        };
    }
    Ok(x)
}

/// Runs a whole graph on `inputs` (in the order of [`Graph::inputs`]) and returns its outputs.
///
/// # Errors
/// When an input has another type, or a weight's contents are not known.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    run_with(graph, inputs, &mut |_, _| {})
}

/// As [`run`]; `observe` sees every value as it is made.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    graph: &Graph,
    inputs: &[Tensor],
    observe: &mut dyn FnMut(NodeId, &Tensor),
) -> Result<Vec<Tensor>> {
    let mut values = bind_inputs(graph, inputs)?;
    let mut uses: BTreeMap<NodeId, usize> =
        graph.nodes().map(|id| (id, graph.uses(id).len())).collect();
    for id in graph.topological() {
        if !values.contains_key(&id) {
            let node = graph.node(id);
            let slots = graph.operands(id);
            let mut operands = Vec::with_capacity(slots.len());
            for (slot, producer) in &slots {
                let value = values.get(producer);
                operands.push((*slot, value.ok_or_else(|| Error::internal("a value is gone"))?));
            }
            let at = |e: Error| e.at(&node.name, node.op.mnemonic());
            let value = evaluate(&node.op, &operands, &node.ty).map_err(at)?;
            values.insert(id, value);
            for (_, producer) in slots {
                release(graph, &mut values, &mut uses, producer);
            }
        }
        if let Some(value) = values.get(&id) {
            observe(id, value);
        }
    }
    let output = |o: &crate::ir::Output| {
        values.get(&o.node).cloned().ok_or_else(|| Error::internal("an output was not computed"))
    };
    graph.outputs().iter().map(output).collect()
}

/// Drops a value after its last use.
fn release(
    graph: &Graph,
    values: &mut BTreeMap<NodeId, Tensor>,
    uses: &mut BTreeMap<NodeId, usize>,
    id: NodeId,
) {
    let left = uses.entry(id).or_insert(1);
    *left = left.saturating_sub(1);
    if *left == 0 && !graph.is_output(id) {
        values.remove(&id);
    }
}

fn bind_inputs(graph: &Graph, inputs: &[Tensor]) -> Result<BTreeMap<NodeId, Tensor>> {
    if graph.inputs().len() != inputs.len() {
        let (want, have) = (graph.inputs().len(), inputs.len());
        return Err(Error::internal(format!("the graph has {want} inputs, {have} were given")));
    }
    let mut values = BTreeMap::new();
    for (&id, value) in graph.inputs().iter().zip(inputs) {
        let ty = graph.ty(id);
        if value.dtype != ty.dtype || value.shape != ty.shape() {
            let name = &graph.node(id).name;
            return Err(Error::internal(format!("input `{name}` is {}, not {ty}", value.ty())));
        }
        values.insert(id, value.clone());
    }
    Ok(values)
}
