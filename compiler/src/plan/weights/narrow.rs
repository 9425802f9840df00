//! Which constants can be stored in fewer digits than f32's.

use cardinal_runtime::{Encoding, Narrow};

use super::Packed;
use crate::ir::DType;
use crate::plan::Constant;

/// Weights of fewer bytes stay in f32: biases and small tables, which are little of an artifact.
const LEAST_BYTES: usize = 4 << 10;

/// A weight that stays in f32 because some of it may be beyond the format that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct OutOfRange {
    /// The value in the model.
    pub name: String,
    /// Its largest magnitude; NaN where there is one. Winograd's transform may make more of it.
    pub magnitude: f32,
    /// The format.
    pub narrow: Narrow,
}

/// How a constant is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Storage {
    /// As code reads it, whatever its values are.
    Plain,
    /// Each element rounded to this format.
    Narrow(Narrow),
    /// As code reads it, since its values do not allow what is asked for.
    OutOfRange(OutOfRange),
}

impl Storage {
    /// How a constant is stored where a format is asked for. Its weight's type decides, before it is packed, so
    /// that the same weights are rounded on every machine; but what is rounded is what is packed, all of which must
    /// be finite in the format.
    pub(super) fn of(constant: &Constant, narrow: Narrow) -> Storage {
        let weight = &constant.data.ty;
        let is_f32 = weight.dtype == DType::F32 && constant.ty.dtype == DType::F32;
        if !is_f32 || weight.bytes() < LEAST_BYTES {
            return Storage::Plain;
        }
        let magnitude = largest_magnitude(&constant.data);
        // False for NaN.
        match f64::from(magnitude) * constant.data.order().gain() <= narrow.largest() {
            true => Storage::Narrow(narrow),
            false => {
                let name = constant.name.clone();
                Storage::OutOfRange(OutOfRange { name, magnitude, narrow })
            }
        }
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Storage::Narrow(narrow) => Encoding::Narrow(*narrow),
            Storage::Plain | Storage::OutOfRange(_) => Encoding::Plain,
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
