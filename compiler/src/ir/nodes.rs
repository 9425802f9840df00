//! The nodes of a graph and the edges between them, in petgraph, with those of each node in order.
//!
//! petgraph has the edges of a node in the order in which they came, and finds one by going through all.
//! Models have operators with ten thousands of operands, and values with as many users: so beside the
//! graph stand operands by slot and uses by consumer, to be listed and searched.

use std::collections::BTreeSet;
use std::sync::Arc;

use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

use super::op::Op;
use super::types::TensorType;

/// Names a node, and so the one value that it computes.
pub type NodeId = NodeIndex<u32>;

/// An ONNX node that a node came from, by its name (or `Operator#index` when it has none).
pub type Origin = Arc<str>;

/// One operator and its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The result's name: the ONNX value it stands for. Unique in the graph.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// The result's type.
    pub ty: TensorType,
    /// The ONNX nodes this came from, in graph order, without repeats; empty for inputs and
    /// initializers.
    pub from: Vec<Origin>,
}

/// The edges of a node in order.
#[derive(Debug, Clone, Default)]
struct Ends {
    /// By ascending slot.
    operands: Vec<(usize, NodeId)>,
    uses: BTreeSet<(NodeId, usize)>,
}

/// Nodes by their numbers. The number of one that is gone goes to the next that is added.
#[derive(Debug, Clone, Default)]
pub(super) struct Nodes {
    /// An edge runs from the producer to the consumer and carries the operand slot.
    dag: StableDiGraph<Node, usize>,
    /// By number.
    ends: Vec<Ends>,
}

impl Nodes {
    /// The graph itself, for algorithms on it.
    pub(super) fn dag(&self) -> &StableDiGraph<Node, usize> {
        &self.dag
    }

    /// Adds a node without operands.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        let id = self.dag.add_node(node);
        if id.index() == self.ends.len() {
            self.ends.push(Ends::default());
        }
        id
    }

    /// Adds an edge: `consumer` reads `producer` in this slot.
    pub(super) fn connect(&mut self, producer: NodeId, consumer: NodeId, slot: usize) {
        self.dag.add_edge(producer, consumer, slot);
        let operands = &mut self.ends[consumer.index()].operands;
        let at = operands.partition_point(|edge| *edge <= (slot, producer));
        operands.insert(at, (slot, producer));
        self.ends[producer.index()].uses.insert((consumer, slot));
    }

    /// Whatever reads `old` reads `new` instead.
    pub(super) fn redirect(&mut self, old: NodeId, new: NodeId) {
        let edges = self.dag.edges(old).map(|edge| (edge.id(), edge.target(), *edge.weight()));
        for (edge, consumer, slot) in edges.collect::<Vec<_>>() {
            self.dag.remove_edge(edge);
            self.dag.add_edge(new, consumer, slot);
            let operands = &mut self.ends[consumer.index()].operands;
            if let Ok(at) = operands.binary_search(&(slot, old)) {
                operands[at].1 = new;
            }
            self.ends[new.index()].uses.insert((consumer, slot));
        }
        self.ends[old.index()].uses.clear();
    }

    /// Removes a node that nothing reads.
    pub(super) fn remove(&mut self, id: NodeId) -> Option<Node> {
        let node = self.dag.remove_node(id)?;
        for (slot, producer) in std::mem::take(&mut self.ends[id.index()].operands) {
            self.ends[producer.index()].uses.remove(&(id, slot));
        }
        Some(node)
    }

    /// Whether the node is there.
    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.dag.contains_node(id)
    }

    /// The node.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.dag[id]
    }

    /// The node, to be changed.
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.dag[id]
    }

    /// Its operands as (slot, producer), by ascending slot.
    pub(super) fn operands(&self, id: NodeId) -> &[(usize, NodeId)] {
        &self.ends[id.index()].operands
    }

    /// Its uses as (consumer, slot), ascending.
    pub(super) fn uses(&self, id: NodeId) -> &BTreeSet<(NodeId, usize)> {
        &self.ends[id.index()].uses
    }

    /// Every node that is there, by ascending number.
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.dag.node_indices()
    }

    /// How many nodes are there.
    pub(super) fn len(&self) -> usize {
        self.dag.node_count()
    }

    /// A number above all of those of nodes.
    pub(super) fn end(&self) -> usize {
        self.ends.len()
    }
}
