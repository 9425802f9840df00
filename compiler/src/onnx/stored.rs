//! The element types of a model file, how elements are stored there, and what they are read as.

use std::fmt;

use bytes::Bytes;
use half::{bf16, f16};
use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::DataType;

use crate::ir::{DType, TensorType};

/// The type of a stored tensor.
#[derive(Debug, Clone)]
pub(super) struct StoredType {
    elements: Elements,
    /// What it is read as.
    pub(super) ty: TensorType,
}

/// Types of stored elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elements {
    /// Those that graphs have.
    Of(DType),
    /// IEEE 754 binary16, read as f32, which has all of its values.
    F16,
    /// The upper half of an f32, read as that f32.
    Bf16,
    /// Integers of so many bits, with a sign or without, read as i32.
    Narrow(Narrow),
}

/// Integers that only constants have, which are dequantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Narrow {
    U16,
    I16,
    /// Two in a byte, the first in the lower half.
    U4,
    /// Likewise.
    I4,
}

impl Narrow {
    fn of(code: i32) -> Option<Narrow> {
        match <DataType as protobuf::Enum>::from_i32(code)? {
            DataType::UINT16 => Some(Narrow::U16),
            DataType::INT16 => Some(Narrow::I16),
            DataType::UINT4 => Some(Narrow::U4),
            DataType::INT4 => Some(Narrow::I4),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Narrow::U16 => "uint16",
            Narrow::I16 => "int16",
            Narrow::U4 => "uint4",
            Narrow::I4 => "int4",
        }
    }

    /// Bytes of so many.
    fn bytes(self, elements: usize) -> usize {
        match self {
            Narrow::U16 | Narrow::I16 => elements * size_of::<u16>(),
            Narrow::U4 | Narrow::I4 => elements.div_ceil(2),
        }
    }

    /// `elements` of them as i32.
    fn widened(self, stored: &[u8], elements: usize) -> Bytes {
        let words = || stored.as_chunks::<2>().0.iter();
        let halves = || stored.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(elements);
        let all: Vec<i32> = match self {
            Narrow::U16 => words().map(|w| u16::from_le_bytes(*w).into()).collect(),
            Narrow::I16 => words().map(|w| i16::from_le_bytes(*w).into()).collect(),
            Narrow::U4 => halves().map(i32::from).collect(),
            // With the sign at the top of a byte, and back.
            Narrow::I4 => halves().map(|half| ((half << 4) as i8 >> 4).into()).collect(),
        };
        all.into_iter().flat_map(i32::to_le_bytes).collect()
    }

    /// The bytes of those that `int32_data` spells, of which each holds one of 16 bits or two of 4, and
    /// how many there are.
    fn spelled(self, values: &[i32], elements: usize) -> (usize, Option<Bytes>) {
        let unsigned = |v: &i32| u16::try_from(*v).ok().map(u16::to_le_bytes);
        let signed = |v: &i32| i16::try_from(*v).ok().map(i16::to_le_bytes);
        let pair = |v: &i32| u8::try_from(v & 255).ok().map(|byte| [byte]);
        match self {
            Narrow::U16 => spelled(values, unsigned),
            Narrow::I16 => spelled(values, signed),
            Narrow::U4 | Narrow::I4 => {
                let (count, bytes) = spelled(values, pair);
                (if count == elements.div_ceil(2) { elements } else { 2 * count }, bytes)
            }
        }
    }
}

/// The name of the elements with this ONNX number, if they are [`Narrow`] ones.
pub(super) fn widened_element(code: i32) -> Option<&'static str> {
    Narrow::of(code).map(Narrow::name)
}

impl Elements {
    /// Those with this ONNX number, or what is wrong with it and the remedy.
    pub(super) fn of(code: i32) -> Result<Elements, (String, &'static str)> {
        match <DataType as protobuf::Enum>::from_i32(code) {
            Some(DataType::FLOAT16) => Ok(Elements::F16),
            Some(DataType::BFLOAT16) => Ok(Elements::Bf16),
            Some(_) | None => match Narrow::of(code) {
                Some(narrow) => Ok(Elements::Narrow(narrow)),
                None => element_type(code).map(Elements::Of),
            },
        }
    }

    /// What they are read as.
    pub(super) fn dtype(self) -> DType {
        match self {
            Elements::Of(dtype) => dtype,
            Elements::F16 | Elements::Bf16 => DType::F32,
            Elements::Narrow(_) => DType::I32,
        }
    }
}

impl StoredType {
    /// Elements stored like this, which are read as `ty`.
    pub(super) fn new(elements: Elements, ty: TensorType) -> StoredType {
        StoredType { elements, ty }
    }

    /// Bytes as stored.
    pub(super) fn bytes(&self) -> usize {
        match self.elements {
            Elements::Of(_) => self.ty.bytes(),
            Elements::F16 | Elements::Bf16 => self.ty.elements() * size_of::<u16>(),
            Elements::Narrow(narrow) => narrow.bytes(self.ty.elements()),
        }
    }

    /// The elements as they are read, from as many bytes as are stored.
    pub(super) fn widened(&self, stored: Bytes) -> Bytes {
        let widen = |value: fn(u16) -> f32| {
            let halves = stored.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half));
            halves.flat_map(|half| value(half).to_le_bytes()).collect()
        };
        match self.elements {
            Elements::Of(DType::Bool) => zero_or_one(stored),
            Elements::Of(_) => stored,
            Elements::F16 => widen(|half| f16::from_bits(half).to_f32()),
            Elements::Bf16 => widen(|half| bf16::from_bits(half).to_f32()),
            Elements::Narrow(narrow) => narrow.widened(&stored, self.ty.elements()),
        }
    }

    /// The bytes of a tensor that spells its elements in one of the typed fields, or what is wrong.
    pub(super) fn typed_bytes(&self, tensor: &TensorProto) -> Result<Bytes, String> {
        let half = |v: &i32| u16::try_from(*v).ok().map(u16::to_le_bytes);
        let (count, bytes): (usize, Option<Bytes>) = match self.elements {
            Elements::Of(DType::F32) => spelled(&tensor.float_data, |v| Some(v.to_le_bytes())),
            Elements::Of(DType::F64) => spelled(&tensor.double_data, |v| Some(v.to_le_bytes())),
            Elements::Of(DType::I64) => spelled(&tensor.int64_data, |v| Some(v.to_le_bytes())),
            Elements::Of(DType::I32) => spelled(&tensor.int32_data, |v| Some(v.to_le_bytes())),
            Elements::Of(DType::U8) => {
                spelled(&tensor.int32_data, |v| u8::try_from(*v).ok().map(|b| [b]))
            }
            Elements::Of(DType::I8) => {
                spelled(&tensor.int32_data, |v| i8::try_from(*v).ok().map(i8::to_le_bytes))
            }
            Elements::Of(DType::Bool) => spelled(&tensor.int32_data, |v| Some([u8::from(*v != 0)])),
            Elements::F16 | Elements::Bf16 => spelled(&tensor.int32_data, half),
            Elements::Narrow(narrow) => narrow.spelled(&tensor.int32_data, self.ty.elements()),
        };
        if count != self.ty.elements() {
            return Err(format!("{count} elements for {self}"));
        }
        bytes.ok_or_else(|| format!("an element does not fit {}", self.name()))
    }

    fn name(&self) -> &'static str {
        match self.elements {
            Elements::Of(dtype) => dtype.name(),
            Elements::F16 => "f16",
            Elements::Bf16 => "bf16",
            Elements::Narrow(narrow) => narrow.name(),
        }
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.name(), self.ty.shape())
    }
}

/// The element type with this ONNX number, or what is wrong with it and the remedy.
pub(super) fn element_type(code: i32) -> Result<DType, (String, &'static str)> {
    const FLOAT: &str = "export the model in float32";
    const OTHER: &str = "export the model with float32 weights and int64 indices";
    let known = <DataType as protobuf::Enum>::from_i32(code)
        .ok_or_else(|| (format!("unknown element type {code}"), OTHER))?;
    let refuse =
        |name: &str, remedy| Err((format!("element type {name} is not supported"), remedy));
    match known {
        DataType::FLOAT => Ok(DType::F32),
        DataType::DOUBLE => Ok(DType::F64),
        DataType::INT64 => Ok(DType::I64),
        DataType::INT32 => Ok(DType::I32),
        DataType::UINT8 => Ok(DType::U8),
        DataType::INT8 => Ok(DType::I8),
        DataType::BOOL => Ok(DType::Bool),
        DataType::FLOAT16 => refuse("float16", FLOAT),
        DataType::BFLOAT16 => refuse("bfloat16", FLOAT),
        DataType::FLOAT8E4M3FN
        | DataType::FLOAT8E4M3FNUZ
        | DataType::FLOAT8E5M2
        | DataType::FLOAT8E5M2FNUZ => refuse("float8", FLOAT),
        DataType::UINT16 => refuse("uint16", OTHER),
        DataType::INT16 => refuse("int16", OTHER),
        DataType::UINT32 => refuse("uint32", OTHER),
        DataType::UINT64 => refuse("uint64", OTHER),
        DataType::UINT4 => refuse("uint4", OTHER),
        DataType::INT4 => refuse("int4", OTHER),
        DataType::STRING => refuse("string", OTHER),
        DataType::COMPLEX64 | DataType::COMPLEX128 => refuse("complex", OTHER),
        DataType::UNDEFINED => Err(("it has no element type".to_owned(), OTHER)),
    }
}

fn spelled<T, const N: usize>(
    values: &[T],
    write: impl Fn(&T) -> Option<[u8; N]>,
) -> (usize, Option<Bytes>) {
    let words: Option<Vec<[u8; N]>> = values.iter().map(write).collect();
    (values.len(), words.map(|w| Bytes::from(w.concat())))
}

fn zero_or_one(bytes: Bytes) -> Bytes {
    if bytes.iter().all(|b| *b <= 1) {
        return bytes;
    }
    bytes.iter().map(|b| u8::from(*b != 0)).collect()
}
