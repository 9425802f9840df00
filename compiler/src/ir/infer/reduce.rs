//! Operators that combine the elements along axes.

use super::elementwise::check_dtype;
use super::{Operands, bad};
use crate::error::{Problem, Result};
use crate::ir::op::{Reduce, ReduceKind};
use crate::ir::types::{Axis, DType, TensorType};

/// The axis of x, which an attribute names.
pub(super) fn axis(x: &TensorType, axis: usize) -> Result<&Axis> {
    let missing = || Problem::BadNode(format!("x is {x}, which has no axis {axis}")).into();
    x.axes.get(axis).ok_or_else(missing)
}

pub(super) fn softmax(over: usize, given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    check_dtype(x.dtype.is_float(), "softmax", x.dtype)?;
    axis(x, over)?;
    Ok(x.clone())
}

pub(super) fn reduce(reduce: &Reduce, given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    let name = reduce.kind.mnemonic();
    check_dtype(!matches!(x.dtype, DType::U8 | DType::I8 | DType::Bool), name, x.dtype)?;
    if reduce.axes.is_empty() || !reduce.axes.is_sorted_by(|a, b| a < b) {
        return bad(format!("axes {:?} are not ascending, at least one", reduce.axes));
    }
    for &over in &reduce.axes {
        axis(x, over)?;
    }
    let y = TensorType { dtype: x.dtype, axes: remaining(x, &reduce.axes, reduce.keep) };
    if reduce.kind == ReduceKind::Mean && x.elements() == 0 && y.elements() > 0 {
        return bad(format!("{name} of nothing: {x} over the axes {:?}", reduce.axes));
    }
    Ok(y)
}

pub(super) fn argmax(over: usize, keep: bool, given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    check_dtype(x.dtype != DType::Bool, "argmax", x.dtype)?;
    let along = axis(x, over)?.size();
    let y = TensorType { dtype: DType::I64, axes: remaining(x, &[over], keep) };
    if along == 0 && y.elements() > 0 {
        return bad(format!("argmax over the empty axis {over} of {x}"));
    }
    Ok(y)
}

/// The axes of x without the reduced ones, or with 1 in their place.
fn remaining(x: &TensorType, reduced: &[usize], keep: bool) -> Vec<Axis> {
    let axes = x.axes.iter().enumerate();
    axes.filter_map(|(i, axis)| match (reduced.contains(&i), keep) {
        (false, _) => Some(axis.clone()),
        (true, true) => Some(Axis::plain(1)),
        (true, false) => None,
    })
    .collect()
}
