//! Back from the softmax or the gate through the dense layers, row by row.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::rounding::Alike;
use super::squeeze::Squeezed;
use super::trace::{Block, Path, Tracer, image_dims, ravel, rounds, unravel};
use super::weigh::Weighed;
use super::{Found, describe, failed};
use crate::ir::{Binary, Graph, NodeId, Op, Unary, Window};
use crate::passes::grid::quantized;

/// Dense layers with their rows in canonical order: cardinal group, then split, then channel.
pub(super) struct Excited {
    /// K.
    pub(super) cardinality: usize,
    /// The inner layer, if there is one.
    pub(super) inner: Option<Inner>,
    /// Rows (k, r, c).
    pub(super) outer: Layer,
    /// What the squeezed channels are rounded to, and what the rows of the outer layer.
    pub(super) rounding: [Alike; 2],
}

/// The inner layer.
pub(super) struct Inner {
    /// Rows of a cardinal group.
    pub(super) width: usize,
    /// Applied to each row, first to last.
    pub(super) activation: Vec<Unary>,
    /// Rows (k, i).
    pub(super) layer: Layer,
}

/// A matrix and a bias.
pub(super) struct Layer {
    /// The nodes that the weights and the bias are named after.
    pub(super) names: [Option<NodeId>; 2],
    /// Columns of a row.
    pub(super) columns: usize,
    /// Row-major.
    pub(super) weights: Vec<f32>,
    /// One number a row, unless all are 0.
    pub(super) bias: Option<Vec<f32>>,
}

pub(super) fn excited(
    tracer: &mut Tracer<'_>,
    anchor: NodeId,
    weighed: &Weighed,
    mut squeezed: Squeezed,
) -> Found<Excited> {
    let mut layers = Layers::default();
    let (rows, excited) = outer_rows(tracer, &mut layers, anchor, weighed)?;
    let groups = Groups::new(tracer.graph, weighed, &rows)?;
    let radix = weighed.channels.first().map_or(1, Vec::len);
    // Canonical order: all channels of split 0 of group 0, then of split 1, …
    let per_group = weighed.channels.len() / groups.inputs.len();
    let canonical: Vec<&Row> = (0..groups.inputs.len() * radix)
        .flat_map(|split| (0..per_group).map(move |c| (split, c)))
        .map(|(split, c)| &rows[split / radix * per_group + c][split % radix])
        .collect();
    let inner = inner_rows(tracer, &mut layers, &groups)?;
    let Some((inner, activation)) = inner else {
        // Columns are the squeezed channels themselves.
        let mut columns = Vec::new();
        for (k, inputs) in groups.inputs.iter().enumerate() {
            columns.push(ordered_by_channel(tracer, &layers, &mut squeezed, inputs, k, per_group)?);
        }
        let outer = layers.layer(&canonical, &columns)?;
        let rounding = [squeezed.rounding, excited];
        return Ok(Excited { cardinality: columns.len(), inner: None, outer, rounding });
    };
    let mut columns = Vec::new();
    for (k, rows) in inner.iter().enumerate() {
        let Some(first) = rows.first() else { return failed("the inner layer is empty") };
        let others = rows.iter().filter(|row| !Rc::ptr_eq(&row.inputs, &first.inputs));
        for row in others {
            if !same_set(&row.inputs, &first.inputs) {
                return failed("the rows of the inner layer read different channels");
            }
        }
        columns.push(ordered_by_channel(
            tracer,
            &layers,
            &mut squeezed,
            &first.inputs,
            k,
            per_group,
        )?);
    }
    let width = inner.first().map_or(0, Vec::len);
    let inner_canonical: Vec<&Row> = inner.iter().flatten().collect();
    let inner_layer = layers.layer(&inner_canonical, &columns)?;
    let outer = layers.layer(&canonical, &groups.inputs)?;
    let inner = Some(Inner { width, activation, layer: inner_layer });
    let rounding = [squeezed.rounding, excited];
    Ok(Excited { cardinality: columns.len(), inner, outer, rounding })
}

fn same_set(a: &[Block], b: &[Block]) -> bool {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    a.sort_unstable();
    b.sort_unstable();
    a == b
}

/// The inputs of a group in the order of the channels they are the means of, which must be those
/// of the group.
fn ordered_by_channel(
    tracer: &mut Tracer<'_>,
    layers: &Layers,
    squeezed: &mut Squeezed,
    inputs: &[Block],
    k: usize,
    per_group: usize,
) -> Found<Vec<Block>> {
    let mut order = vec![None; per_group];
    for &input in inputs {
        let (channel, path) = squeezed.channel(tracer, input)?;
        layers.take(&mut squeezed.rounding, tracer, input, &path);
        let place = channel.checked_sub(k * per_group).and_then(|at| order.get_mut(at));
        match place {
            Some(place @ None) => *place = Some(input),
            Some(Some(_)) => return failed(format!("channel {channel} is squeezed twice")),
            None => {
                return failed(format!(
                    "the attention of cardinal group {k} is computed from channel {channel}, \
                     which is of another group"
                ));
            }
        }
    }
    let read = order.iter().flatten().count();
    match order.into_iter().collect() {
        Some(order) => Ok(order),
        None => failed(format!("the dense layer reads {read} of {per_group} squeezed channels")),
    }
}

/// One row of a dense layer.
#[derive(Clone)]
struct Row {
    layer: NodeId,
    row: usize,
    /// What its columns are multiplied with.
    inputs: Rc<Vec<Block>>,
}

/// For each channel and split the row that computes its attention, and what rows are rounded to.
fn outer_rows(
    tracer: &mut Tracer<'_>,
    layers: &mut Layers,
    anchor: NodeId,
    weighed: &Weighed,
) -> Found<(Vec<Vec<Row>>, Alike)> {
    let mut rounding = Alike::default();
    let Some(input) = tracer.graph.operand(anchor, 0) else {
        return failed("the weights are of nothing");
    };
    let mut all = Vec::with_capacity(weighed.channels.len());
    for terms in &weighed.channels {
        let mut rows = Vec::with_capacity(terms.len());
        for term in terms {
            let block = Block { node: input, index: term.weight, tail: 1 };
            let (block, path) = tracer.origin_and_roundings(block, |_| false);
            rounding.take(&path);
            let Some(row) = layers.row(tracer, block) else {
                let found = describe(tracer.graph, block.node);
                let why = not_dense(tracer.graph, block.node);
                return failed(format!("the attention is computed by {found}{why}"));
            };
            rows.push(row);
        }
        all.push(rows);
    }
    Ok((all, rounding))
}

/// What keeps a node from being a dense layer.
fn not_dense(graph: &Graph, id: NodeId) -> &'static str {
    let computed = |slot| graph.operand(id, slot).is_some_and(|o| constant(graph, o).is_none());
    match &graph.node(id).op {
        Op::Conv(conv) if conv.window != Window::POINT => {
            ", whose kernel is not 1x1, of stride 1 and without padding"
        }
        Op::Conv(_) | Op::MatMul { .. } if computed(1) => ", whose weights are not constant",
        Op::Conv(_) | Op::MatMul { .. } if computed(2) => ", whose bias is not constant",
        Op::Conv(_) => ", which is no dense layer of [n, c, 1, 1]",
        Op::MatMul { .. } => ", which is no product of one row an image and a matrix",
        Op::Binary(Binary::Add, _) => {
            ", which adds no constant with one value for each row of a dense layer"
        }
        _ => ", which is no dense layer",
    }
}

/// Cardinal groups, found as channels whose attention reads the same inputs.
struct Groups {
    /// For each group its inputs.
    inputs: Vec<Vec<Block>>,
}

impl Groups {
    fn new(graph: &Graph, weighed: &Weighed, rows: &[Vec<Row>]) -> Found<Groups> {
        let mut inputs: Vec<Vec<Block>> = Vec::new();
        let mut sets: HashMap<Vec<Block>, usize> = HashMap::new();
        let mut sizes: Vec<usize> = Vec::new();
        let mut sorted: HashMap<*const Vec<Block>, usize> = HashMap::new();
        for (channel, splits) in rows.iter().enumerate() {
            let mut group = None;
            for row in splits {
                let k = *sorted.entry(Rc::as_ptr(&row.inputs)).or_insert_with(|| {
                    let mut set = row.inputs.to_vec();
                    set.sort_unstable();
                    *sets.entry(set).or_insert_with(|| {
                        inputs.push(row.inputs.to_vec());
                        sizes.push(0);
                        inputs.len() - 1
                    })
                });
                if *group.get_or_insert(k) != k {
                    return failed(format!(
                        "the splits of channel {channel} are weighed by dense layers with \
                         different inputs"
                    ));
                }
            }
            let k = group.unwrap_or_default();
            if k + 1 != sizes.len() {
                return failed(format!("channel {channel} is apart from its cardinal group"));
            }
            sizes[k] += 1;
        }
        let c = weighed.channels.len() / sizes.len().max(1);
        if sizes.is_empty() || sizes.iter().any(|size| *size != c) {
            return failed(format!("cardinal groups of unequal widths, {sizes:?}"));
        }
        let mut all: Vec<Block> = inputs.iter().flatten().copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        if all.len() != count {
            let layer = rows.first().and_then(|r| r.first()).map(|r| describe(graph, r.layer));
            let layer = layer.unwrap_or_default();
            return failed(format!("cardinal groups share inputs of {layer}"));
        }
        Ok(Groups { inputs })
    }
}

/// For each cardinal group its inner rows, and what is applied to them; `None` without an inner
/// layer.
type InnerRows = Option<(Vec<Vec<Row>>, Vec<Unary>)>;

fn inner_rows(tracer: &mut Tracer<'_>, layers: &mut Layers, groups: &Groups) -> Found<InnerRows> {
    let mut all = Vec::new();
    let mut common: Option<Vec<Unary>> = None;
    let mut rounded = Alike::default();
    for inputs in &groups.inputs {
        let mut rows = Vec::with_capacity(inputs.len());
        for &input in inputs {
            let (block, path) = activated(tracer, input);
            let activation = unrounded_path(tracer.graph, &path);
            layers.take(&mut rounded, tracer, input, &path);
            let Some(row) = layers.row(tracer, block) else {
                let op = &tracer.graph.node(block.node).op;
                let layer = matches!(op, Op::Conv(_) | Op::MatMul { .. });
                if all.is_empty() && rows.is_empty() && activation.is_empty() && !layer {
                    return Ok(None);
                }
                let found = describe(tracer.graph, block.node);
                let why = not_dense(tracer.graph, block.node);
                return failed(format!("the inner layer is computed by {found}{why}"));
            };
            if *common.get_or_insert_with(|| activation.clone()) != activation {
                return failed("parts of the inner layer have different activations");
            }
            rows.push(row);
        }
        all.push(rows);
    }
    let width = all.first().map_or(0, Vec::len);
    if all.iter().any(|rows| rows.len() != width) {
        return failed("cardinal groups have inner layers of unequal widths");
    }
    let activation = rounded.kept(tracer).or(common);
    Ok(Some((all, activation.unwrap_or_default())))
}

/// The block before elementwise functions, and these functions, first to last.
fn activated(tracer: &mut Tracer<'_>, mut block: Block) -> (Block, Path) {
    const MOST: usize = 16;
    let mut path = Path::new();
    loop {
        let (origin, roundings) = tracer.origin_and_roundings(block, |_| false);
        path.extend(roundings.into_iter().rev());
        block = origin;
        let graph = tracer.graph;
        let (Op::Unary(function, then), Some(x)) =
            (&graph.node(block.node).op, graph.operand(block.node, 0))
        else {
            break;
        };
        if !then.is_empty() || path.len() >= MOST {
            break;
        }
        path.push((block.node, *function));
        tracer.passed.insert(block.node);
        block.node = x;
    }
    path.reverse();
    (block, path)
}

/// The functions of a path without what only rounds.
fn unrounded_path(graph: &Graph, path: &Path) -> Vec<Unary> {
    let others = path.iter().filter(|(id, _)| !rounds(graph, *id));
    others.map(|(_, function)| unrounded(*function)).collect()
}

/// A function without rounding: clipping is left of it.
pub(super) fn unrounded(function: Unary) -> Unary {
    match function {
        Unary::Quantized { scale, lowest, highest } => {
            Unary::Clip { low: lowest * scale, high: highest * scale }
        }
        other => other,
    }
}

/// Dense layers that were met.
#[derive(Default)]
struct Layers {
    met: HashMap<NodeId, Option<Dense>>,
    /// What rounds their inputs, on each way to one.
    ways: HashMap<Block, BTreeSet<Vec<NodeId>>>,
}

/// A dense layer of the graph: a product with a constant matrix, and maybe a bias.
struct Dense {
    names: [Option<NodeId>; 2],
    /// The product's node and the additions after it.
    nodes: Vec<NodeId>,
    groups: usize,
    rows: usize,
    columns: usize,
    /// `weights[row · stride.0 + column · stride.1]`.
    weights: Vec<f32>,
    strides: (usize, usize),
    bias: Option<Vec<f64>>,
    input: NodeId,
    /// Inputs of each group, made once.
    inputs: Vec<Rc<Vec<Block>>>,
}

impl Layers {
    /// The row of a dense layer that computes an element.
    fn row(&mut self, tracer: &mut Tracer<'_>, element: Block) -> Option<Row> {
        let Layers { met, ways } = self;
        let dense =
            met.entry(element.node).or_insert_with(|| Dense::at(tracer, element.node, ways));
        let dense = dense.as_ref().filter(|_| element.tail == 1)?;
        tracer.passed.extend(&dense.nodes);
        let per_group = dense.rows / dense.groups;
        let inputs = Rc::clone(dense.inputs.get(element.index / per_group)?);
        Some(Row { layer: element.node, row: element.index, inputs })
    }

    /// Takes what rounds an input after this path, on every way to a layer.
    fn take(&self, rounding: &mut Alike, tracer: &Tracer<'_>, input: Block, path: &Path) {
        for way in self.ways.get(&input).into_iter().flatten() {
            let more = way.iter().filter_map(|id| Some((*id, quantized(tracer.graph, *id)?)));
            rounding.take(&path.iter().copied().chain(more).collect::<Path>());
        }
    }

    /// The rows as one matrix; row `i` of `rows` is of group `i · groups / rows`, and its columns
    /// are put in that group's order.
    fn layer(&self, rows: &[&Row], columns: &[Vec<Block>]) -> Found<Layer> {
        let per_group = rows.len() / columns.len().max(1);
        let width = columns.first().map_or(0, Vec::len);
        let mut weights = Vec::with_capacity(rows.len() * width);
        let mut bias = Vec::with_capacity(rows.len());
        let mut biased = false;
        let mut orders: HashMap<*const Vec<Block>, Vec<usize>> = HashMap::new();
        let mut names = [None; 2];
        for (i, row) in rows.iter().enumerate() {
            let Some(Some(dense)) = self.met.get(&row.layer) else {
                return failed("a dense layer is not known");
            };
            let wanted = &columns[i / per_group];
            let order = orders.entry(Rc::as_ptr(&row.inputs)).or_insert_with(|| {
                let at: HashMap<Block, usize> =
                    row.inputs.iter().enumerate().map(|(i, b)| (*b, i)).collect();
                wanted.iter().filter_map(|b| at.get(b).copied()).collect()
            });
            if order.len() != width {
                return failed("the rows of a dense layer have unequal lengths");
            }
            let start = row.row * dense.strides.0;
            weights.extend(order.iter().map(|c| dense.weights[start + c * dense.strides.1]));
            let b = dense.bias.as_ref().map_or(0.0, |b| b[row.row]) as f32;
            biased |= b != 0.0;
            bias.push(b);
            for (name, found) in names.iter_mut().zip(dense.names) {
                *name = name.or(found);
            }
        }
        Ok(Layer { names, columns: width, weights, bias: biased.then_some(bias) })
    }
}

impl Dense {
    fn at(
        tracer: &mut Tracer<'_>,
        id: NodeId,
        ways: &mut HashMap<Block, BTreeSet<Vec<NodeId>>>,
    ) -> Option<Dense> {
        let graph = tracer.graph;
        let mut dense = match &graph.node(id).op {
            Op::Conv(_) => Dense::conv(graph, id),
            Op::MatMul { .. } => Dense::product(graph, id),
            Op::Binary(Binary::Add, then) if then.is_empty() => Dense::biased(graph, id),
            _ => None,
        }?;
        dense.inputs = (0..dense.groups)
            .map(|g| {
                let first = g * dense.columns;
                let block = |c| Block { node: dense.input, index: first + c, tail: 1 };
                // Layers may read one value through reshapes of their own.
                let origin = |c| {
                    let (origin, path) = tracer.origin_and_roundings(block(c), |_| false);
                    let way = path.into_iter().map(|(id, _)| id).collect();
                    ways.entry(origin).or_default().insert(way);
                    origin
                };
                Rc::new((0..dense.columns).map(origin).collect())
            })
            .collect();
        Some(dense)
    }

    fn conv(graph: &Graph, id: NodeId) -> Option<Dense> {
        let Op::Conv(conv) = &graph.node(id).op else { return None };
        let (input, weight) = (graph.operand(id, 0)?, graph.operand(id, 1)?);
        let [_, channels, 1, 1] = graph.ty(input).shape()[..] else { return None };
        if conv.window != Window::POINT || !conv.epilogue.is_empty() {
            return None;
        }
        let (weights, columns) = (constant(graph, weight)?, channels / conv.groups);
        let rows = graph.ty(weight).shape()[0];
        let bias = match graph.operand(id, 2) {
            Some(bias) => Some(constant(graph, bias)?.into_iter().map(f64::from).collect()),
            None => None,
        };
        Some(Dense {
            names: [Some(weight), graph.operand(id, 2)],
            nodes: vec![id],
            groups: conv.groups,
            rows,
            columns,
            weights,
            strides: (columns, 1),
            bias,
            input,
            inputs: Vec::new(),
        })
    }

    fn product(graph: &Graph, id: NodeId) -> Option<Dense> {
        let Op::MatMul { transpose_a: false, transpose_b, epilogue } = &graph.node(id).op else {
            return None;
        };
        let (input, weight) = (graph.operand(id, 0)?, graph.operand(id, 1)?);
        let [first, second] = graph.ty(weight).shape()[..] else { return None };
        let (rows, columns) = if *transpose_b { (first, second) } else { (second, first) };
        let batch = |id: NodeId| graph.ty(id).shape().first().copied();
        let image = |id: NodeId| image_dims(graph.ty(id)).map(|d| d.iter().product::<usize>());
        // One row of the left operand for each image.
        let fits = image(input)? == columns && image(id)? == rows && batch(input) == batch(id);
        if !fits || !epilogue.is_empty() || graph.ty(id).rank() < 2 {
            return None;
        }
        let bias = match graph.operand(id, 2) {
            Some(bias) => Some(constant(graph, bias)?.into_iter().map(f64::from).collect()),
            None => None,
        };
        Some(Dense {
            names: [Some(weight), graph.operand(id, 2)],
            nodes: vec![id],
            groups: 1,
            rows,
            columns,
            weights: constant(graph, weight)?,
            strides: if *transpose_b { (columns, 1) } else { (1, rows) },
            bias,
            input,
            inputs: Vec::new(),
        })
    }

    /// A dense layer with a constant added to each row, the same for all images.
    fn biased(graph: &Graph, id: NodeId) -> Option<Dense> {
        let operands = [graph.operand(id, 0)?, graph.operand(id, 1)?];
        let is_constant = |id: NodeId| matches!(graph.node(id).op, Op::Weight(_));
        let (mut layer, addend) = match operands.map(is_constant) {
            [false, true] => (operands[0], operands[1]),
            [true, false] => (operands[1], operands[0]),
            _ => return None,
        };
        if graph.ty(layer).shape() != graph.ty(id).shape() {
            return None;
        }
        let mut rounding = Vec::new();
        while rounds(graph, layer) {
            rounding.push(layer);
            layer = graph.operand(layer, 0)?;
        }
        let mut dense = match graph.node(layer).op {
            Op::Conv(_) => Dense::conv(graph, layer),
            Op::MatMul { .. } => Dense::product(graph, layer),
            _ => None,
        }?;
        let (to, from) = (graph.ty(id).shape(), graph.ty(addend).shape());
        let ahead = to.len().checked_sub(from.len())?;
        if ahead == 0 && from[0] != 1 {
            return None;
        }
        let values = constant(graph, addend)?;
        let added = |row: usize| {
            let index = unravel(row, &to[1..]);
            let full: Vec<usize> = std::iter::once(0).chain(index).skip(ahead).collect();
            let pairs = full.iter().zip(&from);
            let index: Vec<usize> = pairs.map(|(i, n)| if *n == 1 { 0 } else { *i }).collect();
            f64::from(values[ravel(&index, &from)])
        };
        let before = dense.bias.unwrap_or_else(|| vec![0.0; dense.rows]);
        dense.bias = Some(before.iter().enumerate().map(|(row, b)| b + added(row)).collect());
        dense.names[1] = dense.names[1].or(Some(addend));
        dense.nodes.extend(rounding);
        dense.nodes.push(id);
        Some(dense)
    }
}

fn constant(graph: &Graph, id: NodeId) -> Option<Vec<f32>> {
    match &graph.node(id).op {
        Op::Weight(weight) => weight.to_f32(graph.ty(id)),
        _ => None,
    }
}
