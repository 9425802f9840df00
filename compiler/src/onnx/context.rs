//! What an operator's import function sees: one ONNX node, its operands, and the graph so far.

use std::sync::Arc;

use crate::error::{Error, Problem, Result};
use crate::interp::Tensor;
use crate::ir::{NodeId, Op, TensorType};

/// What an ONNX value name stands for during import.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Known at compile time and not in the graph: shape arithmetic, small integers.
    Known(Arc<Tensor>),
    /// A node of the graph.
    Node(NodeId),
    /// A sequence of values (SplitToSequence).
    Sequence(Vec<Value>),
}

/// One row of the registry: an operator, the versions of it that are understood, and its import.
pub(super) struct Operator {
    /// The ONNX operator.
    pub(super) name: &'static str,
    /// Every since-version understood, ascending. A model whose opset selects another one is
    /// refused.
    pub(super) since: &'static [i64],
    /// Adds the node's meaning to the graph and binds its outputs.
    pub(super) import: fn(&mut Context<'_>) -> Result<()>,
}

/// One ONNX node being imported.
pub(super) struct Context<'a> {
    /// The since-version that the model's opset selects for this operator.
    pub(super) since: i64,
    pub(super) marker: std::marker::PhantomData<&'a ()>,
}

#[allow(dead_code, unused_variables)]
impl Context<'_> {
    /// Number of operands written in the file, absent (empty-named) ones included.
    pub(super) fn arity(&self) -> usize {
        0
    }

    /// Whether operand `i` is written and not empty-named.
    pub(super) fn has(&self, i: usize) -> bool {
        false
    }

    /// Operand `i` as a node of the graph; a known value becomes a weight node. An absent one is
    /// an error.
    pub(super) fn input(&mut self, i: usize) -> Result<NodeId> {
        Err(Error::internal("stub"))
    }

    /// Operand `i` as a node of the graph, if present.
    pub(super) fn optional(&mut self, i: usize) -> Result<Option<NodeId>> {
        Err(Error::internal("stub"))
    }

    /// Operand `i` as it is in the environment (for sequences and compile-time values).
    pub(super) fn value(&self, i: usize) -> Result<Value> {
        Err(Error::internal("stub"))
    }

    /// The value of operand `i` if it can be computed at compile time: known values, weights, and
    /// small chains of nodes over weights, which are evaluated. `Ok(None)` when it depends on an
    /// input or is absent.
    pub(super) fn known(&mut self, i: usize) -> Result<Option<Arc<Tensor>>> {
        Err(Error::internal("stub"))
    }

    /// The integers of operand `i`, flattened. `Ok(None)` when absent; an error that says that
    /// `what` must be constant when it depends on an input.
    pub(super) fn ints(&mut self, i: usize, what: &str) -> Result<Option<Vec<i64>>> {
        Err(Error::internal("stub"))
    }

    /// The floats of operand `i`, flattened; as [`ints`](Self::ints).
    pub(super) fn floats(&mut self, i: usize, what: &str) -> Result<Option<Vec<f64>>> {
        Err(Error::internal("stub"))
    }

    /// The type of a node.
    pub(super) fn ty(&self, node: NodeId) -> &TensorType {
        unreachable!()
    }

    /// An integer attribute.
    pub(super) fn int_attribute(&self, name: &str) -> Result<Option<i64>> {
        Err(Error::internal("stub"))
    }

    /// A float attribute.
    pub(super) fn float_attribute(&self, name: &str) -> Result<Option<f32>> {
        Err(Error::internal("stub"))
    }

    /// A list of integers.
    pub(super) fn ints_attribute(&self, name: &str) -> Result<Option<Vec<i64>>> {
        Err(Error::internal("stub"))
    }

    /// A list of floats.
    pub(super) fn floats_attribute(&self, name: &str) -> Result<Option<Vec<f32>>> {
        Err(Error::internal("stub"))
    }

    /// A string attribute.
    pub(super) fn string_attribute(&self, name: &str) -> Result<Option<String>> {
        Err(Error::internal("stub"))
    }

    /// A tensor attribute, as a weight node's contents: its type and data.
    pub(super) fn tensor_attribute(
        &self,
        name: &str,
    ) -> Result<Option<(TensorType, crate::ir::Weight)>> {
        Err(Error::internal("stub"))
    }

    /// Number of outputs written in the file.
    pub(super) fn output_count(&self) -> usize {
        0
    }

    /// Whether output `i` is written and not empty-named.
    pub(super) fn wants(&self, i: usize) -> bool {
        false
    }

    /// Adds a node reading `operands` (slot, producer). `ty` is needed for operators whose type is
    /// an attribute (reshape, expand, slice), and inferred otherwise.
    pub(super) fn emit(
        &mut self,
        op: Op,
        operands: &[(usize, NodeId)],
        ty: Option<TensorType>,
    ) -> Result<NodeId> {
        Err(Error::internal("stub"))
    }

    /// Adds a weight node.
    pub(super) fn emit_weight(&mut self, tensor: &Tensor) -> Result<NodeId> {
        Err(Error::internal("stub"))
    }

    /// Output `i` is this node: it takes over the ONNX name. A node that already stands for
    /// another value gets an identity.
    pub(super) fn bind(&mut self, i: usize, node: NodeId) -> Result<()> {
        Err(Error::internal("stub"))
    }

    /// Output `i` is this value: known at compile time, or a sequence.
    pub(super) fn bind_value(&mut self, i: usize, value: Value) -> Result<()> {
        Err(Error::internal("stub"))
    }

    /// A [`Problem::BadNode`]; the importer adds the node's name and operator.
    pub(super) fn bad<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Problem::BadNode(what.into()).into())
    }
}
