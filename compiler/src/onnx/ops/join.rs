//! Concat.

use crate::error::Result;
use crate::ir::Op;
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::bad;

/// Concat; its axis has no default.
pub(in crate::onnx) fn concat(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let operands = ctx.variadic(0)?;
    let y = joined(ctx, &operands)?;
    ctx.bind(0, y)
}

/// These values one after the other, along the node's axis.
pub(super) fn joined(ctx: &mut NodeContext<'_, '_>, parts: &[ValueId]) -> Result<ValueId> {
    let along =
        ctx.attributes.optional_int("axis")?.ok_or_else(|| bad("attribute `axis` is missing"))?;
    let [first, rest @ ..] = parts else {
        return Err(bad("nothing to concatenate"));
    };
    let axis = axis(along, ctx.ty(*first).rank())?;
    if rest.is_empty() { Ok(*first) } else { ctx.emit(Op::Concat { axis }, parts) }
}
