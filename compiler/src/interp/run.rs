//! Runs graphs.

use std::collections::{HashMap, HashSet};

use super::operands::ensure;
use super::{Tensor, evaluate};
use crate::error::{Error, Problem, Result};
use crate::ir::{Graph, NodeId, Op};

/// Runs a whole graph on `inputs` (in the order of [`Graph::inputs`]) and returns its outputs.
///
/// # Errors
/// As [`run_with`].
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    run_with(graph, inputs, &mut |_, _| {})
}

/// As [`run`], and shows every value to `see` once it is computed, inputs and weights too.
///
/// # Errors
/// [`Problem::BadOption`] when the inputs are not those of the graph; otherwise what
/// [`evaluate`] finds wrong, at the value concerned.
pub fn run_with(
    graph: &Graph,
    inputs: &[Tensor],
    see: &mut dyn FnMut(NodeId, &Tensor),
) -> Result<Vec<Tensor>> {
    let given = given(graph, inputs)?;
    let mut uses = uses(graph);
    let mut values: HashMap<NodeId, Tensor> = HashMap::new();
    for id in order(graph)? {
        let value = value(graph, id, &given, &values)?;
        see(id, &value);
        values.insert(id, value);
        // Frees what was used here for the last time, and the value itself when nothing uses it.
        for (_, operand) in graph.operands(id) {
            if let Some(left) = uses.get_mut(&operand) {
                *left -= 1;
            }
            if uses.get(&operand) == Some(&0) {
                values.remove(&operand);
            }
        }
        if uses.get(&id) == Some(&0) {
            values.remove(&id);
        }
    }
    graph.outputs().iter().map(|o| output(o.node, &values)).collect()
}

fn given<'t>(graph: &Graph, inputs: &'t [Tensor]) -> Result<HashMap<NodeId, &'t Tensor>> {
    let (wanted, found) = (graph.inputs().len(), inputs.len());
    if wanted != found {
        let what = format!("the graph has {wanted} inputs, and {found} are given");
        return Err(Problem::BadOption(what).into());
    }
    Ok(graph.inputs().iter().copied().zip(inputs).collect())
}

/// How often each value is used, by nodes and as an output.
fn uses(graph: &Graph) -> HashMap<NodeId, usize> {
    let mut uses: HashMap<_, _> = graph.nodes().map(|id| (id, graph.uses(id).len())).collect();
    for output in graph.outputs() {
        if let Some(uses) = uses.get_mut(&output.node) {
            *uses += 1;
        }
    }
    uses
}

/// Every node after its operands, and weights no sooner than needed: in f64 they take a lot of
/// memory.
fn order(graph: &Graph) -> Result<Vec<NodeId>> {
    let all = graph.topological();
    ensure(all.len() == graph.len(), || "a value depends on itself".to_owned())?;
    let is_weight = |id| matches!(graph.node(id).op, Op::Weight(_));
    let mut order = Vec::with_capacity(all.len());
    let mut done = HashSet::new();
    for id in all {
        if is_weight(id) && !graph.uses(id).is_empty() {
            continue;
        }
        for (_, operand) in graph.operands(id) {
            if is_weight(operand) && done.insert(operand) {
                order.push(operand);
            }
        }
        order.push(id);
    }
    Ok(order)
}

fn value(
    graph: &Graph,
    id: NodeId,
    given: &HashMap<NodeId, &Tensor>,
    values: &HashMap<NodeId, Tensor>,
) -> Result<Tensor> {
    let node = graph.node(id);
    if node.op == Op::Input {
        return input(graph, id, given.get(&id).copied());
    }
    let mut operands = Vec::new();
    for (slot, operand) in graph.operands(id) {
        operands.push((slot, values.get(&operand).ok_or_else(|| lost(graph, operand))?));
    }
    evaluate(&node.op, &operands, &node.ty).map_err(|e| e.at(&node.name, node.op.mnemonic()))
}

fn lost(graph: &Graph, id: NodeId) -> Error {
    Error::internal(format!("value `{}` is not there when it is used", graph.node(id).name))
}

fn input(graph: &Graph, id: NodeId, given: Option<&Tensor>) -> Result<Tensor> {
    let node = graph.node(id);
    let Some(tensor) = given else {
        return Err(Error::internal(format!("`{}` is not listed among the inputs", node.name)));
    };
    let given = if tensor.dtype != node.ty.dtype || tensor.shape != node.ty.shape() {
        format!("{} is given", tensor.ty())
    } else if !tensor.is_whole() {
        "the tensor given has other than its elements".to_owned()
    } else {
        return Ok(tensor.clone());
    };
    let what = format!("input `{}` is {}, and {given}", node.name, node.ty);
    Err(Problem::BadOption(what).into())
}

fn output(id: NodeId, values: &HashMap<NodeId, Tensor>) -> Result<Tensor> {
    let value = values.get(&id).cloned();
    value.ok_or_else(|| Error::internal("an output of the graph is not one of its nodes"))
}
