//! Reductions.

use super::norm::Lines;
use super::operands::{Operands, ensure, gives};
use super::scalar::{larger, limits, smaller, wrap};
use super::walk::{elements, strides, walk};
use super::{Data, Tensor};
use crate::error::Result;
use crate::ir::{DType, Reduce, ReduceKind, TensorType};

pub(super) fn reduce(reduce: &Reduce, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = x.of(0, ty.dtype)?;
    let ascending = reduce.axes.is_sorted_by(|a, b| a < b);
    let inside = reduce.axes.iter().all(|axis| *axis < x.shape.len());
    ensure(ascending && inside, || format!("axes {:?} of {}", reduce.axes, x.ty()))?;
    gives(x.dtype, &reduced(x, &reduce.axes, reduce.keep), ty)?;
    let (kind, at) = (reduce.kind, targets(x, &reduce.axes));
    let count = elements(&reduce.axes.iter().map(|axis| x.shape[*axis]).collect::<Vec<_>>());
    Ok(match &x.data {
        Data::Float(x) => Data::Float(of_floats(kind, x, at, count, ty)),
        Data::Int(x) => Data::Int(of_ints(kind, x, at, count, ty)),
    })
}

/// Reduces `count` elements into each of the result; the element of x goes where `at` says.
fn of_floats(
    kind: ReduceKind,
    x: &[f64],
    at: impl Iterator<Item = usize>,
    count: usize,
    ty: &TensorType,
) -> Vec<f64> {
    let size = ty.elements();
    match kind {
        ReduceKind::Sum => fold(x, at, vec![0.0; size], |a, b| a + b),
        ReduceKind::Mean => {
            let sums = fold(x, at, vec![0.0; size], |a, b| a + b);
            sums.into_iter().map(|sum| sum / count as f64).collect()
        }
        ReduceKind::Max => fold(x, at, vec![f64::NEG_INFINITY; size], larger),
        ReduceKind::Min => fold(x, at, vec![f64::INFINITY; size], smaller),
    }
}

/// As [`of_floats`]. A mean truncates, and is 0 of nothing.
fn of_ints(
    kind: ReduceKind,
    x: &[i64],
    at: impl Iterator<Item = usize>,
    count: usize,
    ty: &TensorType,
) -> Vec<i64> {
    let size = ty.elements();
    let (least, most) = limits(ty.dtype);
    let all = match kind {
        ReduceKind::Sum => fold(x, at, vec![0; size], i64::wrapping_add),
        ReduceKind::Mean => {
            let sums = fold(x, at, vec![0; size], i64::wrapping_add);
            sums.into_iter().map(|sum| sum.checked_div(count as i64).unwrap_or(0)).collect()
        }
        ReduceKind::Max => fold(x, at, vec![least; size], i64::max),
        ReduceKind::Min => fold(x, at, vec![most; size], i64::min),
    };
    all.into_iter().map(|x| wrap(ty.dtype, x)).collect()
}

/// The shape without these axes, or with extent 1 along them.
fn reduced(x: &Tensor, axes: &[usize], keep: bool) -> Vec<usize> {
    let all = x.shape.iter().enumerate();
    let all = all.map(|(axis, size)| if axes.contains(&axis) { None } else { Some(*size) });
    if keep { all.map(|size| size.unwrap_or(1)).collect() } else { all.flatten().collect() }
}

/// Where in the result each element of x goes, in row-major order.
fn targets<'x>(x: &'x Tensor, axes: &[usize]) -> impl Iterator<Item = usize> + use<'x> {
    let mut to = strides(&reduced(x, axes, true));
    for axis in axes {
        to[*axis] = 0;
    }
    walk(&x.shape, 0, to)
}

fn fold<T: Copy>(
    x: &[T],
    at: impl Iterator<Item = usize>,
    mut all: Vec<T>,
    f: impl Fn(T, T) -> T,
) -> Vec<T> {
    for (x, at) in x.iter().zip(at) {
        all[at] = f(all[at], *x);
    }
    all
}

/// Index of the largest element along an axis; of a NaN, the first, if there is one.
pub(super) fn argmax(
    axis: usize,
    keep: bool,
    last: bool,
    operands: &Operands<'_>,
    ty: &TensorType,
) -> Result<Data> {
    let x = operands.need(0)?;
    let lines = Lines::new(x, axis)?;
    gives(DType::I64, &reduced(x, &[axis], keep), ty)?;
    ensure(lines.count == ty.elements(), || format!("no largest along {axis}"))?;
    let best = |line| match &x.data {
        Data::Float(x) => {
            let line: Vec<f64> = lines.of(line).map(|i| x[i]).collect();
            let mut nans = (0..line.len()).filter(|i| line[*i].is_nan());
            let nan = if last { nans.next_back() } else { nans.next() };
            nan.unwrap_or_else(|| largest(&line, last))
        }
        Data::Int(x) => largest(&lines.of(line).map(|i| x[i]).collect::<Vec<_>>(), last),
    };
    Ok(Data::Int((0..lines.count).map(|line| best(line) as i64).collect()))
}

/// Index of the largest; of equal ones, the first or the last.
fn largest<T: PartialOrd>(line: &[T], last: bool) -> usize {
    let mut best = 0;
    for (i, x) in line.iter().enumerate() {
        if *x > line[best] || (last && *x == line[best]) {
            best = i;
        }
    }
    best
}
