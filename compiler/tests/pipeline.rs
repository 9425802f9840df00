//! What a trace holds of a model's way through the compiler.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use cardinal_compiler::codegen::{Listing, Target};
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::passes::TABLE;
use cardinal_compiler::pipeline::{Keep, Pipeline};
use cardinal_compiler::{Model, compile, ir};

const DIGITS: &[u8] = include_bytes!("../../examples/digits/mnist_resnest.onnx");

fn target(cpu: &str) -> Target {
    Target::named("x86_64-unknown-linux-gnu", cpu).unwrap()
}

#[test]
fn only_what_is_asked_for_is_kept() {
    let (model, options) = (Model::read(DIGITS).unwrap(), CompileOptions::default());
    let trace = Pipeline::new(&model, &options).passes(None).unwrap();
    assert_eq!(trace.passes.len(), TABLE.len());
    assert!(trace.passes.iter().all(|pass| pass.after.is_none() && pass.changes.is_empty()));
    assert!(trace.variants.is_empty());
    let until = Pipeline::new(&model, &options).passes(Some(TABLE[1].name)).unwrap();
    assert_eq!(until.passes.last().unwrap().pass.name, TABLE[1].name);
    assert!(Pipeline::new(&model, &options).passes(Some("magic")).is_err());
}

#[test]
fn changes_lead_from_each_graph_to_the_next() {
    let (model, options) = (Model::read(DIGITS).unwrap(), CompileOptions::default());
    let keep = Keep { graphs: true, changes: true };
    let trace = Pipeline::new(&model, &options).keeping(keep).passes(None).unwrap();
    let mut before = &model.graph;
    for pass in &trace.passes {
        let after = pass.after.as_ref().unwrap();
        let made: usize = pass.changes.iter().map(|change| change.made.len()).sum();
        let removed: usize = pass.changes.iter().map(|change| change.removed.len()).sum();
        assert_eq!(before.len() + made - removed, after.len(), "{}", pass.pass.name);
        assert_eq!(before == after, pass.changes.is_empty(), "{}", pass.pass.name);
        before = after;
    }
    assert!(*before == trace.graph);
    let attention = trace.passes.iter().find(|pass| pass.pass.name == "split_attention").unwrap();
    let change = &attention.changes[0];
    let is_attention = |node: &ir::Node| node.op.mnemonic() == "split_attention";
    assert!(change.made.iter().any(is_attention) && change.removed.len() > 10, "{change:?}");
    let by = change.by.as_ref().unwrap();
    assert!(change.made.iter().any(|node| node.name == *by), "{by}");
}

#[test]
fn each_target_has_its_plan_once_and_its_code_as_compiled() {
    let (model, options) = (Model::read(DIGITS).unwrap(), CompileOptions::default());
    let targets = ["x86-64-v4", "x86-64-v3", "x86-64-v3"].map(target);
    let trace = Pipeline::new(&model, &options).plans(&targets).unwrap();
    let cpus: Vec<String> = trace.variants.iter().map(|variant| variant.target.cpu()).collect();
    assert_eq!(cpus, ["x86-64-v3", "x86-64-v4"]);
    let compiled = compile(&model, &targets, &options).unwrap();
    for (variant, bytes) in trace.variants.iter().zip(&compiled.parts.code) {
        let code = variant.code(Listing { clif: false, assembly: true }).unwrap();
        assert!(code.bytes == bytes.bytes);
        assert!(code.functions.iter().all(|function| function.assembly.is_some()));
    }
}
