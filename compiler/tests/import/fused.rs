//! Operators that ONNX Runtime's optimizer joins of others: small models, computed by hand.

use cardinal_compiler::ir::Op;
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto, TensorProto};

use crate::compositions::near;
use crate::operators::{at, on_x, one, run_from, values};
use crate::proto::{
    float, float_list, imported, int, longs, node, numbers, opset, refused, string,
};

/// One operator of ONNX Runtime on `x`, followed by constants; those without a name are not given.
fn joined(
    shape: &[i64],
    operator: &str,
    attributes: Vec<AttributeProto>,
    constants: Vec<TensorProto>,
) -> ModelProto {
    giving(&["y"], shape, operator, attributes, constants)
}

/// The same with these outputs, of which the model's is `y`.
fn giving(
    outputs: &[&str],
    shape: &[i64],
    operator: &str,
    attributes: Vec<AttributeProto>,
    constants: Vec<TensorProto>,
) -> ModelProto {
    let node = on_x(operator, attributes, &constants, outputs);
    let node = NodeProto { domain: "com.microsoft".into(), ..node };
    let given = constants.into_iter().filter(|t| !t.name.is_empty()).collect();
    let mut model = at(13, shape, vec![node], given);
    model.opset_import.push(opset("com.microsoft", 1));
    model
}

/// The output for the input -2, -1, 0, 1, 2.
fn around_zero(model: &ModelProto) -> Vec<f64> {
    run_from(model, 2.0).1
}

/// `2 * x + 1` of five pixels, with what else FusedConv has.
fn fused_conv(attributes: Vec<AttributeProto>, more: Vec<TensorProto>) -> ModelProto {
    let constants = [numbers("w", &[1, 1, 1, 1], &[2.0]), numbers("b", &[1], &[1.0])];
    let constants = constants.into_iter().chain(more).collect();
    joined(&[1, 1, 1, 5], "FusedConv", attributes, constants)
}

#[test]
fn activations_of_fused_convolutions() {
    let plain = [-3.0, -1.0, 1.0, 3.0, 5.0f64];
    let of = |name: &str, given: &[f32]| {
        let mut attributes = vec![string("activation", name)];
        if !given.is_empty() {
            attributes.push(float_list("activation_params", given));
        }
        around_zero(&fused_conv(attributes, vec![]))
    };
    near(around_zero(&fused_conv(vec![], vec![])), &plain);
    near(of("Relu", &[]), &[0.0, 0.0, 1.0, 3.0, 5.0]);
    near(of("Sigmoid", &[]), &plain.map(|x| 1.0 / (1.0 + (-x).exp())));
    near(of("Tanh", &[]), &plain.map(f64::tanh));
    near(of("LeakyRelu", &[0.25]), &[-0.75, -0.25, 1.0, 3.0, 5.0]);
    near(of("HardSigmoid", &[0.25, 0.5]), &[0.0, 0.25, 0.75, 1.0, 1.0]);
    near(of("Clip", &[-1.0, 2.0]), &[-1.0, -1.0, 1.0, 2.0, 2.0]);
    let error = refused(&fused_conv(vec![string("activation", "Hopeful")], vec![]));
    assert!(error.to_string().contains("Hopeful"), "{error}");
    assert!(error.remedy.unwrap().contains("ONNX Runtime"));
}

#[test]
fn fused_convolutions_add_before_the_activation() {
    let relu = || vec![string("activation", "Relu")];
    let more = |shape: &[i64]| numbers("z", shape, &[10.0, 0.0, 0.0, 0.0, -10.0]);
    let sum = fused_conv(relu(), vec![more(&[1, 1, 1, 5])]);
    near(around_zero(&sum), &[7.0, 0.0, 1.0, 3.0, 0.0]);
    let weights = numbers("w", &[1, 1, 1, 1], &[2.0]);
    let constants = vec![weights, TensorProto::default(), more(&[1, 1, 1, 5])];
    let without_bias = joined(&[1, 1, 1, 5], "FusedConv", relu(), constants);
    near(around_zero(&without_bias), &[6.0, 0.0, 0.0, 2.0, 0.0]);
    let error = refused(&fused_conv(relu(), vec![more(&[5])]));
    assert!(error.to_string().contains("is added to"), "{error}");
}

/// `x` is -2 and -1; the products are -4 and -10.
#[test]
fn fused_gemm_is_gemm_and_an_activation() {
    let constants =
        vec![numbers("b", &[2, 2], &[1.0, 2.0, 3.0, 4.0]), numbers("c", &[2], &[0.5, 3.0])];
    let attributes = vec![
        int("transB", 1),
        float("alpha", 0.5),
        float("beta", 2.0),
        string("activation", "LeakyRelu"),
        float("activation_alpha", 0.25),
    ];
    let gemm = joined(&[1, 2], "FusedGemm", attributes, constants);
    near(around_zero(&gemm), &[-0.25, 1.0]);
}

/// Of -2, -1, 0, 1 and 2.
#[test]
fn activations_of_fused_gemm() {
    let of = |name: &str, given: &[(&str, f32)]| {
        let mut attributes = vec![string("activation", name)];
        attributes.extend(given.iter().map(|(name, value)| float(name, *value)));
        around_zero(&joined(&[5, 1], "FusedGemm", attributes, vec![numbers("b", &[1, 1], &[1.0])]))
    };
    let e = f64::exp;
    let (alpha, beta, gamma) = ("activation_alpha", "activation_beta", "activation_gamma");
    near(of("Elu", &[]), &[e(-2.0) - 1.0, e(-1.0) - 1.0, 0.0, 1.0, 2.0]);
    near(of("Elu", &[(alpha, 2.0)])[..1].to_vec(), &[2.0 * (e(-2.0) - 1.0)]);
    near(of("Celu", &[(alpha, 2.0)])[..1].to_vec(), &[2.0 * (e(-1.0) - 1.0)]);
    let selu = of("Selu", &[(alpha, 2.0), (gamma, 3.0)]);
    near(selu, &[6.0 * (e(-2.0) - 1.0), 6.0 * (e(-1.0) - 1.0), 0.0, 3.0, 6.0]);
    near(of("Selu", &[])[4..].to_vec(), &[2.0 * 1.050_701]);
    near(of("HardSigmoid", &[(alpha, 0.25), (beta, 0.5)]), &[0.0, 0.25, 0.5, 0.75, 1.0]);
    near(of("Softplus", &[]), &[-2.0, -1.0, 0.0, 1.0, 2.0f64].map(|x| (1.0 + x.exp()).ln()));
    near(of("Softsign", &[]), &[-2.0 / 3.0, -0.5, 0.0, 0.5, 2.0 / 3.0]);
    near(of("ThresholdedRelu", &[(alpha, 1.0)]), &[0.0, 0.0, 0.0, 0.0, 2.0]);
}

#[test]
fn fused_products_take_axes_in_another_order() {
    // x is [[0, 1, 2], [3, 4, 5]], of which the columns are multiplied.
    let column = vec![numbers("b", &[2, 1], &[1.0, 10.0])];
    let attributes = vec![int("transA", 1), float("alpha", 0.5)];
    near(values(&joined(&[2, 3], "FusedMatMul", attributes, column.clone())), &[15.0, 20.5, 26.0]);
    let transposed = joined(&[2, 3], "TransposeMatMul", vec![int("transA", 1)], column);
    near(values(&transposed), &[30.0, 41.0, 52.0]);
    // Two rows of three batches: 0 and 3, 1 and 4, 2 and 5.
    let factors = || vec![numbers("b", &[3, 1, 1], &[1.0, 10.0, 100.0])];
    let rows_first = joined(&[2, 3, 1], "FusedMatMul", vec![int("transBatchA", 1)], factors());
    near(values(&rows_first), &[0.0, 3.0, 10.0, 40.0, 200.0, 500.0]);
    // One column of three batches.
    let both = vec![int("transBatchA", 1), int("transA", 1)];
    let columns_first = joined(&[1, 3, 2], "FusedMatMul", both, factors());
    near(values(&columns_first), &[0.0, 1.0, 20.0, 30.0, 400.0, 500.0]);
    // One axis is no matrix, and has nothing to transpose.
    let b = vec![numbers("b", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])];
    near(values(&joined(&[3], "FusedMatMul", vec![int("transA", 1)], b)), &[13.0, 16.0]);
}

/// Rows of batches, as ONNX Runtime writes a product and a sum: a reshape, Gemm, and a reshape back.
#[test]
fn reshapes_around_gemm_are_not_in_the_way() {
    let nodes = vec![
        node("Reshape", &["x", "flat"], &["rows"], vec![]),
        node("Gemm", &["rows", "w", "b"], &["products"], vec![]),
        node("Reshape", &["products", "whole"], &["sums"], vec![]),
        node("Relu", &["sums"], &["y"], vec![]),
    ];
    let constants = vec![
        numbers("w", &[2, 1], &[1.0, -1.0]),
        numbers("b", &[1], &[2.0]),
        longs("flat", &[-1, 2]),
        longs("whole", &[2, 3, 1]),
    ];
    let model = at(13, &[2, 3, 2], nodes, constants);
    let found = run_from(&model, 0.0);
    assert_eq!(found, (vec![2, 3, 1], vec![1.0; 6]));
    let graph = imported(&model).graph;
    let product = graph.nodes().find(|id| matches!(graph.node(*id).op, Op::MatMul { .. })).unwrap();
    assert_eq!(graph.ty(product).shape(), [2, 3, 1]);
}

/// Of the error function, of 1 and of 2 by the root of 2.
const ERF: [f64; 2] = [0.682_689_492_137_085_9, 0.954_499_736_103_641_6];

#[test]
fn gelus_with_and_without_bias() {
    let gelu = |x: f64| {
        let erf = match x.abs() as usize {
            0 => 0.0,
            one_or_two => ERF[one_or_two - 1] * x.signum(),
        };
        0.5 * x * (1.0 + erf)
    };
    let fast = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh());
    let (plain, moved) = ([-2.0, -1.0, 0.0, 1.0, 2.0f64], [-1.0, -2.0, 0.0, 1.0, 1.0f64]);
    let bias = || vec![numbers("b", &[5], &[1.0, -1.0, 0.0, 0.0, -1.0])];
    let of = |operator, constants| around_zero(&joined(&[5], operator, vec![], constants));
    near(of("Gelu", vec![]), &plain.map(gelu));
    near(of("BiasGelu", bias()), &moved.map(gelu));
    near(of("FastGelu", vec![]), &plain.map(fast));
    near(of("FastGelu", bias()), &moved.map(fast));
    near(of("QuickGelu", vec![]), &plain.map(|x| x / (1.0 + (-1.702 * x).exp())));
    let alpha = joined(&[5], "QuickGelu", vec![float("alpha", -0.5)], vec![]);
    near(around_zero(&alpha), &plain.map(|x| x / (1.0 + (0.5 * x).exp())));
    for shape in [&[1][..], &[1, 5]] {
        let bias = numbers("b", shape, &[1.0; 5][..shape.iter().product::<i64>() as usize]);
        let error = refused(&joined(&[5], "BiasGelu", vec![], vec![bias]));
        assert!(error.to_string().contains("is no bias"), "{error}");
    }
}

/// The sum is 0, 1, 2, whose mean is 1 and variance 2/3.
#[test]
fn skipping_normalizations() {
    let three = |name: &str, all: [f32; 3]| numbers(name, &[3], &all);
    let epsilon = || vec![float("epsilon", 1.0 / 3.0)];
    let skip = || numbers("skip", &[1, 3], &[1.0, 1.0, 1.0]);
    let scale = || three("scale", [1.0, 2.0, 1.0]);
    let bias = || three("bias", [-1.0, -1.0, -1.0]);
    let whole = || vec![skip(), scale(), three("shift", [0.0, 0.0, 5.0]), bias()];
    let result = |outputs: &[&str]| {
        values(&giving(outputs, &[1, 3], "SkipLayerNormalization", epsilon(), whole()))
    };
    near(result(&["y"]), &[-1.0, 0.0, 6.0]);
    near(result(&["a", "y"]), &[1.0]);
    near(result(&["a", "", "y"]), &[1.0]);
    near(result(&["a", "", "", "y"]), &[0.0, 1.0, 2.0]);
    let root = 2f64.sqrt();
    let constants = vec![skip(), scale(), bias()];
    let simple = joined(&[1, 3], "SkipSimplifiedLayerNormalization", epsilon(), constants);
    near(values(&simple), &[0.0, 2.0 / root, 2.0 / root]);
    let wide = vec![numbers("skip", &[2, 3], &[0.0; 6]), scale()];
    let error = refused(&joined(&[1, 3], "SkipLayerNormalization", epsilon(), wide));
    assert!(error.to_string().contains("does not broadcast"), "{error}");
}

/// ONNX Runtime writes these into ONNX's own domain, of whatever operator set.
#[test]
fn layer_normalizations_of_old_operator_sets() {
    let scale = || numbers("s", &[3], &[1.0, 2.0, 1.0]);
    let attributes = || vec![float("epsilon", 1.0 / 3.0), int("axis", -1), int("stash_type", 1)];
    let layer = one(11, &[1, 3], "LayerNormalization", attributes(), vec![scale()]);
    near(values(&layer), &[-1.0, 0.0, 1.0]);
    let simple = one(11, &[1, 3], "SimplifiedLayerNormalization", attributes(), vec![scale()]);
    let root = 2f64.sqrt();
    near(values(&simple), &[0.0, 2.0 / root, 2.0 / root]);
}
