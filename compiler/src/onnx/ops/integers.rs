//! ConvInteger and MatMulInteger, exactly.
//!
//! Products are of f32, which hold every integer up to 2^24, so sums are cut where they might be larger,
//! and added as i32. Convolutions are cut up into products of matrices, a tap of the kernel each: those
//! are computed as they are written, where faster ways to convolve round.

use super::quantize::{Along, placed};
use super::{conv, matmul};
use crate::error::Result;
use crate::ir::{Binary, DType, Op, Window};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::window::{with_height, without_height};
use crate::onnx::refusal::bad;

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
    let (groups, window) = conv::geometry(ctx, x, w)?;
    let x = ctx.reshape(x, &with_height(&input))?;
    let w = ctx.reshape(w, &with_height(&ctx.shape(w)))?;
    let taps = Taps::new(ctx, x, w, groups, window)?;
    let mut sum = None;
    for row in 0..window.kernel[0] {
        for column in 0..window.kernel[1] {
            let product = taps.product(ctx, [row, column])?;
            sum = Some(match sum {
                Some(sum) => ctx.binary(Binary::Add, sum, product)?,
                None => product,
            });
        }
    }
    let sum = sum.ok_or_else(|| bad("a kernel without taps"))?;
    let y = ctx.reshape(sum, &taps.result)?;
    let y = ctx.reshape(y, &without_height(&taps.result, input.len()))?;
    ctx.bind(0, y)
}

/// A convolution as one product of matrices for each tap of its kernel.
struct Taps {
    /// `[n, groups, c / groups, h, w]`, its border included.
    x: ValueId,
    /// `[groups, m / groups, c / groups, kh, kw]`
    w: ValueId,
    window: Window,
    /// `[n, m, h', w']`
    result: [usize; 4],
}

impl Taps {
    fn new(
        ctx: &mut NodeContext<'_, '_>,
        x: ValueId,
        w: ValueId,
        groups: usize,
        window: Window,
    ) -> Result<Taps> {
        let ([n, c, height, width], [m, per_group, kh, kw]) = (four(ctx, x)?, four(ctx, w)?);
        let positions = |axis, input| window.positions(axis, input, false);
        let (Some(rows), Some(columns)) = (positions(0, height), positions(1, width)) else {
            return Err(bad("the kernel is larger than the padded input"));
        };
        let Window { pad_before: [top, left], pad_after: [bottom, right], .. } = window;
        let (before, after) = (vec![0, 0, top, left], vec![0, 0, bottom, right]);
        let x = ctx.emit(Op::Pad { before, after, value: 0.0 }, &[x])?;
        let padded = ctx.shape(x);
        let x = ctx.reshape(x, &[n, groups, c / groups, padded[2], padded[3]])?;
        let w = ctx.reshape(w, &[groups, m / groups, per_group, kh, kw])?;
        Ok(Taps { x, w, window, result: [n, m, rows, columns] })
    }

    /// What one tap adds to the result, as `[n, groups, m / groups, h' * w']`.
    fn product(&self, ctx: &mut NodeContext<'_, '_>, tap: [usize; 2]) -> Result<ValueId> {
        let Window { stride, dilation, .. } = self.window;
        let [_, _, rows, columns] = self.result;
        let mut shape = ctx.shape(self.x);
        shape[3..].copy_from_slice(&[rows, columns]);
        let at = [0, 1].map(|axis| tap[axis] * dilation[axis]);
        let steps = vec![1, 1, 1, stride[0] as isize, stride[1] as isize];
        let pixels = Op::Slice { starts: vec![0, 0, 0, at[0], at[1]], steps };
        let pixels = ctx.emit_typed(pixels, self.x, &shape)?;
        let pixels = ctx.reshape(pixels, &[shape[0], shape[1], shape[2], rows * columns])?;
        let mut filter = ctx.shape(self.w);
        filter[3..].copy_from_slice(&[1, 1]);
        let weights = Op::Slice { starts: vec![0, 0, 0, tap[0], tap[1]], steps: vec![1; 5] };
        let weights = ctx.emit_typed(weights, self.w, &filter)?;
        let weights = ctx.reshape(weights, &[1, filter[0], filter[1], filter[2]])?;
        exact_product(ctx, weights, pixels)
    }
}

fn four(ctx: &NodeContext<'_, '_>, id: ValueId) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(ctx.shape(id)).map_err(|_| bad(format!("{} is no image", ctx.ty(id))))
}
