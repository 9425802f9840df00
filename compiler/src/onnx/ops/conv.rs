//! Conv.

use super::window::{extents, spatial, window, with_height, without_height};
use crate::error::Result;
use crate::ir::{Conv, Epilogue, Op, Window};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// Conv in one and two dimensions.
pub(in crate::onnx) fn conv(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, w, b) = (ctx.required(0)?, ctx.required(1)?, ctx.optional(2)?);
    let y = convolution(ctx, x, w, b)?;
    ctx.bind(0, y)
}

/// A convolution with the node's attributes; in one dimension, as a convolution of height one.
pub(super) fn convolution(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    w: ValueId,
    b: Option<ValueId>,
) -> Result<ValueId> {
    let (groups, window) = geometry(ctx, x, w)?;
    let (input, weights) = (ctx.shape(x), ctx.shape(w));
    let flat_x = ctx.reshape(x, &with_height(&input))?;
    let flat_w = ctx.reshape(w, &with_height(&weights))?;
    let op = Op::Conv(Conv { groups, window, epilogue: Epilogue::none() });
    let y = match b {
        Some(b) => ctx.emit(op, &[flat_x, flat_w, b])?,
        None => ctx.emit(op, &[flat_x, flat_w])?,
    };
    ctx.reshape(y, &without_height(&ctx.shape(y), input.len()))
}

/// Groups and window of a convolution of x by w, from the node's attributes.
pub(super) fn geometry(
    ctx: &NodeContext<'_, '_>,
    x: ValueId,
    w: ValueId,
) -> Result<(usize, Window)> {
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
    let group = ctx.attributes.int("group", 1)?;
    let groups = usize::try_from(group).ok().filter(|g| *g > 0);
    let groups = groups.ok_or_else(|| bad(format!("attribute `group` is {group}")))?;
    if !input[1].is_multiple_of(groups) || !weights[0].is_multiple_of(groups) {
        let (from, to) = (input[1], weights[0]);
        return Err(bad(format!("{groups} groups do not divide {from} and {to} channels")));
    }
    Ok((groups, window(ctx, &kernel, spatial(&input)?)?))
}
