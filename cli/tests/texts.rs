//! Graphs and schedules as texts, edited by hand, on their way to a program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, npy::made_up};
use serde_json::Value;

const CPU: &str = "--cpu x86-64-v3";

/// The digits model, its graph after all passes as a text, and an input.
fn folder() -> Folder {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx");
    let folder = Folder::new().file("x.npy", made_up(&[1, 1, 28, 28]));
    fs::copy(model, folder.path("m.onnx")).unwrap();
    let text = folder.run("inspect m.onnx").succeeds();
    folder.file("m.txt", text)
}

fn read(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path(name)).unwrap()
}

#[test]
fn a_graph_goes_on_to_a_program() {
    let folder = folder();
    for graph in ["--stage import", "--after fold_batch_norm", "--stage fused"] {
        let text = folder.run(&format!("inspect m.onnx {graph}")).succeeds();
        fs::write(folder.path("t.txt"), text).unwrap();
        let of = |model: &str, weights: &str| {
            let plan = format!("inspect {model} --stage plan {CPU} {weights}");
            let plan = folder.run(&plan).succeeds();
            // In which order nodes are named depends on the order of statements.
            let lines = plan.lines().filter(|line| !line.starts_with("    from "));
            lines.collect::<Vec<_>>().join("\n")
        };
        assert!(of("t.txt", "--weights-from m.onnx") == of("m.onnx", ""), "{graph}");
    }
    folder.run("run m.onnx --input x.npy --output a.npy").succeeds();
    folder.run("run m.txt --weights-from m.onnx --input x.npy --output b.npy").succeeds();
    folder.run("compile m.txt --weights-from m.onnx -o m.cardinal").succeeds();
    folder.run("run m.cardinal --input x.npy --output c.npy").succeeds();
    let bytes = |name: &str| fs::read(folder.path(name)).unwrap();
    assert!(bytes("a.npy") == bytes("b.npy") && bytes("a.npy") == bytes("c.npy"));
    folder.run("verify m.txt --weights-from m.onnx").succeeds();
    folder.run("profile m.txt --weights-from m.onnx --iterations 1 --warmup 0").succeeds();
}

#[test]
fn an_edited_graph_is_tried() {
    let folder = folder();
    let edited = read(&folder, "m.txt").replacen("    then     relu\n", "    then     tanh\n", 1);
    assert_ne!(edited, read(&folder, "m.txt"));
    let folder = folder.file("edited.txt", &edited);
    let printed = folder.run("inspect edited.txt --weights-from m.onnx").succeeds();
    assert_eq!(printed, edited);
    folder.run("verify edited.txt --weights-from m.onnx").succeeds();
    let made_up = "; by hand\ngraph @g { input %x f32[1, 4] weight %w f32[4, 30] rand(1) \
                   %y f32[1, 30] = matmul(%x, %w) output %y }";
    let folder = folder.file("g.txt", made_up);
    folder.run("verify g.txt").succeeds();
}

#[test]
fn what_is_no_graph_is_refused_with_its_line() {
    let folder = folder();
    let said = folder.run("inspect m.txt").fails_with(3);
    assert!(said.contains("only their hash #") && said.contains("--weights-from"), "{said}");
    let text = read(&folder, "m.txt");
    let folder = folder
        .file("bad.txt", text.replacen("conv(", "convolve(", 1))
        .file("typed.txt", text.replacen("f32[1, 10] = matmul", "f32[1, 11] = matmul", 1))
        .file("latin.txt", b"graph @g { \xff }");
    let said = folder.run("inspect bad.txt --weights-from m.onnx").fails_with(3);
    assert!(said.contains("line ") && said.contains("convolve"), "{said}");
    let said = folder.run("inspect typed.txt --weights-from m.onnx").fails_with(3);
    assert!(said.contains("its type is f32[1, 11]"), "{said}");
    for command in ["bisect", "quantize --calibrate x.npy", "doctor"] {
        folder.run(&format!("{command} m.txt")).fails_with(2);
    }
    folder.run("inspect latin.txt").fails_with(3);
    folder.run("inspect m.txt --weights-from m.onnx --batch 2").fails_with(2);
    folder.run("inspect m.txt --weights-from m.txt").fails_with(2);
    folder.run("inspect m.txt --weights-from no.onnx").fails_with(5);
}

fn schedule(folder: &Folder, more: &str) -> common::Ran {
    folder.run(&format!("inspect m.onnx --stage schedule {CPU} {more}"))
}

#[test]
fn an_edited_schedule_is_taken() {
    let folder = folder();
    let text = schedule(&folder, "").succeeds();
    let folder = folder.file("s.txt", &text);
    let again = schedule(&folder, "--schedule s.txt").succeeds();
    let by = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("    by ")).map(str::to_owned).collect()
    };
    assert_eq!(by(&again), by(&text));
    // Another way of the first convolution that has one, for all that are like it.
    let json: Value = serde_json::from_str(&schedule(&folder, "--format json").succeeds()).unwrap();
    let convs = json["nodes"].as_array().unwrap().iter().map(|node| &node["conv"]);
    let conv = convs.filter(|conv| conv["candidates"].as_array().is_some_and(|all| all.len() > 1));
    let conv = conv.clone().next().unwrap();
    let [taken, other] = [0, 1].map(|i| conv["candidates"][i].as_str().unwrap());
    let edited =
        text.replace(&format!("    by        {taken}\n"), &format!("    by        {other}\n"));
    let folder =
        folder.file("edited.txt", &edited).file("bad.txt", text.replace(taken, "F(9x9) 1x1"));
    let changed =
        folder.run(&format!("inspect m.onnx --stage schedule {CPU} --schedule edited.txt"));
    if changed.code == 0 {
        assert_eq!(by(&changed.stdout), by(&edited));
        assert!(changed.stdout.contains("chosen in edited.txt"), "{}", changed.stdout);
    } else {
        assert!(changed.stderr.contains("ways are"), "{changed:?}");
    }
    let said = folder.run(&format!("inspect m.onnx --stage schedule {CPU} --schedule bad.txt"));
    assert!([2, 5].contains(&said.code), "{said:?}");
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    folder.run("run m.cardinal --input x.npy --schedule s.txt").fails_with(2);
    folder.run("inspect m.onnx --schedule m.txt").fails_with(5);
}
