//! The same elements under other axes: Reshape and its kin, Expand, Transpose.

use crate::error::Result;
use crate::ir::Op;
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis, sorted_axes};
use crate::onnx::refusal::bad;

/// Reshape.
pub(in crate::onnx) fn reshape(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let zero_is_zero = ctx.attributes.flag("allowzero", false)?;
    let wanted = ctx.constant_ints(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let shape = resolve(&wanted, &ctx.shape(x), zero_is_zero)?;
    give_reshaped(ctx, x, &shape)
}

/// The shape that `wanted` means: 0 copies an extent of `from`, -1 is what is left.
fn resolve(wanted: &[i64], from: &[usize], zero_is_zero: bool) -> Result<Vec<usize>> {
    let refuse = || bad(format!("{from:?} does not reshape to {wanted:?}"));
    let mut shape = Vec::with_capacity(wanted.len());
    let mut rest = None;
    for (position, &n) in wanted.iter().enumerate() {
        shape.push(match usize::try_from(n) {
            Ok(0) if !zero_is_zero => *from.get(position).ok_or_else(refuse)?,
            Ok(n) => n,
            Err(_) if n == -1 && rest.is_none() => {
                rest = Some(position);
                1
            }
            Err(_) => return Err(refuse()),
        });
    }
    if let Some(position) = rest {
        let known = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let total: usize = from.iter().product();
        let left = known.filter(|n| *n > 0 && total.is_multiple_of(*n)).ok_or_else(refuse)?;
        shape[position] = total / left;
    }
    Ok(shape)
}

/// Flatten: to two axes, those before `axis` and the others.
pub(in crate::onnx) fn flatten(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let along = ctx.attributes.int("axis", 1)?;
    // The axis may be the rank itself.
    let split = match usize::try_from(along) {
        Ok(n) if n == shape.len() => n,
        _ => axis(along, shape.len())?,
    };
    let (rows, columns) = shape.split_at(split);
    give_reshaped(ctx, x, &[rows.iter().product(), columns.iter().product()])
}

/// Squeeze.
pub(in crate::onnx) fn squeeze(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let removed = match axes(ctx)? {
        Some(axes) => sorted_axes(&axes, shape.len())?,
        None => (0..shape.len()).filter(|a| shape[*a] == 1).collect(),
    };
    if let Some(axis) = removed.iter().find(|a| shape[**a] != 1) {
        return Err(bad(format!("axis {axis} has {} elements and cannot go", shape[*axis])));
    }
    let kept = (0..shape.len()).filter(|a| !removed.contains(a));
    let kept: Vec<usize> = kept.map(|a| shape[a]).collect();
    give_reshaped(ctx, x, &kept)
}

/// Unsqueeze; its axes are the result's.
pub(in crate::onnx) fn unsqueeze(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let axes = axes(ctx)?.ok_or_else(|| bad("its axes are missing"))?;
    let mut shape = ctx.shape(x);
    for axis in sorted_axes(&axes, shape.len() + axes.len())? {
        shape.insert(axis, 1);
    }
    give_reshaped(ctx, x, &shape)
}

/// Axes of Squeeze and Unsqueeze: an attribute, an operand from version 13.
fn axes(ctx: &mut NodeContext<'_, '_>) -> Result<Option<Vec<i64>>> {
    if ctx.since >= 13 {
        return ctx.constant_ints(1);
    }
    if ctx.inputs() > 1 {
        return Err(bad("axes as an operand, which operator set 13 brought"));
    }
    Ok(ctx.attributes.ints("axes")?.map(<[i64]>::to_vec))
}

fn give_reshaped(ctx: &mut NodeContext<'_, '_>, x: ValueId, shape: &[usize]) -> Result<()> {
    let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    if elements != Some(ctx.ty(x).elements()) {
        return Err(bad(format!("{} does not reshape to {shape:?}", ctx.ty(x))));
    }
    let y = ctx.emit_typed(Op::Reshape, x, shape)?;
    ctx.bind(0, y)
}

/// Transpose; the axes are reversed by default.
pub(in crate::onnx) fn transpose(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let rank = ctx.ty(x).rank();
    let perm: Vec<usize> = match ctx.attributes.ints("perm")? {
        Some(perm) => {
            let perm = perm.iter().map(|&a| usize::try_from(a).unwrap_or(rank)).collect::<Vec<_>>();
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if sorted.iter().copied().ne(0..rank) {
                return Err(bad(format!("attribute `perm` is no permutation of {rank} axes")));
            }
            perm
        }
        None => (0..rank).rev().collect(),
    };
    let y = ctx.emit(Op::Transpose { perm }, &[x])?;
    ctx.bind(0, y)
}

/// Expand: x and the wanted shape broadcast both ways.
pub(in crate::onnx) fn expand(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let wanted = ctx.constant_ints(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let wanted = wanted.iter().map(|&n| {
        usize::try_from(n).map_err(|_| bad(format!("the shape to expand to has the dimension {n}")))
    });
    let shape = broadcast(&ctx.shape(x), &wanted.collect::<Result<Vec<_>>>()?)?;
    let y = ctx.emit_typed(Op::Expand, x, &shape)?;
    ctx.bind(0, y)
}

/// The shape that two shapes broadcast to, as in NumPy.
pub(in crate::onnx) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |own| shape[own])
    };
    let extents = (0..rank).map(|axis| match (extent(a, axis), extent(b, axis)) {
        (m, n) if m == n || n == 1 => Ok(m),
        (1, n) => Ok(n),
        _ => Err(bad(format!("{a:?} and {b:?} do not broadcast"))),
    });
    extents.collect()
}
