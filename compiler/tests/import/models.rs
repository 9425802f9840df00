//! Real exporters' files import to graphs that compute what PyTorch did.

use std::path::{Path, PathBuf};

use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{DType, Graph, Op, verify};
use cardinal_compiler::onnx::{Model, NoExternalData, import};
use cardinal_compiler::options::ImportOptions;

use crate::npy;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn load(name: &str, batch: Option<usize>) -> Model {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let options = ImportOptions { batch, ..ImportOptions::default() };
    import(bytes.into(), &NoExternalData, &options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Imports `name`, runs it on `input` and compares with `output`.
fn check(name: &str, input: &str, output: &str, tolerance: f64) {
    let (input, expected) = (npy::read(&fixture(input)), npy::read(&fixture(output)));
    let model = load(name, Some(input.shape[0]));
    verify(&model.graph).unwrap();
    assert_eq!(model.graph.outputs().len(), 1);
    let output = &model.graph.outputs()[0];
    assert_eq!(*model.graph.ty(output.node), expected.ty(), "{name}");
    let results = interp::run(&model.graph, &[input]).unwrap();
    let (Data::Float(results), Data::Float(expected)) = (&results[0].data, &expected.data) else {
        panic!("{name}: no floats");
    };
    let worst = results.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance, "{name}: off by {worst}");
}

#[test]
fn a_radix_major_block_traced_with_a_dynamic_batch() {
    check(
        "branches/k2r2.radix.ts17_dynbatch.onnx",
        "branches/k2r2.in.npy",
        "branches/k2r2.conv.out.npy",
        1e-4,
    );
}

#[test]
fn a_radix_major_block_with_batch_normalization() {
    check(
        "branches/k2r2.radix.ts17_unfused.onnx",
        "branches/k2r2.in.npy",
        "branches/k2r2.conv.out.npy",
        1e-4,
    );
}

#[test]
fn a_radix_major_block_as_dynamo_leaves_it() {
    check(
        "branches/k2r2.radix.dyn_noopt.onnx",
        "branches/k2r2.in.npy",
        "branches/k2r2.conv.out.npy",
        1e-4,
    );
}

#[test]
fn explicit_branches_with_convolutions() {
    check(
        "branches/k2r2.cardinal_conv.dyn_noopt.onnx",
        "branches/k2r2.in.npy",
        "branches/k2r2.conv.out.npy",
        1e-4,
    );
}

#[test]
fn explicit_branches_with_dense_layers() {
    check(
        "branches/k2r2.cardinal_linear.ts17.onnx",
        "branches/k2r2.in.npy",
        "branches/k2r2.linear.out.npy",
        1e-4,
    );
}

#[test]
fn a_small_network() {
    let name = "tiny/official_r2k1_avdlast";
    let (input, output) = (format!("{name}.in.npy"), format!("{name}.out.npy"));
    check(&format!("{name}.ts17_dynbatch.onnx"), &input, &output, 1e-3);
}

/// Integers computed at run time: what shape arithmetic would leave.
fn integer_nodes(graph: &Graph) -> usize {
    let computed = graph.nodes().filter(|id| !matches!(graph.node(*id).op, Op::Weight(_)));
    computed.filter(|id| graph.ty(*id).dtype != DType::F32).count()
}

#[test]
fn shape_arithmetic_leaves_no_nodes() {
    for name in
        ["branches/k2r2.radix.ts17_dynbatch.onnx", "tiny/official_r2k1_avdlast.ts17_dynbatch.onnx"]
    {
        assert_eq!(integer_nodes(&load(name, None).graph), 0, "{name}");
    }
}

#[test]
fn sequences_are_slices() {
    let graph = load("branches/k2r2.radix.dyn_noopt.onnx", None).graph;
    let slices = graph.nodes().filter(|id| matches!(graph.node(*id).op, Op::Slice { .. }));
    assert!(slices.count() >= 2);
    assert_eq!(integer_nodes(&graph), 0);
}

#[test]
fn the_batch_is_one_unless_asked_for() {
    let name = "tiny/official_r2k1_avdlast.ts17_dynbatch.onnx";
    for (batch, shape) in [(None, [1, 10]), (Some(3), [3, 10])] {
        let graph = load(name, batch).graph;
        assert_eq!(graph.ty(graph.outputs()[0].node).shape(), shape);
    }
}

#[test]
fn values_are_named_and_nodes_remembered_as_in_the_file() {
    let graph = load("branches/k2r2.radix.ts17_unfused.onnx", None).graph;
    assert_eq!(graph.node(graph.inputs()[0]).name, "input");
    assert_eq!(graph.outputs()[0].name, "output");
    let conv = graph.nodes().find(|id| matches!(graph.node(*id).op, Op::Conv(_))).unwrap();
    let conv = graph.node(conv);
    let [origin] = conv.from.as_slice() else { panic!("{:?}", conv.from) };
    assert!(origin.ends_with("/Conv"), "{origin}");
    assert_eq!(conv.name, format!("{origin}_output_0"));
}

#[test]
fn the_digest_and_the_graph_are_functions_of_the_file() {
    let (a, b) = (
        load("branches/k2r2.radix.ts17_dynbatch.onnx", None),
        load("branches/k2r2.radix.ts17_dynbatch.onnx", None),
    );
    assert_eq!(a.digest, b.digest);
    assert!(a.graph == b.graph);
    assert_ne!(a.digest, load("branches/k2r2.radix.ts17_unfused.onnx", None).digest);
}
