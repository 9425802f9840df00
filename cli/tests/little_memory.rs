//! Commands that are given less and less memory: each does its work or says in one line that it cannot,
//! and nothing is left behind.
//!
//! `CARDINAL_STEPS` is how many limits each command is tried with, 8 by default.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::onnx::write_layers;
use common::{Folder, npy};

/// Channels of every layer, and layers: 16 MiB of weights.
const CHANNELS: i64 = 512;
const LAYERS: usize = 16;
const SHAPE: [i64; 4] = [1, CHANNELS, 7, 7];

/// A folder with `m.onnx`, whose weights a pass changes, `m.cardinal` and `x.npy`.
fn folder() -> Folder {
    let x = npy::made_up(&SHAPE.map(|extent| extent as usize));
    let folder = Folder::new().file("x.npy", x);
    write_layers(&folder.path("m.onnx"), SHAPE, LAYERS, "BatchNormalization").unwrap();
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    folder
}

/// Runs a program with so many KiB of address space.
fn run_within(folder: &Folder, kib: usize, program: &str, arguments: &str) -> Output {
    let line = format!("ulimit -v {kib}; exec \"$0\" {arguments}");
    let mut shell = Command::new("sh");
    shell.current_dir(folder.path("")).arg("-c").arg(line).arg(program);
    shell.env_remove("RUST_BACKTRACE").output().unwrap()
}

/// The least KiB, to a hundredth, with which a command succeeds.
fn least(folder: &Folder, program: &str, arguments: &str) -> usize {
    let holds = |kib| run_within(folder, kib, program, arguments).status.success();
    let (mut too_little, mut most) = (0, 4 << 20);
    while most - too_little > most / 100 {
        let middle = (most + too_little) / 2;
        if holds(middle) {
            most = middle;
        } else {
            too_little = middle;
        }
    }
    most
}

/// Steps the limit from what a program needs to start up to what a command needs; how often that failed.
fn step(folder: &Folder, program: &str, from: usize, arguments: &str) -> usize {
    let to = least(folder, program, arguments);
    let steps = steps();
    let names = folder.names();
    let mut failed = 0;
    for i in 0..steps {
        let kib = from + (to - from) * i / steps;
        let ran = run_within(folder, kib, program, arguments);
        let said = String::from_utf8_lossy(&ran.stderr);
        let place = format!("{arguments}, {kib} KiB, {}: {said}", ran.status);
        assert!(matches!(ran.status.code(), Some(0 | 1 | 3 | 5)), "{place}");
        if !ran.status.success() {
            // Help is indented, the standard library's is not; notes come before the error.
            const BESIDE: [&str; 4] =
                ["  ", "note: run with `RUST_BACKTRACE", "images: ", "columns: "];
            let is_beside = |line: &&str| BESIDE.iter().any(|start| line.starts_with(start));
            let lines: Vec<&str> = said.lines().filter(|line| !is_beside(line)).collect();
            assert!(lines.len() == 1 && !said.contains("internal error"), "{place}");
            failed += 1;
        }
        assert_eq!(folder.names(), names, "{place}");
    }
    println!("{arguments}: {from} to {to} KiB, {failed} of {steps} in an error");
    failed
}

fn steps() -> usize {
    std::env::var("CARDINAL_STEPS").ok().and_then(|n| n.parse().ok()).unwrap_or(8)
}

#[test]
fn commands_without_memory_say_so_and_leave_nothing() {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    let folder = folder();
    fs::copy(digits.join("images/00000.png"), folder.path("x.png")).unwrap();
    folder.run(&format!("compile {} -o d", digits.join("mnist_resnest.onnx").display())).succeeds();
    folder.run("compile m.onnx -o m").succeeds();
    folder.run("compile m.onnx -o m.so").succeeds();
    folder.run("run m.cardinal --input x.npy --output y.npz").succeeds();
    let of_cardinal = [
        "compile m.onnx -o m.cardinal",
        "compile m.onnx -o m.cardinal --weights f16",
        "compile m.onnx -o m",
        "compile m.onnx -o m.so",
        "relink --weights m.onnx m.cardinal -o m.cardinal",
        "run m.cardinal --input x.npy --output y.npz",
        "run m.onnx --input x.npy --output y.npz",
        "verify m.onnx",
        "inspect m.onnx --stage asm",
    ];
    let cardinal = env!("CARGO_BIN_EXE_cardinal");
    let programs: [(&str, &[&str]); 3] =
        [(cardinal, &of_cardinal), ("./m", &["--input x.npy --output y.npz"]), ("./d", &["x.png"])];
    let (mut failed, mut tried) = (0, 0);
    for (program, commands) in programs {
        let from = least(&folder, program, "--version");
        tried += steps() * commands.len();
        failed += commands.iter().map(|line| step(&folder, program, from, line)).sum::<usize>();
    }
    println!("trust: commands with too little memory that ended in one line | {failed} of {tried}");
}
