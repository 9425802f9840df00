//! A graph as Graphviz: `cardinal inspect model.onnx --format dot | dot -Tsvg`.
//!
//! One box is one operator with its value, its attributes and its type. Weights are not boxes but
//! lines in the box of each user, so that the picture shows the flow of activations. Graph inputs
//! and outputs are rounded.

use std::collections::HashMap;

use cardinal_runtime::text::is_visible;

use super::graph::{Graph, NodeId};
use super::op::Op;
use super::text::{attributes, in_reading_order, value_name};

/// The graph in Graphviz's language.
pub fn to_dot(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n", string(std::slice::from_ref(&graph.name), "\\n"));
    out += "  rankdir=TB;\n  node [shape=box, fontname=\"monospace\"];\n";
    let ids = in_reading_order(graph).into_iter().filter(|id| !is_inlined(graph, *id));
    let numbers: HashMap<NodeId, usize> = ids.clone().enumerate().map(|(n, id)| (id, n)).collect();
    for id in ids.clone() {
        let style = if graph.node(id).op == Op::Input { ", style=rounded" } else { "" };
        let label = string(&label(graph, id), "\\l");
        out += &format!("  n{} [label={label}{style}];\n", numbers[&id]);
    }
    for id in ids {
        for (slot, operand) in graph.operands(id) {
            if let Some(from) = numbers.get(&operand) {
                let label = if slot == 0 { String::new() } else { format!(" [label=\"{slot}\"]") };
                out += &format!("  n{from} -> n{}{label};\n", numbers[&id]);
            }
        }
    }
    for (i, output) in graph.outputs().iter().enumerate() {
        let label = string(&[format!("output {}", output.name)], "\\l");
        out += &format!("  o{i} [label={label}, style=rounded];\n");
        if let Some(from) = numbers.get(&output.node) {
            out += &format!("  n{from} -> o{i};\n");
        }
    }
    out + "}\n"
}

/// Whether the node is a line in its users' boxes. A weight that is an output has a box.
fn is_inlined(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Weight(_)) && !graph.is_output(id)
}

fn label(graph: &Graph, id: NodeId) -> Vec<String> {
    let node = graph.node(id);
    let mut lines = vec![format!("{} = {}", value_name(graph, id), node.op.mnemonic())];
    let attributes = attributes(graph, id);
    lines.extend(attributes.into_iter().map(|(key, value)| format!("{key} {value}")));
    for (_, operand) in graph.operands(id) {
        if is_inlined(graph, operand) {
            lines.push(format!("{} {}", value_name(graph, operand), graph.ty(operand)));
        }
    }
    lines.push(node.ty.to_string());
    lines
}

/// A quoted string of lines, each ended by `end` (`\l` sets it to the left). Labels know escapes
/// and HTML entities.
pub(crate) fn string(lines: &[String], end: &str) -> String {
    let mut out = String::from("\"");
    for (i, line) in lines.iter().enumerate() {
        for c in line.chars() {
            match c {
                '"' => out += "\\\"",
                '\\' => out += "\\\\",
                '&' => out += "&amp;",
                c if is_visible(c) => out.push(c),
                c => out.extend(c.escape_unicode().flat_map(backslash_twice)),
            }
        }
        if i + 1 < lines.len() || end == "\\l" {
            out += end;
        }
    }
    out.push('"');
    out
}

fn backslash_twice(c: char) -> impl Iterator<Item = char> {
    std::iter::repeat_n(c, if c == '\\' { 2 } else { 1 })
}
