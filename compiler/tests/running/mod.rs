//! Runs one graph compiled and interpreted, and compares.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

pub(crate) mod edges;
pub(crate) mod files;
pub(crate) mod linked;
pub(crate) mod rows;

use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::interp;
use cardinal_compiler::ir::{Graph, TensorType, Weight, text, verify};
use cardinal_compiler::kernels;
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::plan::Plan;
use cardinal_compiler::schedule::Preferences;
use cardinal_runtime::{Program, Session, Tensor, cpu};
use linked::{Link, Linked};
use proptest::test_runner::{Config, RngSeed};

/// Largest error that compiled code may make, relative to what [`RelativeTo`] says.
pub(crate) const TOLERANCE: f64 = 2e-6;

/// `cases` random cases, always the same ones unless `PROPTEST_RNG_SEED` says otherwise, or
/// `PROPTEST_CASES` of them.
pub(crate) fn cases(cases: u32) -> Config {
    let Config { rng_seed, cases: wanted, .. } = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { wanted } else { cases };
    let rng_seed = match rng_seed {
        RngSeed::Random => RngSeed::Fixed(20),
        RngSeed::Fixed(_) => rng_seed,
    };
    Config { cases, rng_seed, failure_persistence: None, ..Config::default() }
}

/// This machine.
pub(crate) fn host() -> Target {
    Target::new(&cpu::host_triple(), &cpu::host_features()).unwrap()
}

/// What plans are shown for, whatever this machine is.
pub(crate) fn avx2() -> Target {
    Target::named("x86_64-unknown-linux-gnu", "x86-64-v3").unwrap()
}

/// The plan of a graph.
pub(crate) fn planned(graph: &Graph, target: &Target) -> Plan {
    try_planned(graph, target, &Preferences::default()).unwrap()
}

/// The plan of a graph without Winograd's and Strassen's algorithms.
pub(crate) fn planned_directly(graph: &Graph, target: &Target) -> Plan {
    let direct = Preferences { winograd: false, ..Preferences::default() };
    try_planned(graph, target, &direct).unwrap()
}

/// The plan of a graph, or why there is none.
pub(crate) fn try_planned(
    graph: &Graph,
    target: &Target,
    preferences: &Preferences,
) -> cardinal_compiler::error::Result<Plan> {
    let schedule = kernels::schedule(graph, &target.machine(), preferences);
    kernels::lower(graph, &schedule)
}

/// Plans over one weights section.
pub(crate) fn planned_together(graph: &Graph, targets: &[Target]) -> Vec<Plan> {
    let schedule =
        |target: &Target| kernels::schedule(graph, &target.machine(), &Preferences::default());
    kernels::lower_all(graph, &targets.iter().map(schedule).collect::<Vec<_>>()).unwrap()
}

/// Reproducible values of a type, in [-1, 1).
pub(crate) fn random(ty: &TensorType, seed: u64) -> Tensor {
    let bytes = Weight::rand(seed).bytes(ty).unwrap();
    Tensor::from_bytes(ty.dtype, &ty.shape(), &bytes).unwrap()
}

pub(crate) fn to_reference(tensor: &Tensor) -> interp::Tensor {
    let ty = TensorType::new(tensor.dtype(), tensor.shape());
    interp::Tensor::from_bytes(&ty, tensor.as_bytes()).unwrap()
}

pub(crate) fn compile_for(graph: &Graph, target: &Target) -> std::sync::Arc<Program> {
    compile_with(graph, target, &CompileOptions::default())
}

pub(crate) fn compile_with(
    graph: &Graph,
    target: &Target,
    options: &CompileOptions,
) -> std::sync::Arc<Program> {
    let model = Model {
        graph: graph.clone(),
        metadata: Vec::new(),
        digest: [0; 32],
        operators: Default::default(),
    };
    let compiled =
        cardinal_compiler::compile(&model, std::slice::from_ref(target), options).unwrap();
    Program::load(compiled.parts.to_artifact().unwrap()).unwrap()
}

/// Runs the compiled graph.
pub(crate) fn run(
    graph: &Graph,
    target: &Target,
    threads: usize,
    inputs: &[Tensor],
) -> Vec<Tensor> {
    let program = compile_for(graph, target);
    let mut session = Session::new(program, NonZeroUsize::new(threads).unwrap()).unwrap();
    session.run(inputs).unwrap()
}

/// What errors are relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelativeTo {
    /// The largest magnitude of the output.
    Output,
    /// The largest magnitude of any value of the graph: for graphs whose outputs may be small
    /// differences of large values.
    AnyValue,
}

/// The largest finite magnitude.
fn magnitude(tensor: &interp::Tensor) -> f64 {
    match &tensor.data {
        interp::Data::Float(values) => {
            values.iter().filter(|x| x.is_finite()).fold(0.0, |m, x| x.abs().max(m))
        }
        interp::Data::Int(_) => 0.0,
    }
}

/// Largest error relative to `scale`; integers must be equal.
fn error(found: &Tensor, expected: &interp::Tensor, scale: f64) -> f64 {
    assert_eq!(found.shape(), expected.shape);
    assert_eq!(found.dtype(), expected.dtype);
    let found = to_reference(found);
    match (&found.data, &expected.data) {
        (interp::Data::Float(found), interp::Data::Float(expected)) => {
            let each = found.iter().zip(expected).map(|(f, e)| {
                if f == e || (f.is_nan() && e.is_nan()) { 0.0 } else { (f - e).abs() / scale }
            });
            each.fold(0.0, |m: f64, e| if e.is_nan() { f64::INFINITY } else { m.max(e) })
        }
        (found, expected) => {
            if found == expected {
                0.0
            } else {
                f64::INFINITY
            }
        }
    }
}

/// Compiles and interprets a graph given as text, for the host and for plain x86-64, on one and
/// two threads.
pub(crate) fn check(source: &str) {
    let graph = text::parse(source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{source}"));
    check_graph(&graph, RelativeTo::Output);
}

/// The same for the host, with direct convolution only.
pub(crate) fn check_without_winograd(source: &str) {
    let graph = text::parse(source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    let inputs: Vec<Tensor> =
        graph.inputs().iter().zip(1..).map(|(id, seed)| random(graph.ty(*id), seed)).collect();
    let options = CompileOptions {
        schedule: Preferences { winograd: false, ..Preferences::default() },
        ..CompileOptions::default()
    };
    let program = compile_with(&graph, &host(), &options);
    let outputs = Session::new(program, NonZeroUsize::MIN).unwrap().run(&inputs).unwrap();
    reference(&graph, &inputs, RelativeTo::Output).compare(&outputs, "direct convolution");
}

/// The interpreter's results, and how near others must come.
pub(crate) struct Reference {
    source: String,
    outputs: Vec<interp::Tensor>,
    /// The largest magnitude of any value.
    largest: f64,
    relative_to: RelativeTo,
}

/// Interprets a graph.
pub(crate) fn reference(graph: &Graph, inputs: &[Tensor], relative_to: RelativeTo) -> Reference {
    let source = text::print(graph);
    let inputs: Vec<_> = inputs.iter().map(to_reference).collect();
    let mut largest: f64 = 1e-30;
    let see = &mut |_, value: &interp::Tensor| largest = largest.max(magnitude(value));
    let outputs = interp::run_with(graph, &inputs, see);
    let outputs = outputs.unwrap_or_else(|e| panic!("{e}\n{source}"));
    Reference { source, outputs, largest, relative_to }
}

impl Reference {
    /// Checks results; `what` made them.
    pub(crate) fn compare(&self, outputs: &[Tensor], what: &str) {
        for (found, expected) in outputs.iter().zip(&self.outputs) {
            let scale = match self.relative_to {
                RelativeTo::Output => magnitude(expected).max(1e-30),
                RelativeTo::AnyValue => self.largest,
            };
            let error = error(found, expected, scale);
            assert!(error <= TOLERANCE, "error {error:e} of {what}\n{}", self.source);
        }
    }
}

pub(crate) fn check_graph(graph: &Graph, relative_to: RelativeTo) {
    let inputs: Vec<Tensor> =
        graph.inputs().iter().zip(1..).map(|(id, seed)| random(graph.ty(*id), seed)).collect();
    let expected = reference(graph, &inputs, relative_to);
    let mut targets = vec![host()];
    if cfg!(target_arch = "x86_64") {
        targets.push(Target::named(&cpu::host_triple(), "x86-64").unwrap());
        let avx2 = Target::named(&cpu::host_triple(), "x86-64-v3").unwrap();
        if cpu::missing_features(avx2.features(), &cpu::host_features()).is_empty() {
            targets.push(avx2);
        }
    }
    for target in &targets {
        let outputs = run(graph, target, 1, &inputs);
        expected.compare(&outputs, &format!("{target:?}"));
        let two = run(graph, target, 2, &inputs);
        assert!(outputs == two, "two threads differ\n{}", expected.source);
    }
    if let Some((target, tools)) = linked::foreign() {
        let program = Linked::new(&linked::artifact(graph, &target), tools, Link::Static);
        let outputs = program.run(0, &inputs);
        expected.compare(&outputs, &format!("{target:?}"));
        let two = program.run(2, &inputs);
        assert!(outputs == two, "two threads differ\n{}", expected.source);
    }
}
