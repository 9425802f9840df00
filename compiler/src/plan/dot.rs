//! A plan as a Graphviz graph: steps in order, joined by the buffers they pass on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Base, Plan};

/// One box a step, one edge for each buffer that a later step reads.
pub fn to_dot(plan: &Plan) -> String {
    let mut out = format!("digraph {} {{\n  node [shape=box];\n", quoted(&plan.name));
    let mut writer: BTreeMap<(u8, usize), usize> = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let label = format!("{}\n{}", step.kernel.name(), step.name);
        let _ = writeln!(out, "  s{at} [label={}];", quoted(&label));
        for (i, place) in step.args.iter().enumerate() {
            let key = match place.base {
                Base::Buffer(b) => (0, b),
                Base::Output(o) => (1, o),
                Base::Input(_) | Base::Constant(_) | Base::Worker => continue,
            };
            if i == 0 {
                writer.insert(key, at);
            } else if let Some(from) = writer.get(&key) {
                let _ = writeln!(out, "  s{from} -> s{at};");
            }
        }
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
