//! Graphs as JSON and as Graphviz.

#![allow(clippy::unwrap_used, reason = "a failing test is a panic")]

mod common;

use cardinal_compiler::ir::dot::to_dot;
use cardinal_compiler::ir::json::to_json;
use cardinal_compiler::ir::{Op, Weight};
use common::{Builder, block, f32s, graph_of_every_operator, graphs};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn json_has_every_field() {
    let value = to_json(&block());
    assert_eq!(value["schema"], "cardinal.graph/v1");
    assert_eq!(value["name"], "layer1.0");
    assert_eq!(value["inputs"], json!(["x", "skip:0"]));
    assert_eq!(
        value["outputs"],
        json!([{"name": "u", "value": "u"}, {"name": "logits", "value": "z"}])
    );
    let node = |name: &str| {
        let nodes = value["nodes"].as_array().unwrap();
        nodes.iter().find(|n| n["name"] == name).unwrap().clone()
    };
    let u = node("u");
    assert_eq!(u["op"], "group_conv");
    assert_eq!(u["operands"], json!(["x", "conv2.weight", "conv2.bias", "skip:0"]));
    assert_eq!(
        u["type"],
        json!({
            "dtype": "f32",
            "shape": [1, 80, 56, 56],
            "axes": ["1", "(k2 r2 c20)", "56", "56"],
        })
    );
    assert_eq!(
        u["attributes"],
        json!({"groups": "4", "window": "3x3 pad 1", "then": "add %skip:0, relu"})
    );
    assert_eq!(u["from"][8], "/conv2/radix8/Conv");
    assert_eq!(node("conv2.weight")["attributes"], json!({"data": "#5f0c9a1e01234567"}));
    assert_eq!(node("conv2.bias")["attributes"], json!({"data": "rand(7)"}));
}

#[test]
fn json_keys_keep_their_order() {
    let text = to_json(&block()).to_string();
    let keys = ["\"schema\"", "\"name\"", "\"inputs\"", "\"outputs\"", "\"nodes\"", "\"op\""];
    let places: Vec<_> = keys.iter().map(|key| text.find(key).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!(text, to_json(&block()).to_string());
}

#[test]
fn json_shows_empty_slots() {
    let mut b = Builder::new("g");
    let x = b.add("x", Op::Input, f32s(&[2]), &[]);
    let (conv, _) = common::every_operator().remove(0);
    let node = cardinal_compiler::ir::Node {
        name: "y".into(),
        op: conv,
        ty: f32s(&[2]),
        from: Vec::new(),
    };
    b.0.add(node, &[(0, x), (1, x), (3, x)]);
    let value = to_json(&b.0);
    assert_eq!(value["nodes"][1]["operands"], json!(["x", "x", null, "x"]));
}

#[test]
fn dot_shows_operators_and_flows() {
    let text = to_dot(&block());
    insta::with_settings!({
        snapshot_path => "../../snapshots",
        prepend_module_to_snapshot => false,
        snapshot_suffix => "dot",
        omit_expression => true,
    }, { insta::assert_snapshot!("block", text) });
}

#[test]
fn dot_escapes_names() {
    let mut b = Builder::new("a \"b\" \\ & \n");
    let x = b.add("<x> & \"y\"\\", Op::Input, f32s(&[2]), &[]);
    let w = b.add("w", Op::Weight(Weight::rand(1)), f32s(&[2]), &[]);
    b.0.add_output("o\"", x);
    b.0.add_output("w", w);
    let text = to_dot(&b.0);
    assert!(text.starts_with("digraph \"a \\\"b\\\" \\\\ &amp; \\\\u{a}\" {\n"), "{text}");
    assert!(
        text.contains(
            "n0 [label=\"%\\\"<x> &amp; \\\\\\\"y\\\\\\\"\\\\\\\\\\\" = input\\lf32[2]\\l\""
        ),
        "{text}"
    );
    // A weight that is an output has a box.
    assert!(text.contains("n1 [label=\"%w = weight\\l") && text.contains("n1 -> o1;"), "{text}");
}

#[test]
fn every_operator_has_a_box() {
    let graph = graph_of_every_operator();
    let text = to_dot(&graph);
    assert_eq!(text.matches("[label=\"%").count(), graph.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn dumps_never_panic(graph in graphs()) {
        let value = to_json(&graph);
        prop_assert_eq!(value["nodes"].as_array().map(Vec::len), Some(graph.len()));
        for line in to_dot(&graph).lines() {
            // Every string ends on its line.
            let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
            prop_assert_eq!(quotes % 2, 0, "{}", line);
        }
    }
}
