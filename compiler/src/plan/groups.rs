//! Groups of channels that are computed as one, so that channels lie densely.
//!
//! A group whose channels are no multiple of 16 begins at a block of its own, filled up with zeros, and
//! whatever makes or reads these channels computes the zeros too. Where a few neighbouring groups
//! together are whole blocks, they can be one group, with zeros between the inputs of one and the
//! outputs of another:
//!
//! ```text
//! 4 groups of 24     24 · 8   24 · 8   24 · 8   24 · 8      8 blocks
//! joined by 2        24   24           24   24              6 blocks
//! ```
//!
//! The convolution itself mostly gets more multiply-adds by that, and everything around it fewer. So
//! both are estimated for the *region* of each such convolution: all nodes that make or read a value
//! that would lie otherwise, and so on from those.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::cost::Direct;
use super::cut::joined_rows;
use super::layout::{self, Blocked, narrow_groups};
use super::lower::{Machine, tile_steps};
use super::tile::BLOCK;
use super::winograd::Estimate;
use crate::ir::{Conv, Graph, NodeId, Op, SplitAttention};

/// How the groups of convolutions are computed where they could be joined: by how many, and why.
#[derive(Debug, Default)]
pub(super) struct Groups {
    joined: BTreeMap<NodeId, (usize, String)>,
}

/// Estimates for a region, in cycles of one core.
struct Costs {
    /// How many groups could be one.
    together: usize,
    /// With groups as they are, and with those joined.
    cycles: [f64; 2],
}

impl Costs {
    /// How many groups are one.
    fn best(&self) -> usize {
        if self.cycles[1] < self.cycles[0] { self.together } else { 1 }
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [apart, joined] = self.cycles.map(|c| (c / 1e3).round());
        let together = self.together;
        write!(
            f,
            "estimated kilocycles with what is around: groups {joined} joined by {together}, "
        )?;
        write!(f, "{apart} apart")
    }
}

impl Groups {
    /// The cheaper way for each convolution, by the estimates.
    pub(super) fn choose(graph: &Graph, machine: &Machine) -> Groups {
        let order = graph.topological();
        let fitting = order.iter().filter_map(|id| Some((*id, fitting(graph, *id)?)));
        let joined: BTreeMap<_, _> = fitting.map(|(id, by)| (id, (by, String::new()))).collect();
        if joined.is_empty() {
            return Groups::default();
        }
        // Borders have no part in where channels lie.
        let ways = [Groups::default(), Groups { joined }].map(|groups| {
            let layouts = layout::assign(graph, &groups, |_, _| [0; 4], |_| false);
            Way { graph, machine, groups, layouts }
        });
        let [apart, all] = &ways;
        let mut chosen = Groups::default();
        for &id in all.groups.joined.keys() {
            if chosen.joined.contains_key(&id) || !all.layouts.contains_key(&id) {
                continue;
            }
            let region = region(graph, id, &apart.layouts, &all.layouts);
            let cycles = [apart, all].map(|way| region.iter().map(|id| way.cycles(*id)).sum());
            for member in region {
                if let Some(&(here, _)) = all.groups.joined.get(&member) {
                    let costs = Costs { together: here, cycles };
                    chosen.joined.insert(member, (costs.best(), costs.to_string()));
                }
            }
        }
        chosen
    }

    /// How many groups of a convolution are computed as one.
    pub(super) fn together(&self, id: NodeId) -> usize {
        self.joined.get(&id).map_or(1, |(by, _)| *by)
    }

    /// Groups of a convolution as they are computed.
    pub(super) fn of(&self, id: NodeId, conv: &Conv) -> usize {
        conv.groups / self.together(id)
    }

    /// The convolution with its groups as they are computed. Its weight stays as it is.
    pub(super) fn computed(&self, id: NodeId, conv: &Conv) -> Conv {
        Conv { groups: self.of(id, conv), ..conv.clone() }
    }

    /// Why, where there was a choice.
    pub(super) fn why(&self, id: NodeId) -> Option<&str> {
        self.joined.get(&id).map(|(_, why)| why.as_str())
    }
}

/// How many neighbouring groups of a convolution are whole blocks of channels on both sides, if its
/// groups are not, and are no parts of blocks either.
fn fitting(graph: &Graph, id: NodeId) -> Option<usize> {
    let Op::Conv(conv) = &graph.node(id).op else { return None };
    if conv.groups < 2 || narrow_groups(graph, id, conv).is_some() {
        return None;
    }
    let shape = graph.ty(graph.operand(id, 1)?).shape();
    let [read, made] = [shape[1], shape[0] / conv.groups];
    let whole = |by: &usize| [read, made].iter().all(|n| (n * by).is_multiple_of(BLOCK));
    // So many of any width are.
    let fewest = (1..=BLOCK).find(whole)?;
    (fewest > 1 && conv.groups.is_multiple_of(fewest)).then_some(fewest)
}

/// The nodes that make or read values which lie otherwise in one of two layouts, from a convolution on.
fn region(
    graph: &Graph,
    conv: NodeId,
    apart: &BTreeMap<NodeId, Blocked>,
    joined: &BTreeMap<NodeId, Blocked>,
) -> BTreeSet<NodeId> {
    let moves = |id: &NodeId| match (apart.get(id), joined.get(id)) {
        (Some(a), Some(b)) => !a.is_like(b),
        _ => false,
    };
    let mut region = BTreeSet::from([conv]);
    let mut unseen = vec![conv];
    while let Some(node) = unseen.pop() {
        let operands = graph.operands(node).into_iter().map(|(_, operand)| operand);
        for value in operands.chain([node]).filter(moves) {
            let users = graph.uses(value).into_iter().map(|(user, _)| user);
            unseen.extend(users.chain([value]).filter(|id| region.insert(*id)));
        }
    }
    region
}

/// A way to compute the groups of all convolutions, and where values lie then.
struct Way<'g> {
    graph: &'g Graph,
    machine: &'g Machine,
    groups: Groups,
    layouts: BTreeMap<NodeId, Blocked>,
}

impl Way<'_> {
    /// What a node costs, roughly.
    fn cycles(&self, id: NodeId) -> f64 {
        let Some(made) = self.layouts.get(&id) else { return 0.0 };
        match &self.graph.node(id).op {
            Op::Conv(conv) => {
                let conv = self.groups.computed(id, conv);
                let (_, _, other) = tile_steps(&conv.epilogue);
                let source = self.copied(id, 0, |x| x.serves(conv.groups));
                let other = other.map_or(0.0, |slot| self.copied(id, slot, |x| x.is_like(made)));
                self.convolved(id, &conv, made) + source + other
            }
            Op::Slice { .. } => 0.0,
            Op::SplitAttention(op) => {
                // u is read for the means and again.
                let u = SplitAttention::U;
                2.0 * self.moved(id) + self.copied(id, u, |x| x.is_of_splits(op))
            }
            _ => {
                let slots = self.graph.operands(id).into_iter().map(|(slot, _)| slot);
                let copies = slots.map(|slot| self.copied(id, slot, |x| x.is_like(made)));
                self.moved(id) + copies.sum::<f64>()
            }
        }
    }

    fn convolved(&self, id: NodeId, conv: &Conv, made: &Blocked) -> f64 {
        let Some(x) = self.graph.operand(id, 0) else { return 0.0 };
        let read = match self.layouts.get(&x).filter(|layout| layout.serves(conv.groups)) {
            Some(layout) => layout.blocks() * BLOCK,
            None => layout::for_groups(self.graph.ty(x), conv.groups, [0; 4]).blocks() * BLOCK,
        };
        let channels = [read, made.blocks() * BLOCK].map(|n| n / conv.groups);
        let vectors = self.machine.vectors;
        let estimate = Estimate::of(vectors, conv, channels, made.size, made.images);
        match estimate.filter(|_| self.machine.winograd) {
            Some(estimate) => estimate.least(),
            None => {
                let joined = if conv.window.is_point() { joined_rows(made.size) } else { 1 };
                let [h, w] = made.size;
                let direct = Direct {
                    vectors,
                    groups: conv.groups,
                    channels,
                    taps: conv.window.kernel.iter().product(),
                    rows: made.images * h / joined,
                    columns: joined * w,
                };
                direct.cycles()
            }
        }
    }

    /// A pass over a node's operands and result: a vector a cycle.
    fn moved(&self, id: NodeId) -> f64 {
        let operands = self.graph.operands(id).into_iter().map(|(_, operand)| operand);
        let values = operands.chain([id]).filter_map(|id| self.layouts.get(&id));
        values.map(Blocked::elements).sum::<usize>() as f64 / self.machine.vectors.lanes() as f64
    }

    /// Bringing an operand that lies in blocks into another layout, by way of row-major memory: an
    /// element at a time, if it does not fit.
    fn copied(&self, id: NodeId, slot: usize, fits: impl Fn(&Blocked) -> bool) -> f64 {
        let x = self.graph.operand(id, slot).and_then(|x| self.layouts.get(&x));
        x.filter(|x| !fits(x)).map_or(0.0, |x| 2.0 * x.elements() as f64)
    }
}
