//! Operators that only move elements.

use super::Data;
use super::elementwise::spread;
use super::operands::{Operands, ensure, gives, has_axis, ints};
use super::walk::{broadcast, elements, strides, walk};
use crate::error::Result;
use crate::ir::TensorType;

pub(super) fn identity(x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = x.need(0)?;
    gives(x.dtype, &x.shape, ty)?;
    Ok(x.data.clone())
}

pub(super) fn reshape(x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = x.of(0, ty.dtype)?;
    ensure(x.data.len() == ty.elements(), || format!("{} does not reshape to {ty}", x.ty()))?;
    Ok(x.data.clone())
}

/// NumPy broadcasting to the node's type.
pub(super) fn expand(x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = x.of(0, ty.dtype)?;
    let shape = ty.shape();
    let fits = broadcast(&[&x.shape, &shape]).is_some_and(|all| all == shape);
    ensure(fits, || format!("{} does not broadcast to {ty}", x.ty()))?;
    Ok(spread(x, &shape).into_owned())
}

/// `y[i_0, i_1, …] = x[…]` where index `i_k` is along axis `perm[k]` of x.
pub(super) fn transpose(perm: &[usize], x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = x.need(0)?;
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    ensure(sorted.into_iter().eq(0..x.shape.len()), || format!("{perm:?} permutes {}", x.ty()))?;
    let shape: Vec<usize> = perm.iter().map(|axis| x.shape[*axis]).collect();
    gives(x.dtype, &shape, ty)?;
    let strides = strides(&x.shape);
    Ok(x.data.pick(walk(&shape, 0, perm.iter().map(|axis| strides[*axis]).collect())))
}

pub(super) fn concat(axis: usize, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let parts = x.all()?;
    let mut size = 0usize;
    for (slot, part) in parts.iter().enumerate() {
        x.of(slot, ty.dtype)?;
        has_axis(part, axis)?;
        size = size.saturating_add(part.shape[axis]);
    }
    for part in &parts {
        let mut shape = part.shape.clone();
        shape[axis] = size;
        gives(ty.dtype, &shape, ty)?;
    }
    ensure(!parts.is_empty(), || "no operands".to_owned())?;
    let mut y = Data::filled(ty.dtype, ty.elements(), 0.0);
    if ty.elements() == 0 {
        return Ok(y);
    }
    let strides = strides(&ty.shape());
    let mut start = 0;
    for part in parts {
        let first = start * strides[axis] as usize;
        y.place(&part.data, walk(&part.shape, first, strides.clone()))?;
        start += part.shape[axis];
    }
    Ok(y)
}

/// `y[i, …] = x[starts[0] + i · steps[0], …]`
pub(super) fn slice(
    starts: &[usize],
    steps: &[isize],
    x: &Operands<'_>,
    ty: &TensorType,
) -> Result<Data> {
    let x = x.of(0, ty.dtype)?;
    let shape = ty.shape();
    let rank = x.shape.len();
    let fits = [starts.len(), steps.len(), shape.len()] == [rank; 3]
        && (0..rank).all(|axis| {
            // Extents and steps are below 2^64, so that their product is below 2^127.
            let (first, count) = (starts[axis] as i128, shape[axis] as i128);
            let last = first + (count - 1) * steps[axis] as i128;
            let inside = |at: i128| (0..x.shape[axis] as i128).contains(&at);
            steps[axis] != 0 && (count == 0 || (inside(first) && inside(last)))
        });
    ensure(fits, || format!("{starts:?} by {steps:?} of {} as {ty}", x.ty()))?;
    if ty.elements() == 0 {
        return Ok(Data::filled(ty.dtype, 0, 0.0));
    }
    let strides = strides(&x.shape);
    let start = starts.iter().zip(&strides).map(|(start, stride)| start * *stride as usize).sum();
    // The step of an axis of one element may be anything.
    let strides = strides.iter().zip(steps).map(|(stride, step)| stride.wrapping_mul(*step));
    Ok(x.data.pick(walk(&shape, start, strides.collect())))
}

/// `y[…, i…, …] = x[…, index[i…], …]`
pub(super) fn gather(axis: usize, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let (x, index) = (x.need(0)?, x.need(1)?);
    has_axis(x, axis)?;
    let (outer, inner) = (&x.shape[..axis], &x.shape[axis + 1..]);
    gives(x.dtype, &[outer, &index.shape, inner].concat(), ty)?;
    let index = ints(&index.data)?;
    let size = x.shape[axis];
    if ty.elements() == 0 {
        return Ok(Data::filled(ty.dtype, 0, 0.0));
    }
    ensure(size > 0, || format!("nothing to gather along axis {axis} of {}", x.ty()))?;
    let (outer, inner) = (elements(outer), elements(inner));
    let clamp = |i: i64| usize::try_from(i).unwrap_or(0).min(size - 1);
    let all = (0..outer).flat_map(|o| {
        let rows = index.iter().map(move |i| (o * size + clamp(*i)) * inner);
        rows.flat_map(move |row| row..row + inner)
    });
    Ok(x.data.pick(all))
}

pub(super) fn scatter(extent: usize, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let (updates, index, data) = (x.need(0)?, x.need(1)?, x.get(2));
    has_axis(updates, 0)?;
    let slice = &updates.shape[1..];
    gives(updates.dtype, &[&[extent], slice].concat(), ty)?;
    let fits = index.shape == [updates.shape[0]];
    ensure(fits, || format!("slices of {} at {}", updates.ty(), index.ty()))?;
    let mut y = match data {
        Some(data) => {
            gives(data.dtype, &data.shape, ty)?;
            data.data.clone()
        }
        None => Data::filled(ty.dtype, ty.elements(), 0.0),
    };
    let inner = elements(slice);
    for (update, place) in ints(&index.data)?.iter().enumerate() {
        let place = usize::try_from(*place).ok().filter(|place| *place < extent);
        if let Some(place) = place {
            let slice = updates.data.pick(update * inner..(update + 1) * inner);
            y.place(&slice, place * inner..(place + 1) * inner)?;
        }
    }
    Ok(y)
}

pub(super) fn pad(
    before: &[usize],
    after: &[usize],
    value: f64,
    x: &Operands<'_>,
    ty: &TensorType,
) -> Result<Data> {
    let x = x.need(0)?;
    let rank = x.shape.len();
    ensure([before.len(), after.len()] == [rank; 2], || {
        format!("{before:?} before and {after:?} after {}", x.ty())
    })?;
    let padded =
        |axis: usize| x.shape[axis].saturating_add(before[axis]).saturating_add(after[axis]);
    gives(x.dtype, &(0..rank).map(padded).collect::<Vec<_>>(), ty)?;
    let mut y = Data::filled(ty.dtype, ty.elements(), value);
    if x.data.len() > 0 {
        let strides = strides(&ty.shape());
        let start = before.iter().zip(&strides).map(|(n, stride)| n * *stride as usize).sum();
        y.place(&x.data, walk(&x.shape, start, strides))?;
    }
    Ok(y)
}
