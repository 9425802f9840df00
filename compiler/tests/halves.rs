//! Weights in half precision: how they are rounded, which are, and that nothing else changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::cell::Cell;
use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::error::Problem;
use cardinal_compiler::ir::{Graph, NodeId, Op, TensorType, Weight, text};
use cardinal_compiler::object::{self, Name};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::{CompileOptions, Precision};
use cardinal_compiler::relink::relink;
use cardinal_compiler::schedule::Preferences;
use cardinal_compiler::{Compiled, compile, passes};
use cardinal_runtime::{Artifact, Encoding, LoadError, Program, Session, Tensor};
use running::files::{import, models};
use running::random;

const LINUX: &str = "x86_64-unknown-linux-gnu";
const LEVELS: [&str; 3] = ["x86-64", "x86-64-v3", "x86-64-v4"];

fn model(graph: Graph) -> Model {
    let digest = *blake3::hash(text::print(&graph).as_bytes()).as_bytes();
    Model { graph, metadata: Vec::new(), digest, operators: Default::default() }
}

fn parsed(body: &str) -> Graph {
    let source = format!("graph @test {{\n{body}\n}}\n");
    text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"))
}

fn targets() -> Vec<Target> {
    LEVELS.map(|cpu| Target::named(LINUX, cpu).unwrap()).into()
}

fn compiled(model: &Model, weights: Precision, winograd: bool) -> Compiled {
    let schedule = Preferences { winograd, ..Preferences::default() };
    let options = CompileOptions { weights, schedule, ..CompileOptions::default() };
    compile(model, &targets(), &options).unwrap()
}

fn artifact(model: &Model, weights: Precision, winograd: bool) -> Artifact {
    compiled(model, weights, winograd).parts.to_artifact().unwrap()
}

/// The graph with other weights: `change` gets the name and the values of each of f32.
fn with_weights(graph: &Graph, change: impl Fn(&str, &mut [f32])) -> Graph {
    let mut copy = Graph::new(graph.name.clone());
    let mut ids: Vec<(NodeId, NodeId)> = Vec::new();
    let of = |ids: &[(NodeId, NodeId)], old| ids.iter().find(|(id, _)| *id == old).unwrap().1;
    for id in graph.topological() {
        let mut node = graph.node(id).clone();
        if let Op::Weight(weight) = &node.op
            && let Some(mut values) = weight.to_f32(&node.ty)
        {
            change(&node.name, &mut values);
            node.op = Op::Weight(Weight::from_f32(&values));
        }
        let operands = graph.operands(id).into_iter().map(|(slot, old)| (slot, of(&ids, old)));
        ids.push((id, copy.add(node, &operands.collect::<Vec<_>>())));
    }
    for output in graph.outputs() {
        copy.add_output(output.name.clone(), of(&ids, output.node));
    }
    copy
}

fn fused(mut graph: Graph) -> Graph {
    passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    graph
}

/// `y = x + w`, whose weight is stored in its own order.
fn addition(values: &[f32]) -> Model {
    let n = values.len();
    let body = format!(
        "input %x f32[{n}]\nweight %w f32[{n}] rand(1)\n%y f32[{n}] = add(%x, %w)\noutput %y"
    );
    model(with_weights(&parsed(&body), |_, w| w.copy_from_slice(values)))
}

// ---- rounding ------------------------------------------------------------------------------------

/// What a finite half stands for, by its definition.
fn value(half: u16) -> f64 {
    let (exponent, fraction) = (i32::from(half >> 10 & 0x1F), f64::from(half & 0x3FF) / 1024.0);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-14),
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if half >> 15 == 1 { -magnitude } else { magnitude }
}

const LARGEST: u16 = 0x7BFF;

/// Every finite half, what is halfway between two, and the floats beside that: each with the half that
/// is nearest, or that has an even last digit among two that are. All of it is exact.
fn hard_cases() -> Vec<(f32, u16)> {
    let mut cases = vec![(f32::from_bits(1), 0), (f32::MIN_POSITIVE, 0), (65504.0, LARGEST)];
    for half in 0..LARGEST {
        let exact = value(half) as f32;
        let middle = ((value(half) + value(half + 1)) / 2.0) as f32;
        assert_eq!(f64::from(middle) * 2.0, value(half) + value(half + 1));
        let even = half + half % 2;
        cases.push((exact, half));
        cases.push((middle.next_down(), half));
        cases.push((middle, even));
        cases.push((middle.next_up(), half + 1));
    }
    let negative: Vec<_> = cases.iter().map(|(float, half)| (-float, half | 0x8000)).collect();
    cases.extend(negative);
    cases
}

#[test]
fn halves_are_rounded_to_nearest_even() {
    let (floats, expected): (Vec<f32>, Vec<u16>) = hard_cases().into_iter().unzip();
    assert!(floats.len() > 250_000);
    let artifact = artifact(&addition(&floats), Precision::F16, true);
    let stored = artifact.weights().as_chunks().0.iter().map(|half| u16::from_le_bytes(*half));
    assert_eq!(artifact.weights().len(), expected.len() * 2);
    for ((half, expected), float) in stored.zip(&expected).zip(&floats) {
        assert_eq!(half, *expected, "{float:e} became {half:#06x}, not {expected:#06x}");
    }
    assert_eq!(artifact.loaded_weight_bytes(), floats.len() * 4);
}

#[test]
fn weights_beyond_half_precision_stay_as_they_are() {
    let with = |last: f32| {
        let mut values = vec![0.5; 2000];
        values[1999] = last;
        (compiled(&addition(&values), Precision::F16, true), values)
    };
    for last in [65504.0, -65504.0, 1e-30] {
        let (compiled, _) = with(last);
        assert!(compiled.beyond_half.is_empty());
        let artifact = compiled.parts.to_artifact().unwrap();
        assert_eq!(artifact.stored_in(Encoding::Half), 4000);
    }
    let too_large = [65504f32.next_up(), -1e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for last in too_large {
        let (compiled, values) = with(last);
        let [beyond] = &compiled.beyond_half[..] else { panic!("{last}") };
        assert_eq!(beyond.name, "w");
        assert!(beyond.magnitude == last.abs() || last.is_nan() && beyond.magnitude.is_nan());
        let artifact = compiled.parts.to_artifact().unwrap();
        assert_eq!(artifact.stored_in(Encoding::Half), 0);
        assert!(
            artifact.weights() == values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()
        );
    }
}

/// Two filters with values of so much; Winograd's transform makes more of them.
fn filters(first: f32, second: f32) -> Model {
    let graph = parsed(
        "input %x f32[1, 64, 28, 28]\n\
         weight %a f32[64, 64, 3, 3] rand(1)\nweight %b f32[64, 64, 3, 3] rand(2)\n\
         %u f32[1, 64, 28, 28] = conv(%x, %a)\nwindow 3x3 pad 1\n\
         %y f32[1, 64, 28, 28] = conv(%u, %b)\nwindow 3x3 pad 1\noutput %y",
    );
    model(with_weights(&graph, |name, values| match name {
        "a" => values.fill(first),
        _ => values.fill(second),
    }))
}

#[test]
fn no_transformed_weight_becomes_infinite() {
    for first in [100.0, 3e4, 5e4, 65504.0, -65504.0, 7e4] {
        for winograd in [true, false] {
            let compiled = compiled(&filters(first, 1.0), Precision::F16, winograd);
            let beyond: Vec<String> = compiled.beyond_half.into_iter().map(|b| b.name).collect();
            if !winograd || first == 100.0 {
                assert_eq!(beyond.is_empty(), first.abs() <= 65504.0, "{first}");
            }
            assert!(!beyond.contains(&"b".to_owned()));
            let artifact = compiled.parts.to_artifact().unwrap();
            let mut rest = artifact.weights();
            for run in &artifact.manifest().weight_runs {
                let encoding = Encoding::from_code(run.encoding).unwrap();
                let stored;
                (stored, rest) = rest.split_at(encoding.stored(run.bytes as usize));
                if encoding == Encoding::Half {
                    let halves = stored.as_chunks().0.iter().map(|half| u16::from_le_bytes(*half));
                    assert!(halves.into_iter().all(|half| half & 0x7FFF <= LARGEST), "{first}");
                }
            }
        }
    }
}

// ---- results -------------------------------------------------------------------------------------

fn inputs(artifact: &Artifact) -> Vec<Tensor> {
    let specs = artifact.inputs().iter().zip(1..);
    specs.map(|(spec, seed)| random(&TensorType::new(spec.dtype, &spec.shape), seed)).collect()
}

/// The outputs of a variant, where this machine can run it.
fn outputs(artifact: &Artifact, cpu: &str) -> Option<Vec<Tensor>> {
    let program = match Program::load_variant(artifact.clone(), Some(cpu)) {
        Ok(program) => program,
        Err(LoadError::MissingFeatures { .. } | LoadError::Target { .. }) => return None,
        Err(other) => panic!("{cpu}: {other}"),
    };
    let mut session = Session::new(program, NonZeroUsize::new(2).unwrap()).unwrap();
    Some(session.run(&inputs(artifact)).unwrap())
}

/// A half's value for a float, by search.
fn rounded(float: f32) -> f32 {
    let magnitude = f64::from(float.abs());
    let (mut low, mut high) = (0, LARGEST);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if value(middle) <= magnitude { low = middle } else { high = middle }
    }
    let (below, above) = (magnitude - value(low), value(high) - magnitude);
    let nearest = if below < above || below == above && low % 2 == 0 { low } else { high };
    (value(nearest) as f32).copysign(float)
}

/// Without Winograd's transform packing only moves weights, so rounding them before is the same.
#[test]
fn results_are_those_of_a_model_with_rounded_weights() {
    let (mut ran, mut all_halved) = (0, 0);
    for path in models("tiny").iter().chain(&models("branches")).step_by(3) {
        let graph = fused(import(path, None).graph);
        let halved = Cell::new(0);
        let before = with_weights(&graph, |_, values| {
            if size_of_val(values) >= 4096 {
                halved.set(halved.get() + 1);
                values.iter_mut().for_each(|value| *value = rounded(*value));
            }
        });
        all_halved += halved.get();
        let halves = artifact(&model(graph.clone()), Precision::F16, false);
        let expected = artifact(&model(before), Precision::F32, false);
        let exact = artifact(&model(graph), Precision::F32, false);
        for cpu in LEVELS {
            let Some(found) = outputs(&halves, cpu) else { continue };
            let bytes = |all: Option<Vec<Tensor>>| -> Vec<Vec<u8>> {
                all.unwrap().iter().map(|tensor| tensor.as_bytes().to_vec()).collect()
            };
            assert!(bytes(Some(found)) == bytes(outputs(&expected, cpu)), "{path:?} {cpu}");
            ran += usize::from(bytes(outputs(&exact, cpu)) != bytes(outputs(&expected, cpu)));
        }
    }
    assert!(all_halved > 20, "{all_halved}");
    assert!(ran > 0 || !cardinal_runtime::cpu::matches_host(LINUX), "rounding changes nothing");
}

#[test]
fn transformed_weights_give_nearly_the_same_results() {
    let model = model(parsed(
        "input %x f32[1, 64, 28, 28]\nweight %w f32[64, 64, 3, 3] rand(1)\n\
         %y f32[1, 64, 28, 28] = conv(%x, %w)\nwindow 3x3 pad 1\noutput %y",
    ));
    let [halves, exact] = [Precision::F16, Precision::F32].map(|p| artifact(&model, p, true));
    assert!(exact.weights().len() > 2 * 64 * 64 * 9 * 4, "it should be transformed");
    for cpu in LEVELS {
        let (Some(found), Some(expected)) = (outputs(&halves, cpu), outputs(&exact, cpu)) else {
            continue;
        };
        let (found, expected) = (found[0].as_f32().unwrap(), expected[0].as_f32().unwrap());
        let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
        let worst = found.iter().zip(expected).fold(0f32, |m, (f, e)| m.max((f - e).abs()));
        assert!(worst > 0.0 && worst < 3e-3 * scale, "{cpu}: {worst} of {scale}");
    }
}

// ---- artifacts -----------------------------------------------------------------------------------

/// A small ResNeSt with a stem, grouped convolutions, attention and a head.
fn small() -> Model {
    let paths = models("tiny");
    import(paths.iter().find(|p| p.to_string_lossy().contains("r2k2_avdfirst")).unwrap(), None)
}

#[test]
fn files_are_about_half_as_large() {
    let model = filters(0.5, 0.25);
    for winograd in [true, false] {
        let [f16, f32] = [Precision::F16, Precision::F32].map(|p| artifact(&model, p, winograd));
        assert_eq!(f16.loaded_weight_bytes(), f32.weights().len());
        let ratio = f16.weights().len() as f64 / f32.weights().len() as f64;
        assert!((0.5..0.501).contains(&ratio), "{ratio}");
        assert_eq!(f16.variants().len(), LEVELS.len());
        for i in 0..LEVELS.len() {
            assert!(f16.code(i) == f32.code(i), "code does not depend on how weights are stored");
        }
        assert_eq!(f16.manifest().weight_runs.len(), 1, "neighbours are merged");
    }
}

#[test]
fn an_artifact_does_not_depend_on_the_threads_that_pack_it() {
    for model in [small(), filters(0.5, 7e4)] {
        let with = |threads: usize| {
            let threads = NonZeroUsize::new(threads).unwrap();
            let weights = Precision::F16;
            let options = CompileOptions { threads, weights, ..CompileOptions::default() };
            compile(&model, &targets(), &options).unwrap().parts.to_artifact().unwrap()
        };
        let expected = with(1);
        for threads in [1, 4, 100_000] {
            assert!(with(threads).as_bytes() == expected.as_bytes(), "{threads}");
        }
    }
}

/// Whichever of the weights the old model and the new one have beyond half precision.
#[test]
fn relinking_gives_what_compiling_gives() {
    let models = [filters(0.5, 0.25), filters(1e5, 0.1), filters(0.3, 1e5), filters(1e6, 1e6)];
    for (i, old) in models.iter().enumerate() {
        let old = artifact(old, Precision::F16, true);
        for (j, new) in models.iter().enumerate() {
            let relinked = relink(new, &old, NonZeroUsize::new(3).unwrap()).unwrap();
            let relinked = relinked.parts.to_artifact().unwrap();
            let expected = artifact(new, Precision::F16, true);
            assert!(relinked.as_bytes() == expected.as_bytes(), "{i} {j}");
        }
    }
}

#[test]
fn objects_have_no_halves() {
    let target = &targets()[1..2];
    let of = |weights| {
        let options = CompileOptions { weights, ..CompileOptions::default() };
        let artifact = compile(&small(), target, &options).unwrap().parts.to_artifact().unwrap();
        object::build(&artifact, &Name::from_stem("small"))
    };
    assert!(of(Precision::F32).is_ok());
    let error = of(Precision::F16).unwrap_err();
    assert!(matches!(error.problem, Problem::Unsupported(_)), "{error}");
}

/// Copies of a real artifact, damaged all over: its manifest, code and halves, and cut short.
#[test]
fn damaged_copies_are_refused() {
    let intact = artifact(&small(), Precision::F16, true);
    assert!(intact.stored_in(Encoding::Half) > 0);
    let bytes = intact.as_bytes();
    for k in 0..300 {
        let at = (bytes.len() - 1) * k / 299;
        let mut copy = bytes.to_vec();
        copy[at] ^= 1 << (k % 8);
        assert!(Artifact::copy(&copy).is_err(), "bit {} of byte {at}", k % 8);
        assert!(Artifact::copy(&bytes[..at]).is_err(), "cut at {at}");
    }
    for at in 0..2048 {
        let mut copy = bytes[..].to_vec();
        copy[at] ^= 0x11;
        assert!(Artifact::copy(&copy).is_err(), "byte {at}");
    }
    assert!(Artifact::copy(bytes).is_ok());
}
