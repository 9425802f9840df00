//! ConvTranspose and Col2Im, which add up what one element is spread over.

use super::conv::{convolved, groups};
use super::window::{Along, extents, given_pads, positive, spatial};
use crate::error::Result;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::{Stride, part, take, whole};
use crate::onnx::refusal::bad;

/// ConvTranspose: with zeros between its elements, x is convolved by the kernel turned around.
pub(in crate::onnx) fn transposed(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, w, b) = (ctx.required(0)?, ctx.required(1)?, ctx.optional(2)?);
    let (input, weights) = (ctx.shape(x), ctx.shape(w));
    let dims = spatial(&input)?.len();
    if weights.len() != input.len() || weights[0] != input[1] || input.contains(&0) {
        return Err(bad(format!("weights {} for {}", ctx.ty(w), ctx.ty(x))));
    }
    let groups = groups(ctx)?;
    if !input[1].is_multiple_of(groups) || weights.contains(&0) {
        return Err(bad(format!("{groups} groups of {} channels", input[1])));
    }
    let kernel: Vec<i64> = weights[2..].iter().map(|&k| k as i64).collect();
    let kernel = extents("kernel_shape", &kernel, dims)?;
    if let Some(declared) = ctx.attributes.ints("kernel_shape")?
        && extents("kernel_shape", declared, dims)? != kernel
    {
        return Err(bad(format!("attribute `kernel_shape` is {declared:?}, not {kernel:?}")));
    }
    let turned = turned(ctx, w, groups)?;
    let (stride, dilation) = (positive(ctx, "strides", dims)?, positive(ctx, "dilations", dims)?);
    let pads = pads(ctx, &input[2..], &kernel, &stride, &dilation)?;
    let (mut y, mut axes) = (x, Vec::with_capacity(dims));
    for axis in 0..dims {
        y = apart(ctx, y, axis + 2, stride[axis])?;
        let span = ((kernel[axis] - 1) * dilation[axis]) as i64;
        let [before, after] = pads[axis].map(|pad| span - pad);
        y = cut(ctx, y, axis + 2, [before.min(0), after.min(0)])?;
        let pads = [before, after].map(|n| usize::try_from(n).unwrap_or(0));
        axes.push(Along { kernel: kernel[axis], stride: 1, dilation: dilation[axis], pads });
    }
    let y = convolved(ctx, [y, turned], b, groups, &axes)?;
    ctx.bind(0, y)
}

/// Weights `[c, m / groups, …]` turned around along each axis, as `[m, c / groups, …]`.
fn turned(ctx: &mut NodeContext<'_, '_>, w: ValueId, groups: usize) -> Result<ValueId> {
    let shape = ctx.shape(w);
    let mut strides = whole(&shape);
    for (stride, &extent) in strides.iter_mut().zip(&shape).skip(2) {
        if extent > 1 {
            *stride = Stride { start: extent - 1, step: -1, count: extent };
        }
    }
    let w = take(ctx, w, &strides)?;
    let (c, per_group, inner) = (shape[0], shape[1], &shape[2..]);
    let grouped = [&[groups, c / groups, per_group], inner].concat();
    let w = ctx.reshape(w, &grouped)?;
    let mut perm: Vec<usize> = (0..grouped.len()).collect();
    perm.swap(1, 2);
    let w = ctx.transposed(w, &perm)?;
    ctx.reshape(w, &[&[groups * per_group, c / groups], inner].concat())
}

/// What is cut off the result along each axis; less where the node adds elements at the end.
fn pads(
    ctx: &NodeContext<'_, '_>,
    input: &[usize],
    kernel: &[usize],
    stride: &[usize],
    dilation: &[usize],
) -> Result<Vec<[i64; 2]>> {
    let dims = input.len();
    let more = match ctx.attributes.ints("output_padding")? {
        Some(more) if more.len() == dims && more.iter().all(|n| (0..1 << 24).contains(n)) => more,
        Some(more) => return Err(bad(format!("attribute `output_padding` is {more:?}"))),
        None => &[0; 3][..dims],
    };
    let given = given_pads(ctx, dims)?;
    let mode = ctx.attributes.string("auto_pad", "NOTSET")?;
    let sizes = match ctx.attributes.ints("output_shape")? {
        Some(sizes) => Some(extents("output_shape", sizes, dims)?),
        None if mode.starts_with("SAME") => {
            Some(input.iter().zip(stride).map(|(n, s)| n * s).collect())
        }
        None => None,
    };
    let along = |axis: usize| {
        let whole = (input[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1;
        let Some(sizes) = &sizes else {
            let [before, after] = given[axis].map(|n| n as i64);
            return Ok([before, after - more[axis]]);
        };
        let total = whole as i64 + more[axis] - sizes[axis] as i64;
        // It may be negative: then there are elements that no window reaches.
        let less = total.div_euclid(2);
        let rest = total - less;
        let [before, after] = if mode == "SAME_UPPER" { [less, rest] } else { [rest, less] };
        Ok([before, after - more[axis]])
    };
    (0..dims).map(along).collect()
}

/// x with zeros between its elements along an axis, `step` from one to the next.
fn apart(ctx: &mut NodeContext<'_, '_>, x: ValueId, axis: usize, step: usize) -> Result<ValueId> {
    let mut shape = ctx.shape(x);
    let extent = shape[axis];
    if step == 1 || extent == 1 {
        return Ok(x);
    }
    shape.insert(axis + 1, 1);
    let y = ctx.reshape(x, &shape)?;
    let y = ctx.bordered(y, axis + 1, [0, step - 1], 0.0)?;
    shape.remove(axis + 1);
    shape[axis] = extent * step;
    let y = ctx.reshape(y, &shape)?;
    part(ctx, y, axis, 0, (extent - 1) * step + 1)
}

/// x without so many elements (negative) before and after along an axis.
fn cut(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axis: usize,
    [before, after]: [i64; 2],
) -> Result<ValueId> {
    if [before, after] == [0, 0] {
        return Ok(x);
    }
    let count = ctx.shape(x)[axis] as i64 + before + after;
    let count = usize::try_from(count).map_err(|_| bad("its pads leave nothing"))?;
    part(ctx, x, axis, before.unsigned_abs() as usize, count)
}

/// Col2Im: columns are blocks, which are added up where they overlap.
pub(in crate::onnx) fn columns_to_image(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let image = ctx.constant_ints(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let dims = image.len();
    let image = extents("image_shape", &image, dims)?;
    let block = ctx.constant_ints(2)?.ok_or_else(|| bad("operand 2 is missing"))?;
    let block = extents("block_shape", &block, dims)?;
    let (stride, dilation) = (positive(ctx, "strides", dims)?, positive(ctx, "dilations", dims)?);
    let pads = given_pads(ctx, dims)?;
    let taps: usize = block.iter().product();
    let ([n, rows, columns], true) =
        (<[usize; 3]>::try_from(ctx.shape(x)).unwrap_or([0; 3]), taps > 0)
    else {
        return Err(bad("a block of nothing"));
    };
    let axes: Vec<Along> = (0..dims)
        .map(|i| Along {
            kernel: block[i],
            stride: stride[i],
            dilation: dilation[i],
            pads: pads[i],
        })
        .collect();
    let padded: Vec<usize> = (0..dims).map(|i| image[i] + pads[i][0] + pads[i][1]).collect();
    let positions = axes.iter().zip(&padded).map(|(axis, padded)| {
        let room = padded.checked_sub(axis.extent());
        room.map(|room| room / axis.stride + 1).ok_or_else(|| bad("a block beyond the image"))
    });
    let positions = positions.collect::<Result<Vec<_>>>()?;
    if !rows.is_multiple_of(taps) || positions.iter().product::<usize>() != columns {
        return Err(bad(format!("{} is not of blocks {block:?} of {image:?}", ctx.ty(x))));
    }
    let channels = rows / taps;
    let x = ctx.reshape(x, &[n, channels, taps, columns])?;
    let mut sum = None;
    for tap in 0..taps {
        let values = part(ctx, x, 2, tap, 1)?;
        let values = ctx.reshape(values, &[&[n, channels], &positions[..]].concat())?;
        let values = spread(ctx, values, &axes, &padded, tap)?;
        sum = Some(match sum {
            Some(sum) => ctx.add(sum, values)?,
            None => values,
        });
    }
    let mut y = sum.ok_or_else(|| bad("a block of nothing"))?;
    for axis in 0..dims {
        y = part(ctx, y, axis + 2, pads[axis][0], image[axis])?;
    }
    ctx.bind(0, y)
}

/// What one tap of the blocks adds to the padded image.
fn spread(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axes: &[Along],
    padded: &[usize],
    tap: usize,
) -> Result<ValueId> {
    let (mut y, mut left) = (x, tap);
    for (position, axis) in axes.iter().enumerate().rev() {
        let start = left % axis.kernel * axis.dilation;
        left /= axis.kernel;
        y = apart(ctx, y, position + 2, axis.stride)?;
        let end = padded[position] - start - ctx.shape(y)[position + 2];
        y = ctx.bordered(y, position + 2, [start, end], 0.0)?;
    }
    Ok(y)
}
