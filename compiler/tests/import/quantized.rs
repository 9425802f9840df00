//! Operators of quantized values, in their versions: small models, computed by hand.

use cardinal_compiler::interp::{self, Data, Tensor};
use cardinal_compiler::ir::{DType, Graph, Op, text, verify};
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto, TensorProto};

use crate::proto::{
    Dim, empty_model, float, imported, int, ints, node, opset, refused, tensor, untyped, value,
    with,
};

fn elements(name: &str, kind: DataType, dims: &[i64], values: &[i32]) -> TensorProto {
    TensorProto { int32_data: values.to_vec(), ..tensor(name, kind, dims) }
}

fn bytes(name: &str, dims: &[i64], values: &[i32]) -> TensorProto {
    elements(name, DataType::UINT8, dims, values)
}

fn signed(name: &str, dims: &[i64], values: &[i32]) -> TensorProto {
    elements(name, DataType::INT8, dims, values)
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto { float_data: values.to_vec(), ..tensor(name, DataType::FLOAT, dims) }
}

/// A model of these nodes, all of whose values are constants; the output is `y`.
fn constants(version: i64, nodes: Vec<NodeProto>, tensors: Vec<TensorProto>) -> ModelProto {
    let mut model = with(empty_model(), tensors);
    model.opset_import[0].version = version;
    model.opset_import.push(opset("com.microsoft", 1));
    let graph = model.graph.as_mut().unwrap();
    graph.node = nodes;
    graph.output.push(untyped("y"));
    model
}

/// An operator of constants, which are its operands in order; `domain` is ONNX's own or the other.
fn one(
    (domain, version): (&str, i64),
    operator: &str,
    attributes: Vec<AttributeProto>,
    operands: Vec<TensorProto>,
) -> ModelProto {
    let names: Vec<&str> = operands.iter().map(|t| t.name.as_str()).collect();
    let node = NodeProto { domain: domain.into(), ..node(operator, &names, &["y"], attributes) };
    let operands = operands.iter().filter(|t| !t.name.is_empty()).cloned().collect();
    constants(version, vec![node], operands)
}

fn run(model: &ModelProto) -> Tensor {
    let graph = imported(model).graph;
    verify(&graph).unwrap();
    interp::run(&graph, &[]).unwrap().remove(0)
}

#[track_caller]
fn gives(model: &ModelProto, dtype: DType, shape: &[usize], wanted: &[f64]) {
    let y = run(model);
    let found: Vec<f64> = match y.data {
        Data::Float(values) => values.into_iter().map(|v| f64::from(v as f32)).collect(),
        Data::Int(values) => values.into_iter().map(|v| v as f64).collect(),
    };
    assert_eq!((y.dtype, &*y.shape, &*found), (dtype, shape, wanted));
}

const ONNX: &str = "";
const RUNTIME: &str = "com.microsoft";
const EVERY: [i64; 8] = [10, 13, 19, 21, 23, 24, 25, 28];

fn absent() -> TensorProto {
    TensorProto::default()
}

#[test]
fn quantize_linear_in_every_version() {
    let x = || floats("x", &[2, 2], &[1.0, 3.0, -7.0, 999.0]);
    let scale = || floats("s", &[], &[2.0]);
    for version in EVERY {
        let one = |rest: Vec<TensorProto>| {
            let operands = [x(), scale()].into_iter().chain(rest).collect();
            one((ONNX, version), "QuantizeLinear", vec![], operands)
        };
        gives(&one(vec![]), DType::U8, &[2, 2], &[0.0, 2.0, 0.0, 255.0]);
        gives(&one(vec![bytes("z", &[], &[10])]), DType::U8, &[2, 2], &[10.0, 12.0, 6.0, 255.0]);
        gives(&one(vec![signed("z", &[1], &[1])]), DType::I8, &[2, 2], &[1.0, 3.0, -3.0, 127.0]);
    }
    for version in &EVERY[1..] {
        let operands = vec![x(), floats("s", &[2], &[1.0, 2.0]), bytes("z", &[2], &[1, 10])];
        let model = one((ONNX, *version), "QuantizeLinear", vec![int("axis", 0)], operands);
        gives(&model, DType::U8, &[2, 2], &[2.0, 4.0, 6.0, 255.0]);
    }
    let attributes =
        vec![int("output_dtype", DataType::INT8 as i64), int("block_size", 2), int("axis", -1)];
    let model =
        one((ONNX, 21), "QuantizeLinear", attributes, vec![x(), floats("s", &[2, 1], &[1.0, 7.0])]);
    gives(&model, DType::I8, &[2, 2], &[1.0, 3.0, -1.0, 127.0]);
    let model = one(
        (RUNTIME, 17),
        "QuantizeLinear",
        vec![int("axis", 1)],
        vec![x(), floats("s", &[2], &[1.0, 3.0]), bytes("z", &[2], &[0, 0])],
    );
    gives(&model, DType::U8, &[2, 2], &[1.0, 1.0, 0.0, 255.0]);
}

#[test]
fn dequantize_linear_in_every_version() {
    let scale = || floats("s", &[], &[0.5]);
    for version in EVERY {
        let one = |x: TensorProto, rest: Vec<TensorProto>| {
            let operands = [x, scale()].into_iter().chain(rest).collect();
            one((ONNX, version), "DequantizeLinear", vec![], operands)
        };
        let x = bytes("x", &[2], &[0, 255]);
        gives(&one(x.clone(), vec![]), DType::F32, &[2], &[0.0, 127.5]);
        gives(&one(x, vec![bytes("z", &[], &[255])]), DType::F32, &[2], &[-127.5, 0.0]);
        let x = elements("x", DataType::INT32, &[2], &[-100_000, 3]);
        gives(&one(x, vec![]), DType::F32, &[2], &[-50_000.0, 1.5]);
    }
    for domain in [(ONNX, 13), (RUNTIME, 11)] {
        let x = signed("x", &[2, 1], &[-4, 4]);
        let operands = vec![x, floats("s", &[2], &[1.0, 2.0]), signed("z", &[2], &[0, 1])];
        let model = one(domain, "DequantizeLinear", vec![int("axis", 0)], operands);
        gives(&model, DType::F32, &[2, 1], &[-4.0, 6.0]);
    }
}

/// Three rows of one column in blocks of two rows.
#[test]
fn constants_of_other_integers_are_dequantized() {
    let blocks = || vec![int("axis", 0), int("block_size", 2)];
    let scales = || floats("s", &[2, 1], &[1.0, 0.5]);
    for (kind, stored, wanted) in [
        (DataType::UINT16, vec![1, 65535, 10], [1.0, 65535.0, 5.0]),
        (DataType::INT16, vec![1, -32768, 10], [1.0, -32768.0, 5.0]),
        (DataType::UINT4, vec![0xf1, 0x0a], [1.0, 15.0, 5.0]),
        (DataType::INT4, vec![0xf1, 0x08], [1.0, -1.0, -4.0]),
    ] {
        let x = elements("x", kind, &[3, 1], &stored);
        let model = one((ONNX, 21), "DequantizeLinear", blocks(), vec![x.clone(), scales()]);
        gives(&model, DType::F32, &[3, 1], &wanted);
        // Whatever else would read them would not know what they were.
        let error = refused(&one((ONNX, 21), "Abs", vec![], vec![x]));
        assert!(error.to_string().contains("element type"), "{error}");
        assert!(error.remedy.is_some());
    }
    let model = one(
        (ONNX, 21),
        "DequantizeLinear",
        blocks(),
        vec![
            elements("x", DataType::INT4, &[3, 1], &[0x21, 0x03]),
            scales(),
            elements("z", DataType::INT4, &[2, 1], &[0xe1]),
        ],
    );
    gives(&model, DType::F32, &[3, 1], &[0.0, 1.0, 2.5]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let says = |model: &ModelProto, what: &str| {
        let error = refused(model).to_string();
        assert!(error.contains(what), "{error}");
    };
    let x = || floats("x", &[2, 3], &[0.0; 6]);
    let one = |attributes, operands| one((ONNX, 23), "QuantizeLinear", attributes, operands);
    let scale = || floats("s", &[], &[1.0]);
    let sixteen = elements("z", DataType::UINT16, &[], &[0]);
    says(&one(vec![], vec![x(), scale(), sixteen]), "uint16");
    let float8 = vec![int("output_dtype", DataType::FLOAT8E4M3FN as i64)];
    says(&one(float8, vec![x(), scale()]), "float8");
    says(&one(vec![], vec![x(), floats("s", &[2], &[1.0; 2])]), "[2] for [2, 3]");
    let contradicting = vec![int("output_dtype", DataType::INT8 as i64)];
    says(&one(contradicting, vec![x(), scale(), bytes("z", &[], &[0])]), "output_dtype");
    says(&one(vec![int("precision", DataType::FLOAT16 as i64)], vec![x(), scale()]), "float16");
    says(&one(vec![int("block_size", -1)], vec![x(), scale()]), "block_size");
}

/// The range is made to hold 0: from -3 to 7.2 in steps of 0.04, of which 75 are below 0.
#[test]
fn dynamic_quantize_linear_takes_its_grid_from_the_elements() {
    let outputs = |which: &str, x: &[f32]| {
        let names = ["a", "b", "c"].map(|name| if name == which { "y" } else { name });
        let node = node("DynamicQuantizeLinear", &["x"], &names, vec![]);
        constants(11, vec![node], vec![floats("x", &[x.len() as i64], x)])
    };
    let x = [-3.0, 7.2, 0.0, 0.1];
    gives(&outputs("a", &x), DType::U8, &[4], &[0.0, 255.0, 75.0, 77.0]);
    gives(&outputs("b", &x), DType::F32, &[], &[f64::from(10.2f32 / 255.0)]);
    gives(&outputs("c", &x), DType::U8, &[], &[75.0]);
    gives(&outputs("a", &[51.0, 255.0]), DType::U8, &[2], &[51.0, 255.0]);
    gives(&outputs("a", &[0.0, 0.0]), DType::U8, &[2], &[0.0, 0.0]);
    gives(&outputs("b", &[0.0, 0.0]), DType::F32, &[], &[1.0]);
}

/// (10 - 8) / 2 · [3, -3] / … + bias: x is 1, 2, the weights 6 and -12, the biases 5 and -6 in steps of
/// 0.5 · 2 and 0.5 · 4.
#[test]
fn qlinear_conv_has_scales_for_channels() {
    let model = one(
        (ONNX, 10),
        "QLinearConv",
        vec![],
        vec![
            bytes("x", &[1, 1, 2], &[10, 12]),
            floats("xs", &[], &[0.5]),
            bytes("xz", &[], &[8]),
            signed("w", &[2, 1, 1], &[3, -3]),
            floats("ws", &[2], &[2.0, 4.0]),
            signed("wz", &[2], &[0, 0]),
            floats("ys", &[], &[2.0]),
            bytes("yz", &[], &[20]),
            elements("b", DataType::INT32, &[2], &[5, -3]),
        ],
    );
    // 6 + 5, 12 + 5; -12 - 6, -24 - 6; in steps of 2.
    gives(&model, DType::U8, &[1, 2, 2], &[26.0, 28.0, 11.0, 5.0]);
}

/// A border of x is its zero point.
#[test]
fn integer_convolutions_are_exact() {
    let x = bytes("x", &[1, 2, 1, 2], &[255, 10, 0, 9]);
    let w = bytes("w", &[2, 1, 1, 3], &[1, 2, 3, 255, 255, 255]);
    let attributes = vec![int("group", 2), ints("pads", &[0, 1, 0, 1])];
    let zeros = || vec![bytes("xz", &[], &[5]), bytes("wz", &[], &[1])];
    let operands = [x, w].into_iter().chain(zeros()).collect();
    let model = one((ONNX, 10), "ConvInteger", attributes, operands);
    // x - 5 is [250, 5] and [-5, 4]; w - 1 is [0, 1, 2] and 254s.
    gives(&model, DType::I32, &[1, 2, 1, 2], &[260.0, 5.0, -254.0, -254.0]);
    let strided = vec![ints("strides", &[1, 2]), ints("dilations", &[1, 2])];
    let x = signed("x", &[1, 1, 1, 5], &[1, 2, 3, 4, -128]);
    let w = signed("w", &[1, 1, 1, 2], &[100, -128]);
    let model = one((ONNX, 10), "ConvInteger", strided, vec![x, w]);
    gives(&model, DType::I32, &[1, 1, 1, 2], &[100.0 - 384.0, 300.0 + 16384.0]);
}

/// 1,000 products of 255 by 255 and one of 1 by 1 are more than an f32 can tell apart.
#[test]
fn integer_products_are_exact_where_floats_are_not() {
    let mut row = vec![255; 1001];
    row[500] = 1;
    let model = one(
        (ONNX, 10),
        "MatMulInteger",
        vec![],
        vec![bytes("a", &[1, 1001], &row), bytes("b", &[1001, 1], &row)],
    );
    gives(&model, DType::I32, &[1, 1], &[65_025_001.0]);
    let model = one(
        (ONNX, 10),
        "MatMulInteger",
        vec![],
        vec![
            bytes("a", &[2, 2], &[1, 2, 3, 4]),
            signed("b", &[2, 2], &[1, -1, 2, -2]),
            bytes("az", &[2], &[0, 1]),
            signed("bz", &[2], &[1, -1]),
        ],
    );
    // [1, 2], [2, 3] times [0, 0], [1, -1].
    gives(&model, DType::I32, &[2, 2], &[2.0, -2.0, 3.0, -3.0]);
}

#[test]
fn qlinear_matmul_in_both_versions() {
    for version in [10, 21] {
        let model = one(
            (ONNX, version),
            "QLinearMatMul",
            vec![],
            vec![
                bytes("a", &[2, 2], &[1, 2, 3, 4]),
                floats("as", &[2], &[1.0, 2.0]),
                bytes("az", &[2], &[0, 1]),
                signed("b", &[2, 2], &[1, -1, 2, -2]),
                floats("bs", &[2], &[1.0, 3.0]),
                signed("bz", &[2], &[0, 0]),
                floats("ys", &[], &[1.0]),
                signed("yz", &[], &[1]),
            ],
        );
        // [1, 2], [4, 6] times [1, -3], [2, -6].
        gives(&model, DType::I8, &[2, 2], &[6.0, -14.0, 17.0, -47.0]);
    }
}

/// Eight operands of a binary operator: 10 and 20 in steps of 0.5, 3 and 4 in whole ones.
fn pair() -> Vec<TensorProto> {
    vec![
        bytes("a", &[2], &[10, 20]),
        floats("as", &[], &[0.5]),
        bytes("az", &[], &[0]),
        bytes("b", &[2], &[3, 4]),
        floats("bs", &[], &[1.0]),
        bytes("bz", &[], &[2]),
        floats("ys", &[], &[0.25]),
        bytes("yz", &[], &[100]),
    ]
}

#[test]
fn operators_of_onnx_runtime_on_pairs() {
    let add = one((RUNTIME, 17), "QLinearAdd", vec![], pair());
    gives(&add, DType::U8, &[2], &[124.0, 148.0]);
    let mul = one((RUNTIME, 17), "QLinearMul", vec![], pair());
    gives(&mul, DType::U8, &[2], &[120.0, 180.0]);
    let mut without: Vec<TensorProto> = pair();
    without.pop();
    without[2] = absent();
    gives(&one((RUNTIME, 17), "QLinearAdd", vec![], without), DType::U8, &[2], &[24.0, 48.0]);
    let mut parts = pair().split_off(6);
    parts.extend(pair().into_iter().take(6));
    let concat = one((RUNTIME, 17), "QLinearConcat", vec![int("axis", 0)], parts.clone());
    gives(&concat, DType::U8, &[4], &[120.0, 140.0, 104.0, 108.0]);
    parts.pop();
    let error = refused(&one((RUNTIME, 17), "QLinearConcat", vec![int("axis", 0)], parts));
    assert!(error.to_string().contains("7 operands"), "{error}");
}

/// x is -2, 0, 2, 4 in steps of 0.5, and the result in steps of `step` from 10.
fn of_one(operator: &str, attributes: Vec<AttributeProto>, step: f32) -> ModelProto {
    one(
        (RUNTIME, 17),
        operator,
        attributes,
        vec![
            bytes("x", &[1, 1, 2, 2], &[4, 8, 12, 16]),
            floats("xs", &[], &[0.5]),
            bytes("xz", &[], &[8]),
            floats("ys", &[], &[step]),
            bytes("yz", &[], &[10]),
        ],
    )
}

#[test]
fn operators_of_onnx_runtime_on_one() {
    // 0.1192, 0.5, 0.8808, 0.9820
    let sigmoid = of_one("QLinearSigmoid", vec![], 0.01);
    gives(&sigmoid, DType::U8, &[1, 1, 2, 2], &[22.0, 60.0, 98.0, 108.0]);
    let leaky = of_one("QLinearLeakyRelu", vec![float("alpha", 0.25)], 0.5);
    gives(&leaky, DType::U8, &[1, 1, 2, 2], &[9.0, 10.0, 14.0, 18.0]);
    // e² : 1 is 0.8808 : 0.1192 on both rows.
    let softmax = of_one("QLinearSoftmax", vec![int("axis", -1), int("opset", 13)], 0.01);
    gives(&softmax, DType::U8, &[1, 1, 2, 2], &[22.0, 98.0, 22.0, 98.0]);
    // All four: 0.0021, 0.0158, 0.1166, 0.8615
    let before = of_one("QLinearSoftmax", vec![int("axis", 1), int("opset", 11)], 0.01);
    gives(&before, DType::U8, &[1, 1, 2, 2], &[10.0, 12.0, 22.0, 96.0]);
    let global = of_one("QLinearGlobalAveragePool", vec![], 0.25);
    gives(&global, DType::U8, &[1, 1, 1, 1], &[14.0]);
    let average = of_one("QLinearAveragePool", vec![ints("kernel_shape", &[1, 2])], 0.5);
    gives(&average, DType::U8, &[1, 1, 2, 1], &[8.0, 16.0]);
    let mean = vec![ints("axes", &[3]), int("keepdims", 0)];
    gives(&of_one("QLinearReduceMean", mean, 0.5), DType::U8, &[1, 1, 2], &[8.0, 16.0]);
    for operator in ["QLinearGlobalAveragePool", "QLinearAveragePool"] {
        let error = refused(&of_one(operator, vec![int("channels_last", 1)], 1.0));
        assert!(error.to_string().contains("channels as the last axis"), "{error}");
    }
}

/// 2 · ([1, 2] · [[1, 2]]ᵀ-ish matrix + bias): a is [1, 2], b, by columns, [1, 1] and [2, 4].
#[test]
fn qgemm_has_a_bias_and_may_give_floats() {
    let operands = || {
        vec![
            bytes("a", &[1, 2], &[2, 4]),
            floats("as", &[], &[0.5]),
            bytes("az", &[], &[0]),
            signed("b", &[2, 2], &[1, 1, 1, 2]),
            floats("bs", &[2], &[1.0, 2.0]),
            signed("bz", &[2], &[0, 0]),
            elements("c", DataType::INT32, &[2], &[1, 10]),
        ]
    };
    let attributes = || vec![int("transB", 1), float("alpha", 2.0)];
    // 2 · [3, 10] and biases of 1 and 10 in steps of 2 · 0.5 · [1, 2].
    let model = one((RUNTIME, 17), "QGemm", attributes(), operands());
    gives(&model, DType::F32, &[1, 2], &[7.0, 40.0]);
    let grid = [floats("ys", &[], &[1.0]), bytes("yz", &[], &[5])];
    let model =
        one((RUNTIME, 17), "QGemm", attributes(), operands().into_iter().chain(grid).collect());
    gives(&model, DType::U8, &[1, 2], &[12.0, 45.0]);
    let mut without = operands();
    without.pop();
    let model = one((RUNTIME, 17), "QGemm", attributes(), without);
    gives(&model, DType::F32, &[1, 2], &[6.0, 20.0]);
}

#[test]
fn round_takes_the_even_of_two() {
    for version in [11, 22] {
        let x = floats("x", &[4], &[0.5, 1.5, -2.5, 2.4]);
        gives(
            &one((ONNX, version), "Round", vec![], vec![x]),
            DType::F32,
            &[4],
            &[0.0, 2.0, -2.0, 2.0],
        );
    }
}

/// An input and an output of bytes, between which only elements are picked: the model has them so too.
#[test]
fn bytes_come_in_and_go_out() {
    let mut model = with(empty_model(), vec![]);
    let graph = model.graph.as_mut().unwrap();
    let mut input = value("x", &[Dim::Is(1), Dim::Is(1), Dim::Is(2), Dim::Is(2)]);
    input.type_.as_mut().unwrap().mut_tensor_type().elem_type = DataType::UINT8 as i32;
    graph.input.push(input);
    graph.output.push(untyped("y"));
    graph.node = vec![node("MaxPool", &["x"], &["y"], vec![ints("kernel_shape", &[2, 2])])];
    let graph: Graph = imported(&model).graph;
    verify(&graph).unwrap();
    assert!(
        graph.nodes().any(|id| matches!(graph.node(id).op, Op::Pool(_))),
        "{}",
        text::print(&graph)
    );
    let data = Data::Int(vec![3, 255, 0, 7]);
    let x = Tensor { dtype: DType::U8, shape: vec![1, 1, 2, 2], data };
    let y = interp::run(&graph, &[x]).unwrap().remove(0);
    assert_eq!((y.dtype, y.data), (DType::U8, Data::Int(vec![255])));
}
