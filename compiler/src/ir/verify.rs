//! Checks a graph against the rules of the IR, which are these.
//!
//! **Names.** Every value has a name, which is not empty and no other value's. Outputs likewise
//! have names of their own, but an output may be called what a value is called.
//!
//! **Inputs and outputs.** The graph's inputs are its `input` nodes, each listed once. Its outputs
//! are nodes of the graph. Inputs come from no ONNX node; no node lists an origin twice.
//!
//! **Operands.** Every slot holds one operand at most. An operator's own slots are those that the
//! comments in `op.rs` give; the required ones are filled. A `concat` fills its slots from 0
//! without gaps. Slots from [`Op::epilogue_slot`] on are the epilogue's.
//!
//! **Order.** No node depends on itself, through whatever other nodes.
//!
//! **Epilogues.** Each binary step names a filled epilogue slot, and each filled epilogue slot is
//! named by a step. These operands have the element type and shape of the result. No step is
//! `equal`, which would change the element type.
//!
//! **Types.** A value's bytes can be counted in an `isize`. Named factors multiply to their axis
//! (by construction), and are named by ASCII letters. A node's element type and shape are those
//! that [`infer`](super::infer) finds; the factors of its axes are the node's own, and so are the
//! types of
//!
//! - `input`: any;
//! - `weight`: as many bytes as its elements take, where they are known; at most
//!   [`Weight::RAND_BYTES`](super::Weight::RAND_BYTES) of `rand`;
//! - `reshape`: the operand's element type, and as many elements;
//! - `expand`: the operand's element type, and a shape that its shape broadcasts to;
//! - `slice`: the operand's element type and rank, a start and a step for each axis, no step 0,
//!   and no element outside the operand.

use std::collections::BTreeSet;

use petgraph::algo::toposort;

use super::epilogue::Step;
use super::graph::{Graph, Node, NodeId};
use super::infer::infer;
use super::op::Op;
use super::types::TensorType;
use super::weight::Weight;
use crate::error::{Error, Result};

/// Whether a rule holds, or how it is broken.
type Verdict = Result<(), String>;

/// Checks that the graph keeps the rules above.
///
/// # Errors
/// [`Problem::Internal`](crate::error::Problem::Internal) naming the first value found to break
/// one, its operator and origins, and the rule.
pub fn verify(graph: &Graph) -> Result<()> {
    names(graph)?;
    inputs(graph)?;
    outputs(graph)?;
    for id in graph.nodes() {
        let node = graph.node(id);
        let broken = |rule| violation(node, rule);
        origins(node).map_err(broken)?;
        bounded(&node.ty).map_err(broken)?;
        slots(graph, id).map_err(broken)?;
        epilogue(graph, id).map_err(broken)?;
    }
    if let Err(cycle) = toposort(graph.dag.dag(), None) {
        return Err(violation(graph.node(cycle.node_id()), "it depends on itself".to_owned()));
    }
    // In order, so that what is wrong first is named first.
    for id in graph.topological() {
        types(graph, id).map_err(|rule| violation(graph.node(id), rule))?;
    }
    Ok(())
}

fn violation(node: &Node, rule: String) -> Error {
    const SHOWN: usize = 4;
    let mut from = String::new();
    for origin in node.from.iter().take(SHOWN) {
        from += if from.is_empty() { ", from " } else { ", " };
        from += &format!("`{origin}`");
    }
    if node.from.len() > SHOWN {
        from += &format!(" and {} more", node.from.len() - SHOWN);
    }
    Error::internal(format!("value `{}` ({}{from}): {rule}", node.name, node.op.mnemonic()))
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn names(graph: &Graph) -> Result<()> {
    let mut seen = BTreeSet::new();
    for id in graph.nodes() {
        let node = graph.node(id);
        let broken = |rule| violation(node, rule);
        ensure(!node.name.is_empty(), || "a value has a name".to_owned()).map_err(broken)?;
        ensure(seen.insert(&node.name), || "another value has this name".to_owned())
            .map_err(broken)?;
    }
    Ok(())
}

fn inputs(graph: &Graph) -> Result<()> {
    let mut seen = BTreeSet::new();
    for id in graph.inputs() {
        if !graph.contains(*id) {
            return Err(Error::internal("an input of the graph is not one of its nodes"));
        }
        let node = graph.node(*id);
        let broken = |rule| violation(node, rule);
        ensure(node.op == Op::Input, || "it is listed among the inputs".to_owned())
            .map_err(broken)?;
        ensure(seen.insert(*id), || "it is listed twice among the inputs".to_owned())
            .map_err(broken)?;
    }
    for id in graph.nodes() {
        let node = graph.node(id);
        ensure(node.op != Op::Input || seen.contains(&id), || {
            "it is not listed among the inputs".to_owned()
        })
        .map_err(|rule| violation(node, rule))?;
    }
    Ok(())
}

fn outputs(graph: &Graph) -> Result<()> {
    let mut seen = BTreeSet::new();
    for output in graph.outputs() {
        let broken = |what| Error::internal(format!("output `{}`: {what}", output.name));
        if output.name.is_empty() {
            return Err(broken("an output has a name"));
        }
        if !seen.insert(&output.name) {
            return Err(broken("another output has this name"));
        }
        if !graph.contains(output.node) {
            return Err(broken("its value is not a node of the graph"));
        }
    }
    Ok(())
}

fn origins(node: &Node) -> Verdict {
    let mut seen = BTreeSet::new();
    for origin in &node.from {
        ensure(node.op != Op::Input, || "an input comes from no ONNX node".to_owned())?;
        ensure(seen.insert(origin), || format!("the origin `{origin}` is listed twice"))?;
    }
    Ok(())
}

fn bounded(ty: &TensorType) -> Verdict {
    ensure(isize::try_from(ty.bytes()).is_ok(), || format!("the bytes of {ty} cannot be counted"))?;
    for factor in ty.axes.iter().flat_map(|axis| axis.factors()) {
        ensure(factor.name.is_ascii_alphabetic(), || {
            format!("an axis factor is named by a letter, not {:?}", factor.name)
        })?;
    }
    Ok(())
}

fn slots(graph: &Graph, id: NodeId) -> Verdict {
    let op = &graph.node(id).op;
    let operands = graph.operands(id);
    for pair in operands.windows(2) {
        let [(a, _), (b, _)] = pair else { continue };
        ensure(a != b, || format!("slot {a} holds two operands"))?;
    }
    let (required, own) = op.own_slots();
    let required = if own.is_none() { required.max(operands.len()) } else { required };
    for slot in 0..required {
        let filled = graph.operand(id, slot).is_some();
        ensure(filled, || format!("slot {slot} holds no operand"))?;
    }
    for (slot, _) in operands {
        let known = op.epilogue_slot().is_some() || own.is_none_or(|own| slot < own);
        ensure(known, || format!("it has an operand in slot {slot}, which its operator lacks"))?;
    }
    Ok(())
}

fn epilogue(graph: &Graph, id: NodeId) -> Verdict {
    let node = graph.node(id);
    let (Some(epilogue), Some(first)) = (node.op.epilogue(), node.op.epilogue_slot()) else {
        return Ok(());
    };
    let mut named = BTreeSet::new();
    for step in &epilogue.steps {
        let Step::Binary(function, slot) = *step else {
            continue;
        };
        named.insert(slot);
        let name = function.mnemonic();
        ensure(!function.compares(), || {
            format!("its epilogue applies `{name}`, which changes the element type")
        })?;
        ensure(slot >= first, || {
            format!("its epilogue's `{name}` reads slot {slot}, which is not the epilogue's")
        })?;
        let operand = graph.operand(id, slot).ok_or_else(|| {
            format!("its epilogue's `{name}` reads slot {slot}, which holds no operand")
        })?;
        let ty = graph.ty(operand);
        ensure(same(ty, &node.ty), || {
            format!("its epilogue's `{name}` reads {ty}, and its result is {}", node.ty)
        })?;
    }
    for (slot, _) in graph.operands(id) {
        ensure(slot < first || named.contains(&slot), || {
            format!("slot {slot} holds an operand that no step of its epilogue reads")
        })?;
    }
    Ok(())
}

/// Whether element type and extents are the same, however the axes factor.
fn same(a: &TensorType, b: &TensorType) -> bool {
    a.dtype == b.dtype && a.shape() == b.shape()
}

fn types(graph: &Graph, id: NodeId) -> Verdict {
    let node = graph.node(id);
    let operand = || graph.operand(id, 0).map(|x| graph.ty(x)).ok_or("slot 0 holds no operand");
    match &node.op {
        Op::Input => Ok(()),
        Op::Weight(weight) => weight_fits(weight, &node.ty),
        Op::Reshape => reshape_fits(operand()?, &node.ty),
        Op::Expand => expand_fits(operand()?, &node.ty),
        Op::Slice { starts, steps } => slice_fits(operand()?, starts, steps, &node.ty),
        op => {
            let operands = graph.operands(id);
            let operands: Vec<_> = operands.iter().map(|(s, x)| (*s, graph.ty(*x))).collect();
            let found = infer(op, &operands).map_err(|error| error.problem.to_string())?;
            ensure(same(&found, &node.ty), || {
                format!("its type is {}, and its operands give {found}", node.ty)
            })
        }
    }
}

fn weight_fits(weight: &Weight, ty: &TensorType) -> Verdict {
    let wanted = ty.bytes();
    if weight.seed().is_some() {
        let limit = Weight::RAND_BYTES;
        return ensure(wanted <= limit, || format!("{wanted} bytes of `rand`, of at most {limit}"));
    }
    let found = weight.bytes(ty).map_or(wanted, |bytes| bytes.len());
    ensure(found == wanted, || format!("{found} bytes for {ty}, which takes {wanted}"))
}

fn same_dtype(x: &TensorType, ty: &TensorType) -> Verdict {
    ensure(x.dtype == ty.dtype, || format!("its type is {ty}, and its operand is {x}"))
}

fn reshape_fits(x: &TensorType, ty: &TensorType) -> Verdict {
    same_dtype(x, ty)?;
    ensure(x.elements() == ty.elements(), || {
        format!("{ty} has {} elements, and its operand {x} has {}", ty.elements(), x.elements())
    })
}

fn expand_fits(x: &TensorType, ty: &TensorType) -> Verdict {
    same_dtype(x, ty)?;
    let (from, to) = (x.shape(), ty.shape());
    let broadcasts = from.len() <= to.len()
        && from.iter().rev().zip(to.iter().rev()).all(|(from, to)| *from == 1 || from == to);
    ensure(broadcasts, || format!("its operand {x} does not broadcast to {ty}"))
}

fn slice_fits(x: &TensorType, starts: &[usize], steps: &[isize], ty: &TensorType) -> Verdict {
    same_dtype(x, ty)?;
    let rank = x.rank();
    ensure([starts.len(), steps.len(), ty.rank()] == [rank; 3], || {
        let (starts, steps) = (starts.len(), steps.len());
        format!("its operand {x} has {rank} axes; {starts} starts and {steps} steps for {ty}")
    })?;
    let axes = x.shape().into_iter().zip(ty.shape()).zip(starts.iter().zip(steps));
    for (axis, ((size, count), (&start, &step))) in axes.enumerate() {
        ensure(step != 0, || format!("step 0 along axis {axis}"))?;
        // Extents and steps are below 2^64, so that their product is below 2^127.
        let last = start as i128 + (count as i128 - 1) * step as i128;
        let inside = |at: i128| (0..size as i128).contains(&at);
        ensure(count == 0 || (inside(start as i128) && inside(last)), || {
            format!("elements {start} to {last} of axis {axis}, whose extent is {size}")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
