//! The floats of a graph that depend on no input, as weights and what belongs to them may.

use std::collections::HashMap;

use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::DataType;

use crate::interp::{Tensor, fold};
use crate::ir::{DType, Graph, NodeId, Op};
use crate::limits::EVALUATED;

/// Tensors of f32 by the names of the values that they are.
pub(super) fn constants(graph: &Graph) -> HashMap<&str, TensorProto> {
    let mut computed: HashMap<NodeId, Tensor> = HashMap::new();
    for id in graph.topological() {
        if let Some(value) = compute(graph, id, &computed) {
            computed.insert(id, value);
        }
    }
    let tensor = |id| Some((graph.node(id).name.as_str(), tensor(graph, id, &computed)?));
    graph.nodes().filter_map(tensor).collect()
}

/// The value of an operator on constants.
fn compute(graph: &Graph, id: NodeId, computed: &HashMap<NodeId, Tensor>) -> Option<Tensor> {
    let (node, operands) = (graph.node(id), graph.operands(id));
    if operands.is_empty() || node.ty.elements() > EVALUATED {
        return None;
    }
    let value = |operand: NodeId| match &graph.node(operand).op {
        Op::Weight(weight) => {
            let ty = graph.ty(operand);
            Tensor::from_bytes(ty, &weight.bytes(ty)?)
        }
        _ => computed.get(&operand).cloned(),
    };
    let values = operands.into_iter().map(|(slot, operand)| Some((slot, value(operand)?)));
    let values = values.collect::<Option<Vec<_>>>()?;
    let borrowed: Vec<(usize, &Tensor)> = values.iter().map(|(slot, v)| (*slot, v)).collect();
    fold(&node.op, &borrowed, &node.ty).ok()
}

fn tensor(graph: &Graph, id: NodeId, computed: &HashMap<NodeId, Tensor>) -> Option<TensorProto> {
    let node = graph.node(id);
    let bytes = match &node.op {
        Op::Weight(weight) => weight.bytes(&node.ty)?,
        _ => computed.get(&id)?.to_bytes(),
    };
    let (name, data_type) = (node.name.clone(), DataType::FLOAT as i32);
    let dims = node.ty.shape().iter().map(|extent| *extent as i64).collect();
    let raw_data = bytes.to_vec();
    let tensor = TensorProto { name, dims, data_type, raw_data, ..Default::default() };
    (node.ty.dtype == DType::F32).then_some(tensor)
}
