//! Quantized models give the same bits in every form and on any number of threads: in memory, from an
//! artifact, an executable and an object file, beside code for another CPU, and with other weights.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::programs::{examples, say};
use common::{Folder, npy};

const THREADS: [usize; 3] = [1, 2, 4];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Models, and what they take: the digits, and a network with two cardinal groups.
fn models() -> [(PathBuf, &'static [usize]); 2] {
    let tiny = root().join("compiler/tests/fixtures/tiny/resnest_r2k2_avdfirst.dyn.onnx");
    [(examples().join("digits/mnist_resnest.onnx"), &[1, 28, 28]), (tiny, &[3, 64, 64])]
}

/// A folder with `m.onnx`, which is the model quantized, and an input `x.npy` for it.
fn quantized(model: &Path, shape: &[usize]) -> Folder {
    let of = |count: usize| npy::made_up(&[&[count], shape].concat());
    let folder = Folder::new().file("samples.npy", of(7)).file("x.npy", of(1));
    let line = format!("quantize {} --calibrate samples.npy -o m.onnx", model.display());
    folder.run(&line).succeeds();
    folder
}

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    fs::read(folder.path(name)).unwrap()
}

/// What a program of this project writes for `x.npy` on so many threads.
fn output(folder: &Folder, program: &Path, words: &[&str], threads: usize) -> Vec<u8> {
    let mut command = Command::new(program);
    command.current_dir(folder.path("")).args(words).args(["--input", "x.npy"]);
    say(command.args(["--output", "y.npy", "--threads", &threads.to_string()]));
    read(folder, "y.npy")
}

fn run(folder: &Folder, words: &[&str], threads: usize) -> Vec<u8> {
    let words = [&["run"], words].concat();
    output(folder, Path::new(env!("CARGO_BIN_EXE_cardinal")), &words, threads)
}

/// What an object of `m.onnx` gives for `x.npy` in a C program, on so many threads; on none, by the function
/// that takes none.
fn output_of_object(folder: &Folder, threads: usize) -> Vec<u8> {
    let input = Stdio::from(File::open(folder.path("input")).unwrap());
    let mut program = Command::new(folder.path("object"));
    let said = program.arg(threads.to_string()).stdin(input).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    said.stdout
}

/// Compiles the object and links it with `cli/tests/c/model.c`.
fn link_object(folder: &Folder, elements: usize) {
    folder.run("compile m.onnx --emit obj -o model.o").succeeds();
    // Nothing is left for a library to define.
    assert_eq!(say(Command::new("nm").arg("-u").arg(folder.path("model.o"))), "");
    say(Command::new("cc")
        .current_dir(folder.path(""))
        .args(["-std=c11", "-pthread", "-Wall", "-Wextra", "-Werror", "-I.", "-o", "object"])
        .arg(root().join("cli/tests/c/model.c"))
        .arg("model.o"));
    let file = read(folder, "x.npy");
    fs::write(folder.path("input"), &file[file.len() - 4 * elements..]).unwrap();
}

#[test]
fn every_form_gives_the_same_bits_on_any_threads() {
    for (model, shape) in models() {
        let folder = quantized(&model, shape);
        let expected = run(&folder, &["m.onnx"], 1);
        folder.run("compile m.onnx -o m.cardinal").succeeds();
        folder.run("compile m.onnx --emit exe -o m").succeeds();
        say(Command::new(folder.path("m")).arg("--selftest"));
        link_object(&folder, shape.iter().product());
        let name = model.display();
        for threads in THREADS {
            for file in ["m.onnx", "m.cardinal"] {
                assert!(run(&folder, &[file], threads) == expected, "{name}: {file}, {threads}");
            }
            let executable = output(&folder, &folder.path("m"), &[], threads);
            assert!(executable == expected, "{name}: the executable, {threads}");
        }
        for threads in [0, 1, 2, 4] {
            let logits = output_of_object(&folder, threads);
            assert!(expected.ends_with(&logits), "{name}: the object, {threads}");
        }
    }
}

/// The names of an artifact's variants, and what each computes in.
fn variants(folder: &Folder, artifact: &str) -> Vec<(String, String)> {
    let about = folder.run(&format!("inspect {artifact}")).succeeds();
    let said = |what: &str| {
        let lines =
            about.lines().filter_map(|line| line.strip_prefix(what)?.split_whitespace().next());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    said("variant ").into_iter().zip(said("precision ")).collect()
}

#[test]
fn two_cpus_in_one_artifact_give_the_bits_of_each_alone() {
    let [(model, shape), _] = models();
    let folder = quantized(&model, shape);
    folder.run("compile m.onnx --cpu x86-64,native -o two.cardinal").succeeds();
    let both = variants(&folder, "two.cardinal");
    assert_eq!(both.len(), 2, "{both:?}");
    for (cpu, precision) in both {
        folder.run(&format!("compile m.onnx --cpu {cpu} -o one.cardinal")).succeeds();
        assert_eq!(variants(&folder, "one.cardinal"), [(cpu.clone(), precision.clone())]);
        for threads in THREADS {
            let alone = run(&folder, &["one.cardinal"], threads);
            let beside = run(&folder, &["two.cardinal", "--isa", &cpu], threads);
            assert!(alone == beside, "{cpu}, {threads}");
        }
        let said = folder.run(&format!("bench two.cardinal --isa {cpu} --iterations 2 --json"));
        let said: serde_json::Value = serde_json::from_str(&said.succeeds()).unwrap();
        assert_eq!(said["precision"], precision);
    }
}

#[test]
fn artifacts_say_what_each_cpu_computes_in() {
    let [(model, shape), _] = models();
    let folder = quantized(&model, shape);
    folder.run("compile m.onnx --cpu x86-64,znver4 -o m.cardinal").succeeds();
    let precisions = variants(&folder, "m.cardinal").into_iter().map(|(_, precision)| precision);
    assert_eq!(precisions.collect::<Vec<_>>(), ["f32", "int8"]);
    let float = format!("compile {} --cpu x86-64,znver4 -o f.cardinal", model.display());
    folder.run(&float).succeeds();
    assert!(variants(&folder, "f.cardinal").iter().all(|(_, precision)| precision == "f32"));
}

#[test]
fn relinking_a_quantized_model_gives_the_bytes_of_compiling() {
    let [(model, shape), _] = models();
    let folder = quantized(&model, shape);
    // The middle of the file is in the weights of a convolution: one of them is another integer.
    let mut other = read(&folder, "m.onnx");
    let middle = other.len() / 2;
    other[middle] ^= 1;
    fs::write(folder.path("other.onnx"), other).unwrap();
    for (from, to) in [("m.onnx", "m.cardinal"), ("other.onnx", "fresh.cardinal")] {
        folder.run(&format!("compile {from} --cpu x86-64,native -o {to}")).succeeds();
    }
    let relink = |weights: &str| {
        folder.run(&format!("relink --weights {weights} m.cardinal -o relinked.cardinal"))
    };
    relink("other.onnx").succeeds();
    assert!(read(&folder, "m.cardinal") != read(&folder, "fresh.cardinal"));
    assert!(read(&folder, "relinked.cardinal") == read(&folder, "fresh.cardinal"));
    for threads in THREADS {
        let expected = run(&folder, &["other.onnx"], threads);
        assert!(run(&folder, &["relinked.cardinal"], threads) == expected, "{threads}");
    }
    // Ranges of values are in the code: other samples give other ones.
    let line = format!("quantize {} --calibrate x.npy -o ranges.onnx", model.display());
    folder.run(&line).succeeds();
    let said = relink("ranges.onnx").fails_with(3);
    assert!(said.contains("the graph is not the artifact's"), "{said}");
}
