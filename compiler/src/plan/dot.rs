//! A plan as a Graphviz graph: steps in order, joined by the buffers they pass on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Base, Plan};

/// One box a step, one edge for each buffer that a later step reads.
pub fn to_dot(plan: &Plan) -> String {
    let mut out = format!("digraph {} {{\n  node [shape=box];\n", quoted(&plan.name));
    let mut writer: BTreeMap<Base, usize> = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let label = format!("{}\n{}", step.kernel.name(), step.name);
        let _ = writeln!(out, "  s{at} [label={}];", quoted(&label));
        let (written, read): (Vec<_>, Vec<_>) =
            step.arguments().partition(|(role, _)| role.is_written());
        let from = read.iter().filter_map(|(_, place)| writer.get(&place.base));
        for from in from.collect::<BTreeSet<_>>() {
            let _ = writeln!(out, "  s{from} -> s{at};");
        }
        writer.extend(written.into_iter().map(|(_, place)| (place.base, at)));
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
