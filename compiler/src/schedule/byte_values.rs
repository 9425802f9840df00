//! Which values can be stored as bytes, because their last step rounds them to few enough multiples of a
//! scale, and which convolutions multiply these: those whose weights are multiples of a scale too, one for
//! each output channel.

use std::collections::{BTreeMap, BTreeSet};

use super::byte_scale::ByteScale;
use super::stages::{Stages, View};
use super::tiled::is_tiled;
use crate::ir::{DType, Graph, NodeId, Op, PoolKind, Step};
use crate::machine::{Dots, LARGEST_PAIR, Machine};

/// More splits are summed in several passes, between which sums of f32 are kept in the result.
pub(crate) const MOST_SPLITS: usize = 8;

/// What can be bytes in a graph; nothing on a machine without dot products of bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ByteValues {
    values: BTreeMap<NodeId, ByteScale>,
    convs: BTreeSet<NodeId>,
}

impl ByteValues {
    /// Of a verified graph.
    pub(super) fn find(graph: &Graph, stages: &Stages, machine: &Machine) -> ByteValues {
        let mut bytes = ByteValues::default();
        let Some(dots) = machine.dots else { return bytes };
        for id in graph.topological() {
            let scale = bytes.scale(graph, id).filter(|_| graph.ty(id).dtype == DType::F32);
            bytes.values.extend(scale.map(|scale| (id, scale)));
        }
        let multiplied = |id: &NodeId| {
            let view = stages.view(graph, stages.of(*id));
            bytes.multiplies_bytes(view, *id, dots)
        };
        bytes.convs = graph.nodes().filter(multiplied).collect();
        bytes.if_any()
    }

    /// The same with these convolutions in f32.
    pub(super) fn without(&self, convs: &BTreeSet<NodeId>) -> ByteValues {
        let convs = self.convs.difference(convs).copied().collect();
        ByteValues { values: self.values.clone(), convs }.if_any()
    }

    /// Nothing is stored as bytes for nothing.
    fn if_any(self) -> ByteValues {
        if self.is_empty() { ByteValues::default() } else { self }
    }

    /// Whether no convolution multiplies bytes.
    pub(super) fn is_empty(&self) -> bool {
        self.convs.is_empty()
    }

    /// The convolutions that multiply bytes.
    pub(super) fn convs(&self) -> impl Iterator<Item = NodeId> {
        self.convs.iter().copied()
    }

    /// What bytes of a value stand for.
    pub(super) fn of(&self, id: NodeId) -> Option<ByteScale> {
        self.values.get(&id).copied()
    }

    /// Whether a convolution multiplies bytes.
    pub(super) fn are_multiplied(&self, conv: NodeId) -> bool {
        self.convs.contains(&conv)
    }

    /// Of a result: what its last step rounds to, or what it is picked from.
    fn scale(&self, graph: &Graph, id: NodeId) -> Option<ByteScale> {
        let op = &graph.node(id).op;
        let picked = || self.of(graph.operand(id, 0)?);
        if let Op::SplitAttention(attention) = op
            && attention.radix > MOST_SPLITS
        {
            return None;
        }
        match (op, op.epilogue().and_then(|then| then.steps.last())) {
            (_, Some(Step::Unary(function))) => ByteScale::of(function),
            (_, Some(Step::Binary(..))) => None,
            (Op::Unary(function, _), None) => ByteScale::of(function),
            (Op::Pool(pool), None) if pool.kind == PoolKind::Max => picked(),
            (Op::Slice { .. }, None) => picked(),
            _ => None,
        }
    }

    fn multiplies_bytes(&self, graph: View<'_>, id: NodeId, dots: Dots) -> bool {
        let Op::Conv(conv) = &graph.node(id).op else { return false };
        let x = graph.operand(id, 0).and_then(|x| self.of(x));
        x.is_some_and(|x| is_tiled(graph, id, conv) && has_multiples(&graph, id, x.scale, dots))
    }
}

/// Whether the weights of a convolution are multiples, whose scale with that of what is read is an f32 of full
/// precision, its sums no larger than an i32, and those of pairs no larger than what adds them up.
fn has_multiples(graph: &Graph, id: NodeId, read: f32, dots: Dots) -> bool {
    const LONGEST_SUM: usize = i32::MAX as usize / (255 * 128);
    let Some(weight) = graph.operand(id, 1) else { return false };
    let (Op::Weight(values), ty) = (&graph.node(weight).op, graph.ty(weight)) else { return false };
    let row = ty.shape().iter().skip(1).product::<usize>();
    if ty.dtype != DType::F32 || row == 0 || row > LONGEST_SUM {
        return false;
    }
    let elements = values.bytes(ty).unwrap_or_default();
    let words = elements.as_chunks::<4>().0;
    let taps = ty.shape().iter().skip(2).product::<usize>();
    let fits = |row: &[[u8; 4]]| {
        let scale = scale_of(row).filter(|scale| (scale * read).is_normal());
        scale.is_some_and(|scale| match dots {
            Dots::Words => true,
            Dots::Pairs => pairs_fit(row, scale, taps),
        })
    };
    !words.is_empty() && words.chunks(row).all(fits)
}

/// Whether no two weights of a pair of channels, `[c, taps]` multiples of a scale, add up to more than
/// [`LARGEST_PAIR`] on either side of 0.
fn pairs_fit(row: &[[u8; 4]], scale: f32, taps: usize) -> bool {
    let steps = |word: &[u8; 4]| f64::from(f32::from_le_bytes(*word)) / f64::from(scale);
    let fits = |(a, b): (&[u8; 4], &[u8; 4])| {
        let (a, b) = (steps(a).round(), steps(b).round());
        let largest = f64::from(LARGEST_PAIR);
        a.max(0.0) + b.max(0.0) <= largest && a.min(0.0) + b.min(0.0) >= -largest
    };
    // A channel alone fits anyway.
    row.chunks_exact(2 * taps).all(|pair| pair[..taps].iter().zip(&pair[taps..]).all(fits))
}

/// The scale of which all these f32 are multiples, from -128 to 127 times it; the largest, and 1 where all
/// are 0. A product of an integer and a scale is rounded, so they need not be it exactly.
pub(crate) fn scale_of(words: &[[u8; 4]]) -> Option<f32> {
    /// A product and the scale that is found are rounded each, relative to their size.
    const ROUNDED: f64 = 2.0 * f32::EPSILON as f64;
    let values = || words.iter().map(|word| f64::from(f32::from_le_bytes(*word)));
    let magnitudes = || values().map(f64::abs).filter(|x| *x > 0.0);
    if !values().all(f64::is_finite) {
        return None;
    }
    let Some(least) = magnitudes().reduce(f64::min) else { return Some(1.0) };
    let most = magnitudes().fold(0.0, f64::max);
    let steps = (128.5 * least / most).floor();
    let is_multiple = |x: f64, scale: f64| {
        let steps = (x / scale).round();
        (steps - x / scale).abs() <= ROUNDED * steps.abs() && (-128.0..=127.0).contains(&steps)
    };
    let scales = (1..=steps as usize).map(|step| least / step as f64);
    let mut fitting = scales.filter(|scale| values().all(|x| is_multiple(x, *scale)));
    fitting.next().map(|scale| scale as f32).filter(|scale| scale.is_normal())
}
