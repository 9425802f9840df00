//! A plan as a Graphviz graph: steps in order, joined by the buffers they pass on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Base, Plan};
use crate::ir::dot;

/// One box a step, one edge for each buffer that a later step reads.
pub fn to_dot(plan: &Plan) -> String {
    let mut out = format!(
        "digraph {} {{\n  node [shape=box];\n",
        dot::string(std::slice::from_ref(&plan.name), "\\n")
    );
    let mut writer: BTreeMap<Base, usize> = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let label = [step.kernel.name().to_owned(), step.name.clone()];
        let _ = writeln!(out, "  s{at} [label={}];", dot::string(&label, "\\n"));
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
