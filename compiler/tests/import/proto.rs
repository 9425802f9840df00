//! Builds ONNX models for tests, good and bad ones.

use bytes::Bytes;
use cardinal_compiler::error::Error;
use cardinal_compiler::onnx::{Model, NoExternalData, import};
use cardinal_compiler::options::ImportOptions;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use protobuf::{Message, MessageField};

/// A dimension of an input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dim {
    Is(i64),
    Named(&'static str),
    Open,
}

/// A model of operator set 17 without anything in it.
pub(crate) fn empty_model() -> ModelProto {
    let mut model = ModelProto { ir_version: 8, ..Default::default() };
    model.opset_import.push(opset("", 17));
    model.graph = MessageField::some(Default::default());
    model.graph.as_mut().unwrap().name = "g".into();
    model
}

/// A model from f32 input `x` of `shape` to output `y`.
pub(crate) fn model(shape: &[i64], nodes: Vec<NodeProto>) -> ModelProto {
    let dims: Vec<Dim> = shape.iter().map(|n| Dim::Is(*n)).collect();
    let mut model = empty_model();
    let graph = model.graph.as_mut().unwrap();
    graph.input.push(value("x", &dims));
    graph.output.push(untyped("y"));
    graph.node = nodes;
    model
}

/// The same with initializers.
pub(crate) fn with(mut model: ModelProto, tensors: Vec<TensorProto>) -> ModelProto {
    model.graph.as_mut().unwrap().initializer.extend(tensors);
    model
}

pub(crate) fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version, ..Default::default() }
}

/// A declared f32 value.
pub(crate) fn value(name: &str, dims: &[Dim]) -> ValueInfoProto {
    let dim = |d: &Dim| Dimension {
        value: match d {
            Dim::Is(n) => Some(dimension::Value::DimValue(*n)),
            Dim::Named(p) => Some(dimension::Value::DimParam((*p).into())),
            Dim::Open => None,
        },
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect(), ..Default::default() };
    let shape = MessageField::some(shape);
    let tensor = type_proto::Tensor { elem_type: 1, shape, ..Default::default() };
    let value = Some(type_proto::Value::TensorType(tensor));
    let type_ = MessageField::some(TypeProto { value, ..Default::default() });
    ValueInfoProto { name: name.into(), type_, ..Default::default() }
}

/// A value without a declared type.
pub(crate) fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), ..Default::default() }
}

pub(crate) fn node(
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        name: format!("the {operator}"),
        op_type: operator.into(),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: outputs.iter().map(|s| (*s).to_owned()).collect(),
        attribute: attributes,
        ..Default::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), type_: kind.into(), ..Default::default() }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::INT) }
}

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, AttributeType::INTS) }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeType::FLOAT) }
}

pub(crate) fn float_list(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto { floats: floats.to_vec(), ..attribute(name, AttributeType::FLOATS) }
}

pub(crate) fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: s.into(), ..attribute(name, AttributeType::STRING) }
}

pub(crate) fn tensor_attribute(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto { t: MessageField::some(t), ..attribute(name, AttributeType::TENSOR) }
}

/// An attribute that refers to a function's.
pub(crate) fn reference(name: &str, to: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { ref_attr_name: to.into(), ..attribute(name, kind) }
}

/// An attribute that holds a graph.
pub(crate) fn graph(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { g: MessageField::some(g), ..attribute(name, AttributeType::GRAPH) }
}

/// A tensor whose data is still to be given.
pub(crate) fn tensor(name: &str, kind: DataType, dims: &[i64]) -> TensorProto {
    let (name, dims, data_type) = (name.into(), dims.to_vec(), kind as i32);
    TensorProto { name, dims, data_type, ..Default::default() }
}

/// An f32 tensor of `raw_data`: 0, 1, 2, …
pub(crate) fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>();
    let raw_data = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
    TensorProto { raw_data, ..tensor(name, DataType::FLOAT, dims) }
}

/// An f32 tensor of these elements.
pub(crate) fn numbers(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto { raw_data, ..tensor(name, DataType::FLOAT, dims) }
}

/// An i64 tensor of one axis, of `int64_data`.
pub(crate) fn longs(name: &str, values: &[i64]) -> TensorProto {
    let int64_data = values.to_vec();
    TensorProto { int64_data, ..tensor(name, DataType::INT64, &[values.len() as i64]) }
}

pub(crate) fn scalar_long(name: &str, value: i64) -> TensorProto {
    TensorProto { int64_data: vec![value], ..tensor(name, DataType::INT64, &[]) }
}

pub(crate) fn bytes(model: &ModelProto) -> Bytes {
    model.write_to_bytes().unwrap().into()
}

/// Imports with default options.
pub(crate) fn try_import(model: &ModelProto) -> Result<Model, Error> {
    import(bytes(model), &NoExternalData, &ImportOptions::default())
}

/// Imports what must be importable.
pub(crate) fn imported(model: &ModelProto) -> Model {
    try_import(model).unwrap_or_else(|e| panic!("{e}"))
}

/// The error of importing what must not be importable.
pub(crate) fn refused(model: &ModelProto) -> Error {
    match try_import(model) {
        Ok(model) => panic!("imported {} nodes", model.graph.len()),
        Err(error) => error,
    }
}
