//! Well-formed files that break ONNX's rules or Cardinal's limits: each is refused by name.

use cardinal_compiler::error::{Error, Problem};
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto, TensorProto};
use protobuf::MessageField;

use crate::proto::{
    Dim, floats, imported, int, ints, longs, model, node, opset, refused, scalar_long, string,
    untyped, value, with,
};

fn relu(from: &str, to: &str) -> NodeProto {
    node("Relu", &[from], &[to], vec![])
}

/// Asserts that the error is at the node "the `operator`" and says `what`.
fn at(error: &Error, operator: &str, what: &str) {
    let site = error.site.as_ref().unwrap_or_else(|| panic!("no site: {error}"));
    assert_eq!(site.node, format!("the {operator}"), "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn names_must_be_made_once_and_before_use() {
    at(&refused(&model(&[2], vec![relu("nowhere", "y")])), "Relu", "`nowhere`");
    at(&refused(&model(&[2], vec![relu("x", "y"), relu("x", "y")])), "Relu", "made twice");
    at(&refused(&model(&[2], vec![relu("x", "x")])), "Relu", "made twice");
    let twice = with(model(&[2], vec![relu("x", "y")]), vec![floats("w", &[2]), floats("w", &[2])]);
    assert!(refused(&twice).to_string().contains("two initializers"));
    let mut inputs = model(&[2], vec![relu("x", "y")]);
    inputs.graph.as_mut().unwrap().input.push(value("x", &[Dim::Is(2)]));
    assert!(refused(&inputs).to_string().contains("two inputs"));
}

#[test]
fn nodes_out_of_order_are_sorted_and_cycles_refused() {
    let sorted = imported(&model(&[2], vec![relu("a", "y"), relu("x", "a")]));
    assert_eq!(sorted.graph.len(), 3);
    let mut cycle = model(&[2], vec![node("Add", &["x", "b"], &["a"], vec![]), relu("a", "b")]);
    cycle.graph.as_mut().unwrap().output[0].name = "a".into();
    at(&refused(&cycle), "Add", "depends on itself");
}

#[test]
fn outputs_must_be_made() {
    let mut missing = model(&[2], vec![relu("x", "z")]);
    assert!(refused(&missing).to_string().contains("`y` is made by no node"));
    missing.graph.as_mut().unwrap().output.clear();
    assert!(refused(&missing).to_string().contains("no outputs"));
    let mut twice = model(&[2], vec![relu("x", "y")]);
    twice.graph.as_mut().unwrap().output.push(untyped("y"));
    assert!(refused(&twice).to_string().contains("listed twice"));
}

#[test]
fn unknown_operators_domains_and_versions_are_refused_with_a_remedy() {
    let error = refused(&model(&[2], vec![node("Bogus", &["x"], &["y"], vec![])]));
    at(&error, "Bogus", "Bogus");
    assert!(error.remedy.is_some());
    let foreign = NodeProto { domain: "com.microsoft".into(), ..relu("x", "y") };
    let mut foreign = model(&[2], vec![foreign]);
    foreign.opset_import.push(opset("com.microsoft", 1));
    let error = refused(&foreign);
    assert_eq!(error.site.as_ref().unwrap().operator, "com.microsoft::Relu");
    assert!(error.remedy.unwrap().contains("ONNX Runtime"));
    for version in [-1, 0, 6, 29, 99, i64::MAX] {
        let mut other = model(&[2], vec![relu("x", "y")]);
        other.opset_import[0].version = version;
        let error = refused(&other);
        assert!(matches!(error.problem, Problem::Unsupported(_)), "{error}");
        let remedy = if version < 7 { "opset_version=17" } else { "opset_version=20" };
        assert!(error.remedy.unwrap().contains(remedy), "{version}");
    }
    let mut early = model(&[2], vec![node("Gelu", &["x"], &["y"], vec![])]);
    early.opset_import[0].version = 19;
    at(&refused(&early), "Gelu", "new in 20");
}

#[test]
fn the_format_must_be_known() {
    for version in [0, -5, 2, 99] {
        let mut other = model(&[2], vec![relu("x", "y")]);
        other.ir_version = version;
        refused(&other);
    }
    let mut none = model(&[2], vec![relu("x", "y")]);
    none.opset_import.clear();
    at(&refused(&none), "Relu", "opset_import");
}

fn conv(weights: &[i64], attributes: Vec<AttributeProto>) -> ModelProto {
    let node = node("Conv", &["x", "w"], &["y"], attributes);
    with(model(&[1, 4, 8, 8], vec![node]), vec![floats("w", weights)])
}

#[test]
fn windows_must_make_sense() {
    let cases = [
        (ints("strides", &[0, 1]), "`strides` holds 0"),
        (ints("strides", &[1]), "`strides` has 1 values"),
        (ints("dilations", &[1, -1]), "`dilations` holds -1"),
        (ints("dilations", &[1, i64::MAX]), "`dilations` holds"),
        (ints("pads", &[0, 0, -1, 0]), "`pads` holds -1"),
        (ints("pads", &[0, 0, 0, i64::MAX]), "`pads` holds"),
        (ints("pads", &[0, 0]), "`pads` has 2 values"),
        (ints("kernel_shape", &[0, 3]), "`kernel_shape` holds 0"),
        (ints("kernel_shape", &[3, 2]), "`kernel_shape` is"),
        (int("group", 0), "`group` is 0"),
        (int("group", 3), "3 groups do not divide 4"),
        (int("group", i64::MIN), "`group` is"),
        (string("auto_pad", "SOME"), "`auto_pad` is `SOME`"),
        (int("strides", 1), "not of the type"),
        (int("colour", 1), "attribute `colour`"),
        (ints("dilations", &[9, 9]), ""),
    ];
    for (attribute, what) in cases {
        at(&refused(&conv(&[4, 4, 3, 3], vec![attribute])), "Conv", what);
    }
    at(&refused(&conv(&[4, 4, 0, 3], vec![])), "Conv", "empty");
    at(&refused(&conv(&[4, 3, 3, 3], vec![])), "Conv", "");
    at(&refused(&conv(&[4, 4, 3, 3, 3], vec![])), "Conv", "");
    let pool = |kernel: &[i64]| {
        let node = node("MaxPool", &["x"], &["y"], vec![ints("kernel_shape", kernel)]);
        refused(&model(&[1, 4, 8, 8], vec![node]))
    };
    at(&pool(&[0, 2]), "MaxPool", "holds 0");
    at(&pool(&[9, 9]), "MaxPool", "");
    at(&pool(&[]), "MaxPool", "");
}

#[test]
fn axes_and_sizes_must_be_in_range() {
    let shape = |values: &[i64]| {
        let reshape = node("Reshape", &["x", "s"], &["y"], vec![]);
        refused(&with(model(&[2, 3], vec![reshape]), vec![longs("s", values)]))
    };
    for bad in [&[5][..], &[-1, -1], &[-2, 3], &[4, -1], &[2, 3, 0], &[i64::MAX, i64::MAX]] {
        at(&shape(bad), "Reshape", "does not reshape");
    }
    let one = |operator, attributes| {
        refused(&model(&[2, 3], vec![node(operator, &["x"], &["y"], attributes)]))
    };
    at(&one("Transpose", vec![ints("perm", &[0, 0])]), "Transpose", "permutation");
    at(&one("Transpose", vec![ints("perm", &[0, -1])]), "Transpose", "permutation");
    at(&one("Softmax", vec![int("axis", 2)]), "Softmax", "axis 2 of 2");
    at(&one("Softmax", vec![int("axis", i64::MIN)]), "Softmax", "axis");
    at(&one("Flatten", vec![int("axis", 3)]), "Flatten", "axis 3");
    at(&one("ReduceMean", vec![ints("axes", &[1, -1])]), "ReduceMean", "one axis twice");
    at(&one("Concat", vec![]), "Concat", "`axis` is missing");
}

#[test]
fn constant_operands_must_fit() {
    let two = |operator, tensor: TensorProto| {
        let node = node(operator, &["x", "c"], &["y"], vec![]);
        refused(&with(model(&[2, 3], vec![node]), vec![tensor]))
    };
    at(&two("Gather", scalar_long("c", 2)), "Gather", "index 2 of 2");
    at(&two("Gather", scalar_long("c", -3)), "Gather", "index -3 of 2");
    at(&two("Gather", longs("c", &[0, i64::MIN])), "Gather", "index");
    at(&two("Expand", longs("c", &[2, 4])), "Expand", "do not broadcast");
    at(&two("Expand", longs("c", &[-1])), "Expand", "dimension -1");
    at(&two("Expand", longs("c", &[i64::MAX, 2, 3])), "Expand", "more bytes");
    at(&two("Pad", longs("c", &[-2, 0, -1, 0])), "Pad", "cut more than 2");
    at(&two("Pad", longs("c", &[0, 0, 0, i64::MAX])), "Pad", "elements of padding");
    at(&two("Unsqueeze", longs("c", &[4])), "Unsqueeze", "axis 4");
    at(&two("Squeeze", longs("c", &[0])), "Squeeze", "cannot go");
    at(&two("Add", floats("c", &[4])), "Add", "");
    at(&two("Add", longs("c", &[1, 2, 3])), "Add", "");
    at(&two("MatMul", floats("c", &[2, 3])), "MatMul", "");
    let sliced = with(
        model(&[2, 3], vec![node("Slice", &["x", "o", "o", "o", "z"], &["y"], vec![])]),
        vec![longs("o", &[0]), longs("z", &[0])],
    );
    at(&refused(&sliced), "Slice", "step is 0");
    let scales = node("Resize", &["x", "", "s"], &["y"], vec![]);
    let scales = with(model(&[2, 3], vec![scales]), vec![floats("s", &[2])]);
    at(&refused(&scales), "Resize", "scale of 0");
}

#[test]
fn operands_must_be_listed_and_known() {
    at(&refused(&model(&[2], vec![node("Relu", &[], &["y"], vec![])])), "Relu", "0 operands");
    at(&refused(&model(&[2], vec![node("Relu", &["x", "x"], &["y"], vec![])])), "Relu", "takes 1");
    at(&refused(&model(&[2], vec![node("Relu", &[""], &["y"], vec![])])), "Relu", "missing");
    let rest = node("Mod", &["x", "x"], &["y"], vec![int("fmod", 1)]);
    let rest = refused(&model(&[2], vec![rest]));
    at(&rest, "Mod", "known at compile time");
    assert!(rest.remedy.is_some());
    let double = node("Cast", &["x"], &["y"], vec![int("to", DataType::DOUBLE as i64)]);
    at(&refused(&model(&[2], vec![double])), "Cast", "float64");
    let half = node("Cast", &["x"], &["y"], vec![int("to", DataType::FLOAT16 as i64)]);
    at(&refused(&model(&[2], vec![half])), "Cast", "float16");
}

#[test]
fn outputs_that_are_not_given_may_be_listed_but_not_used() {
    // Places of maxima are given in images, and not in volumes.
    let window = || ints("kernel_shape", &[2, 2, 2]);
    let pool = || node("MaxPool", &["x"], &["y", "where"], vec![window()]);
    imported(&model(&[1, 1, 4, 4, 4], vec![pool()]));
    let mut used = model(&[1, 1, 4, 4, 4], vec![pool(), relu("where", "z")]);
    at(&refused(&used), "Relu", "this output of MaxPool");
    used.graph.as_mut().unwrap().node.pop();
    used.graph.as_mut().unwrap().output[0].name = "where".into();
    assert!(refused(&used).to_string().contains("this output of MaxPool"));
}

/// Whatever is missing is refused with what to do about its kind.
#[test]
fn advice_follows_from_what_is_missing() {
    let advice = |domain: &str, operator: &str| {
        let mut missing = model(&[2], vec![node(operator, &["x"], &["y"], vec![])]);
        missing.graph.as_mut().unwrap().node[0].domain = domain.into();
        missing.opset_import.push(crate::proto::opset("ai.onnx.ml", 3));
        missing.opset_import.push(crate::proto::opset("ai.onnx.preview.training", 1));
        refused(&missing).remedy.unwrap()
    };
    for operator in ["NonMaxSuppression", "NonZero", "Unique"] {
        assert!(advice("", operator).contains("how large its result is depends on values"));
    }
    assert!(advice("", "RandomUniformLike").contains("random"));
    assert!(advice("", "StringConcat").contains("texts"));
    assert!(advice("", "STFT").contains("`cardinal operators`"));
    assert!(advice("ai.onnx.ml", "TreeEnsemble").contains("no neural networks"));
    assert!(advice("ai.onnx.preview.training", "Adam").contains("optimizer"));
}

#[test]
fn control_flow_is_refused() {
    let mut body = AttributeProto { name: "body".into(), ..Default::default() };
    body.g = MessageField::some(Default::default());
    let error = refused(&model(&[2], vec![node("Loop", &["", "", "x"], &["y"], vec![body])]));
    at(&error, "Loop", "control flow");
    assert!(error.remedy.is_some());
}

#[test]
fn an_attribute_may_be_given_once() {
    let twice = node("Softmax", &["x"], &["y"], vec![int("axis", 0), int("axis", 0)]);
    at(&refused(&model(&[2], vec![twice])), "Softmax", "given twice");
}

#[test]
fn constants_do_not_make_work_without_end() {
    // 2^32 zeros, four billion additions deep.
    let zeros = node("ConstantOfShape", &["n"], &["big"], vec![]);
    let sum = node("ReduceSum", &["big"], &["total"], vec![int("keepdims", 0)]);
    let cast = node("Cast", &["total"], &["k"], vec![int("to", 7)]);
    let gather = node("Gather", &["x", "k"], &["y"], vec![]);
    let large = with(model(&[2], vec![zeros, sum, cast, gather]), vec![longs("n", &[1 << 32])]);
    imported(&large);
    let reshape = node("Reshape", &["x", "k"], &["y"], vec![]);
    let mut shape = large;
    shape.graph.as_mut().unwrap().node[3] = reshape;
    at(&refused(&shape), "Reshape", "known at compile time");
}
