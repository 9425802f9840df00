//! Conv.

use super::taps::Taps;
use super::window::{Along, extents, flat, spatial, windows, with_height, without_height};
use crate::error::Result;
use crate::ir::{Conv, Epilogue, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::{Stride, part, take, whole};
use crate::onnx::refusal::bad;

/// Conv in one to three dimensions.
pub(in crate::onnx) fn conv(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, w, b) = (ctx.required(0)?, ctx.required(1)?, ctx.optional(2)?);
    let y = convolution(ctx, x, w, b)?;
    ctx.bind(0, y)
}

/// A convolution with the node's attributes.
pub(super) fn convolution(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    w: ValueId,
    b: Option<ValueId>,
) -> Result<ValueId> {
    let (groups, axes) = geometry(ctx, x, w)?;
    convolved(ctx, [x, w], b, groups, &axes)
}

/// A convolution with a window along each of these axes.
pub(super) fn convolved(
    ctx: &mut NodeContext<'_, '_>,
    [x, w]: [ValueId; 2],
    b: Option<ValueId>,
    groups: usize,
    axes: &[Along],
) -> Result<ValueId> {
    if let [depth, rest @ ..] = axes
        && rest.len() > 1
    {
        return by_depth(ctx, [x, w], b, groups, (depth, rest));
    }
    if !ctx.is_constant(w) || b.is_some_and(|b| !ctx.is_constant(b)) {
        return by_products(ctx, [x, w], b, groups, axes);
    }
    // In one dimension, as a convolution of height one.
    let (input, weights) = (ctx.shape(x), ctx.shape(w));
    let flat_x = ctx.reshape(x, &with_height(&input))?;
    let flat_w = ctx.reshape(w, &with_height(&weights))?;
    let op = Op::Conv(Conv { groups, window: flat(axes), epilogue: Epilogue::none() });
    let y = match b {
        Some(b) => ctx.emit(op, &[flat_x, flat_w, b])?,
        None => ctx.emit(op, &[flat_x, flat_w])?,
    };
    ctx.reshape(y, &without_height(&ctx.shape(y), input.len()))
}

/// A convolution of volumes as a sum of convolutions of planes, one for each plane of the kernel.
fn by_depth(
    ctx: &mut NodeContext<'_, '_>,
    [x, w]: [ValueId; 2],
    b: Option<ValueId>,
    groups: usize,
    (depth, rest): (&Along, &[Along]),
) -> Result<ValueId> {
    let x = ctx.bordered(x, 2, depth.pads, 0.0)?;
    let room = ctx.shape(x)[2].checked_sub(depth.extent());
    let room = room.ok_or_else(|| bad("the kernel is larger than the padded input"))?;
    let mut sum = None;
    for tap in 0..depth.kernel {
        let mut strides = whole(&ctx.shape(x));
        let count = room / depth.stride + 1;
        let step = if count > 1 { depth.stride as isize } else { 1 };
        strides[2] = Stride { start: tap * depth.dilation, step, count };
        let planes = take(ctx, x, &strides)?;
        let weights = part(ctx, w, 2, tap, 1)?;
        let mut plane = ctx.shape(weights);
        plane.remove(2);
        let weights = ctx.reshape(weights, &plane)?;
        let bias = b.filter(|_| sum.is_none());
        let product = of_planes(ctx, [planes, weights], bias, groups, rest)?;
        sum = Some(match sum {
            Some(sum) => ctx.add(sum, product)?,
            None => product,
        });
    }
    sum.ok_or_else(|| bad("a kernel without planes"))
}

/// A convolution of each plane of x `[n, c, d, h, w]` alone.
fn of_planes(
    ctx: &mut NodeContext<'_, '_>,
    [x, w]: [ValueId; 2],
    b: Option<ValueId>,
    groups: usize,
    axes: &[Along],
) -> Result<ValueId> {
    let planes = ctx.transposed(x, &[0, 2, 1, 3, 4])?;
    let [n, d, ref plane @ ..] = ctx.shape(planes)[..] else {
        return Err(bad(format!("{} is no volume", ctx.ty(x))));
    };
    let planes = ctx.reshape(planes, &[&[n * d], plane].concat())?;
    let y = convolved(ctx, [planes, w], b, groups, axes)?;
    let shape = [&[n, d], &ctx.shape(y)[1..]].concat();
    let y = ctx.reshape(y, &shape)?;
    ctx.transposed(y, &[0, 2, 1, 3, 4])
}

/// A convolution by weights that are computed when the model runs, as a product for each tap of the kernel.
fn by_products(
    ctx: &mut NodeContext<'_, '_>,
    [x, w]: [ValueId; 2],
    b: Option<ValueId>,
    groups: usize,
    axes: &[Along],
) -> Result<ValueId> {
    let input = ctx.shape(x);
    let x = ctx.reshape(x, &with_height(&input))?;
    let w = ctx.reshape(w, &with_height(&ctx.shape(w)))?;
    let taps = Taps::new(ctx, x, w, groups, flat(axes))?;
    let multiply =
        |ctx: &mut NodeContext<'_, '_>, a, b| ctx.emit(super::matmul::op(false, false), &[a, b]);
    let mut y = taps.sum(ctx, &multiply)?;
    if let Some(b) = b {
        let channels = ctx.ty(b).elements();
        let b = ctx.reshape(b, &[1, channels, 1, 1])?;
        y = ctx.add(y, b)?;
    }
    ctx.reshape(y, &without_height(&ctx.shape(y), input.len()))
}

/// Groups and windows of a convolution of x by w, from the node's attributes.
pub(super) fn geometry(
    ctx: &NodeContext<'_, '_>,
    x: ValueId,
    w: ValueId,
) -> Result<(usize, Vec<Along>)> {
    let (input, weights) = (ctx.shape(x), ctx.shape(w));
    let dims = spatial(&input)?.len();
    if weights.len() != input.len() {
        return Err(bad(format!("weights {} for {}", ctx.ty(w), ctx.ty(x))));
    }
    if input.contains(&0) || weights.contains(&0) {
        return Err(bad(format!("{} or its weights {} are empty", ctx.ty(x), ctx.ty(w))));
    }
    let kernel: Vec<i64> = weights[2..].iter().map(|&k| k as i64).collect();
    let kernel = extents("kernel_shape", &kernel, dims)?;
    if let Some(declared) = ctx.attributes.ints("kernel_shape")?
        && extents("kernel_shape", declared, dims)? != kernel
    {
        return Err(bad(format!("attribute `kernel_shape` is {declared:?}, not {kernel:?}")));
    }
    let groups = groups(ctx)?;
    if !input[1].is_multiple_of(groups) || !weights[0].is_multiple_of(groups) {
        let (from, to) = (input[1], weights[0]);
        return Err(bad(format!("{groups} groups do not divide {from} and {to} channels")));
    }
    Ok((groups, windows(ctx, &kernel, spatial(&input)?)?))
}

/// The node's number of groups.
pub(super) fn groups(ctx: &NodeContext<'_, '_>) -> Result<usize> {
    let group = ctx.attributes.int("group", 1)?;
    let groups = usize::try_from(group).ok().filter(|g| *g > 0);
    groups.ok_or_else(|| bad(format!("attribute `group` is {group}")))
}
