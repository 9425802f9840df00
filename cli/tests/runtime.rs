//! The runtime's C library around artifacts that the command line makes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::programs::{examples, images, say};
use common::{Folder, command};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where `libcardinal_runtime.so` and `.a` are. Tests do not make Cargo build a library for C, so
/// this does, beside what is built already. It asks for a test of the library's crate as well, and for
/// every crate's library: with fewer, features of dependencies would not be those that the tests were
/// built with, and all of them would be built once more.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let said = say(Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["build", "--locked", "--offline", "--message-format=json", "--workspace"])
            .args(["--lib", "--test", "header", "--profile", profile, "--target-dir"])
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()));
        let messages = said.lines().map(|line| line.parse::<serde_json::Value>().unwrap());
        let files = messages.flat_map(|m| m["filenames"].as_array().cloned().unwrap_or_default());
        let paths = files.map(|file| PathBuf::from(file.as_str().unwrap()));
        let mut libraries = paths.filter(|path| path.ends_with("libcardinal_runtime.so"));
        libraries.next().unwrap().parent().unwrap().to_owned()
    })
}

/// The digits model as an artifact for this CPU, for two, and as an object.
fn compiled() -> Folder {
    let folder = Folder::new();
    let model = examples().join("digits/mnist_resnest.onnx");
    for output in ["digits.cardinal", "digits.o", "two.cardinal --cpu x86-64,x86-64-v2"] {
        say(command(&folder.path("."), &format!("compile -o {output}")).arg(&model));
    }
    folder
}

#[test]
fn the_c_example_loads_an_artifact_and_predicts_the_hundred_stored_classes() {
    let folder = Folder::new();
    let said = say(Command::new("make")
        .args(["-s", "-C"])
        .arg(examples().join("c"))
        .arg("artifact")
        .arg(format!("CARDINAL={}", env!("CARGO_BIN_EXE_cardinal")))
        .arg(format!("LIBRARY={}", library().display()))
        .arg(format!("BUILD={}", folder.path("build").display()))
        .env_remove("MAKEFLAGS"));
    assert!(said.ends_with("seven.pgm 7\n"), "{said}");
    let (paths, expected) = images(&folder);
    let mut program = Command::new(folder.path("build/artifact"));
    let said = say(program.arg(folder.path("build/digits.cardinal")).args(&paths));
    let found: Vec<&str> = said.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(found, expected);
    assert_eq!(found.len(), 100);
    // And with weights in half precision, which are other weights, but the same classes.
    let model = examples().join("digits/mnist_resnest.onnx");
    say(command(&folder.path("."), "compile --weights f16 -o halves.cardinal").arg(model));
    let mut program = Command::new(folder.path("build/artifact"));
    assert_eq!(say(program.arg(folder.path("halves.cardinal")).args(&paths)), said);
}

#[test]
fn the_c_example_says_what_is_wrong() {
    let folder = compiled().file("other.pgm", "P5 1 1 255\n.");
    let program = Build::default().program(&folder, &examples().join("c/artifact.c"));
    for (model, image, what) in [
        ("none.cardinal", "x.pgm", "cannot open none.cardinal"),
        ("digits.o", "x.pgm", "help: give a .cardinal file"),
        ("digits.cardinal", "other.pgm", "other.pgm is no binary PGM of 28x28 pixels"),
    ] {
        let mut program = Command::new(&program);
        let said = program.current_dir(folder.path(".")).args([model, image]).output().unwrap();
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(said.status.code() == Some(1) && text.contains(what), "{text}");
    }
}

/// A way to build a program with the library.
struct Build {
    compiler: &'static str,
    /// `c` or `c++`.
    language: &'static str,
    options: &'static [&'static str],
    library: &'static str,
}

impl Default for Build {
    fn default() -> Build {
        let options = &["-std=c11"];
        Build { compiler: "cc", language: "c", options, library: "-lcardinal_runtime" }
    }
}

impl Build {
    /// Builds a program in a folder that has the digits model as an object.
    fn program(&self, folder: &Folder, source: &Path) -> PathBuf {
        let library = library().display();
        say(Command::new(self.compiler)
            .current_dir(folder.path("."))
            .args(self.options)
            .args(["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I.", "-I"])
            .arg(root().join("runtime/c/include"))
            .args(["-x", self.language])
            .arg(source)
            .args(["-x", "none", "digits.o", &format!("-L{library}"), self.library])
            .args(["-lpthread", "-ldl", "-lm", &format!("-Wl,-rpath,{library}"), "-o", "program"]));
        folder.path("program")
    }

    /// Runs `tests/c/runtime.c`, built so.
    fn holds(&self) {
        self.runs("runtime.c", &["digits.cardinal", "two.cardinal"]);
    }

    /// Runs a program of `tests/c`, built so, which counts its failures.
    fn runs(&self, source: &str, arguments: &[&str]) {
        let folder = compiled();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
        let mut program = Command::new(self.program(&folder, &source));
        program.current_dir(folder.path(".")).args(arguments);
        let said = program.output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout);
        let errors = String::from_utf8_lossy(&said.stderr);
        assert_eq!(text, "0 failures\n", "{errors}");
        assert!(said.status.success(), "{errors}");
    }
}

#[test]
fn the_library_holds_what_its_header_says() {
    Build::default().holds();
    let options = &["-std=c++11"];
    Build { compiler: "c++", language: "c++", options, ..Build::default() }.holds();
}

#[test]
fn linked_statically_it_does_too() {
    Build { library: "-l:libcardinal_runtime.a", ..Build::default() }.holds();
}

/// Nothing is read or written outside of what was given, and nothing is left when all is freed.
#[test]
fn memory_is_respected_and_freed() {
    let options = &["-std=c11", "-fsanitize=address,undefined"];
    Build { options, ..Build::default() }.holds();
}

/// The model's own function and the runtime's leave registers, flags and vectors as a function must.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_leave_to_the_caller_what_is_the_callers() {
    let options = &["-std=gnu11", "-Wno-pedantic"];
    Build { options, ..Build::default() }.runs("registers.c", &["digits.cardinal"]);
}

#[test]
fn only_the_headers_functions_are_exported() {
    let mut nm = Command::new("nm");
    nm.args(["-D", "-j", "--defined-only"]).arg(library().join("libcardinal_runtime.so"));
    let said = say(&mut nm);
    let mut exported: Vec<&str> = said.lines().collect();
    let path = root().join("runtime/c/include/cardinal_runtime.h");
    let header = std::fs::read_to_string(path).unwrap();
    let lines = header.lines().filter(|line| !line.starts_with([' ', '/']));
    let before = lines.filter_map(|line| line.split_once('(')).map(|(before, _)| before);
    let mut declared: Vec<&str> =
        before.filter_map(|text| text.rsplit([' ', '*']).next()).collect();
    exported.sort_unstable();
    declared.sort_unstable();
    assert_eq!(exported, declared);
    assert!(declared.len() > 7, "{declared:?}");
}
