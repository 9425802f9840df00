//! A part of a model as a model of its own, to be looked at or sent to somebody.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use protobuf::MessageField;

use super::excerpt::{Excerpt, value_info};
use super::tensor::{TensorReader, embed};
use super::{ExternalData, wire};
use crate::error::{Error, Problem, Result};
use crate::ir::{Graph, NodeId, Op, Origin, TensorType};

/// The nodes of these names, as the `from` of a graph's nodes has them, with the constants that they read and the
/// arithmetic on shapes. What they read of other nodes are inputs, of the types that `graph`, which was imported from
/// the file, has for them; what others read of theirs are outputs.
///
/// # Errors
/// Those of reading the file; [`Problem::Unsupported`] where nodes are not in the model's own graph, but in functions or
/// branches.
pub fn extract(
    file: &Bytes,
    external: &dyn ExternalData,
    graph: &Graph,
    nodes: &BTreeSet<Origin>,
) -> Result<Excerpt> {
    let lifted = wire::parse(file)?;
    let whole = Whole::of(&lifted.model, graph);
    let mut part = Part::of(&whole, nodes)?;
    let mut reader = TensorReader::new(file, &lifted.raw, external);
    let mut model = part.model(&whole);
    let inner = model.graph.mut_or_insert_default();
    let attributes = inner.node.iter_mut().flat_map(|node| &mut node.attribute);
    let inside = attributes.flat_map(|a| a.t.as_mut().into_iter().chain(&mut a.tensors));
    for tensor in inner.initializer.iter_mut().chain(inside) {
        let name = tensor.name.clone();
        let bytes = reader.stored(tensor, &name)?;
        embed(tensor, bytes.to_vec());
    }
    Ok(Excerpt::new(model))
}

/// A model, and what is known of its values.
struct Whole<'m> {
    model: &'m ModelProto,
    graph: &'m Graph,
    /// The node that makes each value.
    makers: HashMap<&'m str, usize>,
    /// What each value is in the graph.
    values: HashMap<&'m str, NodeId>,
}

impl<'m> Whole<'m> {
    fn of(model: &'m ModelProto, graph: &'m Graph) -> Whole<'m> {
        let each = model.graph.node.iter().enumerate();
        let makers = each.flat_map(|(at, node)| node.output.iter().map(move |v| (v.as_str(), at)));
        let values = graph.nodes().map(|id| (graph.node(id).name.as_str(), id));
        Whole { model, graph, makers: makers.collect(), values: values.collect() }
    }

    fn node(&self, at: usize) -> &'m NodeProto {
        &self.model.graph.node[at]
    }

    /// A node under the name that the graph's nodes have for it.
    fn named(&self, at: usize) -> NodeProto {
        NodeProto { name: self.origin(at), ..self.node(at).clone() }
    }

    fn has_initializer(&self, name: &str) -> bool {
        self.model.graph.initializer.iter().any(|tensor| tensor.name == name)
    }

    /// The type of a value that is computed from inputs, or is one.
    fn computed(&self, value: &str) -> Option<&TensorType> {
        let id = *self.values.get(value)?;
        let is_constant = matches!(self.graph.node(id).op, Op::Weight(_));
        (!is_constant).then(|| self.graph.ty(id))
    }

    /// The name that the graph's nodes have for a node in their `from`.
    fn origin(&self, at: usize) -> String {
        let node = self.node(at);
        if node.name.is_empty() { format!("{}#{at}", node.op_type) } else { node.name.clone() }
    }
}

/// Which nodes and values of a model belong to a part of it.
struct Part {
    /// The nodes that were asked for.
    asked: BTreeSet<usize>,
    /// These, and what makes what they read of constants.
    nodes: BTreeSet<usize>,
    initializers: BTreeSet<String>,
    inputs: BTreeSet<String>,
}

impl Part {
    fn of(whole: &Whole<'_>, names: &BTreeSet<Origin>) -> Result<Part> {
        let all = 0..whole.model.graph.node.len();
        let asked: BTreeSet<usize> =
            all.filter(|at| names.contains(whole.origin(*at).as_str())).collect();
        if asked.len() < names.len() {
            let what = "taking nodes out of functions or of the branches of an If".into();
            return Err(Error::from(Problem::Unsupported(what))
                .with_remedy("inline them first, with onnx.inliner.inline_local_functions"));
        }
        let (initializers, inputs) = (BTreeSet::new(), BTreeSet::new());
        let mut part = Part { nodes: asked.clone(), asked, initializers, inputs };
        let mut work: Vec<usize> = part.asked.iter().copied().collect();
        while let Some(at) = work.pop() {
            for value in whole.node(at).input.iter().filter(|value| !value.is_empty()) {
                work.extend(part.read(whole, value));
            }
        }
        Ok(part)
    }

    /// Adds what a node of the part reads; says which node comes with it.
    fn read(&mut self, whole: &Whole<'_>, value: &str) -> Option<usize> {
        let maker = whole.makers.get(value).copied();
        if maker.is_some_and(|maker| self.nodes.contains(&maker)) {
            return None;
        }
        if whole.has_initializer(value) {
            self.initializers.insert(value.to_owned());
            return None;
        }
        match maker {
            Some(maker) if whole.computed(value).is_none() => {
                self.nodes.insert(maker);
                Some(maker)
            }
            _ => {
                self.inputs.insert(value.to_owned());
                None
            }
        }
    }

    /// The values that are read elsewhere, or nowhere.
    fn outputs<'m>(&self, whole: &Whole<'m>) -> Vec<&'m str> {
        let inner = &whole.model.graph;
        let is_inside = |(at, _): &(usize, &NodeProto)| self.nodes.contains(at);
        let each = || inner.node.iter().enumerate();
        let read = |inside: bool| -> BTreeSet<&str> {
            let nodes = each().filter(|node| is_inside(node) == inside);
            nodes.flat_map(|(_, node)| node.input.iter().map(String::as_str)).collect()
        };
        let (inside, outside) = (read(true), read(false));
        let given: BTreeSet<&str> = inner.output.iter().map(|o| o.name.as_str()).collect();
        let made = self.asked.iter().flat_map(|at| &whole.node(*at).output);
        made.map(String::as_str)
            .filter(|value| !value.is_empty())
            .filter(|v| outside.contains(v) || given.contains(v) || !inside.contains(v))
            .collect()
    }

    fn model(&mut self, whole: &Whole<'_>) -> ModelProto {
        let (ir_version, opset_import) = (whole.model.ir_version, whole.model.opset_import.clone());
        let inner = &whole.model.graph;
        let info = |name: &str| match whole.computed(name) {
            Some(ty) => value_info(name, ty),
            None => inner.input.iter().find(|i| i.name == name).cloned().unwrap_or_default(),
        };
        let bare = |name: &str| ValueInfoProto { name: name.to_owned(), ..Default::default() };
        let outputs = self.outputs(whole).into_iter();
        let typed = |name: &str| whole.computed(name).map_or(bare(name), |ty| value_info(name, ty));
        let constants = inner.initializer.iter();
        let graph = GraphProto {
            name: inner.name.clone(),
            node: self.nodes.iter().map(|at| whole.named(*at)).collect(),
            initializer: constants
                .filter(|t| self.initializers.contains(&t.name))
                .cloned()
                .collect(),
            input: self.inputs.iter().map(|name| info(name)).collect(),
            output: outputs.map(typed).collect(),
            ..Default::default()
        };
        let graph = MessageField::some(graph);
        ModelProto { ir_version, opset_import, graph, ..Default::default() }
    }
}
