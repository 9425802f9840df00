//! AveragePool and MaxPool.

use super::window::{extents, spatial, window, with_height, without_height};
use crate::error::Result;
use crate::ir::{DType, Op, Pool, PoolKind};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// AveragePool.
pub(in crate::onnx) fn average(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let count_padding = ctx.attributes.flag("count_include_pad", false)?;
    let x = ctx.required(0)?;
    let y = pooled(ctx, x, PoolKind::Average { count_padding })?;
    ctx.bind(0, y)
}

/// MaxPool, without the places of the maxima.
pub(in crate::onnx) fn max(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    // The order in which the second output counts.
    ctx.attributes.ignore(&["storage_order"]);
    let x = ctx.required(0)?;
    let y = match ctx.dtype(x) {
        // A float32 has each of them.
        dtype @ (DType::U8 | DType::I8) => {
            let floats = ctx.cast(x, DType::F32)?;
            let y = pooled(ctx, floats, PoolKind::Max)?;
            ctx.cast(y, dtype)?
        }
        DType::F32 | DType::F64 | DType::I64 | DType::I32 | DType::Bool => {
            pooled(ctx, x, PoolKind::Max)?
        }
    };
    ctx.bind(0, y)
}

/// Pooling with the node's attributes.
pub(super) fn pooled(ctx: &mut NodeContext<'_, '_>, x: ValueId, kind: PoolKind) -> Result<ValueId> {
    let input = ctx.shape(x);
    let spatial = spatial(&input)?;
    if input.contains(&0) {
        return Err(bad(format!("{} is empty", ctx.ty(x))));
    }
    let kernel = ctx.attributes.ints("kernel_shape")?;
    let kernel = kernel.ok_or_else(|| bad("attribute `kernel_shape` is missing"))?;
    let kernel = extents("kernel_shape", kernel, spatial.len())?;
    let ceil = ctx.attributes.flag("ceil_mode", false)?;
    let window = window(ctx, &kernel, spatial)?;
    for axis in 0..2 {
        let pad = window.pad_before[axis].max(window.pad_after[axis]);
        if window.extent(axis).is_none_or(|extent| pad >= extent) {
            return Err(bad(
                "its padding is as large as its kernel, so that a window may be empty",
            ));
        }
    }
    let flat = ctx.reshape(x, &with_height(&input))?;
    let y = ctx.emit(Op::Pool(Pool { kind, window, ceil }), &[flat])?;
    ctx.reshape(y, &without_height(&ctx.shape(y), input.len()))
}
