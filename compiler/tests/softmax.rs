//! Softmax and its logarithm over rows, whose powers are computed in vectors, beside the interpreter.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_runtime::{DType, Tensor, cpu};
use running::{avx2, host, run, to_reference};

/// Lengths around those of blocks and of rounds, and longer ones.
const LENGTHS: [usize; 13] = [15, 16, 17, 19, 20, 31, 32, 33, 47, 48, 63, 197, 1000];
const ROWS: usize = 6;

fn graph(function: &str, length: usize) -> Graph {
    let ty = format!("f32[{ROWS}, {length}]");
    let source =
        format!("graph @rows {{\ninput %x {ty}\n%y {ty} = {function}(%x)\n  axis 1\noutput %y\n}}");
    let graph = text::parse(&source).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap();
    graph
}

fn tensor(values: &[f32], length: usize) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Tensor::from_bytes(DType::F32, &[ROWS, length], &bytes).unwrap()
}

/// Rows of numbers up to about 20, of large ones with large differences, and of equal ones.
fn rows(length: usize) -> Vec<f32> {
    let size = [4.0, 20.0, 1e3, 1e30, 0.0, 1e-30];
    let at = |i: usize| ((i * 7919 + length * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    (0..ROWS * length).map(|i| at(i) * size[i / length]).collect()
}

/// This machine, and what has other vectors or none.
fn targets() -> Vec<Target> {
    let mut targets = vec![host()];
    if cfg!(target_arch = "x86_64") {
        targets.push(Target::named(&cpu::host_triple(), "x86-64").unwrap());
        targets.push(avx2());
    }
    targets
}

fn interpreted(graph: &Graph, x: &Tensor) -> Vec<f64> {
    match interp::run(graph, &[to_reference(x)]).unwrap().remove(0).data {
        Data::Float(exact) => exact,
        Data::Int(_) => panic!("softmax is of floats"),
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.as_bytes().as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

/// Powers and quotients are rounded, and differences too, of which a power magnifies the error by their size.
#[test]
fn rows_are_what_is_interpreted() {
    for (function, log) in [("softmax", false), ("log_softmax", true)] {
        for length in LENGTHS {
            let graph = graph(function, length);
            let x = tensor(&rows(length), length);
            let exact = interpreted(&graph, &x);
            for target in targets() {
                let y = floats(&run(&graph, &target, 2, std::slice::from_ref(&x))[0]);
                for (i, (found, exact)) in y.iter().zip(&exact).enumerate() {
                    let allowed = match log {
                        true => 3e-7 * exact.abs().max(1.0),
                        false => 3e-6 * exact + 1e-37,
                    };
                    let difference = (f64::from(*found) - exact).abs();
                    assert!(
                        difference <= allowed,
                        "{function} of {length}, element {i} on {}: {found}, not {exact}",
                        target.cpu()
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_so_in_its_row_only() {
    const LENGTH: usize = 37;
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for at in [0, 15, 16, 35, 36] {
        let mut values = rows(LENGTH);
        values[at] = nan;
        values[LENGTH + at] = inf;
        values[2 * LENGTH + at] = -inf;
        values[3 * LENGTH..4 * LENGTH].fill(-inf);
        let x = tensor(&values, LENGTH);
        for function in ["softmax", "log_softmax"] {
            let graph = graph(function, LENGTH);
            let exact = interpreted(&graph, &x);
            for target in targets() {
                let y = floats(&run(&graph, &target, 1, std::slice::from_ref(&x))[0]);
                for (i, (found, exact)) in y.iter().zip(&exact).enumerate() {
                    let same = match exact.is_finite() {
                        true => (f64::from(*found) - exact).abs() <= 3e-6 * exact.abs().max(1.0),
                        false => found.is_nan() == exact.is_nan() && !found.is_finite(),
                    };
                    let cpu = target.cpu();
                    assert!(same, "{function} at {at}, element {i} on {cpu}: {found}, not {exact}");
                }
            }
        }
    }
}
