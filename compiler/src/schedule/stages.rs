//! Batches: how many images go through each part of a network together.
//!
//! Early layers have large activations and few weights, late ones the reverse. Run layer by layer, a
//! batch's early activations would not stay in the caches; run image by image, late weights would be
//! read again for each. So a network is cut where a single value is all that later nodes read, and
//! each stage between cuts is run for as many images as its weights and activations suggest:
//!
//! ```text
//! images   0 1 2 3 4 5 6 7
//! stage 0  . . . . . . . .      one by one
//! stage 1  └─┘ └─┘ └─┘ └─┘      two by two, each pair as soon as both are there
//! stage 2  └─────────────┘      all together
//! ```
//!
//! These are loops of the plan, so it does not grow with the number of images. What does not go image
//! by image runs once, behind all stages. Where nothing does, the loops may end after any number of images.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use crate::ir::by_image::is_by_image;
use crate::ir::{Axis, Graph, NodeId, Op, TensorType};

/// Images that run through a stage together, at most: beyond that weights are no longer what costs.
const MOST_TOGETHER: usize = 8;

/// The stages of a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Stages {
    pub(super) stages: Vec<Stage>,
    /// What runs once.
    pub(super) rest: Vec<NodeId>,
    /// The stage of each node that is of one.
    pub(super) of: BTreeMap<NodeId, usize>,
}

/// A run of nodes, and how many images run through it together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stage {
    pub(crate) nodes: Vec<NodeId>,
    /// The one value of it that later stages read, if there are such.
    pub(crate) result: Option<NodeId>,
    /// Images of a group; a multiple of the stage's before.
    pub(crate) images: usize,
    /// The types of all values that go image by image, for as many images.
    pub(super) types: BTreeMap<NodeId, TensorType>,
}

/// A graph as a stage sees it: values that go image by image have as many images as a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'g> {
    graph: &'g Graph,
    stage: Option<&'g Stage>,
}

impl Deref for View<'_> {
    type Target = Graph;

    fn deref(&self) -> &Graph {
        self.graph
    }
}

impl<'g> View<'g> {
    /// The value's type.
    pub(crate) fn ty(&self, id: NodeId) -> &'g TensorType {
        let scaled = self.stage.and_then(|stage| stage.types.get(&id));
        scaled.unwrap_or_else(|| self.graph.ty(id))
    }
}

impl Stages {
    /// The stages of a verified graph; none for a single image, and where images cannot be told apart.
    pub(crate) fn find(graph: &Graph) -> Stages {
        let computes = |id: &NodeId| !matches!(graph.node(*id).op, Op::Input | Op::Weight(_));
        let computed: Vec<NodeId> = graph.topological().into_iter().filter(computes).collect();
        let found = batch(graph).and_then(|images| {
            let cuts = Cuts::of(graph, images, &computed);
            (!cuts.stages.is_empty()).then(|| cuts.finished(graph))
        });
        found.unwrap_or(Stages { rest: computed, ..Stages::default() })
    }

    /// The stages, fewest images first.
    pub(crate) fn all(&self) -> &[Stage] {
        &self.stages
    }

    /// The graph as the stage of this number sees it; as it is, from the last on.
    pub(crate) fn view<'g>(&'g self, graph: &'g Graph, stage: usize) -> View<'g> {
        View { graph, stage: self.stages.get(stage) }
    }

    /// Every stage's view with its nodes, in order, and at last that of what runs once.
    pub(crate) fn views<'g>(
        &'g self,
        graph: &'g Graph,
    ) -> impl DoubleEndedIterator<Item = (View<'g>, &'g [NodeId])> {
        let stages = self.stages.iter().map(|stage| (Some(stage), &stage.nodes[..]));
        let all = stages.chain([(None, &self.rest[..])]);
        let all: Vec<_> = all.map(|(stage, nodes)| (View { graph, stage }, nodes)).collect();
        all.into_iter()
    }

    /// The stage of a node; as many as there are for what runs once.
    pub(crate) fn of(&self, id: NodeId) -> usize {
        self.of.get(&id).copied().unwrap_or(self.stages.len())
    }
}

/// How many images the inputs of a graph have, if these are several, and as many in each.
fn batch(graph: &Graph) -> Option<usize> {
    let first = |id: &NodeId| graph.ty(*id).axes.first().map(Axis::size);
    let images = first(graph.inputs().first()?)?;
    let is_same = graph.inputs().iter().all(|id| first(id) == Some(images));
    (images > 1 && is_same).then_some(images)
}

/// What stands in the way of fewer images than a graph is for: what it computes of several of them together.
/// `None` where nothing does, or there is one image.
pub(super) fn in_the_way(graph: &Graph) -> Option<String> {
    let several = |id: &NodeId| graph.ty(*id).axes.first().is_some_and(|axis| axis.size() > 1);
    if !graph.inputs().iter().any(several) {
        return None;
    }
    let Some(images) = batch(graph) else {
        return Some("its inputs have not all as many images".into());
    };
    let is_given = |id: NodeId| matches!(graph.node(id).op, Op::Input | Op::Weight(_));
    let nodes = graph.topological().into_iter().filter(|id| !is_given(*id));
    if let Some(id) =
        nodes.into_iter().find(|id| !is_by_image(graph, *id, images, &is_weight(graph)))
    {
        let node = graph.node(id);
        let name = node.from.first().map_or(node.name.as_str(), |origin| origin);
        return Some(format!("node {name:?} ({}) takes images together", node.op.mnemonic()));
    }
    let given = graph.outputs().iter().find(|output| is_given(output.node));
    given.map(|output| format!("output {:?} is given, not computed", output.name))
}

/// Stages while they are found.
struct Cuts {
    images: usize,
    stages: Vec<Stage>,
    /// Everything after the last cut.
    rest: Vec<NodeId>,
}

impl Cuts {
    fn of(graph: &Graph, images: usize, computed: &[NodeId]) -> Cuts {
        let mut found = Cuts { images, stages: Vec::new(), rest: Vec::new() };
        let mut left = uses_left(graph);
        let is_used = |id: &NodeId| left.get(id).is_some_and(|uses| *uses > 0);
        let mut live: BTreeSet<NodeId> = graph.inputs().iter().copied().filter(is_used).collect();
        let mut splits = true;
        for &id in computed {
            found.rest.push(id);
            splits &= is_by_image(graph, id, images, &is_weight(graph));
            for (_, operand) in graph.operands(id) {
                let Some(n) = left.get_mut(&operand) else { continue };
                *n -= 1;
                if *n == 0 {
                    live.remove(&operand);
                }
            }
            live.insert(id);
            if splits && live.len() == 1 {
                found.cut(graph, Some(id));
            }
        }
        let by_image = |output: &crate::ir::Output| {
            !matches!(graph.node(output.node).op, Op::Input | Op::Weight(_))
        };
        if splits && !found.rest.is_empty() && graph.outputs().iter().all(by_image) {
            found.cut(graph, None);
        }
        found
    }

    /// Makes a stage of what came since the last cut, or adds it to the last stage when as many images
    /// run through it together.
    fn cut(&mut self, graph: &Graph, result: Option<NodeId>) {
        let nodes = std::mem::take(&mut self.rest);
        let before = self.stages.last().map_or(1, |s| s.images);
        let images = group(together(graph, &nodes, self.images), before, self.images);
        match self.stages.last_mut().filter(|s| s.images == images) {
            Some(last) => {
                last.nodes.extend(nodes);
                last.result = result;
            }
            None => {
                self.stages.push(Stage { nodes, result, images, types: BTreeMap::new() });
            }
        }
    }

    fn finished(mut self, graph: &Graph) -> Stages {
        let nodes = self.stages.iter().flat_map(|stage| &stage.nodes);
        let by_image: Vec<NodeId> = nodes.chain(graph.inputs()).copied().collect();
        for stage in &mut self.stages {
            let images = stage.images;
            let scaled = |id: &NodeId| {
                let mut ty = graph.ty(*id).clone();
                if let Some(first) = ty.axes.first_mut() {
                    *first = Axis::plain(images);
                }
                (*id, ty)
            };
            stage.types = by_image.iter().map(scaled).collect();
        }
        let numbered = self.stages.iter().enumerate();
        let of = numbered.flat_map(|(at, stage)| stage.nodes.iter().map(move |id| (*id, at)));
        let of = of.collect();
        Stages { stages: self.stages, rest: self.rest, of }
    }
}

/// How many images make a group: about as many as wanted, a multiple of those of the stage before, and a
/// divisor of all where there is one that is not much smaller: what is beyond the last image is computed
/// for nothing.
fn group(wanted: usize, before: usize, all: usize) -> usize {
    let most = (wanted / before).max(1) * before;
    let multiples = (1..=most / before).rev().map(|n| n * before);
    let fits = |n: &usize| 2 * n > most && all.is_multiple_of(*n);
    multiples.into_iter().find(fits).unwrap_or(most)
}

/// Which nodes are constants: when this is asked, what is computed of constants has been folded.
fn is_weight(graph: &Graph) -> impl Fn(NodeId) -> bool + '_ {
    |id| matches!(graph.node(id).op, Op::Weight(_))
}

/// How often each value is read by nodes and as a result.
fn uses_left(graph: &Graph) -> BTreeMap<NodeId, usize> {
    graph.nodes().map(|id| (id, graph.uses(id).len() + graph.outputs_of(id).len())).collect()
}

/// How many images run together, a power of two or all of them: the larger weights are beside one image's
/// activations, the more. Where they are less than four times as large images run best one by one, since
/// weights are fetched ahead of their use.
fn together(graph: &Graph, nodes: &[NodeId], images: usize) -> usize {
    let weights: BTreeSet<NodeId> = nodes
        .iter()
        .flat_map(|id| graph.operands(*id))
        .map(|(_, operand)| operand)
        .filter(|id| matches!(graph.node(*id).op, Op::Weight(_)))
        .collect();
    let bytes = |id: &NodeId| graph.ty(*id).bytes();
    let weights: usize = weights.iter().map(bytes).sum();
    let activations: usize = nodes.iter().map(bytes).sum::<usize>() / images;
    let ratio = (weights / (2 * activations.max(1))).clamp(1, MOST_TOGETHER);
    let power = if ratio.is_power_of_two() { ratio } else { ratio.next_power_of_two() / 2 };
    power.min(images)
}
