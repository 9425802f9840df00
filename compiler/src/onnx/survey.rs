//! What a file says of itself, whether or not it can be imported: for whoever asks before compiling.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use onnx_protobuf::tensor_proto::{DataLocation, DataType};
use onnx_protobuf::tensor_shape_proto::dimension::Value as Extent;
use onnx_protobuf::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto, type_proto,
};
use protobuf::Enum as _;

use super::registry::find;
use super::versions::canonical;
use super::wire;
use crate::error::{Error, Problem, Result};

/// What a model file says of itself.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// The program that wrote it, with its version; empty where it does not say.
    pub producer: String,
    /// The version of the file format.
    pub ir_version: i64,
    /// Operator sets by domain; ONNX's own is empty.
    pub opsets: BTreeMap<String, i64>,
    /// Local functions.
    pub functions: usize,
    /// Operators of the graph, of its branches and of local functions, each body once, by domain and name.
    pub operators: Vec<OperatorUse>,
    /// Inputs that no initializer gives.
    pub inputs: Vec<DeclaredTensor>,
    /// Outputs.
    pub outputs: Vec<DeclaredTensor>,
    /// How many initializers are stored as each element type, by ONNX's names for them.
    pub stored: BTreeMap<String, usize>,
    /// Initializers whose bytes are in other files.
    pub external: usize,
}

/// The nodes of one operator.
#[derive(Debug, Clone)]
pub struct OperatorUse {
    /// The domain; empty for ONNX's own.
    pub domain: String,
    /// Its name.
    pub name: String,
    /// The nodes, by name, or `Operator#index` where they have none.
    pub nodes: Vec<String>,
    /// Why it is not imported, if it is not, with advice. Nodes of an operator that is can still be refused, for
    /// what their attributes and operands ask.
    pub refusal: Option<Error>,
}

/// An input or output, as the file declares it.
#[derive(Debug, Clone)]
pub struct DeclaredTensor {
    /// Its name.
    pub name: String,
    /// Its element type, by ONNX's name for it.
    pub element: String,
    /// Its dimensions: numbers, names of those that are open, and `?` for those without a name. `None` where not
    /// even their number is stated.
    pub dims: Option<Vec<String>>,
}

/// Reads what a model file says of itself.
///
/// # Errors
/// [`Problem::Malformed`] for what is no model.
pub fn survey(file: &Bytes) -> Result<Survey> {
    let model = wire::parse(file)?.model;
    if model.graph.is_none() {
        return Err(Problem::Malformed("it has no graph".into()).into());
    }
    let graph = &model.graph;
    let initialized: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs = graph.input.iter().filter(|input| !initialized.contains(input.name.as_str()));
    let mut stored = BTreeMap::new();
    for tensor in &graph.initializer {
        *stored.entry(element(tensor.data_type)).or_default() += 1;
    }
    Ok(Survey {
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_owned(),
        ir_version: model.ir_version,
        opsets: versions(&model.opset_import).into_iter().map(|(d, v)| (d.into(), v)).collect(),
        functions: model.functions.len(),
        operators: Operators::of(&model),
        inputs: inputs.map(declared).collect(),
        outputs: graph.output.iter().map(declared).collect(),
        stored,
        external: graph.initializer.iter().filter(|tensor| is_external(tensor)).count(),
    })
}

fn versions(declared: &[OperatorSetIdProto]) -> BTreeMap<&str, i64> {
    declared.iter().map(|set| (canonical(&set.domain), set.version)).collect()
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location.enum_value() == Ok(DataLocation::EXTERNAL)
}

/// ONNX's name of an element type.
fn element(code: i32) -> String {
    match DataType::from_i32(code) {
        Some(known) => format!("{known:?}").to_lowercase(),
        None => format!("type {code}"),
    }
}

fn declared(value: &ValueInfoProto) -> DeclaredTensor {
    let name = value.name.clone();
    let Some(type_proto::Value::TensorType(tensor)) = &value.type_.value else {
        return DeclaredTensor { name, element: "no tensor".into(), dims: None };
    };
    let extent = |value: &Option<Extent>| match value {
        Some(Extent::DimValue(n)) if *n != -1 => n.to_string(),
        Some(Extent::DimParam(name)) if !name.is_empty() => name.clone(),
        Some(_) | None => "?".into(),
    };
    let dims = tensor.shape.as_ref();
    let dims = dims.map(|shape| shape.dim.iter().map(|dim| extent(&dim.value)).collect());
    DeclaredTensor { name, element: element(tensor.elem_type), dims }
}

/// The operators that have been met.
struct Operators<'m> {
    /// What calls may name: domain, name and overload.
    functions: HashSet<(&'m str, &'m str, &'m str)>,
    found: BTreeMap<(&'m str, &'m str), OperatorUse>,
}

impl<'m> Operators<'m> {
    fn of(model: &'m ModelProto) -> Vec<OperatorUse> {
        let key = |f: &'m onnx_protobuf::FunctionProto| {
            (canonical(&f.domain), f.name.as_str(), f.overload.as_str())
        };
        let functions = model.functions.iter().map(key).collect();
        let mut operators = Operators { functions, found: BTreeMap::new() };
        operators.nodes(&model.graph.node, &versions(&model.opset_import));
        for function in &model.functions {
            operators.nodes(&function.node, &versions(&function.opset_import));
        }
        operators.found.into_values().collect()
    }

    /// Nodes, and those of graphs that are attributes of theirs, which nest no deeper than files may.
    fn nodes(&mut self, nodes: &'m [NodeProto], opsets: &BTreeMap<&str, i64>) {
        for (index, node) in nodes.iter().enumerate() {
            self.node(node, index, opsets);
            for attribute in &node.attribute {
                let graphs = attribute.g.as_ref().into_iter().chain(&attribute.graphs);
                graphs.for_each(|graph: &GraphProto| self.nodes(&graph.node, opsets));
            }
        }
    }

    fn node(&mut self, node: &'m NodeProto, index: usize, opsets: &BTreeMap<&str, i64>) {
        let (domain, name) = (canonical(&node.domain), node.op_type.as_str());
        if self.functions.contains(&(domain, name, node.overload.as_str())) {
            return;
        }
        let found = self.found.entry((domain, name)).or_insert_with(|| OperatorUse {
            domain: domain.into(),
            name: name.into(),
            nodes: Vec::new(),
            refusal: refusal(domain, name, opsets),
        });
        found.nodes.push(match node.name.as_str() {
            "" => format!("{name}#{index}"),
            named => named.to_owned(),
        });
    }
}

/// Why an operator is not imported, if it is not.
fn refusal(domain: &str, name: &str, opsets: &BTreeMap<&str, i64>) -> Option<Error> {
    // Whether an If is imported depends on its condition.
    if domain.is_empty() && name == "If" {
        return None;
    }
    let Some(opset) = opsets.get(domain) else {
        let what = format!("no opset_import for the domain `{domain}`");
        return find(domain, name, i64::MAX)
            .err()
            .or_else(|| Some(Problem::InvalidGraph(what).into()));
    };
    find(domain, name, *opset).err()
}
