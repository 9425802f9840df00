//! What a model is at points of its way through the compiler, and what its values are there.

use std::collections::HashMap;

use cardinal_compiler::interp;
use cardinal_compiler::ir::{Graph, Node, NodeId, Op};
use cardinal_compiler::passes::{self, Change, Run};

use super::{Model, ModelResult, array, tensor};
use crate::tensors::{Array, Spec};

/// One rewrite of a pass.
#[derive(Debug, Clone)]
pub(crate) struct Rewrite {
    /// The pass.
    pub(crate) pass: &'static str,
    /// What it did.
    pub(crate) change: Change,
}

/// All rewrites of all passes, in order.
pub(crate) fn rewrites(model: &Model) -> ModelResult<Vec<Rewrite>> {
    let mut all = Vec::new();
    let run = Run { changes: true, ..Run::default() };
    passes::run_with(&mut model.graph.clone(), run, &mut |done| {
        let pass = done.pass.name;
        all.extend(done.changes.into_iter().map(|change| Rewrite { pass, change }));
    })?;
    Ok(all)
}

/// The graph after so many of them.
pub(crate) fn after(model: &Model, rewrites: usize) -> ModelResult<Graph> {
    let mut graph = model.graph.clone();
    let run = Run { rewrites: Some(rewrites), ..Run::default() };
    passes::run_with(&mut graph, run, &mut |_| {})?;
    Ok(graph)
}

/// A graph after all passes up to this one, or after all of them.
pub(crate) fn passed(graph: &Graph, until: Option<&str>) -> ModelResult<Graph> {
    let mut graph = graph.clone();
    passes::run(&mut graph, until, &mut |_, _| {})?;
    Ok(graph)
}

/// What the reference interpreter makes of each node of a graph, inputs too, weights left out.
pub(crate) fn values(graph: &Graph, inputs: &[Array]) -> ModelResult<HashMap<NodeId, Array>> {
    let inputs = inputs.iter().map(tensor).collect::<ModelResult<Vec<_>>>()?;
    let mut values = HashMap::new();
    interp::run_with(graph, &inputs, &mut |id, value| {
        if !matches!(graph.node(id).op, Op::Weight(_)) {
            values.insert(id, array(value));
        }
    })?;
    Ok(values)
}

/// A value's description in the terms of the command line.
pub(crate) fn spec(node: &Node) -> Spec {
    Spec { name: node.name.clone(), dtype: node.ty.dtype, shape: node.ty.shape() }
}
