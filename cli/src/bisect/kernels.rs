//! Which node of a graph has code that computes something else, and the least part of the graph that shows it.

use std::collections::{BTreeSet, HashMap};

use cardinal_compiler::ir::{Graph, NodeId, Op, part};

use super::Search;
use crate::engine;
use crate::exit::{Failure, Outcome};
use crate::tensors::Array;

/// Nodes of a part at most: of more, the whole model says as much.
const MOST_NODES: usize = 9;

/// Code that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kernel {
    /// The value that is the first to differ.
    pub(crate) value: String,
    /// The values of the nodes that show the difference together, without the rest; that one alone where none do.
    pub(crate) nodes: Vec<String>,
    /// Whether they show it.
    pub(crate) alone: bool,
}

/// Finds it in a graph whose compiled code gives other results than the interpreter.
///
/// # Errors
/// Those of compiling and running.
pub(super) fn first(search: &Search<'_>, graph: &Graph) -> Outcome<Kernel> {
    search.say("comparing every value");
    let values =
        engine::values(graph, search.inputs).map_err(|error| Failure::Failed(error.to_string()))?;
    let order: Vec<NodeId> =
        graph.topological().into_iter().filter(|id| is_computed(graph, *id)).collect();
    let first = match together(search, graph, &order, &values)? {
        Some(first) => first,
        None => one_by_one(search, graph, &order, &values)?,
    };
    search.say(&format!("running `{}` alone", graph.node(first).name));
    let mut nodes = BTreeSet::from([first]);
    while nodes.len() <= MOST_NODES {
        if shows(search, graph, &nodes, &values)? {
            return Ok(kernel(graph, first, &nodes, true));
        }
        let Some(before) = nearest(graph, &nodes, &order) else { break };
        nodes.insert(before);
    }
    Ok(kernel(graph, first, &BTreeSet::from([first]), false))
}

fn kernel(graph: &Graph, first: NodeId, nodes: &BTreeSet<NodeId>, alone: bool) -> Kernel {
    let name = |id: &NodeId| graph.node(*id).name.clone();
    Kernel { value: name(&first), nodes: nodes.iter().map(name).collect(), alone }
}

fn is_computed(graph: &Graph, id: NodeId) -> bool {
    !matches!(graph.node(id).op, Op::Input | Op::Weight(_))
}

/// The first of the values that differs where all of them are outputs; `None` where none does, as code may be other
/// code then.
fn together(
    search: &Search<'_>,
    graph: &Graph,
    order: &[NodeId],
    values: &HashMap<NodeId, Array>,
) -> Outcome<Option<NodeId>> {
    let mut watched = graph.clone();
    let unseen = order.iter().filter(|id| !graph.is_output(**id));
    unseen.for_each(|id| watched.add_output(graph.node(*id).name.clone(), *id));
    let outputs = search.stages.run(&watched, search.inputs)?;
    let found: HashMap<NodeId, &Array> =
        watched.outputs().iter().map(|output| output.node).zip(&outputs).collect();
    let differs = |id: &&NodeId| match (found.get(id), values.get(id)) {
        (Some(found), Some(exact)) => !search.tolerance.allows(found, exact),
        _ => false,
    };
    Ok(order.iter().find(differs).copied())
}

/// The first of the values that differs where it is the only output, as far as halving can tell.
fn one_by_one(
    search: &Search<'_>,
    graph: &Graph,
    order: &[NodeId],
    values: &HashMap<NodeId, Array>,
) -> Outcome<NodeId> {
    let (mut same, mut different) = (0, order.len());
    while different - same > 1 {
        let middle = same + (different - same) / 2;
        let wanted = order[middle - 1];
        search.say(&format!("running the graph up to `{}`", graph.node(wanted).name));
        if shows_at(search, graph, (&before(graph, wanted), wanted), values)? {
            different = middle;
        } else {
            same = middle;
        }
    }
    let at = different.saturating_sub(1);
    order.get(at).copied().ok_or_else(|| Failure::Failed("the graph computes nothing".into()))
}

/// A node and all that it depends on.
fn before(graph: &Graph, id: NodeId) -> BTreeSet<NodeId> {
    let (mut nodes, mut work) = (BTreeSet::new(), vec![id]);
    while let Some(id) = work.pop() {
        if is_computed(graph, id) && nodes.insert(id) {
            work.extend(graph.operands(id).into_iter().map(|(_, operand)| operand));
        }
    }
    nodes
}

/// The last node in order that one of these reads and that is none of them.
fn nearest(graph: &Graph, nodes: &BTreeSet<NodeId>, order: &[NodeId]) -> Option<NodeId> {
    let operands = nodes.iter().flat_map(|id| graph.operands(*id));
    let read: BTreeSet<NodeId> = operands.map(|(_, operand)| operand).collect();
    order.iter().rev().find(|id| read.contains(id) && !nodes.contains(id)).copied()
}

/// Whether any output of these nodes alone differs.
fn shows(
    search: &Search<'_>,
    graph: &Graph,
    nodes: &BTreeSet<NodeId>,
    values: &HashMap<NodeId, Array>,
) -> Outcome<bool> {
    let (part, inputs) = alone(graph, nodes, values);
    let exact = search.stages.interpret(&part, &inputs)?;
    Ok(search.differ(&search.stages.run(&part, &inputs)?, &exact))
}

/// Whether one value does.
fn shows_at(
    search: &Search<'_>,
    graph: &Graph,
    (nodes, wanted): (&BTreeSet<NodeId>, NodeId),
    values: &HashMap<NodeId, Array>,
) -> Outcome<bool> {
    let (part, inputs) = alone(graph, nodes, values);
    let outputs = search.stages.run(&part, &inputs)?;
    let name = &graph.node(wanted).name;
    let at = part.outputs().iter().position(|output| output.name == *name);
    let pair = at.and_then(|at| outputs.get(at)).zip(values.get(&wanted));
    Ok(pair.is_some_and(|(found, exact)| !search.tolerance.allows(found, exact)))
}

/// These nodes as a graph, and what they read.
fn alone(
    graph: &Graph,
    nodes: &BTreeSet<NodeId>,
    values: &HashMap<NodeId, Array>,
) -> (Graph, Vec<Array>) {
    let part = part(graph, nodes);
    let value = |id: &NodeId| values.get(&graph.find(&part.node(*id).name)?).cloned();
    let inputs = part.inputs().iter().filter_map(value).collect();
    (part, inputs)
}
