//! The graph: nodes with one result each, edges that carry operand slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::Direction;
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

/// A model's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The ONNX output's name, which rewriting keeps.
    pub name: String,
    /// The value.
    pub node: NodeId,
}

/// A whole model, or a part of one. Only the [`Rewriter`](super::Rewriter) changes an existing
/// node; building adds.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The ONNX graph's name.
    pub name: String,
    /// Operands: an edge runs from the producer to the consumer and carries the operand slot.
    pub(super) dag: StableDiGraph<Node, usize>,
    /// Model inputs, in order.
    pub(super) inputs: Vec<NodeId>,
    /// Model outputs, in order.
    pub(super) outputs: Vec<Output>,
}

impl Graph {
    /// A graph with nothing in it.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph {
            name: name.into(),
            dag: StableDiGraph::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Adds a node that reads `operands`, given as (slot, producer). Inputs are recorded in order.
    pub fn add(&mut self, node: Node, operands: &[(usize, NodeId)]) -> NodeId {
        let is_input = node.op == Op::Input;
        let id = self.dag.add_node(node);
        for &(slot, producer) in operands {
            self.dag.add_edge(producer, id, slot);
        }
        if is_input {
            self.inputs.push(id);
        }
        id
    }

    /// Declares a result of the model.
    pub fn add_output(&mut self, name: impl Into<String>, node: NodeId) {
        self.outputs.push(Output { name: name.into(), node });
    }

    /// The node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.dag[id]
    }

    /// Whether the node is (still) there.
    pub fn contains(&self, id: NodeId) -> bool {
        self.dag.contains_node(id)
    }

    /// The type of the node's result.
    pub fn ty(&self, id: NodeId) -> &TensorType {
        &self.dag[id].ty
    }

    /// Every node, in the order they were added.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.dag.node_indices()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.dag.node_count()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many nodes there are of each operator, by mnemonic; inputs and weights, which compute
    /// nothing, not counted.
    pub fn operators(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for node in self.dag.node_weights() {
            if !matches!(node.op, Op::Input | Op::Weight(_)) {
                *counts.entry(node.op.mnemonic()).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Model inputs, in order.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// Model outputs, in order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The node's operands as (slot, producer), by ascending slot. Absent optional operands leave
    /// gaps in the slots.
    pub fn operands(&self, id: NodeId) -> Vec<(usize, NodeId)> {
        let mut all: Vec<_> = self
            .dag
            .edges_directed(id, Direction::Incoming)
            .map(|e| (*e.weight(), e.source()))
            .collect();
        all.sort_unstable_by_key(|(slot, _)| *slot);
        all
    }

    /// The operand in `slot`, if it is there.
    pub fn operand(&self, id: NodeId, slot: usize) -> Option<NodeId> {
        self.dag
            .edges_directed(id, Direction::Incoming)
            .find(|e| *e.weight() == slot)
            .map(|e| e.source())
    }

    /// Uses of the node's result by other nodes, as (consumer, slot), in the order consumers were
    /// added.
    pub fn uses(&self, id: NodeId) -> Vec<(NodeId, usize)> {
        let mut all: Vec<_> = self
            .dag
            .edges_directed(id, Direction::Outgoing)
            .map(|e| (e.target(), *e.weight()))
            .collect();
        all.sort_unstable();
        all
    }

    /// Whether the node's result is a result of the model.
    pub fn is_output(&self, id: NodeId) -> bool {
        self.outputs.iter().any(|o| o.node == id)
    }

    /// The one consumer of the node's result: `None` when it has none, several, or is an output.
    pub fn sole_use(&self, id: NodeId) -> Option<(NodeId, usize)> {
        match self.uses(id).as_slice() {
            [one] if !self.is_output(id) => Some(*one),
            _ => None,
        }
    }

    /// Every node after its operands; among the ready ones, the earliest added first, so the order
    /// is a function of the graph. A cycle's nodes are left out (the verifier refuses cycles).
    pub fn topological(&self) -> Vec<NodeId> {
        use std::cmp::Reverse;
        use std::collections::BinaryHeap;

        let mut missing =
            vec![0usize; self.dag.node_indices().map(|i| i.index() + 1).max().unwrap_or(0)];
        let mut ready = BinaryHeap::new();
        for id in self.dag.node_indices() {
            missing[id.index()] = self.dag.edges_directed(id, Direction::Incoming).count();
            if missing[id.index()] == 0 {
                ready.push(Reverse(id));
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for edge in self.dag.edges_directed(id, Direction::Outgoing) {
                let left = &mut missing[edge.target().index()];
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse(edge.target()));
                }
            }
        }
        order
    }

    /// The node with this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.dag.node_indices().find(|id| self.dag[*id].name == name)
    }
}

/// Equal up to the identity of nodes: the same names, operators, types, origins and edges in the
/// same topological order.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        let named = |g: &Graph| -> Vec<_> {
            g.outputs.iter().map(|o| (o.name.clone(), g.node(o.node).name.clone())).collect()
        };
        let signature = |g: &Graph| -> Vec<(Node, Vec<(usize, String)>)> {
            let mut all: Vec<_> = g
                .nodes()
                .map(|id| {
                    let operands = g.operands(id);
                    let operands =
                        operands.into_iter().map(|(s, p)| (s, g.node(p).name.clone())).collect();
                    (g.node(id).clone(), operands)
                })
                .collect();
            all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
            all
        };
        let inputs = |g: &Graph| -> Vec<String> {
            g.inputs.iter().map(|i| g.node(*i).name.clone()).collect()
        };
        self.name == other.name
            && inputs(self) == inputs(other)
            && named(self) == named(other)
            && signature(self) == signature(other)
    }
}
