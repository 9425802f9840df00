//! Operators of shape arithmetic, and of bits, that exist at compile time only: no graph holds them.

use crate::error::{Error, Result};
use crate::interp::{Data, Tensor};
use crate::ir::DType;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::shape::broadcast;
use crate::onnx::refusal::{bad, unsupported};

/// Results of more elements are no shape arithmetic.
const MOST: usize = 1 << 20;

/// Mod: the result has the divisor's sign, with `fmod` the dividend's. Floats without `fmod` came with
/// operator set 28. Of floats it exists at compile time only.
pub(in crate::onnx) fn modulo(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let fmod = ctx.attributes.flag("fmod", false)?;
    let (a, b) = (ctx.required(0)?, ctx.required(1)?);
    let runs = !ctx.is_constant(a) || !ctx.is_constant(b);
    if runs && !ctx.dtype(a).is_float() {
        let y = integer_modulo(ctx, a, b, fmod)?;
        return ctx.bind(0, y);
    }
    let dtype = known(ctx, 0)?.dtype;
    let (shape, a, b) = pair(ctx, MOST)?;
    let data = match (a, b) {
        (Data::Float(a), Data::Float(b)) if fmod || ctx.since >= 28 => {
            Data::Float(a.iter().zip(&b).map(|(a, b)| float_remainder(*a, *b, fmod)).collect())
        }
        (Data::Int(a), Data::Int(b)) => {
            let rest = a.iter().zip(&b).map(|(a, b)| remainder(*a, *b, fmod));
            Data::Int(rest.collect::<Option<_>>().ok_or_else(|| bad("division by zero"))?)
        }
        _ => {
            return Err(bad("floats without `fmod`, or operands of different types")
                .with_remedy("set `fmod` to 1 for floats, and cast both operands to one type"));
        }
    };
    give(ctx, Tensor { dtype, shape, data })
}

/// `a - a / b * b`, which truncates, and b added where that has not its sign. By 0 it is 0, as quotients are.
fn integer_modulo(
    ctx: &mut NodeContext<'_, '_>,
    a: ValueId,
    b: ValueId,
    fmod: bool,
) -> Result<ValueId> {
    let quotient = ctx.div(a, b)?;
    let product = ctx.mul(quotient, b)?;
    let rest = ctx.sub(a, product)?;
    let zero = ctx.number(rest, 0.0);
    let is_by_zero = ctx.is_equal(b, zero)?;
    let rest = ctx.choose(is_by_zero, zero, rest)?;
    if fmod || ctx.dtype(a) == DType::U8 {
        return Ok(rest);
    }
    let (rest_is_negative, b_is_negative) = (ctx.is_less(rest, zero)?, ctx.is_less(b, zero)?);
    let agree = ctx.is_equal(rest_is_negative, b_is_negative)?;
    let is_none = ctx.is_equal(rest, zero)?;
    let sum = ctx.add(rest, b)?;
    let y = ctx.choose(agree, rest, sum)?;
    ctx.choose(is_none, zero, y)
}

fn remainder(a: i64, b: i64, fmod: bool) -> Option<i64> {
    if b == 0 {
        return None;
    }
    let rest = a.wrapping_rem(b);
    let floor = !fmod && rest != 0 && (rest < 0) != (b < 0);
    Some(if floor { rest + b } else { rest })
}

fn float_remainder(a: f64, b: f64, fmod: bool) -> f64 {
    match a % b {
        rest if fmod => rest,
        rest if rest == 0.0 => rest.copysign(b),
        rest if (rest < 0.0) != (b < 0.0) => rest + b,
        rest => rest,
    }
}

/// Range.
pub(in crate::onnx) fn range(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    // Of what narrow floats are added up in, and there are none.
    ctx.attributes.ignore(&["stash_type"]);
    let (start, limit, delta) = (known(ctx, 0)?, known(ctx, 1)?, known(ctx, 2)?);
    let data = match (&start.data, &limit.data, &delta.data) {
        (Data::Int(s), Data::Int(l), Data::Int(d)) => match (s[..].first(), l.first(), d.first()) {
            (Some(&start), Some(&limit), Some(&delta)) => int_range(start, limit, delta)?,
            _ => return Err(bad("an operand is empty")),
        },
        (Data::Float(s), Data::Float(l), Data::Float(d)) => match (s.first(), l.first(), d.first())
        {
            (Some(&start), Some(&limit), Some(&delta)) => float_range(start, limit, delta)?,
            _ => return Err(bad("an operand is empty")),
        },
        _ => return Err(bad("its operands are of different types")),
    };
    let count = match &data {
        Data::Float(v) => v.len(),
        Data::Int(v) => v.len(),
    };
    give(ctx, Tensor { dtype: start.dtype, shape: vec![count], data })
}

fn int_range(start: i64, limit: i64, delta: i64) -> Result<Data> {
    let [first, last, step] = [start, limit, delta].map(i128::from);
    if step == 0 {
        return Err(bad("the step is 0"));
    }
    let room = if step > 0 { last - first } else { first - last };
    let count = (room.max(0) + step.abs() - 1) / step.abs();
    let count = usize::try_from(count).ok().filter(|n| *n <= MOST).ok_or_else(too_long)?;
    // Every element lies between two i64.
    Ok(Data::Int((0..count as i128).map(|i| (first + i * step) as i64).collect()))
}

fn float_range(start: f64, limit: f64, delta: f64) -> Result<Data> {
    let count = ((limit - start) / delta).ceil().max(0.0);
    if count.is_nan() || count > MOST as f64 {
        return Err(too_long());
    }
    Ok(Data::Float((0..count as usize).map(|i| start + i as f64 * delta).collect()))
}

fn too_long() -> Error {
    unsupported(format!("a range of more than {MOST} elements"))
}

/// Operand `index`, which must be there and known.
pub(super) fn known(ctx: &mut NodeContext<'_, '_>, index: usize) -> Result<Tensor> {
    let operator = ctx.operator();
    let tensor = ctx.constant(index).map_err(|error| {
        let remedy = format!("{operator} is known at compile time only; export for fixed shapes");
        error.with_remedy(remedy)
    })?;
    tensor.as_deref().cloned().ok_or_else(|| bad(format!("operand {index} is missing")))
}

/// Operands 0 and 1, broadcast to their common shape, of at most so many elements.
pub(super) fn pair(ctx: &mut NodeContext<'_, '_>, most: usize) -> Result<(Vec<usize>, Data, Data)> {
    let (a, b) = (known(ctx, 0)?, known(ctx, 1)?);
    let shape = broadcast(&a.shape, &b.shape)?;
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    if count.is_none_or(|n| n > most) {
        return Err(unsupported(format!("a compile-time result of more than {most} elements")));
    }
    let (a, b) = (spread(&a, &shape), spread(&b, &shape));
    Ok((shape, a, b))
}

/// The elements of `x` broadcast to `shape`.
fn spread(x: &Tensor, shape: &[usize]) -> Data {
    // Of nothing, axes before the one that makes it so may be as long as they like.
    let is_empty = shape.contains(&0);
    let mut sources = if is_empty { Vec::new() } else { vec![0usize] };
    let lead = shape.len() - x.shape.len();
    for (axis, &extent) in shape.iter().enumerate() {
        let own = axis.checked_sub(lead).map_or(1, |a| x.shape[a]);
        let step = |s: usize, i: usize| s * own + if own == 1 { 0 } else { i };
        sources = sources.iter().flat_map(|&s| (0..extent).map(move |i| step(s, i))).collect();
    }
    match &x.data {
        Data::Float(v) => Data::Float(sources.iter().map(|&s| v[s]).collect()),
        Data::Int(v) => Data::Int(sources.iter().map(|&s| v[s]).collect()),
    }
}

pub(super) fn give(ctx: &mut NodeContext<'_, '_>, tensor: Tensor) -> Result<()> {
    let id = ctx.tensor(&tensor);
    ctx.bind(0, id)
}
