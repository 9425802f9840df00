//! Portable bits: code for every CPU with fused multiply-adds gives the same results, to the bit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use cardinal_compiler::codegen::Target;
use cardinal_compiler::compile;
use cardinal_compiler::error::Problem;
use cardinal_compiler::ir::{TensorType, text};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::relink::relink;
use cardinal_compiler::schedule::Preferences;
use cardinal_runtime::{Artifact, LoadError, Program, Session, Tensor};
use running::files::{import, models, stem};
use running::linked::{Link, Linked, foreign};
use running::random;

/// The CPUs of this architecture that have the same bits.
const CPUS: [&str; 2] = ["x86-64-v3", "x86-64-v4"];

fn target(cpu: &str) -> Target {
    Target::named("x86_64-unknown-linux-gnu", cpu).unwrap()
}

fn options() -> CompileOptions {
    let schedule = Preferences { portable_bits: true, ..Preferences::default() };
    CompileOptions { schedule, ..CompileOptions::default() }
}

fn artifact(model: &Model, target: Target) -> Artifact {
    compile(model, &[target], &options()).unwrap().parts.to_artifact().unwrap()
}

/// Every small network and block, and the digits.
fn all() -> Vec<PathBuf> {
    let digits =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx");
    models("tiny").into_iter().chain(models("branches")).chain([digits]).collect()
}

fn inputs(model: &Model) -> Vec<Tensor> {
    let types = model.graph.inputs().iter().zip(1..);
    let random = |(id, seed): (&_, u64)| {
        let ty = model.graph.ty(*id);
        random(&TensorType::new(ty.dtype, &ty.shape()), seed)
    };
    types.map(random).collect()
}

/// The results on this machine; nothing, and a word about it, where it lacks what the code needs.
fn run(artifact: Artifact, inputs: &[Tensor], threads: usize) -> Option<Vec<Tensor>> {
    let program = match Program::load(artifact) {
        Ok(program) => program,
        Err(LoadError::MissingFeatures { .. } | LoadError::Target { .. }) => return None,
        Err(other) => panic!("{other}"),
    };
    let mut session = Session::new(program, NonZeroUsize::new(threads).unwrap()).unwrap();
    Some(session.run(inputs).unwrap())
}

#[test]
fn networks_have_the_same_bits_on_every_cpu() {
    for path in all() {
        let model = import(&path, None);
        let inputs = inputs(&model);
        let mut found: Vec<(String, Vec<Tensor>)> = Vec::new();
        for (cpu, threads) in CPUS.into_iter().zip([1, 2]) {
            match run(artifact(&model, target(cpu)), &inputs, threads) {
                Some(results) => found.push((cpu.into(), results)),
                None => println!("SKIPPED {} on {cpu}: this machine is none", stem(&path)),
            }
        }
        if let Some((target, tools)) = foreign() {
            let linked = Linked::new(&artifact(&model, target), tools, Link::Static);
            found.push(("aarch64".into(), linked.run(0, &inputs)));
        }
        for (cpu, results) in found.get(1..).unwrap_or_default() {
            for (a, b) in results.iter().zip(&found[0].1) {
                let same = a.as_bytes() == b.as_bytes();
                assert!(same, "{}: {cpu} differs from {}", stem(&path), found[0].0);
            }
        }
    }
}

/// Functions that register tiles apply to what they have stored.
#[test]
fn finished_tiles_have_the_same_bits_on_every_cpu() {
    let source = "graph @g {\ninput %x f32[1, 32, 5, 7]\nweight %w f32[48, 32, 1, 1] rand(1)\n\
                  weight %b f32[48] rand(2)\n\
                  %s f32[1, 48, 5, 7] = conv(%x, %w, %b)\nwindow 1x1\nthen swish\n\
                  %g f32[1, 48, 5, 7] = conv(%x, %w)\nwindow 1x1\nthen gelu\n\
                  output %s\noutput %g\n}";
    let graph = text::parse(source).unwrap();
    let model =
        Model { graph, metadata: Vec::new(), digest: [0; 32], operators: Default::default() };
    let inputs = inputs(&model);
    let each = CPUS.into_iter().filter_map(|cpu| run(artifact(&model, target(cpu)), &inputs, 1));
    let found: Vec<Vec<Tensor>> = each.collect();
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
}

/// The layers of the full-size network: what is chosen for them is one choice.
#[test]
fn what_changes_bits_is_chosen_alike_at_full_size() {
    let path = models("graphs").into_iter().next();
    let Some(path) = path else { return println!("SKIPPED: there are no full-size graphs here") };
    let graph = running::files::import_unfilled(&path).graph;
    let preferences = options().schedule;
    let schedules = CPUS.map(|cpu| {
        let machine = target(cpu).machine();
        let schedule = cardinal_compiler::kernels::schedule(&graph, &machine, &preferences);
        let layers = schedule.layers(&graph).into_iter();
        layers.map(|layer| (layer.name, layer.taken.algorithm().to_owned())).collect::<Vec<_>>()
    });
    assert_eq!(schedules[0], schedules[1]);
    assert!(schedules[0].iter().all(|(_, algorithm)| algorithm == "direct"));
}

#[test]
fn a_cpu_without_fused_multiply_adds_is_refused() {
    let model = import(&all()[0], None);
    let error = compile(&model, &[target("x86-64-v2")], &options()).unwrap_err();
    assert!(matches!(error.problem, Problem::Target(_)), "{error}");
    assert!(error.to_string().contains("fused multiply-add"), "{error}");
}

#[test]
fn relinking_plans_as_the_artifact_was_planned() {
    let model = import(&all()[0], None);
    let made = artifact(&model, target("x86-64-v3"));
    let one = NonZeroUsize::MIN;
    let relinked = relink(&model, &made, one).unwrap().parts.to_artifact().unwrap();
    assert!(relinked.as_bytes() == made.as_bytes());
    assert!(made.manifest().portable_bits);
}
