//! Gather.

use crate::error::Result;
use crate::interp::{Data, Tensor};
use crate::ir::{Binary, DType, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::bad;

/// Gather: by a constant scalar it is a slice.
pub(in crate::onnx) fn gather(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, index) = (ctx.required(0)?, ctx.required(1)?);
    let shape = ctx.shape(x);
    let axis = axis(ctx.attributes.int("axis", 0)?, shape.len())?;
    let y = match ctx.known(index)?.as_deref() {
        Some(index) => gather_known(ctx, x, axis, index)?,
        None => {
            let index = from_the_front(ctx, index, shape[axis])?;
            ctx.emit(Op::Gather { axis }, &[x, index])?
        }
    };
    ctx.bind(0, y)
}

fn gather_known(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    axis: usize,
    index: &Tensor,
) -> Result<ValueId> {
    let shape = ctx.shape(x);
    let Data::Int(indices) = &index.data else {
        return Err(bad("its indices must be integers"));
    };
    let extent = shape[axis] as i64;
    let counted = indices.iter().map(|&i| {
        let counted = if i < 0 { i.saturating_add(extent) } else { i };
        let inside = (0..extent).contains(&counted);
        inside.then_some(counted).ok_or_else(|| bad(format!("index {i} of {extent} elements")))
    });
    let counted = counted.collect::<Result<Vec<_>>>()?;
    if let ([one], true) = (counted.as_slice(), index.shape.is_empty()) {
        let y = part(ctx, x, axis, *one as usize, 1)?;
        let mut without = shape;
        without.remove(axis);
        return ctx.emit_typed(Op::Reshape, y, &without);
    }
    let index = ctx.ints(&index.shape, counted);
    ctx.emit(Op::Gather { axis }, &[x, index])
}

/// Adds the extent to negative indices, unless there are none.
pub(super) fn from_the_front(
    ctx: &mut NodeContext<'_, '_>,
    index: ValueId,
    extent: usize,
) -> Result<ValueId> {
    if !matches!(ctx.dtype(index), DType::I64 | DType::I32) {
        return Err(bad(format!("its indices are {}", ctx.ty(index))));
    }
    if let Some((Op::ArgMax { .. }, _)) = ctx.computed(index) {
        return Ok(index);
    }
    let dtype = ctx.dtype(index);
    let (zero, extent) = (ctx.scalar(dtype, 0.0), ctx.scalar(dtype, extent as f64));
    let negative_part = ctx.binary(Binary::Min, index, zero)?;
    let counts = ctx.binary(Binary::Equal, negative_part, zero)?;
    let counted = ctx.binary(Binary::Add, index, extent)?;
    ctx.emit(Op::Where, &[counts, index, counted])
}
