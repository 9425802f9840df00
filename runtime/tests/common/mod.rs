//! Small artifacts for the tests, and a writer of the format that shares no code with the crate's.

#![allow(dead_code, clippy::unwrap_used)] // Each test binary uses a part of this.

use bytes::Bytes;
use cardinal_runtime::manifest::{Manifest, Property, TensorInfo, Variant};
use cardinal_runtime::table::{Section, Table};
use cardinal_runtime::{Artifact, ArtifactParts, Code, DType, LoadError, OtherSection, cpu};
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
        metadata: vec![Property { key: "labels".into(), value: "cat,dog".into() }],
        ..Manifest::default()
    }
}

/// A variant that every machine can run.
pub(crate) fn any() -> Variant {
    Variant { name: "any".into(), arena_bytes: 256, ..Variant::default() }
}

/// Parts that pass every check; the code is not code. The second variant is for no machine, and the
/// section "notes" means nothing.
pub(crate) fn parts() -> ArtifactParts {
    let quantum = Variant {
        name: "quantum".into(),
        cpu_features: vec!["quantum".into()],
        arena_bytes: 512,
        ..Variant::default()
    };
    let notes = OtherSection { name: "notes".into(), required: false, bytes: vec![9; 30] };
    ArtifactParts {
        manifest: manifest(&[1, 3, 2, 2]),
        code: vec![
            Code { variant: any(), bytes: (0..100).collect() },
            Code { variant: quantum, bytes: (0..50).collect() },
        ],
        others: vec![notes],
        weights: (0..200).rev().collect(),
    }
}

/// Parts with code that every machine can run, and nothing more.
pub(crate) fn simple(manifest: Manifest, code: &[u8], weights: Vec<u8>) -> ArtifactParts {
    let code = vec![Code { variant: any(), bytes: code.to_vec() }];
    ArtifactParts { manifest, code, others: Vec::new(), weights }
}

/// The bytes of [`parts`].
pub(crate) fn artifact_bytes() -> Vec<u8> {
    parts().to_artifact().unwrap().as_bytes().to_vec()
}

/// Opens bytes in memory.
pub(crate) fn open(bytes: &[u8]) -> Result<Artifact, LoadError> {
    Artifact::from_bytes(Bytes::copy_from_slice(bytes))
}

/// What an artifact is written from here, byte by byte: a table of contents and the sections.
#[derive(Debug, Clone)]
pub(crate) struct Forged {
    pub(crate) version: u32,
    pub(crate) table: Table,
    pub(crate) sections: Vec<Vec<u8>>,
}

/// A code section: the code, its variant, the variant's length.
pub(crate) fn code_section(code: &Code) -> Vec<u8> {
    let variant = code.variant.encode_to_vec();
    let length = (variant.len() as u32).to_le_bytes();
    [&code.bytes[..], &variant, &length].concat()
}

/// A variant that says of the model what this manifest says.
pub(crate) fn agreeing(variant: Variant, manifest: &Manifest, weights: usize) -> Variant {
    let nameless = |tensor: &TensorInfo| TensorInfo { name: String::new(), ..tensor.clone() };
    Variant {
        inputs: manifest.inputs.iter().map(nameless).collect(),
        outputs: manifest.outputs.iter().map(nameless).collect(),
        weight_bytes: weights as u64,
        target: manifest.target.clone(),
        ..variant
    }
}

impl Forged {
    /// What [`parts`] are to become, after a change of what the manifest and the variants say.
    pub(crate) fn changed(change: impl FnOnce(&mut Manifest, &mut Vec<Code>)) -> Forged {
        let ArtifactParts { mut manifest, mut code, others, weights } = parts();
        for Code { variant, .. } in &mut code {
            *variant = agreeing(variant.clone(), &manifest, weights.len());
        }
        change(&mut manifest, &mut code);
        Forged::from_parts(ArtifactParts { manifest, code, others, weights })
    }

    /// These parts, as they are.
    pub(crate) fn from_parts(parts: ArtifactParts) -> Forged {
        let ArtifactParts { manifest, code, others, weights } = parts;
        let code = code.iter().map(|code| ("code", true, code_section(code)));
        let others = others.into_iter().map(|o| ("notes", o.required, o.bytes));
        let mut sections = vec![("manifest", true, manifest.encode_to_vec())];
        sections.extend(code.chain(others));
        sections.push(("weights", true, weights));
        Forged::of(sections)
    }

    /// These sections, each on the next page.
    pub(crate) fn of(sections: Vec<(&str, bool, Vec<u8>)>) -> Forged {
        let mut offset = 4096u64;
        let mut table = Table::default();
        for (name, required, bytes) in &sections {
            let length = bytes.len() as u64;
            let digest = blake3::hash(bytes).as_bytes().to_vec();
            let (name, required) = ((*name).to_owned(), *required);
            table.sections.push(Section { name, required, offset, length, digest });
            offset = (offset + length).next_multiple_of(4096);
        }
        let sections = sections.into_iter().map(|(_, _, bytes)| bytes).collect();
        Forged { version: 5, table, sections }
    }

    /// The file, with the digest that this table has.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.with_table(&self.table.encode_to_vec())
    }

    /// The file, with these bytes in place of the table's.
    pub(crate) fn with_table(&self, table: &[u8]) -> Vec<u8> {
        let mut bytes = b"CARDINAL".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((table.len() as u32).to_le_bytes());
        bytes.extend(blake3::hash(table).as_bytes());
        bytes.extend(table);
        for section in &self.sections {
            bytes.resize(bytes.len().next_multiple_of(4096), 0);
            bytes.extend(section);
        }
        bytes
    }
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
