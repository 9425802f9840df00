//! Graphs whose values are rounded, so that they can be stored and multiplied as bytes.

use std::collections::BTreeMap;

use cardinal_compiler::ir::{
    Epilogue, Graph, Node, NodeId, Op, SplitAttention, TensorType, Unary, Weight,
};

/// Distance between neighbours of values that are rounded. With a power of two, only results that lie in
/// the middle within what f32 can tell are rounded otherwise by bytes than by the definition.
pub const STEP: f32 = 1.0 / 64.0;

/// Steps of weights: the largest is at most 1, and two are as much as CPUs that multiply bytes in pairs can
/// add up.
const WEIGHT_STEPS: f32 = 63.0;

/// The same for outputs of convolutions of which few are to be clipped.
pub const STEP_OF_SUMS: f32 = 1.0 / 4.0;

/// The same graph with everything rounded that convolutions and what works on their results read, and the
/// outputs, to multiples of `step`.
pub(super) fn rounded(graph: &Graph, step: f32) -> Graph {
    let mut to = Rounding { graph: Graph::new(&graph.name), values: BTreeMap::new() };
    let mut new = BTreeMap::new();
    for id in graph.topological() {
        let node = graph.node(id);
        let operands = graph.operands(id).into_iter().map(|(slot, operand)| {
            let ty = graph.ty(operand);
            let value = match (&node.op, &graph.node(operand).op) {
                (op, Op::Weight(weight)) if is_matrix(op, slot) => to.weight(operand, weight, ty),
                (op, _) if reads_bytes(op, slot) => to.value(operand, new[&operand], ty, STEP),
                _ => new[&operand],
            };
            (slot, value)
        });
        let operands: Vec<_> = operands.collect();
        new.insert(id, to.graph.add(node.clone(), &operands));
    }
    for output in graph.outputs() {
        let value = to.value(output.node, new[&output.node], graph.ty(output.node), step);
        to.graph.add_output(&output.name, value);
    }
    to.graph
}

/// Whether an operator reads weights in this slot that can be bytes.
fn is_matrix(op: &Op, slot: usize) -> bool {
    match op {
        Op::Conv(_) | Op::MatMul { .. } => slot == 1,
        Op::SplitAttention(_) => [SplitAttention::W1, SplitAttention::W2].contains(&slot),
        _ => false,
    }
}

/// Whether an operator reads bytes in this slot.
fn reads_bytes(op: &Op, slot: usize) -> bool {
    match op {
        Op::Conv(_) => slot != 1 && slot != 2,
        Op::SplitAttention(_) => slot == SplitAttention::U || slot > SplitAttention::B2,
        Op::Pool(_) => true,
        _ => false,
    }
}

/// A graph that is being made, and what stands for rounded values of the other.
struct Rounding {
    graph: Graph,
    values: BTreeMap<NodeId, NodeId>,
}

impl Rounding {
    fn value(&mut self, of: NodeId, new: NodeId, ty: &TensorType, step: f32) -> NodeId {
        let function = Unary::Quantized { scale: step, lowest: -96.0, highest: 159.0 };
        let (name, from) = (format!("rounded.{}", of.index()), vec!["/rounded".into()]);
        let op = Op::Unary(function, Epilogue::none());
        let node = Node { name, op, ty: ty.clone(), from };
        *self.values.entry(of).or_insert_with(|| self.graph.add(node, &[(0, new)]))
    }

    fn weight(&mut self, of: NodeId, weight: &Weight, ty: &TensorType) -> NodeId {
        let round = |x: f32| (x * WEIGHT_STEPS).round() / WEIGHT_STEPS;
        let elements: Vec<f32> =
            weight.to_f32(ty).unwrap_or_default().into_iter().map(round).collect();
        let (name, op) =
            (format!("rounded.{}", of.index()), Op::Weight(Weight::from_f32(&elements)));
        let node = Node { name, op, ty: ty.clone(), from: Vec::new() };
        *self.values.entry(of).or_insert_with(|| self.graph.add(node, &[]))
    }
}
