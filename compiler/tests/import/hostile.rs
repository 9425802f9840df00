//! Small files that ask for much time or memory: refused, or done in time that their size explains.

use std::time::{Duration, Instant};

use cardinal_compiler::error::Problem;
use onnx_protobuf::{FunctionProto, ModelProto, NodeProto};

use crate::proto::{self, float, imported, int, model, node, opset, refused, untyped};

/// Far more than a linear import of these files takes, and far less than a quadratic one.
const LONG: Duration = Duration::from_secs(60);

fn relu(from: &str, to: &str) -> NodeProto {
    node("Relu", &[from], &[to], vec![])
}

/// A model whose nodes call a function of these parameters.
fn calling(inputs: &[String], attributes: usize, calls: usize) -> ModelProto {
    let function = FunctionProto {
        name: "F".into(),
        domain: "local".into(),
        input: inputs.to_vec(),
        output: vec!["o".into()],
        opset_import: vec![opset("", 17)],
        attribute_proto: (0..attributes).map(|i| float(&format!("a{i}"), 0.0)).collect(),
        node: vec![relu("i0", "o")],
        ..Default::default()
    };
    let call = |i| NodeProto {
        domain: "local".into(),
        ..node("F", &["x"], &[&if i == 0 { "y".to_owned() } else { format!("y{i}") }], vec![])
    };
    let mut model = model(&[2], (0..calls).map(call).collect());
    model.opset_import.push(opset("local", 1));
    model.functions.push(function);
    model
}

fn parameters(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("i{i}")).collect()
}

#[test]
fn attributes_are_looked_at_once_each() {
    let attributes = (0..400_000).map(|i| int(&format!("a{i}"), 1)).collect();
    let start = Instant::now();
    let error = refused(&model(&[2], vec![node("Relu", &["x"], &["y"], attributes)]));
    assert!(error.to_string().contains("attribute `a0`"), "{error}");
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[test]
fn outputs_are_looked_at_once_each() {
    let mut many = model(&[2], vec![relu("x", "y")]);
    let graph = many.graph.as_mut().unwrap();
    for i in 0..400_000 {
        graph.output.push(untyped(&format!("y{i}")));
        graph.node.push(relu("x", &format!("y{i}")));
    }
    let start = Instant::now();
    assert_eq!(imported(&many).graph.outputs().len(), 400_001);
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[test]
fn a_call_counts_what_its_function_declares() {
    imported(&calling(&parameters(100), 100, 100));
    for many in [calling(&parameters(5000), 1, 1000), calling(&parameters(1), 5000, 1000)] {
        let error = refused(&many);
        assert!(error.to_string().contains("nodes and operands"), "{error}");
    }
}

#[test]
fn parameters_have_names_of_their_own() {
    let twice = ["i0".to_owned(), "i0".to_owned()];
    let error = refused(&calling(&twice, 0, 1));
    assert!(matches!(error.problem, Problem::InvalidGraph(_)), "{error}");
    assert!(error.to_string().contains("`i0`"), "{error}");
}

#[test]
fn tensors_have_few_axes() {
    imported(&model(&[1; 64], vec![relu("x", "y")]));
    let error = refused(&model(&[1; 65], vec![relu("x", "y")]));
    assert!(error.to_string().contains("65 axes"), "{error}");
    let axes: Vec<i64> = (0..65).collect();
    let unsqueeze = node("Unsqueeze", &["x", "a"], &["y"], vec![]);
    let grown = proto::with(model(&[2], vec![unsqueeze]), vec![proto::longs("a", &axes)]);
    let error = refused(&grown);
    assert_eq!(error.site.as_ref().unwrap().operator, "Unsqueeze");
    assert!(error.to_string().contains("66 axes"), "{error}");
}

#[test]
fn parts_of_sequences_do_not_add_up_without_end() {
    let split = |i| node("SplitToSequence", &["x"], &[&format!("s{i}")], vec![]);
    let mut nodes: Vec<NodeProto> = (0..1000).map(split).collect();
    nodes.push(relu("x", "y"));
    let error = refused(&model(&[4096], nodes));
    assert_eq!(error.site.as_ref().unwrap().operator, "SplitToSequence");
    assert!(error.to_string().contains("values and axes"), "{error}");
}

#[test]
fn derived_names_do_not_repeat_long_ones() {
    // Each node becomes several values, all but the last named after its output; the two outputs
    // differ at the end only.
    let long = |last| format!("{}{last}", "é".repeat(5_000));
    let sum = |last| node("Sum", &["x"; 9], &[&long(last)], vec![]);
    let add = node("Add", &[&long("a"), &long("b")], &["y"], vec![]);
    let graph = imported(&model(&[2], vec![sum("a"), sum("b"), add])).graph;
    cardinal_compiler::ir::verify(&graph).unwrap();
    let names: Vec<&str> = graph.nodes().map(|id| graph.node(id).name.as_str()).collect();
    assert!(names.contains(&&*long("a")) && names.contains(&&*long("b")));
    assert!(names.len() > 10);
    assert_eq!(names.iter().filter(|name| name.len() > 1000).count(), 2);
}
