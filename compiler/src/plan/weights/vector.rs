//! Weights whose elements stay in order.

use super::places::Places;
use super::{Order, Packing, Word};
use crate::ir::{DType, TensorType};

/// As in the model, of any type.
#[derive(Debug)]
pub(crate) struct Plain;

impl Packing for Plain {
    fn accepts(&self, _: &TensorType) -> bool {
        true
    }

    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        ty.shape()
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(Run { bytes: ty.bytes() })
    }
}

/// So many bytes as they are. A stripe is some of them.
struct Run {
    bytes: usize,
}

/// Bytes of a stripe but the last.
const STRIPE: usize = 1 << 20;

impl Order for Run {
    fn stripes(&self) -> Vec<usize> {
        let first = (0..self.bytes).step_by(STRIPE);
        first.map(|begin| STRIPE.min(self.bytes - begin)).collect()
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        to.copy_from_slice(&from[stripe * STRIPE..][..to.len()]);
    }
}

/// A bias vector in blocks of 16: so many segments, each filled up to whole blocks.
#[derive(Debug)]
pub(crate) struct InBlocks(pub(crate) usize);

impl Packing for InBlocks {
    fn accepts(&self, ty: &TensorType) -> bool {
        ty.dtype == DType::F32
    }

    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        vec![Places::in_blocks(ty.elements(), self.0).len()]
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(Vector { places: Places::in_blocks(ty.elements(), self.0) })
    }
}

/// A vector with zeros between its elements.
struct Vector {
    places: Places,
}

impl Order for Vector {
    fn stripes(&self) -> Vec<usize> {
        vec![self.places.len() * size_of::<Word>()]
    }

    fn fill(&self, from: &[u8], _stripe: usize, to: &mut [u8]) {
        let (from, to) = (from.as_chunks().0, to.as_chunks_mut::<4>().0);
        for (slot, element) in to.iter_mut().zip(self.places.iter()) {
            *slot = element.map_or([0; 4], |at| from[at]);
        }
    }
}
