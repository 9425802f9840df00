//! Einsum: operands brought to common axes, multiplied, and summed over the axes that the result has not.

use std::collections::BTreeMap;

use super::matmul;
use crate::error::Result;
use crate::ir::ReduceKind;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};

/// One axis of an operand or of the result: a letter, or one of those that `...` stands for.
type Label = char;

/// What the first of the axes of `...` is called; no equation has these letters.
const ELLIPSIS: u32 = 0xE000;

/// A value and what its axes are called.
struct Term {
    value: ValueId,
    labels: Vec<Label>,
}

/// Einsum.
pub(in crate::onnx) fn einsum(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let equation: String = ctx.attributes.string("equation", "")?.split_whitespace().collect();
    let (operands, result) = match equation.split_once("->") {
        Some((operands, result)) => (operands, Some(result)),
        None => (equation.as_str(), None),
    };
    let given = ctx.variadic(0)?;
    let texts: Vec<&str> = operands.split(',').collect();
    if texts.len() != given.len() {
        return Err(bad(format!("the equation `{equation}` for {} operands", given.len())));
    }
    let ranks: Vec<usize> = given.iter().map(|id| ctx.ty(*id).rank()).collect();
    let covered = |(text, rank): (&&str, &usize)| {
        let letters = text.replace("...", "").chars().count();
        if text.contains("...") { rank.saturating_sub(letters) } else { 0 }
    };
    let spread = texts.iter().zip(&ranks).map(covered).max().unwrap_or(0);
    let mut terms = Vec::with_capacity(given.len());
    for ((text, rank), value) in texts.iter().zip(ranks).zip(given) {
        let labels = labels(text, rank, spread)?;
        terms.push(without_diagonals(ctx, Term { value, labels })?);
    }
    let wanted = match result {
        Some(text) => {
            let letters = text.replace("...", "").chars().count();
            let rank = letters + if text.contains("...") { spread } else { 0 };
            labels_of_result(text, rank, spread)?
        }
        None => implied(&texts, spread),
    };
    let y = contracted(ctx, terms, &wanted)?;
    ctx.bind(0, y)
}

fn labels_of_result(text: &str, rank: usize, spread: usize) -> Result<Vec<Label>> {
    let found = labels(text, rank, spread)?;
    match (1..found.len()).any(|i| found[..i].contains(&found[i])) {
        true => Err(bad(format!("the result `{text}` of the equation names an axis twice"))),
        false => Ok(found),
    }
}

/// What the axes of a value of this rank are called; those of `...` by their distance from their last.
fn labels(text: &str, rank: usize, spread: usize) -> Result<Vec<Label>> {
    let refuse = || bad(format!("`{text}` of the equation does not name {rank} axes"));
    let (before, after, dots) = match text.split_once("...") {
        Some((before, after)) => (before, after, true),
        None => (text, "", false),
    };
    let named = before.chars().count() + after.chars().count();
    let hidden = rank.checked_sub(named).filter(|n| dots || *n == 0).ok_or_else(refuse)?;
    if !before.chars().chain(after.chars()).all(|c| c.is_ascii_alphabetic()) {
        return Err(refuse());
    }
    let hidden = (spread - hidden..spread).filter_map(|i| char::from_u32(ELLIPSIS + i as u32));
    Ok(before.chars().chain(hidden).chain(after.chars()).collect())
}

/// The result of an equation that names none: the axes of `...`, and letters that are there once, in order.
fn implied(texts: &[&str], spread: usize) -> Vec<Label> {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for letter in texts.iter().flat_map(|text| text.chars()).filter(|c| c.is_ascii_alphabetic()) {
        *counts.entry(letter).or_default() += 1;
    }
    let hidden = (0..spread).filter_map(|i| char::from_u32(ELLIPSIS + i as u32));
    hidden.chain(counts.into_iter().filter(|(_, n)| *n == 1).map(|(letter, _)| letter)).collect()
}

/// The term with the diagonal in place of axes of one name.
fn without_diagonals(ctx: &mut NodeContext<'_, '_>, term: Term) -> Result<Term> {
    let Term { mut value, mut labels } = term;
    while let Some(second) = (0..labels.len()).find(|i| labels[..*i].contains(&labels[*i])) {
        let first = labels.iter().position(|label| *label == labels[second]).unwrap_or(second);
        let shape = ctx.shape(value);
        let n = shape[first];
        if shape[second] != n {
            return Err(bad(format!("axes of {n} and {} elements have one name", shape[second])));
        }
        let rest: Vec<usize> = (0..shape.len()).filter(|i| *i != first && *i != second).collect();
        let perm = [&rest[..], &[first, second]].concat();
        let moved = ctx.transposed(value, &perm)?;
        let outer: Vec<usize> = rest.iter().map(|i| shape[*i]).collect();
        let lines = ctx.reshape(moved, &[&outer[..], &[n * n]].concat())?;
        value = ctx.picked(lines, outer.len(), (0..n).map(|i| (i * (n + 1)) as i64).collect())?;
        let label = labels[second];
        labels = rest.iter().map(|i| labels[*i]).chain([label]).collect();
    }
    Ok(Term { value, labels })
}

/// The product of all terms, summed over what is not wanted, with the axes that are.
fn contracted(
    ctx: &mut NodeContext<'_, '_>,
    terms: Vec<Term>,
    wanted: &[Label],
) -> Result<ValueId> {
    let mut left = terms.into_iter();
    let first = left.next().ok_or_else(|| bad("nothing to multiply"))?;
    let mut rest: Vec<Term> = left.collect();
    let mut y = first;
    while !rest.is_empty() {
        let next = rest.remove(0);
        let kept = |label: &Label| {
            wanted.contains(label) || rest.iter().any(|term| term.labels.contains(label))
        };
        y = product(ctx, y, next, &kept)?;
    }
    let y = summed(ctx, y, &|label| wanted.contains(label))?;
    if let Some(label) = wanted.iter().find(|label| !y.labels.contains(label)) {
        return Err(bad(format!("the result has the axis `{label}`, which no operand has")));
    }
    let perm: Vec<usize> =
        wanted.iter().filter_map(|label| y.labels.iter().position(|l| l == label)).collect();
    ctx.transposed(y.value, &perm)
}

/// The term summed over the axes that are not kept.
fn summed(
    ctx: &mut NodeContext<'_, '_>,
    term: Term,
    kept: &dyn Fn(&Label) -> bool,
) -> Result<Term> {
    let axes: Vec<usize> = (0..term.labels.len()).filter(|i| !kept(&term.labels[*i])).collect();
    let sum = ctx.over(ReduceKind::Sum, term.value, &axes)?;
    let labels: Vec<Label> = term.labels.into_iter().filter(|label| kept(label)).collect();
    let shape = ctx.shape(sum);
    let left = (0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i]).collect::<Vec<_>>();
    Ok(Term { value: ctx.reshape(sum, &left)?, labels })
}

/// The product of two terms, summed over the axes that are not kept: one of matrices.
fn product(
    ctx: &mut NodeContext<'_, '_>,
    a: Term,
    b: Term,
    kept: &dyn Fn(&Label) -> bool,
) -> Result<Term> {
    let a = {
        let in_b = b.labels.clone();
        summed(ctx, a, &|l| kept(l) || in_b.contains(l))?
    };
    let b = {
        let in_a = a.labels.clone();
        summed(ctx, b, &|l| kept(l) || in_a.contains(l))?
    };
    let both: Vec<Label> =
        a.labels.iter().copied().filter(|label| b.labels.contains(label)).collect();
    let (batch, inner): (Vec<Label>, Vec<Label>) = both.iter().partition(|label| kept(label));
    let only = |of: &Term| -> Vec<Label> {
        of.labels.iter().copied().filter(|label| !both.contains(label)).collect()
    };
    let (rows, columns) = (only(&a), only(&b));
    let extents = extents(ctx, &[&a, &b])?;
    let count = |labels: &[Label]| labels.iter().map(|label| extents[label]).product::<usize>();
    let left = arranged(ctx, &a, [&batch, &rows, &inner], &extents)?;
    let right = arranged(ctx, &b, [&batch, &inner, &columns], &extents)?;
    let left = ctx.reshape(left, &[count(&batch), count(&rows), count(&inner)])?;
    let right = ctx.reshape(right, &[count(&batch), count(&inner), count(&columns)])?;
    let value = ctx.emit(matmul::op(false, false), &[left, right])?;
    let labels = [batch, rows, columns].concat();
    let shape: Vec<usize> = labels.iter().map(|label| extents[label]).collect();
    Ok(Term { value: ctx.reshape(value, &shape)?, labels })
}

/// How long the axis of each name is; those of `...` may be 1 in one term and more in another.
fn extents(ctx: &NodeContext<'_, '_>, terms: &[&Term]) -> Result<BTreeMap<Label, usize>> {
    let mut extents: BTreeMap<Label, usize> = BTreeMap::new();
    for term in terms {
        for (label, extent) in term.labels.iter().zip(ctx.shape(term.value)) {
            let known = extents.entry(*label).or_insert(extent);
            match (*known, extent) {
                (1, n) => *known = n,
                (n, m) if n == m || m == 1 => {}
                (n, m) => return Err(bad(format!("axes of {n} and {m} elements have one name"))),
            }
        }
    }
    if extents.len() > 64 {
        return Err(unsupported(format!("an equation of {} names", extents.len())));
    }
    Ok(extents)
}

/// The term with its axes in this order, each as long as its name says.
fn arranged(
    ctx: &mut NodeContext<'_, '_>,
    term: &Term,
    groups: [&[Label]; 3],
    extents: &BTreeMap<Label, usize>,
) -> Result<ValueId> {
    let order = groups.concat();
    let perm: Vec<usize> =
        order.iter().filter_map(|label| term.labels.iter().position(|l| l == label)).collect();
    let value = ctx.transposed(term.value, &perm)?;
    let shape: Vec<usize> = order.iter().map(|label| extents[label]).collect();
    ctx.expanded(value, &shape)
}
