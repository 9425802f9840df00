//! Small artifacts for the tests, and a writer of the format that shares no code with the crate's.

#![allow(dead_code, clippy::unwrap_used)] // Each test binary uses a part of this.

use bytes::Bytes;
use cardinal_runtime::manifest::{Manifest, Property, Section, TensorInfo, Variant};
use cardinal_runtime::{Artifact, ArtifactParts, DType, LoadError, cpu};
use prost::Message;

/// An `f32` tensor's description.
pub(crate) fn tensor(name: &str, shape: &[u64]) -> TensorInfo {
    TensorInfo { name: name.into(), dtype: DType::F32 as u32, shape: shape.to_vec() }
}

/// A manifest for the host, of a model from `x` to `y`, both of `shape`.
pub(crate) fn manifest(shape: &[u64]) -> Manifest {
    Manifest {
        model_name: "tiny".into(),
        model_digest: vec![7; 32],
        compiler_version: "0.1.0".into(),
        target: cpu::host_triple(),
        inputs: vec![tensor("x", shape)],
        outputs: vec![tensor("y", shape)],
        variants: vec![Variant { name: "any".into(), arena_bytes: 256, ..Variant::default() }],
        metadata: vec![Property { key: "labels".into(), value: "cat,dog".into() }],
        ..Manifest::default()
    }
}

/// Parts that pass every check; the code is not code. The second variant is for no machine.
pub(crate) fn parts() -> ArtifactParts {
    let mut manifest = manifest(&[1, 3, 2, 2]);
    let quantum = Variant {
        name: "quantum".into(),
        cpu_features: vec!["quantum".into()],
        arena_bytes: 512,
        ..Variant::default()
    };
    manifest.variants.push(quantum);
    ArtifactParts {
        manifest,
        code: vec![(0..100).collect(), (0..50).collect()],
        weights: (0..200).rev().collect(),
    }
}

/// The bytes of [`parts`].
pub(crate) fn artifact_bytes() -> Vec<u8> {
    parts().to_artifact().unwrap().as_bytes().to_vec()
}

/// Opens bytes in memory.
pub(crate) fn open(bytes: &[u8]) -> Result<Artifact, LoadError> {
    Artifact::from_bytes(Bytes::copy_from_slice(bytes))
}

/// Writes an artifact with this manifest as it is, and with the digest that this manifest has.
pub(crate) fn forge(manifest: &Manifest, code: &[Vec<u8>], weights: &[u8]) -> Vec<u8> {
    forge_encoded(2, &manifest.encode_to_vec(), code, weights)
}

/// As [`forge`], with a format version and the manifest's bytes.
pub(crate) fn forge_encoded(
    version: u32,
    manifest: &[u8],
    code: &[Vec<u8>],
    weights: &[u8],
) -> Vec<u8> {
    let mut bytes = b"CARDINAL".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend((manifest.len() as u32).to_le_bytes());
    bytes.extend(blake3::hash(manifest).as_bytes());
    bytes.extend(manifest);
    for section in code.iter().map(Vec::as_slice).chain([weights]) {
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        bytes.extend(section);
    }
    bytes
}

/// A manifest whose sections are right for [`parts`]' code and weights after one page of manifest.
pub(crate) fn placed_manifest() -> Manifest {
    let ArtifactParts { mut manifest, code, weights } = parts();
    let section = |offset, bytes: &[u8]| Section {
        offset,
        length: bytes.len() as u64,
        digest: blake3::hash(bytes).as_bytes().to_vec(),
    };
    manifest.variants[0].code = Some(section(4096, &code[0]));
    manifest.variants[1].code = Some(section(8192, &code[1]));
    manifest.weights = Some(section(12288, &weights));
    manifest
}

/// A seeded generator of test data (xorshift64*, Vigna 2016).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}
