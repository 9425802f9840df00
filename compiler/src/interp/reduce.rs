//! Reductions, softmax and argmax.

use super::elementwise::{max, min};
use super::layout::dense;
use super::{Data, Tensor};
use crate::error::Result;
use crate::ir::{Reduce, ReduceKind, TensorType};

pub(super) fn reduce(spec: &Reduce, x: &Tensor, ty: &TensorType) -> Result<Data> {
    let target = |i: usize| {
        let natural = dense(&x.shape);
        let mut out = 0;
        for (axis, extent) in x.shape.iter().enumerate() {
            if !spec.axes.contains(&axis) {
                let index = i / natural[axis] as usize % extent;
                out = out * extent + index;
            }
        }
        out
    };
    let count: usize = spec.axes.iter().map(|a| x.shape[*a]).product();
    Ok(match &x.data {
        Data::Float(v) => {
            let mut out = vec![start(spec.kind); ty.elements()];
            for (i, x) in v.iter().enumerate() {
                let to = &mut out[target(i)];
                *to = match spec.kind {
                    ReduceKind::Sum | ReduceKind::Mean => *to + x,
                    ReduceKind::Max => max(*to, *x),
                    ReduceKind::Min => min(*to, *x),
                };
            }
            if spec.kind == ReduceKind::Mean {
                out.iter_mut().for_each(|x| *x /= count as f64);
            }
            Data::Float(out)
        }
        Data::Int(v) => {
            let first = match spec.kind {
                ReduceKind::Sum | ReduceKind::Mean => 0,
                ReduceKind::Max => i64::MIN,
                ReduceKind::Min => i64::MAX,
            };
            let mut out = vec![first; ty.elements()];
            for (i, x) in v.iter().enumerate() {
                let to = &mut out[target(i)];
                *to = match spec.kind {
                    ReduceKind::Sum | ReduceKind::Mean => to.wrapping_add(*x),
                    ReduceKind::Max => (*to).max(*x),
                    ReduceKind::Min => (*to).min(*x),
                };
            }
            if spec.kind == ReduceKind::Mean {
                out.iter_mut().for_each(|x| *x /= (count as i64).max(1));
            }
            Data::Int(out)
        }
    })
}

fn start(kind: ReduceKind) -> f64 {
    match kind {
        ReduceKind::Sum | ReduceKind::Mean => 0.0,
        ReduceKind::Max => f64::NEG_INFINITY,
        ReduceKind::Min => f64::INFINITY,
    }
}

/// Positions of each run of elements along `axis`.
fn runs(shape: &[usize], axis: usize) -> impl Iterator<Item = Vec<usize>> {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let extent = shape[axis];
    (0..outer * inner).map(move |i| {
        let start = i / inner * extent * inner + i % inner;
        (0..extent).map(|k| start + k * inner).collect()
    })
}

pub(super) fn softmax(axis: usize, log: bool, x: &Tensor) -> Result<Data> {
    let v = x.floats()?;
    let mut out = vec![0.0; v.len()];
    for run in runs(&x.shape, axis) {
        let largest = run.iter().fold(f64::NEG_INFINITY, |m, i| max(m, v[*i]));
        let total: f64 = run.iter().map(|i| (v[*i] - largest).exp()).sum();
        for i in run {
            let shifted = v[i] - largest;
            out[i] = if log { shifted - total.ln() } else { shifted.exp() / total };
        }
    }
    Ok(Data::Float(out))
}

pub(super) fn argmax(axis: usize, last: bool, x: &Tensor) -> Result<Data> {
    let best = |run: Vec<usize>| {
        let mut best = 0;
        for (k, i) in run.iter().enumerate() {
            let wins = match &x.data {
                Data::Float(v) => {
                    let (new, old) = (v[*i], v[run[best]]);
                    (new.is_nan() && !old.is_nan()) || new > old || (last && new == old)
                }
                Data::Int(v) => v[*i] > v[run[best]] || (last && v[*i] == v[run[best]]),
            };
            if wins {
                best = k;
            }
        }
        best as i64
    };
    Ok(Data::Int(runs(&x.shape, axis).map(best).collect()))
}
