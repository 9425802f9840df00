//! Recognises Split-Attention, whatever wrote it, and makes it one operator.
//!
//! Exporters spell the block in 10 to 60 nodes. Most of them only move elements: reshapes, splits,
//! transposes, unsqueezes, stacks. So nothing here matches a sequence of operators. Starting from
//! the softmax (or the gate), the pass follows each number to where it is multiplied
//! ([`weigh`]), and each number back through the dense layers to the mean it was computed from
//! ([`excite`], [`squeeze`]). That gives, for every output channel, which splits it sums, with
//! which rows of which dense layers as their weights; cardinality, radix and the order of channels
//! follow from these lists, and so does the proof that the block is one. [`build`] writes it down
//! cardinality-major.
//!
//! Quantized models round the value of nearly every operator to a grid. That is looked through, and where all
//! elements of what the operator has a name for are rounded alike, it rounds them too ([`rounding`]). What is
//! left out of that is the rounding of sums that the operator does not have: of splits before their mean, of a
//! dense layer before its bias, of the first few products. A grid from 0 on stands for the relu before it, which
//! tools leave out: there the clipping stays.

mod build;
mod excite;
mod rounding;
mod squeeze;
mod trace;
mod weigh;

use crate::ir::{Answer, Failure, Graph, NodeId, Op, Rounding, Unary};
use rounding::Alike;
use trace::{Tracer, only_moves};

/// Why there is no match.
enum Miss {
    /// Something else.
    NoMatch,
    /// The first condition that does not hold.
    Failed(String),
}

type Found<T> = Result<T, Miss>;

/// A near miss.
fn failed<T>(because: impl Into<String>) -> Found<T> {
    Err(Miss::Failed(because.into()))
}

pub(super) fn recognise(graph: &Graph, id: NodeId) -> Answer {
    if !is_anchor(&graph.node(id).op) || !follows_a_squeeze(graph, id) {
        return Answer::NoMatch;
    }
    let mut tracer = Tracer::new(graph);
    tracer.passed.insert(id);
    match block(&mut tracer, id) {
        Ok(answer) => answer,
        Err(Miss::NoMatch) => Answer::NoMatch,
        Err(Miss::Failed(because)) => {
            Answer::Failed(Failure { because, nodes: tracer.passed.into_iter().collect() })
        }
    }
}

fn block(tracer: &mut Tracer<'_>, anchor: NodeId) -> Found<Answer> {
    let mut weighed = weigh::weighed(tracer, anchor)?;
    let squeezed = squeeze::Squeezed::new(&weighed);
    let mut excited = excite::excited(tracer, anchor, &weighed, squeezed)?;
    let mut kept = |alike: &mut Alike| std::mem::take(alike).kept(tracer).unwrap_or_default();
    let ([squeezed, rows], [weights, products]) = (&mut excited.rounding, &mut weighed.rounding);
    let [squeezed, excites, weights, products] = [squeezed, rows, weights, products].map(&mut kept);
    let rounding = Rounding { squeezed, excited: excites, weights, products };
    weighed.keep_rounding(tracer);
    used_inside_only(tracer, weighed.top)?;
    build::edit(tracer, &weighed, &excited, rounding)
}

/// What makes weights of numbers: a softmax, or a gate.
fn is_anchor(op: &Op) -> bool {
    match op {
        Op::Softmax { .. } => true,
        Op::Unary(function, then) => {
            then.is_empty()
                && matches!(function, Unary::Sigmoid | Unary::HardSigmoid { .. } | Unary::Tanh)
        }
        _ => false,
    }
}

/// Whether the numbers are computed from a mean, or from what may stand in its place: if not, this
/// is no attention over channels, and nothing more is said about it.
fn follows_a_squeeze(graph: &Graph, anchor: NodeId) -> bool {
    const FURTHEST: usize = 64;
    let mut id = anchor;
    for _ in 0..FURTHEST {
        let node = graph.node(id);
        let simple = only_moves(graph, id)
            || matches!(node.op, Op::Conv(_) | Op::MatMul { .. } | Op::Unary(..) | Op::Binary(..))
            || matches!(node.op, Op::Softmax { .. } | Op::BatchNorm { .. });
        if squeeze::reduces_planes(graph, id) {
            return true;
        }
        // A constant may be the first operand of an addition.
        let operands = graph.operands(id).into_iter().map(|(_, operand)| operand);
        let mut computed = operands.filter(|o| !matches!(graph.node(*o).op, Op::Weight(_)));
        match computed.next() {
            Some(operand) if simple => id = operand,
            _ => return false,
        }
    }
    false
}

/// Refuses a block with a value that something outside uses, or that is an output of the model:
/// it would have to be computed again.
fn used_inside_only(tracer: &Tracer<'_>, top: NodeId) -> Found<()> {
    let graph = tracer.graph;
    for &id in tracer.passed.iter().filter(|id| **id != top) {
        let name = &graph.node(id).name;
        if graph.is_output(id) {
            return failed(format!("`{name}`, inside the block, is an output of the model"));
        }
        let user = graph.uses(id).into_iter().find(|(user, _)| !tracer.passed.contains(user));
        if let Some((user, _)) = user {
            let user = describe(graph, user);
            return failed(format!("`{name}`, inside the block, is used outside it, by {user}"));
        }
    }
    Ok(())
}

/// A node for messages: its value and operator.
fn describe(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    format!("`{}` ({})", node.name, node.op.mnemonic())
}
