//! The elements of a small weight as text.

use bytes::Bytes;

use super::lexer::Cursor;
use super::values::Value;
use crate::error::Result;
use crate::ir::types::{DType, TensorType};

/// Weights of up to this many elements show their values.
const SHOWN: usize = 8;

/// `0` for a scalar, `[1, 2, 3]` for the row-major elements of anything else. `None` when there
/// are too many of them, or when the text would not read back to the same bytes.
pub(super) fn write(ty: &TensorType, bytes: &Bytes) -> Option<String> {
    if ty.elements() > SHOWN || bytes.len() != ty.bytes() {
        return None;
    }
    let elements = bytes.chunks_exact(ty.dtype.size()).map(|e| element(ty.dtype, e));
    let elements: Vec<String> = elements.collect::<Option<_>>()?;
    match (ty.rank(), elements.as_slice()) {
        (0, [one]) => Some(one.clone()),
        _ => Some(format!("[{}]", elements.join(", "))),
    }
}

/// Reads what [`write`] wrote for this type.
pub(super) fn read(ty: &TensorType, cursor: &mut Cursor<'_>) -> Result<Bytes> {
    let dtype = ty.dtype;
    let elements = if cursor.eat_mark('[') {
        cursor.list(']', |c| parse_element(dtype, c))?
    } else {
        vec![parse_element(dtype, cursor)?]
    };
    if elements.len() != ty.elements() {
        let (wanted, found) = (ty.elements(), elements.len());
        return Err(cursor.error(format!("expected {wanted} elements for {ty}, found {found}")));
    }
    Ok(elements.concat().into())
}

fn element(dtype: DType, bytes: &[u8]) -> Option<String> {
    match dtype {
        DType::F32 => {
            let value = f32::from_le_bytes(bytes.try_into().ok()?);
            let exact = !value.is_nan() || value.to_bits() == f32::NAN.to_bits();
            exact.then(|| value.write())
        }
        DType::F64 => {
            let value = f64::from_le_bytes(bytes.try_into().ok()?);
            let exact = !value.is_nan() || value.to_bits() == f64::NAN.to_bits();
            exact.then(|| value.write())
        }
        DType::I64 => Some(i64::from_le_bytes(bytes.try_into().ok()?).to_string()),
        DType::I32 => Some(i32::from_le_bytes(bytes.try_into().ok()?).to_string()),
        DType::U8 => Some(u8::from_le_bytes(bytes.try_into().ok()?).to_string()),
        DType::I8 => Some(i8::from_le_bytes(bytes.try_into().ok()?).to_string()),
        DType::Bool => match bytes {
            [0] => Some("false".to_owned()),
            [1] => Some("true".to_owned()),
            _ => None,
        },
    }
}

fn parse_element(dtype: DType, cursor: &mut Cursor<'_>) -> Result<Vec<u8>> {
    let what = "an element of the declared type";
    Ok(match dtype {
        DType::F32 => cursor.word(what, float::<f32>)?.to_le_bytes().to_vec(),
        DType::F64 => cursor.word(what, float::<f64>)?.to_le_bytes().to_vec(),
        DType::I64 => cursor.number::<i64>(what)?.to_le_bytes().to_vec(),
        DType::I32 => cursor.number::<i32>(what)?.to_le_bytes().to_vec(),
        DType::U8 => cursor.number::<u8>(what)?.to_le_bytes().to_vec(),
        DType::I8 => cursor.number::<i8>(what)?.to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(cursor.number::<bool>(what)?)],
    })
}

/// The number; `nan` is the one NaN that [`element`] writes.
fn float<T: std::str::FromStr + From<f32>>(word: &str) -> Option<T> {
    match word {
        "nan" => Some(T::from(f32::NAN)),
        _ => word.parse().ok(),
    }
}
