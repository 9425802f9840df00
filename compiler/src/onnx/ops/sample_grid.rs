//! AffineGrid and GridSample: images sampled where a grid says, which may be computed when the model runs.

use super::elementwise::floor;
use super::matmul;
use crate::error::Result;
use crate::ir::{DType, Op, Unary};
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

/// How images go on beyond their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Border {
    Zeros,
    Edge,
    Reflection,
}

/// Images as rows of channels, to be sampled.
struct Images {
    /// `[n * spatial, c]`
    rows: ValueId,
    spatial: Vec<usize>,
    border: Border,
    aligned: bool,
    /// Where each sample's image starts, to be added to places `[n, points]`.
    starts: ValueId,
}

/// Places of elements along each axis, and the weight of what is there.
type Corner = (Vec<ValueId>, Option<ValueId>);

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
    let mut sum = None;
    for (places, weight) in corners {
        let value = images.at(ctx, &places, weight)?;
        sum = Some(match sum {
            Some(sum) => ctx.add(sum, value)?,
            None => value,
        });
    }
    let y = sum.ok_or_else(|| bad("a sum of nothing"))?;
    let y = ctx.transposed(y, &[0, 2, 1])?;
    let y = ctx.reshape(y, &[&[*n, *c], result].concat())?;
    ctx.bind(0, y)
}

fn images(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<Images> {
    let shape = ctx.shape(x);
    let (n, c, spatial) = (shape[0], shape[1], shape[2..].to_vec());
    let inner: usize = spatial.iter().product();
    let rows = ctx.reshape(x, &[n, c, inner])?;
    let rows = ctx.transposed(rows, &[0, 2, 1])?;
    let rows = ctx.reshape(rows, &[n * inner, c])?;
    let border = match ctx.attributes.string("padding_mode", "zeros")? {
        "zeros" => Border::Zeros,
        "border" => Border::Edge,
        "reflection" => Border::Reflection,
        other => return Err(bad(format!("attribute `padding_mode` is `{other}`"))),
    };
    let aligned = ctx.attributes.flag("align_corners", false)?;
    let starts = ctx.ints(&[n, 1], (0..n).map(|i| (i * inner) as i64).collect());
    Ok(Images { rows, spatial, border, aligned, starts })
}

impl Images {
    /// A grid's number from -1 to 1 as a place along an axis.
    fn position(&self, ctx: &mut NodeContext<'_, '_>, x: ValueId, axis: usize) -> Result<ValueId> {
        let extent = self.spatial[axis] as f64;
        let x = ctx.shifted(x, 1.0)?;
        match self.aligned {
            true => ctx.scaled(x, (extent - 1.0) / 2.0),
            false => {
                let x = ctx.scaled(x, extent / 2.0)?;
                ctx.shifted(x, -0.5)
            }
        }
    }

    /// A place brought inside of an axis, as the border says; those outside of it where it is of zeros.
    fn inside(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        place: ValueId,
        axis: usize,
    ) -> Result<(ValueId, Option<ValueId>)> {
        let last = (self.spatial[axis] - 1) as f32;
        let place = match self.border {
            Border::Reflection => self.reflected(ctx, place, axis)?,
            Border::Zeros | Border::Edge => place,
        };
        let inside = ctx.unary(Unary::Clip { low: 0.0, high: last }, place)?;
        let is_inside = match self.border {
            Border::Zeros => Some(ctx.is_equal(inside, place)?),
            Border::Edge | Border::Reflection => None,
        };
        Ok((inside, is_inside))
    }

    /// A place reflected at the ends of an axis, which are half an element outside unless corners are aligned.
    fn reflected(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        place: ValueId,
        axis: usize,
    ) -> Result<ValueId> {
        let extent = self.spatial[axis] as f64;
        let (low, span) = if self.aligned { (0.0, extent - 1.0) } else { (-0.5, extent) };
        if span == 0.0 {
            return Ok(ctx.number(place, 0.0));
        }
        // As far as it is from the nearest even multiple of the span.
        let x = ctx.shifted(place, -low)?;
        let periods = ctx.scaled(x, 0.5 / span)?;
        let nearest = ctx.unary(Unary::Round, periods)?;
        let nearest = ctx.scaled(nearest, 2.0 * span)?;
        let x = ctx.sub(x, nearest)?;
        let x = ctx.unary(Unary::Abs, x)?;
        ctx.shifted(x, low)
    }

    /// What is at whole places of each axis, times a weight.
    fn at(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        places: &[ValueId],
        weight: Option<ValueId>,
    ) -> Result<ValueId> {
        let (mut row, mut weight) = (self.starts, weight);
        let mut distance: usize = self.spatial.iter().product();
        for (axis, &place) in places.iter().enumerate() {
            distance /= self.spatial[axis];
            let (place, is_inside) = self.inside(ctx, place, axis)?;
            if let Some(is_inside) = is_inside {
                let own = ctx.cast(is_inside, DType::F32)?;
                weight = Some(match weight {
                    Some(weight) => ctx.mul(weight, own)?,
                    None => own,
                });
            }
            let place = ctx.cast(place, DType::I64)?;
            let place = ctx.scaled(place, distance as f64)?;
            row = ctx.add(row, place)?;
        }
        let value = ctx.emit(Op::Gather { axis: 0 }, &[self.rows, row])?;
        match weight {
            Some(weight) => {
                let shape = [&ctx.shape(weight)[..], &[1]].concat();
                let weight = ctx.reshape(weight, &shape)?;
                ctx.mul(value, weight)
            }
            None => Ok(value),
        }
    }

    /// The elements around positions with their weights. Where the border has no end, positions are brought
    /// inside before.
    fn linear(&self, ctx: &mut NodeContext<'_, '_>, positions: &[ValueId]) -> Result<Vec<Corner>> {
        let mut corners: Vec<Corner> = vec![(Vec::new(), None)];
        for (axis, &position) in positions.iter().enumerate() {
            let position = match self.border {
                Border::Zeros => position,
                Border::Edge | Border::Reflection => self.inside(ctx, position, axis)?.0,
            };
            let below = floor(ctx, position)?;
            let above = ctx.shifted(below, 1.0)?;
            let upper = ctx.sub(position, below)?;
            let one = ctx.number(upper, 1.0);
            let lower = ctx.sub(one, upper)?;
            corners = crossed(ctx, corners, &[(below, lower), (above, upper)])?;
        }
        Ok(corners)
    }

    /// Four elements around positions along each axis, by cubic weights.
    fn cubic(&self, ctx: &mut NodeContext<'_, '_>, positions: &[ValueId]) -> Result<Vec<Corner>> {
        let mut corners: Vec<Corner> = vec![(Vec::new(), None)];
        for &position in positions {
            let below = floor(ctx, position)?;
            let fraction = ctx.sub(position, below)?;
            let mut along = Vec::with_capacity(4);
            for offset in [-1.0, 0.0, 1.0, 2.0] {
                let place = ctx.shifted(below, offset)?;
                let distance = ctx.shifted(fraction, -offset)?;
                let distance = ctx.unary(Unary::Abs, distance)?;
                let is_near = offset == 0.0 || offset == 1.0;
                along.push((place, cubic_weight(ctx, distance, is_near)?));
            }
            corners = crossed(ctx, corners, &along)?;
        }
        Ok(corners)
    }
}

/// The weight at a distance up to 1, or from 1 to 2, with the coefficient -0.75.
fn cubic_weight(ctx: &mut NodeContext<'_, '_>, x: ValueId, is_near: bool) -> Result<ValueId> {
    const A: f64 = -0.75;
    let factors = match is_near {
        true => [A + 2.0, -(A + 3.0), 0.0, 1.0],
        false => [A, -5.0 * A, 8.0 * A, -4.0 * A],
    };
    let mut y = ctx.number(x, factors[0]);
    for factor in &factors[1..] {
        y = ctx.mul(y, x)?;
        y = ctx.shifted(y, *factor)?;
    }
    Ok(y)
}

/// Each corner with each of the places along another axis.
fn crossed(
    ctx: &mut NodeContext<'_, '_>,
    corners: Vec<Corner>,
    along: &[(ValueId, ValueId)],
) -> Result<Vec<Corner>> {
    let mut all = Vec::with_capacity(corners.len() * along.len());
    for (places, weight) in corners {
        for &(place, own) in along {
            let weight = match weight {
                Some(weight) => ctx.mul(weight, own)?,
                None => own,
            };
            all.push(([&places[..], &[place]].concat(), Some(weight)));
        }
    }
    Ok(all)
}

/// The element nearest to each position, of two the even one.
fn nearest(ctx: &mut NodeContext<'_, '_>, positions: &[ValueId]) -> Result<Vec<Corner>> {
    let places = positions.iter().map(|&position| ctx.unary(Unary::Round, position));
    Ok(vec![(places.collect::<Result<_>>()?, None)])
}
