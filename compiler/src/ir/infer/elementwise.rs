//! Operators that compute each element of the result from one element of each operand.

use super::{Operands, bad};
use crate::error::{Error, Problem, Result};
use crate::ir::function::{Binary, Unary};
use crate::ir::types::{Axis, DType, TensorType};

/// The shape that all `shapes` broadcast to as in NumPy: aligned at the last axis, an axis of 1
/// stretches. `None` when two extents differ and neither is 1.
pub fn broadcast_shapes(shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        for (extent, &n) in result.iter_mut().rev().zip(shape.iter().rev()) {
            match (*extent, n) {
                (_, 1) => {}
                (1, _) => *extent = n,
                (a, b) if a == b => {}
                _ => return None,
            }
        }
    }
    Some(result)
}

/// Broadcasts types; of the operands that have an axis of the result, one with factors gives it.
pub(super) fn broadcast(types: &[&TensorType]) -> Result<Vec<Axis>> {
    let all: Vec<Vec<usize>> = types.iter().map(|ty| ty.shape()).collect();
    let shapes: Vec<&[usize]> = all.iter().map(Vec::as_slice).collect();
    let Some(shape) = broadcast_shapes(&shapes) else {
        let listed: Vec<String> = all.iter().map(|shape| format!("{shape:?}")).collect();
        return bad(format!("shapes {} do not broadcast", listed.join(" and ")));
    };
    let axis = |(i, &size): (usize, &usize)| {
        let distance = shape.len() - i;
        let same = types
            .iter()
            .filter_map(|ty| ty.axes.get(ty.rank().checked_sub(distance)?))
            .filter(|axis| axis.size() == size);
        let factored = same.clone().find(|axis| !axis.factors().is_empty());
        factored.cloned().unwrap_or_else(|| Axis::plain(size))
    };
    Ok(shape.iter().enumerate().map(axis).collect())
}

/// The farthest multiple from 0 of what is quantized to 16 bits: the lowest, where the zero point is the highest.
const MOST_STEPS: f32 = 65536.0;

/// Refuses an element type that `function` is not defined for, and bounds between which nothing lies.
pub(super) fn check_unary(mut function: Unary, dtype: DType) -> Result<()> {
    if let Unary::Clip { .. } = function
        && let Some((bound, _)) = function.parameters().into_iter().find(|(_, x)| x.is_nan())
    {
        return bad(format!("clip's bound `{bound}` is NaN"));
    }
    if let Unary::Quantized { lowest, highest, .. } = function {
        let fits = |x: f32| x.fract() == 0.0 && x.abs() <= MOST_STEPS;
        if !(fits(lowest) && fits(highest) && lowest <= highest) {
            return bad(format!(
                "quantized's bounds, {lowest} and {highest}, are no range of whole numbers of at most 16 bits"
            ));
        }
    }
    check_dtype(function.is_defined_for(dtype), function.mnemonic(), dtype)
}

/// Refuses an element type that `function` is not defined for.
pub(super) fn check_binary(function: Binary, dtype: DType) -> Result<()> {
    check_dtype(function.is_defined_for(dtype), function.mnemonic(), dtype)
}

/// Refuses an element type that the operator is not defined for.
pub(super) fn check_dtype(defined: bool, operator: &str, dtype: DType) -> Result<()> {
    if defined {
        return Ok(());
    }
    let problem = Problem::BadNode(format!("{operator} is not defined for {dtype}"));
    Err(Error::from(problem).with_remedy("cast what it takes to float32 before, and back after"))
}

/// Refuses two operands of different element types.
pub(super) fn check_same_dtype(a: (&str, &TensorType), b: (&str, &TensorType)) -> Result<()> {
    if a.1.dtype == b.1.dtype {
        return Ok(());
    }
    bad(format!("{} is {}, but {} is {}", a.0, a.1.dtype, b.0, b.1.dtype))
}

pub(super) fn unary(function: Unary, given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    check_unary(function, x.dtype)?;
    Ok(x.clone())
}

pub(super) fn binary(function: Binary, given: &Operands<'_>) -> Result<TensorType> {
    let (a, b) = (given.required(0, "a")?, given.required(1, "b")?);
    check_same_dtype(("a", a), ("b", b))?;
    check_binary(function, a.dtype)?;
    Ok(TensorType { dtype: function.result(a.dtype), axes: broadcast(&[a, b])? })
}

pub(super) fn select(given: &Operands<'_>) -> Result<TensorType> {
    let condition = given.required(0, "condition")?;
    let (a, b) = (given.required(1, "a")?, given.required(2, "b")?);
    if condition.dtype != DType::Bool {
        return bad(format!("the condition is {}, not bool", condition.dtype));
    }
    check_same_dtype(("a", a), ("b", b))?;
    Ok(TensorType { dtype: a.dtype, axes: broadcast(&[condition, a, b])? })
}

pub(super) fn cast(to: DType, given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    Ok(TensorType { dtype: to, axes: x.axes.clone() })
}

pub(super) fn quantize(given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    let (scale, zero) = (given.required(1, "the scale")?, given.required(2, "the zero point")?);
    check_dtype(x.dtype == DType::F32, "quantize", x.dtype)?;
    if !matches!(zero.dtype, DType::U8 | DType::I8) {
        return bad(format!("the zero point is {}, not u8 or i8", zero.dtype));
    }
    check_grid(x, scale, zero)?;
    Ok(TensorType { dtype: zero.dtype, axes: x.axes.clone() })
}

pub(super) fn dequantize(given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    let (scale, zero) = (given.required(1, "the scale")?, given.required(2, "the zero point")?);
    if !matches!(x.dtype, DType::U8 | DType::I8 | DType::I32) {
        return bad(format!("x is {}, not u8, i8 or i32", x.dtype));
    }
    check_same_dtype(("x", x), ("the zero point", zero))?;
    check_grid(x, scale, zero)?;
    Ok(TensorType { dtype: DType::F32, axes: x.axes.clone() })
}

/// Refuses a scale that is not f32, and one or a zero point that does not broadcast to x.
fn check_grid(x: &TensorType, scale: &TensorType, zero: &TensorType) -> Result<()> {
    if scale.dtype != DType::F32 {
        return bad(format!("the scale is {}, not f32", scale.dtype));
    }
    for (name, operand) in [("scale", scale), ("zero point", zero)] {
        if broadcast_shapes(&[&x.shape(), &operand.shape()]) != Some(x.shape()) {
            return bad(format!("the {name} {operand} does not broadcast to {x}"));
        }
    }
    Ok(())
}

pub(super) fn batch_norm(given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    check_dtype(x.dtype.is_float(), "batch_norm", x.dtype)?;
    let no_channels = || Problem::BadNode(format!("x is {x}, which has no channel axis"));
    let channels = x.axes.get(1).ok_or_else(no_channels)?.size();
    for (slot, name) in [(1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")] {
        check_per_channel(name, given.required(slot, name)?, channels, x)?;
    }
    Ok(x.clone())
}

/// Refuses an operand that is not one value of `like`'s element type for each of `channels`.
pub(super) fn check_per_channel(
    name: &str,
    operand: &TensorType,
    channels: usize,
    like: &TensorType,
) -> Result<()> {
    check_same_dtype(("x", like), (name, operand))?;
    if operand.shape() != [channels] {
        let shape = operand.shape();
        return bad(format!("{name} has shape {shape:?}, but there are {channels} channels"));
    }
    Ok(())
}
