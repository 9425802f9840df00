//! Constants: shared little-endian bytes known by their content hash.

use bytes::Bytes;

use super::types::{DType, TensorType};

/// A constant tensor's contents; its type is that of its node. Two weights are equal when their
/// hashes are.
#[derive(Debug, Clone)]
pub struct Weight {
    hash: u64,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// Dense row-major little-endian elements, often a slice of the mapped model.
    Bytes(Bytes),
    /// `rand(seed)` in text: reproducible values for tests.
    Rand(u64),
    /// Read from a dump, which holds only the hash.
    Absent,
}

impl PartialEq for Weight {
    fn eq(&self, other: &Weight) -> bool {
        self.hash == other.hash
    }
}

impl Weight {
    /// Values of `rand` weights are made up to this size, so that a line of text cannot ask for
    /// more memory than there is.
    pub const RAND_BYTES: usize = 1 << 30;

    /// A weight of dense row-major little-endian bytes.
    pub fn from_bytes(bytes: Bytes) -> Weight {
        let digest = blake3::hash(&bytes);
        let mut head = [0; 8];
        head.copy_from_slice(&digest.as_bytes()[..8]);
        Weight { hash: u64::from_le_bytes(head), source: Source::Bytes(bytes) }
    }

    /// A weight of f32 elements.
    pub fn from_f32(values: &[f32]) -> Weight {
        let mut bytes = vec![0; size_of_val(values)];
        for (to, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *to = value.to_le_bytes();
        }
        Weight::from_bytes(bytes.into())
    }

    /// A weight of i64 elements.
    pub fn from_i64(values: &[i64]) -> Weight {
        Weight::from_bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// `rand(seed)`: for f32, uniform in [-1, 1) by splitmix64 over the element's index; for
    /// integers and bool the same, truncated to 0 or 1.
    pub fn rand(seed: u64) -> Weight {
        Weight { hash: mix(seed), source: Source::Rand(seed) }
    }

    /// A weight of which only the hash is known, as read from a dump.
    pub fn absent(hash: u64) -> Weight {
        Weight { hash, source: Source::Absent }
    }

    /// The first eight bytes of the BLAKE3 of the elements, or a stand-in for `rand`.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The seed of a `rand(seed)`.
    pub fn seed(&self) -> Option<u64> {
        match self.source {
            Source::Rand(seed) => Some(seed),
            Source::Bytes(_) | Source::Absent => None,
        }
    }

    /// Whether [`bytes`](Self::bytes) has as many bytes as a node of type `ty`, without making them.
    pub fn is_known(&self, ty: &TensorType) -> bool {
        match &self.source {
            Source::Bytes(bytes) => bytes.len() == ty.bytes(),
            Source::Rand(_) => ty.bytes() <= Weight::RAND_BYTES,
            Source::Absent => false,
        }
    }

    /// The elements as dense little-endian bytes, for a node of type `ty`; `None` when only the
    /// hash is known, and for a `rand` of more than [`RAND_BYTES`](Self::RAND_BYTES).
    pub fn bytes(&self, ty: &TensorType) -> Option<Bytes> {
        match &self.source {
            Source::Bytes(bytes) => Some(bytes.clone()),
            Source::Rand(seed) if ty.bytes() <= Weight::RAND_BYTES => Some(rand_bytes(*seed, ty)),
            Source::Rand(_) => None,
            Source::Absent => None,
        }
    }

    /// The elements as f32; `None` when the type is another or only the hash is known.
    pub fn to_f32(&self, ty: &TensorType) -> Option<Vec<f32>> {
        if ty.dtype != DType::F32 {
            return None;
        }
        let bytes = self.bytes(ty)?;
        let (words, _) = bytes.as_chunks::<4>();
        Some(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    }
}

fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn rand_bytes(seed: u64, ty: &TensorType) -> Bytes {
    let mut out = Vec::with_capacity(ty.bytes());
    for i in 0..ty.elements() as u64 {
        let unit = (mix(mix(seed) ^ i) >> 40) as f32 * 2f32.powi(-23) - 1.0;
        match ty.dtype {
            DType::F32 => out.extend(unit.to_le_bytes()),
            DType::F64 => out.extend(f64::from(unit).to_le_bytes()),
            DType::I64 => out.extend(i64::from(unit > 0.0).to_le_bytes()),
            DType::I32 => out.extend(i32::from(unit > 0.0).to_le_bytes()),
            DType::U8 | DType::I8 | DType::Bool => out.push(u8::from(unit > 0.0)),
        }
    }
    out.into()
}
