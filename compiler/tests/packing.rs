//! The weights section: the same bytes whoever packs it, each where the plan says.

#![allow(clippy::unwrap_used, reason = "a failing test is a panic")]

mod running;

use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::kernels;
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::plan::{Plan, text};
use cardinal_compiler::{compile, passes};
use cardinal_runtime::Artifact;
use running::files::{import, models};

const LINUX: &str = "x86_64-unknown-linux-gnu";

fn targets() -> Vec<Target> {
    ["x86-64", "x86-64-v3", "x86-64-v4"].map(|cpu| Target::named(LINUX, cpu).unwrap()).into()
}

fn artifact(model: &Model, threads: usize) -> Artifact {
    let threads = NonZeroUsize::new(threads).unwrap();
    let options = CompileOptions { threads, ..CompileOptions::default() };
    compile(model, &targets(), &options).unwrap().parts.to_artifact().unwrap()
}

fn plans(model: &Model) -> Vec<Plan> {
    let mut graph = model.graph.clone();
    passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    running::planned_together(&graph, &targets())
}

#[test]
fn an_artifact_does_not_depend_on_the_threads_that_pack_it() {
    for path in models("tiny").iter().chain(&models("branches")).step_by(5) {
        let model = import(path, None);
        let expected = artifact(&model, 1);
        for threads in [2, 5, 100_000] {
            assert!(
                artifact(&model, threads).as_bytes() == expected.as_bytes(),
                "{path:?} {threads}"
            );
        }
    }
}

/// Each constant is as long as its type says, and the section is these and zeros.
#[test]
fn constants_are_packed_where_plans_say() {
    for path in models("tiny") {
        let model = import(&path, None);
        let plans = plans(&model);
        let mut expected = vec![0; plans[0].weight_bytes];
        for constant in plans.iter().flat_map(|plan| &plan.constants) {
            let bytes = constant.data.bytes().unwrap();
            assert_eq!(bytes.len(), constant.ty.bytes(), "{path:?} {}", constant.name);
            expected[constant.offset..][..bytes.len()].copy_from_slice(&bytes);
        }
        assert!(artifact(&model, 2).weights() == expected, "{path:?}");
    }
}

/// The text has the hashes of packed bytes, so it differs where these do.
#[test]
fn hashes_are_of_packed_contents() {
    let source = |seed: u64| {
        format!(
            "graph @test {{\ninput %x f32[1, 32, 8, 8]\nweight %w f32[32, 32, 3, 3] rand({seed})\n\
             %y f32[1, 32, 8, 8] = conv(%x, %w)\nwindow 3x3 pad 1\noutput %y\n}}\n"
        )
    };
    let of = |seed: u64, winograd: bool| {
        let graph = cardinal_compiler::ir::text::parse(&source(seed)).unwrap();
        match winograd {
            true => running::planned(&graph, &targets()[1]),
            false => running::planned_directly(&graph, &targets()[1]),
        }
    };
    let (plan, other) = (of(1, false), of(2, false));
    assert_ne!(plan, other);
    assert_eq!(plan.constants, of(1, false).constants);
    assert_ne!(plan.constants[0].data, of(1, true).constants[0].data);
    let parsed = text::parse(&text::print(&plan), &kernels::registry()).unwrap();
    assert_eq!(parsed, plan);
    assert_eq!(parsed.constants[0].data.bytes(), None);
    let digest = blake3::hash(&plan.constants[0].data.bytes().unwrap());
    let head = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap());
    assert_eq!(plan.constants[0].data.hash(), head);
}
