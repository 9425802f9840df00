//! Another batch for a graph whose batch is fixed: its first axis is followed from the inputs through every node.
//!
//! In a graph shapes are types, whichever way ONNX has spelled them. So all that there is to change is the first
//! axis of each value that is computed of the inputs, if each of its nodes computes every image by itself. What is
//! computed of constants alone stays, and is broadcast over images as it was over one.

use std::collections::{BTreeMap, BTreeSet};

use super::by_image::is_by_image;
use super::graph::{Graph, Node, NodeId};
use super::op::Op;
use super::types::{Axis, TensorType};
use super::verify;
use crate::error::{Error, Problem, Result};
use crate::limits::TENSOR_BYTES;

/// What to do where a batch cannot be followed.
const EXPORT: &str = "export the model with a dynamic batch: torch.onnx.export(…, dynamic_axes={'INPUT': {0: \
                      'batch'}}), or dynamo=True and dynamic_shapes=({0: torch.export.Dim('batch')},)";

/// The same graph for so many images at once.
///
/// # Errors
/// [`Problem::Unsupported`] at the node that computes something of several images, or that makes something too
/// large; [`Problem::BadOption`] for a graph whose inputs do not begin with the same number of images.
pub fn rebatch(graph: &Graph, images: usize) -> Result<Graph> {
    let own = batch(graph)?;
    let constants = constants(graph);
    let is_constant = |id: NodeId| constants.contains(&id);
    let is_input = |id: &NodeId| graph.node(*id).op == Op::Input;
    let mut made = Graph::new(graph.name.clone());
    let mut ids: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let nodes = graph.topological().into_iter().filter(|id| !is_input(id));
    for id in graph.inputs().iter().copied().chain(nodes) {
        let mut node = graph.node(id).clone();
        if !is_constant(id) {
            if !is_input(&id) && !is_by_image(graph, id, own, &is_constant) {
                let what = format!("a batch of {images} cannot be followed through it");
                return Err(at(&node, what).with_remedy(EXPORT));
            }
            node.ty = for_images(&node.ty, own, images).map_err(|what| at(&node, what))?;
        }
        let operands = graph.operands(id).into_iter();
        let operands: Option<Vec<_>> =
            operands.map(|(slot, operand)| Some((slot, *ids.get(&operand)?))).collect();
        let operands =
            operands.ok_or_else(|| Error::internal("a node comes before its operand"))?;
        ids.insert(id, made.add(node, &operands));
    }
    for output in graph.outputs() {
        let node = ids.get(&output.node).copied().filter(|_| !is_constant(output.node));
        let node = node.ok_or_else(|| {
            let what = format!("output `{}` is constant, and has no batch", output.name);
            Error::from(Problem::BadOption(what))
        })?;
        made.add_output(output.name.clone(), node);
    }
    verify(&made)?;
    Ok(made)
}

/// The first extent of all inputs.
fn batch(graph: &Graph) -> Result<usize> {
    let first = |id: &NodeId| graph.ty(*id).axes.first().map(Axis::size);
    let batch = graph.inputs().first().and_then(first).filter(|batch| *batch > 0);
    let is_same = |batch: &usize| graph.inputs().iter().all(|id| first(id) == Some(*batch));
    batch.filter(is_same).ok_or_else(|| {
        let what = "a batch is asked for, and the inputs do not all begin with the same".to_owned();
        Error::from(Problem::BadOption(what)).with_remedy(EXPORT)
    })
}

/// What no input has a part in.
fn constants(graph: &Graph) -> BTreeSet<NodeId> {
    let mut constants = BTreeSet::new();
    for id in graph.topological() {
        let is_given = graph.node(id).op == Op::Input;
        if !is_given && graph.operands(id).iter().all(|(_, operand)| constants.contains(operand)) {
            constants.insert(id);
        }
    }
    constants
}

/// The type for so many images, of that for `own`.
fn for_images(
    ty: &TensorType,
    own: usize,
    images: usize,
) -> std::result::Result<TensorType, String> {
    let bytes = ((ty.bytes() / own) as u128).saturating_mul(images as u128);
    if bytes > TENSOR_BYTES as u128 {
        return Err(format!("{images} images of {ty} take {bytes} bytes"));
    }
    let mut ty = ty.clone();
    if let Some(first) = ty.axes.first_mut() {
        *first = Axis::plain(images);
    }
    Ok(ty)
}

fn at(node: &Node, what: String) -> Error {
    let name = node.from.first().map_or(node.name.as_str(), |origin| origin);
    Error::from(Problem::Unsupported(what)).at(name, node.op.mnemonic())
}
