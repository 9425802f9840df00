//! Text from files on its way out: no name, metadata or label drives a terminal or breaks a format.

#![allow(clippy::panic, reason = "a failing test is a panic")]

mod common;

use cardinal_runtime::text::is_visible;
use common::{Folder, Ran, npy::made_up};
use serde_json::Value;

const MODEL: &[u8] = include_bytes!("models/names.onnx");

fn folder() -> Folder {
    Folder::new()
        .file("m.onnx", MODEL)
        .file("x.npy", made_up(&[1, 4]))
        .file("wrong.npy", made_up(&[1, 5]))
}

/// All that it said, which only shows.
fn said(ran: &Ran) -> String {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    let shows = |c| c == '\n' || c == '\t' || is_visible(c);
    assert!(all.chars().all(shows), "{all:?}");
    assert!(all.lines().filter(|line| line.starts_with("error")).count() <= 1, "{all}");
    all
}

#[test]
fn nothing_that_is_printed_drives_a_terminal() {
    let folder = folder();
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    for arguments in [
        "inspect m.cardinal",
        "inspect m.cardinal --stage fused",
        "inspect m.cardinal --stage schedule",
        "inspect m.cardinal --stage plan",
        "inspect m.cardinal --stage asm",
        "inspect m.cardinal --against m.onnx",
        "explain m.cardinal #0 --asm",
        "profile m.cardinal --iterations 1 --warmup 0",
        "inspect m.onnx --stage import --why",
        "inspect m.onnx --stage fused --format dot --why",
        "inspect m.onnx --stage schedule",
        "inspect m.onnx --stage plan",
        "inspect m.onnx --stage plan --format dot",
        "inspect m.onnx --stage clif",
        "inspect m.onnx --stage asm",
        "inspect m.onnx --stage asm --step #0",
        "inspect m.onnx --passes",
        "explain m.onnx #0 --asm",
        "explain m.onnx relu",
        "explain m.onnx nothing",
        "doctor m.onnx",
        "profile m.onnx --iterations 1 --warmup 0",
        "profile m.onnx --iterations 1 --warmup 0 --format html",
        "run m.cardinal --input x.npy",
        "run m.onnx --input wrong.npy",
        "run m.onnx --input no=x.npy",
        "bench m.onnx --iterations 1 --warmup 0 --steps",
        "verify m.onnx --input x.npy",
        "verify m.onnx --input x.npy --expected wrong.npy",
        "compile m.onnx --shape no=1x4",
    ] {
        let ran = folder.run(arguments);
        assert!([0, 2, 4].contains(&ran.code), "{arguments}: {ran:?}");
        assert!(!said(&ran).is_empty(), "{arguments}");
    }
    let about = said(&folder.run("inspect m.cardinal"));
    let metadata = about.lines().filter(|line| line.starts_with("metadata")).count();
    assert_eq!(metadata, 2, "{about}");
}

#[test]
fn json_means_what_the_model_says() {
    let folder = folder();
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    for arguments in [
        "inspect m.cardinal --format json",
        "inspect m.onnx --format json",
        "inspect m.onnx --stage plan --format json",
        "inspect m.onnx --format json --why",
        "run m.cardinal --input x.npy --json",
        "bench m.onnx --iterations 1 --warmup 0 --steps --json",
        "explain m.onnx #0 --asm --json",
        "doctor m.onnx --json",
        "profile m.onnx --iterations 1 --warmup 0 --json",
        "profile m.onnx --iterations 1 --warmup 0 --format chrome-trace",
        "compile m.onnx --json -o n.cardinal",
    ] {
        let ran = folder.run(arguments);
        said(&ran);
        let json: Value = serde_json::from_str(&ran.succeeds()).unwrap_or_default();
        assert!(json.is_object(), "{arguments}");
    }
    let json = folder.run("run m.cardinal --input x.npy --json").succeeds();
    let json: Value = serde_json::from_str(&json).unwrap_or_default();
    let name = json["outputs"][0]["name"].as_str().unwrap_or_default();
    assert!(name.starts_with("y\u{1b}]0;title\u{7}\u{9b}31m\u{202e}"), "{name:?}");
}

#[test]
fn headers_are_ascii_without_comments_of_the_models() {
    let folder = folder();
    folder.run("compile m.onnx -o m.o").succeeds();
    let header = std::fs::read_to_string(folder.path("m.h")).unwrap_or_default();
    assert!(header.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{header}");
    // The model's own would end a comment, or begin a line.
    assert!(header.lines().all(|line| !line.starts_with("error")), "{header}");
}

#[test]
fn an_executable_says_what_it_is_as_safely() {
    let folder = folder();
    folder.run("compile m.onnx -o m").succeeds();
    for arguments in
        [&["--info"][..], &["--info", "--json"], &["--input", "x.npy"], &["--selftest"]]
    {
        let output = std::process::Command::new(folder.path("m"))
            .current_dir(folder.path(""))
            .args(arguments)
            .output();
        let Ok(output) = output else { panic!("{arguments:?}") };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let code = output.status.code().unwrap_or(-1);
        let ran = Ran { code, stdout, bytes: output.stdout, stderr };
        said(&ran);
        ran.succeeds();
    }
}
