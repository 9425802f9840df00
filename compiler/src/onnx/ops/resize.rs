//! Resize and Upsample: axis by axis, as gathers and weighted sums with constant indices.

use super::sampling::{Axis, Kernel, Rounding, Tap, Transform};
use crate::error::Result;
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
    Weighted(Kernel),
}

/// Sums of so many elements at most are written as such; of more they are products with a matrix.
const FEW: usize = 4;

/// Resize. Version 10 has fixed coordinates; sizes came with 11, axes and antialiasing with 18.
pub(in crate::onnx) fn resize(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let (transform, mode) = if ctx.since == 10 {
        (Transform::Asymmetric, mode(ctx, Rounding::ByScale)?)
    } else {
        let transform = ctx.attributes.string("coordinate_transformation_mode", "half_pixel")?;
        let rounding = ctx.attributes.string("nearest_mode", "round_prefer_floor")?;
        (Transform::named(transform)?, mode(ctx, Rounding::named(rounding)?)?)
    };
    let mut axes = axes(ctx, x)?;
    match transform {
        Transform::TfCropAndResize => crop(ctx, &mut axes)?,
        Transform::HalfPixel
        | Transform::HalfPixelSymmetric
        | Transform::PytorchHalfPixel
        | Transform::AlignCorners
        | Transform::Asymmetric
        | Transform::TfHalfPixelForNn => {
            // What to crop, and what lies outside of it.
            ctx.attributes.ignore(&["extrapolation_value"]);
            if ctx.since >= 11 {
                ctx.ignore(1);
            }
        }
    }
    give(ctx, x, &axes, transform, mode)
}

/// Upsample: scales are an attribute in version 7, an operand in 9.
pub(in crate::onnx) fn upsample(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let mode = mode(ctx, Rounding::Floor)?;
    let scales = match ctx.since {
        ..9 => ctx.attributes.floats("scales")?.map(<[f32]>::to_vec),
        _ => floats(ctx, 1)?,
    };
    let scales = scales.ok_or_else(|| bad("its scales are missing"))?;
    let shape = ctx.shape(x);
    let axes = scaled_axes(&shape, &(0..shape.len()).collect::<Vec<_>>(), &scales)?;
    give(ctx, x, &axes, Transform::Asymmetric, mode)
}

/// The node's mode, with the kernel that it interpolates by.
fn mode(ctx: &NodeContext<'_, '_>, rounding: Rounding) -> Result<Mode> {
    let antialias = ctx.attributes.flag("antialias", false)?;
    let exclude_outside = ctx.attributes.flag("exclude_outside", false)?;
    let a = ctx.attributes.float("cubic_coeff_a", -0.75)?;
    let cubic = match ctx.attributes.string("mode", "nearest")? {
        "nearest" => return Ok(Mode::Nearest(rounding)),
        "linear" | "bilinear" => None,
        "cubic" => Some(f64::from(a)),
        other => return Err(bad(format!("attribute `mode` is `{other}`"))),
    };
    Ok(Mode::Weighted(Kernel { cubic, antialias, exclude_outside }))
}

/// Puts what the node crops into its axes.
fn crop(ctx: &mut NodeContext<'_, '_>, axes: &mut [Axis]) -> Result<()> {
    let region = floats(ctx, 1)?.ok_or_else(|| bad("its region is missing"))?;
    let rank = axes.len();
    let named: Vec<usize> = match ctx.attributes.ints("axes")? {
        Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    if region.len() != 2 * named.len() {
        return Err(bad(format!("a region of {} ends for {} axes", region.len(), named.len())));
    }
    for (position, &axis) in named.iter().enumerate() {
        axes[axis].region = [region[position], region[position + named.len()]];
    }
    Ok(())
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
    shape.iter().map(|&n| Axis::new(n, n, 1.0)).collect()
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
        axes[axis] = Axis::new(shape[axis], to as usize, scale);
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
            None => Axis::new(from, to, to as f32 / from.max(1) as f32),
            Some(scale) => {
                let to = (scale * from as f32).round();
                if to > MOST as f32 {
                    return Err(bad(format!("a size of {to}")));
                }
                Axis::new(from, to as usize, scale)
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
            Mode::Weighted(kernel) => {
                weighted(ctx, y, position, axis, &axis.taps(transform, kernel))?
            }
        };
        if transform == Transform::TfCropAndResize {
            y = filled(ctx, y, position, axis)?;
        }
    }
    ctx.bind(0, y)
}

/// What lies outside of x along an axis becomes the node's `extrapolation_value`.
fn filled(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    position: usize,
    axis: &Axis,
) -> Result<ValueId> {
    let value = ctx.attributes.float("extrapolation_value", 0.0)?;
    let inside: Vec<i64> = axis.is_inside().into_iter().map(i64::from).collect();
    let mut shape = vec![1; ctx.ty(x).rank()];
    shape[position] = inside.len();
    let inside = ctx.ints(&shape, inside);
    let inside = ctx.cast(inside, DType::Bool)?;
    let value = ctx.number(x, f64::from(value));
    ctx.choose(inside, x, value)
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

/// A weighted sum of elements of x along one axis.
fn weighted(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    position: usize,
    axis: &Axis,
    taps: &[Tap],
) -> Result<ValueId> {
    if ctx.dtype(x) != DType::F32 {
        return Err(unsupported(format!("interpolation of {}", ctx.ty(x))));
    }
    if taps.len() > FEW {
        return by_matrix(ctx, x, position, axis, taps);
    }
    let mut shape = vec![1; ctx.ty(x).rank()];
    shape[position] = axis.to;
    let mut sum = None;
    for tap in taps {
        let weight = ctx.floats(&shape, tap.weights.clone());
        let elements = gather(ctx, x, position, tap.places.clone())?;
        let product = ctx.mul(elements, weight)?;
        sum = Some(match sum {
            Some(sum) => ctx.add(sum, product)?,
            None => product,
        });
    }
    sum.ok_or_else(|| bad("a sum of nothing"))
}

/// The same as a product with a matrix of the weights.
fn by_matrix(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    position: usize,
    axis: &Axis,
    taps: &[Tap],
) -> Result<ValueId> {
    let mut weights = vec![0.0; axis.from * axis.to];
    for tap in taps {
        for (column, (&row, weight)) in tap.places.iter().zip(&tap.weights).enumerate() {
            weights[row as usize * axis.to + column] += weight;
        }
    }
    let weights = ctx.floats(&[axis.from, axis.to], weights);
    let mut perm: Vec<usize> = (0..ctx.ty(x).rank()).collect();
    perm.swap(position, ctx.ty(x).rank() - 1);
    let x = ctx.transposed(x, &perm)?;
    let shape = ctx.shape(x);
    let rows = ctx.reshape(x, &[shape[..shape.len() - 1].iter().product(), axis.from])?;
    let rows = ctx.emit(super::matmul::op(false, false), &[rows, weights])?;
    let y = ctx.reshape(rows, &[&shape[..shape.len() - 1], &[axis.to]].concat())?;
    ctx.transposed(y, &perm)
}
