//! AffineGrid and GridSample: images sampled where a grid says, which may be computed when the model runs.

use super::images::{Border, Images, nearest};
use super::matmul;
use crate::error::Result;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::{bad, unsupported};

/// AffineGrid: the points of an image, each from -1 to 1, by a matrix for each sample.
pub(in crate::onnx) fn affine_grid(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let theta = ctx.required(0)?;
    let size = ctx.constant_ints(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let aligned = ctx.attributes.flag("align_corners", false)?;
    let extents: Option<Vec<usize>> = size.iter().map(|n| usize::try_from(*n).ok()).collect();
    let extents = extents.filter(|e| matches!(e.len(), 4 | 5) && !e.contains(&0));
    let extents = extents.ok_or_else(|| bad(format!("a size of {size:?}")))?;
    let (n, spatial) = (extents[0], &extents[2..]);
    let dims = spatial.len();
    if ctx.shape(theta) != [n, dims, dims + 1] {
        return Err(bad(format!("matrices {} for {n} grids of {dims} axes", ctx.ty(theta))));
    }
    let points: usize = spatial.iter().product();
    if points > 1 << 24 {
        return Err(unsupported(format!("a grid of {points} points")));
    }
    let coordinate = |i: usize, extent: usize| match (aligned, extent) {
        (true, 1) => -1.0,
        (true, _) => 2.0 * i as f64 / (extent - 1) as f64 - 1.0,
        (false, _) => (2 * i + 1) as f64 / extent as f64 - 1.0,
    };
    // The last axis comes first, and 1 last.
    let mut values = Vec::with_capacity(points * (dims + 1));
    for point in 0..points {
        let mut left = point;
        for &extent in spatial.iter().rev() {
            values.push(coordinate(left % extent, extent));
            left /= extent;
        }
        values.push(1.0);
    }
    let base = ctx.floats(&[1, points, dims + 1], values);
    let y = ctx.emit(matmul::op(false, true), &[base, theta])?;
    let y = ctx.reshape(y, &[&[n], spatial, &[dims]].concat())?;
    ctx.bind(0, y)
}

/// GridSample; from version 20 its modes have other names, and images may be volumes.
pub(in crate::onnx) fn grid_sample(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, grid) = (ctx.required(0)?, ctx.required(1)?);
    let (shape, points) = (ctx.shape(x), ctx.shape(grid));
    let [n, c, spatial @ ..] = &shape[..] else {
        return Err(bad(format!("{} is no image", ctx.ty(x))));
    };
    let dims = spatial.len();
    let fits = points.len() == dims + 2 && points[0] == *n && points[dims + 1] == dims;
    if !fits || !matches!(dims, 2 | 3) || shape.contains(&0) {
        return Err(bad(format!("a grid {} for {}", ctx.ty(grid), ctx.ty(x))));
    }
    let result = &points[1..=dims];
    let count: usize = result.iter().product();
    let images = images(ctx, x)?;
    let grid = ctx.reshape(grid, &[*n, count, dims])?;
    let mut positions = Vec::with_capacity(dims);
    for axis in 0..dims {
        // The grid has the last axis first.
        let position = part(ctx, grid, 2, dims - 1 - axis, 1)?;
        let position = ctx.reshape(position, &[*n, count])?;
        positions.push(images.position(ctx, position, axis)?);
    }
    let corners =
        match ctx.attributes.string("mode", if ctx.since < 20 { "bilinear" } else { "linear" })? {
            "nearest" => nearest(ctx, &positions)?,
            "linear" | "bilinear" => images.linear(ctx, &positions)?,
            "cubic" | "bicubic" if dims == 2 => images.cubic(ctx, &positions)?,
            other => return Err(bad(format!("attribute `mode` is `{other}`"))),
        };
    let y = images.sum(ctx, corners)?;
    let y = ctx.transposed(y, &[0, 2, 1])?;
    let y = ctx.reshape(y, &[&[*n, *c], result].concat())?;
    ctx.bind(0, y)
}

/// The node's operand x, to be read as its attributes say.
fn images(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<Images> {
    let shape = ctx.shape(x);
    let (n, inner) = (shape[0], shape[2..].iter().product::<usize>());
    let border = match ctx.attributes.string("padding_mode", "zeros")? {
        "zeros" => Border::Zeros,
        "border" => Border::Edge,
        "reflection" => Border::Reflection,
        other => return Err(bad(format!("attribute `padding_mode` is `{other}`"))),
    };
    let aligned = ctx.attributes.flag("align_corners", false)?;
    let starts = ctx.ints(&[n, 1], (0..n).map(|i| (i * inner) as i64).collect());
    Images::new(ctx, x, 1, (border, aligned), starts)
}
