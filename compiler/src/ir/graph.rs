//! The graph: nodes with one result each, edges that carry operand slots.

use std::collections::BTreeMap;

use super::nodes::Nodes;
use super::op::Op;
use super::types::TensorType;

pub use super::nodes::{Node, NodeId, Origin};

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
    /// The nodes and who reads whom.
    pub(super) dag: Nodes,
    /// Model inputs, in order.
    pub(super) inputs: Vec<NodeId>,
    /// Model outputs, in order.
    outputs: Vec<Output>,
    /// Positions among the outputs, by the node that makes them, ascending.
    made_by: BTreeMap<NodeId, Vec<usize>>,
}

impl Graph {
    /// A graph with nothing in it.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph {
            name: name.into(),
            dag: Nodes::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            made_by: BTreeMap::new(),
        }
    }

    /// Adds a node that reads `operands`, given as (slot, producer). Inputs are recorded in order.
    pub fn add(&mut self, node: Node, operands: &[(usize, NodeId)]) -> NodeId {
        let is_input = node.op == Op::Input;
        let id = self.dag.add(node);
        for &(slot, producer) in operands {
            self.dag.connect(producer, id, slot);
        }
        if is_input {
            self.inputs.push(id);
        }
        id
    }

    /// Declares a result of the model.
    pub fn add_output(&mut self, name: impl Into<String>, node: NodeId) {
        self.made_by.entry(node).or_default().push(self.outputs.len());
        self.outputs.push(Output { name: name.into(), node });
    }

    /// Whatever reads `old`, results of the model too, reads `new` instead.
    pub(super) fn redirect(&mut self, old: NodeId, new: NodeId) {
        self.dag.redirect(old, new);
        let moved = self.made_by.remove(&old).unwrap_or_default();
        for &at in &moved {
            self.outputs[at].node = new;
        }
        if !moved.is_empty() {
            let made = self.made_by.entry(new).or_default();
            made.extend(moved);
            made.sort_unstable();
        }
    }

    /// The node.
    pub fn node(&self, id: NodeId) -> &Node {
        self.dag.node(id)
    }

    /// Whether the node is (still) there.
    pub fn contains(&self, id: NodeId) -> bool {
        self.dag.contains(id)
    }

    /// The type of the node's result.
    pub fn ty(&self, id: NodeId) -> &TensorType {
        &self.dag.node(id).ty
    }

    /// Every node, in the order they were added.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.dag.ids()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.dag.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many nodes there are of each operator, by mnemonic; inputs and weights, which compute
    /// nothing, not counted.
    pub fn operators(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for node in self.dag.ids().map(|id| self.dag.node(id)) {
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
        self.dag.operands(id).to_vec()
    }

    /// The operand in `slot`, if it is there.
    pub fn operand(&self, id: NodeId, slot: usize) -> Option<NodeId> {
        let operands = self.dag.operands(id);
        let at = operands.partition_point(|(before, _)| *before < slot);
        operands.get(at).filter(|(found, _)| *found == slot).map(|(_, producer)| *producer)
    }

    /// Uses of the node's result by other nodes, as (consumer, slot), in the order consumers were
    /// added.
    pub fn uses(&self, id: NodeId) -> Vec<(NodeId, usize)> {
        self.dag.uses(id).iter().copied().collect()
    }

    /// Whether another node reads the node's result.
    pub fn is_used(&self, id: NodeId) -> bool {
        !self.dag.uses(id).is_empty()
    }

    /// Whether the node's result is a result of the model.
    pub fn is_output(&self, id: NodeId) -> bool {
        self.made_by.contains_key(&id)
    }

    /// Which results of the model the node's result is: their positions, ascending.
    pub fn outputs_of(&self, id: NodeId) -> &[usize] {
        self.made_by.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The one consumer of the node's result: `None` when it has none, several, or is an output.
    pub fn sole_use(&self, id: NodeId) -> Option<(NodeId, usize)> {
        let uses = self.dag.uses(id);
        uses.first().copied().filter(|_| uses.len() == 1 && !self.is_output(id))
    }

    /// Every node after its operands; among the ready ones, the earliest added first, so the order
    /// is a function of the graph. A cycle's nodes are left out (the verifier refuses cycles).
    pub fn topological(&self) -> Vec<NodeId> {
        use std::cmp::Reverse;
        use std::collections::BinaryHeap;

        let mut missing = vec![0usize; self.dag.end()];
        let mut ready = BinaryHeap::new();
        for id in self.dag.ids() {
            missing[id.index()] = self.dag.operands(id).len();
            if missing[id.index()] == 0 {
                ready.push(Reverse(id));
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for (consumer, _) in self.dag.uses(id) {
                let left = &mut missing[consumer.index()];
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse(*consumer));
                }
            }
        }
        order
    }

    /// The node with this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.dag.ids().find(|id| self.dag.node(*id).name == name)
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
