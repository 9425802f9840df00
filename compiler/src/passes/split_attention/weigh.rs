//! Forward from the softmax or the gate: what is weighed, and what the sums are.

use std::collections::{BTreeMap, BTreeSet};

use super::rounding::Alike;
use super::trace::{Block, Path, Tracer, image_dims, only_moves, ravel, rounding, suffix, unravel};
use super::{Found, Miss, describe, failed};
use crate::ir::{Binary, Graph, NodeId, Op, Reduce, ReduceKind};

/// One product of a sum: a weight, as an element of the anchor, and the plane it weighs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// Element of the anchor's first image.
    pub(super) weight: usize,
    /// A plane.
    pub(super) plane: Block,
}

/// What is weighed.
pub(super) struct Weighed {
    /// The value that is the weighted sum.
    pub(super) top: NodeId,
    /// For each channel of the sum its terms, in the order of the softmax.
    pub(super) channels: Vec<Vec<Term>>,
    /// Elements of a plane.
    pub(super) plane: usize,
    /// The softmax or the gate.
    pub(super) anchor: NodeId,
    /// What weights are rounded to, and products.
    pub(super) rounding: [Alike; 2],
}

impl Weighed {
    /// Weighs planes as they are rounded, where all of the block reads them so: they are that outside of it.
    pub(super) fn keep_rounding(&mut self, tracer: &mut Tracer<'_>) {
        let planes = || self.channels.iter().flatten().map(|term| term.plane.node);
        let sources: BTreeSet<NodeId> = planes().collect();
        let kept = sources.into_iter().filter_map(|id| Some((id, tracer.rounded(id)?)));
        let kept: BTreeMap<NodeId, NodeId> = kept.collect();
        for term in self.channels.iter_mut().flatten() {
            if let Some(&rounded) = kept.get(&term.plane.node) {
                term.plane.node = rounded;
                tracer.passed.remove(&rounded);
            }
        }
    }
}

/// Most steps that one sum is followed through, and most channels times splits.
const LARGEST: usize = 1 << 20;

/// The smallest weighted sum with every weight of the anchor in it.
pub(super) fn weighed(tracer: &mut Tracer<'_>, anchor: NodeId) -> Found<Weighed> {
    let graph = tracer.graph;
    let products = products(tracer, anchor);
    let Some(&(first, slot)) = products.first() else { return Err(Miss::NoMatch) };
    let plane = plane(graph, first, slot).ok_or(Miss::NoMatch)?;
    let lines = Lines::new(graph, anchor)?;
    for &(product, slot) in &products {
        weighs_planes(tracer, product, slot, plane)?;
    }
    let mut top = first;
    let mut because = String::new();
    loop {
        let block = Block { node: top, index: 0, tail: plane };
        match sums(tracer, anchor, &products, block) {
            Ok(Sums { channels, rounding }) => match lines.complete(channels) {
                Ok(channels) => {
                    tracer.passed.insert(top);
                    return Ok(Weighed { top, channels, plane, anchor, rounding });
                }
                Err(Incomplete::Short(short)) => because = format!("{short}, and "),
                Err(Incomplete::Wrong(wrong)) => return failed(wrong),
            },
            Err(foreign) => return failed(because + &foreign),
        }
        // Of several users, such as slices to be summed, the sum is reached through any.
        let users = graph.uses(top);
        match users.iter().find(|(user, _)| continues(graph, *user)) {
            Some((user, _)) => top = *user,
            None => {
                return failed(because + &ends(graph, top, users.first().map(|(user, _)| *user)));
            }
        }
    }
}

/// Why a sum goes no further than this value.
fn ends(graph: &Graph, id: NodeId, user: Option<NodeId>) -> String {
    match user {
        Some(user) if !graph.is_output(id) => {
            format!("{} is no sum of splits", describe(graph, user))
        }
        _ => format!("`{}` is an output of the model", graph.node(id).name),
    }
}

/// Multiplications by what the anchor computes, as (node, slot of the weights).
fn products(tracer: &mut Tracer<'_>, anchor: NodeId) -> Vec<(NodeId, usize)> {
    let graph = tracer.graph;
    let mut products = Vec::new();
    let mut work = vec![anchor];
    while let Some(id) = work.pop() {
        for (user, slot) in graph.uses(id) {
            match &graph.node(user).op {
                Op::Binary(Binary::Mul, then) if then.is_empty() => products.push((user, slot)),
                _ if only_moves(graph, user) && tracer.passed.insert(user) => work.push(user),
                _ => {}
            }
        }
    }
    products.sort_unstable();
    products.dedup_by_key(|(id, _)| *id);
    products
}

/// How many elements share a weight: those along the last axes, where the weights have extent 1.
fn plane(graph: &Graph, product: NodeId, slot: usize) -> Option<usize> {
    let (dims, weights) = (graph.ty(product).shape(), graph.ty(graph.operand(product, slot)?));
    let ones = weights.axes.iter().rev().take_while(|axis| axis.size() == 1).count();
    let plane: usize = dims.iter().skip(1).rev().take(ones).product();
    (plane > 0).then_some(plane)
}

/// Refuses a product with something else than an image of which each channel has one weight.
fn weighs_planes(tracer: &mut Tracer<'_>, product: NodeId, slot: usize, plane: usize) -> Found<()> {
    let graph = tracer.graph;
    let operands = (graph.operand(product, slot), graph.operand(product, 1 - slot));
    let (Some(weights), Some(weighed)) = operands else { return Err(Miss::NoMatch) };
    let found = describe(graph, product);
    if matches!(graph.node(weighed).op, Op::Weight(_)) {
        let constant = &graph.node(weighed).name;
        return failed(format!("{found} multiplies the weights by a constant, `{constant}`"));
    }
    let image = tracer.origin(Block { node: weighed, index: 0, tail: plane }, |_| false).node;
    match graph.ty(image).shape()[..] {
        [_, _, h, w] if h * w != plane => failed(format!(
            "the weights of {found}, {}, are not one for each channel of `{}`, {}",
            graph.ty(weights),
            graph.node(image).name,
            graph.ty(image)
        )),
        _ => Ok(()),
    }
}

fn continues(graph: &Graph, id: NodeId) -> bool {
    match &graph.node(id).op {
        Op::Binary(Binary::Add, then) => then.is_empty(),
        Op::Reduce(reduce) => reduce.kind == ReduceKind::Sum,
        op => only_moves(graph, id) && !matches!(op, Op::Concat { .. }),
    }
}

/// For each channel the terms that it is a sum of, and what weights and products are rounded to.
struct Sums {
    channels: Vec<Vec<Term>>,
    rounding: [Alike; 2],
}

/// For each plane of a value the products that it is a sum of.
fn sums(
    tracer: &mut Tracer<'_>,
    anchor: NodeId,
    products: &[(NodeId, usize)],
    top: Block,
) -> Result<Sums, String> {
    let count = image_dims(tracer.graph.ty(top.node)).unwrap_or_default().iter().product::<usize>();
    let planes = count / top.tail.max(1);
    if count == 0 || planes > LARGEST {
        return Err(format!("{} has no planes to weigh", describe(tracer.graph, top.node)));
    }
    let mut sums = Sums { channels: Vec::with_capacity(planes), rounding: Default::default() };
    let mut steps = 0;
    for index in 0..planes {
        let mut terms = Vec::new();
        // What was met since the last sum rounds a product, where one follows.
        let mut work = vec![(Block { index, ..top }, Path::new())];
        while let Some((block, mut path)) = work.pop() {
            steps += 1;
            if steps > 16 * LARGEST {
                return Err("the sum is too large to follow".into());
            }
            if let Some((_, slot)) = products.iter().find(|(id, _)| *id == block.node) {
                path.reverse();
                sums.rounding[1].take(&path);
                terms.push(term(tracer, anchor, block, *slot, &mut sums.rounding[0])?);
                continue;
            }
            let before = addends(tracer, block)?;
            if only_moves(tracer.graph, block.node) {
                path.extend(rounding(tracer.graph, block.node).map(|f| (block.node, f)));
            } else {
                path.clear();
            }
            work.extend(before.into_iter().map(|block| (block, path.clone())));
        }
        sums.channels.push(terms);
    }
    Ok(sums)
}

/// The blocks that a block is a sum of.
pub(super) fn addends(tracer: &mut Tracer<'_>, block: Block) -> Result<Vec<Block>, String> {
    let graph = tracer.graph;
    let node = graph.node(block.node);
    let found = match &node.op {
        Op::Binary(Binary::Add, then) if then.is_empty() => added(graph, block),
        Op::Reduce(reduce) if reduce.kind == ReduceKind::Sum => reduced(graph, block, reduce),
        _ if only_moves(graph, block.node) => {
            return tracer
                .back(block)
                .map(|b| vec![b])
                .ok_or_else(|| format!("{} mixes planes or images", describe(graph, block.node)));
        }
        _ => None,
    };
    let found = found.ok_or_else(|| {
        format!("the sum has an addend that is not weighed, {}", describe(graph, block.node))
    })?;
    tracer.passed.insert(block.node);
    Ok(found)
}

fn added(graph: &Graph, block: Block) -> Option<Vec<Block>> {
    let shape = graph.ty(block.node).shape();
    let operands = [0, 1].map(|slot| graph.operand(block.node, slot));
    operands
        .into_iter()
        .map(|operand| {
            let node = operand.filter(|o| graph.ty(*o).shape() == shape)?;
            Some(Block { node, ..block })
        })
        .collect()
}

fn reduced(graph: &Graph, block: Block, reduce: &Reduce) -> Option<Vec<Block>> {
    let x = graph.operand(block.node, 0)?;
    let dims = image_dims(graph.ty(x))?;
    let split = suffix(&dims, block.tail)?;
    let axes: Vec<usize> = reduce.axes.iter().map(|a| a.checked_sub(1)).collect::<Option<_>>()?;
    if axes.iter().any(|axis| *axis >= split) {
        return None;
    }
    let kept: Vec<usize> = (0..dims.len()).filter(|axis| !axes.contains(axis)).collect();
    let extents = |axes: &[usize]| axes.iter().map(|a| dims[*a]).collect::<Vec<_>>();
    let (kept_dims, over_dims) = (extents(&kept), extents(&axes));
    let mut index = vec![0; dims.len()];
    for (axis, i) in kept.iter().zip(unravel(block.index * block.tail, &kept_dims)) {
        index[*axis] = i;
    }
    let each = (0..over_dims.iter().product()).map(|at| {
        for (axis, i) in axes.iter().zip(unravel(at, &over_dims)) {
            index[*axis] = i;
        }
        Block { node: x, index: ravel(&index, &dims) / block.tail, tail: block.tail }
    });
    Some(each.collect())
}

fn term(
    tracer: &mut Tracer<'_>,
    anchor: NodeId,
    block: Block,
    slot: usize,
    of_weights: &mut Alike,
) -> Result<Term, String> {
    let graph = tracer.graph;
    let product = describe(graph, block.node);
    tracer.passed.insert(block.node);
    let weight = broadcast(graph, block, slot).filter(|b| b.tail == 1);
    let weight = weight.ok_or_else(|| {
        format!("the weights of {product} are not one for each image and channel")
    })?;
    let (weight, path) = tracer.origin_and_roundings(weight, |id| id == anchor);
    of_weights.take(&path);
    if weight.node != anchor {
        let other = describe(graph, weight.node);
        return Err(format!("{product} also takes weights from {other}"));
    }
    let plane = broadcast(graph, block, 1 - slot).filter(|b| b.tail == block.tail);
    let plane = plane.ok_or_else(|| format!("{product} weighs something else than planes"))?;
    Ok(Term { weight: weight.index, plane: tracer.origin(plane, |_| false) })
}

/// The block of an operand that goes into this block of a product.
fn broadcast(graph: &Graph, block: Block, slot: usize) -> Option<Block> {
    let node = graph.operand(block.node, slot)?;
    let (to, from) = (graph.ty(block.node), graph.ty(node));
    if to.rank() != from.rank() || to.shape().first()? != from.shape().first()? {
        return None;
    }
    let (dims, from) = (image_dims(to)?, image_dims(from)?);
    let split = suffix(&dims, block.tail)?;
    let tail = if from[split..] == dims[split..] { block.tail } else { 1 };
    if tail == 1 && from[split..].iter().any(|n| *n != 1) {
        return None;
    }
    let at = unravel(block.index * block.tail, &dims);
    let at: Vec<usize> = at.iter().zip(&from).map(|(i, n)| if *n == 1 { 0 } else { *i }).collect();
    Some(Block { node, index: ravel(&at, &from) / tail, tail })
}

/// The lines that the anchor normalizes: of one element each for a gate.
struct Lines {
    shape: Vec<usize>,
    dims: Vec<usize>,
    /// Within an image; unused for a gate.
    axis: usize,
    gate: bool,
}

impl Lines {
    fn new(graph: &Graph, anchor: NodeId) -> Found<Lines> {
        let node = graph.node(anchor);
        let dims = image_dims(&node.ty).ok_or(Miss::NoMatch)?;
        let shape = node.ty.shape();
        match node.op {
            Op::Softmax { log: true, .. } => {
                failed("the weights are made by log_softmax, expected softmax")
            }
            Op::Softmax { axis: 0, .. } => {
                failed(format!("softmax over axis 0 of {shape:?}, which is the batch"))
            }
            Op::Softmax { axis, .. } if shape[axis] < 2 => {
                failed(format!("softmax over axis {axis} of {shape:?}, where there is one element"))
            }
            Op::Softmax { axis, .. } => Ok(Lines { shape, dims, axis: axis - 1, gate: false }),
            _ => Ok(Lines { shape, dims, axis: 0, gate: true }),
        }
    }

    fn radix(&self) -> usize {
        if self.gate { 1 } else { self.dims[self.axis] }
    }

    /// The sums in the order of their lines, if each is over one whole line and every line is
    /// used.
    fn complete(&self, mut sums: Vec<Vec<Term>>) -> Result<Vec<Vec<Term>>, Incomplete> {
        let mut used = vec![false; self.dims.iter().product()];
        let mut planes = BTreeSet::new();
        for (channel, terms) in sums.iter_mut().enumerate() {
            self.check_line(channel, terms)?;
            terms.sort_by_key(|term| term.weight);
            for term in terms.iter() {
                if !planes.insert(term.plane) {
                    let because = format!("a plane of channel {channel} is weighed twice");
                    return Err(Incomplete::Wrong(because));
                }
                if std::mem::replace(&mut used[term.weight], true) {
                    let because = format!("a weight of channel {channel} weighs two planes");
                    return Err(Incomplete::Wrong(because));
                }
            }
        }
        match used.iter().filter(|used| !**used).count() {
            0 => Ok(sums),
            unused => {
                let because = format!("{unused} of {} weights weigh nothing", used.len());
                // Another gated value may be added.
                let more = if self.gate { Incomplete::Short } else { Incomplete::Wrong };
                Err(more(because))
            }
        }
    }

    /// Checks that the weights of a channel are one whole line.
    fn check_line(&self, channel: usize, terms: &[Term]) -> Result<(), Incomplete> {
        let (radix, count) = (self.radix(), terms.len());
        if self.gate {
            return match count {
                0 | 1 => Ok(()),
                _ => Err(Incomplete::Wrong(format!(
                    "channel {channel} sums {count} gated values, expected softmax over them"
                ))),
            };
        }
        let at: Vec<_> = terms.iter().map(|t| unravel(t.weight, &self.dims)).collect();
        let Some(first) = at.first() else { return Ok(()) };
        let varies = |axis: usize| at.iter().any(|i| i[axis] != first[axis]);
        let others: Vec<usize> =
            (0..self.dims.len()).filter(|a| *a != self.axis && varies(*a)).collect();
        let softmax = format!("softmax over axis {} of {:?}", self.axis + 1, self.shape);
        match others.as_slice() {
            [] if count < radix => Err(Incomplete::Short(format!(
                "channel {channel} sums {count} of the {radix} splits that {softmax} weighs"
            ))),
            [] if count > radix => Err(Incomplete::Wrong(format!(
                "channel {channel} sums {count} splits, with the {radix} weights of {softmax}"
            ))),
            [] => Ok(()),
            [other] if !varies(self.axis) => {
                Err(Incomplete::Wrong(format!("{softmax}, expected the radix axis {}", other + 1)))
            }
            _ => Err(Incomplete::Wrong(format!(
                "the weights of channel {channel} are of several lines of {softmax}"
            ))),
        }
    }
}

/// Why sums are not what the anchor weighs.
enum Incomplete {
    /// A larger sum may be.
    Short(String),
    /// No larger sum can be.
    Wrong(String),
}
