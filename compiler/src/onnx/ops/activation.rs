//! Activation functions that are made of others. They avoid choices where a sum of `max(x, 0)` and a
//! function of `min(x, 0)` is the same, as sums are computed in vectors.

use crate::error::{Error, Result};
use crate::interp::Data;
use crate::ir::{Binary, DType, Op, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::{bad, unsupported};

/// Of Selu, as ONNX has them.
pub(super) const SELU: (f32, f32) = (1.673_263_2, 1.050_701);

/// Celu, Elu, Mish, Selu, Softplus, Softsign and Swish.
pub(in crate::onnx) fn activation(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let y = match ctx.operator() {
        "Celu" => {
            let alpha = ctx.attributes.float("alpha", 1.0)?;
            celu(ctx, x, alpha)?
        }
        "Elu" => {
            let alpha = ctx.attributes.float("alpha", 1.0)?;
            elu(ctx, x, alpha)?
        }
        "Mish" => mish(ctx, x)?,
        "Selu" => {
            let alpha = ctx.attributes.float("alpha", SELU.0)?;
            let gamma = ctx.attributes.float("gamma", SELU.1)?;
            selu(ctx, x, alpha, gamma)?
        }
        "Softplus" => softplus(ctx, x)?,
        "Softsign" => softsign(ctx, x)?,
        "Swish" => {
            let alpha = ctx.attributes.float("alpha", 1.0)?;
            swish(ctx, x, alpha)?
        }
        other => return Err(Error::internal(format!("{other} is no activation function"))),
    };
    ctx.bind(0, y)
}

/// `max(x, 0) + alpha * (exp(min(x, 0)) - 1)`
pub(super) fn elu(ctx: &mut NodeContext<'_, '_>, x: ValueId, alpha: f32) -> Result<ValueId> {
    let above = ctx.unary(Unary::Relu, x)?;
    let below = ctx.with_number(Binary::Min, x, 0.0)?;
    let power = ctx.unary(Unary::Exp, below)?;
    let less_one = ctx.shifted(power, -1.0)?;
    let below = ctx.scaled(less_one, f64::from(alpha))?;
    ctx.add(above, below)
}

/// `gamma * elu(x)`
pub(super) fn selu(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    alpha: f32,
    gamma: f32,
) -> Result<ValueId> {
    let y = elu(ctx, x, alpha)?;
    ctx.scaled(y, f64::from(gamma))
}

/// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`
pub(super) fn celu(ctx: &mut NodeContext<'_, '_>, x: ValueId, alpha: f32) -> Result<ValueId> {
    let alpha = f64::from(alpha);
    let above = ctx.unary(Unary::Relu, x)?;
    let quotient = ctx.with_number(Binary::Div, x, alpha)?;
    let power = ctx.unary(Unary::Exp, quotient)?;
    let less_one = ctx.shifted(power, -1.0)?;
    let scaled = ctx.scaled(less_one, alpha)?;
    let below = ctx.with_number(Binary::Min, scaled, 0.0)?;
    ctx.add(above, below)
}

/// `log(1 + exp(x))` as `max(x, 0) + log(1 + exp(-|x|))`, in which nothing overflows.
pub(super) fn softplus(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let above = ctx.unary(Unary::Relu, x)?;
    let size = ctx.unary(Unary::Abs, x)?;
    let minus = ctx.unary(Unary::Neg, size)?;
    let power = ctx.unary(Unary::Exp, minus)?;
    let sum = ctx.shifted(power, 1.0)?;
    let log = ctx.unary(Unary::Log, sum)?;
    ctx.add(above, log)
}

/// `x * tanh(softplus(x))`
fn mish(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let gate = softplus(ctx, x)?;
    let gate = ctx.unary(Unary::Tanh, gate)?;
    ctx.mul(x, gate)
}

/// `x / (1 + |x|)`
pub(super) fn softsign(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let size = ctx.unary(Unary::Abs, x)?;
    let sum = ctx.shifted(size, 1.0)?;
    ctx.div(x, sum)
}

/// `x * sigmoid(alpha * x)`
pub(super) fn swish(ctx: &mut NodeContext<'_, '_>, x: ValueId, alpha: f32) -> Result<ValueId> {
    let scaled = ctx.scaled(x, f64::from(alpha))?;
    let gate = ctx.unary(Unary::Sigmoid, scaled)?;
    ctx.mul(x, gate)
}

/// SwiGLU: the first half of an axis, swished, times the second.
pub(in crate::onnx) fn swiglu(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let alpha = ctx.attributes.float("alpha", 1.0)?;
    let gate = swish(ctx, x, alpha)?;
    let other = ctx.required(1)?;
    let y = ctx.mul(gate, other)?;
    ctx.bind(0, y)
}

/// ThresholdedRelu: `x > alpha ? x : 0`.
pub(in crate::onnx) fn thresholded_relu(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let alpha = ctx.attributes.float("alpha", 1.0)?;
    let y = above_threshold(ctx, x, alpha)?;
    ctx.bind(0, y)
}

/// `x > alpha ? x : 0`
pub(super) fn above_threshold(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    alpha: f32,
) -> Result<ValueId> {
    let (alpha, zero) = (ctx.number(x, f64::from(alpha)), ctx.number(x, 0.0));
    let is_above = ctx.is_less(alpha, x)?;
    ctx.choose(is_above, x, zero)
}

/// Shrink: towards 0 by `bias`, or to 0 within `lambd` of it.
pub(in crate::onnx) fn shrink(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let bias = f64::from(ctx.attributes.float("bias", 0.0)?);
    let lambd = f64::from(ctx.attributes.float("lambd", 0.5)?);
    let dtype = ctx.dtype(x);
    if !dtype.is_float() && bias.fract() != 0.0 {
        return Err(unsupported(format!("a bias of {bias} for {dtype}")));
    }
    // Integers are beyond a bound when they are beyond the whole number before it.
    let (low, high) = match dtype {
        DType::F32 | DType::F64 => (-lambd, lambd),
        DType::I64 | DType::I32 => ((-lambd).ceil(), lambd.floor()),
        DType::I8 => ((-lambd).ceil().max(-128.0), lambd.floor().min(127.0)),
        DType::U8 | DType::Bool => ((-lambd).ceil().max(0.0), lambd.floor().min(255.0)),
    };
    let (low, high) = (ctx.number(x, low), ctx.number(x, high));
    let (below, above) = (ctx.is_less(x, low)?, ctx.is_less(high, x)?);
    let (raised, lowered) = (ctx.shifted(x, bias)?, ctx.shifted(x, -bias)?);
    let zero = ctx.number(x, 0.0);
    let y = ctx.choose(above, lowered, zero)?;
    let y = ctx.choose(below, raised, y)?;
    ctx.bind(0, y)
}

/// PRelu: `x < 0 ? slope * x : x`.
pub(in crate::onnx) fn prelu(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, slope) = (ctx.required(0)?, ctx.required(1)?);
    let shape = ctx.shape(x);
    let y = match ctx.known(slope)?.as_deref().map(|slope| &slope.data) {
        // What is above 0 gets 0 times the slope added, which must be 0.
        Some(Data::Float(all)) if all.iter().all(|slope| slope.is_finite()) => {
            let above = ctx.unary(Unary::Relu, x)?;
            let below = ctx.with_number(Binary::Min, x, 0.0)?;
            let below = ctx.mul(below, slope)?;
            ctx.add(above, below)?
        }
        Some(Data::Float(_) | Data::Int(_)) | None => {
            let zero = ctx.number(x, 0.0);
            let is_below = ctx.is_less(x, zero)?;
            let below = ctx.mul(x, slope)?;
            ctx.choose(is_below, below, x)?
        }
    };
    if ctx.shape(y) != shape {
        let (slope, x) = (ctx.ty(slope), ctx.ty(x));
        return Err(bad(format!("the slope {slope} does not broadcast to {x}")));
    }
    ctx.bind(0, y)
}

/// Hardmax: 1 at the first of the largest elements along an axis, 0 elsewhere; before version 13, of all
/// axes from it on at once.
pub(in crate::onnx) fn hardmax(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let default = if ctx.since < 13 { 1 } else { -1 };
    let along = axis(ctx.attributes.int("axis", default)?, shape.len())?;
    let (rows, line) = if ctx.since < 13 {
        let count = |part: &[usize]| part.iter().product::<usize>();
        (ctx.reshape(x, &[count(&shape[..along]), count(&shape[along..])])?, 1)
    } else {
        (x, along)
    };
    let largest = ctx.emit(Op::ArgMax { axis: line, keep: true, last: false }, &[rows])?;
    let (count, rank) = (ctx.shape(rows)[line], ctx.ty(rows).rank());
    let places = ctx.counting(count, line, rank);
    let is_largest = ctx.is_equal(places, largest)?;
    let y = ctx.cast(is_largest, ctx.dtype(x))?;
    let y = ctx.reshape(y, &shape)?;
    ctx.bind(0, y)
}
