//! A block of layers as a drawing: boxes and the lines between them, from what it reads to what it makes.

use std::collections::{BTreeMap, BTreeSet};

use cardinal_compiler::ir::{Graph, NodeId, Op};

use super::label;
use super::layers::{self, Size};
use super::outline::is_drawn;
use super::scene::{Anchor, Rect, Scene, Shape};

/// The width of a node's box.
const WIDTH: i32 = 184;
/// The size of what a block reads.
const SOURCE: Size = Size { width: 150, height: 24 };
/// Around the drawing.
const MARGIN: i32 = 12;
/// Under the title of an attention's box: its groups and splits.
const STRIP: i32 = 20;
/// Groups and splits that are drawn at most.
const MOST_PARTS: usize = 32;

/// Draws nodes, each of which comes after its operands. `number` says which node of the page a node is.
/// `None` where there are too many.
pub(crate) fn draw(
    graph: &Graph,
    nodes: &[NodeId],
    number: &dyn Fn(NodeId) -> Option<usize>,
) -> Option<Scene> {
    let sources = sources(graph, nodes);
    let all: Vec<NodeId> = sources.iter().chain(nodes).copied().collect();
    let places: BTreeMap<NodeId, usize> = all.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut edges: Vec<(usize, usize)> = Vec::new();
    for id in nodes {
        let operands = graph.operands(*id).into_iter();
        edges.extend(operands.filter_map(|(_, o)| Some((*places.get(&o)?, *places.get(id)?))));
    }
    edges.sort_unstable();
    edges.dedup();
    let labels: Vec<Vec<String>> = nodes.iter().map(|id| label::lines(graph, *id)).collect();
    let tall = |(id, lines): (&NodeId, &Vec<String>)| {
        let strip = if parts(graph, *id).is_some() { STRIP } else { 0 };
        Size { width: WIDTH, height: 14 + 16 * lines.len() as i32 + strip }
    };
    let sizes: Vec<Size> =
        sources.iter().map(|_| SOURCE).chain(nodes.iter().zip(&labels).map(tall)).collect();
    let layout = layers::layout(&sizes, &edges)?;
    let mut scene = Scene { width: layout.width, height: layout.height, shapes: Vec::new() };
    for (points, (from, to)) in layout.routes.into_iter().zip(&edges) {
        let ends = number(all[*from]).zip(number(all[*to]));
        scene.shapes.push(Shape::Line { class: "edge", points, ends });
    }
    for (place, (&id, &Size { width, height })) in all.iter().zip(&sizes).enumerate() {
        let (x, y) = layout.boxes[place];
        let at = Rect { x: x - width / 2, y, width, height };
        match place.checked_sub(sources.len()) {
            None => {
                scene.shapes.push(Shape::Box { class: "source", at, node: number(id) });
                let text = label::shortened(&label::shape(graph.ty(id)), 22);
                scene.text("detail", (x, y + 16), Anchor::Middle, text);
            }
            Some(inner) => node(&mut scene, graph, id, at, &labels[inner], number(id)),
        }
    }
    let mut framed = Scene::default();
    framed.place(scene, (MARGIN, MARGIN));
    (framed.width, framed.height) = (framed.width + MARGIN, framed.height + MARGIN);
    Some(framed)
}

/// What nodes read that is drawn elsewhere.
fn sources(graph: &Graph, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut sources = Vec::new();
    let inner: BTreeSet<NodeId> = nodes.iter().copied().collect();
    for (_, operand) in nodes.iter().flat_map(|id| graph.operands(*id)) {
        let is_outside = is_drawn(graph, operand) && !inner.contains(&operand);
        if is_outside && !sources.contains(&operand) {
            sources.push(operand);
        }
    }
    sources
}

fn node(
    scene: &mut Scene,
    graph: &Graph,
    id: NodeId,
    at: Rect,
    lines: &[String],
    number: Option<usize>,
) {
    let class = label::class(&graph.node(id).op);
    scene.shapes.push(Shape::Box { class, at, node: number });
    match parts(graph, id) {
        None => scene.label(at, lines),
        Some([k, r]) => {
            scene.label(Rect { height: at.height - STRIP, ..at }, lines);
            let strip =
                Rect { x: at.x + 16, y: at.bottom() - STRIP - 2, width: at.width - 32, height: 12 };
            strips(scene, strip, k, r);
        }
    }
}

/// Cardinality and radix of a Split-Attention.
fn parts(graph: &Graph, id: NodeId) -> Option<[usize; 2]> {
    match &graph.node(id).op {
        Op::SplitAttention(a) => Some([a.cardinality, a.radix]),
        _ => None,
    }
}

/// The channels as they lie, cardinality-major: groups, and in each its splits.
pub(super) fn strips(scene: &mut Scene, at: Rect, cardinality: usize, radix: usize) {
    let groups = cardinality.clamp(1, MOST_PARTS);
    let splits = radix.clamp(1, MOST_PARTS / groups.min(MOST_PARTS / 2));
    let gap = if groups > 1 { 4 } else { 0 };
    let edge = |part: usize, of: usize, room: i32| room * part as i32 / of as i32;
    let room = at.width - gap * (groups as i32 - 1);
    for group in 0..groups {
        let (from, to) = (edge(group, groups, room), edge(group + 1, groups, room));
        let left = at.x + from + gap * group as i32;
        for split in 0..splits {
            let (a, b) = (edge(split, splits, to - from), edge(split + 1, splits, to - from));
            let class = match radix {
                1 => "group",
                _ => ["split-0", "split-1", "split-2", "split-3"][split % 4],
            };
            scene.rect(class, Rect { x: left + a, y: at.y, width: b - a, height: at.height });
        }
    }
}
