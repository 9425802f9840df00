//! Concat.

use crate::error::Result;
use crate::ir::Op;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::bad;

/// Concat; its axis has no default.
pub(in crate::onnx) fn concat(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let operands = ctx.variadic(0)?;
    let along =
        ctx.attributes.optional_int("axis")?.ok_or_else(|| bad("attribute `axis` is missing"))?;
    let axis = axis(along, ctx.ty(ctx.required(0)?).rank())?;
    let y = match operands.as_slice() {
        [one] => *one,
        _ => ctx.emit(Op::Concat { axis }, &operands)?,
    };
    ctx.bind(0, y)
}
