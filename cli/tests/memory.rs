//! How much memory commands take at their peak, as the kernel counts it from outside, on a model that
//! is nearly all weights.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]
#![allow(unsafe_code, reason = "wait4")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::onnx::write_layers;
use common::{Folder, npy};

/// Channels of every layer, and layers: 64 MiB of weights.
const CHANNELS: i64 = 1024;
const LAYERS: usize = 16;
const SHAPE: [i64; 4] = [1, CHANNELS, 7, 7];
const WEIGHTS: usize = LAYERS * (CHANNELS * CHANNELS) as usize * 4;

/// What a process takes for itself: code, stacks, allocators and all that does not grow with weights.
const PROCESS: usize = 32 << 20;

/// The same while it runs what is compiled, for which it needs little of its code.
const RUNNING: usize = 8 << 20;

/// A folder with `m.onnx`: 1x1 convolutions, and after each of them `then`, an operator of one operand
/// or BatchNormalization.
fn folder(then: &str) -> Folder {
    let folder = Folder::new();
    write_layers(&folder.path("m.onnx"), SHAPE, LAYERS, then).unwrap();
    folder
}

/// The most memory that a program takes, in bytes.
fn peak(folder: &Folder, program: &str, arguments: &str) -> usize {
    let mut command = Command::new(program);
    command.current_dir(folder.path("")).args(arguments.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    #[expect(clippy::zombie_processes, reason = "wait4 waits for it")]
    let child = command.spawn().unwrap();
    let id = child.id() as i32;
    let mut status = 0;
    // SAFETY: all zeros are a value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the child is ours, nothing else waits for it, and both places can be written to.
    let waited = unsafe { libc::wait4(id, &mut status, 0, &mut usage) };
    assert_eq!((waited, status), (id, 0), "{program} {arguments}");
    let peak = usize::try_from(usage.ru_maxrss).unwrap() * 1024;
    println!("{arguments}: {:.1} MB at most", peak as f64 / 1e6);
    peak
}

/// What an artifact says of itself in bytes. It is not read here, because a child counts as much as
/// this process took, until it becomes another program.
fn stated(folder: &Folder, what: &str) -> usize {
    let text = folder.run("inspect m.cardinal").succeeds();
    let line = text.lines().find_map(|line| line.strip_prefix(what));
    line.unwrap_or_else(|| panic!("{what}: {text}")).trim().parse().unwrap()
}

/// Checks that a model's weights are in memory `times` while it is compiled, and once while it runs.
fn check(then: &str, times: f64) {
    let folder = folder(then).file("x.npy", npy::made_up(&SHAPE.map(|extent| extent as usize)));
    let cardinal = |arguments: &str| peak(&folder, env!("CARGO_BIN_EXE_cardinal"), arguments);
    let process = cardinal("--version");
    assert!(process < PROCESS, "nothing takes {process} bytes");
    // What is packed can be more than the model's: 7 for 4 where there are Strassen's products.
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    let packed_weights = stated(&folder, "weight bytes");
    assert!((WEIGHTS..2 * WEIGHTS).contains(&packed_weights), "{packed_weights}");
    let least = (times - 1.0) * WEIGHTS as f64 + packed_weights as f64;
    for arguments in [
        "compile m.onnx -o m.cardinal --threads 1",
        "compile m.onnx -o m.cardinal --threads 2",
        "compile m.onnx -o m",
        "run m.onnx --input x.npy --output y.npy",
    ] {
        let most = cardinal(arguments) as f64;
        assert!(most < least + PROCESS as f64, "{arguments}: {most} for {least} bytes");
    }
    let packed = packed_weights + stated(&folder, "arena bytes");
    assert!(packed < packed_weights + WEIGHTS / 10, "{packed}");
    let limit = packed + RUNNING;
    let run = "--input x.npy --output y.npy --threads 2";
    let artifact = cardinal(&format!("run m.cardinal {run}"));
    let executable = peak(&folder, "./m", run);
    for most in [artifact, executable] {
        assert!(most < limit, "running takes {most} bytes for {packed}");
    }
}

/// Of many images only the names are in memory, and what is ahead of a slow one.
#[test]
fn memory_does_not_grow_with_the_number_of_images() {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    let folder = Folder::new();
    let compile = format!("compile {} -o m.cardinal", digits.join("mnist_resnest.onnx").display());
    folder.run(&compile).succeeds();
    let image = digits.join("images/00000.png").display().to_string() + "\n";
    let most = [500, 8000].map(|count| {
        std::fs::write(folder.path("list"), image.repeat(count)).unwrap();
        let score = "score m.cardinal --files-from list -o r.jsonl --threads 2 --quiet";
        peak(&folder, env!("CARGO_BIN_EXE_cardinal"), score)
    });
    let names = 8000 * (image.len() + 100);
    assert!(most[1] < most[0] + names + (2 << 20), "{most:?}");
}

#[test]
fn weights_are_in_memory_once_to_run_and_twice_to_compile() {
    check("Relu", 2.);
}

#[test]
fn weights_that_a_pass_changes_are_in_memory_once_more() {
    check("BatchNormalization", 3.);
}
