//! Raising a model to the first operator set in which DequantizeLinear has scales along an axis.

use std::collections::HashMap;

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{ModelProto, NodeProto, TensorProto};

use crate::error::{Error, Problem, Result};
use crate::onnx::versions::canonical;

/// Scales along an axis are in operator set 13.
const WANTED: i64 = 13;
/// The oldest that is raised.
const OLDEST: i64 = 11;
/// The format that came with operator set 13.
const IR_VERSION: i64 = 7;

/// Operators that mean the same in operator sets 11 to 13.
const UNCHANGED: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "Log",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Where",
];
/// Those whose attribute became their second operand, with its name.
const MOVED: &[(&str, &str)] =
    &[("ReduceSum", "axes"), ("Squeeze", "axes"), ("Unsqueeze", "axes"), ("Split", "split")];

/// Raises the model to operator set 13 where it has an older one.
///
/// # Errors
/// One that is too old, and operators whose meaning is another in 13.
pub(super) fn raise(model: &mut ModelProto, shapes: &HashMap<String, Vec<usize>>) -> Result<()> {
    let ours = |domain: &str| canonical(domain).is_empty();
    let Some(set) = model.opset_import.iter_mut().find(|set| ours(&set.domain)) else {
        return Err(Error::internal("an imported model has no operator set"));
    };
    model.ir_version = model.ir_version.max(IR_VERSION);
    let old = set.version;
    if old >= WANTED {
        return Ok(());
    }
    if old < OLDEST {
        return Err(too_old(&format!("operator set {old}")));
    }
    set.version = WANTED;
    let graph = model.graph.mut_or_insert_default();
    let mut moved = Vec::new();
    for node in graph.node.iter_mut().filter(|node| ours(&node.domain)) {
        raise_node(node, shapes, &mut moved)
            .map_err(|error| error.at(node.name.clone(), node.op_type.clone()))?;
    }
    graph.initializer.extend(moved);
    Ok(())
}

fn raise_node(
    node: &mut NodeProto,
    shapes: &HashMap<String, Vec<usize>>,
    moved: &mut Vec<TensorProto>,
) -> Result<()> {
    let operator = node.op_type.as_str();
    if UNCHANGED.contains(&operator) {
        return Ok(());
    }
    if let Some((_, attribute)) = MOVED.iter().find(|(moved, _)| *moved == operator) {
        moved.extend(move_attribute(node, attribute));
        return Ok(());
    }
    // Before 13, all axes from this one on were one: the same where it is the last.
    let axis = node.attribute.iter().find(|a| a.name == "axis").map_or(1, |a| a.i);
    let rank = node.input.first().and_then(|x| shapes.get(x)).map_or(0, Vec::len) as i64;
    if matches!(operator, "Softmax" | "LogSoftmax") && (axis == -1 || axis == rank - 1) {
        let name = "axis".to_owned();
        node.attribute = vec![onnx_protobuf::AttributeProto {
            name,
            i: -1,
            type_: onnx_protobuf::attribute_proto::AttributeType::INT.into(),
            ..Default::default()
        }];
        return Ok(());
    }
    Err(too_old("its meaning changed before operator set 13"))
}

/// Makes an attribute of integers a constant, and that the second operand.
fn move_attribute(node: &mut NodeProto, name: &str) -> Option<TensorProto> {
    let place = node.attribute.iter().position(|attribute| attribute.name == name)?;
    let values = node.attribute.remove(place).ints;
    let name = format!("{}_{name}", node.output.first()?);
    node.input.push(name.clone());
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let (dims, data_type) = (vec![values.len() as i64], DataType::INT64 as i32);
    Some(TensorProto { name, dims, data_type, raw_data, ..Default::default() })
}

fn too_old(what: &str) -> Error {
    let error = Error::from(Problem::Unsupported(format!("quantizing: {what}")));
    error.with_remedy("export the model with opset_version=17")
}
