//! Parts of a value: Slice and Split.

use crate::error::Result;
use crate::ir::Op;
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::bad;

/// The elements to take along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::onnx) struct Stride {
    /// The first.
    pub(in crate::onnx) start: usize,
    /// Distance to the next.
    pub(in crate::onnx) step: isize,
    /// How many.
    pub(in crate::onnx) count: usize,
}

/// Adds a slice along each axis.
pub(in crate::onnx) fn take(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    strides: &[Stride],
) -> Result<ValueId> {
    let op = Op::Slice {
        starts: strides.iter().map(|s| s.start).collect(),
        steps: strides.iter().map(|s| s.step).collect(),
    };
    let shape: Vec<usize> = strides.iter().map(|s| s.count).collect();
    ctx.emit_typed(op, x, &shape)
}

/// Everything, for [`take`].
pub(in crate::onnx) fn whole(shape: &[usize]) -> Vec<Stride> {
    shape.iter().map(|&count| Stride { start: 0, step: 1, count }).collect()
}

/// Adds a slice of `count` elements from `start` along `axis`.
pub(in crate::onnx) fn part(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axis: usize,
    start: usize,
    count: usize,
) -> Result<ValueId> {
    let mut strides = whole(&ctx.shape(x));
    strides[axis] = Stride { start, step: 1, count };
    take(ctx, x, &strides)
}

/// Slice: attributes in version 1, operands from 10.
pub(in crate::onnx) fn slice(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let ([starts, ends, axes], steps) = bounds(ctx)?;
    let (Some(starts), Some(ends)) = (starts, ends) else {
        return Err(bad("its starts or ends are missing"));
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(bad("its starts, ends, axes and steps differ in number"));
    }
    let shape = ctx.shape(x);
    let mut strides = whole(&shape);
    let mut seen = vec![false; shape.len()];
    for (i, &a) in axes.iter().enumerate() {
        let axis = axis(a, shape.len())?;
        if std::mem::replace(&mut seen[axis], true) {
            return Err(bad(format!("axis {axis} is sliced twice")));
        }
        strides[axis] = clamped(starts[i], ends[i], steps[i], shape[axis])?;
    }
    let y = take(ctx, x, &strides)?;
    ctx.bind(0, y)
}

type Bounds = ([Option<Vec<i64>>; 3], Option<Vec<i64>>);

/// Starts, ends and axes, then steps.
fn bounds(ctx: &mut NodeContext<'_, '_>) -> Result<Bounds> {
    if ctx.since >= 10 {
        let bounds = [ctx.constant_ints(1)?, ctx.constant_ints(2)?, ctx.constant_ints(3)?];
        return Ok((bounds, ctx.constant_ints(4)?));
    }
    if ctx.inputs() > 1 {
        return Err(bad("bounds as operands, which operator set 10 brought"));
    }
    let mut bounds = [None, None, None];
    for (bound, name) in bounds.iter_mut().zip(["starts", "ends", "axes"]) {
        *bound = ctx.attributes.ints(name)?.map(<[i64]>::to_vec);
    }
    Ok((bounds, None))
}

/// What `start:end:step` takes of `extent` elements.
fn clamped(start: i64, end: i64, step: i64, extent: usize) -> Result<Stride> {
    if step == 0 {
        return Err(bad("a step is 0"));
    }
    let n = extent as i128;
    let counted = |i: i64| i128::from(i) + if i < 0 { n } else { 0 };
    let (start, end) = match step > 0 {
        true => (counted(start).clamp(0, n), counted(end).clamp(0, n)),
        false => (counted(start).clamp(-1, n - 1), counted(end).clamp(-1, n - 1)),
    };
    let distance = if step > 0 { end - start } else { start - end };
    let size = i128::from(step).abs();
    let count = if distance > 0 { (distance + size - 1) / size } else { 0 };
    // With one element the step says nothing, and it may be anything.
    let step = if count > 1 { isize::try_from(step).unwrap_or(1) } else { 1 };
    let start = if count > 0 { start } else { 0 };
    Ok(Stride { start: start as usize, step, count: count as usize })
}

/// Split: sizes are an attribute, an operand from version 13, or equal.
pub(in crate::onnx) fn split(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let axis = axis(ctx.attributes.int("axis", 0)?, shape.len())?;
    let parts = ctx.outputs();
    let sizes = match split_sizes(ctx)? {
        Some(sizes) => sizes,
        None => equal_parts(ctx, shape[axis], parts)?,
    };
    let counts = counts(&sizes, shape[axis])?;
    if counts.len() != parts {
        return Err(bad(format!("{parts} outputs for {} parts", counts.len())));
    }
    let mut start = 0;
    for (index, count) in counts.into_iter().enumerate() {
        if ctx.wants(index) {
            let y = part(ctx, x, axis, start, count)?;
            ctx.bind(index, y)?;
        }
        start += count;
    }
    Ok(())
}

fn split_sizes(ctx: &mut NodeContext<'_, '_>) -> Result<Option<Vec<i64>>> {
    if ctx.since >= 13 {
        return ctx.constant_ints(1);
    }
    if ctx.inputs() > 1 {
        return Err(bad("sizes as an operand, which operator set 13 brought"));
    }
    Ok(ctx.attributes.ints("split")?.map(<[i64]>::to_vec))
}

/// Equal parts; from version 18 the last may be smaller.
fn equal_parts(ctx: &NodeContext<'_, '_>, extent: usize, outputs: usize) -> Result<Vec<i64>> {
    let wanted = ctx.attributes.int("num_outputs", outputs as i64)?;
    let parts = usize::try_from(wanted).ok().filter(|n| *n == outputs && *n > 0);
    let parts = parts.ok_or_else(|| bad(format!("{outputs} outputs for {wanted} parts")))?;
    if ctx.since < 18 && !extent.is_multiple_of(parts) {
        return Err(bad(format!("{extent} elements do not split into {parts} equal parts")));
    }
    let size = extent.div_ceil(parts);
    let sizes = (0..parts).map(|i| size.min(extent.saturating_sub(i * size)) as i64);
    Ok(sizes.collect())
}

/// Checks that `sizes` add up to `extent`.
pub(in crate::onnx) fn counts(sizes: &[i64], extent: usize) -> Result<Vec<usize>> {
    let counts: Option<Vec<usize>> = sizes.iter().map(|&n| usize::try_from(n).ok()).collect();
    let counts = counts.ok_or_else(|| bad("a part of negative size"))?;
    let total = counts.iter().try_fold(0usize, |n, c| n.checked_add(*c));
    if total != Some(extent) {
        return Err(bad(format!("parts of {counts:?} elements do not make up {extent}")));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(start: i64, end: i64, step: i64, extent: usize) -> Vec<usize> {
        let s = clamped(start, end, step, extent).unwrap();
        (0..s.count).map(|i| (s.start as isize + i as isize * s.step) as usize).collect()
    }

    #[test]
    fn bounds_are_clamped_as_in_python() {
        assert_eq!(taken(1, 4, 2, 5), [1, 3]);
        assert_eq!(taken(-2, i64::MAX, 1, 5), [3, 4]);
        assert!(taken(4, 2, 1, 5).is_empty());
        assert!(taken(9, 12, 1, 5).is_empty());
        assert_eq!(taken(-1, i64::MIN, -1, 4), [3, 2, 1, 0]);
        assert_eq!(taken(i64::MAX, -3, -1, 4), [3, 2]);
        assert_eq!(taken(i64::MAX, i64::MIN, i64::MIN, 4), [3]);
        assert_eq!(taken(0, i64::MAX, i64::MAX, 4), [0]);
        assert!(taken(0, i64::MAX, 1, 0).is_empty());
        assert!(taken(0, i64::MIN, -1, 0).is_empty());
        assert!(taken(-9, i64::MIN, -1, 4).is_empty());
        assert!(clamped(0, 1, 0, 4).is_err());
    }
}
