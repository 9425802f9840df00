//! Weights whose elements stay in order.

use super::places::Places;
use super::{Order, Word};

/// So many bytes as they are. A stripe is some of them.
pub(super) struct Plain {
    pub(super) bytes: usize,
}

/// Bytes of a stripe but the last.
const STRIPE: usize = 1 << 20;

impl Order for Plain {
    fn stripes(&self) -> Vec<usize> {
        let first = (0..self.bytes).step_by(STRIPE);
        first.map(|begin| STRIPE.min(self.bytes - begin)).collect()
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        to.copy_from_slice(&from[stripe * STRIPE..][..to.len()]);
    }
}

/// A vector with zeros between its elements.
pub(super) struct Vector {
    pub(super) places: Places,
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
