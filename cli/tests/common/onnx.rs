//! As much of ONNX's messages as it takes to write a model, tensor by tensor: no two need be in memory.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    ty: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, tag = "1")]
    dim_value: i64,
}

/// ONNX's code of f32.
const FLOAT: i32 = 1;

/// Fields that are written by hand: they hold what is large.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const TENSOR_RAW_DATA: u32 = 9;

/// Writes a model of operator set 17 from `x` of `shape` to the last node's output, with `value` for
/// element `i` of tensor `t`.
pub(crate) fn write(
    path: &Path,
    shape: &[i64],
    node: Vec<Node>,
    tensors: &[Tensor],
    value: impl Fn(usize, i64) -> f32,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let graph = graph(shape, node).encode_to_vec();
    let tensor_len = |t: &Tensor| t.encoded_len() + field_len(TENSOR_RAW_DATA, t.bytes());
    let all = tensors.iter().map(|t| field_len(GRAPH_INITIALIZER, tensor_len(t))).sum::<usize>();
    file.write_all(&Model::new().encode_to_vec())?;
    file.write_all(&head(MODEL_GRAPH, graph.len() + all))?;
    file.write_all(&graph)?;
    for (t, tensor) in tensors.iter().enumerate() {
        file.write_all(&head(GRAPH_INITIALIZER, tensor_len(tensor)))?;
        file.write_all(&tensor.encode_to_vec())?;
        file.write_all(&head(TENSOR_RAW_DATA, tensor.bytes()))?;
        (0..tensor.elements()).try_for_each(|i| file.write_all(&value(t, i).to_le_bytes()))?;
    }
    file.flush()
}

/// Writes a model of so many 1x1 convolutions, of as many channels as `shape` has, and after each of them
/// `then`, an operator of one operand or BatchNormalization.
pub(crate) fn write_layers(
    path: &Path,
    shape: [i64; 4],
    layers: usize,
    then: &str,
) -> io::Result<()> {
    let channels = shape[1];
    let mut tensors = vec![Tensor::new("scale", &[channels]), Tensor::new("shift", &[channels])];
    let mut nodes = Vec::new();
    let mut from = "x".to_owned();
    for layer in 0..layers {
        let [weight, sum, to] = ["w", "s", "y"].map(|letter| format!("{letter}{layer}"));
        tensors.push(Tensor::new(&weight, &[channels, channels, 1, 1]));
        nodes.push(node("Conv", &[&from, &weight], &sum));
        let operands = [&sum, "scale", "shift", "shift", "scale"];
        let count = if then == "BatchNormalization" { operands.len() } else { 1 };
        nodes.push(node(then, &operands[..count], &to));
        from = to;
    }
    // No two tensors have the same values, all of which are positive.
    let value = |t: usize, i: i64| ((i * 7 + t as i64 * 31) % 1009 + 1) as f32 / 1e5;
    write(path, &shape, nodes, &tensors, value)
}

fn graph(shape: &[i64], node: Vec<Node>) -> Graph {
    let dim = shape.iter().map(|extent| Dimension { dim_value: *extent }).collect();
    let tensor = TensorType { elem_type: FLOAT, shape: Some(Shape { dim }) };
    let input = Value { name: "x".into(), ty: Some(Type { tensor: Some(tensor) }) };
    let last = node.last().map(|node| node.output[0].clone());
    let output = Value { name: last.unwrap_or_default(), ty: None };
    Graph { node, input: vec![input], output: vec![output] }
}

/// What stands before a field of `length` bytes.
fn head(tag: u32, length: usize) -> Vec<u8> {
    let mut head = Vec::new();
    encode_key(tag, WireType::LengthDelimited, &mut head);
    encode_varint(length as u64, &mut head);
    head
}

/// Bytes of a field, with what stands before it.
fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

impl Model {
    fn new() -> Model {
        Model { ir_version: 8, opset_import: vec![OperatorSet { version: 17 }] }
    }
}

impl Tensor {
    /// A tensor of f32.
    pub(crate) fn new(name: &str, dims: &[i64]) -> Tensor {
        Tensor { dims: dims.to_vec(), data_type: FLOAT, name: name.into() }
    }

    fn elements(&self) -> i64 {
        self.dims.iter().product()
    }

    fn bytes(&self) -> usize {
        4 * self.elements() as usize
    }
}

/// An operator without attributes.
pub(crate) fn node(op_type: &str, input: &[&str], output: &str) -> Node {
    let input = input.iter().map(|name| (*name).to_owned()).collect();
    Node { input, output: vec![output.into()], op_type: op_type.into() }
}
