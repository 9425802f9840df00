//! Elementwise operators of one, two and more operands.

use crate::error::{Error, Result};
use crate::interp::Data;
use crate::ir::{Binary, DType, Op, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};

/// Functions of one operand.
pub(in crate::onnx) fn unary(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let f = unary_function(ctx)?;
    let x = ctx.required(0)?;
    let y = ctx.unary(f, x)?;
    ctx.bind(0, y)
}

fn unary_function(ctx: &NodeContext<'_, '_>) -> Result<Unary> {
    Ok(match ctx.operator() {
        "Abs" => Unary::Abs,
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Gelu" => match ctx.attributes.string("approximate", "none")? {
            "none" => Unary::Gelu,
            "tanh" => Unary::GeluTanh,
            other => return Err(bad(format!("attribute `approximate` is `{other}`"))),
        },
        "HardSigmoid" => Unary::HardSigmoid {
            alpha: ctx.attributes.float("alpha", 0.2)?,
            beta: ctx.attributes.float("beta", 0.5)?,
        },
        "HardSwish" => Unary::HardSwish,
        "LeakyRelu" => leaky_relu(ctx)?,
        "Log" => Unary::Log,
        "Neg" => Unary::Neg,
        "Reciprocal" => Unary::Reciprocal,
        "Relu" => Unary::Relu,
        "Round" => Unary::Round,
        "Sigmoid" => Unary::Sigmoid,
        "Sqrt" => Unary::Sqrt,
        "Tanh" => Unary::Tanh,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        "Tan" => Unary::Tan,
        "Asin" => Unary::Asin,
        "Acos" => Unary::Acos,
        "Atan" => Unary::Atan,
        "Sinh" => Unary::Sinh,
        "Cosh" => Unary::Cosh,
        "Asinh" => Unary::Asinh,
        "Acosh" => Unary::Acosh,
        "Atanh" => Unary::Atanh,
        other => {
            return Err(Error::internal(format!("{other} is no function of one operand")));
        }
    })
}

/// LeakyRelu with the node's slope.
pub(super) fn leaky_relu(ctx: &NodeContext<'_, '_>) -> Result<Unary> {
    Ok(Unary::LeakyRelu { alpha: ctx.attributes.float("alpha", 0.01)? })
}

/// Functions of two operands of one type, broadcast as in NumPy.
pub(in crate::onnx) fn binary(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let f = binary_function(ctx.operator())?;
    let (a, b) = (ctx.required(0)?, ctx.required(1)?);
    let y = ctx.binary(f, a, b)?;
    ctx.bind(0, y)
}

/// Min, Max, Sum and Mean of any number of operands.
pub(in crate::onnx) fn variadic(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let f = binary_function(ctx.operator())?;
    let mut y = ctx.required(0)?;
    for operand in ctx.variadic(1)? {
        y = ctx.binary(f, y, operand)?;
    }
    if ctx.operator() == "Mean" && ctx.inputs() > 1 {
        y = ctx.with_number(Binary::Div, y, ctx.inputs() as f64)?;
    }
    ctx.bind(0, y)
}

/// Floor and Ceil: the nearest whole number, or the next one if that is on the wrong side.
pub(in crate::onnx) fn rounding(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let y = if ctx.operator() == "Floor" { floor(ctx, x)? } else { ceiling(ctx, x)? };
    ctx.bind(0, y)
}

/// The largest whole number that is not above x.
pub(super) fn floor(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let nearest = ctx.unary(Unary::Round, x)?;
    let is_above = ctx.is_less(x, nearest)?;
    let below = ctx.shifted(nearest, -1.0)?;
    ctx.choose(is_above, below, nearest)
}

/// The least whole number that is not below x. Of numbers above -1 it is a zero with their sign.
fn ceiling(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let minus = ctx.unary(Unary::Neg, x)?;
    let floor = floor(ctx, minus)?;
    ctx.unary(Unary::Neg, floor)
}

fn binary_function(operator: &str) -> Result<Binary> {
    Ok(match operator {
        "Add" | "Mean" | "Sum" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Min" => Binary::Min,
        "Max" => Binary::Max,
        "Equal" => Binary::Equal,
        other => {
            return Err(Error::internal(format!("{other} is no function of two operands")));
        }
    })
}

/// Pow; the exponent may be of another type than the base, whose type the result has.
pub(in crate::onnx) fn pow(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (base, exponent) = (ctx.required(0)?, ctx.required(1)?);
    let dtype = ctx.dtype(base);
    let inner = match (dtype.is_float(), ctx.dtype(exponent).is_float()) {
        (false, true) if !is_known_whole(ctx, exponent)? => DType::F32,
        _ => dtype,
    };
    let (a, b) = (ctx.cast(base, inner)?, ctx.cast(exponent, inner)?);
    let y = ctx.binary(Binary::Pow, a, b)?;
    let y = ctx.cast(y, dtype)?;
    ctx.bind(0, y)
}

/// Whether all elements are known, and are what every type of integers has.
fn is_known_whole(ctx: &mut NodeContext<'_, '_>, id: ValueId) -> Result<bool> {
    let known = ctx.known(id)?;
    Ok(match known.as_deref().map(|tensor| &tensor.data) {
        Some(Data::Float(all)) => all.iter().all(|x| (0.0..=127.0).contains(x) && x.fract() == 0.0),
        Some(Data::Int(_)) | None => false,
    })
}

/// Where.
pub(in crate::onnx) fn select(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let operands = ctx.variadic(0)?;
    let y = ctx.emit(Op::Where, &operands)?;
    ctx.bind(0, y)
}

/// Clip: bounds are attributes in version 6, optional operands from 11.
pub(in crate::onnx) fn clip(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    if ctx.since < 11 {
        if ctx.inputs() > 1 {
            return Err(bad("bounds as operands, which operator set 11 brought"));
        }
        let low = ctx.attributes.float("min", f32::NEG_INFINITY)?;
        let high = ctx.attributes.float("max", f32::INFINITY)?;
        let y = ctx.unary(Unary::Clip { low, high }, x)?;
        return ctx.bind(0, y);
    }
    let (low, high) = (ctx.optional(1)?, ctx.optional(2)?);
    let y = match (bound(ctx, low, f32::NEG_INFINITY)?, bound(ctx, high, f32::INFINITY)?) {
        _ if low.is_none() && high.is_none() => x,
        (Some(low), Some(high)) if ctx.dtype(x) == DType::F32 => {
            ctx.unary(Unary::Clip { low, high }, x)?
        }
        _ => clip_by_values(ctx, x, low, high)?,
    };
    ctx.bind(0, y)
}

/// A float bound, if it is known; `default` where it is left out.
fn bound(
    ctx: &mut NodeContext<'_, '_>,
    bound: Option<ValueId>,
    default: f32,
) -> Result<Option<f32>> {
    let Some(id) = bound else {
        return Ok(Some(default));
    };
    if ctx.ty(id).elements() != 1 {
        return Err(unsupported("a bound that is not one number"));
    }
    Ok(match ctx.known(id)?.as_deref().map(|tensor| &tensor.data) {
        Some(Data::Float(values)) => values.first().map(|v| *v as f32),
        Some(Data::Int(_)) | None => None,
    })
}

/// Clip of integers, or by bounds that are known only at run time.
fn clip_by_values(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    low: Option<ValueId>,
    high: Option<ValueId>,
) -> Result<ValueId> {
    let mut y = x;
    for (f, bound) in [(Binary::Max, low), (Binary::Min, high)] {
        if let Some(bound) = bound {
            let bound = ctx.reshape(bound, &[])?;
            y = ctx.binary(f, y, bound)?;
        }
    }
    Ok(y)
}
