//! Parts of graphs, as graphs of their own.

use std::collections::{BTreeSet, HashMap};

use super::graph::{Graph, Node, NodeId};
use super::op::Op;

/// Some nodes of a graph with the weights that they read. What they read of others is an input, under the name that it
/// has, and what others or nobody reads of theirs is an output.
pub fn part(graph: &Graph, nodes: &BTreeSet<NodeId>) -> Graph {
    let mut part = Graph::new(graph.name.clone());
    let mut copies: HashMap<NodeId, NodeId> = HashMap::new();
    for id in graph.topological().into_iter().filter(|id| nodes.contains(id)) {
        let operands = graph.operands(id);
        for (_, operand) in &operands {
            copies.entry(*operand).or_insert_with(|| part.add(outside(graph.node(*operand)), &[]));
        }
        let operands: Vec<_> = operands.iter().map(|(slot, id)| (*slot, copies[id])).collect();
        copies.insert(id, part.add(graph.node(id).clone(), &operands));
    }
    for id in nodes.iter().filter(|id| copies.contains_key(id)) {
        let is_read_outside = graph.uses(*id).iter().any(|(user, _)| !nodes.contains(user));
        if is_read_outside || graph.is_output(*id) || !graph.is_used(*id) {
            part.add_output(graph.node(*id).name.clone(), copies[id]);
        }
    }
    part
}

/// What stands for a node that is not there: itself where it is a weight, and an input elsewhere.
fn outside(node: &Node) -> Node {
    match node.op {
        Op::Weight(_) => node.clone(),
        _ => Node { op: Op::Input, from: Vec::new(), ..node.clone() },
    }
}
