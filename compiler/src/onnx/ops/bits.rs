//! BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseNot and BitShift, of constants: no graph holds them.

use super::compile_time::{give, known, pair};
use crate::error::{Error, Result};
use crate::interp::{Data, Tensor};
use crate::ir::DType;
use crate::limits::EVALUATED;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// BitwiseAnd, BitwiseOr and BitwiseXor.
pub(in crate::onnx) fn bitwise(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let combine: fn(i64, i64) -> i64 = match ctx.operator() {
        "BitwiseAnd" => |a, b| a & b,
        "BitwiseOr" => |a, b| a | b,
        "BitwiseXor" => |a, b| a ^ b,
        other => return Err(Error::internal(format!("{other} is not of bits"))),
    };
    // Of numbers of one type, which are extended by their signs, the result is one of that type too.
    of_pairs(ctx, |_, a, b| combine(a, b))
}

/// BitwiseNot.
pub(in crate::onnx) fn not(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let Tensor { dtype, shape, data } = known(ctx, 0)?;
    let Some((_, is_signed)) = bits(dtype) else {
        return Err(bad(format!("the bits of {dtype}")));
    };
    let Data::Int(all) = data else {
        return Err(bad("bits of floats"));
    };
    let inverted = |x: i64| if is_signed { !x } else { !x & 0xff };
    let data = Data::Int(all.into_iter().map(inverted).collect());
    give(ctx, Tensor { dtype, shape, data })
}

/// BitShift: what is shifted out is lost, and right of a sign are its copies. By less than 0, or by as many bits as
/// there are, all bits are shifted out.
pub(in crate::onnx) fn shift(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let is_left = match ctx.attributes.string("direction", "")? {
        "LEFT" => true,
        "RIGHT" => false,
        "" => return Err(bad("attribute `direction` is missing")),
        other => return Err(bad(format!("attribute `direction` is `{other}`"))),
    };
    of_pairs(ctx, |dtype, x, by| shifted(dtype, is_left, x, by))
}

fn shifted(dtype: DType, is_left: bool, x: i64, by: i64) -> i64 {
    let count = bits(dtype).map_or(64, |(count, _)| count);
    let by = u32::try_from(by).ok().filter(|by| *by < count);
    match (is_left, by) {
        (true, Some(by)) => wrapped(dtype, x << by),
        (true, None) => 0,
        // What has no sign is not below 0.
        (false, by) => x >> by.unwrap_or(63),
    }
}

/// How many bits integers of a type have, and whether one of them is a sign.
fn bits(dtype: DType) -> Option<(u32, bool)> {
    match dtype {
        DType::U8 => Some((8, false)),
        DType::I8 => Some((8, true)),
        DType::I32 => Some((32, true)),
        DType::I64 => Some((64, true)),
        DType::F32 | DType::F64 | DType::Bool => None,
    }
}

/// The integer of a type that has the lowest bits of `x`.
fn wrapped(dtype: DType, x: i64) -> i64 {
    match dtype {
        DType::U8 => i64::from(x as u8),
        DType::I8 => i64::from(x as i8),
        DType::I32 => i64::from(x as i32),
        DType::F32 | DType::F64 | DType::I64 | DType::Bool => x,
    }
}

/// A function of the operands, element by element.
fn of_pairs(ctx: &mut NodeContext<'_, '_>, f: impl Fn(DType, i64, i64) -> i64) -> Result<()> {
    let dtypes = [0, 1].map(|index| ctx.required(index).map(|id| ctx.dtype(id)));
    let [a, b] = dtypes;
    let (dtype, other) = (a?, b?);
    if dtype != other || bits(dtype).is_none() {
        return Err(bad(format!("the bits of {dtype} and {other}")));
    }
    let (shape, a, b) = pair(ctx, EVALUATED)?;
    let (Data::Int(a), Data::Int(b)) = (a, b) else {
        return Err(bad("bits of floats"));
    };
    let data = Data::Int(a.iter().zip(&b).map(|(a, b)| f(dtype, *a, *b)).collect());
    give(ctx, Tensor { dtype, shape, data })
}
