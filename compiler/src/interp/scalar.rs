//! Functions of single elements.

use crate::ir::DType;
pub(super) use crate::ir::function::{larger, smaller, truncate};

/// An integer in the range of its type.
pub(super) fn wrap(dtype: DType, x: i64) -> i64 {
    match dtype {
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::I8 => i64::from(x as i8),
        DType::Bool => i64::from(x != 0),
        DType::I64 | DType::F32 | DType::F64 => x,
    }
}

/// The smallest and the largest integer of the type.
pub(super) fn limits(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::Bool => (0, 1),
        DType::I64 | DType::F32 | DType::F64 => (i64::MIN, i64::MAX),
    }
}
