//! A network as a person would tell it: stages of one resolution, in them blocks and single layers.
//!
//! A block is what lies between two values that everything after them is computed from: in a residual
//! network the sums at the ends of blocks are such values, and what is between two of them is a branch
//! with its shortcut. So nothing here knows what a ResNet is.

use std::collections::{BTreeMap, BTreeSet};

use cardinal_compiler::ir::{Graph, NodeId, Op};

use super::label;

/// A network in stages.
#[derive(Debug)]
pub(crate) struct Outline {
    pub(crate) stages: Vec<Stage>,
}

/// Units of one resolution.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Height and width; none for what has no pixels any more, or one.
    pub(crate) size: Option<[usize; 2]>,
    pub(crate) units: Vec<Unit>,
}

/// A layer, or a block of layers.
#[derive(Debug)]
pub(crate) struct Unit {
    /// What its layers have in common in their names; empty where they have nothing.
    pub(crate) name: String,
    /// Each after its operands; the last makes what the next unit reads.
    pub(crate) nodes: Vec<NodeId>,
    /// The longest way through them; what is not on it is beside it, as the layers of a shortcut are.
    pub(crate) main: Vec<NodeId>,
    /// Whether its result also takes in what the unit reads, as it is: the shortcut of a residual block.
    pub(crate) has_shortcut: bool,
    /// What units that are drawn alike have in common.
    pub(crate) form: String,
}

impl Unit {
    /// The nodes that are not on the longest way.
    pub(crate) fn beside(&self) -> Vec<NodeId> {
        let main: BTreeSet<&NodeId> = self.main.iter().collect();
        self.nodes.iter().filter(|id| !main.contains(id)).copied().collect()
    }

    /// Whether there is something to open.
    pub(crate) fn is_block(&self) -> bool {
        self.nodes.len() > 1
    }
}

impl Outline {
    /// The outline of a graph. Every node that is drawn is in one unit.
    pub(crate) fn of(graph: &Graph) -> Outline {
        let order = order(graph);
        let mut stages: Vec<Stage> = Vec::new();
        let all = units(graph, &order);
        for (at, nodes) in all.iter().enumerate() {
            // An input is told with what reads it.
            let is_input = |id: &NodeId| graph.node(*id).op == Op::Input;
            let maker = all[at..].iter().filter_map(|nodes| nodes.last()).find(|id| !is_input(id));
            let size = maker.or(nodes.last()).and_then(|id| size(graph, *id));
            let nodes = nodes.clone();
            let (name, form) = (common_name(graph, &nodes), form(graph, &nodes));
            let main = longest_way(graph, &nodes);
            let has_shortcut = has_shortcut(graph, &main, &nodes);
            let unit = Unit { name, nodes, main, has_shortcut, form };
            match stages.last_mut() {
                Some(stage) if stage.size == size => stage.units.push(unit),
                Some(_) | None => stages.push(Stage { size, units: vec![unit] }),
            }
        }
        Outline { stages }
    }

    /// All units in order.
    pub(crate) fn units(&self) -> impl Iterator<Item = &Unit> {
        self.stages.iter().flat_map(|stage| &stage.units)
    }
}

impl Stage {
    /// What it is called: by its resolution, as its names differ with who made the model.
    pub(crate) fn title(&self) -> String {
        match self.size {
            Some([h, w]) => format!("{h} × {w}"),
            None => "vectors".into(),
        }
    }

    /// Its units, those in a row that are drawn alike together.
    pub(crate) fn runs(&self) -> Vec<&[Unit]> {
        self.units.chunk_by(|a, b| a.is_block() && a.form == b.form).collect()
    }
}

/// Whether the node has a box: weights are lines in what uses them.
pub(crate) fn is_drawn(graph: &Graph, id: NodeId) -> bool {
    !matches!(graph.node(id).op, Op::Weight(_)) || graph.is_output(id)
}

/// The drawn nodes, each after its operands; what depends on no input comes right before what uses it.
fn order(graph: &Graph) -> Vec<NodeId> {
    let all = graph.topological();
    let mut live = BTreeSet::new();
    for &id in &all {
        let reads = |(_, operand): &(usize, NodeId)| live.contains(operand);
        if graph.node(id).op == Op::Input || graph.operands(id).iter().any(reads) {
            live.insert(id);
        }
    }
    let (mut order, mut done) = (Vec::new(), BTreeSet::new());
    let constant: Vec<NodeId> = all.iter().copied().filter(|id| !live.contains(id)).collect();
    for &id in all.iter().filter(|id| live.contains(id)).chain(&constant) {
        let mut waiting = vec![id];
        while let Some(&next) = waiting.last() {
            let operands = graph.operands(next).into_iter().map(|(_, operand)| operand);
            let missing: Vec<NodeId> =
                operands.filter(|o| is_drawn(graph, *o) && !done.contains(o)).collect();
            if missing.is_empty() {
                waiting.pop();
                if is_drawn(graph, next) && done.insert(next) {
                    order.push(next);
                }
            }
            waiting.extend(missing);
        }
    }
    order
}

/// The order cut behind each node that everything after it is computed from. A function of what a block makes
/// is a part of that block: of residual ones, the last activation.
fn units(graph: &Graph, order: &[NodeId]) -> Vec<Vec<NodeId>> {
    let mut all: Vec<Vec<NodeId>> = Vec::new();
    for unit in cut(graph, order) {
        let is_function = |id: &NodeId| matches!(graph.node(*id).op, Op::Unary(..));
        match all.last_mut() {
            Some(block) if block.len() > 1 && unit.len() == 1 && unit.iter().all(is_function) => {
                block.extend(unit);
            }
            Some(_) | None => all.push(unit),
        }
    }
    all
}

fn cut(graph: &Graph, order: &[NodeId]) -> Vec<Vec<NodeId>> {
    let places: BTreeMap<NodeId, usize> =
        order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let last_use = |id: NodeId| {
        let uses = graph.uses(id).into_iter();
        uses.filter_map(|(user, _)| places.get(&user).copied()).max()
    };
    let (mut all, mut unit, mut reach) = (Vec::new(), Vec::new(), 0);
    for (place, &id) in order.iter().enumerate() {
        unit.push(id);
        if reach <= place {
            all.push(std::mem::take(&mut unit));
        }
        reach = reach.max(last_use(id).unwrap_or(0));
    }
    all.extend((!unit.is_empty()).then_some(unit));
    all
}

fn size(graph: &Graph, id: NodeId) -> Option<[usize; 2]> {
    match graph.ty(id).shape()[..] {
        [_, _, h, w] if h > 1 || w > 1 => Some([h, w]),
        _ => None,
    }
}

/// The innermost module that all nodes are from: `layer1.0` for `/layer1/layer1.0/conv1/Conv` and others.
fn common_name(graph: &Graph, nodes: &[NodeId]) -> String {
    let mut names = nodes.iter().flat_map(|id| &graph.node(*id).from);
    let Some(first) = names.next() else { return String::new() };
    let mut common: Vec<&str> = first.split('/').collect();
    common.pop();
    for name in names {
        let parts = name.split('/');
        let same = common.iter().zip(parts).take_while(|(a, b)| *a == b).count();
        common.truncate(same);
    }
    common.last().map(|name| (*name).to_owned()).unwrap_or_default()
}

/// Whether something behind the first node of the longest way reads what is not in the unit.
fn has_shortcut(graph: &Graph, main: &[NodeId], nodes: &[NodeId]) -> bool {
    let inner: BTreeSet<&NodeId> = nodes.iter().collect();
    let later = main.iter().skip(1).flat_map(|id| graph.operands(*id));
    later.into_iter().any(|(_, o)| is_drawn(graph, o) && !inner.contains(&o))
}

/// The longest way through nodes, each of which comes after its operands.
fn longest_way(graph: &Graph, nodes: &[NodeId]) -> Vec<NodeId> {
    // Of each node, the nodes on the longest way to it, and the last before it.
    let mut ways: BTreeMap<NodeId, (usize, Option<NodeId>)> = BTreeMap::new();
    for &id in nodes {
        let operands = graph.operands(id).into_iter().map(|(_, operand)| operand);
        let before = operands.filter_map(|operand| Some((ways.get(&operand)?.0, operand)));
        let before = before.max_by_key(|(length, _)| *length);
        ways.insert(id, (before.map_or(0, |(length, _)| length) + 1, before.map(|(_, id)| id)));
    }
    let mut way = Vec::new();
    let mut next = nodes.last().copied();
    while let Some(id) = next {
        way.push(id);
        next = ways.get(&id).and_then(|(_, before)| *before);
    }
    way.reverse();
    way
}

/// What the boxes of a unit say, and which of them read which.
fn form(graph: &Graph, nodes: &[NodeId]) -> String {
    let places: BTreeMap<NodeId, usize> =
        nodes.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut text = String::new();
    for &id in nodes {
        text += &label::lines(graph, id).join("|");
        for (slot, operand) in graph.operands(id) {
            let place = places.get(&operand).map_or("-".into(), usize::to_string);
            text += &format!(" {slot}:{place}");
        }
        text.push('\n');
    }
    text
}
