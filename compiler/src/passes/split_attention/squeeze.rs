//! Back from a dense layer's input to the planes it is the mean of.

use std::collections::{BTreeSet, HashMap};

use super::rounding::Alike;
use super::trace::{Block, Path, Tracer, image_dims, only_moves, suffix};
use super::weigh::{Weighed, addends};
use super::{Found, describe, failed};
use crate::ir::{Binary, Graph, NodeId, Op, Pool, PoolKind, Reduce, ReduceKind, Window};

/// Which channel of the weighted sum a mean belongs to.
pub(super) struct Squeezed {
    /// Channels, by the planes that they sum.
    by_planes: HashMap<Vec<Block>, usize>,
    /// Values with weighed planes: nothing is followed beyond.
    sources: BTreeSet<NodeId>,
    /// Elements of a plane.
    plane: usize,
    known: HashMap<Block, (usize, Path)>,
    /// What each mean is rounded to.
    pub(super) rounding: Alike,
}

/// Most addends of one mean.
const LARGEST: usize = 1 << 16;

impl Squeezed {
    pub(super) fn new(weighed: &Weighed) -> Squeezed {
        let mut by_planes = HashMap::new();
        let mut sources = BTreeSet::new();
        for (channel, terms) in weighed.channels.iter().enumerate() {
            let mut planes: Vec<Block> = terms.iter().map(|t| t.plane).collect();
            planes.sort_unstable();
            sources.extend(planes.iter().map(|p| p.node));
            by_planes.insert(planes, channel);
        }
        let (known, rounding) = (HashMap::new(), Alike::default());
        Squeezed { by_planes, sources, plane: weighed.plane, known, rounding }
    }

    /// The channel of which this element is the mean over the plane and the sum over the splits, and what rounds
    /// it after that.
    pub(super) fn channel(
        &mut self,
        tracer: &mut Tracer<'_>,
        element: Block,
    ) -> Found<(usize, Path)> {
        if let Some(channel) = self.known.get(&element) {
            return Ok(channel.clone());
        }
        let is_source = |id: NodeId| self.sources.contains(&id);
        let (first, roundings) = tracer.origin_and_roundings(element, is_source);
        let mut planes = Vec::new();
        let mut work = vec![first];
        while let Some(block) = work.pop() {
            if self.sources.contains(&block.node) && block.tail == self.plane {
                planes.push(block);
                continue;
            }
            match mean(tracer, block) {
                Some(block) => work.push(block),
                None => work.extend(self.before(tracer, block)?),
            }
            if planes.len() + work.len() > LARGEST {
                return failed("the squeeze is a sum of too many planes");
            }
        }
        planes.sort_unstable();
        let Some(&channel) = self.by_planes.get(&planes) else {
            let means = describe(tracer.graph, element.node);
            return failed(format!(
                "element {} of {means} is the mean of other planes than those that are weighed \
                 together",
                element.index
            ));
        };
        self.known.insert(element, (channel, roundings.clone()));
        Ok((channel, roundings))
    }

    fn before(&self, tracer: &mut Tracer<'_>, block: Block) -> Found<Vec<Block>> {
        let graph = tracer.graph;
        let op = &graph.node(block.node).op;
        let sums = matches!(op, Op::Binary(Binary::Add, _))
            || matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Sum);
        if !sums && !only_moves(graph, block.node) {
            let found = describe(graph, block.node);
            return failed(if self.sources.contains(&block.node) {
                format!("the squeeze of {found} is no mean over its planes")
            } else if block.tail != self.plane {
                format!("the squeeze has {found} where a mean over each plane is expected")
            } else if matches!(op, Op::Reduce(_)) {
                format!("the squeeze joins the splits by {found}, expected a sum")
            } else {
                format!("the squeeze reads {found}, which is not weighed")
            });
        }
        addends(tracer, block).or_else(failed)
    }
}

/// The block that this one is the mean of.
fn mean(tracer: &mut Tracer<'_>, block: Block) -> Option<Block> {
    let graph = tracer.graph;
    let x = graph.operand(block.node, 0)?;
    let dims = image_dims(graph.ty(x))?;
    let axes = match &graph.node(block.node).op {
        Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, .. }) => axes.clone(),
        Op::Pool(pool) if averages(pool) && has_one_window(pool, &dims) => vec![2, 3],
        _ => return None,
    };
    let first = axes.first()?.checked_sub(1)?;
    let adjacent = axes.iter().copied().eq(first + 1..=first + axes.len());
    let (kept, reduced) = dims.split_at_checked(first)?;
    let (reduced, after) = reduced.split_at_checked(axes.len())?;
    let [count, after]: [usize; 2] = [reduced, after].map(|dims| dims.iter().product());
    // The block must have all of the axes after the reduced ones: then it is a mean of whole
    // blocks, one after the other.
    let whole = after > 0 && block.tail.is_multiple_of(after);
    if !adjacent || count == 0 || !whole {
        return None;
    }
    suffix(kept, block.tail / after)?;
    tracer.passed.insert(block.node);
    Some(Block { node: x, index: block.index, tail: block.tail * count })
}

/// Whether a node is the mean of each plane, or what may stand in its place by mistake: another
/// reduction.
pub(super) fn reduces_planes(graph: &Graph, id: NodeId) -> bool {
    let planes = || graph.operand(id, 0).and_then(|x| image_dims(graph.ty(x)));
    match &graph.node(id).op {
        Op::Reduce(_) => true,
        Op::Pool(pool) => planes().is_some_and(|dims| has_one_window(pool, &dims)),
        _ => false,
    }
}

fn averages(pool: &Pool) -> bool {
    matches!(pool.kind, PoolKind::Average { .. })
}

/// Whether a pool's one window is the whole plane.
fn has_one_window(pool: &Pool, dims: &[usize]) -> bool {
    let Window { kernel, stride, .. } = pool.window;
    pool.window == Window { kernel, stride, ..Window::POINT } && dims[1..] == kernel
}
