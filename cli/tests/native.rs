//! Object files and shared libraries, from the command line to running programs in C and C++.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::path::Path;
use std::process::Command;

use common::programs::{examples, images, say};
use common::{Folder, command};

/// A folder with a small model.
fn small() -> Folder {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/fixed.onnx");
    Folder::new().file("m.onnx", std::fs::read(model).unwrap())
}

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    std::fs::read(folder.path(name)).unwrap()
}

/// Builds both examples with their Makefile, into the folder's `build`.
fn build_examples(folder: &Folder) {
    say(Command::new("make")
        .arg("-C")
        .arg(examples().join("c"))
        .arg(format!("CARDINAL={}", env!("CARGO_BIN_EXE_cardinal")))
        .arg(format!("BUILD={}", folder.path("build").display()))
        .env_remove("MAKEFLAGS"));
}

#[test]
fn the_c_example_predicts_the_hundred_stored_classes() {
    let folder = Folder::new();
    build_examples(&folder);
    let (paths, expected) = images(&folder);
    let said = say(Command::new(folder.path("build/digits")).args(&paths));
    let found: Vec<&str> = said.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(found, expected);
    assert_eq!(found.len(), 100);
    let seven = examples().join("c/seven.pgm");
    assert!(say(Command::new(folder.path("build/digits")).arg(seven)).ends_with("seven.pgm 7\n"));
}

#[test]
fn the_cpp_example_gives_the_same_logits_on_any_threads_and_from_a_library() {
    let folder = Folder::new();
    build_examples(&folder);
    let expected = say(Command::new(folder.path("build/threads")).arg("1"));
    assert_eq!(expected.lines().count(), 10);
    for count in ["2", "3", "7"] {
        assert_eq!(say(Command::new(folder.path("build/threads")).arg(count)), expected);
    }
    let model = examples().join("digits/mnist_resnest.onnx");
    say(command(&folder.path("."), "compile -o digits.so").arg(&model));
    say(Command::new("c++")
        .current_dir(folder.path("."))
        .args(["-std=c++11", "-pthread", "-Wall", "-Wextra", "-Werror", "-I."])
        .arg(examples().join("c/threads.cpp"))
        .args(["digits.so", "-Wl,-rpath,$ORIGIN", "-o", "shared"]));
    let shared = say(&mut Command::new(folder.path("shared")));
    assert_eq!(shared, expected);
}

#[test]
fn outputs_are_the_same_from_everywhere() {
    let [a, b] = [small(), small()];
    for folder in [&a, &b] {
        folder.run("compile m.onnx -o x.o").succeeds();
        folder.run("compile m.onnx -o lib.so").succeeds();
        assert_eq!(folder.names(), ["lib.h", "lib.so", "m.onnx", "x.h", "x.o"]);
    }
    for name in ["lib.h", "lib.so", "x.h", "x.o"] {
        assert_eq!(read(&a, name), read(&b, name), "{name}");
        let text = String::from_utf8_lossy(&read(&a, name)).into_owned();
        assert!(!text.contains(&*a.path("").to_string_lossy()), "{name}");
    }
}

#[test]
fn symbols_are_called_after_the_output() {
    let folder = small();
    for (output, prefix) in
        [("int.o", "int"), ("3-d.net.o", "m3_d_net"), ("模型.o", "model"), ("a.b/-.o", "model")]
    {
        std::fs::create_dir_all(folder.path("a.b")).unwrap();
        folder.run(&format!("compile m.onnx -o {output} --emit obj")).succeeds();
        let path = folder.path(output);
        let symbols = say(Command::new("nm").args(["-g", "-j"]).arg(&path));
        let expected = ["cpu_supported", "run", "run_images", "run_parallel"];
        let expected = expected.map(|s| format!("{prefix}_{s}"));
        assert_eq!(symbols.lines().collect::<Vec<_>>(), expected, "{output}");
        let header = std::fs::read_to_string(path.with_extension("h")).unwrap();
        assert!(header.contains(&format!("int {prefix}_run(const float *in, float *out, ")));
    }
}

#[test]
fn other_machines_have_objects_where_they_have_elf() {
    let folder = small();
    let compile = |target| folder.run(&format!("compile m.onnx -o x.o --target {target}"));
    compile("aarch64-unknown-linux-gnu").succeeds();
    let header = say(Command::new("readelf").arg("-h").arg(folder.path("x.o")));
    assert!(header.contains("AArch64") && header.contains("REL (Relocatable file)"), "{header}");
    let before = read(&folder, "x.o");
    for target in ["x86_64-pc-windows-msvc", "aarch64-apple-darwin", "riscv64gc-unknown-linux-gnu"]
    {
        let said = compile(target).fails_with(2);
        assert!(said.contains("help: "), "{said}");
    }
    let said = compile("riscv64gc-unknown-linux-gnu").fails_with(2);
    assert!(said.contains("128-bit vectors") && said.contains("V extension"), "{said}");
    assert_eq!(read(&folder, "x.o"), before);
}

#[test]
fn outputs_without_a_place_for_the_header_give_2() {
    let folder = small();
    for arguments in
        ["-o - --emit obj", "-o - --emit shared", "-o m.h --emit obj", "-o /dev/null --emit obj"]
    {
        let said = folder.run(&format!("compile m.onnx {arguments}")).fails_with(2);
        assert!(said.contains("help: name a file"), "{said}");
    }
    assert_eq!(folder.names(), ["m.onnx"]);
}

#[test]
fn both_files_are_written_or_neither() {
    let folder = small();
    folder.run("compile m.onnx -o no/x.o").fails_with(5);
    // The header's place is taken by a folder, and the object's by a file that must stay.
    std::fs::create_dir(folder.path("x.h")).unwrap();
    std::fs::write(folder.path("x.o"), "old").unwrap();
    let said = folder.run("compile m.onnx -o x.o").fails_with(5);
    assert!(said.contains("x.h"), "{said}");
    assert_eq!(folder.names(), ["m.onnx", "x.h", "x.o"]);
    assert_eq!(read(&folder, "x.o"), b"old");
}

#[test]
fn a_linker_that_is_missing_or_fails_says_what_to_do() {
    let folder = small();
    for (compiler, why) in [
        ("/no/such/compiler", "cannot start `/no/such/compiler`"),
        ("false", "`false`, exit status: 1"),
        ("cc -m32 -no-such-flag", "no-such-flag"),
        ("true", "`true` made none"),
    ] {
        let said =
            command(&folder.path("."), "compile m.onnx -o m.so").env("CC", compiler).output();
        let said = said.unwrap();
        let text = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(1), "{text}");
        assert!(text.contains(why) && text.contains("help: install a C compiler"), "{text}");
        assert_eq!(folder.names(), ["m.onnx"]);
    }
    // Words after the compiler's name are arguments.
    let mut cc = command(&folder.path("."), "compile m.onnx -o m.so");
    assert!(cc.env("CC", "cc -O1").status().unwrap().success());
}
