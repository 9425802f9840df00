//! AveragePool and MaxPool.

use super::window::{extents, spatial, window, with_height, without_height};
use crate::error::Result;
use crate::ir::{Op, Pool, PoolKind};
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// AveragePool.
pub(in crate::onnx) fn average(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let count_padding = ctx.attributes.flag("count_include_pad", false)?;
    pool(ctx, PoolKind::Average { count_padding })
}

/// MaxPool, without the places of the maxima.
pub(in crate::onnx) fn max(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    // The order in which the second output counts.
    ctx.attributes.ignore(&["storage_order"]);
    pool(ctx, PoolKind::Max)
}

fn pool(ctx: &mut NodeContext<'_, '_>, kind: PoolKind) -> Result<()> {
    let x = ctx.required(0)?;
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
    let y = ctx.reshape(y, &without_height(&ctx.shape(y), input.len()))?;
    ctx.bind(0, y)
}
