//! Every operator that computes, where numbers end and where there are none: when it runs, when it is folded,
//! and in the interpreter. What is tried is made of the lists of functions and operators, for every element
//! type that they are defined for, so that a new one is tried too.
//!
//! `functions.rs` compares running functions with the interpreter; here they are compared with folded ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;
mod running;

use bytes::Bytes;
use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{
    Binary, DType, Epilogue, Graph, NodeId, Op, Pool, Reduce, TensorType, Unary, Weight, Window,
    infer, verify,
};
use cardinal_compiler::passes;
use cardinal_runtime::Tensor;
use common::{Builder, every_operator};
use running::edges::{
    TYPES, compare, compiled_types, edges, element, flushed, parameter, same_element,
};
use running::{host, run, to_reference};

/// What is folded is rounded once, and what runs more than once, or by an approximation.
const ROUNDED_OTHERWISE: [&str; 16] = [
    "average_pool",
    "erf",
    "exp",
    "gelu",
    "gelu_tanh",
    "hard_sigmoid",
    "hard_swish",
    "log",
    "log_softmax",
    "pow",
    "reduce_mean",
    "reduce_sum",
    "sigmoid",
    "softmax",
    "swish",
    "tanh",
];

/// What an operator is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// As many tensors of one axis.
    Elements(usize),
    /// Lines of two elements, `[n, 2]`.
    Lines,
    /// The same as rows of planes, `[1, n, 1, 2]`.
    Planes,
}

/// An operator as it is tried, if it computes elements from elements or along an axis.
fn as_tried(op: Op) -> Option<(Op, On)> {
    Some(match op {
        Op::Unary(mut f, _) => {
            f.parameters().into_iter().for_each(|(name, value)| *value = parameter(name));
            (Op::Unary(f, Epilogue::none()), On::Elements(1))
        }
        Op::Binary(f, _) => (Op::Binary(f, Epilogue::none()), On::Elements(2)),
        Op::Cast { .. } => (op, On::Elements(1)),
        Op::Softmax { log, .. } => (Op::Softmax { axis: 1, log }, On::Lines),
        Op::Reduce(reduce) => (Op::Reduce(Reduce { axes: vec![1], ..reduce }), On::Lines),
        Op::ArgMax { keep, last, .. } => (Op::ArgMax { axis: 1, keep, last }, On::Lines),
        Op::Pool(pool) => {
            let window = Window { kernel: [1, 2], ..Window::POINT };
            (Op::Pool(Pool { window, ceil: false, ..pool }), On::Planes)
        }
        // Constants, what moves elements, sums of products, and what takes operands of several types, which
        // are compared in `compiled.rs`.
        Op::Input
        | Op::Weight(_)
        | Op::Conv(_)
        | Op::BatchNorm { .. }
        | Op::MatMul { .. }
        | Op::Where
        | Op::Quantize
        | Op::Dequantize
        | Op::SplitAttention(_)
        | Op::Reshape
        | Op::Expand
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Gather { .. }
        | Op::Scatter { .. }
        | Op::Pad { .. }
        | Op::Identity => return None,
    })
}

/// Every operator and function that is tried.
fn tried() -> Vec<(Op, On)> {
    let functions = Unary::ALL.map(|f| Op::Unary(f, Epilogue::none())).into_iter();
    let functions = functions.chain(Binary::ALL.map(|f| Op::Binary(f, Epilogue::none())));
    let casts = TYPES.into_iter().filter(|to| *to != DType::F64).map(|to| Op::Cast { to });
    let first = Op::ArgMax { axis: 0, keep: false, last: false };
    let others = every_operator().into_iter().map(|(op, _)| op);
    let others =
        others.filter(|op| !matches!(op, Op::Unary(..) | Op::Binary(..) | Op::Cast { .. }));
    functions.chain(casts).chain([first]).chain(others).filter_map(as_tried).collect()
}

/// The operands of a type for what is tried on `on`.
fn operands(on: On, [a, b]: &[Tensor; 2]) -> Vec<Tensor> {
    let pairs = || {
        let size = a.dtype().size();
        let both = a.as_bytes().chunks(size).zip(b.as_bytes().chunks(size));
        both.flat_map(|(a, b)| [a, b].concat()).collect::<Vec<u8>>()
    };
    let of = |shape: &[usize]| vec![Tensor::from_bytes(a.dtype(), shape, &pairs()).unwrap()];
    match on {
        On::Elements(1) => vec![a.clone()],
        On::Elements(_) => vec![a.clone(), b.clone()],
        On::Lines => of(&[a.shape()[0], 2]),
        On::Planes => of(&[1, a.shape()[0], 1, 2]),
    }
}

fn type_of(x: &Tensor) -> TensorType {
    TensorType::new(x.dtype(), x.shape())
}

/// The operator on inputs, or on constants; `None` where it is not defined for their type.
fn graph(op: &Op, operands: &[Tensor], constant: bool) -> Option<Graph> {
    let types: Vec<TensorType> = operands.iter().map(type_of).collect();
    let slots: Vec<_> = types.iter().enumerate().collect();
    let ty = match infer(op, &slots) {
        Ok(ty) => ty,
        Err(error) => {
            assert!(error.to_string().contains("is not defined for"), "{op:?}: {error}");
            return None;
        }
    };
    let mut b = Builder::new("edges");
    let given = operands.iter().zip(types).zip(["a", "b"]).map(|((x, ty), name)| {
        let weight = || Op::Weight(Weight::from_bytes(Bytes::copy_from_slice(x.as_bytes())));
        b.add(name, if constant { weight() } else { Op::Input }, ty, &[])
    });
    let given: Vec<NodeId> = given.collect();
    let y = b.add("y", op.clone(), ty, &given);
    b.0.add_output("y", y);
    verify(&b.0).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    Some(b.0)
}

/// What the operator gives when it runs, and when it is folded.
fn run_and_folded(op: &Op, operands: &[Tensor]) -> Option<[Tensor; 2]> {
    let ran = run(&graph(op, operands, false)?, &host(), 1, operands).remove(0);
    let mut constants = graph(op, operands, true)?;
    passes::run(&mut constants, None, &mut |_, _| {}).unwrap();
    let folded = constants.nodes().all(|id| matches!(constants.node(id).op, Op::Weight(_)));
    assert!(folded, "{op:?} of {} is not folded", type_of(&operands[0]));
    Some([ran, run(&constants, &host(), 1, &[]).remove(0)])
}

/// The result with infinities for means whose sum is beyond the largest f32: it may be added up in f32.
fn overflowed(op: &Op, x: &interp::Tensor) -> interp::Tensor {
    let means = matches!(op.mnemonic(), "average_pool" | "reduce_mean");
    let most = f64::from(f32::MAX) / 2.0;
    let summed = |x: &f64| if means && x.abs() > most { f64::INFINITY.copysign(*x) } else { *x };
    let data = match &x.data {
        Data::Float(all) => Data::Float(all.iter().map(summed).collect()),
        Data::Int(all) => Data::Int(all.clone()),
    };
    interp::Tensor { data, ..x.clone() }
}

/// Compares what runs with what is folded: bit by bit, or by the tolerance of compiled code.
fn compare_folded(op: &Op, dtype: DType, [ran, folded]: &[Tensor; 2]) {
    assert_eq!((ran.shape(), ran.dtype()), (folded.shape(), folded.dtype()), "{op:?}");
    let exact = !ROUNDED_OTHERWISE.contains(&op.mnemonic()) || !dtype.is_float();
    let [bits, wanted] = [ran, folded].map(|x| x.as_bytes().chunks(x.dtype().size()));
    let [a, b] = [ran, folded].map(to_reference);
    let large = overflowed(op, &b);
    for (i, (bits, wanted)) in bits.zip(wanted).enumerate() {
        let [a_text, b_text] = [&a, &b].map(|x| element(x, i));
        let nans = a_text == "NaN" && b_text == "NaN";
        let right = bits == wanted
            || nans
            || (!exact && [&b, &large].into_iter().any(|b| same_element(&a, b, i)));
        assert!(right, "{op:?} of {dtype}: element {i} is {a_text}, folded {b_text}");
    }
}

#[test]
fn what_runs_is_what_is_folded() {
    for dtype in compiled_types() {
        let pairs = edges(dtype);
        for (op, on) in tried() {
            let both = run_and_folded(&op, &operands(on, &pairs));
            both.iter().for_each(|both| compare_folded(&op, dtype, both));
        }
    }
}

/// Reductions, softmax and pools; functions are compared in `functions.rs`.
#[test]
fn what_runs_along_an_axis_is_what_is_interpreted() {
    for dtype in compiled_types() {
        let pairs = edges(dtype);
        for (op, on) in tried().into_iter().filter(|(_, on)| !matches!(on, On::Elements(_))) {
            let operands = operands(on, &pairs);
            let Some(graph) = graph(&op, &operands, false) else { continue };
            let found = run(&graph, &host(), 1, &operands).remove(0);
            let given: Vec<_> = operands.iter().map(to_reference).collect();
            let zeros: Vec<_> = given.iter().map(flushed).collect();
            let [exact, flushed] =
                [&given, &zeros].map(|x| interp::run(&graph, x).unwrap().remove(0));
            let made = |i: usize| {
                let line = i * pairs[0].shape()[0] / exact.shape.iter().product::<usize>();
                let [a, b] = [0, 1].map(|slot| element(&given[0], 2 * line + slot));
                format!("{op:?} of {dtype} {a} and {b}: element {i}")
            };
            compare(&made, &found, &[&exact, &flushed, &overflowed(&op, &exact)]);
        }
    }
}

/// No element of each operand, and no line of two elements.
#[test]
fn nothing_is_made_of_nothing() {
    for dtype in compiled_types() {
        let none = || Tensor::from_bytes(dtype, &[0], &[]).unwrap();
        for (op, on) in tried() {
            // A plane needs rows.
            if on == On::Planes {
                continue;
            }
            let Some(both) = run_and_folded(&op, &operands(on, &[none(), none()])) else {
                continue;
            };
            for y in both {
                assert!(y.as_bytes().is_empty() && y.shape()[0] == 0, "{op:?} of {dtype}");
            }
        }
    }
}
