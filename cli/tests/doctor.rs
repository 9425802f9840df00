//! `cardinal doctor`: what it says of models that compile, and of some that do not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::path::Path;

use common::Folder;
use common::onnx::{Tensor, node, write};
use serde_json::Value;

fn here(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn digits() -> Folder {
    Folder::new().file("m.onnx", here("../examples/digits/mnist_resnest.onnx"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_model_that_compiles() {
    let folder = digits();
    let found = json(&folder.run("doctor m.onnx --json").succeeds());
    assert_eq!(found["schema"], "cardinal.doctor/v2");
    assert_eq!((&found["compiles"], &found["problem"]), (&Value::Bool(true), &Value::Null));
    let operators = found["operators"].as_array().unwrap();
    assert!(operators.iter().all(|operator| operator["supported"] == true), "{operators:?}");
    let convs = operators.iter().find(|operator| operator["name"] == "Conv").unwrap();
    // Three of the stem, and of each of four blocks three, two of attention and one beside them.
    assert_eq!(convs["count"], 3 + 4 * 6);
    let attention = found["attention"].as_object().unwrap();
    assert_eq!(attention.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 4);
    let plan = json(&folder.run("inspect m.onnx --stage plan --format json").succeeds());
    for (found_key, plan_key) in [
        ("weight_bytes", "weight_bytes"),
        ("arena_bytes", "arena_bytes"),
        ("worker_bytes", "worker_bytes"),
    ] {
        assert_eq!(found[found_key], plan[plan_key]);
    }
    assert_eq!(found["inputs"][0]["fixed_to"], serde_json::json!([1, 1, 28, 28]));
    assert!(found["images"].is_string(), "{found}");
}

/// A 1×1 convolution of two channels to three on 4×5 pixels: its multiply-adds and weights are counted by hand.
#[test]
fn work_and_unusual_weights_are_counted() {
    let folder = Folder::new();
    let nodes = vec![node("Conv", &["x", "w"], "y")];
    let value = |_, i: i64| [f32::NAN, f32::INFINITY, 1e-40, 1e-41, 1.0, -2.0][i as usize];
    let weights = [Tensor::new("w", &[3, 2, 1, 1])];
    write(&folder.path("m.onnx"), &[1, 2, 4, 5], nodes, &weights, value).unwrap();
    let found = json(&folder.run("doctor m.onnx --json").succeeds());
    assert_eq!((&found["multiply_adds"], &found["parameters"]), (&120.into(), &6.into()));
    let expected = serde_json::json!([{ "name": "w", "nan": 1, "infinite": 1, "denormal": 2 }]);
    assert_eq!(found["unusual_weights"], expected);
    let text = folder.run("doctor m.onnx").succeeds();
    assert!(text.contains("1 NaN, 1 infinite, 2 denormal"), "{text}");
}

#[test]
fn every_operator_that_is_not_supported_is_listed() {
    let folder = Folder::new();
    let nodes = vec![
        node("NonZero", &["x"], "a"),
        node("Relu", &["x"], "b"),
        node("Telepathy", &["b"], "c"),
        node("RandomNormalLike", &["c"], "d"),
        node("NonZero", &["d"], "e"),
    ];
    write(&folder.path("m.onnx"), &[1, 4], nodes, &[], |_, _| 0.0).unwrap();
    let ran = folder.run("doctor m.onnx --json");
    assert_eq!(ran.code, 3, "{ran:?}");
    let found = json(&ran.stdout);
    assert_eq!(found["compiles"], false);
    let operators = found["operators"].as_array().unwrap();
    let refused = operators.iter().filter(|operator| operator["supported"] == false);
    let refused: Vec<(&str, &Value)> =
        refused.map(|o| (o["name"].as_str().unwrap(), &o["nodes"])).collect();
    let expected = [
        ("NonZero", serde_json::json!(["NonZero#0", "NonZero#4"])),
        ("RandomNormalLike", serde_json::json!(["RandomNormalLike#3"])),
        ("Telepathy", serde_json::json!(["Telepathy#2"])),
    ];
    assert_eq!(refused, expected.each_ref().map(|(name, nodes)| (*name, nodes)));
    assert!(operators.iter().all(|o| o["supported"] == true || o["help"].is_string()));
    let text = folder.run("doctor m.onnx");
    assert_eq!(text.code, 3);
    for word in
        ["3 of its operators", "NonZero#4", "Telepathy", "export the model in inference mode"]
    {
        assert!(text.stdout.contains(word), "{word}: {}", text.stdout);
    }
}

/// The advice is that of compiling.
#[test]
fn what_compiling_refuses_is_refused_and_the_other_way_round() {
    for (model, help) in [("unsupported.onnx", ""), ("open.onnx", "--shape"), ("fixed.onnx", "")] {
        let folder = Folder::new().file(model, here(&format!("tests/models/{model}")));
        let compiles = folder.run(&format!("compile {model}"));
        let found = folder.run(&format!("doctor {model}"));
        assert_eq!(found.code, if compiles.code == 0 { 0 } else { 3 }, "{found:?}");
        assert!(found.stderr.contains(help) && found.stdout.contains("verdict"), "{found:?}");
    }
}

#[test]
fn what_is_no_model_of_onnx_is_said_to_be_something_else() {
    for (name, bytes, says) in [
        ("m.pt", &b"PK\x03\x04 archive"[..], "PyTorch"),
        ("m.tflite", b"\0\0\0\0TFL3", "TensorFlow Lite"),
        ("m.onnx", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("e.onnx", b"", "empty"),
        ("r.onnx", b"\x08\x07\xff\xff\xff", "ONNX"),
    ] {
        let said = Folder::new().file(name, bytes).run(&format!("doctor {name}")).fails_with(3);
        assert!(said.contains(says), "{said}");
    }
    let folder = digits();
    folder.run("compile m.onnx").succeeds();
    let said = folder.run("doctor m.cardinal").fails_with(2);
    assert!(said.contains("compiled already"), "{said}");
}

#[test]
fn text_fits_80_columns_and_drives_no_terminal() {
    for (name, bytes) in [
        ("m.onnx", here("../examples/digits/mnist_resnest.onnx")),
        ("names.onnx", here("tests/models/names.onnx")),
        ("u.onnx", here("tests/models/unsupported.onnx")),
    ] {
        let ran = Folder::new().file(name, bytes).run(&format!("doctor {name}"));
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
        assert!(ran.stdout.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", ran.stdout);
    }
}
