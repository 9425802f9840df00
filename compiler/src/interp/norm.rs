//! Normalizations.

use super::operands::{Operands, floats, gives, has_axis};
use super::scalar::larger;
use super::walk::elements;
use super::{Data, Tensor};
use crate::error::Result;
use crate::ir::TensorType;

/// `(x - mean) / sqrt(var + epsilon) * scale + bias` along axis 1.
pub(super) fn batch_norm(epsilon: f32, operands: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = operands.need(0)?;
    gives(x.dtype, &x.shape, ty)?;
    has_axis(x, 1)?;
    let channels = x.shape[1];
    let parameter = |slot| operands.floats(slot, x.dtype, &[channels]);
    let (scale, bias) = (parameter(1)?, parameter(2)?);
    let (mean, var) = (parameter(3)?, parameter(4)?);
    let inner = elements(&x.shape[2..]);
    let all = floats(&x.data)?.iter().enumerate().map(|(i, x)| {
        let c = i / inner % channels;
        (x - mean[c]) / (var[c] + f64::from(epsilon)).sqrt() * scale[c] + bias[c]
    });
    Ok(Data::Float(all.collect()))
}

/// `exp(x) / Σ exp(x)` along an axis, or its logarithm.
pub(super) fn softmax(
    axis: usize,
    log: bool,
    operands: &Operands<'_>,
    ty: &TensorType,
) -> Result<Data> {
    let x = operands.need(0)?;
    gives(x.dtype, &x.shape, ty)?;
    let lines = Lines::new(x, axis)?;
    let x = floats(&x.data)?;
    let mut y = vec![0.0; x.len()];
    for line in 0..lines.count {
        let values: Vec<f64> = lines.of(line).map(|i| x[i]).collect();
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, larger);
        let exponentials = exponentials(&values);
        let sum: f64 = exponentials.iter().sum();
        for ((i, x), e) in lines.of(line).zip(values).zip(exponentials) {
            y[i] = if log { x - largest - sum.ln() } else { e / sum };
        }
    }
    Ok(Data::Float(y))
}

/// `exp(x)` of each, all divided by that of the largest, so that none overflows.
pub(super) fn exponentials(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, larger);
    x.iter().map(|x| (x - largest).exp()).collect()
}

/// The lines of a tensor along an axis, in row-major order of the other axes.
pub(super) struct Lines {
    /// How many; none when they have no elements.
    pub(super) count: usize,
    /// Elements of each.
    pub(super) length: usize,
    /// Distance between neighbours.
    inner: usize,
}

impl Lines {
    pub(super) fn new(x: &Tensor, axis: usize) -> Result<Lines> {
        has_axis(x, axis)?;
        let (outer, inner) = (elements(&x.shape[..axis]), elements(&x.shape[axis + 1..]));
        let length = x.shape[axis];
        let count = if length == 0 { 0 } else { outer * inner };
        Ok(Lines { count, length, inner })
    }

    /// Offsets of the elements of a line.
    pub(super) fn of(&self, line: usize) -> impl Iterator<Item = usize> + '_ {
        let start = line / self.inner * self.length * self.inner + line % self.inner;
        (0..self.length).map(move |i| start + i * self.inner)
    }
}
