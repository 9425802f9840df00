//! Comparisons and what is made of truth values.

use crate::error::Result;
use crate::ir::{Binary, DType, Op, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// Less, LessOrEqual, Greater and GreaterOrEqual.
pub(in crate::onnx) fn compare(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (a, b) = (ctx.required(0)?, ctx.required(1)?);
    let y = match ctx.operator() {
        "Less" => ctx.is_less(a, b)?,
        "LessOrEqual" => ctx.is_at_most(a, b)?,
        "Greater" => ctx.is_less(b, a)?,
        _ => ctx.is_at_most(b, a)?,
    };
    ctx.bind(0, y)
}

/// And, Or and Xor.
pub(in crate::onnx) fn connective(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (a, b) = (truth(ctx, 0)?, truth(ctx, 1)?);
    let y = match ctx.operator() {
        "And" => ctx.and(a, b)?,
        "Or" => {
            let yes = ctx.scalar(DType::Bool, 1.0);
            ctx.choose(a, yes, b)?
        }
        _ => {
            let same = ctx.is_equal(a, b)?;
            ctx.not(same)?
        }
    };
    ctx.bind(0, y)
}

/// Not.
pub(in crate::onnx) fn not(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = truth(ctx, 0)?;
    let y = ctx.not(x)?;
    ctx.bind(0, y)
}

/// Operand `index`, which must be bool.
fn truth(ctx: &mut NodeContext<'_, '_>, index: usize) -> Result<ValueId> {
    let x = ctx.required(index)?;
    match ctx.dtype(x) {
        DType::Bool => Ok(x),
        _ => Err(bad(format!("operand {index} is {}, not bool", ctx.ty(x)))),
    }
}

/// IsNaN: what is not equal to itself.
pub(in crate::onnx) fn is_nan(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let same = ctx.is_equal(x, x)?;
    let y = ctx.not(same)?;
    ctx.bind(0, y)
}

/// IsInf, of both signs or of one.
pub(in crate::onnx) fn is_infinite(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let positive = ctx.attributes.flag("detect_positive", true)?;
    let negative = ctx.attributes.flag("detect_negative", true)?;
    let y = match (positive, negative) {
        (true, true) => {
            let size = ctx.unary(Unary::Abs, x)?;
            ctx.with_number(Binary::Equal, size, f64::INFINITY)?
        }
        (true, false) => ctx.with_number(Binary::Equal, x, f64::INFINITY)?,
        (false, true) => ctx.with_number(Binary::Equal, x, f64::NEG_INFINITY)?,
        (false, false) => {
            let no = ctx.scalar(DType::Bool, 0.0);
            ctx.emit_typed(Op::Expand, no, &ctx.shape(x))?
        }
    };
    ctx.bind(0, y)
}

/// Sign: of 0 and NaN itself.
pub(in crate::onnx) fn sign(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let (zero, one) = (ctx.number(x, 0.0), ctx.number(x, 1.0));
    let is_positive = ctx.is_less(zero, x)?;
    let mut y = ctx.choose(is_positive, one, x)?;
    if ctx.dtype(x) != DType::U8 {
        let is_negative = ctx.is_less(x, zero)?;
        let minus = ctx.number(x, -1.0);
        y = ctx.choose(is_negative, minus, y)?;
    }
    ctx.bind(0, y)
}
