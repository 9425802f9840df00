//! `verify --layers` and `verify --json`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::path::Path;

use common::Folder;
use serde_json::Value;

fn folder() -> Folder {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx");
    let folder = Folder::new();
    fs::copy(model, folder.path("m.onnx")).unwrap();
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn rounding_explains_every_operator() {
    let folder = folder();
    for options in ["--cpu x86-64-v3", "--cpu x86-64-v3 --no-winograd --batch 3"] {
        let report = folder.run(&format!("verify m.onnx --layers --json {options}")).succeeds();
        let report = json(&report);
        assert_eq!(
            (&report["schema"], &report["same"]),
            (&"cardinal.verify/v1".into(), &true.into())
        );
        let layers = report["layers"].as_array().unwrap();
        let graph = json(&folder.run("inspect m.onnx --format json").succeeds());
        let nodes = graph["nodes"].as_array().unwrap();
        let of = |op: &str| nodes.iter().filter(|node| node["op"] == op).count();
        let computed = nodes.len() - of("input") - of("weight");
        assert_eq!(layers.len(), computed);
        let ratios = layers.iter().filter_map(|layer| layer["ratio"].as_f64());
        let worst = ratios.fold(0.0, f64::max);
        // An estimate that is far above all errors would explain anything.
        assert!((0.05..4.0).contains(&worst), "{worst}");
        assert!(layers.iter().all(|layer| layer["explained"] == true), "{report}");
    }
    let text = folder.run("verify m.onnx --layers").succeeds();
    assert!(text.contains("rounding explains the errors of all 33 operators\n"), "{text}");
}

#[test]
fn outputs_are_numbers() {
    let folder = folder();
    let report = json(&folder.run("verify m.onnx --json").succeeds());
    let output = &report["outputs"][0];
    assert_eq!(output["type"], "f32[1, 10]");
    assert!(output["max_abs_error"].as_f64().unwrap() < 1e-4);
    assert_eq!(output["argmax"], json("{\"agree\": 1, \"of\": 1}"));
    assert!(report["layers"].is_null());
    let strict = folder.run("verify m.onnx --json --rtol 0 --atol 0");
    assert_eq!(strict.code, 4, "{strict:?}");
    assert_eq!(json(&strict.stdout)["outputs"][0]["same"], false);
}

#[test]
fn artifacts_have_no_weights_of_operators() {
    let folder = folder();
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    let said = folder.run("verify m.cardinal --layers").fails_with(2);
    assert!(said.contains("give the .onnx"), "{said}");
}
