//! The documents name files that exist, and commands that run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use std::path::Path;

#[test]
fn files_named_in_the_architecture_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    let folders = ["src/", "tests/", "../"];
    let paths: Vec<&str> = quoted.filter(|q| folders.iter().any(|f| q.starts_with(f))).collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths.into_iter().filter(|p| !p.contains('*')) {
        assert!(root.join(path).exists(), "{path} is named, but not there");
    }
}

#[test]
fn files_named_in_the_readme_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("README.md")).unwrap();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for path in
        links.chain(["examples/digits/mnist_resnest.onnx", "examples/digits/images/00000.png"])
    {
        assert!(root.join(path).exists(), "{path} is named, but not there");
    }
}

/// The README's first command names no binary, and there are two.
#[test]
fn the_command_is_what_cargo_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = std::fs::read_to_string(root.join("cli/Cargo.toml")).unwrap();
    assert!(manifest.lines().any(|line| line == "default-run = \"cardinal\""), "{manifest}");
}
