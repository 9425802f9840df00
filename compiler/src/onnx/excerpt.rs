//! A part of a model that is a model of its own, and what is still smaller than it.

use std::collections::{BTreeSet, HashMap, HashSet};

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::tensor_shape_proto::Dimension;
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};
use onnx_protobuf::{TensorShapeProto, TypeProto};
use protobuf::{Message as _, MessageField};

use super::versions::canonical;
use crate::error::{Error, Problem, Result};
use crate::ir::{DType, Graph, Op, Origin, TensorType};

/// What protobuf can hold.
const MAX_BYTES: u64 = 2 << 30;
/// Weights that are repeated become this large at most, in bytes.
const MAX_WEIGHTS: usize = 64 << 20;

/// A model without external data or functions, whose nodes all have names.
#[derive(Debug, Clone)]
pub struct Excerpt {
    model: ModelProto,
}

/// A way to make a model smaller, by one of its nodes at least.
#[derive(Debug, Clone)]
enum Step {
    /// Without this node, whose operands are results instead.
    End(usize),
    /// Without this node, whose results are given instead.
    Begin(usize),
    /// Without this node: what reads its result reads a value before it, which has the same type.
    Skip(usize, String),
    /// Its result is a reshape of a value before it, which has as many elements.
    Reshape(usize, String),
    /// Without this Reshape: one before it gives the shape, which all that is between them has then.
    Raise(usize, usize),
    /// Without this node: what multiplies the channels of its result with weights multiplies those of a value before it,
    /// with its weights repeated or cut off for that.
    Refit(usize, String),
}

impl Excerpt {
    /// Of a model whose tensors have their elements in `raw_data`.
    pub(super) fn new(mut model: ModelProto) -> Excerpt {
        lift_constants(model.graph.mut_or_insert_default());
        Excerpt { model }
    }

    /// The names of its nodes.
    pub fn nodes(&self) -> BTreeSet<Origin> {
        self.model.graph.node.iter().map(|node| node.name.as_str().into()).collect()
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.model.graph.node.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file.
    ///
    /// # Errors
    /// [`Problem::Unsupported`] for what is larger than protobuf allows.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        if self.model.compute_size() >= MAX_BYTES {
            let error =
                Error::from(Problem::Unsupported("writing a model of 2 GiB or more".into()));
            return Err(error.with_remedy("take fewer nodes"));
        }
        self.model.write_to_bytes().map_err(|error| Error::internal(error.to_string()))
    }

    /// Models with fewer nodes, each made of this one by one step; `graph` is this one imported. The first of them lack
    /// the most. Their inputs are values of this one, or inputs of it; whether any of them can be imported, and whether
    /// its inputs have the shapes that they had, is to be tried.
    pub fn smaller(&self, graph: &Graph) -> impl Iterator<Item = Excerpt> {
        let types = types(graph);
        let steps = self.steps(&types);
        steps.into_iter().filter_map(move |step| self.after(&step, &types))
    }

    /// All steps: at the end, at the beginning, and then inside.
    fn steps(&self, types: &HashMap<String, TensorType>) -> Vec<Step> {
        let nodes = || (0..self.len()).rev();
        let ends = nodes().map(Step::End);
        let begins = nodes().map(Step::Begin);
        let instead = nodes().flat_map(|at| self.instead(at, types));
        let raised = nodes().flat_map(|at| self.raised(at));
        ends.chain(begins).chain(instead).chain(raised).collect()
    }

    /// The Reshapes before a Reshape, without any between them.
    fn raised(&self, at: usize) -> Option<Step> {
        let nodes = &self.model.graph.node;
        let makers = makers(&self.model.graph);
        let before = |at: usize| makers.get(nodes[at].input.first()?.as_str()).copied();
        let is_reshape = |at: &usize| is(&nodes[*at], "Reshape");
        let mut above = std::iter::successors(before(at), |at| before(*at)).take(nodes.len());
        Some(Step::Raise(at, above.find(is_reshape).filter(|_| is_reshape(&at))?))
    }

    /// What the only result of a node may be of values before it: the furthest first.
    fn instead(&self, at: usize, types: &HashMap<String, TensorType>) -> Vec<Step> {
        let inner = &self.model.graph;
        let [result] = inner.node[at].output.as_slice() else { return Vec::new() };
        let Some(ty) = types.get(result) else { return Vec::new() };
        let step = |value: &String| {
            let from = types.get(value).filter(|from| from.dtype == ty.dtype)?;
            if from.shape() == ty.shape() {
                return Some(Step::Skip(at, value.clone()));
            }
            if from.elements() == ty.elements() {
                return Some(Step::Reshape(at, value.clone()));
            }
            same_but_channels(from, ty).then(|| Step::Refit(at, value.clone()))
        };
        self.before(at).iter().rev().filter_map(step).collect()
    }

    /// The values that a node depends on, its own operands first.
    fn before(&self, at: usize) -> Vec<String> {
        let inner = &self.model.graph;
        let (mut found, mut work) = (Vec::new(), vec![at]);
        let makers = makers(inner);
        while let Some(at) = work.pop() {
            for value in &inner.node[at].input {
                if !found.contains(value) {
                    work.extend(makers.get(value.as_str()));
                    found.push(value.clone());
                }
            }
        }
        found
    }

    /// The model after a step; `None` where it is none, or has as many nodes.
    fn after(&self, step: &Step, types: &HashMap<String, TensorType>) -> Option<Excerpt> {
        let mut model = self.model.clone();
        let inner = model.graph.mut_or_insert_default();
        match step {
            Step::End(at) => end(inner, *at, types)?,
            Step::Begin(at) => begin(inner, *at, types),
            Step::Skip(at, value) => skip(inner, *at, value)?,
            Step::Reshape(at, value) => reshape(inner, *at, value, types)?,
            Step::Raise(at, to) => raise(inner, *at, *to)?,
            Step::Refit(at, value) => refit(inner, *at, value, types)?,
        }
        drop_unread(inner);
        let is_model = !inner.output.is_empty() && !inner.input.is_empty();
        (is_model && !inner.node.is_empty() && inner.node.len() < self.len())
            .then_some(Excerpt { model })
    }
}

/// The types of values that are computed from inputs, or are inputs.
fn types(graph: &Graph) -> HashMap<String, TensorType> {
    let computed = graph.nodes().filter(|id| !matches!(graph.node(*id).op, Op::Weight(_)));
    computed.map(|id| (graph.node(id).name.clone(), graph.ty(id).clone())).collect()
}

/// The node that makes each value.
fn makers(inner: &GraphProto) -> HashMap<&str, usize> {
    let each = inner.node.iter().enumerate();
    each.flat_map(|(at, node)| node.output.iter().map(move |v| (v.as_str(), at))).collect()
}

/// Removes a node that only makes results: what it reads of other nodes are results then.
fn end(inner: &mut GraphProto, at: usize, types: &HashMap<String, TensorType>) -> Option<()> {
    let node = inner.node.remove(at);
    let is_read = |value: &String| inner.node.iter().any(|other| other.input.contains(value));
    if node.output.iter().any(is_read) {
        return None;
    }
    inner.output.retain(|output| !node.output.contains(&output.name));
    let made: HashSet<&String> = inner.node.iter().flat_map(|other| &other.output).collect();
    for value in node.input.iter().filter(|value| made.contains(value)) {
        if !inner.output.iter().any(|output| output.name == *value) {
            inner.output.push(value_info(value, types.get(value)?));
        }
    }
    Some(())
}

/// Removes a node whose results are inputs then.
fn begin(inner: &mut GraphProto, at: usize, types: &HashMap<String, TensorType>) {
    let node = inner.node.remove(at);
    inner.output.retain(|output| !node.output.contains(&output.name));
    let given = node.output.iter().filter_map(|value| Some(value_info(value, types.get(value)?)));
    inner.input.extend(given);
}

/// Removes a node whose result is no result of the model.
fn skip(inner: &mut GraphProto, at: usize, instead: &str) -> Option<()> {
    let result = inner.node.remove(at).output.pop()?;
    if inner.output.iter().any(|output| output.name == result) {
        return None;
    }
    let operands = inner.node.iter_mut().flat_map(|node| &mut node.input);
    operands.filter(|value| **value == result).for_each(|value| instead.clone_into(value));
    Some(())
}

/// Makes a node a Reshape of a value, to the type that its result has.
fn reshape(
    inner: &mut GraphProto,
    at: usize,
    from: &str,
    types: &HashMap<String, TensorType>,
) -> Option<()> {
    let node = inner.node.get_mut(at)?;
    let result = node.output.first()?.clone();
    let shape = types.get(&result)?.shape();
    let name = format!("{result}/shape");
    *node = NodeProto {
        name: std::mem::take(&mut node.name),
        op_type: "Reshape".into(),
        input: vec![from.to_owned(), name.clone()],
        output: vec![result],
        ..Default::default()
    };
    let raw_data = shape.iter().flat_map(|extent| (*extent as i64).to_le_bytes()).collect();
    let (dims, data_type) = (vec![shape.len() as i64], DataType::INT64 as i32);
    inner.initializer.retain(|tensor| tensor.name != name);
    inner.initializer.push(TensorProto { name, dims, data_type, raw_data, ..Default::default() });
    Some(())
}

/// Removes a Reshape, and gives another one its shape.
fn raise(inner: &mut GraphProto, at: usize, to: usize) -> Option<()> {
    let [from, shape] = <[String; 2]>::try_from(inner.node[at].input.clone()).ok()?;
    *inner.node.get_mut(to)?.input.get_mut(1)? = shape;
    skip(inner, at, &from)
}

/// Whether types differ in the extent of axis 1 alone.
fn same_but_channels(a: &TensorType, b: &TensorType) -> bool {
    let (mut a, b) = (a.shape(), b.shape());
    match (a.get_mut(1), b.get(1)) {
        (Some(channels), Some(others)) => *channels = *others,
        _ => return false,
    }
    a == b
}

/// Removes a node whose result, of other channels than the value instead, is multiplied with weights only.
fn refit(
    inner: &mut GraphProto,
    at: usize,
    instead: &str,
    types: &HashMap<String, TensorType>,
) -> Option<()> {
    let result = inner.node[at].output.first()?.clone();
    let [from, to] = [&result, instead].map(|value| types.get(value).map(TensorType::shape));
    let (from, to) = (*from?.get(1)?, *to?.get(1)?);
    let readers = inner.node.iter().filter(|node| node.input.contains(&result));
    let weights: Vec<String> = readers.filter_map(|node| node.input.get(1).cloned()).collect();
    for name in weights {
        let tensor = inner.initializer.iter_mut().find(|tensor| tensor.name == name)?;
        refit_weights(tensor, from, to)?;
    }
    skip(inner, at, instead)
}

/// Makes of weights `[o, i, …]` such with `i` times `to / from`: repeated, or cut off. `None` where that is no whole
/// number, or too large.
fn refit_weights(tensor: &mut TensorProto, from: usize, to: usize) -> Option<()> {
    let extent = |axis: usize| usize::try_from(*tensor.dims.get(axis)?).ok();
    let (rows, columns) = (extent(0)?, extent(1)?);
    let whole = |a: usize, b: usize| Some(a.checked_div(b)?).filter(|_| a.is_multiple_of(b));
    let wanted = whole(columns.checked_mul(to)?, from)?;
    let row = whole(tensor.raw_data.len(), rows)?;
    let length = whole(row, columns)?.checked_mul(wanted)?;
    if row == 0 || rows.checked_mul(length)? > MAX_WEIGHTS {
        return None;
    }
    let row_of = |row: &[u8]| row.iter().copied().cycle().take(length).collect::<Vec<u8>>();
    tensor.raw_data = tensor.raw_data.chunks_exact(row).flat_map(row_of).collect();
    *tensor.dims.get_mut(1)? = wanted as i64;
    Some(())
}

/// Removes what no result depends on.
fn drop_unread(inner: &mut GraphProto) {
    let makers = makers(inner);
    let mut read: HashSet<&str> = HashSet::new();
    let mut work: Vec<&str> = inner.output.iter().map(|output| output.name.as_str()).collect();
    let mut kept = BTreeSet::new();
    while let Some(value) = work.pop() {
        if !read.insert(value) {
            continue;
        }
        let maker = makers.get(value).filter(|at| kept.insert(**at));
        work.extend(maker.into_iter().flat_map(|at| &inner.node[*at].input).map(String::as_str));
    }
    let read: HashSet<String> = read.into_iter().map(str::to_owned).collect();
    let mut at = 0..;
    inner.node.retain(|_| at.next().is_some_and(|at| kept.contains(&at)));
    inner.initializer.retain(|tensor| read.contains(&tensor.name));
    inner.input.retain(|input| read.contains(&input.name));
}

/// Whether a node is this operator of ONNX's own.
fn is(node: &NodeProto, operator: &str) -> bool {
    node.op_type == operator && canonical(&node.domain).is_empty()
}

/// Makes initializers of the nodes that are tensors.
fn lift_constants(inner: &mut GraphProto) {
    let mut lifted = Vec::new();
    let results: HashSet<&String> = inner.output.iter().map(|output| &output.name).collect();
    inner.node.retain(|node| {
        let is_read = node.output.iter().all(|value| !results.contains(value));
        let is_it = is_read && is(node, "Constant");
        let tensor = node.attribute.iter().find_map(|a| a.t.as_ref()).filter(|_| is_it);
        let (Some(tensor), [name]) = (tensor, node.output.as_slice()) else { return true };
        lifted.push(TensorProto { name: name.clone(), ..tensor.clone() });
        false
    });
    inner.initializer.extend(lifted);
}

/// A value of this type.
pub(super) fn value_info(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dimension = |extent: usize| {
        let mut dimension = Dimension::new();
        dimension.set_dim_value(extent as i64);
        dimension
    };
    let dim = ty.shape().into_iter().map(dimension).collect();
    let mut tensor = type_proto::Tensor::new();
    tensor.elem_type = element(ty.dtype) as i32;
    tensor.shape = MessageField::some(TensorShapeProto { dim, ..Default::default() });
    let mut of = TypeProto::new();
    of.set_tensor_type(tensor);
    let type_ = MessageField::some(of);
    ValueInfoProto { name: name.to_owned(), type_, ..Default::default() }
}

fn element(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::FLOAT,
        DType::F64 => DataType::DOUBLE,
        DType::I64 => DataType::INT64,
        DType::I32 => DataType::INT32,
        DType::U8 => DataType::UINT8,
        DType::I8 => DataType::INT8,
        DType::Bool => DataType::BOOL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights of bytes, of these extents.
    fn weights(dims: [i64; 2], raw_data: Vec<u8>) -> TensorProto {
        TensorProto { dims: dims.to_vec(), raw_data, ..Default::default() }
    }

    #[test]
    fn weights_are_repeated_or_cut_off() {
        for (to, dims, expected) in [
            (4, [2, 4], vec![1, 2, 1, 2, 3, 4, 3, 4]),
            (3, [2, 3], vec![1, 2, 1, 3, 4, 3]),
            (1, [2, 1], vec![1, 3]),
        ] {
            let mut tensor = weights([2, 2], vec![1, 2, 3, 4]);
            assert_eq!(refit_weights(&mut tensor, 2, to), Some(()));
            assert_eq!((tensor.dims, tensor.raw_data), (dims.to_vec(), expected));
        }
    }

    #[test]
    fn weights_that_do_not_fit_are_left_alone() {
        for (dims, bytes, [from, to]) in [
            ([2, 0], 0, [1, 2]),
            ([0, 2], 0, [2, 4]),
            ([2, -2], 4, [2, 4]),
            ([2, 2], 3, [2, 4]),
            ([2, 2], 4, [4, 3]),
            ([2, 2], 4, [0, 3]),
            ([2, 2], 4, [2, 1 << 40]),
            ([2, 2], 4, [2, usize::MAX]),
        ] {
            let tensor = weights(dims, vec![0; bytes]);
            let mut refitted = tensor.clone();
            assert_eq!((refit_weights(&mut refitted, from, to), refitted), (None, tensor));
        }
    }
}
