//! Errors as programs want them: `--errors json`, and colours when they are asked for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use common::Folder;
use common::onnx::{node, write};
use serde_json::{Value, json};

/// The objects on stderr of a command that ends with this exit code.
fn errors(folder: &Folder, arguments: &str, code: i32) -> Vec<Value> {
    let said = folder.run(arguments).fails_with(code);
    let errors = said.lines().filter(|line| line.starts_with('{'));
    let errors: Vec<Value> = errors.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(errors.iter().all(|error| error["schema"] == "cardinal.error/v1"), "{said}");
    assert_eq!(errors.last().map(|error| &error["exit_code"]), Some(&json!(code)), "{said}");
    errors
}

#[test]
fn every_kind_is_an_object_on_one_line() {
    let folder = Folder::new().file("not.onnx", "no model");
    for (arguments, code, kind, file) in [
        ("--errors json run nowhere.onnx x.png", 5, "io", json!("nowhere.onnx")),
        ("inspect not.onnx --errors=json", 3, "model", json!("not.onnx")),
        ("compile not.onnx --batch 0 --errors json", 2, "usage", Value::Null),
        ("--errors json nonsense", 2, "usage", Value::Null),
        ("run --errors json", 2, "usage", Value::Null),
    ] {
        let found = errors(&folder, arguments, code);
        assert_eq!(found.len(), 1, "{arguments}: {found:?}");
        assert_eq!((&found[0]["kind"], &found[0]["file"]), (&json!(kind), &file), "{arguments}");
        assert!(found[0]["message"].as_str().unwrap().len() > 5, "{arguments}");
    }
    let misspelt = errors(&folder, "--errors json inspct not.onnx", 2);
    assert!(misspelt[0]["help"].as_str().unwrap().contains("'inspect'"), "{misspelt:?}");
}

/// What the compiler refuses names the node, and what can be done; of many images each has its own line.
#[test]
fn nodes_and_single_images_are_named() {
    let folder = Folder::new().file("bad.png", "no image");
    let nodes = vec![node("Relu", &["x"], "a"), node("Telepathy", &["a"], "y")];
    write(&folder.path("m.onnx"), &[1, 3, 4, 4], nodes, &[], |_, _| 0.0).unwrap();
    let refused = &errors(&folder, "compile m.onnx --errors json", 3)[0];
    assert_eq!((&refused["operator"], &refused["file"]), (&json!("Telepathy"), &json!("m.onnx")));
    assert!(refused["node"].as_str().is_some_and(|node| node.contains("Telepathy")), "{refused}");
    assert!(refused["help"].is_string(), "{refused}");

    let nodes = vec![node("GlobalAveragePool", &["x"], "a"), node("Flatten", &["a"], "y")];
    write(&folder.path("m.onnx"), &[1, 3, 4, 4], nodes, &[], |_, _| 0.0).unwrap();
    let found = errors(&folder, "run m.onnx bad.png gone.png --errors json", 5);
    let files: Vec<&Value> = found.iter().map(|error| &error["file"]).collect();
    assert_eq!(files, [&json!("bad.png"), &json!("gone.png"), &Value::Null], "{found:?}");
    assert!(found[..2].iter().all(|error| error.get("exit_code").is_none()), "{found:?}");
}

/// Escape codes are for terminals, and for those who ask for them.
#[test]
fn colours_are_only_where_they_are_asked_for() {
    let folder = Folder::new();
    for (color, is_coloured) in [("auto", false), ("never", false), ("always", true)] {
        for command in ["run nowhere.onnx x.png", "nonsense"] {
            let ran = folder.run(&format!("{command} --color {color}"));
            assert_eq!(ran.code, if command == "nonsense" { 2 } else { 5 });
            assert_eq!(ran.stderr.contains('\u{1b}'), is_coloured, "{color}: {ran:?}");
        }
    }
}
