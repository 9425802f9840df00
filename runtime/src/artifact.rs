//! Artifacts: compiled models as files or as bytes in memory, which are the same thing.
//!
//! The layout and the rules are in `validate.rs`.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::{Mmap, MmapMut};
use prost::Message;

use crate::abi::ALIGNMENT;
use crate::error::{LoadError, ManifestError, Part};
use crate::manifest::{Manifest, Section};
use crate::memory;
use crate::tensor::TensorSpec;
use crate::validate::{
    Contents, FORMAT_VERSION, HEADER_BYTES, MAGIC, check_manifest, check_manifest_length,
    next_page, validate,
};

/// What the compiler makes; [`to_artifact`](Self::to_artifact) lays it out.
#[derive(Debug, Clone, Default)]
pub struct ArtifactParts {
    /// The manifest. Its `code` and `weights` sections are filled in, and its features sorted.
    pub manifest: Manifest,
    /// The code section.
    pub code: Vec<u8>,
    /// The weights section.
    pub weights: Vec<u8>,
}

impl ArtifactParts {
    /// Lays the parts out as an artifact in memory, ready to be written or loaded.
    ///
    /// The bytes depend on nothing but the parts. Fails where [`Artifact::from_bytes`] would refuse
    /// the result, or for want of memory.
    pub fn to_artifact(self) -> Result<Artifact, LoadError> {
        let ArtifactParts { mut manifest, code, weights } = self;
        manifest.cpu_features.sort();
        manifest.cpu_features.dedup();
        let encoded = place_sections(&mut manifest, &code, &weights)?;
        check_manifest_length(encoded.len() as u64)?;
        let contents = check_manifest(manifest, HEADER_BYTES + encoded.len() as u64)?;
        let map = write_artifact(&contents, &encoded, &code, &weights)
            .map_err(|source| LoadError::io("allocate memory for the artifact", source))?;
        Ok(Artifact { storage: Storage::Map(map), contents })
    }
}

/// Fills in the sections and returns the encoded manifest.
///
/// The code's offset depends on the manifest's length, which depends on the offset's; both only
/// grow here, and a varint has at most ten bytes, so this settles in two or three rounds.
fn place_sections(
    manifest: &mut Manifest,
    code: &[u8],
    weights: &[u8],
) -> Result<Vec<u8>, ManifestError> {
    let code_digest = blake3::hash(code);
    let weights_digest = blake3::hash(weights);
    let mut code_offset = 0;
    loop {
        let code_end = code_offset + code.len() as u64;
        let weights_offset =
            next_page(code_end).ok_or(ManifestError::SectionOverflow(Part::Weights))?;
        manifest.code = Some(section(code_offset, code, &code_digest));
        manifest.weights = Some(section(weights_offset, weights, &weights_digest));
        let encoded = manifest.encode_to_vec();
        let needed = next_page(HEADER_BYTES + encoded.len() as u64)
            .ok_or(ManifestError::SectionOverflow(Part::Code))?;
        if needed == code_offset {
            return Ok(encoded);
        }
        code_offset = needed;
    }
}

fn section(offset: u64, bytes: &[u8], digest: &blake3::Hash) -> Section {
    Section { offset, length: bytes.len() as u64, digest: digest.as_bytes().to_vec() }
}

/// Writes all parts to their places; the rest is zero because fresh memory is.
fn write_artifact(
    contents: &Contents,
    manifest: &[u8],
    code: &[u8],
    weights: &[u8],
) -> io::Result<Mmap> {
    let mut map = memory::anonymous(contents.weights.end)?;
    let mut put = |offset: usize, bytes: &[u8]| {
        map[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &MAGIC);
    put(8, &FORMAT_VERSION.to_le_bytes());
    put(12, &(manifest.len() as u32).to_le_bytes());
    put(16, blake3::hash(manifest).as_bytes());
    put(HEADER_BYTES as usize, manifest);
    put(contents.code.start, code);
    put(contents.weights.start, weights);
    map.make_read_only()
}

/// A checked artifact. Its bytes begin on a 64-byte boundary, and so do its sections.
pub struct Artifact {
    storage: Storage,
    contents: Contents,
}

enum Storage {
    /// A file or anonymous memory.
    Map(Mmap),
    /// The caller's memory.
    Bytes(Bytes),
}

impl Storage {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Storage::Map(map) => map,
            Storage::Bytes(bytes) => bytes,
        }
    }
}

impl Artifact {
    /// Maps and checks a file.
    ///
    /// As with every mapped file, nobody may change it while it is open. Weights would change under
    /// the running model, and a file cut short ends the process; the code that runs is a checked
    /// copy ([`Program::load`](crate::Program::load)). Replacing a file by renaming another over it
    /// is harmless.
    pub fn open(path: &Path) -> Result<Artifact, LoadError> {
        let failed = |verb: &str| {
            let action = format!("{verb} {}", path.display());
            move |source| LoadError::io(action, source)
        };
        // Asked before opening, because opening a pipe can wait for ever.
        if !fs::metadata(path).map_err(failed("open"))?.is_file() {
            return Err(failed("map")(io::Error::other("not a regular file")));
        }
        let file = File::open(path).map_err(failed("open"))?;
        // SAFETY: the map is private and read-only; that the file stays as it is, is the caller's
        // part of the contract above.
        let map = unsafe { Mmap::map(&file) }.map_err(failed("map"))?;
        Artifact::new(Storage::Map(map))
    }

    /// Checks bytes in memory; copies them only where they are not on a 64-byte boundary.
    pub fn from_bytes(bytes: Bytes) -> Result<Artifact, LoadError> {
        if bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Artifact::new(Storage::Bytes(bytes));
        }
        let map = copy_to_map(&bytes)
            .map_err(|source| LoadError::io("allocate memory for the artifact", source))?;
        Artifact::new(Storage::Map(map))
    }

    fn new(storage: Storage) -> Result<Artifact, LoadError> {
        let contents = validate(storage.as_bytes())?;
        Ok(Artifact { storage, contents })
    }

    /// The whole artifact: what a `.cardinal` file holds.
    pub fn as_bytes(&self) -> &[u8] {
        self.storage.as_bytes()
    }

    /// What the artifact says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.contents.manifest
    }

    /// The code section: one position-independent blob.
    pub fn code(&self) -> &[u8] {
        &self.as_bytes()[self.contents.code.clone()]
    }

    /// The weights section.
    pub fn weights(&self) -> &[u8] {
        &self.as_bytes()[self.contents.weights.clone()]
    }

    /// The model's inputs, in order.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.contents.inputs
    }

    /// The model's outputs, in order.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.contents.outputs
    }
}

fn copy_to_map(bytes: &[u8]) -> io::Result<Mmap> {
    let mut map: MmapMut = memory::anonymous(bytes.len())?;
    map[..bytes.len()].copy_from_slice(bytes);
    map.make_read_only()
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("model", &self.contents.manifest.model_name)
            .field("target", &self.contents.manifest.target)
            .field("bytes", &self.as_bytes().len())
            .finish_non_exhaustive()
    }
}
