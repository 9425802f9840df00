//! `cardinal quantize` from end to end: what is printed and written, what is refused, and what is left
//! behind when it does not come to its end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Folder, command, npy};
use serde_json::Value;

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

/// A folder with the digits model and a folder of some of its images, all of whose outputs are known.
fn folder() -> Folder {
    let folder = Folder::new();
    fs::copy(digits().join("mnist_resnest.onnx"), folder.path("m.onnx")).unwrap();
    fs::create_dir(folder.path("images")).unwrap();
    let entries = fs::read_dir(digits().join("images")).unwrap().map(|e| e.unwrap().path());
    let mut images: Vec<PathBuf> = entries.collect();
    images.sort();
    for image in images.iter().step_by(4) {
        fs::copy(image, folder.path("images").join(image.file_name().unwrap())).unwrap();
    }
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The text with `#` for digits of fractions, the last of which depend on the kernels of the CPU, and
/// without what proposed each range, which may too.
fn masked(text: &str) -> String {
    let digit = |c: char| if c.is_ascii_digit() { '#' } else { c };
    let word = |word: &str| match word.trim().parse::<f64>() {
        Ok(_) if word.contains('.') => word.chars().map(digit).collect(),
        _ => word.to_owned(),
    };
    let line = |line: &str| {
        let line = line.split_once(", by ").map_or(line, |(left, _)| left);
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_report_of_the_digits_model() {
    let folder = folder();
    let text = folder.run("quantize m.onnx --calibrate images").succeeds();
    assert_eq!(folder.names(), ["images", "m.int8.onnx", "m.onnx"]);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("cardinal-quantize@text", masked(&text)));
}

#[test]
fn the_quantized_digits_are_the_same_classes_and_the_model_says_so() {
    let folder = folder();
    let report = folder.run("quantize m.onnx --calibrate images --json -o q.onnx").succeeds();
    let report = json(&report);
    assert_eq!(report["schema"], "cardinal.quantize/v1");
    assert_eq!(report["calibration"]["samples"], 25);
    assert_eq!(report["layers"].as_array().unwrap().len(), 26);
    assert!(report["layers"][0]["weights_db"].as_f64().unwrap() > 35., "{report}");
    let agreement = &report["agreement"];
    assert!(agreement["top1_same"].as_u64().unwrap() >= 24, "{agreement}");
    let error = agreement["error"].as_f64().unwrap();
    assert!(error > 0. && error < 0.05, "{error}");
    let bytes = fs::read(folder.path("q.onnx")).unwrap();
    assert_eq!(report["bytes"], bytes.len());
    assert!(bytes.len() < fs::read(folder.path("m.onnx")).unwrap().len() * 3 / 4);
    let said = String::from_utf8_lossy(&bytes);
    for key in ["calibration", "test", "agreement", "error"] {
        assert!(said.contains(&format!("cardinal.quantize.{key}")), "{key}");
    }
    let image = digits().join("images/00000.png");
    let ran = folder.run(&format!("run q.onnx {} --top 1 --json", image.display())).succeeds();
    assert_eq!(json(&ran)["results"][0]["top"][0]["index"], 7);
    let again = folder.run("quantize q.onnx --calibrate images").fails_with(2);
    assert!(again.contains("quantized already"), "{again}");
}

#[test]
fn the_same_samples_give_the_same_bytes_on_every_number_of_threads() {
    let folder = folder();
    for (threads, name) in [(1, "a.onnx"), (3, "b.onnx")] {
        let line = format!("quantize m.onnx --calibrate images --threads {threads} -o {name}");
        folder.run(&line).succeeds();
    }
    let [a, b] = ["a.onnx", "b.onnx"].map(|name| fs::read(folder.path(name)).unwrap());
    assert!(a == b);
}

#[test]
fn layers_stay_in_float_until_enough_samples_agree() {
    // Rows of noise, which no class fits: some change theirs.
    let folder = folder().file("noise.npy", npy::made_up(&[200, 1, 28, 28]));
    let line = "quantize m.onnx --calibrate images --test noise.npy --json -o q.onnx";
    let all = json(&folder.run(line).succeeds());
    assert_eq!(all["kept"], Value::Array(vec![]));
    let before = all["agreement"]["top1_same"].as_u64().unwrap();
    let report = json(&folder.run(&format!("{line} --agree 100")).succeeds());
    assert_eq!(report["agreement_without_kept"]["top1_same"], before);
    assert_eq!(report["agreement"]["top1_same"], 200);
    let kept = report["kept"].as_array().unwrap().len();
    assert_eq!(kept + report["layers"].as_array().unwrap().len(), 26);
    assert_eq!(kept > 0, before < 200);
}

#[test]
fn rows_of_an_array_are_samples_for_any_batch() {
    let folder = folder().file("x.npy", npy::made_up(&[5, 1, 28, 28]));
    let report = |batch: usize| {
        let line = format!("quantize m.onnx --calibrate x.npy --json --batch {batch}");
        json(&folder.run(&line).succeeds())
    };
    let (one, three) = (report(1), report(3));
    for report in [&one, &three] {
        assert_eq!(report["test"]["samples"], 5);
        assert_eq!(report["agreement"]["top1_of"], 5);
    }
    assert_eq!(one["layers"][0], three["layers"][0]);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let folder = folder().file("y.npy", npy::made_up(&[2, 3, 28, 28]));
    fs::create_dir(folder.path("empty")).unwrap();
    let names = folder.names();
    for (arguments, code, what) in [
        ("quantize m.onnx", 2, "--calibrate"),
        ("quantize m.onnx --calibrate empty", 2, "holds no samples"),
        ("quantize m.onnx --calibrate -", 2, "stdin"),
        ("quantize m.onnx --calibrate y.npy", 2, "takes f32[2, 1, 28, 28]"),
        ("quantize m.onnx --calibrate m.onnx", 5, "m.onnx"),
        ("quantize m.onnx --calibrate no.png", 5, "No such file"),
        ("quantize m.onnx --calibrate images --agree 101", 2, "0 to 100"),
        ("quantize m.onnx --calibrate images -o m.onnx", 2, "would be lost"),
        ("quantize m.onnx --calibrate images -o - --json", 2, "standard output"),
        ("quantize images/00000.png --calibrate images", 3, "image"),
    ] {
        let said = folder.run(arguments).fails_with(code);
        assert!(said.contains(what), "{arguments}: {said}");
    }
    assert_eq!(folder.names(), names);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/names.onnx");
    let line = format!("quantize {} --calibrate images", model.display());
    let said = folder.run(&line).fails_with(3);
    assert!(said.contains("no convolution") && said.contains("help: "), "{said}");
}

#[test]
fn whatever_ends_it_leaves_the_folder_as_it_was_or_the_output_whole() {
    let folder = folder();
    let line = "quantize m.onnx --calibrate images -o q.onnx";
    let begin = Instant::now();
    folder.run(line).succeeds();
    let (most, whole) = (begin.elapsed(), fs::read(folder.path("q.onnx")).unwrap());
    for (signal, part) in [("INT", 2), ("TERM", 5), ("HUP", 9), ("INT", 10)] {
        fs::write(folder.path("q.onnx"), b"old").unwrap();
        let mut child = command(&folder.path(""), line);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(most.mul_f64(f64::from(part) / 10.).min(Duration::from_secs(60)));
        let _ = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        child.wait().unwrap();
        let found = fs::read(folder.path("q.onnx")).unwrap();
        assert!(found == b"old" || found == whole, "{signal} at {part} tenths");
        assert_eq!(folder.names(), ["images", "m.onnx", "q.onnx"]);
    }
    let limit = format!("ulimit -f 100; exec \"$0\" {line}");
    fs::write(folder.path("q.onnx"), b"old").unwrap();
    let mut shell = Command::new("sh");
    shell.current_dir(folder.path("")).args(["-c", &limit, env!("CARGO_BIN_EXE_cardinal")]);
    let ran = shell.output().unwrap();
    assert_eq!(ran.status.code(), Some(5), "{ran:?}");
    assert_eq!(fs::read(folder.path("q.onnx")).unwrap(), b"old");
    assert_eq!(folder.names(), ["images", "m.onnx", "q.onnx"]);
}
