//! What is in a graph: attention blocks, multiply-adds, and weights that are no usual numbers.

use std::collections::BTreeMap;

use cardinal_compiler::ir::{Graph, Node, NodeId, Op, SplitAttention, Step, Unary, Weigh};
use cardinal_runtime::DType;

/// What is in a graph.
pub(super) struct Contents {
    /// Operators as they are imported, and after all passes.
    pub(super) imported: usize,
    pub(super) fused: usize,
    /// By the definition of convolutions and products.
    pub(super) multiply_adds: usize,
    /// Elements of all weights.
    pub(super) parameters: usize,
    pub(super) unusual: Vec<Unusual>,
    /// Attention blocks by kind, once the passes have run.
    pub(super) attention: BTreeMap<String, usize>,
}

/// A weight with elements that are no usual numbers.
pub(super) struct Unusual {
    pub(super) name: String,
    pub(super) nan: usize,
    pub(super) infinite: usize,
    pub(super) denormal: usize,
}

impl Contents {
    /// Of an imported graph.
    pub(super) fn of(graph: &Graph) -> Contents {
        let mut contents = Contents {
            imported: graph.operators().values().sum(),
            fused: 0,
            multiply_adds: 0,
            parameters: 0,
            unusual: Vec::new(),
            attention: BTreeMap::new(),
        };
        for id in graph.nodes() {
            contents.multiply_adds += multiply_adds(graph, id);
            if let Op::Weight(_) = &graph.node(id).op {
                contents.parameters += graph.ty(id).elements();
                contents.unusual.extend(Unusual::of(graph, id));
            }
        }
        contents.unusual.sort_by(|a, b| a.name.cmp(&b.name));
        contents
    }

    /// Adds what the passes have recognised.
    pub(super) fn recognised(&mut self, graph: &Graph) {
        self.fused = graph.operators().values().sum();
        for id in graph.nodes() {
            if let Op::SplitAttention(attention) = &graph.node(id).op {
                *self.attention.entry(kind(graph, id, attention)).or_default() += 1;
            }
        }
    }
}

/// Multiply-adds of an operator as it is imported.
fn multiply_adds(graph: &Graph, id: NodeId) -> usize {
    let made = graph.ty(id).elements();
    let shape = |slot: usize| graph.operand(id, slot).map(|id| graph.ty(id).shape());
    let each = match &graph.node(id).op {
        // Elements of a filter.
        Op::Conv(_) => shape(1).map(|weights| weights.iter().skip(1).product::<usize>()),
        Op::MatMul { transpose_a, .. } => shape(0).and_then(|a| {
            let back = if *transpose_a { 2 } else { 1 };
            a.len().checked_sub(back).and_then(|axis| a.get(axis).copied())
        }),
        Op::Input
        | Op::Weight(_)
        | Op::BatchNorm { .. }
        | Op::Unary(..)
        | Op::Binary(..)
        | Op::Where
        | Op::Cast { .. }
        | Op::Quantize
        | Op::Dequantize
        | Op::Softmax { .. }
        | Op::Reduce(_)
        | Op::Pool(_)
        | Op::SplitAttention(_)
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Reshape
        | Op::Expand
        | Op::Transpose { .. }
        | Op::Gather { .. }
        | Op::Scatter { .. }
        | Op::Pad { .. }
        | Op::ArgMax { .. }
        | Op::Identity => None,
    };
    each.map_or(0, |each| made.saturating_mul(each))
}

/// What a block is called: by its cardinality and radix, and after the network that it is like.
fn kind(graph: &Graph, id: NodeId, attention: &SplitAttention) -> String {
    let SplitAttention { cardinality, radix, weigh, .. } = attention;
    let attended = graph.operand(id, SplitAttention::U).map(|id| graph.node(id));
    let like = match weigh {
        Weigh::Softmax if attended.is_some_and(is_of_paths) => "SK: paths of different kernels",
        Weigh::Softmax => "Split-Attention",
        // What SE weighs has not been activated yet.
        Weigh::Gate(_) if attended.is_some_and(ends_in_relu) => "Split-Attention of one split",
        Weigh::Gate(_) => "SE: a gate for each channel",
    };
    format!("K={cardinality} R={radix} ({like})")
}

fn is_of_paths(node: &Node) -> bool {
    matches!(node.op, Op::Concat { .. })
}

fn ends_in_relu(node: &Node) -> bool {
    match &node.op {
        Op::Conv(conv) => matches!(conv.epilogue.steps.last(), Some(Step::Unary(Unary::Relu))),
        Op::Unary(Unary::Relu, _) => true,
        _ => false,
    }
}

impl Unusual {
    /// What is unusual about a weight of f32, if something is.
    fn of(graph: &Graph, id: NodeId) -> Option<Unusual> {
        let (Node { name, op, .. }, ty) = (graph.node(id), graph.ty(id));
        let Op::Weight(weight) = op else { return None };
        if ty.dtype != DType::F32 {
            return None;
        }
        let bytes = weight.bytes(ty)?;
        let mut unusual = Unusual { name: name.clone(), nan: 0, infinite: 0, denormal: 0 };
        for word in bytes.as_chunks().0 {
            let value = f32::from_le_bytes(*word);
            unusual.nan += usize::from(value.is_nan());
            unusual.infinite += usize::from(value.is_infinite());
            unusual.denormal += usize::from(value.is_subnormal());
        }
        (unusual.nan + unusual.infinite + unusual.denormal > 0).then_some(unusual)
    }
}
