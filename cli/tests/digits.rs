//! The trained digits model through the command line: every stored prediction.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

/// File, label and the class that the model's author saw it predict.
fn labels() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(digits().join("labels.txt")).unwrap();
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let rows = lines.map(|l| {
        let words: Vec<&str> = l.split_whitespace().collect();
        (words[0].to_owned(), words[1].to_owned(), words[2].to_owned())
    });
    rows.collect()
}

/// The first class that `cardinal run --top 1` prints for each image.
fn predictions(model: &Path, images: &[PathBuf]) -> Vec<String> {
    let run = Command::new(env!("CARGO_BIN_EXE_cardinal"))
        .arg("run")
        .arg(model)
        .args(images)
        .args(["--top", "1", "--json"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let results = json["results"].as_array().unwrap_or_else(|| panic!("{json}"));
    results.iter().map(|r| r["top"][0]["index"].to_string()).collect()
}

#[test]
fn the_digits_model_predicts_the_hundred_stored_classes() {
    let labels = labels();
    assert_eq!(labels.len(), 100);
    let images: Vec<PathBuf> = labels.iter().map(|(file, ..)| digits().join(file)).collect();
    let found = predictions(&digits().join("mnist_resnest.onnx"), &images);
    let expected: Vec<&String> = labels.iter().map(|(_, _, predicted)| predicted).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    // The set holds images that the model gets wrong: the labels alone would not pass.
    assert!(labels.iter().any(|(_, label, predicted)| label != predicted));
}

#[test]
fn the_digits_artifact_predicts_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("digits.cardinal");
    let compile = Command::new(env!("CARGO_BIN_EXE_cardinal"))
        .arg("compile")
        .arg(digits().join("mnist_resnest.onnx"))
        .arg("-o")
        .arg(&artifact)
        .status()
        .unwrap();
    assert!(compile.success());
    let labels = labels();
    let images: Vec<PathBuf> = labels.iter().map(|(file, ..)| digits().join(file)).collect();
    let found = predictions(&artifact, &images[..10]);
    let expected: Vec<&String> = labels[..10].iter().map(|(_, _, p)| p).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}
