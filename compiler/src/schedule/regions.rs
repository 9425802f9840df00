//! Which groups of channels are computed as one.
//!
//! A convolution of joined groups mostly gets more multiply-adds by that, and everything around it fewer.
//! So both are estimated for the *region* of each such convolution: all nodes that make or read a value
//! that would lie otherwise, and so on from those.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::blocked::Blocked;
use super::byte_values::ByteValues;
use super::epilogue::Fused;
use super::groups::Groups;
use super::layout::{self, Layouts};
use super::problem::ConvProblem;
use super::stages::{Stages, View};
use super::tiled::narrow_groups;
use super::{Algorithms, Preferences};
use crate::ir::{Conv, Graph, NodeId, Op, SplitAttention};
use crate::machine::{BLOCK, Machine};

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

/// The cheaper way for each convolution, by the estimates, and where channels lie then.
pub(super) fn choose(
    graph: &Graph,
    stages: &Stages,
    machine: &Machine,
    preferences: &Preferences,
    algorithms: Algorithms,
    bytes: &ByteValues,
) -> (Groups, Layouts) {
    let apart = layout::assign(graph, stages, &Groups::default(), bytes);
    let fitting = graph.nodes().filter_map(|id| Some((id, fitting(graph, id)?)));
    let joined: BTreeMap<_, _> = fitting.map(|(id, by)| (id, (by, String::new()))).collect();
    if joined.is_empty() {
        return (Groups::default(), apart);
    }
    let all = Groups { joined };
    let layouts = [apart, layout::assign(graph, stages, &all, bytes)];
    let [apart, joined] =
        [(Groups::default(), &layouts[0]), (all, &layouts[1])].map(|(groups, layouts)| Way {
            graph,
            stages,
            machine,
            preferences,
            algorithms,
            bytes,
            groups,
            layouts,
        });
    let mut chosen = Groups::default();
    for &id in joined.groups.joined.keys() {
        if chosen.joined.contains_key(&id) || !joined.layouts.contains_key(&id) {
            continue;
        }
        let region = region(graph, id, apart.layouts, joined.layouts);
        let cycles = [&apart, &joined].map(|way| region.iter().map(|id| way.cycles(*id)).sum());
        for member in region {
            if let Some(&(here, _)) = joined.groups.joined.get(&member) {
                let costs = Costs { together: here, cycles };
                chosen.joined.insert(member, (costs.best(), costs.to_string()));
            }
        }
    }
    let layouts = layout::assign(graph, stages, &chosen, bytes);
    (chosen, layouts)
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
fn region(graph: &Graph, conv: NodeId, apart: &Layouts, joined: &Layouts) -> BTreeSet<NodeId> {
    let moves = |id: &NodeId| match (apart.get(id), joined.get(id)) {
        (Some(a), Some(b)) => !a.is_like(b),
        _ => false,
    };
    let mut region = BTreeSet::from([conv]);
    let mut values = BTreeSet::new();
    let mut unseen = vec![conv];
    while let Some(node) = unseen.pop() {
        let operands = graph.operands(node).into_iter().map(|(_, operand)| operand);
        for value in operands.chain([node]).filter(moves) {
            if !values.insert(value) {
                continue;
            }
            let users = graph.uses(value).into_iter().map(|(user, _)| user);
            unseen.extend(users.chain([value]).filter(|id| region.insert(*id)));
        }
    }
    region
}

/// A way to compute the groups of all convolutions, and where values lie then.
struct Way<'g> {
    graph: &'g Graph,
    stages: &'g Stages,
    machine: &'g Machine,
    preferences: &'g Preferences,
    algorithms: Algorithms,
    bytes: &'g ByteValues,
    groups: Groups,
    layouts: &'g Layouts,
}

impl Way<'_> {
    /// What a node costs, roughly.
    fn cycles(&self, id: NodeId) -> f64 {
        let Some(made) = self.layouts.get(&id) else { return 0.0 };
        match &self.graph.node(id).op {
            Op::Conv(conv) => {
                let conv = self.groups.computed(id, conv);
                let residual = Fused::of(&conv.epilogue).residual;
                let source = self.copied(id, 0, |x| x.serves(conv.groups));
                let residual = residual.map_or(0.0, |s| self.copied(id, s, |x| x.is_like(made)));
                self.convolved(id, &conv) + source + residual
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

    /// The convolution itself, in the fastest way.
    fn convolved(&self, id: NodeId, conv: &Conv) -> f64 {
        let view: View<'_> = self.stages.view(self.graph, self.stages.of(id));
        let multiplies_bytes = self.bytes.are_multiplied(id);
        let of = ConvProblem::of(view, id, conv, *self.machine, multiplies_bytes, self.layouts);
        let Some(problem) = of else { return 0.0 };
        let ways = self.algorithms.all();
        let ways = ways.filter(|a| self.preferences.allows(*a, problem.reads));
        let cycles = ways.flat_map(|a| a.offers(&problem)).map(|offer| offer.cycles);
        cycles.reduce(f64::min).unwrap_or(0.0)
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
