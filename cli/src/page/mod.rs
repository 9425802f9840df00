//! `inspect --format html` and `--format svg`: a model to look at.
//!
//! - [`outline`] folds a graph into stages and blocks, [`label`] says what boxes say,
//! - [`layers`] finds places for the boxes of a block, and [`block`] draws it,
//! - [`attention`] draws a Split-Attention as the paper does, [`network`] a whole network for print,
//! - [`scene`] is what a drawing is made of, as SVG and as JSON,
//! - [`data`] is everything on the page, and `page.html`, `page.css` and the scripts beside it show it.
//!
//! All places are found here; the page only draws. Names come from strangers' files: the page puts them in as
//! text, never as markup.

mod attention;
mod block;
mod data;
mod label;
mod layers;
mod network;
mod outline;
mod scene;

use cardinal_compiler::ir::{Graph, NodeId, Op};
use cardinal_compiler::pipeline::PassTrace;
use cardinal_compiler::plan::Plan;
use cardinal_compiler::schedule::Summary;
use cardinal_runtime::text;
use serde_json::{Value, json};

use outline::Outline;
use scene::Scene;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// In the order in which they define what the next ones use.
const SCRIPTS: [&str; 6] = [
    include_str!("scripts/draw.js"),
    include_str!("scripts/network.js"),
    include_str!("scripts/detail.js"),
    include_str!("scripts/passes.js"),
    include_str!("scripts/plan.js"),
    include_str!("scripts/page.js"),
];

/// What the page shows: a model on its way to one CPU.
pub(crate) struct Subject<'a> {
    /// The file's name.
    pub(crate) file: &'a str,
    /// The graph before all passes, and what they did; none of an artifact, which does not say.
    pub(crate) before: Option<(&'a Graph, &'a [PassTrace])>,
    /// The graph after them.
    pub(crate) graph: &'a Graph,
    /// The CPU.
    pub(crate) cpu: String,
    pub(crate) schedule: &'a Summary,
    pub(crate) plan: &'a Plan,
}

/// Where the page opens.
pub(crate) struct Opening<'a> {
    /// The tab: `import`, `passes`, `fused`, `schedule` or `plan`.
    pub(crate) tab: &'static str,
    /// The pass that is shown first.
    pub(crate) pass: Option<&'a str>,
    /// The value that is shown first.
    pub(crate) node: Option<&'a str>,
}

/// One page that shows a model from its import, or of an artifact from its passes, to its plan, and needs nothing but
/// itself.
pub(crate) fn html(subject: &Subject<'_>, opening: &Opening<'_>) -> String {
    let mut data = data::page(subject);
    data["open"] = json!({"tab": opening.tab, "pass": opening.pass, "node": opening.node});
    let script = SCRIPTS.concat();
    let mut page = String::new();
    // Not by replacing one after the other: what is put in could hold the next mark.
    for piece in PAGE.split("<!-- ") {
        let (mark, rest) = piece.split_once(" -->").unwrap_or(("", piece));
        page += match mark {
            "style" => STYLE,
            "script" => &script,
            _ => "",
        };
        if mark == "data" {
            page += &in_script(&data);
        }
        page += rest;
    }
    page
}

/// JSON that can stand in a script element: nothing in it ends that, begins a comment or is a line end. Names are as they
/// are printed, so no character of theirs does more than show.
fn in_script(data: &Value) -> String {
    let json = text::json(&shown(data).to_string());
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn shown(data: &Value) -> Value {
    match data {
        Value::String(string) => text::line(string).into(),
        Value::Array(all) => all.iter().map(shown).collect(),
        Value::Object(all) => all.iter().map(|(key, value)| (key.clone(), shown(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => data.clone(),
    }
}

/// A drawing of a graph for print: all of it, folded, beside its first Split-Attention.
pub(crate) fn svg(graph: &Graph) -> String {
    let mut scene = network::draw(graph, &Outline::of(graph));
    let first = graph.topological().into_iter().find_map(|id| attention::draw(graph, id));
    if let Some(figure) = first {
        let beside = (scene.width + 8, 0);
        scene.place(figure, beside);
    }
    scene.to_svg(&graph.name)
}

/// A drawing of what a name means: a Split-Attention as in the paper, or the block that a node is in. It is the
/// name of a value, of an ONNX node, or of an operator, whose first node is meant. `None` where it is none of
/// these, or what it means is too large to be drawn.
pub(crate) fn svg_of(graph: &Graph, name: &str) -> Option<String> {
    let id = find(graph, name)?;
    let scene = attention::draw(graph, id).or_else(|| around(graph, id))?;
    Some(scene.to_svg(&graph.node(id).name))
}

/// The value that a name means, as [`svg_of`] says.
pub(crate) fn named<'g>(graph: &'g Graph, name: &str) -> Option<&'g str> {
    Some(graph.node(find(graph, name)?).name.as_str())
}

fn find(graph: &Graph, name: &str) -> Option<NodeId> {
    let is_origin = |id: &NodeId| graph.node(*id).from.iter().any(|origin| **origin == *name);
    let is_operator = |id: &NodeId| graph.node(*id).op.mnemonic() == name;
    let nodes = graph.topological();
    let find = |is: &dyn Fn(&NodeId) -> bool| nodes.iter().copied().find(|id| is(id));
    let named = graph.find(name).filter(|id| !matches!(graph.node(*id).op, Op::Weight(_)));
    named.or_else(|| find(&is_origin)).or_else(|| find(&is_operator))
}

/// The block of a node.
fn around(graph: &Graph, id: NodeId) -> Option<Scene> {
    let outline = Outline::of(graph);
    let unit = outline.units().find(|unit| unit.nodes.contains(&id))?;
    block::draw(graph, &unit.nodes, &|_| None)
}
