//! What the page shows, as JSON.

use std::collections::HashMap;

use cardinal_compiler::ir::work::multiply_adds;
use cardinal_compiler::ir::{self, Graph, Node, NodeId};
use cardinal_compiler::passes::{Change, NearMiss};
use cardinal_compiler::pipeline::PassTrace;
use cardinal_compiler::plan::Plan;
use cardinal_compiler::schedule;
use serde_json::{Value, json};

use super::outline::{Outline, Stage, Unit, is_drawn};
use super::scene::Scene;
use super::{Subject, attention, block, label};

/// The schema of the page's data.
const SCHEMA: &str = "cardinal.page/v1";

/// Everything that is known of a model on its way to one CPU. What is not is null.
pub(super) fn page(subject: &Subject<'_>) -> Value {
    let Subject { file, before, graph, cpu, schedule, plan } = subject;
    json!({
        "schema": SCHEMA,
        "file": file,
        "cpu": cpu,
        "views": {"import": before.map(|(imported, _)| view(imported)), "fused": view(graph)},
        "passes": before.map(|(imported, passes)| of_passes(imported, passes)),
        "schedule": schedule::json::to_json(schedule),
        "plan": of_plan(plan),
    })
}

fn of_passes(imported: &Graph, passes: &[PassTrace]) -> Vec<Value> {
    let before = std::iter::once(imported).chain(passes.iter().filter_map(|p| p.after.as_ref()));
    before.zip(passes).map(|(before, pass)| of_pass(before, pass)).collect()
}

/// A graph, and how it is drawn. Numbers of nodes are places among the graph's.
fn view(graph: &Graph) -> Value {
    let all = ir::json::to_json(graph);
    let names = all["nodes"].as_array().into_iter().flatten().enumerate();
    let numbers: HashMap<&str, usize> =
        names.filter_map(|(i, node)| Some((node["name"].as_str()?, i))).collect();
    let number = |id: NodeId| numbers.get(graph.node(id).name.as_str()).copied();
    let outline = Outline::of(graph);
    let stages: Vec<Value> =
        outline.stages.iter().map(|stage| of_stage(graph, stage, &number)).collect();
    let mut figures: Vec<Scene> = Vec::new();
    let mut boxes = vec![Value::Null; numbers.len()];
    for id in graph.nodes().filter(|id| is_drawn(graph, *id)) {
        let figure = attention::draw(graph, id).map(|figure| place_of(&mut figures, figure));
        if let Some(n) = number(id) {
            boxes[n] = of_box(graph, id, figure);
        }
    }
    let figures: Vec<Value> = figures.iter().map(Scene::to_json).collect();
    json!({"graph": all, "boxes": boxes, "stages": stages, "figures": figures})
}

/// The place of a figure among all, of which many are alike.
fn place_of(figures: &mut Vec<Scene>, figure: Scene) -> usize {
    figures.iter().position(|known| *known == figure).unwrap_or_else(|| {
        figures.push(figure);
        figures.len() - 1
    })
}

fn of_box(graph: &Graph, id: NodeId, figure: Option<usize>) -> Value {
    let op = &graph.node(id).op;
    json!({
        "class": label::class(op),
        "lines": label::lines(graph, id),
        "short": label::short(graph.node(id)),
        "work": multiply_adds(graph, id),
        "figure": figure,
    })
}

fn of_stage(graph: &Graph, stage: &Stage, number: &dyn Fn(NodeId) -> Option<usize>) -> Value {
    let runs = stage.runs().into_iter();
    let runs =
        runs.map(|run| run.iter().map(|unit| of_unit(graph, unit, number)).collect::<Vec<_>>());
    json!({"title": stage.title(), "runs": runs.collect::<Vec<_>>()})
}

fn of_unit(graph: &Graph, unit: &Unit, number: &dyn Fn(NodeId) -> Option<usize>) -> Value {
    let nodes: Vec<Option<usize>> = unit.nodes.iter().map(|id| number(*id)).collect();
    let scene = if unit.is_block() { block::draw(graph, &unit.nodes, number) } else { None };
    let beside: Vec<Option<usize>> = unit.beside().into_iter().map(number).collect();
    let scene = scene.as_ref().map(Scene::to_json);
    let shortcut = unit.has_shortcut;
    json!({"name": unit.name, "nodes": nodes, "beside": beside, "shortcut": shortcut, "scene": scene})
}

fn of_pass(before: &Graph, trace: &PassTrace) -> Value {
    let count = |graph: &Graph| graph.operators().values().sum::<usize>();
    let after = trace.after.as_ref().unwrap_or(before);
    json!({
        "name": trace.pass.name,
        "summary": trace.pass.summary,
        "before": count(before),
        "after": count(after),
        "operators": [before.operators(), after.operators()],
        "changes": trace.changes.iter().map(of_change).collect::<Vec<_>>(),
        "near_misses": trace.near_misses.iter().map(of_near_miss).collect::<Vec<_>>(),
    })
}

fn of_change(change: &Change) -> Value {
    let node = |node: &Node| json!([node.op.mnemonic(), node.name]);
    json!({
        "at": change.at,
        "removed": change.removed.iter().map(node).collect::<Vec<_>>(),
        "made": change.made.iter().map(node).collect::<Vec<_>>(),
        "by": change.by,
    })
}

fn of_near_miss(miss: &NearMiss) -> Value {
    let from: Vec<&str> = miss.from.iter().map(|node| &**node).collect();
    json!({"place": miss.place(), "value": miss.value, "because": miss.because, "from": from})
}

fn of_plan(plan: &Plan) -> Value {
    let steps = plan.steps.iter().map(|step| json!([step.name, step.kernel.name(), step.stage]));
    let buffers = plan.buffers.iter().map(|b| json!([b.name, b.bytes, b.offset, b.first, b.last]));
    json!({
        "arena_bytes": plan.arena_bytes,
        "worker_bytes": plan.worker_bytes,
        "weight_bytes": plan.weight_bytes,
        "stages": plan.stages,
        "steps": steps.collect::<Vec<_>>(),
        "buffers": buffers.collect::<Vec<_>>(),
    })
}
