//! Operators that arrange elements anew: DepthToSpace and its reverse, Tile, CenterCropPad.

use super::slice::{Stride, take, whole};
use crate::error::Result;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::{bad, unsupported};

/// Repeating or enlarging more is nonsense, and would make products overflow.
const MOST: i64 = 1 << 24;

/// The node's `blocksize`, which must be there.
fn block(ctx: &NodeContext<'_, '_>) -> Result<usize> {
    let size = ctx.attributes.int("blocksize", 0)?;
    let block = usize::try_from(size).ok().filter(|_| (1..=1 << 12).contains(&size));
    block.ok_or_else(|| bad(format!("attribute `blocksize` is {size}")))
}

/// Whether a block's pixels are the outer part of the channels (`DCR`), or the inner one (`CRD`).
fn is_depth_first(ctx: &NodeContext<'_, '_>) -> Result<bool> {
    match ctx.attributes.string("mode", "DCR")? {
        "DCR" => Ok(true),
        "CRD" => Ok(false),
        other => Err(bad(format!("attribute `mode` is `{other}`"))),
    }
}

/// DepthToSpace: channels become blocks of pixels.
pub(in crate::onnx) fn depth_to_space(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, b) = (ctx.required(0)?, block(ctx)?);
    let [n, c, h, w] = ctx.shape(x)[..] else {
        return Err(bad(format!("{} has not the axes n, c, h, w", ctx.ty(x))));
    };
    if !c.is_multiple_of(b * b) {
        return Err(bad(format!("{c} channels do not make blocks of {b} by {b}")));
    }
    let left = c / (b * b);
    let y = if is_depth_first(ctx)? {
        let y = ctx.reshape(x, &[n, b, b, left, h, w])?;
        ctx.transposed(y, &[0, 3, 4, 1, 5, 2])?
    } else {
        let y = ctx.reshape(x, &[n, left, b, b, h, w])?;
        ctx.transposed(y, &[0, 1, 4, 2, 5, 3])?
    };
    let y = ctx.reshape(y, &[n, left, h * b, w * b])?;
    ctx.bind(0, y)
}

/// SpaceToDepth: blocks of pixels become channels.
pub(in crate::onnx) fn space_to_depth(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, b) = (ctx.required(0)?, block(ctx)?);
    let [n, c, h, w] = ctx.shape(x)[..] else {
        return Err(bad(format!("{} has not the axes n, c, h, w", ctx.ty(x))));
    };
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(bad(format!("{h} by {w} pixels do not make blocks of {b} by {b}")));
    }
    let blocks = ctx.reshape(x, &[n, c, h / b, b, w / b, b])?;
    let y = match is_depth_first(ctx)? {
        true => ctx.transposed(blocks, &[0, 3, 5, 1, 2, 4])?,
        false => ctx.transposed(blocks, &[0, 1, 3, 5, 2, 4])?,
    };
    let y = ctx.reshape(y, &[n, c * b * b, h / b, w / b])?;
    ctx.bind(0, y)
}

/// Tile: x repeated along each axis.
pub(in crate::onnx) fn tile(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let repeats = ctx.constant_ints(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let shape = ctx.shape(x);
    let counts: Vec<usize> = repeats.iter().filter_map(|n| usize::try_from(*n).ok()).collect();
    if counts.len() != shape.len() || repeats.iter().any(|n| *n > MOST) {
        return Err(bad(format!("repeats {repeats:?} of {}", ctx.ty(x))));
    }
    let apart: Vec<usize> = shape.iter().flat_map(|n| [1, *n]).collect();
    let spread: Vec<usize> = shape.iter().zip(&counts).flat_map(|(n, k)| [*k, *n]).collect();
    let y = ctx.reshape(x, &apart)?;
    let y = ctx.expanded(y, &spread)?;
    let tiled: Vec<usize> = shape.iter().zip(&counts).map(|(n, k)| n.saturating_mul(*k)).collect();
    let y = ctx.reshape(y, &tiled)?;
    ctx.bind(0, y)
}

/// CenterCropPad: cut or filled with 0 on both sides of each axis.
pub(in crate::onnx) fn center_crop_pad(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let sizes = ctx.constant_ints(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let axes: Vec<usize> = match ctx.attributes.ints("axes")? {
        Some(axes) => axes.iter().map(|&a| axis(a, shape.len())).collect::<Result<_>>()?,
        None => (0..shape.len()).collect(),
    };
    if axes.len() != sizes.len() {
        return Err(bad(format!("{} sizes for {} axes", sizes.len(), axes.len())));
    }
    if let Some(size) = sizes.iter().find(|size| !(0..=MOST).contains(*size)) {
        return Err(unsupported(format!("a size of {size}")));
    }
    let mut strides = whole(&shape);
    let mut borders = vec![[0, 0]; shape.len()];
    for (&axis, &size) in axes.iter().zip(&sizes) {
        let (from, to) = (shape[axis], size as usize);
        let more = to.saturating_sub(from);
        strides[axis] = Stride { start: from.saturating_sub(to) / 2, step: 1, count: from.min(to) };
        borders[axis] = [more / 2, more - more / 2];
    }
    let mut y = take(ctx, x, &strides)?;
    for (axis, border) in borders.into_iter().enumerate() {
        y = ctx.bordered(y, axis, border, 0.0)?;
    }
    ctx.bind(0, y)
}
