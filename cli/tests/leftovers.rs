//! What stays when a command does not come to its end: signals at any moment, limits on files, full
//! disks, mapped files that are cut short.
//!
//! `CARDINAL_ROUNDS` is how many moments of each signal are tried, 4 by default; `CARDINAL_SEED` gives
//! the moments of an earlier run again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::moments::Moments;
use common::onnx::{Tensor, node, write};
use common::{Folder, command};

/// Channels of every layer, and layers: 16 MiB of weights.
const CHANNELS: i64 = 512;
const LAYERS: usize = 16;

fn rounds() -> usize {
    std::env::var("CARDINAL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// A folder with `m.onnx`, 1x1 convolutions.
fn folder() -> Folder {
    let folder = Folder::new();
    let mut tensors = Vec::new();
    let mut nodes = Vec::new();
    let mut from = "x".to_owned();
    for layer in 0..LAYERS {
        let [weight, to] = ["w", "y"].map(|letter| format!("{letter}{layer}"));
        tensors.push(Tensor::new(&weight, &[CHANNELS, CHANNELS, 1, 1]));
        nodes.push(node("Conv", &[&from, &weight], &to));
        from = to;
    }
    let value = |t: usize, i: i64| ((i * 7 + t as i64 * 31) % 1009 + 1) as f32 / 1e5;
    write(&folder.path("m.onnx"), &[1, CHANNELS, 7, 7], nodes, &tensors, value).unwrap();
    folder
}

fn start(folder: &Folder, arguments: &str) -> Child {
    let mut command = command(&folder.path(""), arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn send(signal: &str, to: &Child) {
    let id = to.id().to_string();
    let _ = Command::new("kill").args(["-s", signal, &id]).stderr(Stdio::null()).status();
}

/// Runs a command line of `sh`, in which `$0` is the command.
fn shell(folder: &Folder, line: &str) -> Output {
    let mut shell = Command::new("sh");
    shell.current_dir(folder.path("")).arg("-c").arg(line).arg(env!("CARGO_BIN_EXE_cardinal"));
    shell.output().unwrap()
}

/// Checks that a command has ended with an exit code and one line on stderr, apart from what `run` says of
/// images, and gives that.
fn one_line(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.split_inclusive('\n').filter(|l| !about_images(l)).collect();
    assert_eq!(output.status.code(), Some(code), "{:?}: {said}", output.status);
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
    said
}

/// Whether a line says how images are prepared, or goes on with that.
fn about_images(line: &str) -> bool {
    let goes_on = line.starts_with("  ") && !line.starts_with("  help: ");
    goes_on || line.starts_with("images: ") || line.starts_with("warning: nothing says how images")
}

fn number(signal: &str) -> i32 {
    match signal {
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "KILL" => libc::SIGKILL,
        _ => libc::SIGTERM,
    }
}

/// How often a command was ended by its signal.
fn strike(signal: &str, arguments: &str, outputs: &[&str]) -> usize {
    let folder = folder();
    let whole = outputs.iter().map(|name| {
        folder.run(arguments).succeeds();
        fs::read(folder.path(name)).unwrap()
    });
    let whole: Vec<Vec<u8>> = whole.collect();
    let begin = Instant::now();
    folder.run(arguments).succeeds();
    let most = begin.elapsed().mul_f64(1.1);
    let mut moments = Moments::new();
    let mut struck = 0;
    for _ in 0..rounds() {
        outputs.iter().for_each(|name| fs::write(folder.path(name), b"old").unwrap());
        let names = folder.names();
        let child = start(&folder, arguments);
        let moment = moments.next(most);
        sleep(moment);
        send(signal, &child);
        let status = child.wait_with_output().unwrap().status;
        struck += usize::from(check_ending(status, number(signal)));
        let are_new: Vec<bool> = outputs
            .iter()
            .zip(&whole)
            .map(|(name, whole)| {
                let found = fs::read(folder.path(name)).unwrap();
                assert!(found == b"old" || found == *whole, "{name} after {moment:?}");
                found == *whole
            })
            .collect();
        if signal == "KILL" {
            folder.run(arguments).succeeds();
        } else {
            assert!(are_new.iter().all(|new| *new == are_new[0]), "after {moment:?}: {are_new:?}");
        }
        assert_eq!(folder.names(), names, "{signal} after {moment:?} of {arguments}");
    }
    struck
}

/// Whether a command was ended by this signal; otherwise it has done its work.
fn check_ending(status: ExitStatus, signal: i32) -> bool {
    assert!(status.success() || status.signal() == Some(signal), "{status}");
    !status.success()
}

#[test]
fn signals_leave_the_folder_as_it_was_or_the_output_whole() {
    let mut struck = 0;
    for signal in ["INT", "TERM", "HUP"] {
        struck += strike(signal, "compile m.onnx -o m.cardinal", &["m.cardinal"]);
        struck += strike(signal, "compile m.onnx -o m.so", &["m.h", "m.so"]);
    }
    println!(
        "trust: commands ended by INT, TERM or HUP that left nothing behind | {struck} of {}",
        6 * rounds()
    );
}

#[test]
fn what_sigkill_leaves_the_next_run_removes() {
    let mut struck = strike("KILL", "compile m.onnx -o m.cardinal", &["m.cardinal"]);
    struck += strike("KILL", "compile m.onnx -o m.so", &["m.h", "m.so"]);
    println!(
        "trust: commands ended by KILL that the next run cleared up after | {struck} of {}",
        2 * rounds()
    );
}

/// The linker is stopped where it is: it waits for ever here.
#[test]
fn a_linker_ends_with_the_command() {
    for signal in ["INT", "TERM", "HUP"] {
        let folder = folder().file("link.sh", "#!/bin/sh\necho $$ > started\nsleep 1000\n");
        let mut command = command(&folder.path(""), "compile m.onnx -o m.so");
        command.env("CC", "sh ./link.sh").stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let started = folder.path("started");
        let id = wait_for(|| fs::read_to_string(&started).ok().filter(|id| id.ends_with('\n')));
        send(signal, &child);
        assert!(check_ending(child.wait_with_output().unwrap().status, number(signal)));
        assert!(!Path::new("/proc").join(id.trim()).exists(), "the linker is alive");
        assert_eq!(folder.names(), ["link.sh", "m.onnx", "started"]);
    }
}

fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> T {
    loop {
        match found() {
            Some(found) => return found,
            None => sleep(Duration::from_millis(5)),
        }
    }
}

#[test]
fn nohup_keeps_a_command_going() {
    let folder = folder();
    fs::write(folder.path("m.cardinal"), b"old").unwrap();
    let line =
        "trap '' HUP; \"$0\" compile m.onnx -o m.cardinal & sleep 0.02; kill -HUP $!; wait $!";
    assert!(shell(&folder, line).status.success());
    assert_ne!(fs::read(folder.path("m.cardinal")).unwrap(), b"old");
}

#[test]
fn a_limit_on_files_is_an_error_and_leaves_nothing() {
    for output in ["m.cardinal", "m.o", "m.so", "m"] {
        let folder = folder().file(output, "old");
        let names = folder.names();
        let ran = shell(&folder, &format!("ulimit -f 100; exec \"$0\" compile m.onnx -o {output}"));
        let said = one_line(&ran, 5);
        assert!(said.contains("too large") && said.contains(output), "{said}");
        assert_eq!(folder.names(), names);
        assert_eq!(fs::read(folder.path(output)).unwrap(), b"old");
    }
    let folder = folder();
    let ran = shell(&folder, "ulimit -f 1; exec \"$0\" inspect m.onnx --stage asm > listing");
    assert!(one_line(&ran, 5).contains("standard output"));
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let folder = folder();
    fs::create_dir(folder.path("disk")).unwrap();
    let mount = "mount -t tmpfs -o size=4m none disk 2>/dev/null || exit 77; trap 'umount disk' EXIT; \
                 echo old > disk/m.cardinal; \"$0\" compile m.onnx -o disk/m.cardinal; code=$?; \
                 ls -A disk; cat disk/m.cardinal; exit $code";
    let ran = shell(&folder, mount);
    if ran.status.code() == Some(77) {
        return println!("SKIPPED: this user may not mount a small disk");
    }
    assert!(one_line(&ran, 5).contains("No space left"));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "m.cardinal\nold\n");
}

/// The signals that a process has handlers for, as `/proc/PID/status` has them.
fn handled(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// A pipe that a command reads: when this returns, it has come as far.
fn pipe_into(folder: &Folder, arguments: &str) -> (Child, File) {
    let pipe = folder.path("pipe");
    let _ = fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let child = start(folder, arguments);
    let writer = File::options().write(true).open(pipe).unwrap();
    (child, writer)
}

fn cut_short(path: &Path) {
    File::options().write(true).open(path).unwrap().set_len(4096).unwrap();
}

#[test]
fn weights_that_are_cut_short_while_a_kernel_reads_them_are_an_error() {
    let image = "../examples/digits/images/00000.png";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join("../examples/digits/mnist_resnest.onnx");
    let folder = Folder::new();
    folder.run(&format!("compile {} -o m.cardinal", model.display())).succeeds();
    let (child, mut pipe) = pipe_into(&folder, "run m.cardinal pipe");
    cut_short(&folder.path("m.cardinal"));
    pipe.write_all(&fs::read(root.join(image)).unwrap()).unwrap();
    drop(pipe);
    let said = one_line(&child.wait_with_output().unwrap(), 5);
    assert!(said.contains("cut short"), "{said}");
}

#[test]
fn an_artifact_that_is_cut_short_while_it_is_relinked_is_an_error() {
    let folder = folder();
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    let (child, mut pipe) = pipe_into(&folder, "relink --weights pipe m.cardinal -o new.cardinal");
    cut_short(&folder.path("m.cardinal"));
    pipe.write_all(&fs::read(folder.path("m.onnx")).unwrap()).unwrap();
    drop(pipe);
    let said = one_line(&child.wait_with_output().unwrap(), 5);
    assert!(said.contains("cut short"), "{said}");
    assert_eq!(folder.names(), ["m.cardinal", "m.onnx", "pipe"]);
}

/// At a random moment the model is refused, read to its end, or cut short in between.
#[test]
fn a_model_that_is_cut_short_while_it_is_compiled_leaves_nothing() {
    let folder = folder();
    let model = fs::read(folder.path("m.onnx")).unwrap();
    let begin = Instant::now();
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    let most = begin.elapsed();
    let whole = fs::read(folder.path("m.cardinal")).unwrap();
    let mut moments = Moments::new();
    let mut faults = 0;
    for _ in 0..rounds() {
        fs::write(folder.path("m.onnx"), &model).unwrap();
        fs::write(folder.path("m.cardinal"), b"old").unwrap();
        let child = start(&folder, "compile m.onnx -o m.cardinal");
        sleep(moments.next(most));
        cut_short(&folder.path("m.onnx"));
        let ran = child.wait_with_output().unwrap();
        let expected: &[u8] = if ran.status.success() { &whole } else { b"old" };
        assert!(fs::read(folder.path("m.cardinal")).unwrap() == expected, "{ran:?}");
        match ran.status.code() {
            Some(0 | 3) => {}
            _ => faults += usize::from(one_line(&ran, 5).contains("cut short")),
        }
        assert_eq!(folder.names(), ["m.cardinal", "m.onnx"]);
    }
    println!(
        "trust: models cut short while mapped that ended in one line | {faults} of {}",
        rounds()
    );
}

#[test]
fn executables_handle_the_same_signals_and_others_are_as_ever() {
    let model = "../examples/digits/mnist_resnest.onnx";
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
    let folder = Folder::new();
    folder.run(&format!("compile {} -o m", model.display())).succeeds();
    let (command, pipe) = pipe_into(&folder, &format!("run {} pipe", model.display()));
    let all = handled(&command);
    send("BUS", &command);
    drop(pipe);
    let status = command.wait_with_output().unwrap().status;
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
    fs::remove_file(folder.path("pipe")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.path("pipe")).status().unwrap().success());
    let mut executable = Command::new(folder.path("m"));
    executable.current_dir(folder.path("")).arg("pipe").stderr(Stdio::null());
    let executable = executable.spawn().unwrap();
    let pipe = File::options().write(true).open(folder.path("pipe")).unwrap();
    assert_eq!(handled(&executable), all);
    let ending = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
    for signal in ending.into_iter().chain([libc::SIGXFSZ, libc::SIGBUS, libc::SIGABRT]) {
        assert!(all >> (signal - 1) & 1 == 1, "{signal}");
    }
    send("TERM", &executable);
    let status = executable.wait_with_output().unwrap().status;
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{status}");
    drop(pipe);
}
