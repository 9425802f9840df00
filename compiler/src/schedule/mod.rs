//! Graph to schedule: everything that is chosen, before anything is written down as steps. Lowering takes
//! a schedule as it is.
//!
//! - [`stages`] says how many images go through which part of the network together,
//! - [`groups`] whether narrow groups of channels are computed together,
//! - [`byte_values`] which values can be stored as bytes ([`byte_scale`]), and which convolutions can compute with
//!   them, of which those do that are faster so ([`byte_convs`]),
//! - [`byte_weights`] which dense layers have their weights stored as bytes,
//! - [`tiled`] which convolutions are computed in blocks of channels,
//! - [`layout`] which values lie in blocks of channels ([`blocked`]), and with which borders,
//! - [`convs`] which algorithm computes each convolution, with which tiles, and what is made along with
//!   its result; [`problem`] is a convolution as an [`algorithm`] sees it, [`epilogue`] what is done to its
//!   sums, [`choice`] a way to compute it as a text,
//! - [`tuning`] goes from times that were measured to choices,
//! - [`check`] checks a schedule against its graph, apart from all that decides,
//! - [`summary`] is what there is to say of a schedule with its reasons; [`text`] and [`json`] show it.

pub(crate) mod algorithm;
pub(crate) mod blocked;
mod byte_convs;
pub mod byte_scale;
pub(crate) mod byte_values;
pub(crate) mod byte_weights;
pub(crate) mod check;
pub mod choice;
mod convs;
pub mod epilogue;
mod groups;
pub mod json;
pub(crate) mod layout;
#[doc(hidden)]
pub mod mutants;
pub(crate) mod problem;
mod regions;
mod stages;
pub mod summary;
pub mod text;
mod tiled;
pub mod tuning;

pub(crate) use algorithm::ConvSchedule;
pub(crate) use choice::tuned_because;
pub use choice::{BadChoice, Choice, Choices, Chosen, Estimate};
pub use convs::Layer;
pub(crate) use stages::{Stage, View};
pub use summary::{NodeSummary, Summary};
pub(crate) use tiled::is_vast;

use crate::ir::{Graph, NodeId};
use crate::machine::{Element, Machine, Vectors};
use algorithm::Algorithm;
use byte_values::ByteValues;
use byte_weights::ByteWeights;
use convs::{Convs, Site};
use groups::Groups;
use layout::Layouts;
use stages::Stages;

/// Whether factors of products may be rounded to bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bfloat16 {
    /// They are f32.
    #[default]
    Never,
    /// Where the machine multiplies bfloat16, and that is faster.
    WhereFaster,
    /// The same; machines that cannot are refused.
    Required,
}

/// What the caller wants of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preferences {
    /// Whether algorithms may be taken that compute convolutions by other products than the definition's,
    /// such as Winograd's: faster, with other rounding errors. Named after the first that there was;
    /// Strassen's products are meant too.
    pub winograd: bool,
    /// Whether the same goes for convolutions of bytes, whose sums are else exact. What changes is less than
    /// what weights in bytes have been rounded by, but these are somebody's numbers.
    pub winograd_of_bytes: bool,
    /// Whether factors of products may be rounded to bfloat16, to three digits. Sums stay f32, and so does what lies
    /// between layers.
    pub bfloat16: Bfloat16,
    /// Whether every CPU with fused multiply-adds is to give the same bits.
    pub portable_bits: bool,
    /// What to take for convolutions instead of the estimates' choices: what a layer cannot be is as
    /// good as absent.
    pub choices: Choices,
}

impl Default for Preferences {
    fn default() -> Preferences {
        Preferences {
            winograd: true,
            winograd_of_bytes: false,
            bfloat16: Bfloat16::Never,
            portable_bits: false,
            choices: Choices::new(),
        }
    }
}

impl Preferences {
    /// The same without bfloat16, with what was chosen for layers that might have multiplied them.
    fn in_floats(&self) -> Preferences {
        let choice =
            |(key, chosen): (&String, &Chosen)| (convs::key_in_floats(key), chosen.clone());
        let choices = self.choices.iter().map(choice).collect();
        Preferences { bfloat16: Bfloat16::Never, choices, ..self.clone() }
    }

    /// Whether this algorithm may be taken for what reads such elements. The definition always may.
    fn allows(&self, algorithm: &dyn Algorithm, reads: Element) -> bool {
        let others = self.winograd || algorithm.is_definition();
        let is_exact = reads == Element::F32 || self.winograd_of_bytes;
        algorithm.has_portable_bits() || (others && is_exact && !self.portable_bits)
    }
}

/// The algorithms that there are, the definition first.
#[derive(Clone, Copy)]
pub(crate) struct Algorithms(pub(crate) &'static [&'static dyn Algorithm]);

impl Algorithms {
    /// The definition.
    fn direct(self) -> &'static dyn Algorithm {
        self.0[0]
    }

    /// All but the definition.
    fn others(self) -> impl Iterator<Item = &'static dyn Algorithm> {
        self.0.iter().skip(1).copied()
    }

    fn all(self) -> impl Iterator<Item = &'static dyn Algorithm> {
        self.0.iter().copied()
    }

    /// Whose choice this is.
    pub(crate) fn of(self, choice: &Choice) -> Option<&'static dyn Algorithm> {
        self.all().find(|algorithm| algorithm.reads(choice))
    }
}

/// Everything that is chosen for a graph on a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// As far as it is made use of.
    machine: Machine,
    stages: Stages,
    groups: Groups,
    layouts: Layouts,
    convs: Convs,
    byte_weights: ByteWeights,
}

impl Schedule {
    /// The schedule of a verified graph.
    pub(crate) fn new(
        graph: &Graph,
        machine: &Machine,
        preferences: &Preferences,
        algorithms: Algorithms,
    ) -> Schedule {
        // Not every CPU multiplies bytes, and bytes round otherwise.
        let dots = machine.dots.filter(|_| !preferences.portable_bits);
        let may_round = preferences.bfloat16 != Bfloat16::Never && !preferences.portable_bits;
        let bfloats = machine.bfloats && may_round;
        let machine = Machine { dots, bfloats, ..*machine };
        let schedule = Schedule::on(graph, &machine, preferences, algorithms);
        if bfloats && !schedule.multiplies_bfloats() {
            // Code that has none is made as for a machine that has none, whose keys of layers are others.
            return Schedule::new(graph, &machine, &preferences.in_floats(), algorithms);
        }
        let multiplies = |conv: &ConvSchedule| conv.problem.reads == Element::U8;
        if dots.is_none() || schedule.convs.values().any(multiplies) {
            return schedule;
        }
        // Nothing is stored as bytes for nothing.
        let without = Machine { dots: None, ..machine };
        Schedule::on(graph, &without, preferences, algorithms)
    }

    /// With bytes where the machine multiplies them.
    fn on(
        graph: &Graph,
        machine: &Machine,
        preferences: &Preferences,
        algorithms: Algorithms,
    ) -> Schedule {
        let stages = Stages::find(graph);
        let all = ByteValues::find(graph, &stages, machine);
        // Where channels lie has a part in the order of sums.
        let reference = Machine { vectors: Vectors::Avx2, core: None, dots: None, bfloats: false };
        let judge = if preferences.portable_bits { &reference } else { machine };
        let choose = |bytes: &ByteValues| {
            regions::choose(graph, &stages, judge, preferences, algorithms, bytes)
        };
        let first = choose(&all);
        let site = Site {
            graph,
            stages: &stages,
            groups: &first.0,
            machine,
            preferences,
            algorithms,
            bytes: &all,
            offered: Default::default(),
        };
        let in_floats = byte_convs::faster_in_floats(&site, &first.1);
        let bytes = all.without(&in_floats);
        let second = (!in_floats.is_empty()).then(|| choose(&bytes));
        let (groups, flat) = second.as_ref().unwrap_or(&first);
        let machine = &Machine { dots: machine.dots.filter(|_| !bytes.is_empty()), ..*machine };
        let offered = Default::default();
        let site = Site { groups, machine, bytes: &bytes, offered, ..site };
        let (convs, layouts) = site.decide(flat);
        let byte_weights = ByteWeights::find(graph, |id| convs.contains_key(&id));
        let (groups, _) = second.unwrap_or(first);
        Schedule { machine: *machine, stages, groups, layouts, convs, byte_weights }
    }

    /// The convolutions that something was chosen for, in the order of the plan.
    pub fn layers(&self, graph: &Graph) -> Vec<Layer> {
        let order = self.order(graph);
        let layer = |(_, id): &(usize, NodeId)| {
            let conv = self.convs.get(id)?;
            Some(Layer {
                name: graph.node(*id).name.clone(),
                key: conv.key.clone(),
                candidates: conv.candidates.clone(),
                estimates: conv.estimates.clone(),
                taken: conv.choice.clone(),
            })
        };
        order.iter().filter_map(layer).collect()
    }

    /// Cycles of one core that the convolutions in blocks take, by the estimates that they were chosen by.
    pub fn estimated_cycles(&self) -> f64 {
        self.convs.values().map(ConvSchedule::estimated_cycles).sum()
    }

    /// All nodes that compute something, each with its stage, in the order of the plan.
    pub(crate) fn order(&self, graph: &Graph) -> Vec<(usize, NodeId)> {
        let stages = self.stages.views(graph).enumerate();
        stages.flat_map(|(stage, (_, nodes))| nodes.iter().map(move |id| (stage, *id))).collect()
    }

    /// Whether something is computed with dot products of bytes.
    pub fn multiplies_bytes(&self) -> bool {
        self.machine.dots.is_some()
    }

    /// Whether something is computed with products of bfloat16.
    pub fn multiplies_bfloats(&self) -> bool {
        self.convs.values().any(|conv| conv.choice.rounds())
    }

    /// The stages, fewest images first.
    pub(crate) fn stages(&self) -> &[Stage] {
        self.stages.all()
    }

    /// What stands in the way of fewer images than the graph is for, if something does.
    pub(crate) fn in_the_way(graph: &Graph) -> Option<String> {
        stages::in_the_way(graph)
    }

    /// The graph as a stage sees it.
    pub(crate) fn view<'g>(&'g self, graph: &'g Graph, stage: usize) -> View<'g> {
        self.stages.view(graph, stage)
    }

    /// The stage of a node; as many as there are for what runs once.
    pub(crate) fn stage_of(&self, id: NodeId) -> usize {
        self.stages.of(id)
    }

    /// How the value lies in blocks, if it does.
    pub(crate) fn layout(&self, id: NodeId) -> Option<blocked::Blocked> {
        self.layouts.get(&id).copied()
    }

    /// Whether the weights of a dense layer, which a node reads in this slot, are bytes.
    pub(crate) fn has_byte_weights(&self, id: NodeId, slot: usize) -> bool {
        self.byte_weights.has(id, slot)
    }

    /// How a convolution in blocks is computed.
    pub(crate) fn conv(&self, id: NodeId) -> Option<&ConvSchedule> {
        self.convs.get(&id)
    }
}
