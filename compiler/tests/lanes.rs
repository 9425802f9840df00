//! Functions that are computed in lanes of f32: how far they are from f64, and that their bits do not depend on
//! how wide vectors are or where in one an element is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]
#![cfg(target_arch = "x86_64")]

mod running;

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::num::NonZeroUsize;
use std::sync::Arc;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::compile;
use cardinal_compiler::ir::{Graph, text};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_runtime::{LoadError, Program, Session, Tensor, cpu};

/// CPUs whose vectors are of different widths.
const CPUS: [&str; 2] = ["x86-64-v3", "x86-64-v4"];

/// A function, its definition, and how many units in the last place it may be off.
struct Function {
    name: &'static str,
    of: fn(f64) -> f64,
    most: f64,
}

const FUNCTIONS: [Function; 8] = [
    Function { name: "exp", of: libm::exp, most: 1.0 },
    Function { name: "log", of: libm::log, most: 1.0 },
    Function { name: "tanh", of: libm::tanh, most: 1.5 },
    Function { name: "erf", of: libm::erf, most: 1.1 },
    Function { name: "sigmoid", of: sigmoid, most: 1.7 },
    Function { name: "swish", of: |x| x * sigmoid(x), most: 2.4 },
    Function { name: "gelu", of: gelu, most: 3.0 },
    Function { name: "gelu_tanh", of: gelu_tanh, most: 2.4 },
];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

fn gelu(x: f64) -> f64 {
    x / 2.0 * libm::erfc(-x * FRAC_1_SQRT_2)
}

fn gelu_tanh(x: f64) -> f64 {
    x * sigmoid(2.0 * (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x))
}

/// A graph of `n` elements, compiled for a CPU; `None`, and a word about it, where this machine is none.
fn program(body: &str, n: usize, cpu: &str) -> Option<Arc<Program>> {
    let source = format!("graph @lanes {{\ninput %x f32[{n}]\n{body}\noutput %y\n}}");
    let graph: Graph = text::parse(&source.replace("[]", &format!("[{n}]"))).unwrap();
    let model =
        Model { graph, metadata: Vec::new(), digest: [0; 32], operators: Default::default() };
    let target = Target::named(&cpu::host_triple(), cpu).unwrap();
    let compiled = compile(&model, &[target], &CompileOptions::default()).unwrap();
    match Program::load(compiled.parts.to_artifact().unwrap()) {
        Ok(program) => Some(program),
        Err(LoadError::MissingFeatures { .. } | LoadError::Target { .. }) => {
            println!("SKIPPED {cpu}: this machine is none");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn call(name: &str) -> String {
    format!("%y f32[] = {name}(%x)")
}

/// What a program makes of so many elements.
fn results(program: &Arc<Program>, inputs: &[f32], threads: usize) -> Vec<f32> {
    let threads = NonZeroUsize::new(threads).unwrap();
    let mut session = Session::new(Arc::clone(program), threads).unwrap();
    let bytes: Vec<u8> = inputs.iter().flat_map(|x| x.to_le_bytes()).collect();
    let dtype = program.inputs()[0].dtype;
    let input = Tensor::from_bytes(dtype, &[inputs.len()], &bytes).unwrap();
    floats(&session.run(&[input]).unwrap()[0])
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    let (elements, _) = tensor.as_bytes().as_chunks::<4>();
    elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Denormals are zeros of their sign.
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0_f32.copysign(x) } else { x }
}

/// How far a result is from an exact one, in units of the last place of the exact one.
fn distance(found: f32, exact: f64) -> f64 {
    let limit = f64::from(f32::MIN_POSITIVE);
    let rounded = exact as f32;
    if found.is_nan() || rounded.is_nan() || rounded.is_infinite() {
        let same = found.to_bits() == rounded.to_bits() || found.is_nan() && rounded.is_nan();
        return if same { 0.0 } else { f64::INFINITY };
    }
    if exact.abs() < limit && found == 0.0 {
        return 0.0;
    }
    let unit = libm::exp2(exact.abs().max(limit).log2().floor() - 23.0);
    // Beyond the largest, the next would have been.
    let found =
        if found.is_infinite() { f64::from(found.signum()) * 128f64.exp2() } else { found.into() };
    (found - exact).abs() / unit
}

/// The worst of the results: how far it is, and of what.
fn worst(function: &Function, inputs: &[f32], found: &[f32]) -> (f64, f32) {
    let each = inputs.iter().zip(found).map(|(x, found)| {
        let exact = (function.of)(f64::from(flushed(*x)));
        (distance(*found, exact), *x)
    });
    each.fold((0.0, 0.0), |worst, one| if one.0 > worst.0 { one } else { worst })
}

/// Numbers of every exponent and sign, and where functions are pieced together.
fn every_exponent(each: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let exponents = (0..512_u32).flat_map(|high| std::iter::repeat_n(high << 23, each));
    let mut all: Vec<f32> = exponents.map(|high| f32::from_bits(high | next() >> 8)).collect();
    let ends = [0.0, 0.25, 0.6, LN_2, 0.92, 1.0, 4.0, 9.01, 10.0, 13.27, 87.3365, 88.7228, 103.97];
    for end in ends.into_iter().chain([f32::INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE]) {
        let around =
            (0..33_u32).map(|i| f32::from_bits(end.to_bits().saturating_add(i).saturating_sub(16)));
        all.extend(around.flat_map(|x| [x, -x]));
    }
    all
}

const LN_2: f32 = std::f32::consts::LN_2;

#[test]
fn functions_are_near_and_have_the_same_bits_in_vectors_of_every_width() {
    const SEED: u64 = 41;
    println!("seed {SEED}");
    let inputs = every_exponent(300, SEED);
    for function in &FUNCTIONS {
        let mut first: Option<Vec<f32>> = None;
        for cpu in CPUS {
            let Some(program) = program(&call(function.name), inputs.len(), cpu) else { continue };
            let found = results(&program, &inputs, 2);
            let (error, x) = worst(function, &inputs, &found);
            println!("{} on {cpu}: {error:.3} units, at {x:e}", function.name);
            assert!(error <= function.most, "{} of {x:e} ({:#x})", function.name, x.to_bits());
            let first = first.get_or_insert_with(|| found.clone());
            same(&inputs, first, &found, &format!("{} on {cpu}", function.name));
        }
    }
}

fn same(inputs: &[f32], a: &[f32], b: &[f32], what: &str) {
    for ((x, a), b) in inputs.iter().zip(a).zip(b) {
        let is_same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(is_same, "{what}: of {x:e} ({:#x}): {a:e} and {b:e}", x.to_bits());
    }
}

/// Rows that end everywhere: whole vectors, vectors of four and single elements.
#[test]
fn the_end_of_a_row_has_the_bits_of_its_middle() {
    const SEED: u64 = 43;
    println!("seed {SEED}");
    let gate = "%s f32[] = sigmoid(%x)\n%y f32[] = mul(%x, %s)".to_owned();
    let bodies = FUNCTIONS.iter().map(|function| call(function.name)).chain([gate]);
    let all = every_exponent(1, SEED);
    for (body, cpu) in bodies.flat_map(|body| CPUS.map(|cpu| (body.clone(), cpu))) {
        let Some(whole) = program(&body, all.len(), cpu) else { continue };
        let whole = results(&whole, &all, 1);
        for n in (1..=35).step_by(2) {
            let part = program(&body, n, cpu).unwrap();
            for from in (0..all.len() - n).step_by(61) {
                let inputs = &all[from..][..n];
                let found = results(&part, inputs, 1);
                same(inputs, &whole[from..][..n], &found, &format!("{n} of {body} on {cpu}"));
            }
        }
    }
}

#[test]
fn zeros_and_infinities_give_what_ieee_754_says() {
    const INFINITY: f32 = f32::INFINITY;
    let expected: [(&str, [f32; 4]); 8] = [
        ("exp", [1.0, 1.0, INFINITY, 0.0]),
        ("log", [-INFINITY, -INFINITY, INFINITY, f32::NAN]),
        ("tanh", [0.0, -0.0, 1.0, -1.0]),
        ("erf", [0.0, -0.0, 1.0, -1.0]),
        ("sigmoid", [0.5, 0.5, 1.0, 0.0]),
        ("swish", [0.0, -0.0, INFINITY, f32::NAN]),
        ("gelu", [0.0, -0.0, INFINITY, f32::NAN]),
        ("gelu_tanh", [0.0, -0.0, INFINITY, f32::NAN]),
    ];
    // In a vector, and behind the last one.
    let inputs: Vec<f32> =
        [0.0, -0.0, INFINITY, -INFINITY].repeat(5).into_iter().chain([f32::NAN]).collect();
    for ((name, expected), cpu) in expected.into_iter().flat_map(|row| CPUS.map(|cpu| (row, cpu))) {
        let Some(program) = program(&call(name), inputs.len(), cpu) else { continue };
        let found = results(&program, &inputs, 1);
        for (found, expected) in found.iter().zip(expected.iter().cycle()).take(20) {
            let is_same =
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(is_same, "{name} on {cpu}: {found:e} for {expected:e}");
        }
        assert!(found[20].is_nan(), "{name} of NaN on {cpu}: {}", found[20]);
    }
}

/// Four million numbers between which others are left out; with `CARDINAL_STRIDE`, one in so many of all that
/// there are, which takes minutes for 61 and hours for 1.
#[test]
fn numbers_of_all_kinds_are_near() {
    const CHUNK: usize = 1 << 22;
    let stride = std::env::var("CARDINAL_STRIDE").map_or(4001, |stride| stride.parse().unwrap());
    for function in &FUNCTIONS {
        let Some(program) = program(&call(function.name), CHUNK, "x86-64-v3") else { continue };
        let mut error = (0.0, 0.0);
        for first in (0..1_u64 << 32).step_by(CHUNK * stride) {
            let at = |i| f32::from_bits((first + (i * stride) as u64) as u32);
            let inputs: Vec<f32> = (0..CHUNK).map(at).collect();
            let one = worst(function, &inputs, &results(&program, &inputs, 1));
            error = if one.0 > error.0 { one } else { error };
        }
        let (units, at) = error;
        println!(
            "trust: functions, {} | {units:.3} units in the last place, at {at:e}",
            function.name
        );
        assert!(units <= function.most);
    }
}
