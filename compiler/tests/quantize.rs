//! Where a quantized model rounds, what it rounds to, and what is not quantized.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

#[allow(dead_code, unreachable_pub, reason = "of the import's tests")]
#[path = "import/proto.rs"]
mod proto;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use cardinal_compiler::error::{Error, Problem};
use cardinal_compiler::interp::{self, Data, Tensor};
use cardinal_compiler::ir::DType;
use cardinal_compiler::onnx::quantize::{Grid, Quantized, Quantizer, Seen};
use cardinal_compiler::onnx::{ExternalData, NoExternalData};
use cardinal_compiler::{ImportOptions, Model};
use onnx_protobuf::tensor_proto::{DataLocation, DataType};
use onnx_protobuf::{ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use proto::{floats, int, ints, node, untyped, value, with};
use protobuf::Message as _;

const GRID: Grid = Grid { scale: 0.5, zero: 3 };

fn open(model: &ModelProto) -> Result<Quantizer, Error> {
    Quantizer::open(&proto::bytes(model), &NoExternalData, &ImportOptions::default())
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Which values are rounded.
fn rounded(model: &ModelProto) -> Vec<String> {
    open(model).unwrap().points(&none()).into_iter().map(|point| point.name).collect()
}

fn quantize(quantizer: &Quantizer, kept: &BTreeSet<String>) -> Quantized {
    let points = quantizer.points(&none());
    let seen = |name| (name, Seen { grid: GRID, channel_means: vec![] });
    quantizer.quantized(&points.into_iter().map(|p| seen(p.name)).collect(), kept).unwrap()
}

fn parsed(quantized: &Quantized) -> ModelProto {
    ModelProto::parse_from_bytes(&quantized.to_bytes(&[]).unwrap()).unwrap()
}

/// The node that makes a value.
fn maker<'m>(model: &'m ModelProto, value: &str) -> &'m NodeProto {
    model.graph.node.iter().find(|node| node.output.iter().any(|made| made == value)).unwrap()
}

fn tensor<'m>(model: &'m ModelProto, name: &str) -> &'m TensorProto {
    model.graph.initializer.iter().find(|tensor| tensor.name == name).unwrap()
}

fn named(name: &str, operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    let attributes = match operator {
        "Conv" => vec![ints("pads", &[1, 1, 1, 1])],
        "MaxPool" | "AveragePool" => vec![ints("kernel_shape", &[2, 2])],
        "Concat" => vec![int("axis", 1)],
        _ => vec![],
    };
    NodeProto { name: name.into(), ..node(operator, inputs, &[output], attributes) }
}

/// Nodes as `name operator inputs -> output`, on `x` of 4 channels with weights `w` and a bias `b`.
fn graph(lines: &str) -> ModelProto {
    let line = |line: &str| {
        let (left, output) = line.trim().split_once(" -> ").unwrap();
        let words: Vec<&str> = left.split(' ').collect();
        named(words[0], words[1], &words[2..], output)
    };
    let nodes = lines.trim().lines().map(line).collect();
    let model = proto::model(&[1, 4, 8, 8], nodes);
    with(model, vec![floats("w", &[4, 4, 3, 3]), floats("b", &[4])])
}

const RESIDUAL: &str = "
    c1 Conv x w b -> a
    r1 Relu a -> h
    c2 Conv h w b -> c
    plus Add c x -> s
    r2 Relu s -> t
    c3 Conv t w b -> y";

#[test]
fn a_residual_block_is_rounded_after_each_activation_alone() {
    assert_eq!(rounded(&graph(RESIDUAL)), ["x", "h", "t"]);
}

#[test]
fn the_residual_is_the_operand_with_fewer_convolutions_whatever_their_order() {
    for plus in ["Add c d", "Add d c"] {
        let block = graph(&format!(
            "
            c1 Conv x w b -> h
            c2 Conv h w b -> c
            ds Conv x w b -> d
            plus {plus} -> s
            r Relu s -> t
            c3 Conv t w b -> u
            gap GlobalAveragePool u -> y"
        ));
        assert_eq!(rounded(&block), ["x", "h", "d", "t"], "{plus}");
    }
}

#[test]
fn pools_and_copies_are_rounded_on_both_sides_and_share_their_grids() {
    let model = graph(
        "
        c1 Conv x w b -> a
        m MaxPool a -> m
        v AveragePool m -> v
        c2 Conv v w b -> p
        c3 Conv v w b -> q
        both Concat p q -> z
        g GlobalAveragePool z -> y",
    );
    assert_eq!(rounded(&model), ["x", "a", "m", "v", "p", "q"]);
    let mut wider = model.clone();
    let nodes = &mut wider.graph.as_mut().unwrap().node;
    nodes.last_mut().unwrap().output[0] = "k".into();
    nodes.push(named("c4", "Conv", &["z", "w2"], "y"));
    let wider = with(wider, vec![floats("w2", &[4, 8, 3, 3])]);
    let points = open(&wider).unwrap().points(&none());
    let grid = |name: &str| points.iter().find(|p| p.name == name).unwrap().grid.clone();
    let grids = ["a", "m", "v", "p", "q", "z"].map(grid);
    assert_eq!(grids, ["a", "a", "v", "z", "z", "z"]);
}

#[test]
fn a_gate_and_what_it_is_made_of_stay_in_float() {
    let gate = with(
        graph(
            "
            c1 Conv x w b -> a
            gap GlobalAveragePool a -> m
            squeeze Conv m dense -> q
            act Sigmoid q -> g
            weigh Mul a g -> e
            plus Add e x -> s
            act2 Relu s -> t
            c2 Conv t w b -> y",
        ),
        vec![floats("dense", &[4, 4, 1, 1])],
    );
    let mut gate = gate;
    gate.graph.as_mut().unwrap().node[2].attribute.clear();
    assert_eq!(rounded(&gate), ["x", "a", "t"]);
    assert_eq!(open(&gate).unwrap().layers(&none()), ["c1", "c2"]);
}

#[test]
fn every_operator_reads_the_rounded_value_and_the_output_keeps_its_name() {
    let model = parsed(&quantize(&open(&graph(RESIDUAL)).unwrap(), &none()));
    let plus = model.graph.node.iter().find(|node| node.name == "plus").unwrap();
    assert_eq!(plus.input, ["c", "x_dequantized"]);
    let back = maker(&model, "x_dequantized");
    assert_eq!(
        (back.op_type.as_str(), back.input[0].as_str()),
        ("DequantizeLinear", "x_quantized")
    );
    let there = maker(&model, "x_quantized");
    assert_eq!(there.input, ["x", "x_scale", "x_zero_point"]);
    assert_eq!(back.input[1..], there.input[1..]);
    assert_eq!(tensor(&model, "x_scale").raw_data, 0.5f32.to_le_bytes());
    assert_eq!(tensor(&model, "x_zero_point").raw_data, [3]);
    assert_eq!(tensor(&model, "x_zero_point").data_type, DataType::UINT8 as i32);
    assert_eq!(model.graph.output[0].name, "y");
    assert_eq!(maker(&model, "y").name, "c3");
}

#[test]
fn weights_and_biases_are_integers_along_their_first_axis() {
    let model = parsed(&quantize(&open(&graph(RESIDUAL)).unwrap(), &none()));
    let conv = model.graph.node.iter().find(|node| node.name == "c1").unwrap();
    let bytes = [(DataType::INT8, 1, &[4, 4, 3, 3][..]), (DataType::INT32, 4, &[4][..])];
    for (value, (kind, size, dims)) in conv.input[1..].iter().zip(bytes) {
        let back = maker(&model, value);
        assert_eq!(back.op_type, "DequantizeLinear");
        assert_eq!(back.attribute, [int("axis", 0)]);
        let [integers, scales, zeros] = [0, 1, 2].map(|slot| tensor(&model, &back.input[slot]));
        assert_eq!((integers.data_type, integers.dims.as_slice()), (kind as i32, dims));
        assert_eq!((scales.dims.as_slice(), zeros.dims.as_slice()), (&[4][..], &[4][..]));
        assert_eq!(zeros.raw_data, vec![0; 4 * size]);
    }
    assert!(model.graph.initializer.iter().all(|tensor| tensor.name != "w" && tensor.name != "b"));
}

#[test]
fn convolutions_that_are_kept_read_and_have_floats() {
    let quantizer = open(&graph(RESIDUAL)).unwrap();
    let kept = names(&["c2"]);
    assert_eq!(quantizer.layers(&kept), ["c1", "c3"]);
    let names: Vec<String> = quantizer.points(&kept).into_iter().map(|point| point.name).collect();
    assert_eq!(names, ["x", "h", "t"]);
    let model = parsed(&quantize(&quantizer, &kept));
    let conv = model.graph.node.iter().find(|node| node.name == "c2").unwrap();
    assert_eq!(conv.input, ["h_dequantized", "w", "b"]);
    let all = BTreeSet::from(["c1", "c2", "c3"].map(str::to_owned));
    assert!(quantizer.points(&all).is_empty());
    let plain = parsed(&quantize(&quantizer, &all));
    assert!(plain.graph.node.iter().all(|node| !node.op_type.contains("Quantize")));
}

#[test]
fn what_is_measured_replaces_what_was_said_before() {
    let mut model = graph(RESIDUAL);
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    };
    model.metadata_props = vec![entry("mean", "0.5"), entry("cardinal.x", "old")];
    let quantized = quantize(&open(&model).unwrap(), &none());
    let bytes = quantized.to_bytes(&[("cardinal.x".into(), "new".into())]).unwrap();
    let read = ModelProto::parse_from_bytes(&bytes).unwrap();
    let allowed = entry("cardinal.quantize.winograd", "allowed");
    let wanted = [entry("mean", "0.5"), entry("cardinal.x", "new"), allowed];
    assert_eq!(read.metadata_props, wanted);
}

/// What a model gives for an input in the interpreter, by names of outputs.
fn run(bytes: &[u8], input: &[f64]) -> BTreeMap<String, Vec<f64>> {
    let graph = Model::read(Bytes::copy_from_slice(bytes)).unwrap().graph;
    let shape = graph.ty(graph.inputs()[0]).shape();
    let input = Tensor { dtype: DType::F32, shape, data: Data::Float(input.to_vec()) };
    let names = graph.outputs().iter().map(|output| output.name.clone());
    let values = interp::run(&graph, &[input]).unwrap().into_iter().map(|t| match t.data {
        Data::Float(values) => values,
        Data::Int(_) => panic!("an output is of integers"),
    });
    names.zip(values).collect()
}

fn fixture(path: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(path)).unwrap().into()
}

/// 0, 1, 2, … scattered over [-1, 1).
fn scattered(count: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 7919 + 13) % 2000) as f64 / 1000. - 1.).collect()
}

#[test]
fn the_observed_model_computes_the_same_with_its_normalization_folded() {
    for (path, size) in [
        ("branches/k2r2.cardinal_conv.ts17_unfused.onnx", 2 * 32 * 14 * 14),
        ("tiny/resnest_r2k1_avdlast.ts13_unfused.onnx", 3 * 64 * 64),
        ("tiny/resnest_r2k1_eps1e-3.dyn_noopt.onnx", 3 * 64 * 64),
    ] {
        let float = fixture(path);
        let quantizer =
            Quantizer::open(&float, &NoExternalData, &ImportOptions::default()).unwrap();
        let observed = quantizer.observed().unwrap();
        let proto = ModelProto::parse_from_bytes(&observed).unwrap();
        let norms = proto.graph.node.iter().filter(|n| n.op_type == "BatchNormalization");
        assert_eq!(norms.count(), 0, "{path}");
        let input = scattered(size);
        let (expected, actual) = (run(&float, &input), run(&observed, &input));
        for (name, expected) in &expected {
            let off = expected.iter().zip(&actual[name]).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0., f64::max) < 1e-4, "{path}: {name}");
        }
        for point in quantizer.points(&none()) {
            assert!(actual.contains_key(&point.name), "{path}: {}", point.name);
        }
    }
}

#[test]
fn attention_of_every_spelling_stays_in_float() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/branches");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let bytes = Bytes::from(std::fs::read(&path).unwrap());
        let options = ImportOptions::default();
        let quantizer = Quantizer::open(&bytes, &NoExternalData, &options).unwrap();
        let model = parsed(&quantize(&quantizer, &none()));
        let path = path.display();
        for node in model.graph.node.iter().filter(|n| n.op_type == "QuantizeLinear") {
            let made = model.graph.node.iter().find(|n| n.output.contains(&node.input[0]));
            let operator = made.map_or("input", |made| made.op_type.as_str());
            let inside = ["Softmax", "Sigmoid", "ReduceMean", "GlobalAveragePool", "Gemm"];
            assert!(!inside.contains(&operator), "{path}: {operator} of `{}`", node.input[0]);
        }
        // Weights of dense layers are rounded, and nothing that they read.
        let made = |name: &String| model.graph.node.iter().find(|n| n.output.contains(name));
        let is_dense = |n: &&NodeProto| n.name.contains("fc") && n.op_type == "Conv";
        for node in model.graph.node.iter().filter(is_dense) {
            let operator = made(&node.input[0]).map_or("input", |made| made.op_type.as_str());
            assert_ne!(operator, "DequantizeLinear", "{path}: {}", node.name);
        }
    }
}

#[test]
fn weights_in_another_file_are_put_inside() {
    struct Folder;
    impl ExternalData for Folder {
        fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
            assert_eq!((location, offset, length), ("w.bin", 8, Some(576)));
            Ok(vec![0; 576].into())
        }
    }
    let mut model = graph(RESIDUAL);
    let weights = &mut model.graph.as_mut().unwrap().initializer[0];
    weights.raw_data.clear();
    weights.data_location = DataLocation::EXTERNAL.into();
    for (key, value) in [("location", "w.bin"), ("offset", "8"), ("length", "576")] {
        let (key, value) = (key.into(), value.into());
        weights.external_data.push(StringStringEntryProto { key, value, ..Default::default() });
    }
    let options = ImportOptions::default();
    let quantizer = Quantizer::open(&proto::bytes(&model), &Folder, &options).unwrap();
    Model::read(quantizer.observed().unwrap()).unwrap();
    let written = parsed(&quantize(&quantizer, &names(&["c1"])));
    assert!(written.graph.initializer.iter().all(|tensor| tensor.external_data.is_empty()));
    assert_eq!(tensor(&written, "w").raw_data.len(), 576);
}

#[test]
fn old_operator_sets_are_raised_where_that_changes_nothing() {
    let mut model = graph(
        "
        c1 Conv x w b -> a
        mean ReduceSum a -> m
        soft Softmax m -> y",
    );
    model.opset_import[0].version = 11;
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes[1].attribute = vec![ints("axes", &[2, 3]), int("keepdims", 0)];
    let written = parsed(&quantize(&open(&model).unwrap(), &none()));
    assert_eq!(written.opset_import[0].version, 13);
    let mean = written.graph.node.iter().find(|node| node.name == "mean").unwrap();
    assert_eq!(mean.attribute, [int("keepdims", 0)]);
    let axes: Vec<u8> = [2i64, 3].iter().flat_map(|axis| axis.to_le_bytes()).collect();
    assert_eq!(tensor(&written, &mean.input[1]).raw_data, axes);
    let soft = written.graph.node.iter().find(|node| node.name == "soft").unwrap();
    assert_eq!(soft.attribute, [int("axis", -1)]);
    // Over both axes after the first, which operator set 13 cannot say.
    model.graph.as_mut().unwrap().node[1].attribute = vec![ints("axes", &[2])];
    let error = open(&model).unwrap_err();
    assert!(error.to_string().contains("soft") && error.remedy.unwrap().contains("17"));
    model.opset_import[0].version = 10;
    assert!(open(&model).unwrap_err().to_string().contains("operator set 10"));
}

#[test]
fn what_cannot_be_quantized_is_refused_with_advice() {
    let no_conv = graph("r Relu x -> y");
    let mut twice = graph(RESIDUAL);
    twice.graph.as_mut().unwrap().node[1].op_type = "QuantizeLinear".into();
    let mut weights_given = graph(RESIDUAL);
    let inner = weights_given.graph.as_mut().unwrap();
    inner.initializer.retain(|tensor| tensor.name != "w");
    inner.input.push(value("w", &[4, 4, 3, 3].map(proto::Dim::Is)));
    for (model, what) in [
        (no_conv, "no convolution with constant weights"),
        (twice, "quantized already"),
        (weights_given, "no convolution with constant weights"),
    ] {
        let error = open(&model).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.remedy.is_some(), "{error}");
    }
}

#[test]
fn a_point_of_which_nothing_is_known_is_named() {
    let quantizer = open(&graph(RESIDUAL)).unwrap();
    let error = quantizer.quantized(&BTreeMap::new(), &none()).unwrap_err();
    assert!(matches!(&error.problem, Problem::BadOption(what) if what.contains("`x`")), "{error}");
}

#[test]
fn an_output_that_is_read_too_stays_as_it_is() {
    let mut model = graph(RESIDUAL);
    model.graph.as_mut().unwrap().output.push(untyped("h"));
    let written = parsed(&quantize(&open(&model).unwrap(), &none()));
    assert_eq!(maker(&written, "h").name, "r1");
}
