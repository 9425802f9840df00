//! The same bits from a model, its artifact and its executable: every small network and block of the
//! fixtures, and of a larger set where `CARDINAL_FIXTURES` names one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use cardinal_runtime::{Artifact, DType};
use common::programs::{examples, say};
use common::{Folder, npy};

/// Threads that share the models.
const WORKERS: usize = 2;

/// Every `.onnx` of a kind, sorted.
fn models(kind: &str) -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compiler/tests/fixtures");
    let more = std::env::var_os("CARDINAL_FIXTURES").map(PathBuf::from);
    let mut all = Vec::new();
    for folder in [own].into_iter().chain(more) {
        let files = fs::read_dir(folder.join(kind)).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        all.extend(paths.filter(|path| path.extension().is_some_and(|e| e == "onnx")));
    }
    all.sort();
    assert!(!all.is_empty(), "{kind}");
    all
}

/// Puts inputs in the folder of an artifact; gives the arguments that name them.
fn inputs(folder: &Folder) -> Vec<String> {
    let artifact = Artifact::from_bytes(fs::read(folder.path("m.cardinal")).unwrap().into());
    let artifact = artifact.unwrap();
    let mut arguments = Vec::new();
    for (i, spec) in artifact.inputs().iter().enumerate() {
        let file = folder.path(&format!("{i}.npy"));
        assert_eq!(spec.dtype, DType::F32);
        fs::write(&file, npy::made_up(&spec.shape)).unwrap();
        arguments.push("--input".into());
        arguments.push(format!("{}={}", spec.name, file.display()));
    }
    arguments
}

/// Runs a model each way on the inputs that `arguments` gives for its artifact, and compares the files
/// that come out.
fn check(model: &Path, arguments: impl Fn(&Folder) -> Vec<String>) {
    let folder = Folder::new();
    let name = model.file_stem().unwrap().to_str().unwrap();
    let batch = if name.contains("dynbatch") { "--batch 3" } else { "" };
    for output in ["m.cardinal", "m"] {
        folder.run(&format!("compile {} {batch} -o {output}", model.display())).succeeds();
    }
    let arguments = arguments(&folder);
    let outputs = |program: &Path, words: &[&Path], threads: usize| {
        let output = folder.path("outputs.npz");
        let mut command = Command::new(program);
        command.args(words).args(&arguments).args(["--threads", &threads.to_string(), "--output"]);
        say(command.arg(&output));
        fs::read(output).unwrap()
    };
    let cardinal = Path::new(env!("CARGO_BIN_EXE_cardinal"));
    let expected = outputs(cardinal, &["run".as_ref(), model], 1);
    for threads in [1, 2] {
        let artifact = outputs(cardinal, &["run".as_ref(), &folder.path("m.cardinal")], threads);
        assert!(artifact == expected, "{name}: the artifact on {threads} threads");
        let executable = outputs(&folder.path("m"), &[], threads);
        assert!(executable == expected, "{name}: the executable on {threads} threads");
    }
}

#[test]
fn every_fixture_gives_the_same_bits_in_every_form() {
    let models: Vec<PathBuf> = ["tiny", "branches"].into_iter().flat_map(models).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(model) = models.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(model, inputs);
                }
            });
        }
    });
    println!("{} models", models.len());
}

#[test]
fn an_image_gives_the_same_bits_in_every_form() {
    let digits = examples().join("digits");
    let image = digits.join("images/00000.png").display().to_string();
    check(&digits.join("mnist_resnest.onnx"), |_| vec![image.clone()]);
}
