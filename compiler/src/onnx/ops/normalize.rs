//! Normalizations, as means, roots and quotients.

use crate::error::Result;
use crate::ir::{Binary, ReduceKind, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis, sorted_axes};
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::{bad, unsupported};

/// What a normalization makes of x.
struct Standard {
    /// x less its mean, divided by its standard deviation.
    normal: ValueId,
    mean: ValueId,
    /// One by the standard deviation.
    factor: ValueId,
}

/// Standardizes x over axes.
fn standardized(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axes: &[usize],
    epsilon: f32,
) -> Result<Standard> {
    let mean = ctx.over(ReduceKind::Mean, x, axes)?;
    let difference = ctx.sub(x, mean)?;
    let factor = inverse_root_of_squares(ctx, difference, axes, epsilon)?;
    Ok(Standard { normal: ctx.mul(difference, factor)?, mean, factor })
}

/// `1 / sqrt(mean(x * x) + epsilon)`
fn inverse_root_of_squares(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axes: &[usize],
    epsilon: f32,
) -> Result<ValueId> {
    let square = ctx.mul(x, x)?;
    let mean = ctx.over(ReduceKind::Mean, square, axes)?;
    let mean = ctx.shifted(mean, f64::from(epsilon))?;
    let root = ctx.unary(Unary::Sqrt, mean)?;
    ctx.unary(Unary::Reciprocal, root)
}

/// `x * scale + bias`, whose shape is x's.
fn affine(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    scale: ValueId,
    bias: Option<ValueId>,
) -> Result<ValueId> {
    let shape = ctx.shape(x);
    let mut y = ctx.mul(x, scale)?;
    if let Some(bias) = bias {
        y = ctx.add(y, bias)?;
    }
    if ctx.shape(y) != shape {
        return Err(bad(format!("its scale or bias does not broadcast to {}", ctx.ty(x))));
    }
    Ok(y)
}

/// The axes from the node's `axis` on.
fn trailing_axes(ctx: &NodeContext<'_, '_>, x: ValueId) -> Result<Vec<usize>> {
    // Of the type that is computed in, which is f32 in any case.
    ctx.attributes.ignore(&["stash_type"]);
    let rank = ctx.ty(x).rank();
    Ok((axis(ctx.attributes.int("axis", -1)?, rank)?..rank).collect())
}

/// LayerNormalization, with the means and the inverse standard deviations.
pub(in crate::onnx) fn layer(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, scale, bias) = (ctx.required(0)?, ctx.required(1)?, ctx.optional(2)?);
    let axes = trailing_axes(ctx, x)?;
    let epsilon = ctx.attributes.float("epsilon", 1e-5)?;
    let standard = standardized(ctx, x, &axes, epsilon)?;
    let y = affine(ctx, standard.normal, scale, bias)?;
    ctx.bind(0, y)?;
    ctx.bind(1, standard.mean)?;
    ctx.bind(2, standard.factor)
}

/// SkipLayerNormalization and SkipSimplifiedLayerNormalization: of `x + skip + bias`, over the last axis.
pub(in crate::onnx) fn skip_layer(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, skip, scale) = (ctx.required(0)?, ctx.required(1)?, ctx.required(2)?);
    let has_mean = ctx.operator() == "SkipLayerNormalization";
    let shift = if has_mean { ctx.optional(3)? } else { None };
    let bias = ctx.optional(if has_mean { 4 } else { 3 })?;
    let mut sum = ctx.add(x, skip)?;
    if let Some(bias) = bias {
        sum = ctx.add(sum, bias)?;
    }
    if ctx.shape(sum) != ctx.shape(x) {
        return Err(bad(format!("its skip or bias does not broadcast to {}", ctx.ty(x))));
    }
    let axes = [axis(-1, ctx.ty(sum).rank())?];
    let epsilon = ctx.attributes.float("epsilon", 1e-12)?;
    let (normal, factor) = if has_mean {
        let standard = standardized(ctx, sum, &axes, epsilon)?;
        ctx.bind(1, standard.mean)?;
        (standard.normal, standard.factor)
    } else {
        let factor = inverse_root_of_squares(ctx, sum, &axes, epsilon)?;
        (ctx.mul(sum, factor)?, factor)
    };
    let y = affine(ctx, normal, scale, shift)?;
    ctx.bind(0, y)?;
    ctx.bind(2, factor)?;
    ctx.bind(3, sum)
}

/// RMSNormalization, and ONNX Runtime's SimplifiedLayerNormalization: LayerNormalization without a mean.
pub(in crate::onnx) fn root_mean_square(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, scale) = (ctx.required(0)?, ctx.required(1)?);
    let axes = trailing_axes(ctx, x)?;
    let epsilon = ctx.attributes.float("epsilon", 1e-5)?;
    let factor = inverse_root_of_squares(ctx, x, &axes, epsilon)?;
    let normal = ctx.mul(x, factor)?;
    let y = affine(ctx, normal, scale, None)?;
    ctx.bind(0, y)?;
    ctx.bind(1, factor)
}

/// InstanceNormalization: over all axes after the channels.
pub(in crate::onnx) fn instance(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, scale, bias) = (ctx.required(0)?, ctx.required(1)?, ctx.required(2)?);
    let rank = ctx.ty(x).rank();
    if rank < 3 {
        return Err(bad(format!("{} has no axes after the channels", ctx.ty(x))));
    }
    let axes: Vec<usize> = (2..rank).collect();
    let epsilon = ctx.attributes.float("epsilon", 1e-5)?;
    let standard = standardized(ctx, x, &axes, epsilon)?;
    let [scale, bias] = [by_channel(ctx, scale, rank)?, by_channel(ctx, bias, rank)?];
    let y = affine(ctx, standard.normal, scale, Some(bias))?;
    ctx.bind(0, y)
}

/// A value for each channel as one that broadcasts to `[n, c, …]` of this rank.
fn by_channel(ctx: &mut NodeContext<'_, '_>, id: ValueId, rank: usize) -> Result<ValueId> {
    let [channels] = ctx.shape(id)[..] else {
        return Err(bad(format!("{} is not one value a channel", ctx.ty(id))));
    };
    let mut shape = vec![1; rank];
    shape[1] = channels;
    ctx.reshape(id, &shape)
}

/// GroupNormalization; scale and bias are of groups in version 18, of channels from 21.
pub(in crate::onnx) fn group(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    ctx.attributes.ignore(&["stash_type"]);
    let (x, scale, bias) = (ctx.required(0)?, ctx.required(1)?, ctx.required(2)?);
    let shape = ctx.shape(x);
    let [n, channels, ..] = shape[..] else {
        return Err(bad(format!("{} has no channels", ctx.ty(x))));
    };
    let wanted = ctx.attributes.int("num_groups", 0)?;
    let groups = usize::try_from(wanted).ok().filter(|g| *g > 0 && channels.is_multiple_of(*g));
    let groups = groups.ok_or_else(|| bad(format!("{wanted} groups of {channels} channels")))?;
    let inner = shape[2..].iter().product();
    let grouped = ctx.reshape(x, &[n, groups, channels / groups, inner])?;
    let epsilon = ctx.attributes.float("epsilon", 1e-5)?;
    let standard = standardized(ctx, grouped, &[2, 3], epsilon)?;
    let y = if ctx.since < 21 {
        let [scale, bias] = [by_channel(ctx, scale, 4)?, by_channel(ctx, bias, 4)?];
        let y = affine(ctx, standard.normal, scale, Some(bias))?;
        ctx.reshape(y, &shape)?
    } else {
        let normal = ctx.reshape(standard.normal, &shape)?;
        let rank = shape.len();
        let [scale, bias] = [by_channel(ctx, scale, rank)?, by_channel(ctx, bias, rank)?];
        affine(ctx, normal, scale, Some(bias))?
    };
    ctx.bind(0, y)
}

/// MeanVarianceNormalization, which adds 1e-9 to the standard deviation.
pub(in crate::onnx) fn mean_variance(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let axes = ctx.attributes.ints("axes")?.unwrap_or(&[0, 2, 3]);
    let axes = sorted_axes(axes, ctx.ty(x).rank())?;
    let mean = ctx.over(ReduceKind::Mean, x, &axes)?;
    let difference = ctx.sub(x, mean)?;
    let square = ctx.mul(difference, difference)?;
    let variance = ctx.over(ReduceKind::Mean, square, &axes)?;
    let deviation = ctx.unary(Unary::Sqrt, variance)?;
    let deviation = ctx.shifted(deviation, 1e-9)?;
    let y = ctx.div(difference, deviation)?;
    ctx.bind(0, y)
}

/// LpNormalization, by the sum of magnitudes or the root of the sum of squares; 0 where these are 0.
pub(in crate::onnx) fn lp(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let along = axis(ctx.attributes.int("axis", -1)?, ctx.ty(x).rank())?;
    let norm = match ctx.attributes.int("p", 2)? {
        1 => {
            let size = ctx.unary(Unary::Abs, x)?;
            ctx.over(ReduceKind::Sum, size, &[along])?
        }
        2 => {
            let square = ctx.mul(x, x)?;
            let sum = ctx.over(ReduceKind::Sum, square, &[along])?;
            ctx.unary(Unary::Sqrt, sum)?
        }
        p => return Err(bad(format!("attribute `p` is {p}, neither 1 nor 2"))),
    };
    let zero = ctx.number(x, 0.0);
    let is_zero = ctx.is_equal(norm, zero)?;
    let one = ctx.number(x, 1.0);
    // Where the norm is 0, x is.
    let norm = ctx.choose(is_zero, one, norm)?;
    let y = ctx.div(x, norm)?;
    ctx.bind(0, y)
}

/// LRN: `x / (bias + alpha / size * sum of squares of so many channels) ^ beta`.
pub(in crate::onnx) fn local_response(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let size = ctx.attributes.int("size", 0)?;
    let width = usize::try_from(size).ok().filter(|n| (1..=1 << 12).contains(n));
    let width = width.ok_or_else(|| unsupported(format!("a window of {size} channels")))?;
    if ctx.ty(x).rank() < 2 {
        return Err(bad(format!("{} has no channels", ctx.ty(x))));
    }
    let channels = ctx.shape(x)[1];
    let square = ctx.mul(x, x)?;
    let before = (width - 1) / 2;
    let padded = ctx.bordered(square, 1, [before, width - 1 - before], 0.0)?;
    let mut sum = part(ctx, padded, 1, 0, channels)?;
    for start in 1..width {
        let next = part(ctx, padded, 1, start, channels)?;
        sum = ctx.add(sum, next)?;
    }
    let alpha = f64::from(ctx.attributes.float("alpha", 1e-4)?);
    let scaled = ctx.scaled(sum, alpha / width as f64)?;
    let base = ctx.shifted(scaled, f64::from(ctx.attributes.float("bias", 1.0)?))?;
    let beta = f64::from(ctx.attributes.float("beta", 0.75)?);
    let divisor = ctx.with_number(Binary::Pow, base, beta)?;
    let y = ctx.div(x, divisor)?;
    ctx.bind(0, y)
}
