//! AveragePool, MaxPool and LpPool.

use super::window::{Along, extents, flat, spatial, windows, with_height, without_height};
use crate::error::Result;
use crate::ir::{Binary, DType, Op, Pool, PoolKind, Unary, Window};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::{Stride, take, whole};
use crate::onnx::refusal::bad;

/// AveragePool.
pub(in crate::onnx) fn average(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let count_padding = ctx.attributes.flag("count_include_pad", false)?;
    let x = ctx.required(0)?;
    let y = pooled(ctx, x, PoolKind::Average { count_padding })?;
    ctx.bind(0, y)
}

/// MaxPool, with the places of the maxima in images.
pub(in crate::onnx) fn max(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    // The order in which the second output counts.
    ctx.attributes.ignore(&["storage_order"]);
    let x = ctx.required(0)?;
    let y = match ctx.dtype(x) {
        // A float32 has each of them.
        dtype @ (DType::U8 | DType::I8) => {
            let floats = ctx.cast(x, DType::F32)?;
            let y = pooled(ctx, floats, PoolKind::Max)?;
            ctx.cast(y, dtype)?
        }
        DType::F32 | DType::F64 | DType::I64 | DType::I32 | DType::Bool => {
            pooled(ctx, x, PoolKind::Max)?
        }
    };
    if ctx.wants(1) && ctx.ty(x).rank() <= 4 {
        let places = places_of_maxima(ctx, x, y)?;
        ctx.bind(1, places)?;
    }
    ctx.bind(0, y)
}

/// Pooling with the node's attributes.
pub(super) fn pooled(ctx: &mut NodeContext<'_, '_>, x: ValueId, kind: PoolKind) -> Result<ValueId> {
    let (axes, ceil) = geometry(ctx, x)?;
    for axis in &axes {
        if axis.pads[0].max(axis.pads[1]) >= axis.extent() {
            return Err(bad(
                "its padding is as large as its kernel, so that a window may be empty",
            ));
        }
    }
    let input = ctx.shape(x);
    if axes.len() > 2 {
        let along = |ctx: &mut NodeContext<'_, '_>, x, window| {
            ctx.emit(Op::Pool(Pool { kind, window, ceil }), &[x])
        };
        return axis_by_axis(ctx, x, &axes, &along);
    }
    let flat_x = ctx.reshape(x, &with_height(&input))?;
    let y = ctx.emit(Op::Pool(Pool { kind, window: flat(&axes), ceil }), &[flat_x])?;
    ctx.reshape(y, &without_height(&ctx.shape(y), input.len()))
}

/// The node's window along each axis of x, and whether the last may hang over the end.
fn geometry(ctx: &NodeContext<'_, '_>, x: ValueId) -> Result<(Vec<Along>, bool)> {
    let input = ctx.shape(x);
    let spatial = spatial(&input)?;
    if input.contains(&0) {
        return Err(bad(format!("{} is empty", ctx.ty(x))));
    }
    let kernel = ctx.attributes.ints("kernel_shape")?;
    let kernel = kernel.ok_or_else(|| bad("attribute `kernel_shape` is missing"))?;
    let kernel = extents("kernel_shape", kernel, spatial.len())?;
    let ceil = ctx.attributes.flag("ceil_mode", false)?;
    Ok((windows(ctx, &kernel, spatial)?, ceil))
}

/// What pools x `[n, 1, h, w]` by a window over h alone.
type PoolAlong<'f> = &'f dyn Fn(&mut NodeContext<'_, '_>, ValueId, Window) -> Result<ValueId>;

/// x pooled along one axis after the other: extremes, sums and means of boxes are those of their lines'.
fn axis_by_axis(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axes: &[Along],
    pool: PoolAlong<'_>,
) -> Result<ValueId> {
    let mut y = x;
    for (position, along) in axes.iter().enumerate() {
        let mut shape = ctx.shape(y);
        let axis = position + 2;
        let outer = shape[..axis].iter().product();
        let inner = shape[axis + 1..].iter().product();
        let lines = ctx.reshape(y, &[outer, 1, shape[axis], inner])?;
        let lines = pool(ctx, lines, along.alone())?;
        shape[axis] = ctx.shape(lines)[2];
        y = ctx.reshape(lines, &shape)?;
    }
    Ok(y)
}

/// LpPool: the root of the sum of powers.
pub(in crate::onnx) fn lp(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let p = ctx.attributes.int("p", 2)? as f64;
    let x = ctx.required(0)?;
    let (axes, ceil) = geometry(ctx, x)?;
    let power = power_of_size(ctx, x, p)?;
    let sums = |ctx: &mut NodeContext<'_, '_>, x, window| summed(ctx, x, &window, ceil);
    let sum = axis_by_axis(ctx, power, &axes, &sums)?;
    let y = root(ctx, sum, p)?;
    ctx.bind(0, y)
}

/// The sum of what a window over h sees of x `[n, 1, h, w]`.
fn summed(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    window: &Window,
    ceil: bool,
) -> Result<ValueId> {
    let taps = Covered::new(ctx, x, window, ceil, 0.0)?;
    let mut sum = taps.tap(ctx, [0, 0])?;
    for row in 1..window.kernel[0] {
        let next = taps.tap(ctx, [row, 0])?;
        sum = ctx.add(sum, next)?;
    }
    Ok(sum)
}

/// Images with a border as wide as their windows reach.
struct Covered {
    x: ValueId,
    window: Window,
    positions: [usize; 2],
}

impl Covered {
    fn new(
        ctx: &mut NodeContext<'_, '_>,
        x: ValueId,
        window: &Window,
        ceil: bool,
        value: f64,
    ) -> Result<Covered> {
        let (shape, mut x) = (ctx.shape(x), x);
        let mut positions = [0; 2];
        for axis in [0, 1] {
            let input = shape[axis + 2];
            let there = window.positions(axis, input, ceil).zip(window.extent(axis));
            let (count, extent) =
                there.ok_or_else(|| bad("the kernel is larger than the padded input"))?;
            positions[axis] = count;
            let reach = (count - 1) * window.stride[axis] + extent;
            let before = window.pad_before[axis];
            x = ctx.bordered(x, axis + 2, [before, reach.saturating_sub(input + before)], value)?;
        }
        Ok(Covered { x, window: *window, positions })
    }

    /// What one tap of the kernel sees, at each position.
    fn tap(&self, ctx: &mut NodeContext<'_, '_>, tap: [usize; 2]) -> Result<ValueId> {
        let mut strides = whole(&ctx.shape(self.x));
        for axis in [0, 1] {
            let (start, count) = (tap[axis] * self.window.dilation[axis], self.positions[axis]);
            let step = if count > 1 { self.window.stride[axis] as isize } else { 1 };
            strides[axis + 2] = Stride { start, step, count };
        }
        take(ctx, self.x, &strides)
    }
}

/// Where the maxima of a pool are among all elements in order; of several the first.
fn places_of_maxima(ctx: &mut NodeContext<'_, '_>, x: ValueId, maxima: ValueId) -> Result<ValueId> {
    let by_column = ctx.attributes.flag("storage_order", false)?;
    let (axes, ceil) = geometry(ctx, x)?;
    let window = flat(&axes);
    let shape = with_height(&ctx.shape(x));
    let (result, y_shape) = (ctx.shape(maxima), with_height(&ctx.shape(maxima)));
    let [n, c, h, w] = shape[..] else {
        return Err(bad(format!("{} is no image", ctx.ty(x))));
    };
    let x = ctx.reshape(x, &shape)?;
    let maxima = ctx.reshape(maxima, &y_shape)?;
    let [row, column] = if by_column { [1, h] } else { [w, 1] };
    let place = |i: usize| (i / w % h * row + i % w * column + i / (h * w) * (h * w)) as i64;
    let own = ctx.ints(&shape, (0..n * c * h * w).map(place).collect());
    let values = Covered::new(ctx, x, &window, ceil, f64::NEG_INFINITY)?;
    let own = Covered::new(ctx, own, &window, ceil, 0.0)?;
    let mut places = own.tap(ctx, [0, 0])?;
    let [rows, columns] = window.kernel;
    for tap in (0..rows * columns).rev() {
        let tap = [tap / columns, tap % columns];
        let (value, own) = (values.tap(ctx, tap)?, own.tap(ctx, tap)?);
        let is_there = ctx.is_equal(value, maxima)?;
        places = ctx.choose(is_there, own, places)?;
    }
    ctx.reshape(places, &result)
}

/// `|x| ^ p`
pub(super) fn power_of_size(ctx: &mut NodeContext<'_, '_>, x: ValueId, p: f64) -> Result<ValueId> {
    if p == 2.0 {
        return ctx.mul(x, x);
    }
    let size = ctx.unary(Unary::Abs, x)?;
    if p == 1.0 { Ok(size) } else { ctx.with_number(Binary::Pow, size, p) }
}

/// The p-th root of what is not negative.
pub(super) fn root(ctx: &mut NodeContext<'_, '_>, x: ValueId, p: f64) -> Result<ValueId> {
    match p {
        1.0 => Ok(x),
        2.0 => ctx.unary(Unary::Sqrt, x),
        _ => ctx.with_number(Binary::Pow, x, 1.0 / p),
    }
}
