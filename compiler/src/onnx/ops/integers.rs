//! ConvInteger and MatMulInteger, exactly.
//!
//! Products are of f32, which hold every integer up to 2^24, so sums are cut where they might be larger,
//! and added as i32. Convolutions are cut up into products of matrices, a tap of the kernel each: those
//! are computed as they are written, where faster ways to convolve round.

use super::quantize::{Along, placed};
use super::taps::Taps;
use super::{conv, matmul};
use crate::error::Result;
use crate::ir::{Binary, DType, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::window::{flat, with_height, without_height};
use crate::onnx::refusal::{bad, unsupported};

/// Most products of two differences of bytes whose sum is at most 2^24, in magnitude.
const EXACT: usize = (1 << 24) / (255 * 255);

/// MatMulInteger; zero points may be one for each row on the left, and for each column on the right.
pub(in crate::onnx) fn matmul(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (a, b) = (ctx.required(0)?, ctx.required(1)?);
    let row = Along::Axis(ctx.ty(a).rank().saturating_sub(2));
    let column = Along::Axis(ctx.ty(b).rank().saturating_sub(1));
    let (a, b) = (difference(ctx, [0, 2], row)?, difference(ctx, [1, 3], column)?);
    let y = matmul::product_by(ctx, a, b, &exact_product)?;
    ctx.bind(0, y)
}

/// An operand less its zero point, as f32.
fn difference(
    ctx: &mut NodeContext<'_, '_>,
    [x, zero]: [usize; 2],
    along: Along,
) -> Result<ValueId> {
    let (x, zero) = (ctx.required(x)?, ctx.optional(zero)?);
    if !matches!(ctx.dtype(x), DType::U8 | DType::I8) {
        return Err(bad(format!("an operand is {}, not u8 or i8", ctx.dtype(x))));
    }
    let floats = ctx.cast(x, DType::F32)?;
    let Some(zero) = zero else {
        return Ok(floats);
    };
    if ctx.dtype(zero) != ctx.dtype(x) {
        return Err(bad(format!("a zero point is {} for {}", ctx.ty(zero), ctx.ty(x))));
    }
    let zero = placed(ctx, zero, &ctx.shape(x), along)?;
    let zero = ctx.cast(zero, DType::F32)?;
    ctx.binary(Binary::Sub, floats, zero)
}

/// The product of matrices of such differences, as i32.
fn exact_product(ctx: &mut NodeContext<'_, '_>, a: ValueId, b: ValueId) -> Result<ValueId> {
    let (left, right) = (ctx.shape(a), ctx.shape(b));
    let depth = right[right.len() - 2];
    if left.last() != Some(&depth) {
        return Err(bad(format!("{} times {}", ctx.ty(a), ctx.ty(b))));
    }
    let mut sum = None;
    for start in (0..depth.max(1)).step_by(EXACT) {
        let end = depth.min(start + EXACT);
        let part_a = range(ctx, a, left.len() - 1, start..end)?;
        let part_b = range(ctx, b, right.len() - 2, start..end)?;
        let product = ctx.emit(matmul::op(false, false), &[part_a, part_b])?;
        sum = Some(add_exactly(ctx, sum, product)?);
    }
    sum.ok_or_else(|| bad("a product of nothing"))
}

/// `sum + x`, of i32.
fn add_exactly(ctx: &mut NodeContext<'_, '_>, sum: Option<ValueId>, x: ValueId) -> Result<ValueId> {
    let x = ctx.emit(Op::Cast { to: DType::I32 }, &[x])?;
    match sum {
        Some(sum) => ctx.binary(Binary::Add, sum, x),
        None => Ok(x),
    }
}

/// These elements of one axis.
fn range(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axis: usize,
    range: std::ops::Range<usize>,
) -> Result<ValueId> {
    let mut shape = ctx.shape(x);
    if range == (0..shape[axis]) {
        return Ok(x);
    }
    let (mut starts, steps) = (vec![0; shape.len()], vec![1; shape.len()]);
    starts[axis] = range.start;
    shape[axis] = range.len();
    ctx.emit_typed(Op::Slice { starts, steps }, x, &shape)
}

/// ConvInteger.
pub(in crate::onnx) fn conv(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = difference(ctx, [0, 2], Along::Axis(usize::MAX))?;
    let w = difference(ctx, [1, 3], Along::Axis(0))?;
    let input = ctx.shape(x);
    let (groups, axes) = conv::geometry(ctx, x, w)?;
    if axes.len() > 2 {
        return Err(unsupported("volumes of integers").with_remedy("convolve them as floats"));
    }
    let x = ctx.reshape(x, &with_height(&input))?;
    let w = ctx.reshape(w, &with_height(&ctx.shape(w)))?;
    let taps = Taps::new(ctx, x, w, groups, flat(&axes))?;
    let y = taps.sum(ctx, &exact_product)?;
    let y = ctx.reshape(y, &without_height(&ctx.shape(y), input.len()))?;
    ctx.bind(0, y)
}
