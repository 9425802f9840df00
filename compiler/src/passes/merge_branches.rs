//! Collapses parallel branches that look alike into grouped operators.
//!
//! Figure 3 of the ResNeSt paper draws K·R branches, each a 1×1 and a 3×3 convolution; some
//! exporters write them so. Branches joined by a `concat` are walked up in lockstep, for as long
//! as they apply the same operator: convolutions of one input become one convolution with their
//! rows stacked, those of different inputs a grouped one, K split-attentions one of cardinality K.
//! The walk must end at one input, or at slices of one; otherwise nothing is changed. Branches
//! joined by additions end in convolutions whose sum is one over all their inputs (Figure 3 of
//! ResNeXt, a to b).

use std::collections::BTreeMap;

use crate::ir::text::attributes;
use crate::ir::{
    Answer, Binary, Conv, DType, Edit, Epilogue, Excite, Failure, Graph, NodeId, Op, Operand,
    SplitAttention, TensorType, Weight,
};

pub(super) fn merge_branches(graph: &Graph, id: NodeId) -> Answer {
    let mut merger = Merger { graph, edit: Edit::of([id]), level: 0 };
    let merged = match &graph.node(id).op {
        Op::Concat { axis: 1 } if graph.ty(id).rank() == 4 => {
            let branches: Vec<NodeId> = graph.operands(id).into_iter().map(|(_, b)| b).collect();
            merger.joined(&branches)
        }
        Op::Binary(Binary::Add, then) if then.is_empty() => merger.summed(id),
        _ => return Answer::NoMatch,
    };
    match merged {
        Ok(operand) => {
            // The last node of the merged branch is the join too.
            if let Operand::New(last) = operand
                && let Some(node) = merger.edit.nodes.get_mut(last)
            {
                node.name.clone_from(&graph.node(id).name);
                node.stands_for.push(id);
            }
            merger.edit.replace(id, operand)
        }
        Err(Stop::NoMatch) => Answer::NoMatch,
        Err(Stop::Differ(because)) => {
            Answer::Failed(Failure { because, nodes: merger.edit.region })
        }
    }
}

/// Most operators that branches may have in common before they are merged: networks have branches of
/// ten, and a chain of any length is not walked for each value that joins it.
const MOST_LEVELS: usize = 32;

/// Why branches are not merged.
enum Stop {
    /// They have nothing in common.
    NoMatch,
    /// They look alike, but for this.
    Differ(String),
}

struct Merger<'g> {
    graph: &'g Graph,
    edit: Edit,
    /// Operators that the branches have had in common.
    level: usize,
}

impl Merger<'_> {
    /// The channels of these values, one after the other, computed by one branch.
    fn joined(&mut self, values: &[NodeId]) -> Result<Operand, Stop> {
        let graph = self.graph;
        let values = self.flattened(values);
        let (&first, others) = values.split_first().ok_or(Stop::NoMatch)?;
        if let Some(whole) = whole_of_slices(graph, &values).filter(|_| self.level > 0) {
            self.edit.region.extend(&values);
            return Ok(Operand::Old(whole));
        }
        if others.is_empty() {
            return Err(Stop::NoMatch);
        }
        for &other in others {
            self.same_operator(first, other)?;
        }
        let op = graph.node(first).op.clone();
        if !merges(&op) {
            return self.begin_apart(first, others[0]);
        }
        for &value in &values {
            if graph.sole_use(value).is_none() {
                let name = &graph.node(value).name;
                return self.stop(format!("branch value `{name}` is used elsewhere too"));
            }
        }
        if op.epilogue().is_some_and(|then| !then.is_empty()) {
            let name = &graph.node(first).name;
            return self.stop(format!("`{name}` applies something to its result already"));
        }
        if self.level == MOST_LEVELS {
            return self.stop(format!("branches have more than {MOST_LEVELS} operators"));
        }
        self.edit.region.extend(&values);
        self.level += 1;
        match op {
            Op::Conv(conv) => self.convolutions(&values, &conv),
            Op::SplitAttention(attention) => self.attentions(&values, &attention),
            op => {
                let inputs = self.inputs(&values)?;
                let x = self.joined(&inputs)?;
                Ok(self.add(&values, op, vec![(0, x)]))
            }
        }
    }

    /// The operands of those values that are themselves joined.
    fn flattened(&mut self, values: &[NodeId]) -> Vec<NodeId> {
        let graph = self.graph;
        let mut all = Vec::new();
        for &value in values {
            let joins = matches!(graph.node(value).op, Op::Concat { axis: 1 });
            if joins && graph.sole_use(value).is_some() && self.level > 0 {
                self.edit.region.push(value);
                all.extend(graph.operands(value).into_iter().map(|(_, part)| part));
            } else {
                all.push(value);
            }
        }
        all
    }

    fn stop<T>(&self, because: String) -> Result<T, Stop> {
        Err(if self.level > 0 { Stop::Differ(because) } else { Stop::NoMatch })
    }

    /// Checks that two values are computed alike, but for their weights.
    fn same_operator(&self, a: NodeId, b: NodeId) -> Result<(), Stop> {
        let graph = self.graph;
        let (x, y) = (graph.node(a), graph.node(b));
        let (a_name, b_name) = (&x.name, &y.name);
        let (p, q) = (x.op.mnemonic(), y.op.mnemonic());
        let because = if x.op == y.op {
            if x.ty.shape() == y.ty.shape() {
                return Ok(());
            }
            format!("branches differ: `{a_name}` is {}, and `{b_name}` is {}", x.ty, y.ty)
        } else if p != q {
            format!("branches differ: `{a_name}` is {p}, and `{b_name}` is {q}")
        } else if !merges(&x.op) {
            return self.begin_apart(a, b);
        } else {
            let (key, of_a, of_b) = differing_attribute(graph, a, b);
            format!("branches differ: `{a_name}` has {key} {of_a}, and `{b_name}` has {key} {of_b}")
        };
        // Two windows over one input are what SK-Net's paths are, and two attentions are cardinal
        // groups; worth a word even when nothing else was in common.
        let telling = match (&x.op, &y.op) {
            (Op::Conv(p), Op::Conv(q)) => p.window != q.window,
            (Op::Pool(p), Op::Pool(q)) => p.window != q.window,
            (Op::SplitAttention(_), _) => true,
            _ => false,
        };
        if telling && p == q { Err(Stop::Differ(because)) } else { self.stop(because) }
    }

    fn begin_apart<T>(&self, a: NodeId, b: NodeId) -> Result<T, Stop> {
        let [a, b] = [a, b].map(|id| &self.graph.node(id).name);
        self.stop(format!("branches begin at different values, `{a}` and `{b}`"))
    }

    fn inputs(&self, values: &[NodeId]) -> Result<Vec<NodeId>, Stop> {
        values.iter().map(|v| self.graph.operand(*v, 0).ok_or(Stop::NoMatch)).collect()
    }

    /// Convolutions of one input, or of as many inputs as there are groups to be.
    fn convolutions(&mut self, values: &[NodeId], conv: &Conv) -> Result<Operand, Stop> {
        let graph = self.graph;
        let inputs = self.inputs(values)?;
        let mut runs = inputs.clone();
        runs.dedup();
        let length = inputs.len() / runs.len();
        let even = inputs.chunks(length).all(|run| run.iter().all(|x| *x == run[0]));
        if !even || runs.len() * length != inputs.len() {
            return self.stop("branches share their inputs unevenly".into());
        }
        if length > 1 && conv.groups > 1 {
            return self.stop("the branches are grouped convolutions of one input".into());
        }
        let channels = |id: &NodeId| graph.ty(*id).shape()[1];
        if runs.iter().any(|x| channels(x) != channels(&runs[0])) {
            return self.stop("branches read different numbers of channels".into());
        }
        let (weight, bias) = (self.stacked(values, 1)?, self.stacked_bias(values, 2)?);
        let x = match runs.as_slice() {
            [shared] => Operand::Old(*shared),
            runs => self.joined(runs)?,
        };
        let groups = conv.groups * runs.len();
        let op = Conv { groups, window: conv.window, epilogue: Epilogue::none() };
        let weight = self.edit.constant(self.name_of(values, 1), weight.0, weight.1);
        let mut operands = vec![(0, x), (1, weight)];
        if let Some((ty, bias)) = bias {
            operands.push((2, self.edit.constant(self.name_of(values, 2), ty, bias)));
        }
        Ok(self.add(values, Op::Conv(op), operands))
    }

    /// K split-attentions, one after the other, are one of cardinality K.
    fn attentions(
        &mut self,
        values: &[NodeId],
        attention: &SplitAttention,
    ) -> Result<Operand, Stop> {
        let mut constants = Vec::new();
        if attention.excite != Excite::Direct {
            constants.push((SplitAttention::W1, Some(self.stacked(values, SplitAttention::W1)?)));
            let bias = self.stacked_bias(values, SplitAttention::B1)?;
            constants.push((SplitAttention::B1, bias));
        }
        constants.push((SplitAttention::W2, Some(self.stacked(values, SplitAttention::W2)?)));
        constants.push((SplitAttention::B2, self.stacked_bias(values, SplitAttention::B2)?));
        let inputs = self.inputs(values)?;
        let mut operands = vec![(SplitAttention::U, self.joined(&inputs)?)];
        for (slot, constant) in constants {
            if let Some((ty, weight)) = constant {
                let name = self.name_of(values, slot);
                operands.push((slot, self.edit.constant(name, ty, weight)));
            }
        }
        let cardinality = attention.cardinality * values.len();
        let op = SplitAttention { cardinality, ..attention.clone() };
        Ok(self.add(values, Op::SplitAttention(op), operands))
    }

    /// A sum of convolutions of different inputs is a convolution of all of them.
    fn summed(&mut self, id: NodeId) -> Result<Operand, Stop> {
        let graph = self.graph;
        let is_sum = |op: &Op| matches!(op, Op::Binary(Binary::Add, then) if then.is_empty());
        let above = graph.sole_use(id).is_some_and(|(user, _)| is_sum(&graph.node(user).op));
        if above || graph.ty(id).rank() != 4 {
            return Err(Stop::NoMatch);
        }
        let (mut convs, mut rest, mut sums, mut work) =
            (Vec::new(), Vec::new(), Vec::new(), vec![id]);
        while let Some(sum) = work.pop() {
            sums.push(sum);
            for (_, addend) in graph.operands(sum).into_iter().rev() {
                let (op, alone) = (&graph.node(addend).op, graph.sole_use(addend).is_some());
                let whole = graph.ty(addend).shape() == graph.ty(id).shape();
                match op {
                    op if is_sum(op) && alone && whole => work.push(addend),
                    Op::Conv(_) if alone && whole => convs.push(addend),
                    _ => rest.push(addend),
                }
            }
        }
        // Another convolution, such as a shortcut's, stays an addend.
        let (mut convs, others) = self.most_alike(convs);
        rest.extend(others);
        let Some((&first, [_, ..])) = convs.split_first() else { return Err(Stop::NoMatch) };
        // A sum has no order; the slices that the branches may end in have.
        convs.sort_by_cached_key(|conv| slice_start(graph, *conv));
        let Op::Conv(conv) = &graph.node(first).op else { return Err(Stop::NoMatch) };
        let inputs = self.inputs(&convs)?;
        if conv.groups > 1 || !conv.epilogue.is_empty() {
            return Err(Stop::NoMatch);
        }
        let weight = self.side_by_side(&convs)?;
        let bias = self.summed_bias(&convs)?;
        self.edit.region.extend(sums);
        self.edit.region.extend(&convs);
        let x = self.joined(&inputs)?;
        let weight = self.edit.constant(self.name_of(&convs, 1), weight.0, weight.1);
        let mut operands = vec![(0, x), (1, weight)];
        if let Some((ty, bias)) = bias {
            operands.push((2, self.edit.constant(self.name_of(&convs, 2), ty, bias)));
        }
        let name = &graph.node(first).name;
        let mut sum = self.add(&convs, Op::Conv(conv.clone()), operands);
        for addend in rest {
            let add = Op::Binary(Binary::Add, Epilogue::none());
            sum = self.edit.add(name, add, vec![(0, sum), (1, Operand::Old(addend))]);
        }
        Ok(sum)
    }

    /// Those of the convolutions that most others are like, and the rest.
    fn most_alike(&self, convs: Vec<NodeId>) -> (Vec<NodeId>, Vec<NodeId>) {
        let graph = self.graph;
        let reads = |id| graph.operand(id, 0).map(|x| graph.node(x).op.mnemonic());
        let kind = |id: NodeId| (format!("{:?}", graph.node(id).op), reads(id));
        let kinds: Vec<_> = convs.iter().map(|conv| kind(*conv)).collect();
        let mut counts = BTreeMap::new();
        for kind in &kinds {
            *counts.entry(kind).or_insert(0) += 1;
        }
        let Some(most) = kinds.iter().max_by_key(|kind| counts.get(kind)) else {
            return (convs, Vec::new());
        };
        let (alike, others): (Vec<_>, Vec<_>) =
            convs.iter().zip(&kinds).partition(|(_, kind)| *kind == most);
        let ids = |convs: Vec<(&NodeId, _)>| convs.into_iter().map(|(id, _)| *id).collect();
        (ids(alike), ids(others))
    }

    /// A node that stands for these values.
    fn add(&mut self, values: &[NodeId], op: Op, operands: Vec<(usize, Operand)>) -> Operand {
        let new = self.edit.add(&self.graph.node(values[0]).name, op, operands);
        self.edit.stands_for(new, values);
        new
    }

    // ---- weights -----------------------------------------------------------------------------

    /// The name of the first branch's weight in this slot.
    fn name_of(&self, values: &[NodeId], slot: usize) -> String {
        let weight = values.iter().find_map(|v| self.graph.operand(*v, slot));
        weight.map_or_else(|| "bias".to_owned(), |w| self.graph.node(w).name.clone())
    }

    fn constant(&self, value: NodeId, slot: usize) -> Result<(TensorType, Vec<f32>), Stop> {
        let graph = self.graph;
        let id = graph.operand(value, slot).ok_or(Stop::NoMatch)?;
        let values = match &graph.node(id).op {
            Op::Weight(weight) => weight.to_f32(graph.ty(id)),
            _ => None,
        };
        match values {
            Some(values) => Ok((graph.ty(id).clone(), values)),
            None => {
                self.stop(format!("the weights of `{}` are not constant", graph.node(value).name))
            }
        }
    }

    /// The weights in this slot, one after the other along their first axis.
    fn stacked(&self, values: &[NodeId], slot: usize) -> Result<(TensorType, Weight), Stop> {
        let (mut ty, mut all) = self.constant(values[0], slot)?;
        let mut shape = ty.shape();
        for &value in &values[1..] {
            let (next, elements) = self.constant(value, slot)?;
            if next.shape()[1..] != shape[1..] {
                return self.stop(format!("weights differ in shape: {ty} and {next}"));
            }
            shape[0] += next.shape()[0];
            all.extend(elements);
        }
        ty = TensorType::new(DType::F32, &shape);
        Ok((ty, Weight::from_f32(&all)))
    }

    /// As [`stacked`](Self::stacked) for biases: where only some branches have one, zeros stand
    /// for the others'.
    fn stacked_bias(
        &self,
        values: &[NodeId],
        slot: usize,
    ) -> Result<Option<(TensorType, Weight)>, Stop> {
        let graph = self.graph;
        if values.iter().all(|v| graph.operand(*v, slot).is_none()) {
            return Ok(None);
        }
        let mut all = Vec::new();
        for &value in values {
            match graph.operand(value, slot) {
                Some(_) => all.extend(self.constant(value, slot)?.1),
                None => {
                    let rows = graph.operand(value, slot - 1).map(|w| graph.ty(w).shape()[0]);
                    all.extend(std::iter::repeat_n(0.0, rows.unwrap_or(0)));
                }
            }
        }
        Ok(Some((TensorType::new(DType::F32, &[all.len()]), Weight::from_f32(&all))))
    }

    /// Convolution weights `[m, c, kh, kw]`, one after the other along `c`.
    fn side_by_side(&self, values: &[NodeId]) -> Result<(TensorType, Weight), Stop> {
        let mut parts = Vec::new();
        for &value in values {
            parts.push(self.constant(value, 1)?);
        }
        let mut shape = parts[0].0.shape();
        shape[1] = parts.iter().map(|(ty, _)| ty.shape()[1]).sum();
        let mut all = Vec::with_capacity(shape.iter().product());
        for row in 0..shape[0] {
            for (_, elements) in &parts {
                let length = elements.len() / shape[0].max(1);
                all.extend(&elements[row * length..][..length]);
            }
        }
        Ok((TensorType::new(DType::F32, &shape), Weight::from_f32(&all)))
    }

    fn summed_bias(&self, values: &[NodeId]) -> Result<Option<(TensorType, Weight)>, Stop> {
        let mut sum: Option<(TensorType, Vec<f64>)> = None;
        for &value in values {
            if self.graph.operand(value, 2).is_none() {
                continue;
            }
            let (ty, elements) = self.constant(value, 2)?;
            let (_, sum) = sum.get_or_insert_with(|| (ty, vec![0.0; elements.len()]));
            for (sum, x) in sum.iter_mut().zip(elements) {
                *sum += f64::from(x);
            }
        }
        Ok(sum.map(|(ty, sum)| {
            let sum: Vec<f32> = sum.into_iter().map(|x| x as f32).collect();
            (ty, Weight::from_f32(&sum))
        }))
    }
}

/// Whether branches of this operator can be one operator.
fn merges(op: &Op) -> bool {
    matches!(op, Op::Unary(..) | Op::Pool(_) | Op::Conv(_) | Op::SplitAttention(_))
}

/// The first attribute that two operators of one name do not share, and its values.
fn differing_attribute(graph: &Graph, a: NodeId, b: NodeId) -> (&'static str, String, String) {
    let [of_a, of_b] = [a, b].map(|id| attributes(graph, id));
    let value = |all: &[(&str, String)], key: &str| {
        let found = all.iter().find(|(k, _)| *k == key);
        found.map_or_else(|| "the default".to_owned(), |(_, value)| value.clone())
    };
    let keys = of_a.iter().chain(&of_b).map(|(key, _)| *key);
    let mut values = keys.map(|key| (key, value(&of_a, key), value(&of_b, key)));
    values.find(|(_, a, b)| a != b).unwrap_or_default()
}

/// The first channel of the slice that a branch ends in; 0 if it ends in something else.
fn slice_start(graph: &Graph, mut id: NodeId) -> usize {
    for _ in 0..=MOST_LEVELS {
        match &graph.node(id).op {
            Op::Slice { starts, .. } => return starts.get(1).copied().unwrap_or(0),
            Op::Conv(_) | Op::SplitAttention(_) | Op::Pool(_) => {}
            Op::Unary(..) | Op::Concat { axis: 1 } => {}
            _ => return 0,
        }
        match graph.operand(id, 0) {
            Some(x) => id = x,
            None => return 0,
        }
    }
    0
}

/// The value of which these are slices along the channels that, one after the other, cover it.
fn whole_of_slices(graph: &Graph, values: &[NodeId]) -> Option<NodeId> {
    let whole = graph.operand(*values.first()?, 0)?;
    let shape = graph.ty(whole).shape();
    let mut next = 0;
    for &value in values {
        let Op::Slice { starts, steps } = &graph.node(value).op else { return None };
        let mut expected = vec![0; shape.len()];
        *expected.get_mut(1)? = next;
        let part = graph.ty(value).shape();
        let others = part.iter().zip(&shape).enumerate().all(|(i, (a, b))| i == 1 || a == b);
        let along = *starts == expected && steps.iter().all(|s| *s == 1);
        if graph.operand(value, 0) != Some(whole) || !along || !others {
            return None;
        }
        next += part[1];
    }
    (next == shape[1]).then_some(whole)
}
