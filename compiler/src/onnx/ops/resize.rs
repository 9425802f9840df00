//! Resize and Upsample: axis by axis, as gathers and weighted sums with constant indices.

use super::sampling::{Axis, Rounding, Transform};
use crate::error::Result;
use crate::ir::Binary;
use crate::ir::{DType, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::{bad, unsupported};

/// No axis becomes longer.
const MOST: usize = 1 << 20;

/// How elements are made of others.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Nearest(Rounding),
    Linear,
}

/// Resize: nearest and linear. Version 10 has fixed coordinates; sizes came with 11, axes with 18.
pub(in crate::onnx) fn resize(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    // Of cubic interpolation, cropping and antialiasing, which are refused.
    ctx.attributes.ignore(&["cubic_coeff_a", "extrapolation_value", "exclude_outside"]);
    if ctx.attributes.flag("antialias", false)? {
        return Err(unsupported("antialiasing").with_remedy("export with antialias=False"));
    }
    if ctx.since >= 11 {
        // What to crop, which is for another coordinate transformation.
        ctx.ignore(1);
    }
    let x = ctx.required(0)?;
    let (transform, mode) = if ctx.since == 10 {
        let mode = mode(ctx.attributes.string("mode", "nearest")?, Rounding::ByScale)?;
        (Transform::Asymmetric, mode)
    } else {
        let transform = ctx.attributes.string("coordinate_transformation_mode", "half_pixel")?;
        let rounding = ctx.attributes.string("nearest_mode", "round_prefer_floor")?;
        let mode = mode(ctx.attributes.string("mode", "nearest")?, Rounding::named(rounding)?)?;
        (Transform::named(transform)?, mode)
    };
    let axes = axes(ctx, x)?;
    give(ctx, x, &axes, transform, mode)
}

/// Upsample: scales are an attribute in version 7, an operand in 9.
pub(in crate::onnx) fn upsample(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let mode = mode(ctx.attributes.string("mode", "nearest")?, Rounding::Floor)?;
    let scales = match ctx.since {
        ..9 => ctx.attributes.floats("scales")?.map(<[f32]>::to_vec),
        _ => floats(ctx, 1)?,
    };
    let scales = scales.ok_or_else(|| bad("its scales are missing"))?;
    let shape = ctx.shape(x);
    let axes = scaled_axes(&shape, &(0..shape.len()).collect::<Vec<_>>(), &scales)?;
    give(ctx, x, &axes, Transform::Asymmetric, mode)
}

fn mode(name: &str, rounding: Rounding) -> Result<Mode> {
    match name {
        "nearest" => Ok(Mode::Nearest(rounding)),
        "linear" | "bilinear" => Ok(Mode::Linear),
        "cubic" => Err(unsupported("cubic interpolation").with_remedy("export with linear")),
        other => Err(bad(format!("attribute `mode` is `{other}`"))),
    }
}

fn floats(ctx: &mut NodeContext<'_, '_>, index: usize) -> Result<Option<Vec<f32>>> {
    let values = ctx.constant_floats(index)?;
    Ok(values.map(|values| values.iter().map(|v| *v as f32).collect()))
}

/// Every axis of `x`, as the operands resize it.
fn axes(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<Vec<Axis>> {
    let shape = ctx.shape(x);
    let rank = shape.len();
    let named: Vec<usize> = match ctx.attributes.ints("axes")? {
        Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    let policy = ctx.attributes.string("keep_aspect_ratio_policy", "stretch")?;
    // An empty operand is an absent one.
    let index = if ctx.since == 10 { 1 } else { 2 };
    let scales = floats(ctx, index)?.filter(|scales| !scales.is_empty());
    let sizes = if ctx.since == 10 { None } else { ctx.constant_ints(3)? };
    match (scales, sizes.filter(|sizes| !sizes.is_empty())) {
        (Some(scales), None) => scaled_axes(&shape, &named, &scales),
        (None, Some(sizes)) => sized_axes(&shape, &named, &sizes, policy),
        _ => Err(bad("it needs scales or sizes, and not both")),
    }
}

/// Axes that stay as they are.
fn kept(shape: &[usize]) -> Vec<Axis> {
    shape.iter().map(|&n| Axis { from: n, to: n, scale: 1.0 }).collect()
}

fn scaled_axes(shape: &[usize], named: &[usize], scales: &[f32]) -> Result<Vec<Axis>> {
    if scales.len() != named.len() {
        return Err(bad(format!("{} scales for {} axes", scales.len(), named.len())));
    }
    let mut axes = kept(shape);
    for (&axis, &scale) in named.iter().zip(scales) {
        let to = (shape[axis] as f32 * scale).floor();
        if !scale.is_finite() || scale <= 0.0 || to > MOST as f32 {
            return Err(bad(format!("a scale of {scale} for {} elements", shape[axis])));
        }
        axes[axis] = Axis { from: shape[axis], to: to as usize, scale };
    }
    Ok(axes)
}

fn sized_axes(shape: &[usize], named: &[usize], sizes: &[i64], policy: &str) -> Result<Vec<Axis>> {
    if sizes.len() != named.len() {
        return Err(bad(format!("{} sizes for {} axes", sizes.len(), named.len())));
    }
    let sizes = sizes.iter().map(|&size| match usize::try_from(size) {
        Ok(n) if (1..=MOST).contains(&n) => Ok(n),
        _ => Err(bad(format!("a size of {size}"))),
    });
    let sizes = sizes.collect::<Result<Vec<_>>>()?;
    let ratio = |(&axis, &to): (&usize, &usize)| to as f32 / shape[axis].max(1) as f32;
    let ratios = named.iter().zip(&sizes).map(ratio);
    let common = match policy {
        "stretch" => None,
        "not_larger" => ratios.reduce(f32::min),
        "not_smaller" => ratios.reduce(f32::max),
        other => {
            return Err(bad(format!("attribute `keep_aspect_ratio_policy` is `{other}`")));
        }
    };
    let mut axes = kept(shape);
    for (&axis, &to) in named.iter().zip(&sizes) {
        let from = shape[axis];
        axes[axis] = match common {
            None => Axis { from, to, scale: to as f32 / from.max(1) as f32 },
            Some(scale) => {
                let to = (scale * from as f32).round();
                if to > MOST as f32 {
                    return Err(bad(format!("a size of {to}")));
                }
                Axis { from, to: to as usize, scale }
            }
        };
    }
    Ok(axes)
}

fn give(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axes: &[Axis],
    transform: Transform,
    mode: Mode,
) -> Result<()> {
    let mut y = x;
    for (position, axis) in axes.iter().enumerate() {
        if axis.is_kept() {
            continue;
        }
        if axis.from == 0 || axis.to == 0 {
            return Err(bad(format!("{} elements become {}", axis.from, axis.to)));
        }
        y = match mode {
            Mode::Nearest(rounding) => gather(ctx, y, position, axis.nearest(transform, rounding))?,
            Mode::Linear => interpolate(ctx, y, position, axis, transform)?,
        };
    }
    ctx.bind(0, y)
}

fn gather(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axis: usize,
    indices: Vec<i64>,
) -> Result<ValueId> {
    let index = ctx.ints(&[indices.len()], indices);
    ctx.emit(Op::Gather { axis }, &[x, index])
}

/// `below * (1 - weight) + above * weight` along one axis.
fn interpolate(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    position: usize,
    axis: &Axis,
    transform: Transform,
) -> Result<ValueId> {
    if ctx.dtype(x) != DType::F32 {
        return Err(unsupported(format!("linear interpolation of {}", ctx.ty(x))));
    }
    let (below, above, weight) = axis.linear(transform);
    let mut shape = vec![1; ctx.ty(x).rank()];
    shape[position] = weight.len();
    let rest = ctx.floats(&shape, weight.iter().map(|w| 1.0 - w).collect());
    let weight = ctx.floats(&shape, weight);
    let below = gather(ctx, x, position, below)?;
    let above = gather(ctx, x, position, above)?;
    let below = ctx.binary(Binary::Mul, below, rest)?;
    let above = ctx.binary(Binary::Mul, above, weight)?;
    ctx.binary(Binary::Add, below, above)
}
