//! Which convolutions of bytes are faster in f32: by an algorithm that takes no bytes, such as Winograd's, with
//! all that is converted for it.

use std::collections::BTreeSet;

use super::algorithm::Algorithm;
use super::convs::Site;
use super::layout::Layouts;
use super::problem::ConvProblem;
use crate::ir::{NodeId, Op};

/// Those that are faster in f32, of the convolutions of a site that multiply bytes, where values lie like this
/// while all of them do.
pub(super) fn faster_in_floats(site: &Site<'_>, layouts: &Layouts) -> BTreeSet<NodeId> {
    let ways = Ways { site, layouts };
    let is_faster = |id: &NodeId| {
        let problems = [true, false].map(|multiplies_bytes| ways.problem(*id, multiplies_bytes));
        let [Some(bytes), Some(floats)] = problems else { return false };
        ways.cycles(&floats) + ways.conversions(*id, &bytes) < ways.cycles(&bytes)
    };
    site.bytes.convs().filter(is_faster).collect()
}

struct Ways<'w, 's> {
    site: &'w Site<'s>,
    layouts: &'w Layouts,
}

impl Ways<'_, '_> {
    fn problem(&self, id: NodeId, multiplies_bytes: bool) -> Option<ConvProblem> {
        let Site { graph, stages, groups, machine, .. } = self.site;
        let Op::Conv(conv) = &graph.node(id).op else { return None };
        let conv = groups.computed(id, conv);
        let view = stages.view(graph, stages.of(id));
        ConvProblem::of(view, id, &conv, **machine, multiplies_bytes, self.layouts)
    }

    /// Of the fastest way.
    fn cycles(&self, problem: &ConvProblem) -> f64 {
        let may = |a: &&dyn Algorithm| self.site.preferences.allows(*a, problem.reads);
        let ways = self.site.algorithms.all().filter(may);
        let cycles = ways.flat_map(|a| a.offers(problem)).map(|offer| offer.cycles);
        cycles.reduce(f64::min).unwrap_or(f64::INFINITY)
    }

    /// Of what is converted where a convolution of bytes is computed in f32: its input, its residual operand
    /// and its result, where these are bytes.
    fn conversions(&self, id: NodeId, problem: &ConvProblem) -> f64 {
        /// Of a step besides.
        const STEP: f64 = 5e3;
        let vectors = |elements: usize| elements.div_ceil(self.site.machine.vectors.lanes()) as f64;
        let converted =
            |elements: usize| vectors(elements) * self.site.machine.costs().converted + STEP;
        let made = self.layouts.get(&id).filter(|made| made.bytes.is_some());
        let residual = made.filter(|_| problem.residual_bytes.is_some());
        let read = problem.source.as_ref().filter(|source| source.bytes.is_some());
        let all = [read, made, residual].into_iter().flatten();
        all.map(|layout| converted(layout.elements())).sum()
    }
}
