//! A whole network as one drawing for print: its stages, and in them layers and folded blocks, of which those
//! in a row that are alike are one box.

use cardinal_compiler::ir::{Graph, NodeId};

use super::label;
use super::outline::{Outline, Stage, Unit};
use super::scene::{Anchor, Rect, Scene};

/// The width of a box.
const WIDTH: i32 = 384;
/// The heights of the boxes of a layer and of blocks.
const LAYER: i32 = 44;
const BLOCK: i32 = 60;
/// Between boxes, and between a stage's frame and what is in it.
const GAP: i32 = 16;
/// Left of the frames.
const LEFT: i32 = 16;
/// The title of a stage.
const TITLE: i32 = 24;
/// The most characters of the line that says what is in a block.
const LONGEST: usize = 62;

/// The drawing of a graph.
pub(crate) fn draw(graph: &Graph, outline: &Outline) -> Scene {
    let mut scene = Scene { width: WIDTH + 2 * (LEFT + GAP), ..Scene::default() };
    let mut y = LEFT;
    let mut before = None;
    for of in &outline.stages {
        y = stage(&mut scene, graph, of, y, &mut before) + GAP;
    }
    scene.height = y;
    scene
}

/// Draws a stage, and gives where it ends. `before` is the end of the box before it.
fn stage(
    scene: &mut Scene,
    graph: &Graph,
    stage: &Stage,
    top: i32,
    before: &mut Option<i32>,
) -> i32 {
    let x = LEFT + GAP;
    let mut y = top + TITLE;
    for run in stage.runs() {
        let height = if run[0].is_block() { BLOCK } else { LAYER };
        let at = Rect { x, y, width: WIDTH, height };
        if let Some(end) = before.replace(at.bottom()) {
            scene.line("edge", &[(at.center(), end), (at.center(), y)]);
        }
        draw_run(scene, graph, run, at);
        y = at.bottom() + GAP;
    }
    scene.text("caption", (x, top + 16), Anchor::Start, stage.title());
    let frame = Rect { x: LEFT, y: top, width: WIDTH + 2 * GAP, height: y - top };
    scene.rect("stage", frame);
    y
}

fn draw_run(scene: &mut Scene, graph: &Graph, run: &[Unit], at: Rect) {
    let Some(&last) = run[0].nodes.last() else { return };
    if !run[0].is_block() {
        scene.rect(label::class(&graph.node(last).op), at);
        let lines = [label::title(graph.node(last)), label::shape(graph.ty(last))];
        return scene.label(at, &lines);
    }
    scene.rect("block", at);
    let unit = &run[0];
    let times = if run.len() > 1 { format!("   ×{}", run.len()) } else { String::new() };
    let title = label::shortened(&run_name(run), 30) + &times;
    scene.label(at, &[title, ways(graph, unit), label::shape(graph.ty(last))]);
}

/// The operators of a block on its longest way, and what is beside that: `1×1 · 3×3 · 1×1 + shortcut`.
fn ways(graph: &Graph, unit: &Unit) -> String {
    let in_a_row = |nodes: &[NodeId]| {
        let names: Vec<String> = nodes.iter().map(|id| label::short(graph.node(*id))).collect();
        names.join(" · ")
    };
    let mut ways = vec![in_a_row(&unit.main), in_a_row(&unit.beside())];
    ways.retain(|way| !way.is_empty());
    ways.extend(unit.has_shortcut.then(|| "shortcut".to_owned()));
    label::shortened(&ways.join(" + "), LONGEST)
}

/// `layer1.1 – layer1.2`, or that it is a block.
pub(crate) fn run_name(run: &[Unit]) -> String {
    match run {
        [first, .., last] if !first.name.is_empty() => format!("{} – {}", first.name, last.name),
        [only] if !only.name.is_empty() => only.name.clone(),
        _ => "block".into(),
    }
}
