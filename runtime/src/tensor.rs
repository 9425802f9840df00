//! Dense row-major tensors, aligned as generated code wants them.

use std::fmt;

use bytemuck::{Pod, Zeroable};

use crate::abi::ALIGNMENT;
use crate::dtype::DType;
use crate::error::TensorError;
use crate::spec::{TensorSpec, TypeText};

/// The unit of storage; makes every tensor begin on a 64-byte boundary.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Block([u8; ALIGNMENT]);

const _: () = assert!(align_of::<Block>() == ALIGNMENT && size_of::<Block>() == ALIGNMENT);

// SAFETY: an array of bytes, for which zero is a value.
unsafe impl Zeroable for Block {}
// SAFETY: an array of 64 bytes aligned to 64 has no padding and no invalid bit pattern.
unsafe impl Pod for Block {}

/// A dense row-major tensor whose bytes begin on a 64-byte boundary.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    /// Bytes in use; the last block may have more.
    length: usize,
    blocks: Box<[Block]>,
}

impl Tensor {
    /// A tensor of zeros. Large ones cost nothing until they are touched.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Tensor, TensorError> {
        let length = byte_length(dtype, shape)
            .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })?;
        let blocks = bytemuck::allocation::try_zeroed_slice_box(length.div_ceil(ALIGNMENT))
            .map_err(|()| TensorError::OutOfMemory { bytes: length })?;
        Ok(Tensor { dtype, shape: shape.to_vec(), length, blocks })
    }

    /// A tensor with a copy of `bytes`: little-endian elements in row-major order.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, TensorError> {
        let mut tensor = Tensor::zeros(dtype, shape)?;
        if bytes.len() != tensor.length {
            return Err(TensorError::Length { expected: tensor.length, given: bytes.len() });
        }
        tensor.as_bytes_mut().copy_from_slice(bytes);
        Ok(tensor)
    }

    /// An `f32` tensor with a copy of `values`.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Tensor, TensorError> {
        Tensor::from_bytes(DType::F32, shape, bytemuck::cast_slice(values))
    }

    /// An `i64` tensor with a copy of `values`.
    pub fn from_i64(shape: &[usize], values: &[i64]) -> Result<Tensor, TensorError> {
        Tensor::from_bytes(DType::I64, shape, bytemuck::cast_slice(values))
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements' bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.length]
    }

    /// The elements' bytes.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[..self.length]
    }

    /// The elements, where they are `f32`.
    pub fn as_f32(&self) -> Option<&[f32]> {
        (self.dtype == DType::F32).then(|| bytemuck::cast_slice(self.as_bytes()))
    }

    /// The elements, where they are `f32`.
    pub fn as_f32_mut(&mut self) -> Option<&mut [f32]> {
        (self.dtype == DType::F32).then(|| bytemuck::cast_slice_mut(self.as_bytes_mut()))
    }

    /// The elements, where they are `i64`.
    pub fn as_i64(&self) -> Option<&[i64]> {
        (self.dtype == DType::I64).then(|| bytemuck::cast_slice(self.as_bytes()))
    }
}

impl TensorSpec {
    /// Whether `tensor` has this element type and shape.
    pub fn accepts(&self, tensor: &Tensor) -> bool {
        tensor.dtype == self.dtype && tensor.shape == self.shape
    }
}

impl PartialEq for Tensor {
    /// Same element type, shape and bits; so a NaN equals itself and `0.0` does not equal `-0.0`.
    fn eq(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype
            && self.shape == other.shape
            && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Tensor {}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({})", TypeText(self.dtype, &self.shape))
    }
}

/// Bytes of a dense tensor; `None` where no allocation could hold it.
pub(crate) fn byte_length(dtype: DType, shape: &[usize]) -> Option<usize> {
    let length = shape.iter().try_fold(dtype.size(), |n, &extent| n.checked_mul(extent))?;
    (length <= isize::MAX as usize - ALIGNMENT).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_aligned_and_typed() {
        for n in [0, 1, 15, 16, 17, 1000] {
            let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let tensor = Tensor::from_f32(&[n, 1], &values).unwrap();
            assert_eq!(tensor.as_bytes().as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(tensor.as_f32().unwrap(), values);
            assert_eq!(tensor.as_i64(), None);
            assert_eq!(tensor.clone(), tensor);
        }
        let tensor = Tensor::from_i64(&[2], &[7, -7]).unwrap();
        assert_eq!(tensor.as_i64().unwrap(), [7, -7]);
        assert_eq!(tensor.as_f32(), None);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let error = Tensor::from_f32(&[2, 2], &[0.0; 3]).unwrap_err();
        assert_eq!(error, TensorError::Length { expected: 16, given: 12 });
    }

    #[test]
    fn absurd_shapes_are_errors() {
        for shape in [&[usize::MAX, 2][..], &[1 << 62], &[1 << 62, 0, 8]] {
            let error = Tensor::zeros(DType::F32, shape).unwrap_err();
            assert_eq!(error, TensorError::TooLarge { shape: shape.to_vec() });
        }
        let error = Tensor::zeros(DType::U8, &[1 << 60]).unwrap_err();
        assert_eq!(error, TensorError::OutOfMemory { bytes: 1 << 60 });
    }

    #[test]
    fn scalars_and_bits() {
        let scalar = Tensor::from_f32(&[], &[1.5]).unwrap();
        assert_eq!(scalar.as_f32().unwrap(), [1.5]);
        let zeros = Tensor::from_f32(&[2], &[0.0, f32::NAN]).unwrap();
        let negative = Tensor::from_f32(&[2], &[-0.0, f32::NAN]).unwrap();
        assert_eq!(zeros, zeros.clone());
        assert_ne!(zeros, negative);
        assert_eq!(format!("{zeros:?}"), "Tensor(f32[2])");
    }
}
