//! Operators that the graph has not, in their versions: small models, computed by hand.

use onnx_protobuf::{AttributeProto, TensorProto};

use crate::operators::{at, one, run, run_from, values};
use crate::proto::{float, floats, int, ints, longs, model, node, numbers, refused, string, with};

/// Compares with what was worked out by hand, to a rounding of f32.
#[track_caller]
pub(crate) fn near(found: Vec<f64>, expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    let close = found.iter().zip(expected).all(|(f, e)| (f - e).abs() <= 1e-6 * e.abs().max(1.0));
    assert!(close, "{found:?}, not {expected:?}");
}

/// The output for the input -2, -1, 0, 1, 2.
fn around_zero(opset: i64, operator: &str, attributes: Vec<AttributeProto>) -> Vec<f64> {
    run_from(&one(opset, &[5], operator, attributes, vec![]), 2.0).1
}

#[test]
fn activations_are_what_their_formulas_say() {
    let e = f64::exp;
    near(
        around_zero(7, "Elu", vec![float("alpha", 2.0)]),
        &[2.0 * (e(-2.0) - 1.0), 2.0 * (e(-1.0) - 1.0), 0.0, 1.0, 2.0],
    );
    near(
        around_zero(12, "Celu", vec![float("alpha", 2.0)]),
        &[2.0 * (e(-1.0) - 1.0), 2.0 * (e(-0.5) - 1.0), 0.0, 1.0, 2.0],
    );
    let selu = [f64::from(1.673_263_2f32), f64::from(1.050_701f32)];
    near(
        around_zero(22, "Selu", vec![]),
        &[
            selu[1] * selu[0] * (e(-2.0) - 1.0),
            selu[1] * selu[0] * (e(-1.0) - 1.0),
            0.0,
            selu[1],
            2.0 * selu[1],
        ],
    );
    let softplus = [-2.0, -1.0, 0.0, 1.0, 2.0].map(|x| (1.0 + e(x)).ln());
    near(around_zero(7, "Softplus", vec![]), &softplus);
    near(around_zero(7, "Softsign", vec![]), &[-2.0 / 3.0, -0.5, 0.0, 0.5, 2.0 / 3.0]);
    let mish = [-2.0, -1.0, 0.0, 1.0, 2.0].map(|x: f64| x * (1.0 + e(x)).ln().tanh());
    near(around_zero(18, "Mish", vec![]), &mish);
    let swish = [-2.0, -1.0, 0.0, 1.0, 2.0].map(|x| x / (1.0 + e(-2.0 * x)));
    near(around_zero(24, "Swish", vec![float("alpha", 2.0)]), &swish);
    near(around_zero(10, "ThresholdedRelu", vec![]), &[0.0, 0.0, 0.0, 0.0, 2.0]);
    let shrink = vec![float("lambd", 1.0), float("bias", 0.5)];
    near(around_zero(9, "Shrink", shrink), &[-1.5, 0.0, 0.0, 0.0, 1.5]);
    near(around_zero(9, "Sign", vec![]), &[-1.0, -1.0, 0.0, 1.0, 1.0]);
}

#[test]
fn slopes_of_prelu_may_be_infinite() {
    let slope = |value: f32| vec![numbers("slope", &[1], &[value])];
    let prelu = |value| run_from(&one(16, &[3], "PRelu", vec![], slope(value)), 1.0).1;
    assert_eq!(prelu(0.25), [-0.25, 0.0, 1.0]);
    assert_eq!(prelu(f32::INFINITY), [f64::NEG_INFINITY, 0.0, 1.0]);
    let wide = one(16, &[1], "PRelu", vec![], vec![floats("slope", &[2])]);
    assert!(refused(&wide).to_string().contains("does not broadcast"));
}

#[test]
fn whole_numbers_below_and_above() {
    let half = vec![numbers("half", &[], &[0.5])];
    let of_halves = |operator: &str| {
        let nodes = vec![
            node("Mul", &["x", "half"], &["h"], vec![]),
            node(operator, &["h"], &["y"], vec![]),
        ];
        run_from(&at(13, &[6], nodes, half.clone()), 3.0).1
    };
    assert_eq!(of_halves("Floor"), [-2.0, -1.0, -1.0, 0.0, 0.0, 1.0]);
    assert_eq!(of_halves("Ceil"), [-1.0, -1.0, 0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn comparisons_run() {
    let two = || vec![numbers("two", &[], &[2.0])];
    let compared = |operator: &str| values(&one(13, &[4], operator, vec![], two()));
    assert_eq!(compared("Less"), [1.0, 1.0, 0.0, 0.0]);
    assert_eq!(compared("Greater"), [0.0, 0.0, 0.0, 1.0]);
    let compared = |operator: &str| values(&one(16, &[4], operator, vec![], two()));
    assert_eq!(compared("LessOrEqual"), [1.0, 1.0, 1.0, 0.0]);
    assert_eq!(compared("GreaterOrEqual"), [0.0, 0.0, 1.0, 1.0]);
    let both = |operator: &str| {
        let nodes = vec![
            node("Less", &["x", "two"], &["a"], vec![]),
            node("Less", &["one", "x"], &["b"], vec![]),
            node(operator, &["a", "b"], &["y"], vec![]),
        ];
        values(&at(13, &[4], nodes, vec![two().remove(0), numbers("one", &[], &[0.0])]))
    };
    assert_eq!(both("And"), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(both("Or"), [1.0, 1.0, 1.0, 1.0]);
    assert_eq!(both("Xor"), [1.0, 0.0, 1.0, 1.0]);
    let floats = one(13, &[4], "And", vec![], two());
    assert!(refused(&floats).to_string().contains("not bool"));
}

#[test]
fn what_is_no_number_or_infinite_is_told() {
    let special = || numbers("s", &[4], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0]);
    let told = |operator: &str, attributes| {
        let nodes = vec![
            node("Add", &["x", "s"], &["sum"], vec![]),
            node(operator, &["sum"], &["y"], attributes),
        ];
        values(&at(20, &[4], nodes, vec![special()]))
    };
    assert_eq!(told("IsNaN", vec![]), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(told("IsInf", vec![]), [0.0, 1.0, 1.0, 0.0]);
    assert_eq!(told("IsInf", vec![int("detect_negative", 0)]), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(told("IsInf", vec![int("detect_positive", 0)]), [0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn normalizations_over_their_axes() {
    let (scale, bias) =
        (|| numbers("s", &[3], &[1.0, 2.0, 1.0]), || numbers("b", &[3], &[0.0, 0.0, 5.0]));
    let epsilon = || float("epsilon", 1.0 / 3.0);
    // Of 0, 1, 2 the mean is 1 and the variance 2/3.
    let layer = one(17, &[1, 3], "LayerNormalization", vec![epsilon()], vec![scale(), bias()]);
    near(values(&layer), &[-1.0, 0.0, 6.0]);
    // The mean of squares is 5/3.
    let root = 2f64.sqrt();
    let rms = one(23, &[1, 3], "RMSNormalization", vec![epsilon()], vec![scale()]);
    near(values(&rms), &[0.0, 2.0 / root, 2.0 / root]);
    let one_channel = |name| numbers(name, &[1], &[2.0]);
    let instance = vec![one_channel("s"), one_channel("b")];
    let instance = one(6 + 1, &[1, 1, 3], "InstanceNormalization", vec![epsilon()], instance);
    near(values(&instance), &[0.0, 2.0, 4.0]);
    let whole = vec![ints("axes", &[0, 1])];
    let mean_variance = one(13, &[1, 3], "MeanVarianceNormalization", whole, vec![]);
    near(values(&mean_variance), &[-(1.5f64.sqrt()), 0.0, 1.5f64.sqrt()]);
    let five = 5f64.sqrt();
    near(
        values(&one(1 + 6, &[1, 3], "LpNormalization", vec![], vec![])),
        &[0.0, 1.0 / five, 2.0 / five],
    );
    let by_size = vec![int("p", 1)];
    near(
        values(&one(22, &[1, 3], "LpNormalization", by_size, vec![])),
        &[0.0, 1.0 / 3.0, 2.0 / 3.0],
    );
    let response = vec![int("size", 3), float("alpha", 3.0), float("beta", 1.0)];
    // Squares of neighbours add up to 1, 5 and 5.
    let response = one(13, &[1, 3, 1, 1], "LRN", response, vec![]);
    near(values(&response), &[0.0, 1.0 / 6.0, 2.0 / 6.0]);
}

#[test]
fn scales_of_group_normalization_became_those_of_channels() {
    let attributes = || vec![int("num_groups", 2), float("epsilon", 0.75)];
    // Each group is n and n + 1: -1/2 and 1/2, by a deviation of 1.
    let of_groups = || vec![numbers("s", &[2], &[2.0, 4.0]), numbers("b", &[2], &[0.0, 1.0])];
    let old = one(18, &[1, 4, 1], "GroupNormalization", attributes(), of_groups());
    near(values(&old), &[-1.0, 1.0, -1.0, 3.0]);
    let of_channels =
        || vec![numbers("s", &[4], &[2.0, 4.0, 6.0, 8.0]), numbers("b", &[4], &[0.0; 4])];
    let new = one(21, &[1, 4, 1], "GroupNormalization", attributes(), of_channels());
    near(values(&new), &[-1.0, 2.0, -3.0, 4.0]);
    let three = vec![int("num_groups", 3)];
    let uneven = one(21, &[1, 4, 1], "GroupNormalization", three, of_channels());
    assert!(refused(&uneven).to_string().contains("3 groups of 4 channels"));
}

#[test]
fn reductions_of_functions() {
    let reduced = |operator: &str| {
        let old = one(13, &[4], operator, vec![ints("axes", &[0]), int("keepdims", 0)], vec![]);
        let new = one(18, &[4], operator, vec![int("keepdims", 0)], vec![longs("axes", &[-1])]);
        let (old, new) = (run_from(&old, -1.0), run_from(&new, -1.0));
        assert_eq!(old, new, "{operator}");
        assert_eq!(old.0, [0usize; 0], "{operator}");
        old.1
    };
    // Of 1, 2, 3 and 4.
    near(reduced("ReduceL1"), &[10.0]);
    near(reduced("ReduceL2"), &[30f64.sqrt()]);
    near(reduced("ReduceSumSquare"), &[30.0]);
    near(reduced("ReduceLogSum"), &[10f64.ln()]);
    let e = f64::exp;
    near(reduced("ReduceLogSumExp"), &[(e(1.0) + e(2.0) + e(3.0) + e(4.0)).ln()]);
    near(reduced("ReduceProd"), &[24.0]);
    // Over no axes the rest of the operator remains.
    let noop = one(18, &[3], "ReduceSumSquare", vec![int("noop_with_empty_axes", 1)], vec![]);
    assert_eq!(values(&noop), [0.0, 1.0, 4.0]);
    near(
        values(&one(13, &[2, 3], "Mean", vec![], vec![numbers("m", &[1], &[4.0])])),
        &[2.0, 2.5, 3.0, 3.5, 4.0, 4.5],
    );
}

#[test]
fn elements_are_picked_by_index() {
    let index =
        |dims: &[i64], values: &[i64]| TensorProto { dims: dims.to_vec(), ..longs("i", values) };
    let along = one(
        13,
        &[2, 3],
        "GatherElements",
        vec![int("axis", 1)],
        vec![index(&[2, 2], &[0, -1, 1, 1])],
    );
    assert_eq!(run(&along), (vec![2, 2], vec![0.0, 2.0, 4.0, 4.0]));
    let tuples = one(11, &[2, 3], "GatherND", vec![], vec![index(&[2, 2], &[0, 1, 1, -1])]);
    assert_eq!(run(&tuples), (vec![2], vec![1.0, 5.0]));
    let batches = vec![int("batch_dims", 1)];
    let rows = one(12, &[2, 3], "GatherND", batches, vec![index(&[2, 1], &[2, 0])]);
    assert_eq!(run(&rows), (vec![2], vec![2.0, 3.0]));
    let outside = one(13, &[2, 3], "GatherElements", vec![], vec![index(&[1, 1], &[2])]);
    assert!(refused(&outside).to_string().contains("outside of 2 elements"));
    let reversed = vec![int("time_axis", 1), int("batch_axis", 0)];
    let reversed = one(10, &[2, 3], "ReverseSequence", reversed, vec![longs("n", &[2, 3])]);
    assert_eq!(values(&reversed), [1.0, 0.0, 2.0, 5.0, 4.0, 3.0]);
    let bool_list = TensorProto {
        data_type: 9,
        int32_data: vec![0, 1, 1],
        int64_data: vec![],
        ..longs("c", &[0, 1, 1])
    };
    let compressed = one(11, &[2, 3], "Compress", vec![int("axis", 1)], vec![bool_list]);
    assert_eq!(run(&compressed), (vec![2, 2], vec![1.0, 2.0, 4.0, 5.0]));
}

#[test]
fn elements_are_put_at_indices() {
    let put = |opset, reduction: Option<&str>| {
        let attributes = reduction.map(|name| string("reduction", name)).into_iter().collect();
        let tensors = vec![
            TensorProto { dims: vec![3, 1], ..longs("i", &[1, 3, 1]) },
            numbers("u", &[3], &[10.0, 20.0, 30.0]),
        ];
        values(&one(opset, &[4], "ScatterND", attributes, tensors))
    };
    assert_eq!(put(11, None), [0.0, 30.0, 2.0, 20.0]);
    assert_eq!(put(16, Some("add")), [0.0, 41.0, 2.0, 23.0]);
    assert_eq!(put(16, Some("mul")), [0.0, 300.0, 2.0, 60.0]);
    assert_eq!(put(18, Some("max")), [0.0, 30.0, 2.0, 20.0]);
    assert_eq!(put(18, Some("min")), [0.0, 1.0, 2.0, 3.0]);
    let tensors = || {
        vec![
            TensorProto { dims: vec![1, 2], ..longs("i", &[-1, 0]) },
            numbers("u", &[1, 2], &[8.0, 9.0]),
        ]
    };
    let elements = one(11, &[2, 2], "ScatterElements", vec![int("axis", 0)], tensors());
    assert_eq!(values(&elements), [0.0, 9.0, 8.0, 3.0]);
    assert_eq!(values(&one(9, &[2, 2], "Scatter", vec![], tensors())), [0.0, 9.0, 8.0, 3.0]);
    let gone = refused(&one(11, &[2, 2], "Scatter", vec![], tensors()));
    assert!(gone.to_string().contains("it ended with 11"), "{gone}");
}

#[test]
fn the_largest_and_the_smallest() {
    let numbers = || vec![numbers("n", &[1, 5], &[3.0, -1.0, 3.0, 0.0, 9.0])];
    let top = |attributes, output: &str| {
        let outputs = if output == "values" { ["y", "z"] } else { ["z", "y"] };
        let nodes = vec![
            node("Add", &["zero", "n"], &["s"], vec![]),
            node("TopK", &["s", "k"], &outputs, attributes),
        ];
        let mut model = at(11, &[1, 5], nodes, vec![numbers().remove(0), longs("k", &[3])]);
        model.graph.as_mut().unwrap().node[0].input[0] = "x".into();
        model
    };
    // With 0 to 4 added they are 3, 0, 5, 3 and 13.
    assert_eq!(run(&top(vec![], "values")), (vec![1, 3], vec![13.0, 5.0, 3.0]));
    assert_eq!(values(&top(vec![], "places")), [4.0, 2.0, 0.0]);
    let smallest = || vec![int("largest", 0)];
    assert_eq!(values(&top(smallest(), "values")), [0.0, 3.0, 3.0]);
    assert_eq!(values(&top(smallest(), "places")), [1.0, 0.0, 3.0]);
    let argmin = run_from(&one(13, &[3], "ArgMin", vec![int("keepdims", 0)], vec![]), 1.0).1;
    assert_eq!(argmin, [0.0]);
    let hard = values(&one(13, &[2, 2], "Hardmax", vec![], vec![]));
    assert_eq!(hard, [0.0, 1.0, 0.0, 1.0]);
    let hard = values(&one(11, &[1, 2, 2], "Hardmax", vec![], vec![]));
    assert_eq!(hard, [0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn running_sums_and_triangles() {
    let summed = |attributes| values(&one(14, &[4], "CumSum", attributes, vec![longs("a", &[0])]));
    assert_eq!(summed(vec![]), [0.0, 1.0, 3.0, 6.0]);
    assert_eq!(summed(vec![int("exclusive", 1)]), [0.0, 0.0, 1.0, 3.0]);
    assert_eq!(summed(vec![int("reverse", 1)]), [6.0, 6.0, 5.0, 3.0]);
    let both = vec![int("exclusive", 1), int("reverse", 1)];
    assert_eq!(summed(both), [6.0, 5.0, 3.0, 0.0]);
    let product = one(26, &[3], "CumProd", vec![], vec![longs("a", &[0])]);
    assert_eq!(run_from(&product, -1.0).1, [1.0, 2.0, 6.0]);
    assert_eq!(values(&one(14, &[2, 2], "Trilu", vec![], vec![])), [0.0, 1.0, 0.0, 3.0]);
    let lower = one(14, &[2, 2], "Trilu", vec![int("upper", 0)], vec![longs("k", &[-1])]);
    assert_eq!(values(&lower), [0.0, 0.0, 2.0, 0.0]);
    assert_eq!(
        values(&one(9, &[2, 2], "EyeLike", vec![int("k", 1)], vec![])),
        [0.0, 1.0, 0.0, 0.0]
    );
}

#[test]
fn elements_are_arranged() {
    let two = || int("blocksize", 2);
    let depth = one(13, &[1, 4, 1, 1], "DepthToSpace", vec![two()], vec![]);
    assert_eq!(run(&depth), (vec![1, 1, 2, 2], vec![0.0, 1.0, 2.0, 3.0]));
    let columns_first = vec![two(), string("mode", "CRD")];
    let depth = one(11, &[1, 8, 1, 1], "DepthToSpace", columns_first, vec![]);
    assert_eq!(values(&depth), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let depth = one(11, &[1, 8, 1, 1], "DepthToSpace", vec![two()], vec![]);
    assert_eq!(values(&depth), [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    let space = one(13, &[1, 1, 2, 4], "SpaceToDepth", vec![two()], vec![]);
    assert_eq!(run(&space), (vec![1, 4, 1, 2], vec![0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]));
    let tiled = one(13, &[1, 2], "Tile", vec![], vec![longs("n", &[2, 2])]);
    assert_eq!(run(&tiled), (vec![2, 4], vec![0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]));
    let centred = one(18, &[4, 2], "CenterCropPad", vec![], vec![longs("n", &[2, 4])]);
    assert_eq!(run(&centred), (vec![2, 4], vec![0.0, 2.0, 3.0, 0.0, 0.0, 4.0, 5.0, 0.0]));
}

#[test]
fn windows_over_volumes_and_their_reverse() {
    let ones = |dims: &[i64]| {
        let count = dims.iter().product::<i64>() as usize;
        vec![numbers("w", dims, &vec![1.0; count])]
    };
    // The sums of the eight corners of cubes of a 3 by 2 by 2 volume.
    let volume = one(11, &[1, 1, 3, 2, 2], "Conv", vec![], ones(&[1, 1, 2, 2, 2]));
    assert_eq!(run(&volume), (vec![1, 1, 2, 1, 1], vec![28.0, 60.0]));
    let pool = || vec![ints("kernel_shape", &[2, 2, 2])];
    assert_eq!(values(&one(11, &[1, 1, 3, 2, 2], "MaxPool", pool(), vec![])), [7.0, 11.0]);
    assert_eq!(values(&one(11, &[1, 1, 3, 2, 2], "AveragePool", pool(), vec![])), [3.5, 7.5]);
    let lp = vec![ints("kernel_shape", &[2]), int("p", 1)];
    assert_eq!(values(&one(18, &[1, 1, 3], "LpPool", lp, vec![])), [1.0, 3.0]);
    let stride = || vec![ints("strides", &[2])];
    let spread = one(11, &[1, 1, 3], "ConvTranspose", stride(), ones(&[1, 1, 3]));
    assert_eq!(values(&spread), [0.0, 0.0, 1.0, 1.0, 3.0, 2.0, 2.0]);
    let sized =
        vec![ints("strides", &[2]), ints("output_shape", &[6]), string("auto_pad", "SAME_UPPER")];
    let sized = one(11, &[1, 1, 3], "ConvTranspose", sized, ones(&[1, 1, 3]));
    assert_eq!(values(&sized), [0.0, 0.0, 1.0, 1.0, 3.0, 2.0]);
    let image = vec![longs("image", &[3]), longs("block", &[2])];
    let columns = one(18, &[1, 2, 2], "Col2Im", vec![], image);
    assert_eq!(run(&columns), (vec![1, 1, 3], vec![0.0, 3.0, 3.0]));
}

#[test]
fn places_of_maxima_count_all_elements() {
    let nodes = |order: i64| {
        let window = vec![ints("kernel_shape", &[2, 2]), int("storage_order", order)];
        vec![node("MaxPool", &["x"], &["m", "y"], window)]
    };
    assert_eq!(values(&at(12, &[1, 2, 2, 3], nodes(0), vec![])), [4.0, 5.0, 10.0, 11.0]);
    // By columns, element (1, 1) is number 3, and (1, 2) number 5.
    assert_eq!(values(&at(12, &[1, 2, 2, 3], nodes(1), vec![])), [3.0, 5.0, 9.0, 11.0]);
}

#[test]
fn equations_of_einsum() {
    let einsum = |equation: &str, shape: &[i64], others: Vec<TensorProto>| {
        run(&one(12, shape, "Einsum", vec![string("equation", equation)], others))
    };
    let b = || vec![floats("b", &[3, 2])];
    let product = (vec![2, 2], vec![10.0, 13.0, 28.0, 40.0]);
    assert_eq!(einsum("ij,jk->ik", &[2, 3], b()), product);
    assert_eq!(einsum("ij, jk", &[2, 3], b()), product);
    assert_eq!(einsum("ij->ji", &[2, 2], vec![]), (vec![2, 2], vec![0.0, 2.0, 1.0, 3.0]));
    assert_eq!(einsum("ii->", &[2, 2], vec![]), (vec![], vec![3.0]));
    assert_eq!(einsum("...j->...", &[2, 2], vec![]), (vec![2], vec![1.0, 5.0]));
    assert_eq!(einsum("i,j->ji", &[2], vec![floats("b", &[2])]).1, [0.0, 0.0, 0.0, 1.0]);
    let wrong = one(12, &[2, 2], "Einsum", vec![string("equation", "ijk->i")], vec![]);
    assert!(refused(&wrong).to_string().contains("does not name 2 axes"));
}

#[test]
fn losses_leave_out_what_is_ignored() {
    let loss = |reduction: &str, ignored: Option<i64>| {
        let mut attributes = vec![string("reduction", reduction)];
        attributes.extend(ignored.map(|class| int("ignore_index", class)));
        let tensors = vec![longs("t", &[1, 0]), numbers("w", &[3], &[1.0, 3.0, 1.0])];
        run(&one(13, &[2, 3], "NegativeLogLikelihoodLoss", attributes, tensors))
    };
    // Of the classes 1 and 0 the scores are 1 and 3, and the weights 3 and 1.
    assert_eq!(loss("none", None), (vec![2], vec![-3.0, -3.0]));
    assert_eq!(loss("sum", None), (vec![], vec![-6.0]));
    assert_eq!(loss("mean", None), (vec![], vec![-1.5]));
    assert_eq!(loss("mean", Some(1)), (vec![], vec![-3.0]));
    let even = one(13, &[1, 2], "SoftmaxCrossEntropyLoss", vec![], vec![longs("t", &[1])]);
    near(values(&even), &[(1.0 + (-1f64).exp()).ln()]);
}

#[test]
fn cubic_and_cropped_resizing() {
    let sizes = |size: i64| {
        let nodes =
            |attributes| vec![node("Resize", &["x", "region", "", "size"], &["y"], attributes)];
        let tensors = move || vec![numbers("region", &[2], &[0.25, 1.25]), longs("size", &[size])];
        move |attributes| values(&at(13, &[5], nodes(attributes), tensors()))
    };
    // A straight line stays one where its ends are far.
    let cubic = sizes(10)(vec![string("mode", "cubic"), float("cubic_coeff_a", -0.5)]);
    near(cubic[4..6].to_vec(), &[1.75, 2.25]);
    let crop = || string("coordinate_transformation_mode", "tf_crop_and_resize");
    let cropped = vec![string("mode", "linear"), crop(), float("extrapolation_value", 9.0)];
    near(sizes(5)(cropped), &[1.0, 2.0, 3.0, 4.0, 9.0]);
}

#[test]
fn recurrent_networks_step_by_step() {
    // One number a step: h = tanh(x + h).
    let weights = || vec![numbers("w", &[1, 1, 1], &[1.0]), numbers("r", &[1, 1, 1], &[1.0])];
    let steps = [0.0, 1f64.tanh(), (2.0 + 1f64.tanh()).tanh()];
    let rnn = one(14, &[3, 1, 1], "RNN", vec![int("hidden_size", 1)], weights());
    near(values(&rnn), &steps);
    let reverse = vec![string("direction", "reverse")];
    let last = 2f64.tanh();
    let middle = (1.0 + last).tanh();
    near(values(&one(14, &[3, 1, 1], "RNN", reverse, weights())), &[middle.tanh(), middle, last]);
    // Without recurrence and with zero weights, all gates are 1/2 and candidates 0.
    let zeros = |gates: i64| {
        let none = vec![0.0; gates as usize];
        vec![numbers("w", &[1, gates, 1], &none), numbers("r", &[1, gates, 1], &none)]
    };
    near(values(&one(14, &[2, 1, 1], "GRU", vec![], zeros(3))), &[0.0, 0.0]);
    let mut lstm = zeros(4);
    // The cell gate alone reads x: c = tanh(x), halved twice.
    lstm[0] = numbers("w", &[1, 4, 1], &[0.0, 0.0, 0.0, 1.0]);
    let cell = 0.5 * 1f64.tanh();
    near(values(&one(14, &[2, 1, 1], "LSTM", vec![], lstm)), &[0.0, 0.5 * cell.tanh()]);
    let odd = vec![int("hidden_size", 2)];
    assert!(refused(&one(14, &[3, 1, 1], "RNN", odd, weights())).to_string().contains("not 1"));
}

#[test]
fn attention_is_a_mean_where_scores_are_alike() {
    let attend = |attributes| {
        let nodes = vec![node("Attention", &["q", "k", "x"], &["y"], attributes)];
        let zeros = |name| numbers(name, &[1, 1, 3, 1], &[0.0; 3]);
        at(23, &[1, 1, 3, 1], nodes, vec![zeros("q"), zeros("k")])
    };
    near(values(&attend(vec![])), &[1.0, 1.0, 1.0]);
    near(values(&attend(vec![int("is_causal", 1)])), &[0.0, 0.5, 1.0]);
    let later = model(&[1], vec![node("Attention", &["x", "x", "x"], &["y"], vec![])]);
    let error = refused(&with(later, vec![]));
    assert_eq!(error.remedy.as_deref(), Some("export the model with opset_version=23"));
}
