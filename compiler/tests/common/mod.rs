//! Graphs for tests: one by hand with every operator, and arbitrary ones.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a failing test is a panic")]

use std::collections::BTreeSet;

use cardinal_compiler::ir::{
    Axis, Binary, Conv, DType, Epilogue, Excite, Factor, Graph, Node, NodeId, Op, Pool, PoolKind,
    Reduce, ReduceKind, Rounding, SplitAttention, Step, TensorType, Unary, Weigh, Weight, Window,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Every function of one operand.
pub const UNARY: [Unary; 30] = [
    Unary::Relu,
    Unary::LeakyRelu { alpha: 0.01 },
    Unary::Clip { low: 0.0, high: 6.0 },
    Unary::Sigmoid,
    Unary::Swish,
    Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Unary::HardSwish,
    Unary::Quantized { scale: 0.0625, lowest: -12.0, highest: 243.0 },
    Unary::Round,
    Unary::Tanh,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::Erf,
    Unary::Exp,
    Unary::Log,
    Unary::Sin,
    Unary::Cos,
    Unary::Tan,
    Unary::Asin,
    Unary::Acos,
    Unary::Atan,
    Unary::Sinh,
    Unary::Cosh,
    Unary::Asinh,
    Unary::Acosh,
    Unary::Atanh,
    Unary::Sqrt,
    Unary::Reciprocal,
    Unary::Neg,
    Unary::Abs,
];

/// Adds nodes that read others in slots from 0.
pub struct Builder(pub Graph);

impl Builder {
    pub fn new(name: &str) -> Builder {
        Builder(Graph::new(name))
    }

    pub fn add(&mut self, name: &str, op: Op, ty: TensorType, operands: &[NodeId]) -> NodeId {
        let slots: Vec<_> = operands.iter().copied().enumerate().collect();
        let constant = matches!(op, Op::Input | Op::Weight(_));
        let from =
            if constant { vec![] } else { vec![format!("/{name}/{}", op.mnemonic()).into()] };
        self.0.add(Node { name: name.into(), op, ty, from }, &slots)
    }
}

pub fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

pub fn axis(factors: &[(char, usize)]) -> Axis {
    let factors: Vec<_> = factors.iter().map(|&(name, size)| Factor { name, size }).collect();
    Axis::product(factors).unwrap()
}

/// Operators of every variant, with their attributes set to something other than the default.
pub fn every_operator() -> Vec<(Op, usize)> {
    let window = Window {
        kernel: [3, 5],
        stride: [2, 1],
        dilation: [1, 2],
        pad_before: [0, 1],
        pad_after: [2, 3],
    };
    let then = |slot| Epilogue {
        steps: vec![
            Step::Unary(Unary::LeakyRelu { alpha: 0.01 }),
            Step::Binary(Binary::Add, slot),
            Step::Unary(Unary::Clip { low: f32::NEG_INFINITY, high: 6.0 }),
            Step::Binary(Binary::Mul, slot + 1),
        ],
    };
    let pool = |kind| Op::Pool(Pool { kind, window, ceil: true });
    let attention = |radix, excite| {
        let weigh = match radix {
            1 => Weigh::Gate(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }),
            _ => Weigh::Softmax,
        };
        let grid = |scale| vec![Unary::Quantized { scale, lowest: -128.0, highest: 127.0 }];
        let rounding = Rounding {
            squeezed: grid(0.5),
            excited: [grid(0.25), grid(0.75)].concat(),
            weights: grid(0.125),
            products: grid(0.0625),
        };
        let (cardinality, epilogue) = (2, then(5));
        Op::SplitAttention(SplitAttention { cardinality, radix, excite, weigh, rounding, epilogue })
    };
    let mut all = vec![
        (Op::Conv(Conv { groups: 1, window, epilogue: then(3) }), 5),
        (Op::Conv(Conv { groups: 4, window: Window::POINT, epilogue: Epilogue::none() }), 2),
        (Op::BatchNorm { epsilon: 1e-5 }, 5),
        (attention(2, Excite::Inner { width: 8, activation: vec![Unary::Relu] }), 7),
        (attention(3, Excite::Inner { width: 4, activation: Vec::new() }), 7),
        (attention(1, Excite::Direct), 7),
        (Op::MatMul { transpose_a: true, transpose_b: true, epilogue: then(3) }, 5),
        (Op::Where, 3),
        (Op::Cast { to: DType::I64 }, 1),
        (Op::Cast { to: DType::F32 }, 1),
        (Op::Quantize, 3),
        (Op::Dequantize, 3),
        (Op::Softmax { axis: 1, log: false }, 1),
        (Op::Softmax { axis: 1, log: true }, 1),
        (pool(PoolKind::Max), 1),
        (pool(PoolKind::Average { count_padding: true }), 1),
        (pool(PoolKind::Average { count_padding: false }), 1),
        (Op::Reshape, 1),
        (Op::Expand, 1),
        (Op::Transpose { perm: vec![0, 2, 1] }, 1),
        (Op::Concat { axis: 1 }, 4),
        (Op::Slice { starts: vec![0, 3], steps: vec![1, -1] }, 1),
        (Op::Slice { starts: vec![0, 3], steps: vec![1, 1] }, 1),
        (Op::Slice { starts: vec![], steps: vec![] }, 1),
        (Op::Gather { axis: 2 }, 2),
        (Op::Scatter { extent: 7 }, 3),
        (Op::Pad { before: vec![0, 1], after: vec![2, 3], value: -0.0 }, 1),
        (Op::ArgMax { axis: 1, keep: true, last: true }, 1),
        (Op::Identity, 1),
    ];
    let reduce = |kind| Op::Reduce(Reduce { kind, axes: vec![2, 3], keep: true });
    all.extend(ReduceKind::ALL.map(|kind| (reduce(kind), 1)));
    all.extend(UNARY.map(|f| (Op::Unary(f, then(1)), 3)));
    all.extend(Binary::ALL.map(|f| (Op::Binary(f, then(2)), 4)));
    all
}

/// A node of each of [`every_operator`] on one input.
pub fn graph_of_every_operator() -> Graph {
    let mut b = Builder::new("every operator");
    let x = b.add("x", Op::Input, f32s(&[1, 80, 56, 56]), &[]);
    for (i, (op, operands)) in every_operator().into_iter().enumerate() {
        let y = b.add(&format!("y{i}"), op, f32s(&[2]), &vec![x; operands]);
        b.0.add_output(format!("out{i}"), y);
    }
    b.0
}

/// A block by hand: grouped convolution, attention, residual, classifier.
pub fn block() -> Graph {
    let mut b = Builder::new("layer1.0");
    let f32x = |axes: Vec<Axis>| TensorType { dtype: DType::F32, axes };
    let hw = || [Axis::plain(56), Axis::plain(56)];
    let split = || axis(&[('k', 2), ('r', 2), ('c', 20)]);
    let x = b.add("x", Op::Input, f32s(&[1, 80, 56, 56]), &[]);
    let res = b.add("skip:0", Op::Input, f32s(&[1, 80, 56, 56]), &[]);
    let filter = f32x(vec![split(), Axis::plain(20), Axis::plain(3), Axis::plain(3)]);
    let w = b.add("conv2.weight", Op::Weight(Weight::absent(0x5f0c_9a1e_0123_4567)), filter, &[]);
    let bias = b.add("conv2.bias", Op::Weight(Weight::rand(7)), f32x(vec![split()]), &[]);
    let window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };
    let steps = vec![Step::Binary(Binary::Add, 3), Step::Unary(Unary::Relu)];
    let conv = Op::Conv(Conv { groups: 4, window, epilogue: Epilogue { steps } });
    let mut axes = vec![Axis::plain(1), split()];
    axes.extend(hw());
    let from = (0..9).map(|i| format!("/conv2/radix{i}/Conv").into()).collect();
    let node = Node { name: "u".into(), op: conv, ty: f32x(axes), from };
    let u = b.0.add(node, &[(0, x), (1, w), (2, bias), (3, res)]);
    let reduce = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep: false };
    let gap = b.add("gap", Op::Reduce(reduce), f32x(vec![Axis::plain(1), split()]), &[u]);
    let fc = b.add("fc.weight", Op::Weight(Weight::rand(1)), f32s(&[80, 3]), &[]);
    let matmul = Op::MatMul { transpose_a: false, transpose_b: false, epilogue: Epilogue::none() };
    let y = b.add("fc", matmul, f32s(&[1, 3]), &[gap, fc]);
    let scale = Op::Weight(Weight::from_f32(&[0.1, -2.0, 1e-7]));
    let scale = b.add("scale \"odd\"\n", scale, f32s(&[3]), &[]);
    let z = b.add("z", Op::Binary(Binary::Mul, Epilogue::none()), f32s(&[1, 3]), &[y, scale]);
    b.0.add_output("u", u);
    b.0.add_output("logits", z);
    b.0
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z][A-Za-z0-9_./:-]{0,12}",
        1 => any::<String>(),
        1 => "[\"\\\\\n\r\t{}%@;#' \u{0}\u{301}\u{202e}\u{1f980}]{0,6}",
        1 => Just(String::new()),
    ]
}

fn number() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("not equal to itself", |x| !x.is_nan())
}

fn tensor_type() -> impl Strategy<Value = TensorType> {
    let plain = (0usize..5).prop_map(Axis::plain);
    let factor = (select(vec!['k', 'r', 'c', 'Z']), 1usize..4);
    let product = prop::collection::vec(factor, 1..4).prop_map(|f| axis(&f));
    let axes = prop::collection::vec(prop_oneof![3 => plain, 1 => product], 0..4);
    (select(DType::ALL.to_vec()), axes).prop_map(|(dtype, axes)| TensorType { dtype, axes })
}

fn unary() -> impl Strategy<Value = Unary> {
    prop_oneof![
        select(UNARY.to_vec()),
        number().prop_map(|alpha| Unary::LeakyRelu { alpha }),
        (number(), number()).prop_map(|(low, high)| Unary::Clip { low, high }),
    ]
}

/// Steps whose operands stand in any order, in their own slots or a few beyond.
fn epilogue(first: usize) -> impl Strategy<Value = Epilogue> {
    let binary = (select(Binary::ALL.to_vec()), first..first + 4);
    let step = prop_oneof![
        unary().prop_map(Step::Unary),
        binary.prop_map(|(function, slot)| Step::Binary(function, slot)),
    ];
    prop::collection::vec(step, 0..4).prop_map(|steps| Epilogue { steps })
}

fn window() -> impl Strategy<Value = Window> {
    let pair = || [1usize..4, 1usize..4];
    (pair(), pair(), pair(), [0usize..3, 0..3], [0usize..3, 0..3]).prop_map(
        |(kernel, stride, dilation, pad_before, pad_after)| Window {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
        },
    )
}

fn operator() -> impl Strategy<Value = Op> {
    let sizes = || prop::collection::vec(0usize..9, 0..4);
    let steps = prop::collection::vec(-3isize..3, 0..4);
    let matmul = (any::<bool>(), any::<bool>(), epilogue(3));
    prop_oneof![
        3 => select(every_operator()).prop_map(|(op, _)| op),
        3 => (1usize..5, window(), epilogue(3))
            .prop_map(|(groups, window, epilogue)| Op::Conv(Conv { groups, window, epilogue })),
        1 => matmul.prop_map(|(transpose_a, transpose_b, epilogue)| {
            Op::MatMul { transpose_a, transpose_b, epilogue }
        }),
        1 => (unary(), epilogue(1)).prop_map(|(f, epilogue)| Op::Unary(f, epilogue)),
        1 => (select(Binary::ALL.to_vec()), epilogue(2)).prop_map(|(f, e)| Op::Binary(f, e)),
        1 => (sizes(), steps).prop_map(|(starts, steps)| Op::Slice { starts, steps }),
        1 => (sizes(), sizes(), number())
            .prop_map(|(before, after, value)| Op::Pad { before, after, value: value.into() }),
        1 => number().prop_map(|epsilon| Op::BatchNorm { epsilon }),
        3 => weight().prop_map(Op::Weight),
        1 => Just(Op::Input),
    ]
}

fn weight() -> impl Strategy<Value = Weight> {
    prop_oneof![
        any::<u64>().prop_map(Weight::rand),
        any::<u64>().prop_map(Weight::absent),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(|b| Weight::from_bytes(b.into())),
    ]
}

#[derive(Debug, Clone)]
struct Draft {
    name: String,
    op: Op,
    ty: TensorType,
    operands: Vec<(usize, Index)>,
    from: Vec<String>,
}

fn draft() -> impl Strategy<Value = Draft> {
    let operands = prop::collection::vec((0usize..7, any::<Index>()), 0..6);
    let from = prop::collection::vec(name(), 0..9);
    (name(), operator(), tensor_type(), operands, from).prop_map(
        |(name, op, ty, operands, from)| Draft { name, op: filled(op, &ty), ty, operands, from },
    )
}

/// Gives half of the weights as many bytes as their type takes.
fn filled(op: Op, ty: &TensorType) -> Op {
    match op {
        Op::Weight(w) if w.seed().is_some_and(|seed| seed % 2 == 0) => {
            let bytes = (0..ty.bytes()).map(|i| (w.hash() >> (i % 57)) as u8 & mask(ty)).collect();
            Op::Weight(Weight::from_bytes(bytes))
        }
        op => op,
    }
}

fn mask(ty: &TensorType) -> u8 {
    if ty.dtype == DType::Bool { 1 } else { 255 }
}

/// Graphs that break most rules, but not those that the text itself has: names are unique, slots
/// hold one operand, nothing is cyclic, and inputs and weights read nothing.
pub fn graphs() -> impl Strategy<Value = Graph> {
    let outputs = prop::collection::vec((name(), any::<Index>()), 0..4);
    (name(), prop::collection::vec(draft(), 0..16), outputs).prop_map(|(name, drafts, outputs)| {
        let mut graph = Graph::new(name);
        let mut names = BTreeSet::new();
        let mut ids: Vec<NodeId> = Vec::new();
        for mut draft in drafts {
            while !names.insert(draft.name.clone()) {
                draft.name.push('\'');
            }
            ids.push(add(&mut graph, draft, &ids));
        }
        for (name, node) in outputs.into_iter().filter(|_| !ids.is_empty()) {
            graph.add_output(name, *node.get(&ids));
        }
        graph
    })
}

fn add(graph: &mut Graph, draft: Draft, ids: &[NodeId]) -> NodeId {
    let mut operands = Vec::new();
    let mut slots = BTreeSet::new();
    let constant = matches!(draft.op, Op::Input | Op::Weight(_));
    for (slot, operand) in draft.operands {
        if !constant && !ids.is_empty() && slots.insert(slot) {
            operands.push((slot, *operand.get(ids)));
        }
    }
    let from = draft.from.iter().map(|origin| origin.as_str().into()).collect();
    graph.add(Node { name: draft.name, op: draft.op, ty: draft.ty, from }, &operands)
}
