//! Sequences: they exist at compile time only, as lists of slices.

use crate::error::Result;
use crate::interp::Data;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::ops::slice::{counts, part};
use crate::onnx::refusal::bad;

/// A sequence has at most so many parts.
const MOST: usize = 4096;

/// SplitToSequence: into parts of 1, of one size, or of given sizes.
pub(in crate::onnx) fn split(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let keep = ctx.attributes.flag("keepdims", true)?;
    let axis = axis(ctx.attributes.int("axis", 0)?, shape.len())?;
    let given = ctx.constant(1)?;
    let sizes = match given.as_deref() {
        None => chunks(shape[axis], 1)?,
        Some(tensor) => match (&tensor.data, tensor.shape.len()) {
            (Data::Int(sizes), 1) => sizes.clone(),
            (Data::Int(size), 0) => chunks(shape[axis], size.first().copied().unwrap_or(0))?,
            _ => return Err(bad("operand 1 must hold integers")),
        },
    };
    if sizes.len() > MOST {
        return Err(bad(format!("more than {MOST} parts")));
    }
    let mut parts = Vec::with_capacity(sizes.len());
    let mut start = 0;
    for count in counts(&sizes, shape[axis])? {
        let mut y = part(ctx, x, axis, start, count)?;
        if given.is_none() && !keep {
            let mut without = shape.clone();
            without.remove(axis);
            y = ctx.reshape(y, &without)?;
        }
        parts.push(y);
        start += count;
    }
    ctx.bind_sequence(parts);
    Ok(())
}

/// Sizes of parts of `size` elements; the last may be smaller.
fn chunks(extent: usize, size: i64) -> Result<Vec<i64>> {
    let size = usize::try_from(size).ok().filter(|n| *n > 0);
    let size = size.ok_or_else(|| bad("parts of no elements"))?;
    if extent.div_ceil(size) > MOST {
        return Err(bad(format!("more than {MOST} parts")));
    }
    Ok((0..extent).step_by(size).map(|start| size.min(extent - start) as i64).collect())
}

/// SequenceAt.
pub(in crate::onnx) fn at(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let parts = ctx.sequence(0)?;
    let position = ctx.constant_ints(1)?;
    let Some(&[position]) = position.as_deref() else {
        return Err(bad("operand 1 must hold one integer"));
    };
    let position = axis(position, parts.len())
        .map_err(|_| bad(format!("position {position} of {} parts", parts.len())))?;
    ctx.bind_part(parts[position])
}
