//! Local functions of a model are inlined.

use cardinal_compiler::error::Problem;
use cardinal_compiler::interp::{self, Data, Tensor};
use cardinal_compiler::ir::{DType, Op, verify};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{FunctionProto, ModelProto, NodeProto};

use crate::proto::{self, float, imported, int, model, node, opset, reference, refused};

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let own = |names: &[&str]| names.iter().map(|s| (*s).to_owned()).collect();
    FunctionProto {
        name: name.into(),
        domain: "local".into(),
        input: own(inputs),
        output: own(outputs),
        node: nodes,
        opset_import: vec![opset("", 17), opset("local", 1)],
        ..Default::default()
    }
}

fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { domain: "local".into(), ..node(name, inputs, outputs, vec![]) }
}

fn calling(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> ModelProto {
    let mut model = model(&[2], nodes);
    model.opset_import.push(opset("local", 1));
    model.functions = functions;
    model
}

fn run(model: &ModelProto, input: [f64; 2]) -> Vec<f64> {
    let graph = imported(model).graph;
    verify(&graph).unwrap();
    let x = Tensor { dtype: DType::F32, shape: vec![2], data: Data::Float(input.to_vec()) };
    match interp::run(&graph, &[x]).unwrap().remove(0).data {
        Data::Float(values) => values,
        Data::Int(_) => unreachable!("the model is f32"),
    }
}

/// `LeakyRelu(x + x)` with an attribute that has a default.
fn leaky() -> FunctionProto {
    let alpha = reference("alpha", "slope", AttributeType::FLOAT);
    let nodes = vec![
        node("LeakyRelu", &["t"], &["o"], vec![alpha]),
        node("Add", &["i", "i"], &["t"], vec![]),
    ];
    FunctionProto {
        attribute_proto: vec![float("slope", 0.25)],
        ..function("Leaky", &["i"], &["o"], nodes)
    }
}

#[test]
fn attributes_are_bound_by_the_call_or_default() {
    let mut given = call("Leaky", &["x"], &["y"]);
    let by_default = calling(vec![given.clone()], vec![leaky()]);
    assert_eq!(run(&by_default, [-1.0, 1.0]), [-0.5, 2.0]);
    given.attribute.push(float("slope", 0.5));
    assert_eq!(run(&calling(vec![given.clone()], vec![leaky()]), [-1.0, 1.0]), [-1.0, 2.0]);
    given.attribute.push(int("colour", 1));
    assert!(refused(&calling(vec![given], vec![leaky()])).to_string().contains("`colour`"));
}

#[test]
fn an_unbound_reference_leaves_the_attribute_out() {
    let mut plain = leaky();
    plain.attribute_proto.clear();
    plain.attribute.push("slope".into());
    let result = run(&calling(vec![call("Leaky", &["x"], &["y"])], vec![plain]), [-1.0, 1.0]);
    assert!((result[0] + 0.02).abs() < 1e-6, "{result:?}");
}

#[test]
fn calls_nest_and_names_stay_apart() {
    let twice = function(
        "Twice",
        &["i"],
        &["o"],
        vec![call("Leaky", &["i"], &["t"]), call("Leaky", &["t"], &["o"])],
    );
    let model = calling(vec![call("Twice", &["x"], &["y"])], vec![leaky(), twice]);
    assert_eq!(run(&model, [-1.0, 1.0]), [-0.25, 4.0]);
    let graph = imported(&model).graph;
    let outer = graph.find("the Twice/the Leaky/t").unwrap();
    assert_eq!(&*graph.node(outer).from[0], "the Twice/the Leaky/the Add");
    assert_eq!(graph.node(graph.outputs()[0].node).name, "y");
}

#[test]
fn a_result_may_be_an_argument_and_an_argument_absent() {
    let nodes = vec![node("Clip", &["i", "low"], &["o"], vec![])];
    let pass = function("Pass", &["i", "low"], &["o", "i"], nodes);
    let call = call("Pass", &["x"], &["a", "b"]);
    let add = node("Add", &["a", "b"], &["y"], vec![]);
    let model = calling(vec![call, add], vec![pass]);
    assert_eq!(run(&model, [-1.0, 3.0]), [-2.0, 6.0]);
    let graph = imported(&model).graph;
    assert_eq!(graph.node(graph.find("b").unwrap()).op, Op::Identity);
}

#[test]
fn recursion_is_refused() {
    let ping = function("Ping", &["i"], &["o"], vec![call("Pong", &["i"], &["o"])]);
    let pong = function("Pong", &["i"], &["o"], vec![call("Ping", &["i"], &["o"])]);
    let error = refused(&calling(vec![call("Ping", &["x"], &["y"])], vec![ping, pong]));
    assert!(matches!(error.problem, Problem::InvalidGraph(_)), "{error}");
    assert_eq!(error.site.unwrap().operator, "local::Ping");
}

#[test]
fn functions_do_not_multiply_without_end() {
    // Each calls the next ten times: 10^9 nodes.
    let name = |i: usize| format!("F{i}");
    let functions = (0..9).map(|i| {
        let nodes = (0..10).map(|n| {
            let output = if n == 0 { "o".to_owned() } else { format!("t{n}") };
            match i {
                8 => node("Relu", &["i"], &[&output], vec![]),
                _ => call(&name(i + 1), &["i"], &[&output]),
            }
        });
        function(&name(i), &["i"], &["o"], nodes.collect())
    });
    let error = refused(&calling(vec![call("F0", &["x"], &["y"])], functions.collect()));
    assert!(error.to_string().contains("nodes and operands"), "{error}");
    // A chain deeper than calls may be.
    let functions = (0..40).map(|i| match i {
        39 => function(&name(i), &["i"], &["o"], vec![node("Relu", &["i"], &["o"], vec![])]),
        _ => function(&name(i), &["i"], &["o"], vec![call(&name(i + 1), &["i"], &["o"])]),
    });
    let error = refused(&calling(vec![call("F0", &["x"], &["y"])], functions.collect()));
    assert!(error.to_string().contains("deep"), "{error}");
}

#[test]
fn functions_have_operator_sets_of_their_own() {
    // Softmax before operator set 13 is over all axes from 1 on.
    let mut old = function("Old", &["i"], &["o"], vec![node("Softmax", &["i"], &["o"], vec![])]);
    old.opset_import[0].version = 11;
    let mut model = calling(vec![call("Old", &["x"], &["y"])], vec![old]);
    model.graph.as_mut().unwrap().input[0] =
        proto::value("x", &[proto::Dim::Is(1), proto::Dim::Is(2), proto::Dim::Is(2)]);
    let graph = imported(&model).graph;
    assert!(graph.nodes().any(|id| matches!(graph.node(id).op, Op::Reshape)));
    model.functions[0].opset_import[0].version = 30;
    refused(&model);
}
