//! Softmax and LogSoftmax.

use crate::error::Result;
use crate::ir::Op;
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};

/// Softmax and LogSoftmax.
pub(in crate::onnx) fn softmax(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let log = ctx.operator() == "LogSoftmax";
    let x = ctx.required(0)?;
    let y = normalized(ctx, x, log, ctx.since)?;
    ctx.bind(0, y)
}

/// The softmax of x, or its logarithm, as operator set `opset` means the node's axis: along that one from
/// 13 on; before, over all axes from it on at once.
pub(super) fn normalized(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    log: bool,
    opset: i64,
) -> Result<ValueId> {
    let shape = ctx.shape(x);
    let default = if opset < 13 { 1 } else { -1 };
    let along = ctx.attributes.int("axis", default)?;
    let axis = axis(along, shape.len())?;
    if opset >= 13 || shape[axis + 1..].iter().all(|n| *n == 1) {
        ctx.emit(Op::Softmax { axis, log }, &[x])
    } else {
        let count = |part: &[usize]| part.iter().product::<usize>();
        let rows = ctx.reshape(x, &[count(&shape[..axis]), count(&shape[axis..])])?;
        let rows = ctx.emit(Op::Softmax { axis: 1, log }, &[rows])?;
        ctx.reshape(rows, &shape)
    }
}
