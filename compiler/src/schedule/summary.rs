//! What there is to say of a schedule, apart from the graph that it is of: what texts and JSON show, and all that
//! is left of it in an artifact.

use std::fmt::Write as _;

use super::blocked::Blocked;
use super::{Choice, ConvSchedule, Schedule};
use crate::ir::text::values::Value as _;
use crate::ir::{Graph, NodeId};
use crate::machine::Machine;

/// A schedule, node by node.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The graph's name.
    pub name: String,
    /// The machine, as far as it is made use of: `avx512 of znver4`.
    pub machine: String,
    /// How many images go through each stage together; none where all steps run once.
    pub stages: Vec<usize>,
    /// All that is computed, in the order of the plan.
    pub nodes: Vec<NodeSummary>,
}

/// What was chosen for a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSummary {
    /// The value that it makes.
    pub name: String,
    /// Its operator's mnemonic.
    pub op: String,
    /// Its stage; as many as there are for what runs once.
    pub stage: usize,
    /// Where its value lies: `row-major`, `4 blocks of 16 channels`.
    pub lies: String,
    /// Slots whose weights are stored as bytes.
    pub byte_weights: Vec<usize>,
    /// How it is computed, if it is a convolution in blocks.
    pub conv: Option<ConvSummary>,
}

/// How a convolution in blocks is computed, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvSummary {
    /// What was taken.
    pub by: Choice,
    /// How many groups are computed together.
    pub joined: usize,
    /// What is made along with the result.
    pub makes: Vec<String>,
    /// The ways there are, each with its cycles of one core by an estimate.
    pub estimates: Vec<(String, f64)>,
    /// What else could be taken; texts do not show it.
    pub candidates: Vec<Choice>,
    /// The reason; empty where there was no choice.
    pub why: String,
}

impl Summary {
    /// What there is to say of the schedule of a graph.
    pub fn of(graph: &Graph, schedule: &Schedule) -> Summary {
        let node = |(stage, id): &(usize, NodeId)| NodeSummary {
            stage: *stage,
            ..NodeSummary::of(graph, schedule, *id)
        };
        Summary {
            name: graph.name.clone(),
            machine: machine(schedule),
            stages: schedule.stages().iter().map(|stage| stage.images).collect(),
            nodes: schedule.order(graph).iter().map(node).collect(),
        }
    }

    /// What was chosen for the node that makes this value.
    pub fn node(&self, name: &str) -> Option<&NodeSummary> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

impl NodeSummary {
    fn of(graph: &Graph, schedule: &Schedule, id: NodeId) -> NodeSummary {
        let node = graph.node(id);
        let slots = graph.operands(id).into_iter().map(|(slot, _)| slot);
        NodeSummary {
            name: node.name.clone(),
            op: node.op.mnemonic().to_owned(),
            stage: schedule.stage_of(id),
            lies: schedule.layout(id).map_or("row-major".into(), |layout| described(&layout)),
            byte_weights: slots.filter(|slot| schedule.has_byte_weights(id, *slot)).collect(),
            conv: schedule.conv(id).map(ConvSummary::of),
        }
    }
}

impl ConvSummary {
    fn of(conv: &ConvSchedule) -> ConvSummary {
        let along = [
            (conv.totals, "sums of rows, for the squeeze"),
            (conv.prepares, "sums of inputs, for the next convolution"),
        ];
        let makes = along.into_iter().filter(|(with, _)| *with);
        let estimates = conv.estimates.iter();
        ConvSummary {
            by: conv.choice.clone(),
            joined: conv.joined,
            makes: makes.map(|(_, what)| what.to_owned()).collect(),
            estimates: estimates.map(|known| (known.way.clone(), known.cycles)).collect(),
            candidates: conv.candidates.clone(),
            why: conv.why.clone(),
        }
    }
}

/// The machine, as far as it is made use of.
fn machine(schedule: &Schedule) -> String {
    let Machine { vectors, core, dots, bfloats } = schedule.machine;
    let core = core.map(|core| format!(" of {core}")).unwrap_or_default();
    let dots = if dots.is_some() { " with dot products of bytes" } else { "" };
    let bfloats = if bfloats { " with products of bfloat16" } else { "" };
    format!("{}{core}{dots}{bfloats}", vectors.name())
}

/// `4 blocks of 16 channels`, with what differs from the plain case.
fn described(layout: &Blocked) -> String {
    let blocks = match layout.blocks() {
        1 => "a block".to_owned(),
        count => format!("{count} blocks"),
    };
    let mut text = format!("{blocks} of 16 channels");
    if layout.segments > 1 {
        let _ = write!(text, " in {} segments of {}", layout.segments, layout.channels);
    }
    if !layout.is_flat() {
        let [top, left, bottom, right] = layout.halo;
        let _ = write!(text, " with a border of {top} {left} {bottom} {right}");
    }
    if let Some(bytes) = layout.bytes {
        let _ = write!(text, " of {}, multiples of {}", layout.element.name(), bytes.write());
    }
    text
}
