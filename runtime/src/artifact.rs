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
use crate::manifest::{Manifest, Section, Variant};
use crate::memory;
use crate::tensor::TensorSpec;
use crate::validate::{
    Contents, FORMAT_VERSION, HEADER_BYTES, MAGIC, check_manifest, check_manifest_length,
    next_page, validate,
};

/// What the compiler makes; [`to_artifact`](Self::to_artifact) lays it out.
#[derive(Debug, Clone, Default)]
pub struct ArtifactParts {
    /// The manifest. Its sections are filled in, and the variants' features sorted.
    pub manifest: Manifest,
    /// The code section of each variant, in the manifest's order.
    pub code: Vec<Vec<u8>>,
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
        if manifest.variants.len() != code.len() {
            let (variants, sections) = (manifest.variants.len(), code.len());
            return Err(ManifestError::Sections { variants, sections }.into());
        }
        for variant in &mut manifest.variants {
            variant.cpu_features.sort();
            variant.cpu_features.dedup();
        }
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
/// The first offset depends on the manifest's length, which depends on the offsets'; both only
/// grow here, and a varint has at most ten bytes, so this settles in two or three rounds.
fn place_sections(
    manifest: &mut Manifest,
    code: &[Vec<u8>],
    weights: &[u8],
) -> Result<Vec<u8>, ManifestError> {
    for (variant, code) in manifest.variants.iter_mut().zip(code) {
        variant.code = Some(section(code));
    }
    manifest.weights = Some(section(weights));
    let mut first = 0;
    loop {
        set_offsets(manifest, first)?;
        let encoded = manifest.encode_to_vec();
        let needed = next_page(HEADER_BYTES + encoded.len() as u64)
            .ok_or(ManifestError::SectionOverflow(Part::Code(0)))?;
        if needed == first {
            return Ok(encoded);
        }
        first = needed;
    }
}

/// Puts the sections one after the other, each on the next page, from `offset` on.
fn set_offsets(manifest: &mut Manifest, mut offset: u64) -> Result<(), ManifestError> {
    let code = manifest.variants.iter_mut().enumerate();
    let code = code.map(|(i, variant)| (Part::Code(i), &mut variant.code));
    for (part, section) in code.chain([(Part::Weights, &mut manifest.weights)]) {
        let section = section.as_mut().ok_or(ManifestError::NoSection(part))?;
        section.offset = offset;
        offset = offset
            .checked_add(section.length)
            .and_then(next_page)
            .ok_or(ManifestError::SectionOverflow(part))?;
    }
    Ok(())
}

fn section(bytes: &[u8]) -> Section {
    let digest = blake3::hash(bytes).as_bytes().to_vec();
    Section { offset: 0, length: bytes.len() as u64, digest }
}

/// Writes all parts to their places; the rest is zero because fresh memory is.
fn write_artifact(
    contents: &Contents,
    manifest: &[u8],
    code: &[Vec<u8>],
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
    for (range, code) in contents.code.iter().zip(code) {
        put(range.start, code);
    }
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
        Artifact::copy(&bytes)
    }

    /// Checks a copy of bytes in memory.
    pub fn copy(bytes: &[u8]) -> Result<Artifact, LoadError> {
        let map = copy_to_map(bytes)
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

    /// The code, once for each kind of CPU, the preferred last.
    pub fn variants(&self) -> &[Variant] {
        &self.manifest().variants
    }

    /// The code section of a variant, by its position: one position-independent blob; empty where
    /// there is no such variant.
    pub fn code(&self, variant: usize) -> &[u8] {
        let range = self.contents.code.get(variant).cloned();
        range.map_or(&[], |range| &self.as_bytes()[range])
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
