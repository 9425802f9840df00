//! Models that say a thing twice, or of which one part says other than another: each is refused,
//! whatever other readers would take it for.

use bytes::Bytes;
use cardinal_compiler::error::Error;
use cardinal_compiler::onnx::{NoExternalData, import};
use cardinal_compiler::options::ImportOptions;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::{DataLocation, DataType};
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto, TensorProto, type_proto};

use crate::proto::{
    Dim, bytes, float, floats, imported, int, ints, longs, model, node, refused, tensor,
    tensor_attribute, value, with,
};

fn relu() -> NodeProto {
    node("Relu", &["x"], &["y"], vec![])
}

/// Asserts that a node alone is refused, by its name.
fn at(node: NodeProto, tensors: Vec<TensorProto>, what: &str) {
    let error = refused(&with(model(&[1, 4, 6, 6], vec![node.clone()]), tensors));
    let site = error.site.as_ref().unwrap_or_else(|| panic!("no site: {error}"));
    assert_eq!(site.node, node.name, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

fn read(bytes: Vec<u8>) -> Result<(), Error> {
    import(Bytes::from(bytes), &NoExternalData, &ImportOptions::default()).map(|_| ())
}

#[test]
fn fields_are_there_once() {
    let one = bytes(&model(&[2], vec![relu()])).to_vec();
    read(one.clone()).unwrap();
    let error = read([&one[..], &one].concat()).unwrap_err();
    assert!(error.to_string().contains("is there twice"), "{error}");
    // A name of the graph after its name: field 2 of 1 byte.
    let named = |times: usize| {
        let graph: Vec<u8> = [0x12, 1, b'g'].repeat(times);
        [&[0x08, 8, 0x3a, graph.len() as u8], &graph[..]].concat()
    };
    assert!(read(named(1)).unwrap_err().to_string().contains("no outputs"));
    let error = read(named(2)).unwrap_err();
    assert!(error.to_string().contains("graph at byte 7: field 2 is there twice"), "{error}");
}

#[test]
fn a_dimension_is_a_number_or_a_name() {
    // The graph's input x, with a dimension that is 2 and `n`.
    let dimension = [0x08, 2, 0x12, 1, b'n'];
    let around = |field: u8, inner: &[u8]| [&[field, inner.len() as u8], inner].concat();
    let shape = around(0x12, &around(0x0a, &dimension));
    let ty = around(0x12, &around(0x0a, &[&[0x08, 1], &shape[..]].concat()));
    let input = around(0x5a, &[&[0x0a, 1, b'x'], &ty[..]].concat());
    let error = read([&[0x08, 8], &around(0x3a, &input)[..]].concat()).unwrap_err();
    assert!(error.to_string().contains("another that excludes it"), "{error}");
}

#[test]
fn elements_are_in_one_field() {
    let both = TensorProto { float_data: vec![1.0], ..floats("w", &[1]) };
    let two = TensorProto { int32_data: vec![1], ..longs("w", &[1]) };
    let mut outside = floats("w", &[1]);
    outside.data_location = DataLocation::EXTERNAL.into();
    for (tensor, what) in [
        (both.clone(), "raw_data and float_data"),
        (two, "int32_data and int64_data"),
        (outside, "raw_data and external_data"),
    ] {
        let add = node("Add", &["x", "w"], &["y"], vec![]);
        for used in [add, relu()] {
            let error = refused(&with(model(&[1], vec![used]), vec![tensor.clone()]));
            assert!(error.to_string().contains(what), "{error}");
        }
    }
    let constant = node("Constant", &[], &["y"], vec![tensor_attribute("value", both)]);
    at(constant, vec![], "at once");
}

#[test]
fn a_constant_has_one_value() {
    let constant = |attributes| node("Constant", &[], &["y"], attributes);
    let twice = constant(vec![float("value_float", 1.0), int("value_int", 1)]);
    at(twice, vec![], "more than one of the attributes");
    let twice = constant(vec![tensor_attribute("value", floats("", &[1])), int("value_int", 1)]);
    at(twice, vec![], "more than one of the attributes");
}

#[test]
fn an_attribute_has_one_value() {
    let axis = AttributeProto { f: 1.0, ..int("axis", 1) };
    at(node("Softmax", &["x"], &["y"], vec![axis]), vec![], "values of several types");
    let other = AttributeProto { type_: AttributeType::FLOAT.into(), ..int("axis", 1) };
    at(node("Softmax", &["x"], &["y"], vec![other]), vec![], "not of the type");
}

#[test]
fn flags_are_0_or_1() {
    for wrong in [2, -1, i64::MAX] {
        let keep = || vec![int("keepdims", wrong)];
        at(node("ArgMax", &["x"], &["y"], keep()), vec![], "neither 0 nor 1");
        at(node("ReduceMean", &["x"], &["y"], keep()), vec![], "neither 0 nor 1");
        let pool = vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", wrong)];
        at(node("MaxPool", &["x"], &["y"], pool), vec![], "`ceil_mode` is");
    }
}

#[test]
fn operators_give_no_more_than_they_have() {
    at(node("Relu", &["x"], &["y", "z"], vec![]), vec![], "2 outputs, but Relu gives 1");
    at(node("Relu", &["x"], &[], vec![]), vec![], "0 outputs, but Relu gives 1");
    let three = node("Dropout", &["x"], &["y", "m", "z"], vec![]);
    at(three, vec![], "3 outputs, but Dropout gives 1 to 2");
    let weights = vec![floats("w", &[4, 4, 1, 1])];
    at(node("Conv", &["x", "w"], &["y", "z"], vec![]), weights, "2 outputs");
}

#[test]
fn operands_are_those_of_the_version() {
    let low = || vec![floats("low", &[])];
    let clip = node("Clip", &["x", "low"], &["y"], vec![]);
    imported(&with(model(&[2], vec![clip.clone()]), low()));
    for (node, opset) in [
        (node("Dropout", &["x", "low"], &["y"], vec![]), 11),
        (node("Pad", &["x", "low"], &["y"], vec![ints("pads", &[0, 0])]), 10),
    ] {
        let mut old = with(model(&[2], vec![node]), low());
        old.opset_import[0].version = opset;
        let error = refused(&old);
        let what = "operand 1 (`low`), which";
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("does not have"), "{error}");
    }
}

#[test]
fn attributes_are_those_of_the_version() {
    let at_opset = |opset, operator, attributes| {
        let mut model = model(&[1, 2, 4, 4], vec![node(operator, &["x"], &["y"], attributes)]);
        model.opset_import[0].version = opset;
        model
    };
    let pool = || vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 0)];
    imported(&at_opset(10, "MaxPool", pool()));
    for (opset, operator, attributes, what) in [
        (9, "MaxPool", pool(), "`ceil_mode`, which MaxPool of operator set 8"),
        (11, "ArgMax", vec![int("select_last_index", 0)], "`select_last_index`, which ArgMax"),
        (17, "Dropout", vec![float("ratio", 0.5)], "`ratio`, which Dropout of operator set 13"),
        (14, "Shape", vec![int("start", 0)], "`start`, which Shape of operator set 13"),
    ] {
        let error = refused(&at_opset(opset, operator, attributes));
        assert!(error.site.is_some() && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_list_has_one_axis() {
    let square = |name| {
        let int64_data = vec![2, 2, 6, 6];
        vec![TensorProto { int64_data, ..tensor(name, DataType::INT64, &[2, 2]) }]
    };
    for operator in ["Reshape", "Expand", "Squeeze", "Unsqueeze", "ReduceSum", "Pad"] {
        at(node(operator, &["x", "s"], &["y"], vec![]), square("s"), "must be a list");
    }
}

/// A model with an initializer `w`, which is declared as an input too.
fn declaring(dims: &[Dim]) -> ModelProto {
    let add = node("Add", &["x", "w"], &["y"], vec![]);
    let mut model = with(model(&[2, 3], vec![add]), vec![floats("w", &[2, 3])]);
    model.graph.as_mut().unwrap().input.push(value("w", dims));
    model
}

#[test]
fn an_initializer_is_what_its_input_is_declared() {
    use Dim::{Is, Named, Open};
    for same in [[Is(2), Is(3)], [Named("n"), Open], [Is(-1), Is(0)]] {
        imported(&declaring(&same));
    }
    for (other, what) in [
        (&[Is(2)][..], "`w` is declared with 1 axes, but it is f32[2, 3]"),
        (&[Is(2), Is(4)], "`w` is declared with 4 elements along axis 1"),
    ] {
        let error = refused(&declaring(other));
        assert!(error.to_string().contains(what), "{error}");
    }
}

/// Changes the element type of a declared value.
fn of_type(value: &mut onnx_protobuf::ValueInfoProto, kind: DataType) {
    if let Some(type_proto::Value::TensorType(tensor)) = &mut value.type_.as_mut().unwrap().value {
        tensor.elem_type = kind as i32;
    }
}

#[test]
fn outputs_are_what_they_are_declared() {
    use Dim::{Is, Named};
    let giving = |input: Dim, dims: &[Dim], kind| {
        let mut model = model(&[], vec![relu()]);
        let graph = model.graph.as_mut().unwrap();
        graph.input[0] = value("x", &[input, Is(3)]);
        graph.output[0] = value("y", dims);
        of_type(&mut graph.output[0], kind);
        model
    };
    let float = DataType::FLOAT;
    imported(&giving(Is(2), &[Is(2), Is(3)], float));
    imported(&giving(Is(2), &[Named("n"), Is(3)], float));
    imported(&giving(Is(2), &[Is(2), Is(3)], DataType::UNDEFINED));
    // As it was when the model was traced.
    imported(&giving(Named("n"), &[Is(8), Is(3)], float));
    for (input, dims, kind, what) in [
        (Is(2), &[Is(2), Is(3)][..], DataType::INT64, "`y` is declared with elements of i64"),
        (Is(2), &[Is(8), Is(3)], float, "`y` is declared with 8 elements along axis 0"),
        (Named("n"), &[Is(3)], float, "`y` is declared with 1 axes"),
    ] {
        let error = refused(&giving(input, dims, kind));
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn values_in_between_have_their_declared_elements() {
    let mut model = model(
        &[2],
        vec![node("Relu", &["x"], &["m"], vec![]), node("Abs", &["m"], &["y"], vec![])],
    );
    let graph = model.graph.as_mut().unwrap();
    graph.value_info.push(value("m", &[Dim::Is(9)]));
    imported(&model);
    of_type(&mut model.graph.as_mut().unwrap().value_info[0], DataType::BOOL);
    let error = refused(&model);
    assert!(
        error.to_string().contains("the value `m` is declared with elements of bool"),
        "{error}"
    );
}
