//! Executables that stand alone: what they compute, that they need nothing, and that damage to them
//! is noticed before the model's code runs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use cardinal_cli::executable::{Parts, Sample, assemble, split};
use serde_json::Value;

use common::Folder;

/// Most bytes of an executable besides its weights.
const SIZE_LIMIT: usize = 2_850_000;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

/// The digits model as an executable, made once.
static DIGITS: LazyLock<Vec<u8>> = LazyLock::new(|| compile("digits"));

/// The digits model, compiled to a file of that name.
fn compile(output: &str) -> Vec<u8> {
    let folder = Folder::new();
    let model = examples().join("mnist_resnest.onnx");
    folder.run(&format!("compile {} -o {output}", model.display())).succeeds();
    let mode = fs::metadata(folder.path(output)).unwrap().permissions().mode() & 0o111;
    assert_eq!(mode, if output.contains('.') { 0 } else { 0o111 & !umask() });
    fs::read(folder.path(output)).unwrap()
}

fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}

/// An empty folder with `bytes` in it as the executable `digits`.
fn folder_with(bytes: &[u8]) -> Folder {
    let folder = Folder::new();
    let mut options = fs::File::options();
    let mut file = options.write(true).create_new(true).mode(0o755).open(folder.path("digits"));
    file.as_mut().unwrap().write_all(bytes).unwrap();
    folder
}

/// Runs the folder's executable without an environment.
fn run(folder: &Folder, arguments: &[&str]) -> Output {
    // A child of another test's thread may still hold the file open for writing, between its fork
    // and its exec.
    loop {
        let ran = Command::new("./digits")
            .args(arguments)
            .current_dir(folder.path(""))
            .env_clear()
            .stdin(Stdio::null())
            .output();
        match ran {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            ran => return ran.unwrap(),
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn succeeds(ran: &Output) -> &str {
    assert!(ran.status.success(), "{ran:?}");
    text(&ran.stdout)
}

fn fails_with(ran: &Output, code: i32) -> &str {
    assert_eq!(ran.status.code(), Some(code), "{ran:?}");
    text(&ran.stderr)
}

/// File and predicted class of the example images.
fn predictions() -> Vec<(PathBuf, String)> {
    let labels = fs::read_to_string(examples().join("labels.txt")).unwrap();
    let rows = labels.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (examples().join(words[0]), words[2].to_owned())
    };
    rows.map(row).collect()
}

fn top_classes(json: &str) -> Vec<String> {
    let json: Value = serde_json::from_str(json).unwrap();
    let results = json["results"].as_array().unwrap().iter();
    results.map(|r| r["top"][0]["index"].to_string()).collect()
}

#[test]
fn the_example_images_are_classified_without_an_environment() {
    let (images, expected): (Vec<PathBuf>, Vec<String>) = predictions().into_iter().unzip();
    let images: Vec<&str> = images.iter().map(|path| path.to_str().unwrap()).collect();
    let arguments = [&images[..], &["--top", "1", "--json"]].concat();
    let ran = run(&folder_with(&DIGITS), &arguments);
    assert_eq!(top_classes(succeeds(&ran)), expected);
}

#[test]
fn it_runs_in_a_root_without_anything() {
    let folder = folder_with(&DIGITS);
    let (image, expected) = predictions().swap_remove(0);
    fs::copy(image, folder.path("image.png")).unwrap();
    let chroot = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(folder.path("")).arg("/digits").args(arguments).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output()
    };
    match chroot(&["--version"]) {
        Ok(ran) if ran.status.success() => {}
        refused => {
            println!("not permitted to chroot, so not tested: {refused:?}");
            return;
        }
    }
    let ran = chroot(&["image.png", "--top", "1", "--json"]).unwrap();
    assert_eq!(top_classes(succeeds(&ran)), [expected]);
    for arguments in [&["--selftest"][..], &["--info"], &["--bench", "--iterations", "2"]] {
        succeeds(&chroot(arguments).unwrap());
    }
}

#[test]
fn it_says_what_it_is() {
    let folder = folder_with(&DIGITS);
    let ran = run(&folder, &["--info"]);
    for said in ["model ", "digest ", "input ", "f32[1, 1, 28, 28]", "cpu features", "runner bytes"]
    {
        assert!(succeeds(&ran).contains(said), "{said}: {ran:?}");
    }
    let ran = run(&folder, &["--info", "--json"]);
    let json: Value = serde_json::from_str(succeeds(&ran)).unwrap();
    assert_eq!(json["schema"], "cardinal.artifact/v2");
    let ran = run(&folder, &["--version"]);
    let version = concat!("cardinal ", env!("CARGO_PKG_VERSION"), " (executable)\n");
    assert_eq!(succeeds(&ran), version);
    let ran = run(&folder, &["--bench", "--iterations", "3", "--threads", "1", "--json"]);
    let json: Value = serde_json::from_str(succeeds(&ran)).unwrap();
    assert_eq!((&json["schema"], &json["precision"]), (&"cardinal.bench/v1".into(), &"f32".into()));
    assert_eq!(json["latency_ms"].as_array().unwrap().len(), 3);
}

#[test]
fn help() {
    let ran = run(&folder_with(&DIGITS), &["--help"]);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("executable@help", succeeds(&ran)));
}

#[test]
fn a_command_line_that_cannot_be_gives_2() {
    let folder = folder_with(&DIGITS);
    for arguments in ["", "--info a.png", "--bench --selftest", "--warmup 3 a.png", "a.png --top 0"]
    {
        let ran = run(&folder, &arguments.split_whitespace().collect::<Vec<_>>());
        assert!(!fails_with(&ran, 2).is_empty(), "{arguments}");
    }
    fails_with(&run(&folder, &["no.png"]), 5);
}

#[test]
fn the_self_test_passes_and_notices_other_outputs() {
    let folder = folder_with(&DIGITS);
    let ran = run(&folder, &["--selftest"]);
    assert!(succeeds(&ran).starts_with("same "), "{ran:?}");
    let Parts { runner, artifact, sample } = split(&DIGITS.clone().into()).unwrap();
    let with =
        |sample: &Sample| folder_with(&assemble(&runner, &artifact, sample).unwrap().concat());
    let mut other = sample.clone();
    let first: [u8; 4] = *other.outputs[0].bytes.first_chunk().unwrap();
    let moved = f32::from_le_bytes(first) + 0.5;
    other.outputs[0].bytes[..4].copy_from_slice(&moved.to_le_bytes());
    let ran = run(&with(&other), &["--selftest"]);
    assert!(fails_with(&ran, 4).contains("the self-test failed"), "{ran:?}");
    assert!(text(&ran.stdout).starts_with("DIFFERENT"), "{ran:?}");
    let ran = run(&with(&other), &["--selftest", "--json"]);
    fails_with(&ran, 4);
    let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&json["schema"], &json["same"]), (&"cardinal.selftest/v1".into(), &false.into()));
    other.outputs.clear();
    fails_with(&run(&with(&other), &["--selftest"]), 4);
}

#[test]
fn a_stack_that_overflows_is_named() {
    let (image, _) = predictions().swap_remove(0);
    // 32 KiB are too few to decode an image. To tell, the runner must know where its stack is.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -s 32 && exec ./digits \"$0\""]).arg(image).env_clear();
    let folder = Folder::new();
    let model = examples().join("mnist_resnest.onnx");
    // Written by another process: that this one holds it open, no shell could tell us.
    folder.run(&format!("compile {} -o digits", model.display())).succeeds();
    let ran = command.current_dir(folder.path("")).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(text(&ran.stderr).contains("thread 'main'"), "{ran:?}");
    assert!(text(&ran.stderr).contains("has overflowed its stack"), "{ran:?}");
}

#[test]
fn damage_is_refused_before_the_model_runs() {
    let good = &DIGITS[..];
    let Parts { runner, artifact, .. } = split(&DIGITS.clone().into()).unwrap();
    let (model, end) = (runner.len(), runner.len() + artifact.len());
    // Places in the artifact's header, manifest, code and weights, in the sample and in the trailer;
    // not in the runner's machine code, which may do anything when it is not what it was.
    let within = |from: usize, to: usize, count: usize| {
        (0..count).map(move |i| from + i * (to - from) / count)
    };
    let places = within(model, model + 48, 24)
        .chain(within(model + 48, end, 40))
        .chain(within(end, good.len() - 128, 8))
        .chain(within(good.len() - 128, good.len(), 32));
    let lengths = within(model, good.len(), 16).chain([good.len() - 1]);
    let flipped = places.enumerate().map(|(i, place)| {
        let mut bad = good.to_vec();
        bad[place] ^= 1 << (i % 8);
        (format!("bit {} of byte {place}", i % 8), bad)
    });
    let cut = lengths.map(|length| (format!("cut to {length}"), good[..length].to_vec()));
    let longer = [("longer".to_owned(), [good, b"x"].concat())];
    let mut count = 0;
    for (what, bad) in flipped.chain(cut).chain(longer) {
        let ran = run(&folder_with(&bad), &["--selftest"]);
        assert!(ran.stdout.is_empty(), "{what}: {ran:?}");
        assert!(fails_with(&ran, 3).contains("help:"), "{what}: {ran:?}");
        count += 1;
    }
    assert!(count >= 120, "{count}");
}

#[test]
fn it_is_small_and_the_same_every_time() {
    let artifact = compile("digits.cardinal");
    let Parts { artifact: attached, .. } = split(&DIGITS.clone().into()).unwrap();
    assert_eq!(attached, artifact);
    let artifact = cardinal_runtime::Artifact::from_bytes(attached).unwrap();
    let overhead = DIGITS.len() - artifact.weights().len();
    println!("{overhead} bytes besides the weights, of {}", DIGITS.len());
    assert!(overhead < SIZE_LIMIT, "{overhead}");
    assert!(compile("again") == *DIGITS);
}

#[test]
fn other_machines_are_refused_before_anything_is_read() {
    let said =
        Folder::new().run("compile no.onnx -o digits --target aarch64-apple-darwin").fails_with(2);
    assert!(said.contains("this machine's architecture"), "{said}");
}

/// What an attacker would want: code at a known address, tables of functions that can be written, a stack
/// or any other memory that can be written and executed. The same of a shared library.
#[test]
fn executables_and_libraries_are_hardened() {
    let folder = folder_with(&DIGITS);
    let model = examples().join("mnist_resnest.onnx");
    folder.run(&format!("compile {} -o digits.so", model.display())).succeeds();
    for (file, is_program) in [("digits", true), ("digits.so", false)] {
        let said = Command::new("readelf").args(["-hlWd"]).arg(folder.path(file)).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let said = String::from_utf8(said.stdout).unwrap();
        let lines = |word: &'static str| said.lines().filter(move |line| line.contains(word));
        assert_eq!(lines(" DYN ").count(), 1, "{file} lies at an address of its own: {said}");
        assert!(lines("LOAD ").count() > 1 && lines("LOAD ").all(|l| !l.contains("RWE")), "{said}");
        assert!(lines("GNU_STACK").all(|line| line.contains(" RW ")), "{file}: {said}");
        assert_eq!(lines("GNU_STACK").count(), 1, "{file} says nothing of its stack: {said}");
        assert_eq!(lines("GNU_RELRO").count(), 1, "{file} leaves its tables writable: {said}");
        assert!(!said.contains("TEXTREL"), "{file} relocates code: {said}");
        // A library has no table of functions of others.
        let is_bound = said.contains("BIND_NOW") && said.contains("Flags: NOW PIE");
        assert!(is_bound || !is_program, "{file} binds functions later on: {said}");
    }
}
