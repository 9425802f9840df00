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

use super::choice::Choice;
use super::summary::{ConvSummary, NodeSummary, Summary};

/// The schema that [`to_json`] follows.
pub const SCHEMA: &str = "cardinal.schedule/v1";

/// A schedule; keys are in a fixed order.
pub fn to_json(schedule: &Summary) -> Value {
    let stages = schedule.stages.iter().map(|images| json!({ "images": images }));
    json!({
        "schema": SCHEMA,
        "name": schedule.name,
        "machine": schedule.machine,
        "stages": Value::from_iter(stages),
        "nodes": Value::from_iter(schedule.nodes.iter().map(node)),
    })
}

fn node(node: &NodeSummary) -> Value {
    json!({
        "name": node.name,
        "op": node.op,
        "stage": node.stage,
        "lies": node.lies,
        "byte_weights": node.byte_weights,
        "conv": node.conv.as_ref().map(conv),
    })
}

fn conv(conv: &ConvSummary) -> Value {
    // Estimates are no measurements: a tenth of a kilocycle is more than they know.
    let tenths = |cycles: f64| (cycles / 1e2).round() / 10.0;
    let estimates = conv.estimates.iter();
    let estimates =
        estimates.map(|(way, cycles)| json!({ "way": way, "kilocycles": tenths(*cycles) }));
    json!({
        "by": conv.by.as_str(),
        "groups_joined": conv.joined,
        "makes": conv.makes,
        "estimates": Value::from_iter(estimates),
        "candidates": Value::from_iter(conv.candidates.iter().map(Choice::as_str)),
        "why": conv.why,
    })
}
