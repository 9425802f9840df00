//! Pad, in each of its modes.

use super::slice::{Stride, take, whole};
use crate::error::Result;
use crate::interp::Data;
use crate::ir::{DType, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::{bad, unsupported};

/// More elements of padding are nonsense.
const MOST: i64 = 1 << 24;

/// Elements before and after an axis; negative ones are cut off.
type Amount = [i64; 2];

/// Pad: amounts are an attribute in version 2, an operand from 11, for named axes from 18.
pub(in crate::onnx) fn pad(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let amounts = amounts(ctx, ctx.ty(x).rank())?;
    check(&amounts, &ctx.shape(x))?;
    let mode = ctx.attributes.string("mode", "constant")?;
    if ctx.since >= 11 {
        // The value, which only one mode uses.
        ctx.ignore(2);
    }
    let y = match mode {
        "constant" => match inexact(ctx)? {
            Some(value) => {
                let value = ctx.reshape(value, &[])?;
                pad_exactly(ctx, x, &amounts, value)?
            }
            None => {
                let value = value(ctx)?;
                pad_constant(ctx, x, &amounts, value)?
            }
        },
        "edge" => pad_gathered(ctx, x, &amounts, edge)?,
        "reflect" => pad_gathered(ctx, x, &amounts, reflect)?,
        "wrap" if ctx.since >= 19 => pad_gathered(ctx, x, &amounts, wrap)?,
        other => return Err(bad(format!("attribute `mode` is `{other}`"))),
    };
    ctx.bind(0, y)
}

fn amounts(ctx: &mut NodeContext<'_, '_>, rank: usize) -> Result<Vec<Amount>> {
    let pads = match ctx.since {
        ..11 => ctx.attributes.ints("pads")?.map(<[i64]>::to_vec),
        _ => ctx.constant_ints(1)?,
    };
    let pads = pads.ok_or_else(|| bad("its pads are missing"))?;
    let axes: Vec<usize> = match if ctx.since >= 18 { ctx.constant_ints(3)? } else { None } {
        Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(bad(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    if let Some(pad) = pads.iter().find(|pad| !(-MOST..=MOST).contains(*pad)) {
        return Err(unsupported(format!("{pad} elements of padding")));
    }
    let mut amounts = vec![[0, 0]; rank];
    let mut seen = vec![false; rank];
    for (i, &axis) in axes.iter().enumerate() {
        if std::mem::replace(&mut seen[axis], true) {
            return Err(bad(format!("axis {axis} is padded twice")));
        }
        amounts[axis] = [pads[i], pads[axes.len() + i]];
    }
    Ok(amounts)
}

/// No axis may lose more than it has.
fn check(amounts: &[Amount], shape: &[usize]) -> Result<()> {
    for ([before, after], &extent) in amounts.iter().zip(shape) {
        let cut = (-before).max(0) + (-after).max(0);
        if usize::try_from(cut).is_ok_and(|cut| cut > extent) {
            return Err(bad(format!("pads {before} and {after} cut more than {extent} elements")));
        }
    }
    Ok(())
}

fn value(ctx: &mut NodeContext<'_, '_>) -> Result<f64> {
    if ctx.since < 11 {
        return Ok(f64::from(ctx.attributes.float("value", 0.0)?));
    }
    Ok(ctx.constant_scalar(2)?.unwrap_or(0.0))
}

/// The value to pad with, if it is an integer that f64 has not, or not known.
fn inexact(ctx: &mut NodeContext<'_, '_>) -> Result<Option<ValueId>> {
    let value = if ctx.since < 11 { None } else { ctx.optional(2)? };
    let Some(value) = value else {
        return Ok(None);
    };
    Ok(match ctx.known(value)?.as_deref().map(|tensor| &tensor.data) {
        Some(Data::Int(all)) => all.first().filter(|n| **n as f64 as i64 != **n).map(|_| value),
        Some(Data::Float(_)) => None,
        None => Some(value),
    })
}

/// Pads with 0, and puts the value wherever a mask, padded alike, says that it is padding.
fn pad_exactly(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    amounts: &[Amount],
    value: ValueId,
) -> Result<ValueId> {
    let shape = ctx.shape(x);
    let inside = ctx.scalar(DType::Bool, 1.0);
    let inside = ctx.emit_typed(Op::Expand, inside, &shape)?;
    let inside = pad_constant(ctx, inside, amounts, 0.0)?;
    let padded = pad_constant(ctx, x, amounts, 0.0)?;
    ctx.emit(Op::Where, &[inside, padded, value])
}

fn pad_constant(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    amounts: &[Amount],
    value: f64,
) -> Result<ValueId> {
    let part = |sign: i64, side: usize| {
        let amount = move |a: &Amount| usize::try_from(sign * a[side]).unwrap_or(0);
        amounts.iter().map(amount).collect::<Vec<usize>>()
    };
    let (cut_before, cut_after) = (part(-1, 0), part(-1, 1));
    let mut y = x;
    if cut_before.iter().chain(&cut_after).any(|n| *n > 0) {
        let mut strides = whole(&ctx.shape(x));
        for (axis, stride) in strides.iter_mut().enumerate() {
            let count = stride.count - cut_before[axis] - cut_after[axis];
            let start = if count == 0 { 0 } else { cut_before[axis] };
            *stride = Stride { start, step: 1, count };
        }
        y = take(ctx, x, &strides)?;
    }
    let (before, after) = (part(1, 0), part(1, 1));
    if before.iter().chain(&after).any(|n| *n > 0) {
        y = ctx.emit(Op::Pad { before, after, value }, &[y])?;
    }
    Ok(y)
}

/// Pads axis by axis; `source` gives the element to repeat at a position, of so many elements.
fn pad_gathered(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    amounts: &[Amount],
    source: fn(i64, i64) -> i64,
) -> Result<ValueId> {
    let mut y = x;
    for (axis, &[before, after]) in amounts.iter().enumerate() {
        let extent = ctx.shape(x)[axis] as i64;
        if [before, after] == [0, 0] {
            continue;
        }
        if extent == 0 || extent > MOST {
            return Err(bad(format!("padding {} from its own elements", ctx.ty(x))));
        }
        let indices: Vec<i64> = (-before..extent + after).map(|i| source(i, extent)).collect();
        let index = ctx.ints(&[indices.len()], indices);
        y = ctx.emit(Op::Gather { axis }, &[y, index])?;
    }
    Ok(y)
}

fn edge(position: i64, extent: i64) -> i64 {
    position.clamp(0, extent - 1)
}

fn wrap(position: i64, extent: i64) -> i64 {
    position.rem_euclid(extent)
}

/// Back and forth, without repeating the ends.
fn reflect(position: i64, extent: i64) -> i64 {
    let period = (2 * (extent - 1)).max(1);
    let position = position.rem_euclid(period);
    position.min(period - position).min(extent - 1)
}
