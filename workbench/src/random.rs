//! Reproducible numbers.

use cardinal_compiler::ir::{DType, TensorType, Weight};

/// So many f32 in [-1, 1).
pub fn floats(count: usize, seed: u64) -> Vec<f32> {
    from_bytes(&bytes(&TensorType::new(DType::F32, &[count]), seed))
}

/// A tensor of a type, floats in [-1, 1), in memory order.
pub fn bytes(ty: &TensorType, seed: u64) -> Vec<u8> {
    Weight::rand(seed).bytes(ty).expect("random weights have bytes of any type").to_vec()
}

/// Little-endian f32.
pub fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|w| f32::from_le_bytes(*w)).collect()
}

/// Little-endian bytes.
pub fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
