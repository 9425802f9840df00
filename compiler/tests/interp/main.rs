//! Every operator of the reference interpreter against results worked out by hand, with NumPy or
//! with ONNX's own reference implementation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod conv;
mod elementwise;
mod errors;
mod layout;
mod matmul;
mod norm;
mod pool;
mod quantize;
mod reduce;
mod runs;

use cardinal_compiler::error::Result;
use cardinal_compiler::interp::{Data, Tensor, run};
use cardinal_compiler::ir::text::parse;
use cardinal_compiler::ir::{DType, Graph};

/// A graph of these statements whose output is `%y`.
#[track_caller]
fn graph(body: &str) -> Graph {
    let text = format!("graph @test {{\n{body}\noutput %y\n}}");
    parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The value of `%y`.
#[track_caller]
fn compute(body: &str) -> Result<Tensor> {
    let mut outputs = run(&graph(body), &[])?;
    assert_eq!(outputs.len(), 1);
    Ok(outputs.remove(0))
}

/// Checks the floats of `%y`.
#[track_caller]
fn floats(body: &str, wanted: &[f64]) {
    let y = compute(body).unwrap_or_else(|e| panic!("{e}"));
    let Data::Float(found) = &y.data else { panic!("{y:?}") };
    let near = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12;
    let same = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| near(*a, *b));
    assert!(same, "found {found:?}\nwanted {wanted:?}");
}

/// Checks the integers of `%y`.
#[track_caller]
fn ints(body: &str, wanted: &[i64]) {
    let y = compute(body).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(y.data, Data::Int(wanted.to_vec()));
}

/// `weight %NAME f32[SHAPE] = [1, 2, …]`
fn counting(name: &str, shape: &[usize]) -> String {
    let values: Vec<String> = (1..=shape.iter().product()).map(|i: usize| i.to_string()).collect();
    format!("weight %{name} f32{shape:?} = [{}]\n", values.join(", "))
}

fn f32s(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor { dtype: DType::F32, shape: shape.to_vec(), data: Data::Float(values.to_vec()) }
}
