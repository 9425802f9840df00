//! Which algorithm computes each convolution, and how it is cut: by estimates, unless the caller has
//! chosen otherwise.
//!
//! Layers of equal [key](Layer::key) cost the same, and have the same candidates. A choice that is
//! none of what the layer could be is as good as absent.

use std::collections::BTreeMap;

use super::batch;
use super::choice::{Choice, Choices};
use super::geometry::{Geometry, Site};
use super::groups::Groups;
use super::layout::{self, Blocked};
use super::lower::{Machine, tile_steps};
use super::tile::TileStep;
use crate::ir::text::values::Value as _;
use crate::ir::{Conv, Graph, NodeId, Op, Window};

/// A convolution whose algorithm or cut is a matter of choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The value it makes, whose name its steps have.
    pub name: String,
    /// Everything that its cost depends on besides the CPU: the vectors, shapes, the window, how
    /// channels fall into blocks, the epilogue. One line of at most
    /// [`MAX_CHOICE_BYTES`](cardinal_runtime::MAX_CHOICE_BYTES).
    pub key: String,
    /// What to try, the estimate's choice first.
    pub candidates: Vec<Choice>,
    /// What is taken.
    pub taken: Choice,
}

impl Layer {
    /// Whether something else is taken than the estimate has it.
    pub fn is_changed(&self) -> bool {
        self.candidates.first() != Some(&self.taken)
    }
}

/// The convolutions of a verified graph that [`lower`](super::lower) would plan as `machine` says,
/// in the order of the plan.
pub fn layers(graph: &Graph, machine: &Machine) -> Vec<Layer> {
    let staged = batch::staged(graph);
    let graph = staged.as_ref().unwrap_or(graph);
    let mut decisions = decide(graph, machine, &Groups::choose(graph, machine));
    let order = graph.topological();
    let layer = |id: NodeId| {
        let decision = decisions.remove(&id)?;
        let name = graph.node(id).name.clone();
        let Decision { key, geometry, choice: taken, .. } = decision;
        Some(Layer { name, key, candidates: geometry.candidates(), taken })
    };
    order.into_iter().filter_map(layer).collect()
}

/// How a convolution is computed.
pub(super) struct Decision {
    key: String,
    geometry: Geometry,
    pub(super) choice: Choice,
    /// Why, where there was a choice of algorithms or the caller chose; empty elsewhere.
    pub(super) why: String,
}

/// The decision for each convolution in blocks, with its groups computed like this.
pub(super) fn decide(
    graph: &Graph,
    machine: &Machine,
    groups: &Groups,
) -> BTreeMap<NodeId, Decision> {
    let decided = |machine: &Machine, layouts: &BTreeMap<NodeId, Blocked>| {
        let decision = |(&id, layout): (&NodeId, &Blocked)| {
            let Op::Conv(conv) = &graph.node(id).op else { return None };
            let conv = &groups.computed(id, conv);
            let site = Site { graph, id, conv, machine, layout, layouts };
            Some((id, Decision::of(&site, groups.why(id))))
        };
        layouts.iter().filter_map(decision).collect::<BTreeMap<NodeId, Decision>>()
    };
    // Borders are those that the estimates' choices read, so that a layer's key does not depend on what
    // is chosen for others. Which choices these are does not depend on borders.
    let bordered = layout::assign(graph, groups, |_, conv| direct_border(&conv.window), |_| false);
    let estimated = decided(&Machine { choices: Choices::new(), ..machine.clone() }, &bordered);
    let border = |id: NodeId, conv: &Conv| estimated.get(&id).map_or([0; 4], |d| d.border(conv));
    decided(machine, &layout::assign(graph, groups, border, |_| false))
}

impl Decision {
    /// `joined` is why its groups are computed as they are.
    fn of(site: &Site<'_>, joined: Option<&str>) -> Decision {
        let geometry = Geometry::of(site);
        let key = key(site, &geometry);
        let chosen = site.machine.choices.get(&key).filter(|c| geometry.allows(&c.choice));
        let winograd = geometry.winograd.as_ref().map(|w| w.estimate);
        // Where Winograd's way is fastest, it is not asked what halves would cost.
        let halves = geometry.halves.as_ref().map(|halves| halves.estimate);
        let halves = halves.filter(|_| winograd.is_none_or(|w| w.outputs().is_none()));
        let estimates = [winograd.map(|w| w.to_string()), halves.map(|h| h.to_string())];
        let tuned = chosen.map(|chosen| match chosen.because.as_str() {
            "" => format!("tuned: {}", chosen.choice),
            because => format!("tuned: {because}"),
        });
        let joined = joined.map(str::to_owned);
        let reasons = [joined, tuned].into_iter().chain(estimates).flatten();
        let why = reasons.collect::<Vec<_>>().join("; ");
        let choice = chosen.map_or_else(|| geometry.estimated(), |chosen| chosen.choice);
        Decision { key, geometry, choice, why }
    }

    /// Whether the result is made without a border. Users that read one have a copy.
    pub(super) fn is_flat(&self) -> bool {
        let halves = self.geometry.halves.as_ref();
        matches!(self.choice, Choice::Strassen { .. }) && halves.is_some_and(|h| h.flat)
    }

    /// The border that the convolution reads.
    pub(super) fn border(&self, conv: &Conv) -> [usize; 4] {
        match self.choice {
            Choice::Direct { .. } | Choice::Strassen { .. } => direct_border(&conv.window),
            Choice::Winograd { .. } => [0; 4],
        }
    }
}

fn direct_border(window: &Window) -> [usize; 4] {
    let ([top, left], [bottom, right]) = (window.pad_before, window.pad_after);
    [top, left, bottom, right]
}

/// The key of a layer.
fn key(site: &Site<'_>, geometry: &Geometry) -> String {
    let Site { graph, id, conv, machine, .. } = *site;
    let shape = |id: NodeId| {
        let extents: Vec<String> = graph.ty(id).shape().iter().map(usize::to_string).collect();
        extents.join("x")
    };
    let from = site.operand(0).map(shape).unwrap_or_default();
    let Geometry { groups, blocks, depth, .. } = geometry;
    let mut key = format!(
        "{} {from} to {} window {} groups {} as {groups} of {depth} to {blocks}",
        machine.vectors.name(),
        shape(id),
        conv.window.write(),
        conv.groups,
    );
    let (steps, done, _) = tile_steps(&conv.epilogue);
    let step = |step: &TileStep| match step {
        TileStep::AddOther => " add",
        TileStep::Relu => " relu",
    };
    if site.operand(2).is_some() {
        key += " bias";
    }
    key.extend(steps.iter().map(step));
    match conv.epilogue.steps.len() - done {
        0 => {}
        more => key += &format!(" and {more} more"),
    }
    if geometry.flat {
        key += " flat";
    }
    if geometry.withheld {
        key += " without winograd";
    }
    key
}
