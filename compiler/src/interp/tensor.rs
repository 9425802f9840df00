//! Tensors of the interpreter.

use bytes::Bytes;

use super::scalar::truncate;
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

    /// The tensor's type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, &self.shape)
    }

    /// Whether the elements are as many and of the kind that the type says.
    pub(super) fn is_whole(&self) -> bool {
        self.dtype.is_float() == matches!(self.data, Data::Float(_))
            && self.data.len() == self.ty().elements()
    }
}

impl Data {
    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
        }
    }

    /// `count` elements of one value, which for integers is truncated.
    pub(super) fn filled(dtype: DType, count: usize, value: f64) -> Data {
        match dtype.is_float() {
            true => Data::Float(vec![value; count]),
            false => Data::Int(vec![truncate(dtype, value); count]),
        }
    }

    /// The elements at these offsets.
    pub(super) fn pick(&self, at: impl Iterator<Item = usize>) -> Data {
        match self {
            Data::Float(v) => Data::Float(at.map(|i| v[i]).collect()),
            Data::Int(v) => Data::Int(at.map(|i| v[i]).collect()),
        }
    }

    /// The elements at these offsets, each so many times.
    pub(super) fn repeat(&self, at: impl Iterator<Item = usize>, times: usize) -> Data {
        fn of<T: Copy>(v: &[T], at: impl Iterator<Item = usize>, times: usize) -> Vec<T> {
            let mut all = Vec::with_capacity(at.size_hint().0.saturating_mul(times));
            at.for_each(|i| all.resize(all.len() + times, v[i]));
            all
        }
        match self {
            Data::Float(v) => Data::Float(of(v, at, times)),
            Data::Int(v) => Data::Int(of(v, at, times)),
        }
    }

    /// Puts the elements of `x`, in order, at these offsets.
    pub(super) fn place(&mut self, x: &Data, at: impl Iterator<Item = usize>) -> Result<()> {
        match (self, x) {
            (Data::Float(y), Data::Float(x)) => at.zip(x).for_each(|(i, x)| y[i] = *x),
            (Data::Int(y), Data::Int(x)) => at.zip(x).for_each(|(i, x)| y[i] = *x),
            (Data::Float(_), Data::Int(_)) | (Data::Int(_), Data::Float(_)) => {
                return Err(Error::internal("elements of another kind"));
            }
        }
        Ok(())
    }
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (words, _) = bytes.as_chunks::<N>();
    words.iter().map(|w| read(*w)).collect()
}
