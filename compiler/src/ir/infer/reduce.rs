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
    if axis(x, over)?.size() == 0 {
        return bad(format!("softmax over the empty axis {over} of {x}"));
    }
    Ok(x.clone())
}

pub(super) fn reduce(reduce: &Reduce, given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    let name = reduce.kind.mnemonic();
    let of_nothing = match reduce.kind {
        ReduceKind::Sum => true,
        ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min => false,
    };
    check_dtype(!matches!(x.dtype, DType::U8 | DType::I8 | DType::Bool), name, x.dtype)?;
    if reduce.axes.is_empty() || !reduce.axes.is_sorted_by(|a, b| a < b) {
        return bad(format!("axes {:?} are not ascending, at least one", reduce.axes));
    }
    for &over in &reduce.axes {
        if axis(x, over)?.size() == 0 && !of_nothing {
            return bad(format!("{name} over the empty axis {over} of {x}"));
        }
    }
    Ok(TensorType { dtype: x.dtype, axes: remaining(x, &reduce.axes, reduce.keep) })
}

pub(super) fn argmax(over: usize, keep: bool, given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    check_dtype(x.dtype != DType::Bool, "argmax", x.dtype)?;
    if axis(x, over)?.size() == 0 {
        return bad(format!("argmax over the empty axis {over} of {x}"));
    }
    Ok(TensorType { dtype: DType::I64, axes: remaining(x, &[over], keep) })
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
