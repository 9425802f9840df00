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

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::ir::{Axis, Graph, Node, NodeId, Op, TensorType};

/// Images that run through a stage together, at most: beyond that weights are no longer what costs.
const MOST_TOGETHER: usize = 8;

/// The graph with its stages written out for each group of images; `None` when there is one stage.
pub(super) fn staged(graph: &Graph) -> Option<Graph> {
    let stages = Stages::find(graph)?;
    let mut out = Graph::new(&graph.name);
    // Inputs keep their order, and are there even when nothing reads them.
    let shared =
        graph.inputs().iter().map(|id| (*id, out.add(graph.node(*id).clone(), &[]))).collect();
    Some(Copier { graph, stages: &stages, out, shared }.everything())
}

/// A run of nodes, and how many images run through it together.
struct Stage {
    nodes: Vec<NodeId>,
    /// The last of them: the one value that later stages read.
    result: NodeId,
    together: usize,
}

struct Stages {
    images: usize,
    input: NodeId,
    stages: Vec<Stage>,
    /// Everything after the last cut.
    rest: Vec<NodeId>,
}

impl Stages {
    fn find(graph: &Graph) -> Option<Stages> {
        let [input] = graph.inputs() else { return None };
        let images = graph.ty(*input).axes.first()?.size();
        if images < 2 {
            return None;
        }
        let computed: Vec<NodeId> = graph
            .topological()
            .into_iter()
            .filter(|id| !matches!(graph.node(*id).op, Op::Input | Op::Weight(_)))
            .collect();
        let mut found = Stages { images, input: *input, stages: Vec::new(), rest: Vec::new() };
        let mut live = BTreeSet::from([*input]);
        let mut left = uses_left(graph);
        let mut splits = true;
        for id in computed {
            found.rest.push(id);
            splits &= is_by_image(graph, id, images);
            for (_, operand) in graph.operands(id) {
                if let Some(n) = left.get_mut(&operand) {
                    *n -= 1;
                    if *n == 0 {
                        live.remove(&operand);
                    }
                }
            }
            live.insert(id);
            if splits && live.len() == 1 {
                let nodes = std::mem::take(&mut found.rest);
                found.append(graph, nodes, id);
            }
        }
        // Only stages that run for fewer images than all are worth writing out.
        while found.stages.last().is_some_and(|s| s.together >= images) {
            let nodes = found.stages.pop()?.nodes;
            found.rest.splice(0..0, nodes);
        }
        (!found.stages.is_empty()).then_some(found)
    }

    /// Adds nodes as a stage, or to the last stage when as many images run through it together.
    fn append(&mut self, graph: &Graph, nodes: Vec<NodeId>, result: NodeId) {
        let before = self.stages.last().map_or(1, |s| s.together);
        let together = together(graph, &nodes, self.images).clamp(before, self.images);
        match self.stages.last_mut().filter(|s| s.together == together) {
            Some(last) => {
                last.nodes.extend(nodes);
                last.result = result;
            }
            None => self.stages.push(Stage { nodes, result, together }),
        }
    }
}

/// How often each value is read by nodes and as a result.
fn uses_left(graph: &Graph) -> BTreeMap<NodeId, usize> {
    let results = |id: NodeId| graph.outputs().iter().filter(|o| o.node == id).count();
    graph.nodes().map(|id| (id, graph.uses(id).len() + results(id))).collect()
}

/// How many images run together, a power of two: the larger weights are beside one image's
/// activations, the more. Twice as large still run best one by one, since weights are fetched ahead
/// of their use.
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
    if ratio.is_power_of_two() { ratio } else { ratio.next_power_of_two() / 2 }
}

/// Whether a node's result for some images depends on these images alone, at the same positions of
/// its first axis.
fn is_by_image(graph: &Graph, id: NodeId, images: usize) -> bool {
    let leads = |ty: &TensorType| ty.axes.first().is_some_and(|axis| axis.size() == images);
    let node = graph.node(id);
    let (own, then) = match &node.op {
        Op::Conv(_) | Op::Pool(_) | Op::SplitAttention(_) | Op::BatchNorm { .. } => (1, true),
        Op::Reshape => (1, true),
        Op::Softmax { axis, .. } => (1, *axis != 0),
        Op::Reduce(reduce) => (1, !reduce.axes.contains(&0)),
        Op::Transpose { perm } => (1, perm.first() == Some(&0)),
        Op::Slice { starts, steps } => (1, starts.first() == Some(&0) && steps.first() == Some(&1)),
        Op::Concat { axis } => (usize::MAX, *axis != 0),
        // Elementwise: all operands are broadcast.
        Op::Unary(..) | Op::Binary(..) | Op::Where | Op::Cast { .. } => (0, true),
        _ => (0, false),
    };
    let fits = |(slot, operand): (usize, NodeId)| {
        let ty = graph.ty(operand);
        let is_weight = matches!(graph.node(operand).op, Op::Weight(_));
        if slot < own {
            return !is_weight && leads(ty);
        }
        let is_broadcast = own == 0 || node.op.epilogue_slot().is_some_and(|then| slot >= then);
        match (is_broadcast, is_weight) {
            // Constants of the operator itself.
            (false, constant) => constant,
            // Those of elements: the same ones for all images.
            (true, true) => {
                ty.rank() < node.ty.rank() || ty.axes.first().is_none_or(|a| a.size() == 1)
            }
            (true, false) => ty.rank() == node.ty.rank() && leads(ty),
        }
    };
    then && leads(&node.ty) && graph.operands(id).into_iter().all(fits)
}

/// Writes stages out.
struct Copier<'g> {
    graph: &'g Graph,
    stages: &'g Stages,
    out: Graph,
    /// Copies of what all images share: inputs and weights.
    shared: BTreeMap<NodeId, NodeId>,
}

impl Copier<'_> {
    fn everything(mut self) -> Graph {
        let (graph, stages) = (self.graph, self.stages);
        let all = 0..stages.images;
        let result = stages.stages.last().map_or(stages.input, |stage| stage.result);
        let value = self.value(stages.stages.len(), &all);
        let mut copies = BTreeMap::from([(result, value)]);
        self.nodes(&stages.rest, &mut copies, None);
        for output in graph.outputs() {
            let node = self.copied(output.node, &copies);
            self.out.add_output(&output.name, node);
        }
        self.out
    }

    /// What so many stages make of these images.
    fn value(&mut self, stages: usize, images: &Range<usize>) -> NodeId {
        let before = stages.checked_sub(1);
        let Some(stage) = before.and_then(|i| self.stages.stages.get(i)) else {
            return self.images_of_input(images);
        };
        let source = match before.and_then(|i| self.stages.stages.get(i.checked_sub(1)?)) {
            Some(earlier) => earlier.result,
            None => self.stages.input,
        };
        let mut parts = Vec::new();
        for start in images.clone().step_by(stage.together) {
            let group = start..(start + stage.together).min(images.end);
            let value = self.value(stages - 1, &group);
            let mut copies = BTreeMap::from([(source, value)]);
            self.nodes(&stage.nodes, &mut copies, Some(&group));
            parts.push(self.copied(stage.result, &copies));
        }
        if let [one] = parts[..] {
            return one;
        }
        let node = self.renamed(stage.result, Op::Concat { axis: 0 }, Some(images));
        let name = format!("{}:all", node.name);
        let operands: Vec<_> = parts.into_iter().enumerate().collect();
        self.out.add(Node { name, ..node }, &operands)
    }

    fn images_of_input(&mut self, images: &Range<usize>) -> NodeId {
        let input = self.copied(self.stages.input, &BTreeMap::new());
        if images.len() == self.stages.images {
            return input;
        }
        let rank = self.graph.ty(self.stages.input).rank();
        let mut starts = vec![0; rank];
        starts[0] = images.start;
        let slice = Op::Slice { starts, steps: vec![1; rank] };
        let node = self.renamed(self.stages.input, slice, Some(images));
        self.out.add(node, &[(0, input)])
    }

    /// Copies nodes for these images, or for all.
    fn nodes(
        &mut self,
        nodes: &[NodeId],
        copies: &mut BTreeMap<NodeId, NodeId>,
        images: Option<&Range<usize>>,
    ) {
        for &id in nodes {
            let operands = self.graph.operands(id).into_iter();
            let operands: Vec<_> =
                operands.map(|(slot, operand)| (slot, self.copied(operand, copies))).collect();
            let node = self.renamed(id, self.graph.node(id).op.clone(), images);
            copies.insert(id, self.out.add(node, &operands));
        }
    }

    /// The copy of a value: among these, or one that all images share.
    fn copied(&mut self, id: NodeId, copies: &BTreeMap<NodeId, NodeId>) -> NodeId {
        if let Some(copy) = copies.get(&id) {
            return *copy;
        }
        let (graph, out) = (self.graph, &mut self.out);
        *self.shared.entry(id).or_insert_with(|| out.add(graph.node(id).clone(), &[]))
    }

    /// The node with another operator, for these images.
    fn renamed(&self, id: NodeId, op: Op, images: Option<&Range<usize>>) -> Node {
        let node = self.graph.node(id);
        let (mut name, mut ty) = (node.name.clone(), node.ty.clone());
        if let (Some(images), Some(first)) = (images, ty.axes.first_mut()) {
            *first = Axis::plain(images.len());
            name = match images.len() {
                1 => format!("{name}:{}", images.start),
                _ => format!("{name}:{}-{}", images.start, images.end - 1),
            };
        }
        Node { name, op, ty, from: node.from.clone() }
    }
}
