//! Writes a graph as text.
//!
//! Inputs come first, in their order; every other node follows in topological order. A weight is
//! written just above its first user: a network has about as many weights as other nodes, and a
//! wall of them up front would leave the reader of node 300 to look up the shape and content of
//! its filter two screens away. For the same reason an edit that folds or permutes a weight
//! changes the paragraph of its user and nothing else. One paragraph is one node with its weights.

use std::collections::BTreeSet;
use std::convert::Infallible;

use super::attributes::{Visitor, visit};
use super::lexer::{quoted, sigiled};
use super::literal;
use super::values::Value;
use crate::ir::epilogue::{Epilogue, Step};
use crate::ir::graph::{Graph, NodeId, Origin};
use crate::ir::op::Op;
use crate::ir::types::{DType, TensorType};
use crate::ir::weight::Weight;

/// Lists of origins break before this column.
const COLUMNS: usize = 100;
/// Gaps among operands are written `_` up to this many in a row.
const GAPS: usize = 8;

/// The graph as text. Graphs that break a rule of the IR print too, as far as their names tell
/// the story; nodes of a cycle, and what depends on one, come last.
pub fn print(graph: &Graph) -> String {
    let mut out = format!("graph {} {{\n", sigiled('@', &graph.name));
    let mut first = true;
    for paragraph in paragraphs(graph) {
        if !first {
            out.push('\n');
        }
        first = false;
        print_paragraph(&mut out, graph, &paragraph);
    }
    if !first && !graph.outputs().is_empty() {
        out.push('\n');
    }
    for output in graph.outputs() {
        let name = &graph.node(output.node).name;
        out += &format!("  output {}", sigiled('%', name));
        if *name != output.name {
            out += &format!(" as {}", quoted(&output.name));
        }
        out.push('\n');
    }
    out + "}\n"
}

/// One node as it stands in the graph's text, with the weights that it uses, whoever is the first to.
pub fn print_node(graph: &Graph, id: NodeId) -> String {
    let operands = graph.operands(id).into_iter().map(|(_, operand)| operand);
    let mut paragraph: Vec<NodeId> = operands.filter(|p| is_weight(graph, *p)).collect();
    paragraph.push(id);
    let mut out = String::new();
    print_paragraph(&mut out, graph, &paragraph);
    out
}

/// Every node in the order of the text.
pub(in crate::ir) fn in_reading_order(graph: &Graph) -> Vec<NodeId> {
    paragraphs(graph).concat()
}

/// `%name`, quoted if need be.
pub(in crate::ir) fn value_name(graph: &Graph, id: NodeId) -> String {
    sigiled('%', &graph.node(id).name)
}

/// The inputs, then each node with the weights that it is the first to use.
fn paragraphs(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut all = vec![graph.inputs().to_vec()];
    let mut done: BTreeSet<NodeId> = graph.inputs().iter().copied().collect();
    let cyclic = graph.nodes();
    for id in graph.topological().into_iter().chain(cyclic) {
        let waits = is_weight(graph, id) && !graph.uses(id).is_empty();
        if waits || !done.insert(id) {
            continue;
        }
        let operands = graph.operands(id).into_iter().map(|(_, operand)| operand);
        let mut paragraph: Vec<_> =
            operands.filter(|p| is_weight(graph, *p) && done.insert(*p)).collect();
        paragraph.push(id);
        all.push(paragraph);
    }
    all.retain(|paragraph| !paragraph.is_empty());
    all
}

fn is_weight(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Weight(_))
}

fn print_paragraph(out: &mut String, graph: &Graph, paragraph: &[NodeId]) {
    let width = |text: &dyn Fn(NodeId) -> String| {
        let plain = paragraph.iter().filter(|id| is_constant(graph, **id));
        plain.map(|id| text(*id).chars().count()).max().unwrap_or(0)
    };
    let name_width = width(&|id| value_name(graph, id));
    let type_width = width(&|id| graph.ty(id).to_string());
    for &id in paragraph {
        let (node, name) = (graph.node(id), value_name(graph, id));
        let ty = node.ty.to_string();
        let line = match &node.op {
            Op::Input => format!("  input  {name:name_width$}   {ty}"),
            Op::Weight(weight) => {
                let data = weight_data(weight, &node.ty);
                format!("  weight {name:name_width$}   {ty:type_width$}   {data}")
            }
            op => format!("  {name}   {ty} = {}({})", op.mnemonic(), operand_list(graph, id)),
        };
        *out += &line;
        out.push('\n');
        for (key, value) in attributes(graph, id) {
            *out += &format!("    {key:<8} {value}\n");
        }
        print_origins(out, &node.from);
    }
}

fn is_constant(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Input | Op::Weight(_))
}

/// The contents of a weight of this type: `= 0`, `rand(7)` or `#5f0c9a1e01234567`.
pub fn weight_data(weight: &Weight, ty: &TensorType) -> String {
    if let Some(seed) = weight.seed() {
        return format!("rand({seed})");
    }
    let shown = weight.bytes(ty).and_then(|bytes| literal::write(ty, &bytes));
    match shown {
        Some(values) => format!("= {values}"),
        None => format!("#{:016x}", weight.hash()),
    }
}

fn print_origins(out: &mut String, from: &[Origin]) {
    let mut column = COLUMNS;
    for (i, origin) in from.iter().enumerate() {
        let origin = quoted(origin);
        let length = origin.chars().count() + 1;
        if i == 0 {
            *out += "    from    ";
            column = 12;
        } else if column + length > COLUMNS {
            *out += "\n            ";
            column = 12;
        }
        *out += &format!(" {origin}");
        column += length;
    }
    if !from.is_empty() {
        out.push('\n');
    }
}

/// The operands that no epilogue step names.
fn operand_list(graph: &Graph, id: NodeId) -> String {
    let op = &graph.node(id).op;
    let steps = op.epilogue().map_or(&[][..], |e| &e.steps);
    let named = |slot: usize| {
        Some(slot) >= op.epilogue_slot()
            && steps.iter().any(|s| matches!(s, Step::Binary(_, n) if *n == slot))
    };
    let mut next = 0;
    let mut all = Vec::new();
    for (slot, operand) in graph.operands(id) {
        if named(slot) {
            continue;
        }
        while next < slot && slot - next <= GAPS {
            all.push("_".to_owned());
            next += 1;
        }
        all.push(operand_at(graph, operand, slot, &mut next));
    }
    all.join(", ")
}

/// `%name`, with its slot where that is not the `next`.
fn operand_at(graph: &Graph, operand: NodeId, slot: usize, next: &mut usize) -> String {
    let name = value_name(graph, operand);
    let follows = slot == *next;
    *next = slot.saturating_add(1);
    if follows { name } else { format!("{name} at {slot}") }
}

/// The attributes of a node as they are printed, in that order; those with their default value
/// are left out.
pub fn attributes(graph: &Graph, id: NodeId) -> Vec<(&'static str, String)> {
    let mut writer = Writer { graph, id, lines: Vec::new() };
    let mut op = graph.node(id).op.clone();
    let Ok(()) = visit(&mut op, &mut writer);
    writer.lines
}

struct Writer<'g> {
    graph: &'g Graph,
    id: NodeId,
    lines: Vec<(&'static str, String)>,
}

impl Visitor for Writer<'_> {
    type Error = Infallible;

    fn required<T: Value>(&mut self, key: &'static str, value: &mut T) -> Result<(), Infallible> {
        self.lines.push((key, value.write()));
        Ok(())
    }

    fn optional<T: Value>(
        &mut self,
        key: &'static str,
        value: &mut T,
        default: T,
    ) -> Result<(), Infallible> {
        // Compared as text, to keep -0 apart from 0.
        let text = value.write();
        if text != default.write() {
            self.lines.push((key, text));
        }
        Ok(())
    }

    fn flag(
        &mut self,
        key: &'static str,
        word: &'static str,
        value: &mut bool,
    ) -> Result<(), Infallible> {
        if *value {
            self.lines.push((key, word.to_owned()));
        }
        Ok(())
    }

    fn implied(&mut self, key: &'static str, value: &'static str) -> Result<(), Infallible> {
        self.lines.push((key, value.to_owned()));
        Ok(())
    }

    fn then(&mut self, first: usize, epilogue: &mut Epilogue) -> Result<(), Infallible> {
        let mut next = first;
        let steps: Vec<_> = epilogue.steps.iter().map(|s| self.step(s, &mut next)).collect();
        if !steps.is_empty() {
            self.lines.push(("then", steps.join(", ")));
        }
        Ok(())
    }

    fn dtype(&self) -> DType {
        self.graph.ty(self.id).dtype
    }
}

impl Writer<'_> {
    fn step(&self, step: &Step, next: &mut usize) -> String {
        match *step {
            Step::Unary(function) => function.write(),
            Step::Binary(function, slot) => {
                let operand = match self.graph.operand(self.id, slot) {
                    Some(operand) => operand_at(self.graph, operand, slot, next),
                    None => self.missing(slot, next),
                };
                format!("{} {operand}", function.mnemonic())
            }
        }
    }

    fn missing(&self, slot: usize, next: &mut usize) -> String {
        let follows = slot == *next;
        *next = slot.saturating_add(1);
        if follows { "_".to_owned() } else { format!("_ at {slot}") }
    }
}
