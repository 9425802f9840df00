//! Every read made to fail, one after the other: whatever a command reads, it ends with an error, or with
//! the same result where it can do without.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;
mod faults;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use common::{Folder, command};
use faults::Ended;

/// More calls than any of the commands needs.
const MOST_CALLS: usize = 2000;

/// What a command left.
#[derive(Debug, PartialEq)]
struct Left {
    stdout: Vec<u8>,
    /// The files of its folder, with their contents.
    files: Vec<(String, Vec<u8>)>,
}

fn test_file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).unwrap()
}

/// A folder with a model, its artifact and executable, and all kinds of inputs.
fn folder() -> Folder {
    let folder = Folder::new()
        .file("m.onnx", test_file("models/fixed.onnx"))
        .file("x.npy", test_file("models/x1.npy"))
        .file("external.onnx", test_file("models/external.onnx"))
        .file("weights", test_file("models/external.weights"))
        .file("i.png", test_file("images/colour_12x8.png"))
        .file("i.jpg", test_file("images/turned_16x8.jpg"))
        .file("labels", "ant\nbee\ncat\ndog\n");
    folder.run("compile m.onnx").succeeds();
    folder.run("compile m.onnx -o program").succeeds();
    folder.run("run m.onnx --input x.npy --output y.npz").succeeds();
    folder
}

/// What there is to see after a command, which has written this to stdout.
fn left(folder: &Folder, stdout: Vec<u8>) -> Left {
    let read = |name: String| (name.clone(), fs::read(folder.path(&name)).unwrap());
    Left { stdout, files: folder.names().into_iter().map(read).collect() }
}

/// Runs a command with its n-th read failing. How it ended, what it left, and what it said.
fn run(folder: &Folder, program: &mut Command, n: usize) -> (Ended, Left, String) {
    let said = Folder::new();
    let [out, err] = ["out", "err"].map(|name| said.path(name));
    program.current_dir(folder.path("")).stdin(File::open(folder.path("m.onnx")).unwrap());
    program.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let root = folder.path("").canonicalize().unwrap();
    let is_ours = |path: &str| {
        let is_relative = !path.is_empty() && !path.starts_with('/');
        is_relative || Path::new(path).starts_with(&root) || path == "/proc/self/exe"
    };
    let ended = faults::run(program, n, is_ours).unwrap();
    (ended, left(folder, fs::read(out).unwrap()), fs::read_to_string(err).unwrap())
}

/// Whether the system allows what [`faults`] does; sandboxes may not.
fn may_trace() -> bool {
    match faults::run(&mut Command::new("true"), usize::MAX, |_| false) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
        Err(error) => panic!("{error}"),
    }
}

/// Lets every read of a command fail in turn. At least so many of them must be errors, each with one of
/// these codes; `writes` is what the command writes.
fn every_read(program: impl Fn(&Folder) -> Command, writes: &str, codes: &[i32], least: usize) {
    if !may_trace() {
        println!("SKIPPED: this system does not let programs be traced");
        return;
    }
    let folder = folder();
    let before = left(&folder, Vec::new());
    let (ended, expected, said) = run(&folder, &mut program(&folder), usize::MAX);
    assert_eq!((ended.code, ended.failed), (Ok(0), None), "{said}");
    let mut errors = Vec::new();
    for n in 0..MOST_CALLS {
        let _ = fs::remove_file(folder.path(writes));
        let (Ended { code, failed }, left, said) = run(&folder, &mut program(&folder), n);
        let is_error = code.is_ok_and(|code| codes.contains(&code));
        let is_told = said.lines().any(|line| line.starts_with("error: "));
        assert!(is_error || code == Ok(0), "{code:?} without read {n}, {failed:?}: {said}");
        assert_eq!(is_told, is_error, "read {n}, {failed:?}: {said}");
        // Where it ends well, it can do without what could not be read.
        let wanted = if is_error { &before } else { &expected };
        assert!(left == *wanted, "a half result without read {n}, {failed:?}: {said}");
        match failed {
            Some(call) if is_error => errors.push(call),
            Some(_) => {}
            None if is_error => panic!("an error, and nothing failed: {said}"),
            None => return report(&arguments(&program(&folder)), n, &errors, least),
        }
    }
    panic!("more than {MOST_CALLS} reads");
}

fn report(command: &str, reads: usize, errors: &[String], least: usize) {
    println!("{errors:?}");
    println!(
        "trust: reads, {command}| {reads} made to fail in turn, {} of them errors",
        errors.len()
    );
    assert!(errors.len() >= least, "{} errors are too few", errors.len());
}

fn arguments(program: &Command) -> String {
    program.get_args().map(|argument| argument.to_string_lossy() + " ").collect()
}

fn cardinal(arguments: &'static str) -> impl Fn(&Folder) -> Command {
    move |folder| command(&folder.path(""), arguments)
}

#[test]
fn of_an_artifact_and_an_npy() {
    every_read(cardinal("run m.cardinal --input x.npy --output out.npy"), "out.npy", &[5], 6);
}

/// Of several images those that can be read have results, so each is alone here.
#[test]
fn of_images_and_labels() {
    every_read(cardinal("run m.cardinal i.png --labels labels"), "", &[5], 8);
    every_read(cardinal("run m.cardinal i.jpg --labels labels"), "", &[5], 8);
}

#[test]
fn of_a_model_and_an_npz() {
    every_read(cardinal("verify m.onnx --input x.npy --expected y.npz"), "", &[5], 9);
}

#[test]
fn of_a_model_with_external_data() {
    let compile = "compile external.onnx --threads 1 -o out.cardinal";
    every_read(cardinal(compile), "out.cardinal", &[3, 5], 6);
}

#[test]
fn of_other_weights() {
    let relink = "relink --weights m.onnx m.cardinal -o out.cardinal";
    every_read(cardinal(relink), "out.cardinal", &[5], 6);
}

#[test]
fn of_standard_input() {
    every_read(cardinal("inspect - --stage plan"), "", &[5], 1);
}

#[test]
fn of_an_executable_and_its_own_file() {
    let run = |folder: &Folder| {
        let mut program = Command::new(folder.path("program"));
        program.args(["--input", "x.npy", "--output", "out.npy"]);
        program
    };
    every_read(run, "out.npy", &[5], 4);
}
