//! Compiled models say of themselves what their .onnx would: stages, steps, and what differs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::path::Path;

use common::Folder;
use serde_json::Value;

const QUICK: &str = "--iterations 2 --warmup 1";

/// The digits model, and as an artifact for two CPUs.
fn folder() -> Folder {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx");
    let folder = Folder::new();
    fs::copy(model, folder.path("m.onnx")).unwrap();
    folder.run("compile m.onnx -o m.cardinal --cpu x86-64-v3,x86-64-v4").succeeds();
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn stages_are_those_of_the_model() {
    let folder = folder();
    folder.run("compile m.onnx -o plain.cardinal --cpu x86-64-v3").succeeds();
    for what in [
        "--stage fused",
        "--stage fused --format json",
        "--stage fused --format dot",
        "--stage schedule",
        "--stage plan",
        "--stage plan --format json",
        "--stage asm",
        "--stage asm --step #3",
        "--format svg",
        "--format svg --node split_attention",
    ] {
        let of =
            |file: &str| folder.run(&format!("inspect {file} --cpu x86-64-v3 {what}")).succeeds();
        assert!(of("plain.cardinal") == of("m.onnx"), "{what}");
    }
    let of =
        |cpu: &str| folder.run(&format!("inspect m.cardinal --stage schedule {cpu}")).succeeds();
    assert!(of("--cpu x86-64-v3").contains("machine   avx2"));
    assert!(of("--cpu x86-64-v4").contains("machine   avx512"));
    let said = folder.run("inspect m.cardinal --stage plan --cpu x86-64").fails_with(2);
    assert!(said.contains("it has code for x86-64-v3, x86-64-v4"), "{said}");
    for stage in ["import", "clif"] {
        let said = folder.run(&format!("inspect m.cardinal --stage {stage}")).fails_with(2);
        assert!(said.contains("compiled already"), "{said}");
    }
    let schedule =
        json(&folder.run("inspect m.cardinal --stage schedule --format json").succeeds());
    assert_eq!(schedule["schema"], "cardinal.schedule/v1");
}

#[test]
fn relinking_keeps_it_true() {
    let folder = folder();
    folder.run("relink --weights m.onnx m.cardinal -o n.cardinal").succeeds();
    let bytes = |name: &str| fs::read(folder.path(name)).unwrap();
    assert!(bytes("m.cardinal") == bytes("n.cardinal"));
}

#[test]
fn artifacts_are_profiled_by_step() {
    let folder = folder();
    let steps = |report: &Value| -> Vec<[String; 3]> {
        let steps = report["steps"].as_array().unwrap();
        let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
        steps.iter().map(|s| ["name", "kernel", "algorithm"].map(|key| text(s, key))).collect()
    };
    let of = |file: &str| {
        json(&folder.run(&format!("profile {file} --isa x86-64-v3 --json {QUICK}")).succeeds())
    };
    let (artifact, model) = (of("m.cardinal"), of("m.onnx"));
    assert_eq!(steps(&artifact), steps(&model));
    let key = |report: &Value| report["steps"][0]["multiply_adds"].clone();
    assert_eq!(key(&artifact), key(&model));
    let bench = format!("bench m.cardinal --isa x86-64-v3 --steps --json {QUICK}");
    let bench = json(&folder.run(&bench).succeeds());
    let names = |report: &Value| -> Vec<Value> {
        report["steps"].as_array().unwrap().iter().map(|step| step["name"].clone()).collect()
    };
    assert_eq!(names(&bench), names(&artifact));
}

#[test]
fn things_of_artifacts_are_explained() {
    let folder = folder();
    folder.run("compile m.onnx -o plain.cardinal --cpu x86-64-v3").succeeds();
    let of = |file: &str| {
        json(&folder.run(&format!("explain {file} #5 --asm --json --cpu x86-64-v3")).succeeds())
    };
    let (artifact, model) = (of("plain.cardinal"), of("m.onnx"));
    for key in ["name", "kind", "fused", "steps", "functions"] {
        assert_eq!(artifact[key], model[key], "{key}");
    }
    assert!(artifact["rewrites"].is_null() && !model["rewrites"].is_null());
    let text = folder.run("explain m.cardinal #5").succeeds();
    assert!(text.contains("an artifact does not say how"), "{text}");
}

#[test]
fn two_models_are_compared() {
    let folder = folder();
    let same = folder.run("inspect m.cardinal --against m.cardinal").succeeds();
    let all = ["what it says of itself", "fused", "schedule", "plan"];
    assert_eq!(same, all.map(|what| format!("; {what}: the same\n")).concat());
    folder
        .run("compile m.onnx -o direct.cardinal --cpu x86-64-v3,x86-64-v4 --no-winograd")
        .succeeds();
    let diff =
        folder.run("inspect m.cardinal --against direct.cardinal --cpu x86-64-v3").succeeds();
    assert!(diff.contains("; fused: the same\n"), "{diff}");
    for part in [
        "-winograd         allowed",
        "+winograd         off",
        "--- m.cardinal: schedule",
        "+++ direct.cardinal: plan",
    ] {
        assert!(diff.lines().any(|line| line == part), "{part}: {diff}");
    }
    assert!(diff.contains("+    by        direct"), "{diff}");
    let diff =
        folder.run("inspect m.onnx --against direct.cardinal --cpu x86-64-v3 --stage schedule");
    let diff = diff.succeeds();
    assert!(diff.starts_with("--- m.onnx: schedule\n+++ direct.cardinal: schedule\n"), "{diff}");
    folder.run("inspect m.cardinal --against no.cardinal").fails_with(5);
    folder.run("inspect m.cardinal --against m.onnx --format json").fails_with(2);
}
