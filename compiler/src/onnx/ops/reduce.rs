//! Reductions and ArgMax.

use crate::error::Result;
use crate::ir::{Op, Reduce, ReduceKind};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis, sorted_axes};
use crate::onnx::refusal::bad;

/// ReduceSum, ReduceMean, ReduceMax and ReduceMin.
pub(in crate::onnx) fn reduce(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (kind, as_operand) = match ctx.operator() {
        "ReduceSum" => (ReduceKind::Sum, 13),
        "ReduceMean" => (ReduceKind::Mean, 18),
        "ReduceMax" => (ReduceKind::Max, 18),
        _ => (ReduceKind::Min, 18),
    };
    let x = ctx.required(0)?;
    ctx.attributes.ignore(&["keepdims"]);
    let noop = ctx.attributes.flag("noop_with_empty_axes", false)?;
    let axes = if ctx.since >= as_operand {
        ctx.constant_ints(1)?
    } else if ctx.inputs() > 1 {
        return Err(bad(format!("axes as an operand, which operator set {as_operand} brought")));
    } else {
        ctx.attributes.ints("axes")?.map(<[i64]>::to_vec)
    };
    let axes = match axes {
        Some(axes) if axes.is_empty() && noop => return ctx.bind(0, x),
        None if noop => return ctx.bind(0, x),
        Some(axes) => axes,
        None => Vec::new(),
    };
    let y = reduced(ctx, x, kind, &axes)?;
    ctx.bind(0, y)
}

/// x over these axes, or over all where they are none; the node says whether they are kept.
pub(super) fn reduced(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    kind: ReduceKind,
    axes: &[i64],
) -> Result<ValueId> {
    let keep = ctx.attributes.flag("keepdims", true)?;
    let rank = ctx.ty(x).rank();
    let axes = if axes.is_empty() { (0..rank).collect() } else { sorted_axes(axes, rank)? };
    if axes.is_empty() {
        return Ok(x);
    }
    ctx.emit(Op::Reduce(Reduce { kind, axes, keep }), &[x])
}

/// GlobalAveragePool and GlobalMaxPool.
pub(in crate::onnx) fn global_pool(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let kind = match ctx.operator() {
        "GlobalMaxPool" => ReduceKind::Max,
        _ => ReduceKind::Mean,
    };
    let x = ctx.required(0)?;
    let y = over_planes(ctx, x, kind)?;
    ctx.bind(0, y)
}

/// x over all axes after the channels, which are kept.
pub(super) fn over_planes(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    kind: ReduceKind,
) -> Result<ValueId> {
    let rank = ctx.ty(x).rank();
    if rank < 3 {
        return Err(bad(format!("{} has no axes after the channels", ctx.ty(x))));
    }
    ctx.emit(Op::Reduce(Reduce { kind, axes: (2..rank).collect(), keep: true }), &[x])
}

/// ArgMax.
pub(in crate::onnx) fn argmax(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let keep = ctx.attributes.flag("keepdims", true)?;
    let last = ctx.attributes.flag("select_last_index", false)?;
    let axis = axis(ctx.attributes.int("axis", 0)?, ctx.ty(x).rank())?;
    let y = ctx.emit(Op::ArgMax { axis, keep, last }, &[x])?;
    ctx.bind(0, y)
}
