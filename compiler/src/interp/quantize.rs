//! Quantization: to integers on a grid, and back.

use super::Data;
use super::elementwise::spread;
use super::operands::{Operands, floats, gives, ints};
use super::scalar::limits;
use crate::error::Result;
use crate::ir::{DType, TensorType};

/// `round(x / scale) + zero`, or the end of the type that it is beyond; a NaN is below all.
pub(super) fn quantize(x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let (input, scale, zero) = (x.of(0, DType::F32)?, x.of(1, DType::F32)?, x.of(2, ty.dtype)?);
    gives(ty.dtype, &input.shape, ty)?;
    let (scale, zero) = (spread(scale, &input.shape), spread(zero, &input.shape));
    let (low, high) = limits(ty.dtype);
    let element = |((x, scale), zero): ((&f64, &f64), &i64)| {
        // Which integer is nearest depends on what the quotient is rounded to.
        let quotient = (f64::from(*x as f32) / f64::from(*scale as f32)) as f32;
        if quotient.is_nan() {
            return low;
        }
        (quotient.round_ties_even() as i64).saturating_add(*zero).clamp(low, high)
    };
    let pairs = floats(&input.data)?.iter().zip(floats(&scale)?).zip(ints(&zero)?);
    Ok(Data::Int(pairs.map(element).collect()))
}

/// `(x - zero) * scale`
pub(super) fn dequantize(x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let (input, scale) = (x.need(0)?, x.of(1, DType::F32)?);
    let zero = x.of(2, input.dtype)?;
    gives(DType::F32, &input.shape, ty)?;
    let (scale, zero) = (spread(scale, &input.shape), spread(zero, &input.shape));
    let element = |((x, scale), zero): ((&i64, &f64), &i64)| {
        let difference = x.wrapping_sub(*zero) as i32;
        f64::from(difference as f32) * scale
    };
    let pairs = ints(&input.data)?.iter().zip(floats(&scale)?).zip(ints(&zero)?);
    Ok(Data::Float(pairs.map(element).collect()))
}
