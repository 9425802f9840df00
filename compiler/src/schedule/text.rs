//! The text of a schedule: what was chosen for each value, and why. For reading; nothing parses it.

use std::fmt::Write as _;

use super::blocked::Blocked;
use super::{ConvSchedule, Estimate, Schedule};
use crate::ir::text::lexer::{quoted, sigiled};
use crate::ir::text::values::Value as _;
use crate::ir::{Graph, NodeId};
use crate::machine::Machine;

/// The schedule of a graph.
pub fn print(graph: &Graph, schedule: &Schedule) -> String {
    let mut out = format!("schedule {} {{\n", sigiled('@', &graph.name));
    let _ = writeln!(out, "  machine   {}", machine(schedule));
    let mut stage = None;
    for (at, id) in schedule.order(graph) {
        if stage.replace(at) != Some(at) {
            print_stage(&mut out, schedule, at);
        }
        print_node(&mut out, graph, schedule, id);
    }
    out.push_str("}\n");
    out
}

/// What was chosen for one node.
pub fn node(graph: &Graph, schedule: &Schedule, id: NodeId) -> String {
    let mut out = String::new();
    print_node(&mut out, graph, schedule, id);
    out.trim_start_matches('\n').to_owned()
}

/// The machine, as far as it is made use of.
pub(super) fn machine(schedule: &Schedule) -> String {
    let Machine { vectors, core, dots, bfloats } = schedule.machine;
    let core = core.map(|core| format!(" of {core}")).unwrap_or_default();
    let dots = if dots.is_some() { " with dot products of bytes" } else { "" };
    let bfloats = if bfloats { " with products of bfloat16" } else { "" };
    format!("{}{core}{dots}{bfloats}", vectors.name())
}

fn print_stage(out: &mut String, schedule: &Schedule, stage: usize) {
    match schedule.stages().get(stage) {
        Some(stage) if stage.images == 1 => out.push_str("\n  stage     image by image\n"),
        Some(stage) => {
            let _ = writeln!(out, "\n  stage     {} images at a time", stage.images);
        }
        None if schedule.stages().is_empty() => {}
        None => out.push_str("\n  stage     all images at once\n"),
    }
}

fn print_node(out: &mut String, graph: &Graph, schedule: &Schedule, id: NodeId) {
    let node = graph.node(id);
    let lies = schedule.layout(id).map_or("row-major".into(), |layout| described(&layout));
    let _ = writeln!(out, "\n  {} = {}", sigiled('%', &node.name), node.op.mnemonic());
    let _ = writeln!(out, "    lies      {lies}");
    let slots = graph.operands(id).into_iter().map(|(slot, _)| slot);
    for slot in slots.filter(|slot| schedule.has_byte_weights(id, *slot)) {
        let _ = writeln!(
            out,
            "    weights   those of slot {slot} are multiples of a scale, stored as i8"
        );
    }
    if let Some(conv) = schedule.conv(id) {
        print_conv(out, conv);
    }
}

/// `4 blocks of 16 channels`, with what differs from the plain case.
pub(super) fn described(layout: &Blocked) -> String {
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

fn print_conv(out: &mut String, conv: &ConvSchedule) {
    let _ = writeln!(out, "    by        {}", conv.choice);
    if conv.joined > 1 {
        let _ = writeln!(out, "    groups    {} joined to one", conv.joined);
    }
    for what in made_along(conv) {
        let _ = writeln!(out, "    makes     {what}");
    }
    for Estimate { way, cycles, .. } in &conv.estimates {
        let _ = writeln!(out, "    estimate  {way} {} kilocycles", (cycles / 1e3).round());
    }
    if !conv.why.is_empty() {
        let _ = writeln!(out, "    why       {}", quoted(&conv.why));
    }
}

/// What is made along with the result.
pub(super) fn made_along(conv: &ConvSchedule) -> impl Iterator<Item = &'static str> {
    let all = [
        (conv.totals, "sums of rows, for the squeeze"),
        (conv.prepares, "sums of inputs, for the next convolution"),
    ];
    all.into_iter().filter(|(with, _)| *with).map(|(_, what)| what)
}
