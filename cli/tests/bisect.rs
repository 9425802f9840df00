//! `cardinal bisect`, from the command line to what it says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use common::Folder;
use common::programs::examples;
use serde_json::Value;

fn digits() -> Folder {
    let path = examples().join("digits/mnist_resnest.onnx");
    Folder::new().file("digits.onnx", std::fs::read(path).unwrap())
}

#[test]
fn nothing_is_found_in_a_model_that_is_right() {
    let folder = digits();
    let said = folder.run("bisect digits.onnx").succeeds();
    assert_eq!(said, "nothing found: results are what they should be\n");
    let said = folder.run("bisect digits.onnx --seed 3 --json").succeeds();
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&found["schema"], &found["found"]), (&"cardinal.bisect/v1".into(), &Value::Null));
    assert!(!folder.path("digits.bisect.onnx").exists());
}

#[test]
fn what_is_expected_wrongly_is_nobodys_fault() {
    let folder = digits();
    // Another input's results.
    let image = examples().join("digits/images/00000.png");
    folder.run(&format!("run digits.onnx {} --output y.npy", image.display())).succeeds();
    let x = common::npy::made_up(&[1, 1, 28, 28]);
    let folder = folder.file("x.npy", x);
    let ran = folder.run("bisect digits.onnx --input x.npy --expected y.npy");
    assert!(ran.stdout.contains("no pass and no code is to blame"), "{ran:?}");
    assert_eq!(ran.code, 4);
    folder.run("run digits.onnx --input x.npy --output y.npy").succeeds();
    folder.run("bisect digits.onnx --input x.npy --expected y.npy").succeeds();
}

#[test]
fn a_difference_that_is_not_allowed_is_found_in_code_and_written() {
    let folder = digits();
    // Rounding to f32 is a difference, where none is allowed.
    let ran = folder.run("bisect digits.onnx --rtol 0 --atol 1e-30 --json -o part.onnx");
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, 4);
    assert!(found["found"] == "kernel" || found["found"] == "rewrite", "{found}");
    assert_eq!(found["part"]["model"], "part.onnx", "{found}");
    assert!(!found["part"]["nodes"].as_array().unwrap().is_empty(), "{found}");
    let said = folder.run("verify part.onnx --input part.npz").succeeds();
    assert!(said.starts_with("same"), "{said}");
    let ran = folder.run("verify part.onnx --input part.npz --rtol 0 --atol 1e-30");
    assert_eq!(ran.code, 4);
}

#[test]
fn compiled_models_are_refused() {
    let folder = digits();
    folder.run("compile digits.onnx -o m.cardinal").succeeds();
    let said = folder.run("bisect m.cardinal").fails_with(2);
    assert!(said.contains("give the .onnx"), "{said}");
}

/// Whatever is wrong, a file that is read is there afterwards as before.
#[test]
fn what_is_read_is_not_written_to() {
    let x = common::npy::made_up(&[1, 1, 28, 28]);
    let folder = digits().file("x.npy", &x).file("digits.bisect.npz", b"mine");
    folder.run("run digits.onnx --input x.npy --output y.npz").succeeds();
    let before = folder.names();
    let strict = "bisect digits.onnx --rtol 0 --atol 1e-30 --input x.npy";
    for rest in ["-o x.npy", "-o x.npz", "-o -", "--expected y.npz -o y.onnx"] {
        folder.run(&format!("{strict} {rest}")).fails_with(2);
    }
    let said = folder.run("bisect digits.onnx --input digits.bisect.npz").fails_with(5);
    assert!(said.contains("cannot read"), "{said}");
    folder.run("run digits.onnx --input x.npy --output x.npy").fails_with(2);
    let rounds = "compile digits.onnx --weights f16 --sample x.npy -o x.npy --emit artifact";
    folder.run(rounds).fails_with(2);
    assert_eq!(folder.names(), before);
    assert_eq!(std::fs::read(folder.path("x.npy")).unwrap(), x);
}

#[test]
fn memory_is_bounded_before_anything_runs() {
    let said = digits().run("bisect digits.onnx --max-memory 1KiB").fails_with(3);
    assert!(said.contains("--max-memory"), "{said}");
}

#[test]
fn the_line_that_shows_it_shows_it() {
    let folder = digits();
    let ran = folder.run("bisect digits.onnx --rtol 0 --atol 1e-30 --no-winograd");
    let line = ran.stdout.lines().find_map(|line| line.split_once("cardinal ")).unwrap();
    assert!(line.1.contains("--no-winograd"), "{ran:?}");
    assert_eq!(folder.run(line.1).code, 4, "{ran:?}");
}
