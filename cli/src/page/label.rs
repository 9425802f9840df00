//! What boxes say: operators as a person would write them on a blackboard.

use cardinal_compiler::ir::{
    Axis, Conv, DType, Graph, Node, NodeId, Op, Pool, PoolKind, Reduce, ReduceKind, SplitAttention,
    Step, TensorType, Weigh, Window,
};

/// The most characters of a title in a box, and of the lines below it, which are smaller.
const LONGEST: [usize; 2] = [22, 26];

/// The class of a node's box, which gives it its colour.
pub(crate) fn class(op: &Op) -> &'static str {
    match op {
        Op::Input => "io",
        Op::Conv(conv) if conv.groups > 1 => "group-conv",
        Op::Conv(_) => "conv",
        Op::SplitAttention(_) => "attention",
        Op::MatMul { .. } => "dense",
        Op::Pool(_) | Op::Reduce(_) | Op::ArgMax { .. } => "pool",
        Op::Reshape
        | Op::Expand
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Gather { .. }
        | Op::Scatter { .. }
        | Op::Pad { .. }
        | Op::Identity => "move",
        Op::Weight(_)
        | Op::BatchNorm { .. }
        | Op::Unary(..)
        | Op::Binary(..)
        | Op::Where
        | Op::Cast { .. }
        | Op::Quantize
        | Op::Dequantize
        | Op::Softmax { .. } => "map",
    }
}

/// The lines in a node's box: the operator, the shape that it makes, and what is done to each element.
pub(crate) fn lines(graph: &Graph, id: NodeId) -> Vec<String> {
    let node = graph.node(id);
    let mut lines = vec![title(node)];
    if let Op::SplitAttention(attention) = &node.op {
        lines.push(parts(attention, &node.ty));
    }
    lines.push(shape(&node.ty));
    lines.extend(epilogue(&node.op));
    let most = |i: usize| LONGEST[i.min(1)];
    lines.iter().enumerate().map(|(i, line)| shortened(line, most(i))).collect()
}

/// `K 2 · R 2 · 64 channels`.
fn parts(attention: &SplitAttention, made: &TensorType) -> String {
    let SplitAttention { cardinality: k, radix: r, .. } = attention;
    let channels = made.axes.get(1).map_or(0, Axis::size) / k.max(&1);
    match attention.weigh {
        Weigh::Softmax => format!("K {k} · R {r} · {channels} channels"),
        Weigh::Gate(gate) => format!("K {k} · R {r} · {}", gate.mnemonic()),
    }
}

/// The operator: `3×3 conv, 2 groups`.
pub(crate) fn title(node: &Node) -> String {
    match &node.op {
        Op::Conv(Conv { groups, window, .. }) => {
            let groups = if *groups > 1 { format!(", {groups} groups") } else { String::new() };
            format!("{} conv{}{groups}", kernel(window), strides(window))
        }
        Op::Pool(Pool { kind, window, .. }) => {
            let kind = match kind {
                PoolKind::Max => "max",
                PoolKind::Average { .. } => "average",
            };
            format!("{} {kind} pool{}", kernel(window), strides(window))
        }
        Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, .. }) if axes[..] == [2, 3] => {
            "global average pool".into()
        }
        Op::MatMul { .. } => "dense".into(),
        Op::SplitAttention(_) => "Split-Attention".into(),
        op => op.mnemonic().replace('_', " "),
    }
}

/// The operator in a word or two, for a block that is folded.
pub(crate) fn short(node: &Node) -> String {
    match &node.op {
        Op::Conv(Conv { groups, window, .. }) => {
            let groups = if *groups > 1 { format!(" g{groups}") } else { String::new() };
            format!("{}{groups}", kernel(window))
        }
        Op::Pool(Pool { window, .. }) => format!("pool {}", kernel(window)),
        Op::SplitAttention(a) => format!("SplAt K{} R{}", a.cardinality, a.radix),
        op => op.mnemonic().replace('_', " "),
    }
}

/// The extents without the batch: `(r2 c64) × 56 × 56`.
pub(crate) fn shape(ty: &TensorType) -> String {
    let axes: Vec<String> = ty.axes.iter().skip(1).map(ToString::to_string).collect();
    let dtype = if ty.dtype == DType::F32 { String::new() } else { format!(" {}", ty.dtype) };
    match axes.is_empty() {
        true => format!("{ty}"),
        false => axes.join(" × ") + &dtype,
    }
}

/// `then add, relu`.
fn epilogue(op: &Op) -> Option<String> {
    let steps = op.epilogue().map_or(&[][..], |e| &e.steps);
    let name = |step: &Step| match step {
        Step::Unary(function) => function.mnemonic(),
        Step::Binary(function, _) => function.mnemonic(),
    };
    let names: Vec<&str> = steps.iter().map(name).collect();
    (!names.is_empty()).then(|| format!("then {}", names.join(", ")))
}

fn kernel(window: &Window) -> String {
    let [h, w] = window.kernel;
    format!("{h}×{w}")
}

fn strides(window: &Window) -> String {
    let pair = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}×{b}") };
    let mut text = String::new();
    if window.stride != [1, 1] {
        text += &format!(" /{}", pair(window.stride));
    }
    if window.dilation != [1, 1] {
        text += &format!(" d{}", pair(window.dilation));
    }
    text
}

/// Text of so many characters at most.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
