//! Softmax and LogSoftmax.

use crate::error::Result;
use crate::ir::Op;
use crate::onnx::context::{NodeContext, axis};

/// Along one axis from version 13; before, over all axes from `axis` on at once.
pub(in crate::onnx) fn softmax(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let log = ctx.operator() == "LogSoftmax";
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let default = if ctx.since < 13 { 1 } else { -1 };
    let along = ctx.attributes.int("axis", default)?;
    let axis = axis(along, shape.len())?;
    let y = if ctx.since >= 13 || shape[axis + 1..].iter().all(|n| *n == 1) {
        ctx.emit(Op::Softmax { axis, log }, &[x])?
    } else {
        let count = |part: &[usize]| part.iter().product::<usize>();
        let rows = ctx.reshape(x, &[count(&shape[..axis]), count(&shape[axis..])])?;
        let rows = ctx.emit(Op::Softmax { axis: 1, log }, &[rows])?;
        ctx.reshape(rows, &shape)?
    };
    ctx.bind(0, y)
}
