//! Activations that exporters spell as several operators become the function that they are:
//!
//! ```text
//!   x · sigmoid(x)                      swish
//!   x · (1 + erf(x / √2)) · ½           gelu, its factors in any order
//! ```
//!
//! So they are computed in one go, in the epilogue of what makes x.

use std::f64::consts::SQRT_2;

use crate::ir::{Answer, Binary, Edit, Epilogue, Graph, NodeId, Op, Operand, Unary};

pub(super) fn name_activations(graph: &Graph, id: NodeId) -> Answer {
    let Op::Binary(Binary::Mul, then) = &graph.node(id).op else { return Answer::NoMatch };
    let found = swish(graph, id).or_else(|| gelu(graph, id));
    let Some((function, x, region)) = found.filter(|(_, x, _)| graph.ty(*x) == graph.ty(id)) else {
        return Answer::NoMatch;
    };
    if !then.is_empty() {
        return Answer::NoMatch;
    }
    let mut edit = Edit::of(region);
    let op = Op::Unary(function, Epilogue::none());
    let new = edit.add(&graph.node(id).name, op, vec![(0, Operand::Old(x))]);
    edit.replace(id, new)
}

/// A function, what it is of, and the operators that spell it.
type Found = (Unary, NodeId, Vec<NodeId>);

fn swish(graph: &Graph, id: NodeId) -> Option<Found> {
    let [a, b] = [graph.operand(id, 0)?, graph.operand(id, 1)?];
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let is_its_own = unary(graph, gate, Unary::Sigmoid)? == x && is_inner(graph, gate);
        is_its_own.then(|| (Unary::Swish, x, vec![gate, id]))
    })
}

fn gelu(graph: &Graph, id: NodeId) -> Option<Found> {
    let mut region = vec![id];
    let factors = factors(graph, id, &mut region)?;
    let is_half = |factor: &NodeId| number(graph, *factor) == Some(0.5);
    let half = factors.iter().position(is_half)?;
    let others: Vec<NodeId> =
        factors.iter().enumerate().filter(|(at, _)| *at != half).map(|(_, id)| *id).collect();
    let [a, b] = others[..] else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(x, sum)| {
        let (of, inner) = one_and_erf(graph, sum)?;
        let all = region.iter().chain(&inner).copied().collect();
        (of == x).then_some((Unary::Gelu, x, all))
    })
}

/// The three factors of a product of products, whose inner one nothing else reads.
fn factors(graph: &Graph, id: NodeId, region: &mut Vec<NodeId>) -> Option<[NodeId; 3]> {
    let [a, b] = [graph.operand(id, 0)?, graph.operand(id, 1)?];
    [(a, b), (b, a)].into_iter().find_map(|(inner, other)| {
        let Op::Binary(Binary::Mul, then) = &graph.node(inner).op else { return None };
        if !then.is_empty() || !is_inner(graph, inner) {
            return None;
        }
        region.push(inner);
        Some([graph.operand(inner, 0)?, graph.operand(inner, 1)?, other])
    })
}

/// The x of `1 + erf(x / √2)`, and the operators of that.
fn one_and_erf(graph: &Graph, sum: NodeId) -> Option<(NodeId, Vec<NodeId>)> {
    let erf = with_number(graph, sum, Binary::Add, |number| number == 1.0)?;
    let scaled = unary(graph, erf, Unary::Erf)?;
    // As f32 have it, of the quotient or of the factor.
    let is_root = |number: f64| (number - SQRT_2).abs() < 1e-6;
    let x = with_number(graph, scaled, Binary::Div, is_root)
        .or_else(|| with_number(graph, scaled, Binary::Mul, |number| is_root(number.recip())))?;
    let inner = vec![sum, erf, scaled];
    inner.iter().all(|id| is_inner(graph, *id)).then_some((x, inner))
}

/// The other operand of an operator of a value and a number, which comes second where the order matters.
fn with_number(
    graph: &Graph,
    id: NodeId,
    function: Binary,
    fits: impl Fn(f64) -> bool,
) -> Option<NodeId> {
    let Op::Binary(found, then) = &graph.node(id).op else { return None };
    let [a, b] = [graph.operand(id, 0)?, graph.operand(id, 1)?];
    if *found != function || !then.is_empty() {
        return None;
    }
    let orders = [(a, b), (b, a)].into_iter().take(1 + usize::from(function.commutes()));
    let mut fitting = orders.filter(|(_, constant)| number(graph, *constant).is_some_and(&fits));
    fitting.next().map(|(x, _)| x)
}

/// What a function without an epilogue is of.
fn unary(graph: &Graph, id: NodeId, function: Unary) -> Option<NodeId> {
    match &graph.node(id).op {
        Op::Unary(found, then) if *found == function && then.is_empty() => graph.operand(id, 0),
        _ => None,
    }
}

/// A constant of one element.
fn number(graph: &Graph, id: NodeId) -> Option<f64> {
    let Op::Weight(weight) = &graph.node(id).op else { return None };
    let ty = graph.ty(id);
    let values = if ty.elements() == 1 { weight.to_f32(ty) } else { None };
    values?.first().map(|value| f64::from(*value))
}

/// Whether nothing reads a value but the operator that it is a part of.
fn is_inner(graph: &Graph, id: NodeId) -> bool {
    graph.sole_use(id).is_some()
}
