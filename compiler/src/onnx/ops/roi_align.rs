//! RoiAlign: regions of images, pooled to one size from points between their elements.

use std::collections::BTreeMap;

use super::images::{Border, Corner, Images, crossed};
use crate::error::Result;
use crate::interp::Data;
use crate::ir::{Binary, DType, ReduceKind, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::{bad, unsupported};

/// More points along one side of a region than any image has.
const MOST: usize = 1 << 16;

/// What the node's attributes say.
struct Pooling {
    /// Height and width of what a region becomes.
    output: [usize; 2],
    /// Whether places are moved by half an element, and regions may be smaller than one.
    half_pixel: bool,
    /// Elements of the images for one of what regions are given in.
    scale: f32,
    /// Takes the largest instead of the mean.
    largest: bool,
}

/// RoiAlign. Version 10 is as `output_half_pixel` of version 16.
///
/// The largest is that of the products of each element and its weight, as ONNX's and ONNX Runtime's are, and not
/// that of their sums.
pub(in crate::onnx) fn roi_align(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, rois, images) = (ctx.required(0)?, ctx.required(1)?, ctx.required(2)?);
    let shape = ctx.shape(x);
    let [n, c, height, width] = shape[..] else {
        return Err(bad(format!("{} is no image", ctx.ty(x))));
    };
    let count = ctx.ty(images).elements();
    let fits = ctx.shape(images) == [count] && ctx.shape(rois) == [count, 4];
    if !fits || shape.contains(&0) || !matches!(ctx.dtype(images), DType::I64 | DType::I32) {
        let (rois, images) = (ctx.ty(rois), ctx.ty(images));
        return Err(bad(format!("regions {rois} of images {images} of {}", ctx.ty(x))));
    }
    let pooling = attributes(ctx)?;
    let [rows, columns] = pooling.output;
    let grids = grids(ctx, &pooling, rois, count)?;
    if count == 0 {
        let nothing = ctx.floats(&[0, c, rows, columns], Vec::new());
        return ctx.bind(0, nothing);
    }
    let starts = starts(ctx, images, n, height * width)?;
    let y = pooling.by_grid(ctx, [x, rois, starts], grids)?;
    let y = ctx.transposed(y, &[0, 3, 1, 2])?;
    ctx.bind(0, y)
}

fn attributes(ctx: &NodeContext<'_, '_>) -> Result<Pooling> {
    let mode = |default| ctx.attributes.string("coordinate_transformation_mode", default);
    let half_pixel = match mode(if ctx.since < 16 { "output_half_pixel" } else { "half_pixel" })? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            let what = format!("attribute `coordinate_transformation_mode` is `{other}`");
            return Err(bad(what));
        }
    };
    let largest = match ctx.attributes.string("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => return Err(bad(format!("attribute `mode` is `{other}`"))),
    };
    let extent = |name: &str| {
        let given = ctx.attributes.int(name, 1)?;
        let extent = usize::try_from(given).ok().filter(|n| (1..=MOST).contains(n));
        extent.ok_or_else(|| bad(format!("attribute `{name}` is {given}")))
    };
    let output = [extent("output_height")?, extent("output_width")?];
    let scale = ctx.attributes.float("spatial_scale", 1.0)?;
    Ok(Pooling { output, half_pixel, scale, largest })
}

/// Where the image of each region starts among the elements of all, `[regions, 1, 1, 1, 1]`. Numbers of images that
/// are not known yet are brought into the batch.
fn starts(
    ctx: &mut NodeContext<'_, '_>,
    images: ValueId,
    batch: usize,
    inner: usize,
) -> Result<ValueId> {
    let last = batch as i64 - 1;
    if let Some(Data::Int(all)) = ctx.known(images)?.as_deref().map(|tensor| &tensor.data)
        && let Some(other) = all.iter().find(|image| !(0..=last).contains(*image))
    {
        return Err(bad(format!("a region of image {other}, of a batch of {batch}")));
    }
    let image = ctx.cast(images, DType::I64)?;
    let image = ctx.with_number(Binary::Max, image, 0.0)?;
    let image = ctx.with_number(Binary::Min, image, last as f64)?;
    let start = ctx.scaled(image, inner as f64)?;
    let count = ctx.ty(images).elements();
    ctx.reshape(start, &[count, 1, 1, 1, 1])
}

/// How many points, down and across, each part of a region is sampled at, and the regions for which that is so.
fn grids(
    ctx: &mut NodeContext<'_, '_>,
    pooling: &Pooling,
    rois: ValueId,
    count: usize,
) -> Result<BTreeMap<[usize; 2], Vec<usize>>> {
    let ratio = ctx.attributes.int("sampling_ratio", 0)?;
    let given = usize::try_from(ratio).ok().filter(|n| *n <= MOST);
    let given = given.ok_or_else(|| bad(format!("attribute `sampling_ratio` is {ratio}")))?;
    if given > 0 {
        return Ok(BTreeMap::from([([given; 2], (0..count).collect())]));
    }
    let known = ctx.known(rois)?;
    let Some(Data::Float(all)) = known.as_deref().map(|tensor| &tensor.data) else {
        let what = "`sampling_ratio` 0, with which the size of each region says at how many points it is read, \
                    for regions that are known only when the model runs";
        return Err(unsupported(what).with_remedy(
            "export the model with a sampling ratio, such as sampling_ratio=2 of torchvision's MultiScaleRoIAlign, \
             or with regions that are constant",
        ));
    };
    let mut grids: BTreeMap<[usize; 2], Vec<usize>> = BTreeMap::new();
    for (region, ends) in all.chunks_exact(4).enumerate() {
        let along = |axis: usize| {
            let ends = [ends[1 - axis], ends[3 - axis]].map(|end| end as f32);
            let points = (pooling.size(ends) / pooling.output[axis] as f32).ceil();
            // Below 0 there are none, and of what is no number neither.
            if points > MOST as f32 {
                Err(unsupported("regions so large"))
            } else {
                Ok(points as usize)
            }
        };
        grids.entry([along(0)?, along(1)?]).or_default().push(region);
    }
    Ok(grids)
}

impl Pooling {
    /// How many elements of an image a region takes along an axis, as [`Self::positions`] computes it.
    fn size(&self, ends: [f32; 2]) -> f32 {
        let [start, end] = ends.map(|end| end * self.scale - self.offset());
        if self.half_pixel { end - start } else { (end - start).max(1.0) }
    }

    fn offset(&self) -> f32 {
        if self.half_pixel { 0.5 } else { 0.0 }
    }

    /// What all regions become, those of one grid at a time: `[regions, rows, columns, c]`.
    fn by_grid(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        [x, rois, starts]: [ValueId; 3],
        grids: BTreeMap<[usize; 2], Vec<usize>>,
    ) -> Result<ValueId> {
        let count = ctx.shape(rois)[0];
        let extents = [ctx.shape(x)[2], ctx.shape(x)[3]];
        let (mut parts, mut order) = (Vec::new(), vec![0; count]);
        let mut made = 0;
        for (grid, members) in grids {
            let places = || members.iter().map(|&region| region as i64).collect();
            let (rois, starts) = match members.len() == count {
                true => (rois, starts),
                false => (ctx.picked(rois, 0, places())?, ctx.picked(starts, 0, places())?),
            };
            let images = Images::new(ctx, x, 1, (Border::Edge, true), starts)?;
            parts.push(self.pooled(ctx, &images, rois, grid, extents)?);
            members.iter().zip(made..).for_each(|(&region, at)| order[region] = at);
            made += members.len() as i64;
        }
        let y = ctx.joined(0, &parts)?;
        if order.is_sorted() { Ok(y) } else { ctx.picked(y, 0, order) }
    }

    /// What regions `[r, 4]` become, from a grid of points in each part of them: `[r, rows, columns, c]`.
    fn pooled(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        images: &Images,
        rois: ValueId,
        grid: [usize; 2],
        extents: [usize; 2],
    ) -> Result<ValueId> {
        let count = ctx.shape(rois)[0];
        let ([rows, columns], [down, across]) = (self.output, grid);
        let channels = images.channels(ctx);
        let result = [count, rows, columns, channels];
        if grid.contains(&0) {
            let zero = ctx.scalar(DType::F32, 0.0);
            return ctx.expanded(zero, &result);
        }
        let mut corners: Vec<Corner> = vec![(Vec::new(), None)];
        for axis in [0, 1] {
            let positions = self.positions(ctx, rois, axis, grid[axis])?;
            let shape = match axis {
                0 => [count, rows, 1, down, 1],
                _ => [count, 1, columns, 1, across],
            };
            let positions = ctx.reshape(positions, &shape)?;
            let around = inside(ctx, images, positions, axis, extents[axis])?;
            corners = crossed(ctx, corners, &around)?;
        }
        let (kind, values) = match self.largest {
            true => (ReduceKind::Max, largest(ctx, images, corners)?),
            false => (ReduceKind::Mean, images.sum(ctx, corners)?),
        };
        let y = if grid == [1, 1] { values } else { ctx.over(kind, values, &[3, 4])? };
        ctx.reshape(y, &result)
    }

    /// Places of an image along an axis, `[regions, parts, points]`, of regions `[x1, y1, x2, y2]`.
    fn positions(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        rois: ValueId,
        axis: usize,
        points: usize,
    ) -> Result<ValueId> {
        let count = ctx.shape(rois)[0];
        let end = |ctx: &mut NodeContext<'_, '_>, column: usize| {
            let end = part(ctx, rois, 1, column, 1)?;
            let end = ctx.reshape(end, &[count, 1, 1])?;
            let end = ctx.scaled(end, f64::from(self.scale))?;
            ctx.shifted(end, f64::from(-self.offset()))
        };
        let (start, end) = (end(ctx, 1 - axis)?, end(ctx, 3 - axis)?);
        let mut size = ctx.sub(end, start)?;
        if !self.half_pixel {
            size = ctx.with_number(Binary::Max, size, 1.0)?;
        }
        let parts = self.output[axis];
        let part = ctx.with_number(Binary::Div, size, parts as f64)?;
        let steps = ctx.floats(&[1, parts, 1], (0..parts).map(|i| i as f64).collect());
        let inner = ctx.floats(&[1, 1, points], (0..points).map(|i| i as f64 + 0.5).collect());
        let steps = ctx.mul(part, steps)?;
        let inner = ctx.mul(part, inner)?;
        let inner = ctx.with_number(Binary::Div, inner, points as f64)?;
        let sum = ctx.add(start, steps)?;
        ctx.add(sum, inner)
    }
}

/// The elements around positions along an axis with their weights, which are 0 for positions that are more than an
/// element outside, or no numbers.
fn inside(
    ctx: &mut NodeContext<'_, '_>,
    images: &Images,
    positions: ValueId,
    axis: usize,
    extent: usize,
) -> Result<[(ValueId, ValueId); 2]> {
    let near = ctx.unary(Unary::Clip { low: -1.0, high: extent as f32 }, positions)?;
    let is_near = ctx.is_equal(near, positions)?;
    let zero = ctx.number(positions, 0.0);
    let [below, above] = images.around(ctx, positions, axis)?;
    let weight = |ctx: &mut NodeContext<'_, '_>, weight| ctx.choose(is_near, weight, zero);
    Ok([(below.0, weight(ctx, below.1)?), (above.0, weight(ctx, above.1)?)])
}

/// The largest of what the corners hold, each times its weight.
fn largest(
    ctx: &mut NodeContext<'_, '_>,
    images: &Images,
    corners: Vec<Corner>,
) -> Result<ValueId> {
    let mut largest = None;
    for (places, weight) in corners {
        let value = images.at(ctx, &places, weight)?;
        largest = Some(match largest {
            Some(largest) => ctx.binary(Binary::Max, largest, value)?,
            None => value,
        });
    }
    largest.ok_or_else(|| bad("the largest of nothing"))
}
