//! Runs a graph as code and in the interpreter, and compares.

use std::num::NonZeroUsize;
use std::sync::Arc;

use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{DType, Graph, TensorType};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::schedule::Preferences;
use cardinal_compiler::{CompileOptions, Target, compile};
use cardinal_runtime::{Program, Session, Tensor, cpu};

use crate::graphs::Case;
use crate::{accepted, must, options};

/// The largest error, relative to the largest magnitude of any value. Errors add up along the graph.
const TOLERANCE: f64 = 2e-5;
/// Beyond this, products of two values may be too large for f32.
const LARGE: f64 = 1e18;

/// Compiles a case for two kinds of CPU that this machine runs, and compares what they
/// compute with the interpreter's results.
pub fn check(case: &Case) {
    let Case { seed, graph, takes_specials: special } = case;
    let (seed, special) = (*seed, *special);
    let mut random = Random(seed);
    let inputs = graph.inputs().iter().map(|id| random.tensor(graph.ty(*id), special));
    let inputs: Vec<Tensor> = inputs.collect();
    let expected = Expected::of(graph, &inputs);
    for target in targets(seed) {
        let Some(outputs) = run(case, &target, &inputs) else { return };
        if special || expected.is_finite {
            for (found, expected_output) in outputs.iter().zip(&expected.outputs) {
                let error = error(found, expected_output, expected.largest);
                assert!(error <= TOLERANCE, "an error of {error:e} on {}\n{case:?}", target.cpu());
            }
        }
    }
}

/// Two of the targets that this machine runs.
fn targets(seed: u64) -> Vec<Target> {
    let all = ["x86-64-v4", "x86-64-v3", "x86-64"]
        .map(|cpu| must(Target::named(&cpu::host_triple(), cpu)));
    let host = cpu::host_features();
    let runs = |target: &Target| cpu::missing_features(target.features(), &host).is_empty();
    let mut running: Vec<Target> = all.into_iter().filter(runs).collect();
    if running.len() > 2 {
        running.remove(seed as usize % 3);
    }
    running
}

/// The outputs of one thread, which two threads must give too; nothing where the graph is refused.
fn run(case: &Case, target: &Target, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    let model = Model {
        graph: case.graph.clone(),
        metadata: Vec::new(),
        digest: [0; 32],
        operators: Default::default(),
    };
    // Winograd's and Strassen's sums make NaN of infinity.
    let schedule = Preferences { winograd: !case.takes_specials, ..Preferences::default() };
    let options = CompileOptions { schedule, ..options() };
    let compiled = accepted(compile(&model, std::slice::from_ref(target), &options))?;
    let program = must(Program::load(must(compiled.parts.to_artifact())));
    let outputs = on_threads(&program, 1, inputs);
    // Most of the time is spent on waiting for the other thread.
    if case.seed.is_multiple_of(4) {
        let two = on_threads(&program, 2, inputs);
        let same = |(a, b): (&Tensor, &Tensor)| a.as_bytes() == b.as_bytes();
        assert!(outputs.iter().zip(&two).all(same), "two threads differ\n{case:?}");
    }
    Some(outputs)
}

fn on_threads(program: &Arc<Program>, threads: usize, inputs: &[Tensor]) -> Vec<Tensor> {
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    must(must(Session::new(program.clone(), threads)).run(inputs))
}

/// The interpreter's results.
struct Expected {
    outputs: Vec<interp::Tensor>,
    /// The largest magnitude of any value.
    largest: f64,
    /// Whether no value is NaN or infinite, or so large that f32 may be.
    is_finite: bool,
}

impl Expected {
    fn of(graph: &Graph, inputs: &[Tensor]) -> Expected {
        let inputs: Vec<_> = inputs.iter().map(reference).collect();
        let (mut largest, mut is_finite) = (1e-30f64, true);
        let outputs = interp::run_with(graph, &inputs, &mut |_, value| {
            if let Data::Float(values) = &value.data {
                let finite = values.iter().filter(|x| x.is_finite());
                largest = finite.fold(largest, |m, x| m.max(x.abs()));
                is_finite &= values.iter().all(|x| x.abs() < LARGE);
            }
        });
        Expected { outputs: must(outputs), largest, is_finite }
    }
}

fn reference(tensor: &Tensor) -> interp::Tensor {
    let ty = TensorType::new(tensor.dtype(), tensor.shape());
    let tensor = interp::Tensor::from_bytes(&ty, tensor.as_bytes());
    must(tensor.ok_or("a tensor has as many bytes as its type says"))
}

/// The largest error relative to `scale`. Integers, NaN and infinities must be equal.
fn error(found: &Tensor, expected: &interp::Tensor, scale: f64) -> f64 {
    assert_eq!(found.shape(), expected.shape);
    assert_eq!(found.dtype(), expected.dtype);
    match (reference(found).data, &expected.data) {
        (Data::Float(found), Data::Float(expected)) => {
            let pairs = found.iter().zip(expected);
            pairs.map(|(f, e)| difference(*f, *e) / scale).fold(0.0, f64::max)
        }
        (found, expected) if found == *expected => 0.0,
        _ => f64::INFINITY,
    }
}

fn difference(found: f64, expected: f64) -> f64 {
    // What is infinite in f32.
    let is_over = expected.abs() > f64::from(f32::MAX) && expected.is_finite();
    match (found - expected).abs() {
        _ if found == expected || (found.is_nan() && expected.is_nan()) => 0.0,
        _ if is_over && found.abs() >= f64::from(f32::MAX) => 0.0,
        difference if difference.is_nan() => f64::INFINITY,
        difference => difference,
    }
}

/// Made-up inputs (splitmix64, Vigna).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn tensor(&mut self, ty: &TensorType, special: bool) -> Tensor {
        let bytes: Vec<u8> =
            (0..ty.elements()).flat_map(|_| self.element(ty.dtype, special)).collect();
        must(Tensor::from_bytes(ty.dtype, &ty.shape(), &bytes))
    }

    fn element(&mut self, dtype: DType, special: bool) -> Vec<u8> {
        let bits = self.next();
        match dtype {
            DType::F32 => (self.float(special) as f32).to_le_bytes().to_vec(),
            DType::F64 => self.float(special).to_le_bytes().to_vec(),
            DType::Bool => vec![(bits % 2) as u8],
            DType::I64 | DType::I32 | DType::U8 | DType::I8 => {
                // Small ones half of the time, so that something is equal.
                let value = if bits.is_multiple_of(2) { bits >> 8 } else { (bits >> 8) % 5 };
                value.to_le_bytes()[..dtype.size()].to_vec()
            }
        }
    }

    /// A float in [-2, 2) of 23 bits, and now and then a special one.
    fn float(&mut self, special: bool) -> f64 {
        let bits = self.next();
        let specials = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
        match special && bits.is_multiple_of(16) {
            true => specials[(bits >> 8) as usize % 4],
            false => (bits >> 41) as f64 / f64::from(1 << 21) - 2.0,
        }
    }
}
