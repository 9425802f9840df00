//! Random Split-Attention blocks in random spellings: each must become one operator, and nothing
//! else may be left of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;
mod spelling;

use std::collections::HashMap;

use cardinal_compiler::interp;
use cardinal_compiler::ir::{DType, Epilogue, Graph, Node, Op, Unary, text, verify};
use cardinal_compiler::passes;
use proptest::prelude::*;
use running::{cases, random, to_reference};
use spelling::{Case, Operators, blocks};

/// The operators of a graph, without inputs and weights.
fn operators(graph: &Graph) -> Operators {
    let mut found = Operators::new();
    for id in graph.nodes() {
        let name = match &graph.node(id).op {
            Op::Input | Op::Weight(_) => continue,
            Op::Conv(_) => "conv",
            op => op.mnemonic(),
        };
        *found.entry(name).or_default() += 1;
    }
    found
}

/// Cardinality and radix of each attention.
fn splits(graph: &Graph) -> Vec<(usize, usize)> {
    let splits = graph.nodes().filter_map(|id| match &graph.node(id).op {
        Op::SplitAttention(attention) => Some((attention.cardinality, attention.radix)),
        _ => None,
    });
    splits.collect()
}

/// The output of a graph, and the largest magnitude of any of its values.
fn run(graph: &Graph) -> (Vec<f64>, f64) {
    let types = graph.inputs().iter().map(|id| graph.ty(*id)).zip(1..);
    let inputs: Vec<_> = types.map(|(ty, seed)| to_reference(&random(ty, seed))).collect();
    let mut largest: f64 = 0.0;
    let see = &mut |_, value: &interp::Tensor| {
        if let interp::Data::Float(values) = &value.data {
            largest = values.iter().fold(largest, |most, x| most.max(x.abs()));
        }
    };
    let output = interp::run_with(graph, &inputs, see).unwrap().remove(0);
    match output.data {
        interp::Data::Float(values) => (values, largest),
        interp::Data::Int(_) => panic!("integers"),
    }
}

/// Largest difference between the outputs of two graphs, relative to the largest magnitude in the
/// first: outputs may be small differences of large values.
fn difference(a: &Graph, b: &Graph) -> f64 {
    let ((a, scale), (b, _)) = (run(a), run(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).fold(0.0, |most, (a, b)| (a - b).abs().max(most)) / scale
}

fn check(case: &Case) {
    let Case { source, left, cardinality, radix } = case;
    let graph = text::parse(source).unwrap();
    verify(&graph).unwrap();
    let mut fused = graph.clone();
    let misses = passes::run(&mut fused, None, &mut |_, _| {}).unwrap();
    let found = || format!("{}\n{misses:#?}", text::print(&fused));
    assert_eq!(operators(&fused), *left, "{}", found());
    assert_eq!(splits(&fused), [(*cardinality, *radix)], "{}", found());
    let difference = difference(&graph, &fused);
    // Folded weights are rounded to f32.
    assert!(difference < 1e-6, "{difference:e} apart: {}", found());
}

/// The graph with a rounding to some grid after each value that is computed and for which a bit is set, as
/// quantizing tools write it; they do not after an expansion.
fn quantized(graph: &Graph, bits: u64) -> Graph {
    let mut result = Graph::new(graph.name.clone());
    let mut new = HashMap::new();
    for (at, id) in graph.topological().into_iter().enumerate() {
        let node = graph.node(id).clone();
        let operands: Vec<_> = graph.operands(id).iter().map(|(s, o)| (*s, new[o])).collect();
        let computed = !matches!(node.op, Op::Input | Op::Weight(_) | Op::Expand)
            && node.ty.dtype == DType::F32;
        let mut value = result.add(node.clone(), &operands);
        if computed && bits >> (at % 64) & 1 == 1 {
            // Coarse, so that what is left out can be told from what stays; none is the grid of another.
            let scale = 0.05 + at as f32 / 1024.0;
            let function = Unary::Quantized { scale, lowest: -100.0, highest: 155.0 };
            let op = Op::Unary(function, Epilogue::none());
            let name = format!("{}:rounded", node.name);
            value = result.add(Node { name, op, ..node }, &[(0, value)]);
        }
        new.insert(id, value);
    }
    for output in graph.outputs() {
        result.add_output(output.name.clone(), new[&output.node]);
    }
    result
}

/// The block is found, and each rewrite is what it replaces but for the rounding that it says it leaves out.
fn check_quantized(case: &Case, bits: u64) {
    let graph = quantized(&text::parse(&case.source).unwrap(), bits);
    verify(&graph).unwrap();
    let mut fused = graph.clone();
    let run = passes::Run { check_rewrites: true, ..passes::Run::default() };
    let mut misses = Vec::new();
    passes::run_with(&mut fused, run, &mut |done| misses.extend(done.near_misses)).unwrap();
    let found = || format!("{}\n{}\n{misses:#?}", text::print(&graph), text::print(&fused));
    // Branches that round to different grids stay apart, each with groups of its own.
    let splits = splits(&fused);
    let cardinality: usize = splits.iter().map(|(cardinality, _)| cardinality).sum();
    assert_eq!(cardinality, case.cardinality, "{}", found());
    assert!(splits.iter().all(|(_, radix)| *radix == case.radix), "{}", found());
}

proptest! {
    #![proptest_config(cases(1000))]

    /// A failure prints the graph's text, which is all that is needed to try it again.
    #[test]
    fn every_spelling_is_one_operator(case in blocks()) {
        check(&case);
    }

    /// Normalization that is not folded stands between the rounding of its operand and its own.
    #[test]
    fn every_spelling_is_one_operator_when_quantized(case in blocks(), bits in any::<u64>()) {
        if !case.source.contains("batch_norm") {
            check_quantized(&case, bits);
        }
    }
}
