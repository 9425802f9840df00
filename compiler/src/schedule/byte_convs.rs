//! Which convolutions of bytes are faster in f32: by an algorithm that takes no bytes, such as Winograd's, with
//! all that is converted for it.

use std::collections::BTreeSet;

use super::byte_values::ByteValues;
use super::groups::Groups;
use super::layout::Layouts;
use super::problem::ConvProblem;
use super::stages::Stages;
use super::{Algorithms, Preferences};
use crate::ir::{Graph, NodeId, Op};
use crate::machine::Machine;

/// Where convolutions are compared, and where values lie while all of them multiply bytes.
pub(super) struct Ways<'s> {
    pub(super) graph: &'s Graph,
    pub(super) stages: &'s Stages,
    pub(super) groups: &'s Groups,
    pub(super) machine: &'s Machine,
    pub(super) preferences: &'s Preferences,
    pub(super) algorithms: Algorithms,
    pub(super) bytes: &'s ByteValues,
    pub(super) layouts: &'s Layouts,
}

/// Those that are faster in f32, of the convolutions that multiply bytes.
pub(super) fn faster_in_floats(ways: &Ways<'_>) -> BTreeSet<NodeId> {
    let is_faster = |id: &NodeId| {
        let floats = ways.bytes.without(&BTreeSet::from([*id]));
        let problems = [ways.bytes, &floats].map(|bytes| ways.problem(*id, bytes));
        let [Some(bytes), Some(floats)] = problems else { return false };
        ways.cycles(&floats) + ways.conversions(*id, &bytes) < ways.cycles(&bytes)
    };
    ways.bytes.convs().filter(is_faster).collect()
}

impl Ways<'_> {
    fn problem(&self, id: NodeId, bytes: &ByteValues) -> Option<ConvProblem> {
        let Op::Conv(conv) = &self.graph.node(id).op else { return None };
        let view = self.stages.view(self.graph, self.stages.of(id));
        let conv = self.groups.computed(id, conv);
        ConvProblem::of(view, id, &conv, *self.machine, bytes, self.layouts)
    }

    /// Of the fastest way.
    fn cycles(&self, problem: &ConvProblem) -> f64 {
        let ways = self.algorithms.all().filter(|a| self.preferences.allows(*a));
        let cycles = ways.flat_map(|a| a.offers(problem)).map(|offer| offer.cycles);
        cycles.reduce(f64::min).unwrap_or(f64::INFINITY)
    }

    /// Of what is converted where a convolution of bytes is computed in f32: its input, its residual operand
    /// and its result, where these are bytes.
    fn conversions(&self, id: NodeId, problem: &ConvProblem) -> f64 {
        /// Of a step besides.
        const STEP: f64 = 5e3;
        let vectors = |elements: usize| elements.div_ceil(self.machine.vectors.lanes()) as f64;
        let converted = |elements: usize| vectors(elements) * self.machine.costs().converted + STEP;
        let made = self.layouts.get(&id).filter(|made| made.bytes.is_some());
        let residual = made.filter(|_| problem.residual_bytes.is_some());
        let read = problem.source.as_ref().filter(|source| source.bytes.is_some());
        let all = [read, made, residual].into_iter().flatten();
        all.map(|layout| converted(layout.elements())).sum()
    }
}
