//! Sliding-window pooling.

use super::Data;
use super::conv::positions;
use super::operands::{Operands, floats, gives};
use super::scalar::{larger, limits};
use crate::error::{Error, Result};
use crate::ir::{Pool, PoolKind, TensorType, Window};

pub(super) fn pool(pool: &Pool, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = x.need(0)?;
    let &[n, c, h, w] = x.shape.as_slice() else {
        return Err(Error::internal(format!("{} does not have four axes", x.ty())));
    };
    let output = positions(&pool.window, [h, w], pool.ceil)?;
    gives(x.dtype, &[n, c, output[0], output[1]], ty)?;
    if ty.elements() == 0 {
        return Ok(Data::filled(ty.dtype, 0, 0.0));
    }
    let slide = Slide { window: pool.window, planes: n * c, input: [h, w], output };
    match (pool.kind, &x.data) {
        (PoolKind::Max, Data::Float(x)) => Ok(Data::Float(
            slide.over(x, |plane, at| slide.max(plane, at, f64::NEG_INFINITY, larger)),
        )),
        (PoolKind::Max, Data::Int(x)) => {
            let (lowest, _) = limits(ty.dtype);
            Ok(Data::Int(slide.over(x, |plane, at| slide.max(plane, at, lowest, i64::max))))
        }
        (PoolKind::Average { count_padding }, x) => {
            let x = floats(x)?;
            Ok(Data::Float(slide.over(x, |plane, at| slide.mean(plane, at, count_padding))))
        }
    }
}

struct Slide {
    window: Window,
    planes: usize,
    input: [usize; 2],
    output: [usize; 2],
}

impl Slide {
    /// `f(plane, [i, j])` for every position of every plane.
    fn over<T>(&self, x: &[T], f: impl Fn(&[T], [usize; 2]) -> T) -> Vec<T> {
        let mut y = Vec::new();
        let [h, w] = self.output;
        let size = self.input[0] * self.input[1];
        for plane in 0..self.planes {
            let plane = &x[plane * size..][..size];
            y.extend((0..h * w).map(|at| f(plane, [at / w, at % w])));
        }
        y
    }

    /// Coordinates in the padded input of the taps of the window at a position.
    fn taps(&self, at: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
        let Window { kernel, stride, dilation, .. } = self.window;
        let place = move |axis: usize, tap: usize| at[axis] * stride[axis] + tap * dilation[axis];
        (0..kernel[0]).flat_map(move |u| (0..kernel[1]).map(move |v| [place(0, u), place(1, v)]))
    }

    /// The offset in a plane of padded coordinates; `None` for padding.
    fn inside(&self, at: [usize; 2]) -> Option<usize> {
        let [top, left] = self.window.pad_before;
        let (y, x) = (at[0].checked_sub(top)?, at[1].checked_sub(left)?);
        (y < self.input[0] && x < self.input[1]).then(|| y * self.input[1] + x)
    }

    /// Whether padded coordinates are in the padded input; a window may hang over its end.
    fn is_padded(&self, at: [usize; 2]) -> bool {
        let Window { pad_before, pad_after, .. } = self.window;
        (0..2).all(|axis| at[axis] < pad_before[axis] + self.input[axis] + pad_after[axis])
    }

    fn max<T: Copy>(&self, plane: &[T], at: [usize; 2], lowest: T, larger: fn(T, T) -> T) -> T {
        self.taps(at).filter_map(|tap| self.inside(tap)).map(|i| plane[i]).fold(lowest, larger)
    }

    fn mean(&self, plane: &[f64], at: [usize; 2], count_padding: bool) -> f64 {
        let inside = |tap: &[usize; 2]| self.inside(*tap).is_some();
        let sum: f64 = self.taps(at).filter_map(|tap| self.inside(tap)).map(|i| plane[i]).sum();
        let count = match count_padding {
            true => self.taps(at).filter(|tap| self.is_padded(*tap)).count(),
            false => self.taps(at).filter(inside).count(),
        };
        sum / count as f64
    }
}
