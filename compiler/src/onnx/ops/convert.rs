//! Cast and CastLike, and what leaves its operand as it is.

use crate::error::Result;
use crate::interp::Data;
use crate::ir::{DType, Op};
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};
use crate::onnx::stored::element_type;

/// Cast.
pub(in crate::onnx) fn cast(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    // They concern element types that are refused.
    ctx.attributes.ignore(&["saturate", "round_mode"]);
    let code =
        ctx.attributes.optional_int("to")?.ok_or_else(|| bad("attribute `to` is missing"))?;
    let code = i32::try_from(code).map_err(|_| bad(format!("unknown element type {code}")))?;
    let to = element_type(code)
        .map_err(|(what, remedy)| unsupported(format!("a cast: {what}")).with_remedy(remedy))?;
    convert(ctx, to)
}

/// CastLike.
pub(in crate::onnx) fn cast_like(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    ctx.attributes.ignore(&["saturate", "round_mode"]);
    let like = ctx.required(1)?;
    convert(ctx, ctx.dtype(like))
}

fn convert(ctx: &mut NodeContext<'_, '_>, to: DType) -> Result<()> {
    let x = ctx.required(0)?;
    let y = if ctx.dtype(x) == to { x } else { ctx.emit(Op::Cast { to }, &[x])? };
    ctx.bind(0, y)
}

/// Identity, of tensors and sequences.
pub(in crate::onnx) fn identity(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    if let Ok(parts) = ctx.sequence(0) {
        ctx.bind_sequence(parts);
        return Ok(());
    }
    let x = ctx.required(0)?;
    ctx.bind(0, x)
}

/// Dropout in inference, or of nothing.
pub(in crate::onnx) fn dropout(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    ctx.attributes.ignore(&["ratio", "seed"]);
    let training = match ctx.constant(2)?.as_deref().map(|tensor| &tensor.data) {
        Some(Data::Int(values)) => values.iter().any(|v| *v != 0),
        Some(Data::Float(_)) => return Err(bad("operand 2 must be bool")),
        None => false,
    };
    if ctx.since >= 12 && !training {
        // The ratio, which inference does not use.
        ctx.ignore(1);
    }
    if training && ctx.constant_scalar(1)? != Some(0.0) {
        return Err(unsupported("training mode").with_remedy("export the model in inference mode"));
    }
    let x = ctx.required(0)?;
    if ctx.wants(1) {
        // What is kept, which is everything.
        let dtype = if ctx.since < 10 { ctx.dtype(x) } else { DType::Bool };
        let kept = ctx.scalar(dtype, 1.0);
        let mask = ctx.expanded(kept, &ctx.shape(x))?;
        ctx.bind(1, mask)?;
    }
    ctx.bind(0, x)
}
