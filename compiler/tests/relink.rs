//! Other weights for compiled code: byte for byte what compiling gives, or a refusal that says why.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::error::{Error, Problem};
use cardinal_compiler::interp;
use cardinal_compiler::ir::{Graph, text};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::plan::weights::PackedWeights;
use cardinal_compiler::relink::{Difference, import_options};
use cardinal_compiler::schedule::Preferences;
use cardinal_compiler::{Compiled, compile};
use cardinal_runtime::{Artifact, ArtifactParts, Program, Session, Tensor, cpu};
use running::files::{import, models, stem};
use running::{TOLERANCE, random, to_reference};

fn model(graph: Graph) -> Model {
    let digest = *blake3::hash(text::print(&graph).as_bytes()).as_bytes();
    let metadata = vec![("made".into(), format!("{digest:?}"))];
    Model { graph, metadata, digest, operators: Default::default() }
}

fn parsed(body: &str) -> Model {
    let source = format!("graph @test {{\n{body}\n}}\n");
    model(text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}")))
}

fn relink(new: &Model, old: &Artifact) -> Result<Compiled, Error> {
    cardinal_compiler::relink::relink(new, old, NonZeroUsize::new(3).unwrap())
}

fn parts(model: &Model) -> ArtifactParts<PackedWeights> {
    let cpus = ["x86-64", "x86-64-v3", "x86-64-v4"];
    let target = |cpu: &&str| Target::named("x86_64-unknown-linux-gnu", cpu).unwrap();
    let targets: Vec<Target> = cpus.iter().map(target).collect();
    compile(model, &targets, &CompileOptions::default()).unwrap().parts
}

fn compiled(model: &Model) -> Artifact {
    parts(model).to_artifact().unwrap()
}

/// The model with other f32 weights, given the seed of the first.
fn with_seeds(original: &Model, mut seed: u64) -> Model {
    let mut other = String::new();
    for line in text::print(&original.graph).lines() {
        match line.rsplit_once('#') {
            Some((weight, _)) if line.contains("weight ") && line.contains(" f32[") => {
                other += &format!("{weight}rand({seed})\n");
                seed += 1;
            }
            _ => other += &format!("{line}\n"),
        }
    }
    model(text::parse(&other).unwrap_or_else(|e| panic!("{e}\n{other}")))
}

#[test]
fn relinking_gives_what_compiling_gives() {
    for path in models("tiny").iter().chain(&models("branches")).step_by(3) {
        let old = import(path, None);
        let new = with_seeds(&old, 1000);
        let artifact = compiled(&old);
        let expected = compiled(&new);
        assert!(artifact.weights() != expected.weights());
        let relinked = relink(&new, &artifact).unwrap_or_else(|e| panic!("{}: {e}", stem(path)));
        assert!(relinked.parts.to_artifact().unwrap().as_bytes() == expected.as_bytes());
    }
}

/// Two convolutions, of which the weights of the old model are equal and those of the new are not:
/// nothing may be shared because it happened to be equal.
#[test]
fn weights_that_were_equal_may_differ() {
    let twins = |first: u64, second: u64| {
        parsed(&format!(
            "input %x f32[1, 16, 8, 8]\n\
             weight %a f32[16, 16, 3, 3] rand({first})\nweight %b f32[16, 16, 3, 3] rand({second})\n\
             %u f32[1, 16, 8, 8] = conv(%x, %a)\nwindow 3x3 pad 1\nthen relu\n\
             %y f32[1, 16, 8, 8] = conv(%u, %b)\nwindow 3x3 pad 1\noutput %y"
        ))
    };
    let (old, new) = (twins(7, 7), twins(7, 8));
    let relinked = relink(&new, &compiled(&old)).unwrap().parts.to_artifact().unwrap();
    assert!(relinked.as_bytes() == compiled(&new).as_bytes());
    if cpu::matches_host("x86_64-unknown-linux-gnu") {
        check_results(&new.graph, relinked);
    }
    // And the other way round.
    let back = relink(&old, &compiled(&new)).unwrap().parts.to_artifact().unwrap();
    assert!(back.as_bytes() == compiled(&old).as_bytes());
}

/// The artifact's results are the interpreter's of the graph.
fn check_results(graph: &Graph, artifact: Artifact) {
    let inputs: Vec<Tensor> =
        graph.inputs().iter().zip(1..).map(|(id, seed)| random(graph.ty(*id), seed)).collect();
    let references: Vec<_> = inputs.iter().map(to_reference).collect();
    let expected = interp::run(graph, &references).unwrap();
    let program = Program::load(artifact).unwrap();
    let found = Session::new(program, NonZeroUsize::MIN).unwrap().run(&inputs).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        let values = |tensor: &interp::Tensor| match &tensor.data {
            interp::Data::Float(values) => values.clone(),
            interp::Data::Int(_) => panic!("not f32"),
        };
        let (found, expected) = (values(&to_reference(found)), values(expected));
        let scale = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
        let worst = found.iter().zip(&expected).fold(0f64, |m, (f, e)| m.max((f - e).abs()));
        assert!(worst <= TOLERANCE * scale, "{worst} of {scale}");
    }
}

const BASE: &str = "input %x f32[1, 16, 8, 8]\nweight %w f32[16, 16, 1, 1] rand(1)\n\
    weight %b f32[16] rand(2)\n\
    %y f32[1, 16, 8, 8] = conv(%x, %w, %b)\nwindow 1x1\nthen relu\noutput %y";

fn refused(new: &Model, old: &Artifact) -> Difference {
    let error = relink(new, old).err().unwrap();
    assert_eq!(error.remedy.as_deref(), Some("compile the model instead"));
    let Problem::OtherGraph(difference) = error.problem else { panic!("{error}") };
    difference
}

#[test]
fn other_graphs_are_refused_by_what_differs() {
    let old = compiled(&parsed(BASE));
    assert!(relink(&parsed(BASE), &old).is_ok());
    let change = |from: &str, to: &str| {
        assert!(BASE.contains(from), "{from}");
        refused(&parsed(&BASE.replace(from, to)), &old).to_string()
    };
    let step = "step 2 of its plan for x86-64 is another: `step %y = blocked_conv(";
    for (from, to) in [("then relu", "then sigmoid"), ("conv(%x, %w, %b)", "conv(%x, %w)")] {
        let said = change(from, to);
        assert!(said.starts_with(step), "{said}");
    }
    let said = change("\noutput %y", "\n%z f32[1, 16, 8, 8] = tanh(%y)\noutput %z");
    assert_eq!(
        said,
        "the model has output `z` f32[1, 16, 8, 8], and the artifact output `y` f32[1, 16, 8, 8]"
    );
    let said = change("16, 8, 8]", "16, 8, 9]");
    assert!(said.starts_with("the model has input `x` f32[1, 16, 8, 9], and"), "{said}");
    let said = change("input %x", "input %more f32[2]\ninput %x");
    assert!(said.starts_with("the model has input `more` f32[2], and"), "{said}");
    let said = change("\noutput %y", "\noutput %y\noutput %y as \"second\"");
    assert!(said.contains("second") && said.contains("no such"), "{said}");
}

/// A bound of a clip is part of the code, so another one is other code, however near.
#[test]
fn numbers_that_became_code_are_part_of_the_structure() {
    let of = |bound: &str| {
        parsed(&format!(
            "input %x f32[64]\n%y f32[64] = relu(%x)\nthen clip 0.0 {bound}\noutput %y"
        ))
    };
    let old = compiled(&of("6.0"));
    assert!(relink(&of("6.0"), &old).is_ok());
    let difference = refused(&of("6.0000005"), &old);
    assert!(matches!(difference, Difference::Step { at: 1, .. }), "{difference}");
}

#[test]
fn more_steps_and_fewer_are_refused() {
    let chain = |steps: usize| {
        let mut body = String::from("input %v0 f32[4, 6]\n");
        for i in 1..=steps {
            body += &format!("%v{i} f32[4, 6] = softmax(%v{})\naxis 1\n", i - 1);
        }
        body.replace(&format!("%v{steps} "), "%y ") + "output %y"
    };
    let old = compiled(&parsed(&chain(3)));
    for other in [2, 4] {
        let difference = refused(&parsed(&chain(other)), &old);
        let named = matches!(difference, Difference::Step { .. } | Difference::Steps { .. });
        assert!(named, "{difference}");
    }
}

#[test]
fn the_model_is_planned_with_the_artifacts_options() {
    let of = |seed: u64| {
        parsed(&format!(
            "input %x f32[1, 64, 28, 28]\nweight %w f32[64, 64, 3, 3] rand({seed})\n\
             %y f32[1, 64, 28, 28] = conv(%x, %w)\nwindow 3x3 pad 1\noutput %y"
        ))
    };
    let compiled = |seed: u64, winograd: bool| {
        let target = Target::named("x86_64-unknown-linux-gnu", "x86-64-v3").unwrap();
        let schedule = Preferences { winograd, ..Preferences::default() };
        let options = CompileOptions { schedule, ..CompileOptions::default() };
        compile(&of(seed), &[target], &options).unwrap().parts.to_artifact().unwrap()
    };
    assert_ne!(compiled(1, true).weights().len(), compiled(1, false).weights().len());
    for winograd in [true, false] {
        let relinked = relink(&of(2), &compiled(1, winograd)).unwrap().parts.to_artifact().unwrap();
        assert!(relinked.as_bytes() == compiled(2, winograd).as_bytes());
    }
}

/// A 1×1 convolution of many channels, which Strassen's products are for on Zen 4 and not on all CPUs
/// with AVX-512.
fn pointwise(seed: u64) -> Model {
    parsed(&format!(
        "input %x f32[1, 1024, 14, 14]\nweight %w f32[256, 1024, 1, 1] rand({seed})\n\
         %a f32[1, 1024, 14, 14] = relu(%x)\n%y f32[1, 256, 14, 14] = conv(%a, %w)\nwindow 1x1\n\
         output %y"
    ))
}

#[test]
fn the_model_is_planned_for_the_artifacts_cores() {
    let compiled = |seed: u64, cpus: &[&str]| {
        let target = |cpu: &&str| Target::named("x86_64-unknown-linux-gnu", cpu).unwrap();
        let targets: Vec<Target> = cpus.iter().map(target).collect();
        let parts = compile(&pointwise(seed), &targets, &CompileOptions::default()).unwrap().parts;
        parts.to_artifact().unwrap()
    };
    let [any, zen] = [["x86-64-v4"], ["znver4"]].map(|cpus| compiled(1, &cpus));
    assert!(any.weights().len() < zen.weights().len());
    for cpus in [&["znver4"][..], &["x86-64-v4", "znver4"], &["znver5", "x86-64-v3@znver4"]] {
        let relinked = relink(&pointwise(2), &compiled(1, cpus)).unwrap();
        let relinked = relinked.parts.to_artifact().unwrap();
        assert!(relinked.as_bytes() == compiled(2, cpus).as_bytes(), "{cpus:?}");
    }
}

#[test]
fn artifacts_of_other_makers_are_refused() {
    let changed = |change: fn(&mut ArtifactParts<PackedWeights>)| {
        let mut parts = parts(&parsed(BASE));
        change(&mut parts);
        refused(&parsed(BASE), &parts.to_artifact().unwrap())
    };
    let difference = changed(|p| p.code[0].variant.core = "znver9".into());
    assert!(matches!(difference, Difference::Cpu(_)), "{difference}");
    let difference = changed(|p| p.code[0].variant.core = "znver4".into());
    assert!(matches!(difference, Difference::Cpu(_)), "{difference}");
    let difference = changed(|p| p.manifest.compiler_version = "0.0.9".into());
    assert!(matches!(difference, Difference::Version { .. }), "{difference}");
    let difference = changed(|p| p.code[1].variant.structure.clear());
    assert_eq!(difference, Difference::Unstated("x86-64-v3".into()));
    let difference = changed(|p| p.code[2].variant.structure[0] ^= 1);
    assert_eq!(difference, Difference::Memory("x86-64-v4".into()));
    let difference = changed(|p| p.code[2].variant.cpu_features.push("zzz".into()));
    assert_eq!(difference, Difference::Cpu("x86-64-v4".into()));
}

#[test]
fn the_model_is_read_with_the_artifacts_shapes() {
    let options = import_options(&compiled(&parsed(BASE)));
    assert_eq!(options.batch, None);
    assert_eq!(options.shapes.into_iter().collect::<Vec<_>>(), [("x".into(), vec![1, 16, 8, 8])]);
}
