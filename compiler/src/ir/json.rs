//! A graph as JSON, for programs that read dumps.
//!
//! ```json
//! {
//!   "schema": "cardinal.graph/v1",
//!   "name": "block",
//!   "inputs": ["x"],
//!   "outputs": [{"name": "logits", "value": "y"}],
//!   "nodes": [{
//!     "name": "y",
//!     "op": "conv",
//!     "operands": ["x", "w", null, "res"],
//!     "type": {"dtype": "f32", "shape": [1, 80, 56, 56], "axes": ["1", "(k2 c40)", "56", "56"]},
//!     "attributes": {"window": "3x3 pad 1", "then": "relu, add %res"},
//!     "from": ["/conv2/conv/Conv"]
//!   }]
//! }
//! ```
//!
//! Nodes stand in the order of the text, each after its operands. `operands` is indexed by slot,
//! `null` where a slot is empty. Attributes have the keys and the spelling of the text; a weight's
//! contents are its attribute `data`.

use serde_json::{Map, Value, json};

use super::graph::{Graph, NodeId};
use super::op::Op;
use super::text::{attributes, in_reading_order, weight_data};
use super::types::TensorType;

/// The schema that [`to_json`] follows.
pub const SCHEMA: &str = "cardinal.graph/v1";

/// The graph as JSON; keys are in a fixed order.
pub fn to_json(graph: &Graph) -> Value {
    let name = |id: NodeId| Value::from(graph.node(id).name.as_str());
    let inputs: Vec<_> = graph.inputs().iter().map(|id| name(*id)).collect();
    let output = |o: &super::Output| json!({"name": o.name, "value": name(o.node)});
    let outputs: Vec<_> = graph.outputs().iter().map(output).collect();
    let nodes: Vec<_> = in_reading_order(graph).into_iter().map(|id| node(graph, id)).collect();
    json!({
        "schema": SCHEMA,
        "name": graph.name,
        "inputs": inputs,
        "outputs": outputs,
        "nodes": nodes,
    })
}

fn node(graph: &Graph, id: NodeId) -> Value {
    let node = graph.node(id);
    let mut fields = Map::new();
    if let Op::Weight(weight) = &node.op {
        fields.insert("data".to_owned(), weight_data(weight, &node.ty).into());
    }
    for (key, value) in attributes(graph, id) {
        fields.insert(key.to_owned(), value.into());
    }
    let from: Vec<&str> = node.from.iter().map(|origin| &**origin).collect();
    json!({
        "name": node.name,
        "op": node.op.mnemonic(),
        "operands": operands(graph, id),
        "type": tensor_type(&node.ty),
        "attributes": fields,
        "from": from,
    })
}

fn operands(graph: &Graph, id: NodeId) -> Vec<Value> {
    let mut all = Vec::new();
    for (slot, operand) in graph.operands(id) {
        while all.len() < slot {
            all.push(Value::Null);
        }
        all.push(graph.node(operand).name.as_str().into());
    }
    all
}

fn tensor_type(ty: &TensorType) -> Value {
    let axes: Vec<_> = ty.axes.iter().map(ToString::to_string).collect();
    json!({"dtype": ty.dtype.name(), "shape": ty.shape(), "axes": axes})
}
