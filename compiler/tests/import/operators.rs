//! Operators in their versions: small models, computed by hand.

use cardinal_compiler::interp::{self, Data, Tensor};
use cardinal_compiler::ir::{DType, Op, verify};
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto, TensorProto};

use crate::proto::{
    float, floats, imported, int, ints, longs, model, node, scalar_long, string, with,
};

/// A model of one operator set.
pub(crate) fn at(
    opset: i64,
    shape: &[i64],
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
) -> ModelProto {
    let mut model = with(model(shape, nodes), tensors);
    model.opset_import[0].version = opset;
    model
}

/// One operator on `x`, followed by constants.
pub(crate) fn one(
    opset: i64,
    shape: &[i64],
    operator: &str,
    attributes: Vec<AttributeProto>,
    constants: Vec<TensorProto>,
) -> ModelProto {
    let node = on_x(operator, attributes, &constants, &["y"]);
    at(opset, shape, vec![node], constants)
}

/// The node of an operator on `x`, followed by constants, which gives these outputs.
pub(crate) fn on_x(
    operator: &str,
    attributes: Vec<AttributeProto>,
    constants: &[TensorProto],
    outputs: &[&str],
) -> NodeProto {
    let inputs = ["x"].into_iter().chain(constants.iter().map(|t| t.name.as_str()));
    let inputs: Vec<&str> = inputs.collect();
    node(operator, &inputs, outputs, attributes)
}

/// Shape and elements of the output for the input 0, 1, 2, …, less `offset`.
pub(crate) fn run_from(model: &ModelProto, offset: f64) -> (Vec<usize>, Vec<f64>) {
    let graph = imported(model).graph;
    verify(&graph).unwrap();
    let shape = graph.ty(graph.inputs()[0]).shape();
    let count = shape.iter().product::<usize>();
    let data = Data::Float((0..count).map(|i| i as f64 - offset).collect());
    let y = interp::run(&graph, &[Tensor { dtype: DType::F32, shape, data }]).unwrap().remove(0);
    let values = match y.data {
        Data::Float(values) => values,
        Data::Int(values) => values.into_iter().map(|v| v as f64).collect(),
    };
    (y.shape, values)
}

pub(crate) fn run(model: &ModelProto) -> (Vec<usize>, Vec<f64>) {
    run_from(model, 0.0)
}

pub(crate) fn values(model: &ModelProto) -> Vec<f64> {
    run(model).1
}

#[test]
fn bounds_of_clip_moved_from_attributes_to_operands() {
    let old = one(6 + 1, &[4], "Clip", vec![float("min", 1.0), float("max", 2.0)], vec![]);
    assert_eq!(values(&old), [1.0, 1.0, 2.0, 2.0]);
    let clip = node("Clip", &["x", "", "high"], &["y"], vec![]);
    let mut high = floats("high", &[]);
    high.raw_data = 1.5f32.to_le_bytes().to_vec();
    assert_eq!(values(&at(13, &[4], vec![clip], vec![high])), [0.0, 1.0, 1.5, 1.5]);
}

#[test]
fn axes_of_reductions_moved_from_attributes_to_operands() {
    for (operator, moved, expected) in [
        ("ReduceSum", 13, [3.0, 12.0]),
        ("ReduceMean", 18, [1.0, 4.0]),
        ("ReduceMax", 18, [2.0, 5.0]),
    ] {
        let old = one(moved - 1, &[2, 3], operator, vec![ints("axes", &[-1])], vec![]);
        assert_eq!(run(&old), (vec![2, 1], expected.to_vec()), "{operator}");
        let flat = vec![int("keepdims", 0)];
        let new = one(moved, &[2, 3], operator, flat, vec![longs("axes", &[1])]);
        assert_eq!(run(&new), (vec![2], expected.to_vec()), "{operator}");
    }
    let noop = vec![int("noop_with_empty_axes", 1)];
    assert_eq!(values(&one(13, &[2], "ReduceSum", noop, vec![])), [0.0, 1.0]);
    assert_eq!(values(&one(13, &[3], "ReduceSum", vec![], vec![])), [3.0]);
}

#[test]
fn softmax_changed_its_meaning() {
    let all = values(&one(11, &[1, 2, 2], "Softmax", vec![], vec![]));
    assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    let last = values(&one(13, &[1, 2, 2], "Softmax", vec![], vec![]));
    assert!((last.iter().sum::<f64>() - 2.0).abs() < 1e-6);
}

#[test]
fn same_padding_and_one_dimension() {
    let same = |mode| vec![string("auto_pad", mode), ints("strides", &[2])];
    let ones = || {
        let mut w = floats("w", &[1, 1, 2]);
        w.raw_data = [1f32, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        w
    };
    // 0 1 2 3 4 in pairs, with one zero at an end.
    let upper = one(11, &[1, 1, 5], "Conv", same("SAME_UPPER"), vec![ones()]);
    assert_eq!(run(&upper), (vec![1, 1, 3], vec![1.0, 5.0, 4.0]));
    let lower = one(11, &[1, 1, 5], "Conv", same("SAME_LOWER"), vec![ones()]);
    assert_eq!(run(&lower), (vec![1, 1, 3], vec![0.0, 3.0, 7.0]));
}

#[test]
fn pools_round_up_and_count_padding() {
    let window = |more: Vec<AttributeProto>| {
        let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        window.into_iter().chain(more).collect::<Vec<_>>()
    };
    let ceil = one(19, &[1, 1, 3, 3], "MaxPool", window(vec![int("ceil_mode", 1)]), vec![]);
    assert_eq!(run(&ceil), (vec![1, 1, 2, 2], vec![4.0, 5.0, 7.0, 8.0]));
    let pads = || ints("pads", &[1, 1, 0, 0]);
    let inside = one(19, &[1, 1, 3, 3], "AveragePool", window(vec![pads()]), vec![]);
    assert_eq!(values(&inside), [0.0, 1.5, 4.5, 6.0]);
    let counted = vec![pads(), int("count_include_pad", 1)];
    let all = one(19, &[1, 1, 3, 3], "AveragePool", window(counted), vec![]);
    assert_eq!(values(&all), [0.0, 0.75, 2.25, 6.0]);
}

#[test]
fn products_of_vectors_and_gemm() {
    assert_eq!(
        run(&one(13, &[2, 3], "MatMul", vec![], vec![floats("w", &[3])])),
        (vec![2], vec![5.0, 14.0])
    );
    assert_eq!(
        run(&one(13, &[2], "MatMul", vec![], vec![floats("w", &[2, 2])])),
        (vec![2], vec![2.0, 3.0])
    );
    assert_eq!(run(&one(13, &[2], "MatMul", vec![], vec![floats("w", &[2])])), (vec![], vec![1.0]));
    let scaled = vec![float("alpha", 2.0), float("beta", 10.0), int("transB", 1)];
    let gemm = one(13, &[1, 2], "Gemm", scaled, vec![floats("w", &[2, 2]), floats("c", &[2])]);
    assert_eq!(values(&gemm), [2.0, 16.0]);
}

#[test]
fn pads_of_every_kind() {
    let padded = |mode: &str, amounts: &[i64]| {
        let mode = vec![string("mode", mode)];
        values(&one(19, &[3], "Pad", mode, vec![longs("p", amounts)]))
    };
    assert_eq!(padded("constant", &[1, 1]), [0.0, 0.0, 1.0, 2.0, 0.0]);
    assert_eq!(padded("constant", &[-1, 1]), [1.0, 2.0, 0.0]);
    assert_eq!(padded("edge", &[1, 2]), [0.0, 0.0, 1.0, 2.0, 2.0, 2.0]);
    assert_eq!(padded("reflect", &[2, 1]), [2.0, 1.0, 0.0, 1.0, 2.0, 1.0]);
    assert_eq!(padded("wrap", &[1, 2]), [2.0, 0.0, 1.0, 2.0, 0.0, 1.0]);
    let old = vec![ints("pads", &[0, 1]), float("value", 9.0)];
    assert_eq!(values(&one(7, &[2], "Pad", old, vec![])), [0.0, 1.0, 9.0]);
}

/// Of i64, also with what f64 has not.
#[test]
fn padding_with_any_integer() {
    for value in [0, -3, (1 << 53) + 1, i64::MAX, i64::MIN + 1] {
        let nodes = vec![
            node("Cast", &["x"], &["i"], vec![int("to", 7)]),
            node("Pad", &["i", "p", "v"], &["y"], vec![]),
        ];
        let tensors = vec![longs("p", &[-1, 2]), scalar_long("v", value)];
        let graph = imported(&at(17, &[3], nodes, tensors)).graph;
        verify(&graph).unwrap();
        let data = Data::Float(vec![5.0, 6.0, 7.0]);
        let x = Tensor { dtype: DType::F32, shape: vec![3], data };
        let y = interp::run(&graph, &[x]).unwrap().remove(0);
        assert_eq!(y.data, Data::Int(vec![6, 7, value, value]));
    }
}

/// Ten times what f32 has for 0.7 is 7 in f32, and less in f64.
#[test]
fn shapes_are_computed_in_the_element_type() {
    let f32s = |name, value: f32| {
        let mut tensor = floats(name, &[1]);
        tensor.raw_data = value.to_le_bytes().to_vec();
        tensor
    };
    let nodes = vec![
        node("Mul", &["a", "b"], &["m"], vec![]),
        node("Floor", &["m"], &["f"], vec![]),
        node("Cast", &["f"], &["s"], vec![int("to", 7)]),
        node("Expand", &["x", "s"], &["y"], vec![]),
    ];
    let model = at(17, &[1], nodes, vec![f32s("a", 10.0), f32s("b", 0.7)]);
    assert_eq!(run(&model).0, [7]);
}

#[test]
fn resizing_nearest_and_linear() {
    let scales = |factor: f32| {
        let mut scales = floats("s", &[3]);
        scales.raw_data = [1.0, 1.0, factor].iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        scales
    };
    let resize = |attributes, factor| {
        let resize = node("Resize", &["x", "", "s"], &["y"], attributes);
        values(&at(19, &[1, 1, 2], vec![resize], vec![scales(factor)]))
    };
    assert_eq!(resize(vec![], 2.0), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(resize(vec![string("mode", "linear")], 2.0), [0.0, 0.25, 0.75, 1.0]);
    let corners = string("coordinate_transformation_mode", "align_corners");
    let thirds = resize(vec![string("mode", "linear"), corners], 2.0);
    assert!((thirds[1] - 1.0 / 3.0).abs() < 1e-6, "{thirds:?}");
    let down = one(10, &[1, 1, 5], "Resize", vec![], vec![scales(0.6)]);
    assert_eq!(values(&down), [0.0, 2.0, 4.0]);
    let up = one(9, &[1, 1, 2], "Upsample", vec![], vec![scales(1.5)]);
    assert_eq!(values(&up), [0.0, 0.0, 1.0]);
}

#[test]
fn parts_of_values() {
    let bounds =
        vec![longs("s", &[-1]), longs("e", &[i64::MIN]), longs("a", &[0]), longs("t", &[-2])];
    assert_eq!(values(&one(13, &[5], "Slice", vec![], bounds)), [4.0, 2.0, 0.0]);
    let old = vec![ints("starts", &[1]), ints("ends", &[-1])];
    assert_eq!(values(&one(7, &[4], "Slice", old, vec![])), [1.0, 2.0]);
    let split = node("Split", &["x"], &["a", "y"], vec![int("num_outputs", 2)]);
    assert_eq!(values(&at(18, &[5], vec![split], vec![])), [3.0, 4.0]);
    let picked = one(13, &[2, 3], "Gather", vec![int("axis", 1)], vec![scalar_long("i", -1)]);
    assert_eq!(run(&picked), (vec![2], vec![2.0, 5.0]));
    let graph = imported(&picked).graph;
    let gathers = |id| matches!(graph.node(id).op, Op::Gather { .. });
    assert!(!graph.nodes().any(gathers));
}

#[test]
fn indices_known_only_at_run_time_count_from_the_end_too() {
    let nodes = vec![
        node("Cast", &["x"], &["i"], vec![int("to", 7)]),
        node("Gather", &["w", "i"], &["y"], vec![]),
    ];
    let model = at(13, &[4], nodes, vec![floats("w", &[5])]);
    assert_eq!(run_from(&model, 2.0).1, [3.0, 4.0, 0.0, 1.0]);
}

#[test]
fn integer_exponents_and_integer_bases() {
    assert_eq!(
        values(&one(13, &[4], "Pow", vec![], vec![scalar_long("e", 2)])),
        [0.0, 1.0, 4.0, 9.0]
    );
    // Whole exponents may be floats; 2058 to the third power has more bits than they have.
    let nodes = vec![
        node("Cast", &["x"], &["i"], vec![int("to", 7)]),
        node("Pow", &["i", "e"], &["p"], vec![]),
        node("Sub", &["p", "wanted"], &["d"], vec![]),
        node("Cast", &["d"], &["y"], vec![int("to", 1)]),
    ];
    let wanted = longs("wanted", &[1, 2056, 2057 * 2057, 2058 * 2058 * 2058]);
    let model = at(13, &[4], nodes, vec![floats("e", &[4]), wanted]);
    assert_eq!(run_from(&model, -2055.0).1, [0.0; 4]);
}

#[test]
fn constants_of_every_spelling() {
    let nodes = vec![
        node("Constant", &[], &["two"], vec![float("value_float", 2.0)]),
        node("Constant", &[], &["shape"], vec![ints("value_ints", &[2, -1])]),
        node("Reshape", &["x", "shape"], &["r"], vec![]),
        node("Mul", &["r", "two"], &["y"], vec![]),
    ];
    assert_eq!(run(&at(12, &[4], nodes, vec![])), (vec![2, 2], vec![0.0, 2.0, 4.0, 6.0]));
}

#[test]
fn shapes_computed_through_floats() {
    let nodes = vec![
        node("Shape", &["x"], &["s"], vec![]),
        node("Cast", &["s"], &["f"], vec![int("to", 1)]),
        node("Div", &["f", "w"], &["h"], vec![]),
        node("Floor", &["h"], &["g"], vec![]),
        node("Cast", &["g"], &["n"], vec![int("to", 7)]),
        node("Range", &["zero", "five", "step"], &["unused"], vec![]),
        node("Slice", &["x", "start", "n"], &["y"], vec![]),
    ];
    let mut w = floats("w", &[]);
    w.raw_data = 2f32.to_le_bytes().to_vec();
    let scalars = [("zero", 0), ("five", 5), ("step", 2)].map(|(n, v)| scalar_long(n, v));
    let constants = [w, longs("start", &[0])].into_iter().chain(scalars).collect();
    let model = at(13, &[5], nodes, constants);
    assert_eq!(values(&model), [0.0, 1.0]);
    assert_eq!(imported(&model).graph.len(), 2, "the input and the slice");
}

/// A tensor of these floats.
fn stored(name: &str, values: &[f32]) -> TensorProto {
    let mut tensor = floats(name, &[values.len() as i64]);
    tensor.raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    tensor
}

#[test]
fn the_remainder_of_floats_has_the_divisors_sign_from_operator_set_28_on() {
    let infinite = f32::INFINITY;
    let a = stored("a", &[5.5, -5.5, 5.5, -5.5, 6.0, -0.0, 1.0, -1.0, infinite, 1.0]);
    let b = stored("b", &[2.0, 2.0, -2.0, -2.0, -3.0, 2.0, infinite, infinite, 2.0, 0.0]);
    let model = |opset, attributes| {
        let nodes = vec![
            node("Mod", &["a", "b"], &["m"], attributes),
            node("Add", &["x", "m"], &["y"], vec![]),
        ];
        at(opset, &[1], nodes, vec![a.clone(), b.clone()])
    };
    let rests = |model: &ModelProto| values(model).into_iter().map(|v| v.to_string()).collect();
    let floored: Vec<String> = rests(&model(28, vec![]));
    let expected = ["1.5", "0.5", "-0.5", "-1.5", "0", "0", "1", "inf", "NaN", "NaN"];
    assert_eq!(floored, expected);
    let truncated: Vec<String> = rests(&model(13, vec![int("fmod", 1)]));
    let expected = ["1.5", "-1.5", "1.5", "-1.5", "0", "0", "1", "-1", "NaN", "NaN"];
    assert_eq!(truncated, expected);
    let error = crate::proto::refused(&model(27, vec![]));
    assert!(error.to_string().contains("floats without `fmod`"), "{error}");
}

/// Operators that nothing has changed since are those of older operator sets.
#[test]
fn the_newest_operator_sets_are_read() {
    for opset in 24..=28 {
        let nodes = vec![
            node("Relu", &["x"], &["r"], vec![]),
            node("Reshape", &["r", "shape"], &["y"], vec![]),
        ];
        let model = at(opset, &[4], nodes, vec![longs("shape", &[2, 2])]);
        assert_eq!(run(&model), (vec![2, 2], vec![0.0, 1.0, 2.0, 3.0]));
    }
}

#[test]
fn sequences_are_taken_apart_at_compile_time() {
    let nodes = vec![
        node("SplitToSequence", &["x", "n"], &["q"], vec![]),
        node("SequenceAt", &["q", "last"], &["y"], vec![]),
    ];
    let model = at(11, &[5], nodes, vec![scalar_long("n", 2), scalar_long("last", -1)]);
    assert_eq!(run(&model), (vec![1], vec![4.0]));
}

#[test]
fn identity_and_dropout_stay() {
    for (operator, opset) in [("Identity", 7), ("Identity", 21), ("Dropout", 7), ("Dropout", 22)] {
        let graph = imported(&one(opset, &[2], operator, vec![], vec![])).graph;
        let y = graph.node(graph.outputs()[0].node);
        assert_eq!((&y.op, y.name.as_str()), (&Op::Identity, "y"));
        assert_eq!(y.from.len(), 1);
    }
}

#[test]
fn parts_are_named_after_the_value_they_make() {
    let graph =
        imported(&one(13, &[1, 2], "Gemm", vec![float("alpha", 2.0)], vec![floats("w", &[2, 2])]));
    let graph = graph.graph;
    let names: Vec<&str> = graph.nodes().map(|id| graph.node(id).name.as_str()).collect();
    assert_eq!(names, ["x", "w", "y:matmul", "y:constant", "y"]);
}
