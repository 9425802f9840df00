//! `compile --precision`, from the command line to results.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use cardinal_runtime::{Artifact, cpu};
use common::programs::{examples, say};
use common::{Folder, Ran};
use serde_json::Value;

fn digits() -> Folder {
    let path = examples().join("digits/mnist_resnest.onnx");
    Folder::new().file("digits.onnx", std::fs::read(path).unwrap())
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.succeeds()).unwrap()
}

/// Whether this machine multiplies bfloat16.
fn multiplies() -> bool {
    let has = cpu::host_features().iter().any(|feature| feature == "avx512bf16");
    if !has {
        eprintln!("NOT TESTED: products of bfloat16, for which this CPU has no instruction");
    }
    has
}

/// What the variants of a file compute in.
fn precisions(folder: &Folder, name: &str) -> Vec<String> {
    let artifact = Artifact::copy(&std::fs::read(folder.path(name)).unwrap()).unwrap();
    artifact.variants().iter().map(|variant| variant.precision().to_owned()).collect()
}

#[test]
fn a_cpu_without_is_refused_and_computes_in_f32_with_auto() {
    let folder = digits();
    let compile = "compile digits.onnx -o m.cardinal --target x86_64-unknown-linux-gnu";
    let refused = folder.run(&format!("{compile} --cpu x86-64-v4 --precision bf16"));
    let said = refused.fails_with(2);
    assert!(said.contains("x86-64-v4 multiplies no bfloat16: it lacks avx512bf16"), "{said}");
    assert!(said.contains("--precision auto"), "{said}");
    folder.run(&format!("{compile} --cpu x86-64-v3,znver4 --precision auto")).succeeds();
    assert_eq!(precisions(&folder, "m.cardinal"), ["f32", "bf16"]);
    folder.run(&format!("{compile} --cpu x86-64-v3,znver4")).succeeds();
    assert_eq!(precisions(&folder, "m.cardinal"), ["f32", "f32"]);
    folder.run(&format!("{compile} --precision bf16 --portable-bits")).fails_with(2);
    let said = folder.run("bench m.cardinal --precision bf16").fails_with(2);
    assert!(said.contains("compiled already"), "{said}");
}

#[test]
fn the_change_is_reported_and_executables_allow_for_it() {
    if !multiplies() {
        return;
    }
    let folder = digits();
    let said = folder.run("compile digits.onnx -o m.cardinal --precision bf16");
    let wanted = "products of bfloat16 change output on one random input by up to ";
    assert!(said.stderr.contains(wanted), "{said:?}");
    said.succeeds();
    let bench = json(folder.run("bench m.cardinal --iterations 2 --warmup 1 --json"));
    assert_eq!(bench["precision"], "bf16");

    let report = json(folder.run("compile digits.onnx -o digits --precision bf16 --json"));
    let output = &report["change"]["outputs"][0];
    let difference = output["max_rel"].as_f64().unwrap();
    assert!(difference > 0.0 && difference < 2e-2, "{report}");
    assert_eq!((&output["top1_same"], &output["top1_of"]), (&1.into(), &1.into()));
    let mut program = std::process::Command::new(folder.path("digits"));
    let said = say(program.arg("--selftest"));
    assert!(said.contains("same"), "{said}");

    let both =
        json(folder.run("compile digits.onnx -o m.cardinal --precision bf16 --weights f16 --json"));
    assert!(both["change"]["measured"] == true, "{both}");
}

#[test]
fn an_error_that_is_allowed_is_kept_and_the_artifact_says_so() {
    if !multiplies() {
        return;
    }
    let folder = digits();
    let compile = "compile digits.onnx -o m.cardinal --precision bf16 --json";
    let free = json(folder.run(&format!("{compile} --max-error 1")))["sampled"].take();
    let all = free["error"].as_f64().unwrap();
    assert!(all > 1e-3 && all < 1e-2 && free["in_f32"] == Value::Array(vec![]), "{free}");
    let mut before = 0;
    for part in [0.7, 0.2] {
        let allowed = all * part;
        let report = json(folder.run(&format!("{compile} --max-error {allowed}")));
        let sampled = &report["sampled"];
        let (error, kept) = (&sampled["error"], sampled["in_f32"].as_array().unwrap().len());
        assert!(error.as_f64().unwrap() <= allowed, "{report}");
        assert!(kept > before, "{report}");
        before = kept;
    }
    let metadata = folder.run("inspect m.cardinal").succeeds();
    assert!(metadata.contains("cardinal.precision.samples=8 random samples"), "{metadata}");
    assert!(metadata.contains("cardinal.precision.in_f32=["), "{metadata}");
}

#[test]
fn samples_are_what_errors_are_measured_on() {
    let folder = digits();
    let images = examples().join("digits/images");
    std::os::unix::fs::symlink(images, folder.path("images")).unwrap();
    let compile = "compile digits.onnx -o m.cardinal --json";
    let report = json(folder.run(&format!("{compile} --weights f16 --sample images")));
    let sampled = &report["sampled"];
    assert_eq!((&sampled["samples"], &sampled["random"]), (&100.into(), &false.into()));
    assert_eq!(sampled["blake3"].as_str().map(str::len), Some(64), "{report}");
    assert!(sampled["error"].as_f64().unwrap() > 0., "{report}");
    let said = folder.run(&format!("{compile} --weights f16 --max-error 1e-6")).fails_with(4);
    assert!(said.contains("even with all products in f32 outputs change by"), "{said}");
    let said = folder.run(&format!("{compile} --sample images")).fails_with(2);
    assert!(said.contains("--weights f16"), "{said}");
    let said = folder.run(&format!("{compile} --weights f16 --sample -")).fails_with(2);
    assert!(said.contains("read more than once"), "{said}");
    let said = folder.run(&format!("{compile} --weights f16 --max-error 0")).fails_with(2);
    assert!(said.contains("standard deviation"), "{said}");
}
