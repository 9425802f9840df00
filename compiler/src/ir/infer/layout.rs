//! Operators that move elements without changing them.

use super::elementwise::check_same_dtype;
use super::reduce::axis;
use super::{Operands, bad};
use crate::error::{Problem, Result};
use crate::ir::types::{Axis, DType, TensorType};

pub(super) fn transpose(perm: &[usize], given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.rank()) {
        return bad(format!("{perm:?} is not a permutation of the {} axes of {x}", x.rank()));
    }
    let axes = perm.iter().filter_map(|&i| x.axes.get(i).cloned()).collect();
    Ok(TensorType { dtype: x.dtype, axes })
}

pub(super) fn concat(along: usize, given: &Operands<'_>) -> Result<TensorType> {
    let first = given.required(0, "the first part")?;
    axis(first, along)?;
    let mut result = first.clone();
    for (i, &(slot, part)) in given.all().iter().enumerate() {
        if slot != i {
            return bad(format!("operand {i} is missing"));
        }
        if i > 0 {
            append(&mut result, part, along, i)?;
        }
    }
    Ok(result)
}

/// Makes room for part `i` in the type of the parts before it.
fn append(result: &mut TensorType, part: &TensorType, along: usize, i: usize) -> Result<()> {
    let name = format!("part {i}");
    check_same_dtype(("part 0", result), (&name, part))?;
    let mismatch = format!("{name} is {part}, which does not continue {result} along axis {along}");
    if part.rank() != result.rank() {
        return bad(mismatch);
    }
    for (k, (so_far, axis)) in result.axes.iter_mut().zip(&part.axes).enumerate() {
        if k == along {
            let sum = so_far.size().checked_add(axis.size());
            let too_large = || Problem::BadNode("the result is too large".into());
            *so_far = Axis::plain(sum.ok_or_else(too_large)?);
        } else if so_far.size() != axis.size() {
            return bad(mismatch);
        } else if so_far.factors().is_empty() {
            *so_far = axis.clone();
        }
    }
    Ok(())
}

pub(super) fn gather(along: usize, given: &Operands<'_>) -> Result<TensorType> {
    let (x, index) = (given.required(0, "x")?, given.required(1, "indices")?);
    if !matches!(index.dtype, DType::I64 | DType::I32) {
        return bad(format!("indices are {}, not i64 or i32", index.dtype));
    }
    let picked_from = axis(x, along)?;
    if picked_from.size() == 0 && index.axes.iter().all(|axis| axis.size() > 0) {
        return bad(format!("x is {x}, which has nothing to pick along axis {along}"));
    }
    let mut axes = x.axes.clone();
    axes.splice(along..=along, index.axes.iter().cloned());
    Ok(TensorType { dtype: x.dtype, axes })
}

pub(super) fn scatter(extent: usize, given: &Operands<'_>) -> Result<TensorType> {
    let (x, index) = (given.required(0, "x")?, given.required(1, "indices")?);
    if !matches!(index.dtype, DType::I64 | DType::I32) || index.rank() != 1 {
        return bad(format!("indices are {index}, not i64 or i32 along one axis"));
    }
    if axis(x, 0)?.size() != index.elements() {
        return bad(format!("x is {x}, for indices {index}"));
    }
    let mut ty = x.clone();
    ty.axes[0] = Axis::plain(extent);
    match given.optional(2) {
        Some(data) if data.dtype != ty.dtype || data.shape() != ty.shape() => {
            bad(format!("the data are {data}, not {ty}"))
        }
        Some(data) => Ok(data.clone()),
        None => Ok(ty),
    }
}

pub(super) fn pad(before: &[usize], after: &[usize], given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    if before.len() != x.rank() || after.len() != x.rank() {
        let (b, a) = (before.len(), after.len());
        return bad(format!("{b} and {a} paddings for the {} axes of {x}", x.rank()));
    }
    let mut axes = Vec::with_capacity(x.rank());
    for (axis, (&b, &a)) in x.axes.iter().zip(before.iter().zip(after)) {
        let sum = axis.size().checked_add(b).and_then(|n| n.checked_add(a));
        let too_large = || Problem::BadNode(format!("padding {b} and {a} is too large"));
        let size = sum.ok_or_else(too_large)?;
        axes.push(if size == axis.size() { axis.clone() } else { Axis::plain(size) });
    }
    Ok(TensorType { dtype: x.dtype, axes })
}
