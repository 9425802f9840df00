//! A schedule as JSON: what was chosen for each value, and why.
//!
//! ```json
//! {
//!   "schema": "cardinal.schedule/v1",
//!   "name": "main_graph",
//!   "machine": "avx512 of znver4",
//!   "stages": [{"images": 1}],
//!   "nodes": [{
//!     "name": "y",
//!     "op": "group_conv",
//!     "stage": 0,
//!     "lies": "8 blocks of 16 channels",
//!     "byte_weights": [],
//!     "conv": {
//!       "by": "F(4x4) 7x2 rows 7 images 1",
//!       "groups_joined": 1,
//!       "makes": ["sums of rows, for the squeeze"],
//!       "estimates": [{"way": "F(4x4)", "kilocycles": 812.4}],
//!       "candidates": ["F(4x4) 7x2 rows 7 images 1", "direct 14x2 by weights"],
//!       "why": "estimated kilocycles: F(4x4) 812, direct 1405"
//!     }
//!   }]
//! }
//! ```
//!
//! Nodes stand in the order of the plan. `conv` is `null` for what is no convolution in blocks; a stage
//! beyond `stages` is run once. The last of `candidates` are what `tune` would try after the first.

use serde_json::{Value, json};

use super::text::{described, machine, made_along};
use super::{ConvSchedule, Estimate, Schedule};
use crate::ir::{Graph, NodeId};

/// The schema that [`to_json`] follows.
pub const SCHEMA: &str = "cardinal.schedule/v1";

/// The schedule of a graph; keys are in a fixed order.
pub fn to_json(graph: &Graph, schedule: &Schedule) -> Value {
    let nodes = schedule.order(graph).into_iter();
    let nodes: Vec<Value> = nodes.map(|(stage, id)| node(graph, schedule, stage, id)).collect();
    let stages = schedule.stages().iter().map(|stage| json!({"images": stage.images}));
    json!({
        "schema": SCHEMA,
        "name": graph.name,
        "machine": machine(schedule),
        "stages": stages.collect::<Vec<_>>(),
        "nodes": nodes,
    })
}

fn node(graph: &Graph, schedule: &Schedule, stage: usize, id: NodeId) -> Value {
    let slots = graph.operands(id).into_iter().map(|(slot, _)| slot);
    let byte_weights: Vec<usize> =
        slots.filter(|slot| schedule.has_byte_weights(id, *slot)).collect();
    json!({
        "name": graph.node(id).name,
        "op": graph.node(id).op.mnemonic(),
        "stage": stage,
        "lies": schedule.layout(id).map_or("row-major".into(), |layout| described(&layout)),
        "byte_weights": byte_weights,
        "conv": schedule.conv(id).map(conv),
    })
}

fn conv(conv: &ConvSchedule) -> Value {
    // Estimates are no measurements: a tenth of a kilocycle is more than they know.
    let tenths = |cycles: f64| (cycles / 1e2).round() / 10.0;
    let estimate =
        |estimate: &Estimate| json!({"way": estimate.way, "kilocycles": tenths(estimate.cycles)});
    json!({
        "by": conv.choice.as_str(),
        "groups_joined": conv.joined,
        "makes": made_along(conv).collect::<Vec<_>>(),
        "estimates": conv.estimates.iter().map(estimate).collect::<Vec<_>>(),
        "candidates": conv.candidates.iter().map(|c| c.as_str()).collect::<Vec<_>>(),
        "why": conv.why,
    })
}
