//! Reads `.npy` files of little-endian numbers in C order.

use std::path::Path;

use cardinal_compiler::interp::Tensor;
use cardinal_compiler::ir::{DType, TensorType};

/// The array in the file.
pub(crate) fn read(path: &Path) -> Tensor {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    let after = |key: &str| header.split_once(key).unwrap().1;
    let dtype = match after("'descr': '").split('\'').next().unwrap() {
        "<f4" => DType::F32,
        "<f8" => DType::F64,
        "<i8" => DType::I64,
        "<i4" => DType::I32,
        "|u1" => DType::U8,
        "|i1" => DType::I8,
        "|b1" => DType::Bool,
        other => panic!("{}: elements {other}", path.display()),
    };
    let shape = after("'shape': (").split(')').next().unwrap();
    let shape = shape.split(',').map(str::trim).filter(|n| !n.is_empty());
    let shape: Vec<usize> = shape.map(|n| n.parse().unwrap()).collect();
    Tensor::from_bytes(&TensorType::new(dtype, &shape), &bytes[10 + length..]).unwrap()
}
