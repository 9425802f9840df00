//! Which constants can be stored in half precision.

use super::Packed;
use crate::ir::DType;
use crate::plan::Constant;

/// Weights of fewer bytes stay in f32: biases and small tables, which are little of an artifact.
const LEAST_BYTES: usize = 4 << 10;

/// The largest half.
const LARGEST: f64 = 65504.0;

/// A weight that stays in f32 because some of it may be beyond half precision.
#[derive(Debug, Clone, PartialEq)]
pub struct BeyondHalf {
    /// The value in the model.
    pub name: String,
    /// Its largest magnitude; NaN where there is one. Winograd's transform may make more of it.
    pub magnitude: f32,
}

/// Whether a constant is stored in half precision.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum HalfPrecision {
    /// It is.
    Yes,
    /// It is not to be, whatever its values are.
    No,
    /// It is to be, but its values do not allow it.
    Beyond(BeyondHalf),
}

impl HalfPrecision {
    /// The answer for a constant. Its weight's type decides, before it is packed, so that the same weights
    /// are halves on every machine; but what is rounded is what is packed, all of which must be finite as
    /// a half.
    pub(super) fn of(constant: &Constant) -> HalfPrecision {
        let weight = &constant.data.ty;
        let is_f32 = weight.dtype == DType::F32 && constant.ty.dtype == DType::F32;
        if !is_f32 || weight.bytes() < LEAST_BYTES {
            return HalfPrecision::No;
        }
        let magnitude = largest_magnitude(&constant.data);
        // False for NaN.
        match f64::from(magnitude) * constant.data.order().gain() <= LARGEST {
            true => HalfPrecision::Yes,
            false => HalfPrecision::Beyond(BeyondHalf { name: constant.name.clone(), magnitude }),
        }
    }
}

/// The largest magnitude of a weight of floats, before it is packed; NaN where there is one.
fn largest_magnitude(data: &Packed) -> f32 {
    let bytes = data.weight.bytes(&data.ty).unwrap_or_default();
    let words = bytes.as_chunks().0.iter();
    // Bits of magnitudes are in the order of what they stand for, and those of NaN come last.
    f32::from_bits(words.map(|word| u32::from_le_bytes(*word) << 1 >> 1).max().unwrap_or(0))
}
