//! Reductions, ArgMax and ArgMin.

use crate::error::Result;
use crate::ir::{Binary, DType, Op, Reduce, ReduceKind, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis, sorted_axes};
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::bad;

/// ReduceSum, ReduceMean, ReduceMax, ReduceMin, and what is made of them.
pub(in crate::onnx) fn reduce(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let axes = named_axes(ctx, ctx.ty(x).rank())?;
    let y = match ctx.operator() {
        "ReduceSum" => ctx.over(ReduceKind::Sum, x, &axes)?,
        "ReduceMean" => ctx.over(ReduceKind::Mean, x, &axes)?,
        "ReduceMax" => extreme(ctx, ReduceKind::Max, x, &axes)?,
        "ReduceMin" => extreme(ctx, ReduceKind::Min, x, &axes)?,
        "ReduceL1" => {
            let size = ctx.unary(Unary::Abs, x)?;
            ctx.over(ReduceKind::Sum, size, &axes)?
        }
        "ReduceL2" => {
            let sum = sum_of_squares(ctx, x, &axes)?;
            ctx.unary(Unary::Sqrt, sum)?
        }
        "ReduceSumSquare" => sum_of_squares(ctx, x, &axes)?,
        "ReduceLogSum" => {
            let sum = ctx.over(ReduceKind::Sum, x, &axes)?;
            ctx.unary(Unary::Log, sum)?
        }
        "ReduceLogSumExp" => log_of_exponentials(ctx, x, &axes)?,
        _ => product(ctx, x, &axes)?,
    };
    let y = if ctx.attributes.flag("keepdims", true)? { y } else { without(ctx, y, &axes)? };
    ctx.bind(0, y)
}

/// The axes that the node names: an attribute, or in later versions an operand. All where it names none,
/// unless it says that these are none.
fn named_axes(ctx: &mut NodeContext<'_, '_>, rank: usize) -> Result<Vec<usize>> {
    let as_operand = if ctx.operator() == "ReduceSum" { 13 } else { 18 };
    let noop = ctx.attributes.flag("noop_with_empty_axes", false)?;
    let axes = if ctx.since >= as_operand {
        ctx.constant_ints(1)?
    } else if ctx.inputs() > 1 {
        return Err(bad(format!("axes as an operand, which operator set {as_operand} brought")));
    } else {
        ctx.attributes.ints("axes")?.map(<[i64]>::to_vec)
    };
    match axes.filter(|axes| !axes.is_empty()) {
        Some(axes) => sorted_axes(&axes, rank),
        None if noop => Ok(Vec::new()),
        None => Ok((0..rank).collect()),
    }
}

/// x without these axes, whose extents are 1.
fn without(ctx: &mut NodeContext<'_, '_>, x: ValueId, axes: &[usize]) -> Result<ValueId> {
    let shape = ctx.shape(x);
    let left = shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    let left: Vec<usize> = left.map(|(_, extent)| *extent).collect();
    if let Some((Op::Reduce(reduce), [(_, operand)])) = ctx.computed(x)
        && reduce.axes == axes
    {
        let (op, operand) = (Op::Reduce(Reduce { keep: false, ..reduce.clone() }), *operand);
        return ctx.emit(op, &[operand]);
    }
    ctx.reshape(x, &left)
}

/// The largest or smallest elements; of bools, as integers.
fn extreme(
    ctx: &mut NodeContext<'_, '_>,
    kind: ReduceKind,
    x: ValueId,
    axes: &[usize],
) -> Result<ValueId> {
    let dtype = ctx.dtype(x);
    let narrow = matches!(dtype, DType::Bool | DType::U8 | DType::I8);
    if !narrow || axes.is_empty() {
        return ctx.over(kind, x, axes);
    }
    let wide = ctx.cast(x, DType::I32)?;
    let y = ctx.over(kind, wide, axes)?;
    if axes.iter().all(|axis| ctx.shape(x)[*axis] > 0) {
        return ctx.cast(y, dtype);
    }
    // Of nothing it is the end of the type, which the wider type has not.
    let (least, most) = match dtype {
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::Bool | DType::F32 | DType::F64 | DType::I64 | DType::I32 => (0.0, 1.0),
    };
    let y = ctx.with_number(Binary::Max, y, least)?;
    let y = ctx.with_number(Binary::Min, y, most)?;
    ctx.cast(y, dtype)
}

fn sum_of_squares(ctx: &mut NodeContext<'_, '_>, x: ValueId, axes: &[usize]) -> Result<ValueId> {
    let square = ctx.mul(x, x)?;
    ctx.over(ReduceKind::Sum, square, axes)
}

/// `log(sum(exp(x)))`, with the largest element outside, so that powers are of at most 0.
fn log_of_exponentials(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axes: &[usize],
) -> Result<ValueId> {
    let largest = ctx.over(ReduceKind::Max, x, axes)?;
    // An infinity less itself would be no number.
    let (low, high) = (f32::MIN, f32::MAX);
    let largest = ctx.unary(Unary::Clip { low, high }, largest)?;
    let difference = ctx.sub(x, largest)?;
    let power = ctx.unary(Unary::Exp, difference)?;
    let sum = ctx.over(ReduceKind::Sum, power, axes)?;
    let log = ctx.unary(Unary::Log, sum)?;
    ctx.add(log, largest)
}

/// The product of all elements along axes: halves are multiplied until one is left.
fn product(ctx: &mut NodeContext<'_, '_>, x: ValueId, axes: &[usize]) -> Result<ValueId> {
    let mut y = x;
    for &axis in axes {
        let mut count = ctx.shape(y)[axis];
        if count == 0 {
            y = ctx.bordered(y, axis, [0, 1], 1.0)?;
        }
        while count > 1 {
            let half = count / 2;
            let first = part(ctx, y, axis, 0, half)?;
            let second = part(ctx, y, axis, half, half)?;
            let products = ctx.mul(first, second)?;
            y = match count % 2 {
                0 => products,
                _ => {
                    let last = part(ctx, y, axis, count - 1, 1)?;
                    ctx.joined(axis, &[products, last])?
                }
            };
            count = count.div_ceil(2);
        }
    }
    Ok(y)
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

/// GlobalAveragePool, GlobalMaxPool and GlobalLpPool.
pub(in crate::onnx) fn global_pool(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let y = match ctx.operator() {
        "GlobalMaxPool" => over_planes(ctx, x, ReduceKind::Max)?,
        "GlobalLpPool" => {
            let p = ctx.attributes.int("p", 2)? as f64;
            let power = super::pool::power_of_size(ctx, x, p)?;
            let sum = over_planes(ctx, power, ReduceKind::Sum)?;
            super::pool::root(ctx, sum, p)?
        }
        _ => over_planes(ctx, x, ReduceKind::Mean)?,
    };
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

/// ArgMax, and ArgMin as that of what is larger where x is smaller.
pub(in crate::onnx) fn place_of_extreme(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let keep = ctx.attributes.flag("keepdims", true)?;
    let last = ctx.attributes.flag("select_last_index", false)?;
    let axis = axis(ctx.attributes.int("axis", 0)?, ctx.ty(x).rank())?;
    let x = if ctx.operator() == "ArgMax" { x } else { reversed(ctx, x)? };
    let y = ctx.emit(Op::ArgMax { axis, keep, last }, &[x])?;
    ctx.bind(0, y)
}

/// What is the larger the smaller x is: `-x` of floats, and of integers what has no overflow.
pub(super) fn reversed(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let from = match ctx.dtype(x) {
        DType::F32 | DType::F64 => return ctx.unary(Unary::Neg, x),
        DType::U8 | DType::Bool => 255.0,
        DType::I64 | DType::I32 | DType::I8 => -1.0,
    };
    let from = ctx.number(x, from);
    ctx.sub(from, x)
}
