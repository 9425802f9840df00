//! Where elements come from: through reshapes, slices, transposes and their like, element by
//! element, so that every spelling of one arrangement is the same arrangement. Rounding to the grid of
//! quantized values is looked through too, as if it were not there.

use std::collections::BTreeSet;

use crate::interp::{Data, Tensor};
use crate::ir::{Binary, Graph, NodeId, Op, TensorType, Unary};
use crate::passes::grid::quantized;

/// Elements `index · tail` up to `(index + 1) · tail` of a value's first image: one number, or a
/// plane that moves as a whole. What the other images hold follows, because nothing here is
/// followed through an operator that touches the batch axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Block {
    /// The value.
    pub(super) node: NodeId,
    /// Which block.
    pub(super) index: usize,
    /// Elements of a block.
    pub(super) tail: usize,
}

/// What is applied to one element on its way, first to last, and the nodes that apply it.
pub(super) type Path = Vec<(NodeId, Unary)>;

/// Follows blocks, and remembers the nodes it passed.
pub(super) struct Tracer<'g> {
    /// The graph.
    pub(super) graph: &'g Graph,
    /// Nodes passed.
    pub(super) passed: BTreeSet<NodeId>,
    /// Those of them whose rounding the operator does.
    pub(super) kept: BTreeSet<NodeId>,
}

/// Most operators that a block is followed through in a row.
const LONGEST: usize = 256;

impl<'g> Tracer<'g> {
    pub(super) fn new(graph: &'g Graph) -> Tracer<'g> {
        Tracer { graph, passed: BTreeSet::new(), kept: BTreeSet::new() }
    }

    /// The block that this one is a copy of, as far back as operators only move elements, or to
    /// the first node where `stop` holds.
    pub(super) fn origin(&mut self, block: Block, stop: impl Fn(NodeId) -> bool) -> Block {
        self.origin_and_roundings(block, stop).0
    }

    /// The same, with what rounds on the way from there, first to last.
    pub(super) fn origin_and_roundings(
        &mut self,
        mut block: Block,
        stop: impl Fn(NodeId) -> bool,
    ) -> (Block, Path) {
        let mut path = Path::new();
        for _ in 0..LONGEST {
            if stop(block.node) {
                break;
            }
            let Some(before) = self.back(block) else { break };
            path.extend(rounding(self.graph, block.node).map(|function| (block.node, function)));
            block = before;
        }
        path.reverse();
        (block, path)
    }

    /// The one value that rounds this one, where it is that which the block reads instead.
    pub(super) fn rounded(&self, id: NodeId) -> Option<NodeId> {
        let uses = self.graph.uses(id).into_iter().map(|(user, _)| user);
        let mut users = uses.filter(|user| self.passed.contains(user));
        let first = users.next().filter(|user| rounds(self.graph, *user))?;
        users.all(|user| user == first).then_some(first)
    }

    /// The block of an operand that this one is a copy of.
    pub(super) fn back(&mut self, block: Block) -> Option<Block> {
        let before = moved_from(self.graph, block)?;
        self.passed.insert(block.node);
        Some(before)
    }
}

/// Whether a node rounds elements to the grid of quantized values, and clips none but what is beyond all that
/// was seen when the model was quantized. A grid from 0 on may stand for a relu.
pub(super) fn rounds(graph: &Graph, id: NodeId) -> bool {
    rounding(graph, id).is_some()
}

/// The function of a node that only rounds.
pub(super) fn rounding(graph: &Graph, id: NodeId) -> Option<Unary> {
    let function = quantized(graph, id)?;
    let Unary::Quantized { lowest, .. } = function else { return None };
    let x = graph.operand(id, 0)?;
    (lowest < 0.0 || is_never_negative(graph, x)).then_some(function)
}

/// Whether it follows from the operators before a value that it is not below 0.
fn is_never_negative(graph: &Graph, id: NodeId) -> bool {
    let mut work = vec![id];
    for _ in 0..LONGEST {
        let Some(id) = work.pop() else { return true };
        let operands = || graph.operands(id).into_iter().map(|(_, operand)| operand);
        match &graph.node(id).op {
            Op::Softmax { log: false, .. } => {}
            Op::Unary(function, then) if then.is_empty() => match function {
                Unary::Relu | Unary::Sigmoid | Unary::HardSigmoid { .. } => {}
                Unary::Quantized { lowest, .. } if *lowest >= 0.0 => {}
                Unary::Clip { low, .. } if *low >= 0.0 => {}
                Unary::Quantized { .. } => work.extend(operands()),
                _ => return false,
            },
            Op::Binary(Binary::Add | Binary::Mul, then) if then.is_empty() => {
                work.extend(operands())
            }
            Op::Gather { .. } => work.extend(operands().take(1)),
            Op::Reduce(_) | Op::Pool(_) | Op::Concat { .. } => work.extend(operands()),
            Op::Identity | Op::Reshape | Op::Expand | Op::Transpose { .. } | Op::Slice { .. } => {
                work.extend(operands());
            }
            _ => return false,
        }
    }
    false
}

/// Whether a node only moves elements of the operand in slot 0 (of all operands for `concat`), or rounds
/// them.
pub(super) fn only_moves(graph: &Graph, id: NodeId) -> bool {
    let moves = matches!(
        graph.node(id).op,
        Op::Identity
            | Op::Reshape
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
    );
    moves || rounds(graph, id)
}

/// Extents within an image; `None` for a scalar.
pub(super) fn image_dims(ty: &TensorType) -> Option<Vec<usize>> {
    let mut shape = ty.shape();
    (!shape.is_empty()).then(|| {
        shape.remove(0);
        shape
    })
}

/// The first of the last axes whose extents multiply to `tail`.
pub(super) fn suffix(dims: &[usize], tail: usize) -> Option<usize> {
    let mut product = 1usize;
    let mut axis = dims.len();
    while product != tail {
        axis = axis.checked_sub(1)?;
        product = product.checked_mul(dims[axis])?;
        if product > tail || product == 0 {
            return None;
        }
    }
    Some(axis)
}

/// The index of a flat offset.
pub(super) fn unravel(mut at: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (i, n) in index.iter_mut().zip(dims).rev() {
        let n = (*n).max(1);
        *i = at % n;
        at /= n;
    }
    index
}

/// The flat offset of an index.
pub(super) fn ravel(index: &[usize], dims: &[usize]) -> usize {
    index.iter().zip(dims).fold(0, |at, (i, n)| at * n + i)
}

fn moved_from(graph: &Graph, block: Block) -> Option<Block> {
    let node = graph.node(block.node);
    if let Op::Concat { axis } = node.op {
        return part(graph, block, axis);
    }
    if !only_moves(graph, block.node) {
        return None;
    }
    let x = graph.operand(block.node, 0)?;
    let (ty, from) = (&node.ty, graph.ty(x));
    if ty.shape().first()? != from.shape().first()? {
        return None;
    }
    let (dims, from) = (image_dims(ty)?, image_dims(from)?);
    let same = Block { node: x, ..block };
    let flat = block.index * block.tail;
    // Only outer axes are moved; where they are is what `index` counts.
    let split = suffix(&dims, block.tail)?;
    let at = unravel(flat, &dims);
    let index = match &node.op {
        Op::Identity | Op::Reshape | Op::Unary(..) => return Some(same),
        Op::Transpose { perm } => {
            let fixed = |axis: usize| perm.get(axis) == Some(&axis);
            if !fixed(0) || !(split..dims.len()).all(|axis| fixed(axis + 1)) {
                return None;
            }
            let mut index = vec![0; from.len()];
            for (to, from) in perm.iter().skip(1).enumerate() {
                *index.get_mut(from.checked_sub(1)?)? = at[to];
            }
            index
        }
        Op::Slice { starts, steps } => {
            let whole = |axis: usize| starts[axis] == 0 && steps[axis] == 1;
            let untouched = |axis: usize| whole(axis + 1) && dims[axis] == from[axis];
            if !whole(0) || !(split..dims.len()).all(untouched) {
                return None;
            }
            let axes = at.iter().zip(starts[1..].iter().zip(&steps[1..]));
            axes.map(|(i, (start, step))| start.checked_add_signed(*i as isize * step))
                .collect::<Option<_>>()?
        }
        Op::Expand => {
            if from.len() != dims.len() {
                return None;
            }
            let at = at.iter().zip(&from).map(|(i, n)| if *n == 1 { 0 } else { *i }).collect();
            let tail = if from[split..] == dims[split..] {
                block.tail
            } else if from[split..].iter().all(|n| *n == 1) {
                1
            } else {
                return None;
            };
            let at: Vec<usize> = at;
            return Some(Block { node: x, index: ravel(&at, &from) / tail, tail });
        }
        Op::Gather { axis } => {
            let picked = indices(graph, graph.operand(block.node, 1)?)?;
            let (axis, count) = (axis.checked_sub(1)?, dims.len() + 1 - from.len());
            if axis + count > split {
                return None;
            }
            let which = ravel(&at[axis..axis + count], &dims[axis..axis + count]);
            let mut index = at;
            index.splice(axis..axis + count, [*picked.get(which)?]);
            index
        }
        _ => return None,
    };
    Some(Block { index: ravel(&index, &from) / block.tail, ..same })
}

/// The block of the part of a `concat` that holds it.
fn part(graph: &Graph, block: Block, axis: usize) -> Option<Block> {
    let axis = axis.checked_sub(1)?;
    let dims = image_dims(graph.ty(block.node))?;
    if axis >= suffix(&dims, block.tail)? {
        return None;
    }
    let mut at = unravel(block.index * block.tail, &dims);
    for (_, part) in graph.operands(block.node) {
        let from = image_dims(graph.ty(part))?;
        if at[axis] < from[axis] {
            return Some(Block { node: part, index: ravel(&at, &from) / block.tail, ..block });
        }
        at[axis] -= from[axis];
    }
    None
}

/// The elements of a constant index tensor.
fn indices(graph: &Graph, id: NodeId) -> Option<Vec<usize>> {
    let node = graph.node(id);
    let Op::Weight(weight) = &node.op else { return None };
    match Tensor::from_bytes(&node.ty, &weight.bytes(&node.ty)?)?.data {
        Data::Int(values) => values.into_iter().map(|v| usize::try_from(v).ok()).collect(),
        Data::Float(_) => None,
    }
}
