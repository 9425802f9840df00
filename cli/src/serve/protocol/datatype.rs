//! Element types as the protocol calls them.

use cardinal_runtime::DType;

/// The protocol's name of an element type.
pub(super) fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "FP32",
        DType::F64 => "FP64",
        DType::I64 => "INT64",
        DType::I32 => "INT32",
        DType::U8 => "UINT8",
        DType::I8 => "INT8",
        DType::Bool => "BOOL",
    }
}
