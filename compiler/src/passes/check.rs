//! Checks a rewrite before it is made: what is replaced and what replaces it are both run in the
//! reference interpreter, on the same made-up values for whatever comes from outside the region.

use std::collections::{BTreeSet, HashMap};

use crate::error::{Error, Problem, Result};
use crate::interp::{Data, Tensor, evaluate};
use crate::ir::{Edit, Epilogue, Graph, NodeId, Op, Operand, TensorType, Unary, Weight, infer};

/// Largest difference, relative to the largest magnitude of any value of the region: rewrites may
/// round weights to f32 once more.
const TOLERANCE: f64 = 1e-5;

/// Compares the two sides of an edit.
///
/// # Errors
/// [`Problem::WrongRewrite`] naming the pass and the region when they differ; what the interpreter
/// finds wrong otherwise.
pub(super) fn check(pass: &str, graph: &Graph, edit: &Edit) -> Result<()> {
    let Some((replaced, by)) = edit.replace else { return Ok(()) };
    let mut values = Values {
        graph,
        region: edit.region.iter().copied().collect(),
        left_out: edit.left_out.iter().copied().collect(),
        known: HashMap::new(),
    };
    values.compute(replaced)?;
    let mut new: Vec<Tensor> = Vec::with_capacity(edit.nodes.len());
    for node in &edit.nodes {
        let old = node.operands.iter().filter_map(|(_, operand)| match operand {
            Operand::Old(id) => Some(*id),
            Operand::New(_) => None,
        });
        for id in old {
            values.compute(id)?;
        }
        let mut operands = Vec::with_capacity(node.operands.len());
        for (slot, operand) in &node.operands {
            operands.push((*slot, values.value(*operand, &new)?));
        }
        operands.sort_by_key(|(slot, _)| *slot);
        let ty = match &node.ty {
            Some(ty) => ty.clone(),
            None => {
                let types: Vec<(usize, TensorType)> =
                    operands.iter().map(|(slot, x)| (*slot, x.ty())).collect();
                let types: Vec<_> = types.iter().map(|(slot, ty)| (*slot, ty)).collect();
                infer(&node.op, &types)?
            }
        };
        let value = evaluate(&node.op, &operands, &ty)?;
        new.push(value);
    }
    if let Operand::Old(id) = by {
        values.compute(id)?;
    }
    let (before, after) = (values.value(Operand::Old(replaced), &new)?, values.value(by, &new)?);
    match difference(before, after, values.largest()) {
        None => Ok(()),
        Some(what) => Err(wrong(pass, graph, edit, replaced, what)),
    }
}

fn wrong(pass: &str, graph: &Graph, edit: &Edit, replaced: NodeId, what: String) -> Error {
    let mut region: Vec<NodeId> = edit.region.clone();
    region.sort_unstable();
    region.dedup();
    let mut names: Vec<String> = Vec::new();
    for origin in region.iter().flat_map(|id| &graph.node(*id).from) {
        let name = format!("`{origin}`");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let node = graph.node(replaced);
    let region = names.join(", ");
    Problem::WrongRewrite(format!(
        "pass {pass} changes what `{}` ({}) is: {what}; the region is {region}",
        node.name,
        node.op.mnemonic()
    ))
    .into()
}

/// Values of the graph as it is.
struct Values<'g> {
    graph: &'g Graph,
    region: BTreeSet<NodeId>,
    /// Nodes that are taken for their operand, or another function of it.
    left_out: HashMap<NodeId, Option<Unary>>,
    known: HashMap<NodeId, Tensor>,
}

impl Values<'_> {
    /// Computes a value from the region's nodes; what comes from outside is made up.
    fn compute(&mut self, id: NodeId) -> Result<()> {
        let graph = self.graph;
        let mut work = vec![id];
        while let Some(&id) = work.last() {
            if self.known.contains_key(&id) {
                work.pop();
                continue;
            }
            let node = graph.node(id);
            let computed = self.region.contains(&id) && node.op != Op::Input;
            let operands = if computed { graph.operands(id) } else { Vec::new() };
            let missing = operands.iter().map(|(_, o)| *o);
            let missing: Vec<NodeId> = missing.filter(|o| !self.known.contains_key(o)).collect();
            if !missing.is_empty() {
                work.extend(missing);
                continue;
            }
            let value = if computed || matches!(node.op, Op::Weight(_)) {
                let operands: Vec<_> =
                    operands.iter().filter_map(|(s, o)| Some((*s, self.known.get(o)?))).collect();
                match (self.left_out.get(&id), operands.first()) {
                    (Some(None), Some((_, x))) => (*x).clone(),
                    (Some(Some(function)), _) => {
                        evaluate(&Op::Unary(*function, Epilogue::none()), &operands, &node.ty)?
                    }
                    _ => evaluate(&node.op, &operands, &node.ty)?,
                }
            } else {
                made_up(&node.ty, id)?
            };
            self.known.insert(id, value);
            work.pop();
        }
        Ok(())
    }

    fn value<'a>(&'a self, operand: Operand, new: &'a [Tensor]) -> Result<&'a Tensor> {
        let value = match operand {
            Operand::Old(id) => self.known.get(&id),
            Operand::New(n) => new.get(n),
        };
        value.ok_or_else(|| Error::internal("an edit reads a value that is not there"))
    }

    fn largest(&self) -> f64 {
        self.known.values().fold(1e-30, |largest, value| match &value.data {
            Data::Float(v) => {
                v.iter().filter(|x| x.is_finite()).fold(largest, |m, x| m.max(x.abs()))
            }
            Data::Int(_) => largest,
        })
    }
}

/// Reproducible values in [-1, 1).
fn made_up(ty: &TensorType, id: NodeId) -> Result<Tensor> {
    let bytes = Weight::rand(id.index() as u64).bytes(ty);
    let tensor = bytes.and_then(|bytes| Tensor::from_bytes(ty, &bytes));
    tensor.ok_or_else(|| Error::internal(format!("{ty} is too large to be made up")))
}

fn difference(a: &Tensor, b: &Tensor, scale: f64) -> Option<String> {
    if (a.dtype, &a.shape) != (b.dtype, &b.shape) {
        return Some(format!("it was {}, and becomes {}", a.ty(), b.ty()));
    }
    let differs = |a: f64, b: f64| {
        let same = a == b || (a.is_nan() && b.is_nan());
        let near = (a - b).abs() <= TOLERANCE * scale;
        !same && !near
    };
    let (at, before, after) = match (&a.data, &b.data) {
        (Data::Float(a), Data::Float(b)) => {
            let at = a.iter().zip(b).position(|(a, b)| differs(*a, *b))?;
            (at, a[at], b[at])
        }
        (Data::Int(a), Data::Int(b)) => {
            let at = a.iter().zip(b).position(|(a, b)| a != b)?;
            (at, a[at] as f64, b[at] as f64)
        }
        _ => return Some("its elements change their kind".to_owned()),
    };
    Some(format!("element {at} was {before}, and becomes {after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text;

    /// Replacing `x · 2` by `x · x` is noticed; by `x + x` it is right.
    #[test]
    fn a_wrong_rewrite_is_named() {
        let graph = text::parse(
            "graph @g {\n input %x f32[3]\n weight %two f32[] = 2\n\
             %y f32[3] = mul(%x, %two)\n from \"/double\"\n output %y\n}\n",
        )
        .unwrap();
        let (x, y) = (graph.find("x").unwrap(), graph.find("y").unwrap());
        let edited = |function| {
            let mut edit = Edit::of([y]);
            let op = Op::Binary(function, crate::ir::Epilogue::none());
            let new = edit.add("y", op, vec![(0, Operand::Old(x)), (1, Operand::Old(x))]);
            edit.replace = Some((y, new));
            check("doubling", &graph, &edit)
        };
        assert!(edited(crate::ir::Binary::Add).is_ok());
        let error = edited(crate::ir::Binary::Mul).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error.problem, Problem::WrongRewrite(_)), "{text}");
        assert!(text.contains("pass doubling changes what `y` (mul)"), "{text}");
        assert!(text.contains("`/double`") && text.contains("element 0"), "{text}");
    }
}
