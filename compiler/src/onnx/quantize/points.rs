//! Which layers are quantized, and which values are rounded for them.
//!
//! A convolution computes with u8 what it reads, adds in f32 a bias, what its activation takes and a
//! residual, and rounds the result once. So between a convolution and the activation or the addition
//! that only it feeds nothing is rounded. Rounded are
//!
//! - what quantized convolutions read, and what pools and copies make that of;
//! - the residual of an addition, which is the operand with fewer convolutions before it;
//! - results of quantized convolutions, unless only means over whole planes are taken of them.
//!
//! A value of one pixel never is: this leaves attention in float, from its means to its weights. Of dense
//! layers, which read such values, only the weights are rounded, most of whose time it takes to read them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use onnx_protobuf::NodeProto;

use super::network::{Links, Network, is};

/// Functions of one element that a convolution applies to its result.
const ACTIVATIONS: &[&str] =
    &["Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"];
/// What gives elements of its operand and no others.
const PICKS: &[&str] = &["MaxPool", "Slice", "Split", "Concat"];
/// What convolutions may read through.
const PASSES: &[&str] = &["MaxPool", "Slice", "Split", "Concat", "AveragePool", "Pad"];
/// What takes one number of a plane.
const MEANS: &[&str] = &["GlobalAveragePool", "GlobalMaxPool", "ReduceMean"];

/// Fewer weights are not worth a scale for each channel.
const LEAST_WEIGHTS: usize = 1024;
/// Nor are so few for each.
const LEAST_DEPTH: usize = 16;

/// A value that is rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its name.
    pub name: String,
    /// The name of the point whose grid it takes: its own, or where it only has elements of another
    /// value or that has its elements, that one's.
    pub grid: String,
}

/// All that is decided about a network.
#[derive(Debug)]
pub(super) struct Placement {
    /// The convolutions, by node.
    pub(super) convs: Vec<usize>,
    /// The dense layers, by node, with the axis of their weights that has the channels of the result.
    pub(super) dense: BTreeMap<usize, usize>,
    pub(super) points: Vec<Point>,
}

impl Placement {
    /// Decides about a network in which the nodes named in `kept` stay in float.
    pub(super) fn of(network: &Network, kept: &BTreeSet<String>) -> Placement {
        let view = View::new(network, kept);
        let mut rounded: HashSet<&str> = HashSet::new();
        view.convs
            .iter()
            .for_each(|conv| view.add_source(&network.nodes()[*conv].input[0], &mut rounded));
        let adds = network.nodes().iter().filter(|node| is(node, "Add"));
        let residuals =
            adds.filter_map(|add| view.residual(add, &rounded)).map(|slots| slots.residual);
        rounded.extend(residuals.collect::<Vec<_>>());
        let ends = view.convs.iter().map(|conv| view.end(*conv, &rounded));
        let ends = ends.filter(|value| view.is_spatial(value) && !view.only_means(value));
        rounded.extend(ends.collect::<Vec<_>>());
        let points = view.points(&rounded);
        let dense = view.dense(kept);
        Placement { convs: view.convs, dense, points }
    }

    /// All layers that are quantized, in order.
    pub(super) fn layers(&self) -> impl Iterator<Item = usize> {
        let layers: BTreeSet<usize> = self.convs.iter().chain(self.dense.keys()).copied().collect();
        layers.into_iter()
    }
}

/// The operands of an addition by what they are for the convolution before it.
struct Slots<'n> {
    main: &'n str,
    residual: &'n str,
}

struct View<'n> {
    network: &'n Network,
    links: Links,
    /// The quantized convolutions, by node.
    convs: Vec<usize>,
    /// How many convolutions are on the longest way to a value.
    depths: HashMap<&'n str, usize>,
}

impl<'n> View<'n> {
    fn new(network: &'n Network, kept: &BTreeSet<String>) -> View<'n> {
        let links = Links::of(network.nodes());
        let mut view = View { network, links, convs: Vec::new(), depths: depths(network.nodes()) };
        let all = 0..network.nodes().len();
        let wanted = |index: &usize| {
            view.can_be_quantized(&network.nodes()[*index])
                && !kept.contains(&network.node_name(*index))
        };
        view.convs = all.filter(wanted).collect();
        view
    }

    fn can_be_quantized(&self, node: &NodeProto) -> bool {
        let constant = |name: &String| self.network.has_floats(name);
        let [x, weight, bias @ ..] = node.input.as_slice() else { return false };
        let bias = bias.first().filter(|name| !name.is_empty());
        is(node, "Conv") && self.is_spatial(x) && constant(weight) && bias.is_none_or(constant)
    }

    /// The layers of which only the weights are rounded.
    fn dense(&self, kept: &BTreeSet<String>) -> BTreeMap<usize, usize> {
        let nodes = self.network.nodes().iter().enumerate();
        let axes = nodes.filter_map(|(index, node)| {
            let axis = self.channel_axis(node)?;
            (!kept.contains(&self.network.node_name(index))).then_some((index, axis))
        });
        axes.collect()
    }

    /// Which axis of a dense layer's weights has the channels of the result, if it is a dense layer with
    /// weights enough.
    fn channel_axis(&self, node: &NodeProto) -> Option<usize> {
        let [x, weight, ..] = node.input.as_slice() else { return None };
        let axis = match node.op_type.as_str() {
            "Conv" if !self.is_spatial(x) => 0,
            "Gemm" if node.attribute.iter().any(|a| a.name == "transB" && a.i != 0) => 0,
            "Gemm" | "MatMul" => 1,
            _ => return None,
        };
        let shape = self.network.floats_shape(weight)?;
        let [elements, channels] = [shape.iter().product(), *shape.get(axis)?];
        let is_matrix = is(node, "Conv") || shape.len() == 2;
        let is_large = elements >= LEAST_WEIGHTS && elements >= LEAST_DEPTH * channels;
        let is_finite = || {
            let floats = self.network.floats(weight);
            floats.is_some_and(|floats| floats.values.iter().all(|w| w.is_finite()))
        };
        (node.domain.is_empty() && is_matrix && is_large && is_finite()).then_some(axis)
    }

    /// Whether a value has channels of more than one pixel, and is no constant.
    fn is_spatial(&self, value: &str) -> bool {
        let pixels = match self.network.shape(value) {
            Some([_, _, plane @ ..]) => plane.iter().product(),
            Some(_) | None => 1,
        };
        let given = || self.network.model.graph.input.iter().any(|input| input.name == value);
        pixels > 1 && (self.links.maker(value).is_some() || given())
    }

    /// Adds a value that a convolution reads, and what pools and copies make it of.
    fn add_source(&self, value: &'n str, rounded: &mut HashSet<&'n str>) {
        let mut left = vec![value];
        while let Some(value) = left.pop() {
            if !self.is_spatial(value) || !rounded.insert(value) {
                continue;
            }
            if let Some(node) = self.maker(value).filter(|node| is_one(node, PASSES)) {
                left.extend(operands(node));
            }
        }
    }

    fn maker(&self, value: &str) -> Option<&'n NodeProto> {
        self.links.maker(value).map(|index| &self.network.nodes()[index])
    }

    /// The operands of an addition that a quantized convolution can make along with its result.
    fn residual(&self, add: &'n NodeProto, rounded: &HashSet<&str>) -> Option<Slots<'n>> {
        let [a, b] = add.input.as_slice() else { return None };
        let same = self.network.shape(a) == self.network.shape(b);
        let ours = |value: &String| rounded.contains(value.as_str()) || self.is_result(value);
        if !same || !self.is_spatial(a) || !self.is_spatial(b) || !(ours(a) || ours(b)) {
            return None;
        }
        let depth = |value: &String| self.depths.get(value.as_str()).copied().unwrap_or(0);
        let (main, residual) = if depth(a) < depth(b) { (b, a) } else { (a, b) };
        Some(Slots { main, residual })
    }

    /// Whether a value is the result of a quantized convolution.
    fn is_result(&self, mut value: &'n str) -> bool {
        while let Some(index) = self.links.maker(value) {
            let node = &self.network.nodes()[index];
            match node.input.first() {
                Some(x) if is_one(node, ACTIVATIONS) => value = x,
                Some(_) | None => return self.convs.binary_search(&index).is_ok(),
            }
        }
        false
    }

    /// The last value that a convolution makes in one go.
    fn end(&self, conv: usize, rounded: &HashSet<&str>) -> &'n str {
        let mut value = self.network.nodes()[conv].output[0].as_str();
        while !self.network.is_output(value)
            && let [reader] = *self.links.readers(value)
        {
            let node = &self.network.nodes()[reader];
            let is_main = || self.residual(node, rounded).is_some_and(|slots| slots.main == value);
            if !(is_one(node, ACTIVATIONS) || is(node, "Add") && is_main()) {
                break;
            }
            value = &node.output[0];
        }
        value
    }

    fn only_means(&self, value: &str) -> bool {
        let readers = self.links.readers(value).iter().map(|index| &self.network.nodes()[*index]);
        readers.into_iter().all(|node| is_one(node, MEANS))
    }

    /// The points in order, with the grids that they take.
    fn points(&self, rounded: &HashSet<&str>) -> Vec<Point> {
        let nodes = self.network.nodes();
        let inputs = self.network.model.graph.input.iter().map(|input| &input.name);
        let all = inputs.chain(nodes.iter().flat_map(|node| &node.output));
        let points = all.map(String::as_str).filter(|value| rounded.contains(value));
        let grids = grids(nodes, rounded);
        let point = |value: &str| Point { name: value.into(), grid: root(&grids, value).into() };
        points.map(point).collect()
    }
}

/// Of which value each takes its grid. What picks elements takes its operand's, and operands of a Concat
/// take that of the whole.
fn grids<'n>(nodes: &'n [NodeProto], rounded: &HashSet<&str>) -> HashMap<&'n str, &'n str> {
    let mut grids = HashMap::new();
    for node in nodes.iter().filter(|node| is_one(node, PICKS)) {
        for operand in operands(node) {
            for result in node.output.iter().map(String::as_str) {
                let (of, takes) =
                    if is(node, "Concat") { (result, operand) } else { (operand, result) };
                let (of, takes) = (root(&grids, of), root(&grids, takes));
                if of != takes && rounded.contains(operand) && rounded.contains(result) {
                    grids.insert(takes, of);
                }
            }
        }
    }
    grids
}

fn root<'n>(grids: &HashMap<&'n str, &'n str>, mut value: &'n str) -> &'n str {
    while let Some(next) = grids.get(value) {
        value = next;
    }
    value
}

/// The operands that elements come from.
fn operands(node: &NodeProto) -> impl Iterator<Item = &str> {
    let count = if is(node, "Concat") { node.input.len() } else { 1 };
    node.input.iter().take(count).map(String::as_str)
}

fn is_one(node: &NodeProto, operators: &[&str]) -> bool {
    operators.iter().any(|operator| is(node, operator))
}

fn depths(nodes: &[NodeProto]) -> HashMap<&str, usize> {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for node in nodes {
        let before = node.input.iter().filter_map(|value| depths.get(value.as_str())).max();
        let depth = before.copied().unwrap_or(0) + usize::from(is(node, "Conv"));
        depths.extend(node.output.iter().map(|value| (value.as_str(), depth)));
    }
    depths
}
