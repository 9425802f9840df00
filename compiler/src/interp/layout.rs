//! Operators that move elements, and the walks over strided tensors.

use super::{Data, Operands, Tensor};
use crate::error::{Error, Result};
use crate::ir::TensorType;

/// A start and a stride per axis, in elements.
pub(super) struct Strides {
    start: isize,
    each: Vec<isize>,
}

pub(super) fn dense(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i] as isize;
    }
    strides
}

/// Strides that repeat a dense tensor of shape `from` over `to`.
pub(super) fn broadcast_strides(from: &[usize], to: &[usize]) -> Strides {
    let natural = dense(from);
    let ahead = to.len() - from.len();
    let each = (0..to.len())
        .map(|i| if i < ahead || from[i - ahead] == 1 { 0 } else { natural[i - ahead] })
        .collect();
    Strides { start: 0, each }
}

/// Calls `visit` with the positions in each operand, in row-major order of `shape`.
pub(super) fn walk<const N: usize>(
    shape: &[usize],
    operands: &[Strides; N],
    mut visit: impl FnMut([usize; N]),
) {
    let total: usize = shape.iter().product();
    let mut index = vec![0usize; shape.len()];
    for _ in 0..total {
        visit(std::array::from_fn(|k| {
            let s = &operands[k];
            let at: isize = index.iter().zip(&s.each).map(|(i, s)| *i as isize * s).sum();
            (s.start + at) as usize
        }));
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

fn picked(x: &Tensor, shape: &[usize], strides: Strides) -> Data {
    let strides = [strides];
    match &x.data {
        Data::Float(v) => {
            let mut out = Vec::new();
            walk(shape, &strides, |[i]| out.push(v[i]));
            Data::Float(out)
        }
        Data::Int(v) => {
            let mut out = Vec::new();
            walk(shape, &strides, |[i]| out.push(v[i]));
            Data::Int(out)
        }
    }
}

pub(super) fn expand(x: &Tensor, ty: &TensorType) -> Result<Data> {
    let shape = ty.shape();
    Ok(picked(x, &shape, broadcast_strides(&x.shape, &shape)))
}

pub(super) fn transpose(perm: &[usize], x: &Tensor, ty: &TensorType) -> Result<Data> {
    let natural = dense(&x.shape);
    let each = perm.iter().map(|p| natural[*p]).collect();
    Ok(picked(x, &ty.shape(), Strides { start: 0, each }))
}

/// Whether every element that the slice names exists.
pub(super) fn slice_fits(from: &[usize], to: &[usize], starts: &[usize], steps: &[isize]) -> bool {
    let rank = from.len();
    to.len() == rank
        && starts.len() == rank
        && steps.len() == rank
        && (0..rank).all(|i| {
            let Some(trips) = to[i].checked_sub(1) else { return true };
            let far = steps[i].checked_mul(trips as isize);
            let last = far.and_then(|far| far.checked_add(starts[i] as isize));
            starts[i] < from[i] && last.is_some_and(|l| l >= 0 && (l as usize) < from[i])
        })
}

pub(super) fn slice(
    starts: &[usize],
    steps: &[isize],
    x: &Tensor,
    ty: &TensorType,
) -> Result<Data> {
    let natural = dense(&x.shape);
    let start = starts.iter().zip(&natural).map(|(s, n)| *s as isize * n).sum();
    let each = steps.iter().zip(&natural).map(|(s, n)| s * n).collect();
    Ok(picked(x, &ty.shape(), Strides { start, each }))
}

pub(super) fn concat(axis: usize, own: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let shape = ty.shape();
    let outer: usize = shape[..axis].iter().product();
    let block = |t: &Tensor| t.shape[axis..].iter().product::<usize>();
    let mut floats = Vec::new();
    let mut ints = Vec::new();
    for o in 0..outer {
        for (_, part) in own.all {
            let range = o * block(part)..(o + 1) * block(part);
            match &part.data {
                Data::Float(v) => floats.extend_from_slice(&v[range]),
                Data::Int(v) => ints.extend_from_slice(&v[range]),
            }
        }
    }
    Ok(if ty.dtype.is_float() { Data::Float(floats) } else { Data::Int(ints) })
}

pub(super) fn gather(axis: usize, x: &Tensor, index: &Tensor, ty: &TensorType) -> Result<Data> {
    let Data::Int(index) = &index.data else { return Err(Error::internal("expected integers")) };
    let outer: usize = x.shape[..axis].iter().product();
    let inner: usize = x.shape[axis + 1..].iter().product();
    let extent = x.shape[axis];
    let mut order = Vec::with_capacity(ty.elements());
    for o in 0..outer {
        for i in index {
            let picked = (*i).clamp(0, extent as i64 - 1) as usize;
            let start = (o * extent + picked) * inner;
            order.extend(start..start + inner);
        }
    }
    Ok(match &x.data {
        Data::Float(v) => Data::Float(order.iter().map(|i| v[*i]).collect()),
        Data::Int(v) => Data::Int(order.iter().map(|i| v[*i]).collect()),
    })
}

pub(super) fn pad(before: &[usize], value: f64, x: &Tensor, ty: &TensorType) -> Result<Data> {
    let natural = dense(&ty.shape());
    let start = before.iter().zip(&natural).map(|(b, n)| *b as isize * n).sum();
    let places = [Strides { start, each: natural }];
    let mut next = 0;
    Ok(match &x.data {
        Data::Float(v) => {
            let mut out = vec![value; ty.elements()];
            walk(&x.shape, &places, |[i]| {
                out[i] = v[next];
                next += 1;
            });
            Data::Float(out)
        }
        Data::Int(v) => {
            let mut out = vec![value as i64; ty.elements()];
            walk(&x.shape, &places, |[i]| {
                out[i] = v[next];
                next += 1;
            });
            Data::Int(out)
        }
    })
}
