//! `cardinal explain` and `inspect --step`: the same way from whichever end it is asked for, as other dumps have it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::Folder;
use serde_json::Value;

/// Any CPU is explained on any machine.
const CPU: &str = "--cpu x86-64-v3";

/// A folder with the digits model.
fn folder() -> Folder {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx");
    let folder = Folder::new();
    fs::copy(model, folder.path("m.onnx")).unwrap();
    folder
}

fn explain(folder: &Folder, name: &str) -> Value {
    let story = folder.run(&format!("explain m.onnx {name} --json {CPU}")).succeeds();
    serde_json::from_str(&story).unwrap()
}

fn plan(folder: &Folder) -> Value {
    let plan = folder.run(&format!("inspect m.onnx --stage plan --format json {CPU}")).succeeds();
    serde_json::from_str(&plan).unwrap()
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap()
}

fn texts<'v>(rows: &'v [Value], key: &str) -> BTreeSet<&'v str> {
    rows.iter().map(|row| row[key].as_str().unwrap()).collect()
}

#[test]
fn every_step_is_found_from_its_value_its_number_and_its_node() {
    let folder = folder();
    let plan = plan(&folder);
    let steps = array(&plan, "steps");
    for (number, step) in steps.iter().enumerate().step_by(9) {
        let by_number = explain(&folder, &format!("#{number}"));
        assert_eq!(by_number["kind"], "step of the plan");
        assert_eq!(array(&by_number, "steps").len(), 1);
        let own = &by_number["steps"][0];
        assert_eq!((&own["number"], &own["why"]), (&number.into(), &step["why"]));
        let functions = texts(array(&by_number, "functions"), "name");
        assert!(functions.contains(own["function"].as_str().unwrap()), "{functions:?}");
        let origins: BTreeSet<&str> =
            array(step, "from").iter().map(|from| from.as_str().unwrap()).collect();
        assert_eq!(texts(array(&by_number, "onnx"), "name"), origins);
        let value = step["name"].as_str().unwrap();
        for name in origins.iter().chain([&value]) {
            let numbers: Vec<u64> = array(&explain(&folder, name), "steps")
                .iter()
                .map(|step| step["number"].as_u64().unwrap())
                .collect();
            assert!(numbers.contains(&(number as u64)), "{name}: {numbers:?} without {number}");
        }
    }
}

#[test]
fn arguments_lie_where_the_plan_has_them() {
    let folder = folder();
    let plan = plan(&folder);
    for number in [3, 10, 30] {
        let story = explain(&folder, &format!("#{number}"));
        let planned = array(&plan["steps"][number], "args");
        let told = array(&story["steps"][0], "arguments");
        assert_eq!(told.len(), planned.len());
        for (told, planned) in told.iter().zip(planned) {
            let index = planned["index"].as_u64().unwrap() as usize;
            let begin = match planned["in"].as_str().unwrap() {
                "buffer" => &plan["buffers"][index]["offset"],
                "constant" => &plan["constants"][index]["offset"],
                _ => &Value::Null,
            };
            let offset = begin.as_u64().unwrap_or(0) + planned["offset"].as_u64().unwrap();
            assert_eq!((&told["role"], &told["offset"]), (&planned["role"], &offset.into()));
        }
    }
}

/// A block of 17 or more nodes is one operator, and all of them say so.
#[test]
fn nodes_of_an_attention_block_lead_to_one_operator() {
    let folder = folder();
    let fused = folder.run("inspect m.onnx --format json").succeeds();
    let fused: Value = serde_json::from_str(&fused).unwrap();
    let nodes = array(&fused, "nodes");
    let block = nodes.iter().find(|node| node["op"] == "split_attention").unwrap();
    let from = array(block, "from");
    assert!(from.len() > 10, "{block}");
    for node in from.iter().step_by(4) {
        let story = explain(&folder, node.as_str().unwrap());
        assert_eq!(texts(array(&story, "fused"), "name"), [block["name"].as_str().unwrap()].into());
        assert!(texts(array(&story, "rewrites"), "pass").contains("split_attention"), "{story}");
    }
}

#[test]
fn a_function_leads_back_to_its_steps() {
    let folder = folder();
    let story = explain(&folder, "#2");
    for function in array(&story, "functions") {
        let back = explain(&folder, function["name"].as_str().unwrap());
        assert_eq!(back["kind"], "function");
        let numbers = array(&back, "steps").iter().map(|step| step["number"].as_u64().unwrap());
        assert!(numbers.into_iter().any(|number| number == 2), "{back}");
    }
}

#[test]
fn what_is_nothing_or_several_things_is_answered_with_names() {
    let folder = folder();
    let said = folder.run("explain m.onnx /conv1/conv1.0/Conf").fails_with(2);
    assert!(said.contains("`/conv1/conv1.0/Conv`"), "{said}");
    let said = folder.run("explain m.onnx act1/Relu").fails_with(2);
    assert!(said.contains("names end in") && said.contains("`/act1/Relu`"), "{said}");
    folder.run("explain m.onnx #9999").fails_with(2);
    folder.run("inspect m.onnx --stage asm --step nothing").fails_with(2);
    folder.run("inspect m.onnx --stage plan --step #1").fails_with(2);
    let only = explain(&folder, "conv1.0/Conv");
    assert_eq!(only["name"], "/conv1/conv1.0/Conv");
}

#[test]
fn of_an_operator_the_first_is_shown() {
    let folder = folder();
    let shown = explain(&folder, "split_attention");
    let [fused] = array(&shown, "fused") else { panic!("{shown}") };
    let graph = folder.run("inspect m.onnx --json").succeeds();
    let graph: Value = serde_json::from_str(&graph).unwrap();
    let first = array(&graph, "nodes").iter().find(|node| node["op"] == "split_attention");
    assert_eq!(fused["name"], first.unwrap()["name"]);
    let text = folder.run(&format!("explain m.onnx conv {CPU}")).succeeds();
    assert!(text.starts_with("conv is a kind of operator"), "{text}");
}

#[test]
fn the_hot_loop_is_marked_and_a_step_has_its_part_of_the_listing() {
    let folder = folder();
    let text = folder.run(&format!("explain m.onnx #2 --asm {CPU}")).succeeds();
    let hot: Vec<&str> = text.lines().filter(|line| line.starts_with("  > ")).collect();
    assert!(hot.iter().any(|line| line.contains("vfmadd231ps")), "{text}");
    assert!(hot.last().unwrap().contains("jne"), "{hot:?}");
    assert!(!text.contains('\u{1b}'));
    let all = folder.run(&format!("inspect m.onnx --stage asm {CPU}")).succeeds();
    let part = folder.run(&format!("inspect m.onnx --stage asm --step #2 {CPU}")).succeeds();
    let paragraphs = |text: &str| -> BTreeSet<String> {
        text.split("\n; ").map(|part| part.trim_start_matches("; ").trim_end().to_owned()).collect()
    };
    let (all, part) = (paragraphs(&all), paragraphs(&part));
    assert!(part.is_subset(&all) && part.len() < all.len() / 4, "{part:?}");
    let story = explain(&folder, "#2");
    let names = texts(array(&story, "functions"), "name");
    assert_eq!(part.iter().map(|p| p.split(' ').next().unwrap()).collect::<BTreeSet<_>>(), names);
}
