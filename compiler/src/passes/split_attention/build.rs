//! Writes a recognised block down as one operator.

use super::excite::{Excited, Layer, unrounded};
use super::trace::{Block, Tracer, only_moves, rounds};
use super::weigh::Weighed;
use super::{Found, describe, failed};
use crate::ir::{
    Answer, Axis, DType, Edit, Epilogue, Excite, Graph, NodeId, Op, Operand, Rounding,
    SplitAttention, TensorType, Unary, Weigh, Weight,
};
use crate::passes::grid::quantized;

pub(super) fn edit(
    tracer: &Tracer<'_>,
    weighed: &Weighed,
    excited: &Excited,
    rounding: Rounding,
) -> Found<Answer> {
    let graph = tracer.graph;
    let top = graph.node(weighed.top);
    if top.ty.dtype != DType::F32 {
        return failed(format!("the block computes in {}", top.ty.dtype));
    }
    let (k, channels) = (excited.cardinality, weighed.channels.len());
    let (r, c) = (weighed.channels.first().map_or(1, Vec::len), channels / k);
    let mut edit = Edit::of(tracer.passed.iter().copied());

    let planes = (0..k * r).flat_map(|split| (0..c).map(move |i| (split / r * c + i, split % r)));
    let planes: Vec<Block> =
        planes.map(|(channel, r)| weighed.channels[channel][r].plane).collect();
    let before = edit.nodes.len();
    let u = splits(graph, &mut edit, &top.name, &planes, [k, r, c])?;
    // Bringing the planes in order stands for what moved planes.
    let planar = |id: &&NodeId| graph.ty(**id).elements() >= top.ty.elements();
    edit.left_out = left_out(tracer);
    let moves = |id: &&NodeId| only_moves(graph, **id) && !rounds(graph, **id);
    let moved = tracer.passed.iter().filter(planar).filter(moves);
    let mut moved: Vec<NodeId> = moved.copied().collect();
    if moved.is_empty() {
        moved.push(weighed.top);
    }
    for new in before..edit.nodes.len() {
        edit.stands_for(Operand::New(new), &moved);
    }
    let mut operands = vec![(SplitAttention::U, u)];
    let excite = match &excited.inner {
        None => Excite::Direct,
        Some(inner) => {
            let slots = [SplitAttention::W1, SplitAttention::B1];
            operands.extend(layer(graph, &mut edit, &top.name, slots, &inner.layer));
            Excite::Inner { width: inner.width, activation: inner.activation.clone() }
        }
    };
    let slots = [SplitAttention::W2, SplitAttention::B2];
    operands.extend(layer(graph, &mut edit, &top.name, slots, &excited.outer));
    let weigh = match gate(tracer, weighed) {
        Some(function) => Weigh::Gate(function),
        None => Weigh::Softmax,
    };
    let epilogue = Epilogue::none();
    let op = SplitAttention { cardinality: k, radix: r, excite, weigh, rounding, epilogue };
    let image = planes.first().map(|p| graph.ty(p.node).shape()).unwrap_or_default();
    let shape = [image[0], channels, image[2], image[3]];
    let replaced = as_image(graph, weighed.top, &shape);
    edit.region.push(replaced);
    let top = graph.node(replaced);
    let mut y = edit.add(&top.name, Op::SplitAttention(op), operands);
    if top.ty.shape() != shape {
        y = edit.add_typed(&top.name, Op::Reshape, Some(top.ty.clone()), vec![(0, y)]);
    }
    Ok(edit.replace(replaced, y))
}

/// The nodes whose rounding is left out, and what is left of them.
fn left_out(tracer: &Tracer<'_>) -> Vec<(NodeId, Option<Unary>)> {
    let graph = tracer.graph;
    let left = |id: &NodeId| {
        let function = quantized(graph, *id)?;
        Some((*id, (!rounds(graph, *id)).then(|| unrounded(function))))
    };
    tracer.passed.difference(&tracer.kept).filter_map(left).collect()
}

/// The reshape of a sum to this shape, when that is all that is done with it; or the sum.
fn as_image(graph: &Graph, top: NodeId, shape: &[usize]) -> NodeId {
    match graph.sole_use(top) {
        Some((user, _)) if graph.node(user).op == Op::Reshape => {
            let reshapes = graph.ty(top).shape() != shape && graph.ty(user).shape() == shape;
            if reshapes { user } else { top }
        }
        _ => top,
    }
}

/// The function of a gate; `None` for a softmax.
fn gate(tracer: &Tracer<'_>, weighed: &Weighed) -> Option<Unary> {
    match tracer.graph.node(weighed.anchor).op {
        Op::Unary(function, _) => Some(function),
        _ => None,
    }
}

/// u: these planes, in this order, as one `[n, (k r c), h, w]`.
fn splits(
    graph: &Graph,
    edit: &mut Edit,
    name: &str,
    planes: &[Block],
    [k, r, c]: [usize; 3],
) -> Found<Operand> {
    let parts = parts(graph, planes)?;
    let mut joined = Vec::new();
    let mut first_channel = Vec::new();
    let mut channels = 0;
    for part in &parts {
        first_channel.push(channels);
        channels += part.channels.len();
        joined.push(part.operand(graph, edit));
    }
    let mut ty = graph.ty(parts[0].node).clone();
    ty.axes[1] = Axis::cardinality_major([k, r, c]);
    let u = match joined.as_slice() {
        [whole] => *whole,
        _ => {
            let operands = joined.iter().copied().enumerate().collect();
            edit.add_typed(format!("{name}:u"), Op::Concat { axis: 1 }, Some(ty.clone()), operands)
        }
    };
    let place = |plane: &Block| {
        let at = parts.iter().position(|part| part.node == plane.node)?;
        let within = parts[at].channels.binary_search(&plane.index).ok()?;
        Some((first_channel[at] + within) as i64)
    };
    let Some(order) = planes.iter().map(place).collect::<Option<Vec<i64>>>() else {
        return failed("a plane that is weighed is not there");
    };
    if order.iter().enumerate().all(|(i, at)| i as i64 == *at) {
        return Ok(u);
    }
    let index = TensorType::new(DType::I64, &[order.len()]);
    let order = edit.constant(format!("{name}:order"), index, Weight::from_i64(&order));
    let operands = vec![(0, u), (1, order)];
    let u = edit.add_typed(format!("{name}:u"), Op::Gather { axis: 1 }, Some(ty), operands);
    Ok(u)
}

/// Channels of one value that are weighed, ascending.
struct Part {
    node: NodeId,
    channels: Vec<usize>,
}

/// The values weighed, in the order of their first plane.
fn parts(graph: &Graph, planes: &[Block]) -> Found<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for plane in planes {
        match parts.iter_mut().find(|part| part.node == plane.node) {
            Some(part) => part.channels.push(plane.index),
            None => {
                parts.push(Part { node: plane.node, channels: vec![plane.index] });
            }
        }
    }
    for part in &mut parts {
        part.channels.sort_unstable();
        let ty = graph.ty(part.node);
        let tail = planes[0].tail;
        let image = match ty.shape()[..] {
            [n, _, h, w] => h * w == tail && n == graph.ty(planes[0].node).shape()[0],
            _ => false,
        };
        if !image || ty.shape()[2..] != graph.ty(planes[0].node).shape()[2..] {
            let what = describe(graph, part.node);
            return failed(format!("{what}, which is weighed, is no [n, c, h, w] but {ty}"));
        }
    }
    Ok(parts)
}

impl Part {
    /// The part as an operand: the whole value, or the channels that are weighed.
    fn operand(&self, graph: &Graph, edit: &mut Edit) -> Operand {
        let (ty, count) = (graph.ty(self.node), self.channels.len());
        let whole = Operand::Old(self.node);
        if ty.shape()[1] == count {
            return whole;
        }
        let name = &graph.node(self.node).name;
        let mut part = ty.clone();
        part.axes[1] = Axis::plain(count);
        let first = self.channels[0];
        if self.channels[count - 1] + 1 - first == count {
            let op = Op::Slice { starts: vec![0, first, 0, 0], steps: vec![1; 4] };
            return edit.add_typed(format!("{name}:part"), op, Some(part), vec![(0, whole)]);
        }
        let index: Vec<i64> = self.channels.iter().map(|c| *c as i64).collect();
        let index_ty = TensorType::new(DType::I64, &[count]);
        let index = edit.constant(format!("{name}:order"), index_ty, Weight::from_i64(&index));
        let operands = vec![(0, whole), (1, index)];
        edit.add_typed(format!("{name}:part"), Op::Gather { axis: 1 }, Some(part), operands)
    }
}

/// A dense layer's operands.
fn layer(
    graph: &Graph,
    edit: &mut Edit,
    name: &str,
    [weight, bias]: [usize; 2],
    layer: &Layer,
) -> Vec<(usize, Operand)> {
    let called = |node: Option<NodeId>, otherwise: &str| match node {
        Some(id) => graph.node(id).name.clone(),
        None => format!("{name}:{otherwise}"),
    };
    let rows = layer.weights.len() / layer.columns.max(1);
    let ty = TensorType::new(DType::F32, &[rows, layer.columns]);
    let weights = Weight::from_f32(&layer.weights);
    let mut operands = vec![(weight, edit.constant(called(layer.names[0], "w"), ty, weights))];
    if let Some(values) = &layer.bias {
        let ty = TensorType::new(DType::F32, &[rows]);
        let name = called(layer.names[1], "b");
        operands.push((bias, edit.constant(name, ty, Weight::from_f32(values))));
    }
    operands
}
