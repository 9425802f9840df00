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

/// The lines of a schedule that count.
fn ways(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("    by        ")).collect()
}

/// The schedule with other ways of some convolutions, by their numbers.
fn with_ways(text: &str, way: &str, is_changed: impl Fn(usize) -> bool) -> String {
    let mut number = 0;
    let line = |line: &str| {
        let is_way = line.starts_with("    by        ");
        number += usize::from(is_way);
        match is_way && is_changed(number - 1) {
            true => format!("    by        {way}\n"),
            false => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[test]
fn an_edited_schedule_is_taken() {
    let folder = folder();
    let text = schedule(&folder, "").succeeds();
    let folder = folder.file("s.txt", &text);
    assert_eq!(ways(&schedule(&folder, "--schedule s.txt").succeeds()), ways(&text));
    let json: Value = serde_json::from_str(&schedule(&folder, "--format json").succeeds()).unwrap();
    let nodes = json["nodes"].as_array().unwrap().iter();
    let candidates = |conv: &Value| -> Vec<String> {
        let all = conv["candidates"].as_array().unwrap().iter();
        all.map(|way| way.as_str().unwrap().to_owned()).collect()
    };
    let convs: Vec<Vec<String>> =
        nodes.map(|node| &node["conv"]).filter(|conv| !conv.is_null()).map(candidates).collect();
    assert_eq!(convs.len(), ways(&text).len());
    // Another way of the first convolution that has one, for all that are like it.
    let like = convs.iter().find(|ways| ways.len() > 1).unwrap();
    let edited = with_ways(&text, &like[1], |i| convs[i] == *like);
    assert_ne!(ways(&edited), ways(&text));
    let folder = folder.file("edited.txt", &edited);
    let changed = schedule(&folder, "--schedule edited.txt").succeeds();
    assert_eq!(ways(&changed), ways(&edited));
    assert!(changed.contains("chosen in edited.txt"), "{changed}");
    folder.run("compile m.onnx -o m.cardinal --schedule edited.txt").succeeds();
    fs::copy(folder.path("edited.txt"), folder.path("other.txt")).unwrap();
    folder.run("compile m.onnx -o n.cardinal --schedule other.txt").succeeds();
    let bytes = |name: &str| fs::read(folder.path(name)).unwrap();
    assert!(bytes("m.cardinal") == bytes("n.cardinal"));
    folder.run("run m.cardinal --input x.npy --schedule s.txt").fails_with(2);
}

#[test]
fn a_schedule_that_cannot_be_taken_is_refused() {
    let folder = folder();
    let text = schedule(&folder, "").succeeds();
    let json: Value = serde_json::from_str(&schedule(&folder, "--format json").succeeds()).unwrap();
    let nodes = json["nodes"].as_array().unwrap().iter();
    let convs = nodes.map(|node| &node["conv"]).filter(|conv| !conv.is_null());
    let convs: Vec<String> = convs.map(|conv| conv["candidates"].to_string()).collect();
    let winograd = ways(&text).into_iter().find(|way| way.starts_with("F(")).unwrap();
    let other = convs.iter().find(|ways| !ways.contains("F(")).unwrap();
    let bad = with_ways(&text, winograd, |i| convs[i] == *other);
    assert_ne!(bad, text);
    let folder = folder.file("bad.txt", bad);
    let said = schedule(&folder, "--schedule bad.txt").fails_with(2);
    assert!(said.contains("is no way to compute") && said.contains("ways are"), "{said}");
    folder.run("inspect m.onnx --schedule m.txt").fails_with(5);
}

#[test]
fn weights_are_for_texts() {
    let folder = folder();
    for command in ["inspect", "verify", "explain"] {
        let name = if command == "explain" { " #1" } else { "" };
        let said =
            folder.run(&format!("{command} m.onnx{name} --weights-from m.onnx")).fails_with(2);
        assert!(said.contains("--weights-from is for a graph's text"), "{said}");
    }
    folder.run("inspect m.onnx --against m.onnx --weights-from m.onnx").fails_with(2);
    let diff = folder.run("inspect m.txt --against m.onnx --weights-from m.onnx").succeeds();
    assert!(diff.contains("; schedule: the same\n"), "{diff}");
}

#[test]
fn weights_that_are_made_up_are_bounded() {
    let weights: String =
        (0..3).map(|i| format!("weight %w{i} f32[16384, 16384] rand({i})\n")).collect();
    let source =
        format!("graph @g {{ input %x f32[1, 4]\n{weights} %y f32[1, 4] = relu(%x) output %y }}");
    let said = Folder::new().file("g.txt", source).run("inspect g.txt").fails_with(3);
    assert!(said.contains("more than 2 GiB"), "{said}");
}
