//! Every command of the book's first chapter, in the order in which they stand there.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "full"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::Folder;

/// What stands between ```` ```sh ```` and the end of such a block, for all of them.
fn blocks(text: &str) -> Vec<&str> {
    let begun = text.split("\n```sh\n").skip(1);
    begun.map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// A shell in a folder, with the `cardinal` that is tested on its path.
fn shell(folder: &Folder, root: &Path, script: &str) -> std::process::Output {
    let cardinal = Path::new(env!("CARGO_BIN_EXE_cardinal")).parent().unwrap();
    let old = env::var("PATH").unwrap();
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder.path(""))
        .env("PATH", format!("{}:{old}", cardinal.display()))
        .env("CARDINAL", root)
        .output()
        .unwrap()
}

#[test]
fn every_command_of_the_tutorial_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let text = fs::read_to_string(root.join("docs/src/tutorial.md")).unwrap();
    let folder = Folder::new();
    let blocks = blocks(&text);
    assert!(blocks.len() >= 8, "{} blocks", blocks.len());
    for block in blocks {
        let ran = shell(&folder, &root, block);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{block}\n{:?}: {said}", ran.status);
    }
    // What the chapter says of them.
    let seen =
        shell(&folder, &root, "cardinal doctor digits.onnx; ./digits photos/00000.png --top 1");
    let seen = String::from_utf8(seen.stdout).unwrap();
    assert!(seen.contains("317 in the file"), "{seen}");
    assert!(seen.lines().last().unwrap().trim_start().starts_with("7 "), "{seen}");
    let attention = fs::read_to_string(folder.path("fused.txt")).unwrap();
    assert_eq!(attention.matches(" = split_attention(").count(), 4);
    let rows = fs::read_to_string(folder.path("results.csv")).unwrap();
    assert_eq!(rows.lines().count(), 101);
}
