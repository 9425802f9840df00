//! A model opened for changes: its weights inside, its nodes in order, and who makes and reads what.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{ModelProto, NodeProto, TensorProto};

use crate::error::{Error, Problem, Result};
use crate::ir::{DType, Graph};
use crate::onnx::names::{Name, Names};
use crate::onnx::order::topological;
use crate::onnx::tensor::{TensorReader, embed};
use crate::onnx::versions::canonical;
use crate::onnx::{ExternalData, ImportOptions, import, wire};

use super::{constants, opset};

/// Operators of quantized models.
const QUANTIZED: &[&str] = &[
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
];

/// A model whose functions are none, whose tensors all have their elements in `raw_data`, and whose nodes
/// follow what they read.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) model: ModelProto,
    /// Extents of the f32 values.
    shapes: HashMap<String, Vec<usize>>,
}

/// An f32 tensor.
pub(super) struct Floats {
    pub(super) dims: Vec<i64>,
    pub(super) values: Vec<f32>,
}

impl Network {
    /// Reads a model as an import does, which checks it.
    pub(super) fn open(
        file: &Bytes,
        external: &dyn ExternalData,
        options: &ImportOptions,
    ) -> Result<Network> {
        let lifted = wire::parse(file)?;
        check(&lifted.model)?;
        let graph = import(file.clone(), external, options)?.graph;
        let mut model = lifted.model;
        let mut reader = TensorReader::new(file, &lifted.raw, external);
        for tensor in tensors(&mut model) {
            let name = tensor.name.clone();
            let bytes = reader.stored(tensor, &name)?;
            embed(tensor, bytes.to_vec());
        }
        let shapes = shapes(&graph);
        opset::raise(&mut model, &shapes)?;
        let mut network = Network { model, shapes };
        network.drop_shadowed_inputs();
        network.sort()?;
        network.lift_constants(&graph);
        network.drop_identities();
        Ok(network)
    }

    /// The nodes in order.
    pub(super) fn nodes(&self) -> &[NodeProto] {
        &self.model.graph.node
    }

    /// What reports and options call a node: its name, or that of its first result.
    pub(super) fn node_name(&self, index: usize) -> String {
        let node = &self.nodes()[index];
        let first = node.output.first().cloned().unwrap_or_default();
        if node.name.is_empty() { first } else { node.name.clone() }
    }

    /// The extents of an f32 value, if it is one.
    pub(super) fn shape(&self, value: &str) -> Option<&[usize]> {
        self.shapes.get(value).map(Vec::as_slice)
    }

    /// Whether the value is one of the model's outputs.
    pub(super) fn is_output(&self, value: &str) -> bool {
        self.model.graph.output.iter().any(|output| output.name == value)
    }

    /// Whether there is a constant of f32 of this name.
    pub(super) fn has_floats(&self, name: &str) -> bool {
        let is_it = |tensor: &TensorProto| {
            tensor.name == name && tensor.data_type == DataType::FLOAT as i32
        };
        self.model.graph.initializer.iter().any(is_it)
    }

    /// The extents of a constant of f32.
    pub(super) fn floats_shape(&self, name: &str) -> Option<Vec<usize>> {
        let tensor = self.model.graph.initializer.iter().find(|tensor| tensor.name == name)?;
        let is_floats = tensor.data_type == DataType::FLOAT as i32;
        is_floats.then(|| tensor.dims.iter().map(|extent| *extent as usize).collect())
    }

    /// A constant of f32.
    pub(super) fn floats(&self, name: &str) -> Option<Floats> {
        let tensor = self.model.graph.initializer.iter().find(|tensor| tensor.name == name)?;
        let values = tensor.raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        (tensor.data_type == DataType::FLOAT as i32)
            .then(|| Floats { dims: tensor.dims.clone(), values: values.collect() })
    }

    /// Names that nothing has yet.
    pub(super) fn names(&self) -> Names {
        let graph = &self.model.graph;
        let made = graph.node.iter().flat_map(|n| n.output.iter().chain([&n.name]));
        let given = graph.input.iter().map(|input| &input.name);
        let tensors = graph.initializer.iter().map(|tensor| &tensor.name);
        Names::new(made.chain(given).chain(tensors).map(|name| Name::from(name.as_str())))
    }

    /// Adds a constant.
    pub(super) fn add_tensor(
        &mut self,
        name: &str,
        kind: DataType,
        dims: &[i64],
        raw_data: Vec<u8>,
    ) {
        let (name, dims, data_type) = (name.to_owned(), dims.to_vec(), kind as i32);
        let tensor = TensorProto { name, dims, data_type, raw_data, ..Default::default() };
        self.model.graph.mut_or_insert_default().initializer.push(tensor);
    }

    /// Removes nodes and constants that nothing reads, and what is said of values that are no more.
    pub(super) fn drop_unread(&mut self) {
        let graph = self.model.graph.mut_or_insert_default();
        let mut used: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
        let mut nodes = std::mem::take(&mut graph.node);
        nodes.reverse();
        nodes.retain(|node| {
            let is_used = node.output.iter().any(|value| used.contains(value));
            used.extend(node.input.iter().filter(|_| is_used).cloned());
            is_used
        });
        nodes.reverse();
        graph.node = nodes;
        graph.initializer.retain(|tensor| used.contains(&tensor.name));
        let made: HashSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
        graph.value_info.retain(|value| made.contains(&value.name));
        graph.quantization_annotation.clear();
    }

    /// Old models list every weight among the inputs too; as one that is read it is a constant.
    fn drop_shadowed_inputs(&mut self) {
        let graph = self.model.graph.mut_or_insert_default();
        let constants: HashSet<&String> = graph.initializer.iter().map(|t| &t.name).collect();
        graph.input.retain(|input| !constants.contains(&input.name));
    }

    fn sort(&mut self) -> Result<()> {
        let graph = self.model.graph.mut_or_insert_default();
        let links = Links::of(&graph.node);
        let mut users = vec![Vec::new(); graph.node.len()];
        let mut missing = vec![0; graph.node.len()];
        for (user, node) in graph.node.iter().enumerate() {
            for maker in node.input.iter().filter_map(|value| links.maker(value)) {
                users[maker].push(user);
                missing[user] += 1;
            }
        }
        let order = topological(missing, &users);
        if order.len() < graph.node.len() {
            return Err(Error::internal("an imported model has a cycle"));
        }
        graph.node = order.into_iter().map(|index| graph.node[index].clone()).collect();
        Ok(())
    }

    /// Makes initializers of the nodes that give constant floats, which weights may be.
    fn lift_constants(&mut self, graph: &Graph) {
        let constants = constants::constants(graph);
        let inner = self.model.graph.mut_or_insert_default();
        let outputs: HashSet<&String> = inner.output.iter().map(|output| &output.name).collect();
        let mut lifted = Vec::new();
        inner.node.retain(|node| match node.output.as_slice() {
            [name] if constants.contains_key(name.as_str()) && !outputs.contains(name) => {
                lifted.extend(constants.get(name.as_str()).cloned());
                false
            }
            _ => true,
        });
        inner.initializer.extend(lifted);
    }

    /// Lets what reads an Identity read what that reads.
    fn drop_identities(&mut self) {
        let graph = self.model.graph.mut_or_insert_default();
        let outputs: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
        let mut meant: HashMap<String, String> = HashMap::new();
        for node in &mut graph.node {
            for value in &mut node.input {
                if let Some(same) = meant.get(value) {
                    value.clone_from(same);
                }
            }
            if is(node, "Identity")
                && let ([from], [to]) = (node.input.as_slice(), node.output.as_slice())
                && !outputs.contains(to)
            {
                meant.insert(to.clone(), from.clone());
            }
        }
        graph.node.retain(|node| !node.output.iter().any(|value| meant.contains_key(value)));
    }
}

/// Whether a node is this operator of ONNX's own.
pub(super) fn is(node: &NodeProto, operator: &str) -> bool {
    node.op_type == operator && canonical(&node.domain).is_empty()
}

/// Who makes a value, and who reads it.
#[derive(Debug)]
pub(super) struct Links {
    makers: HashMap<String, usize>,
    readers: HashMap<String, Vec<usize>>,
}

impl Links {
    /// The links between these nodes.
    pub(super) fn of(nodes: &[NodeProto]) -> Links {
        let mut links = Links { makers: HashMap::new(), readers: HashMap::new() };
        for (index, node) in nodes.iter().enumerate() {
            let made = node.output.iter().filter(|value| !value.is_empty());
            links.makers.extend(made.map(|value| (value.clone(), index)));
            // What a shape is taken of need not be rounded for it.
            let read = if is(node, "Shape") { &[][..] } else { &node.input };
            for value in read {
                let readers = links.readers.entry(value.clone()).or_default();
                if readers.last() != Some(&index) {
                    readers.push(index);
                }
            }
        }
        links
    }

    /// The node that makes a value.
    pub(super) fn maker(&self, value: &str) -> Option<usize> {
        self.makers.get(value).copied()
    }

    /// The nodes that read a value's elements.
    pub(super) fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }
}

fn check(model: &ModelProto) -> Result<()> {
    let quantized = |node: &&NodeProto| {
        QUANTIZED.contains(&node.op_type.as_str()) || node.op_type.starts_with("QLinear")
    };
    if let Some(node) = model.graph.node.iter().find(quantized) {
        let error = Error::from(Problem::BadOption("the model is quantized already".into()));
        let error = error.with_remedy("give the float model that it was made from");
        return Err(error.at(node.name.clone(), node.op_type.clone()));
    }
    if !model.functions.is_empty() {
        let error = Error::from(Problem::Unsupported("quantizing a model with functions".into()));
        return Err(
            error.with_remedy("inline them first, with onnx.inliner.inline_local_functions")
        );
    }
    Ok(())
}

fn shapes(graph: &Graph) -> HashMap<String, Vec<usize>> {
    let floats = graph.nodes().filter(|id| graph.ty(*id).dtype == DType::F32);
    floats.map(|id| (graph.node(id).name.clone(), graph.ty(id).shape())).collect()
}

/// Every tensor of a model without functions.
fn tensors(model: &mut ModelProto) -> impl Iterator<Item = &mut TensorProto> {
    let graph = model.graph.mut_or_insert_default();
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let inside = attributes.flat_map(|a| a.t.as_mut().into_iter().chain(&mut a.tensors));
    graph.initializer.iter_mut().chain(inside)
}
