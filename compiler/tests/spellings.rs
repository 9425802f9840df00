//! Random Split-Attention blocks in random spellings: each must become one operator, and nothing
//! else may be left of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;
mod spelling;

use cardinal_compiler::interp;
use cardinal_compiler::ir::{Graph, Op, text, verify};
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

/// Cardinality and radix of the one attention.
fn splits(graph: &Graph) -> Option<(usize, usize)> {
    graph.nodes().find_map(|id| match &graph.node(id).op {
        Op::SplitAttention(attention) => Some((attention.cardinality, attention.radix)),
        _ => None,
    })
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
    assert_eq!(splits(&fused), Some((*cardinality, *radix)), "{}", found());
    let difference = difference(&graph, &fused);
    // Folded weights are rounded to f32.
    assert!(difference < 1e-6, "{difference:e} apart: {}", found());
}

proptest! {
    #![proptest_config(cases(1000))]

    /// A failure prints the graph's text, which is all that is needed to try it again.
    #[test]
    fn every_spelling_is_one_operator(case in blocks()) {
        check(&case);
    }
}
