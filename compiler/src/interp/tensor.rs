//! Tensors of the interpreter.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::ir::{DType, TensorType};

/// A dense row-major tensor that keeps every float as f64 and every integer as i64.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The logical element type: what the value is rounded or wrapped to when it leaves.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Data,
}

/// Elements.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Of f32 and f64.
    Float(Vec<f64>),
    /// Of integers and bool (0 or 1).
    Int(Vec<i64>),
}

impl Tensor {
    /// From dense little-endian bytes; `None` when their number is not what `ty` says.
    pub fn from_bytes(ty: &TensorType, bytes: &[u8]) -> Option<Tensor> {
        if bytes.len() != ty.bytes() {
            return None;
        }
        let float = |v: Vec<f64>| Some(Data::Float(v));
        let int = |v: Vec<i64>| Some(Data::Int(v));
        let data = match ty.dtype {
            DType::F32 => float(words(bytes, |w| f64::from(f32::from_le_bytes(w)))),
            DType::F64 => float(words(bytes, f64::from_le_bytes)),
            DType::I64 => int(words(bytes, i64::from_le_bytes)),
            DType::I32 => int(words(bytes, |w| i64::from(i32::from_le_bytes(w)))),
            DType::U8 => int(bytes.iter().map(|b| i64::from(*b)).collect()),
            DType::I8 => int(words(bytes, |w| i64::from(i8::from_le_bytes(w)))),
            DType::Bool => int(bytes.iter().map(|b| i64::from(*b != 0)).collect()),
        }?;
        Some(Tensor { dtype: ty.dtype, shape: ty.shape(), data })
    }

    /// To dense little-endian bytes, rounded to the element type.
    pub fn to_bytes(&self) -> Bytes {
        match (&self.data, self.dtype) {
            (Data::Float(v), DType::F64) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            (Data::Float(v), _) => v.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
            (Data::Int(v), DType::I64) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            (Data::Int(v), DType::I32) => {
                v.iter().flat_map(|x| (*x as i32).to_le_bytes()).collect()
            }
            (Data::Int(v), _) => v.iter().map(|x| *x as u8).collect(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of a float tensor.
    pub(crate) fn floats(&self) -> Result<&[f64]> {
        match &self.data {
            Data::Float(v) => Ok(v),
            Data::Int(_) => Err(Error::internal("expected floats")),
        }
    }

    /// The same with integers wrapped to their type.
    pub(crate) fn wrapped(mut self) -> Tensor {
        let wrap: Option<fn(i64) -> i64> = match self.dtype {
            DType::I32 => Some(|x| i64::from(x as i32)),
            DType::U8 => Some(|x| i64::from(x as u8)),
            DType::I8 => Some(|x| i64::from(x as i8)),
            DType::Bool => Some(|x| i64::from(x != 0)),
            DType::I64 | DType::F32 | DType::F64 => None,
        };
        if let (Some(wrap), Data::Int(v)) = (wrap, &mut self.data) {
            v.iter_mut().for_each(|x| *x = wrap(*x));
        }
        self
    }

    /// The tensor's type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, &self.shape)
    }
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (words, _) = bytes.as_chunks::<N>();
    words.iter().map(|w| read(*w)).collect()
}
