//! Artifacts: compiled models as files or as bytes in memory, which are the same thing.
//!
//! The layout and the rules are in `validate.rs`.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, MmapMut};
use prost::Message;

use crate::abi::ALIGNMENT;
use crate::encoding::{Encoding, Run};
use crate::error::{LoadError, ManifestError, Part};
use crate::manifest::{Manifest, Section, Variant};
use crate::memory;
use crate::spec::TensorSpec;
use crate::validate::{
    Contents, DIGEST_BYTES, HEADER_BYTES, MAGIC, check_manifest, check_manifest_length, next_page,
    validate, version,
};

/// What the compiler makes; [`to_artifact`](Self::to_artifact) lays it out.
#[derive(Debug, Clone, Default)]
pub struct ArtifactParts<W = Vec<u8>> {
    /// The manifest. Its sections are filled in, and the variants' features sorted.
    pub manifest: Manifest,
    /// The code section of each variant, in the manifest's order.
    pub code: Vec<Vec<u8>>,
    /// The weights section as stored, in the manifest's runs, or how to write it.
    pub weights: W,
}

/// A weights section that is written where it will lie: it is most of an artifact, and need not be in
/// memory twice.
pub trait Weights {
    /// Its size in bytes.
    fn length(&self) -> usize;

    /// Writes the section. `section` is as long as [`length`](Self::length) says, begins on a page and
    /// is zero.
    fn write(self, section: &mut [u8]);
}

impl Weights for Vec<u8> {
    fn length(&self) -> usize {
        self.len()
    }

    fn write(self, section: &mut [u8]) {
        section.copy_from_slice(&self);
    }
}

impl<W: Weights> ArtifactParts<W> {
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
        let manifest_end = place_sections(&mut manifest, &code, weights.length())?;
        check_manifest_length(manifest_end - HEADER_BYTES)?;
        let mut contents = check_manifest(manifest, manifest_end)?;
        let map = write_artifact(&mut contents, &code, weights)
            .map_err(|source| LoadError::io("allocate memory for the artifact", source))?;
        Ok(Artifact { bytes: Bytes::from_owner(map), contents: Arc::new(contents) })
    }
}

/// Fills in the sections but for their digests, and returns where the manifest ends.
///
/// The first offset depends on the manifest's length, which depends on the offsets'; both only
/// grow here, and a varint has at most ten bytes, so this settles in two or three rounds.
fn place_sections(
    manifest: &mut Manifest,
    code: &[Vec<u8>],
    weights: usize,
) -> Result<u64, ManifestError> {
    for (variant, code) in manifest.variants.iter_mut().zip(code) {
        variant.code = Some(section(code.len()));
    }
    manifest.weights = Some(section(weights));
    let mut first = 0;
    loop {
        set_offsets(manifest, first)?;
        let end = HEADER_BYTES + manifest.encoded_len() as u64;
        let needed = next_page(end).ok_or(ManifestError::SectionOverflow(Part::Code(0)))?;
        if needed == first {
            return Ok(end);
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

/// A section without a place, and with room for its digest.
fn section(length: usize) -> Section {
    Section { offset: 0, length: length as u64, digest: vec![0; DIGEST_BYTES] }
}

/// Writes all parts to their places, the weights by themselves; the rest is zero because fresh memory
/// is. Digests are of what then is there, so the manifest, whose length they do not change, comes last.
fn write_artifact(
    contents: &mut Contents,
    code: &[Vec<u8>],
    weights: impl Weights,
) -> io::Result<Mmap> {
    let mut map = memory::anonymous(contents.weights.end)?;
    for (range, code) in contents.code.iter().zip(code) {
        map[range.clone()].copy_from_slice(code);
    }
    weights.write(&mut map[contents.weights.clone()]);
    set_digests(contents, &map);
    let version = version(&contents.manifest);
    let manifest = contents.manifest.encode_to_vec();
    let mut put = |offset: usize, bytes: &[u8]| {
        map[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &MAGIC);
    put(8, &version.to_le_bytes());
    put(12, &(manifest.len() as u32).to_le_bytes());
    put(16, blake3::hash(&manifest).as_bytes());
    put(HEADER_BYTES as usize, &manifest);
    map.make_read_only()
}

fn set_digests(contents: &mut Contents, bytes: &[u8]) {
    let Contents { manifest, code, weights, .. } = contents;
    let sections = manifest.variants.iter_mut().map(|variant| &mut variant.code).zip(&*code);
    for (section, range) in sections.chain([(&mut manifest.weights, &*weights)]) {
        if let Some(section) = section {
            section.digest = blake3::hash(&bytes[range.clone()]).as_bytes().to_vec();
        }
    }
}

/// A checked artifact. Its bytes begin on a 64-byte boundary, and so do its sections. A clone is the
/// same bytes.
#[derive(Clone)]
pub struct Artifact {
    /// A mapped file, anonymous memory, or the caller's memory.
    bytes: Bytes,
    contents: Arc<Contents>,
}

impl Artifact {
    /// Maps and checks a file.
    ///
    /// As with every mapped file, nobody may change it while it is open. Weights would change under
    /// the running model, and a file that is cut short ends the process by SIGBUS, for which a
    /// library installs no handler; the code that runs is a checked copy
    /// ([`Program::load`](crate::Program::load)). Replacing a file by renaming another over it
    /// is harmless. Where others may write to the file in its place, read it and give the bytes to
    /// [`from_bytes`](Self::from_bytes), which takes as much memory as the file is long.
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
        Artifact::new(Bytes::from_owner(map))
    }

    /// Checks bytes in memory; copies them only where they are not on a 64-byte boundary.
    pub fn from_bytes(bytes: Bytes) -> Result<Artifact, LoadError> {
        if bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Artifact::new(bytes);
        }
        Artifact::copy(&bytes)
    }

    /// Checks a copy of bytes in memory.
    pub fn copy(bytes: &[u8]) -> Result<Artifact, LoadError> {
        let map = copy_to_map(bytes)
            .map_err(|source| LoadError::io("allocate memory for the artifact", source))?;
        Artifact::new(Bytes::from_owner(map))
    }

    fn new(bytes: Bytes) -> Result<Artifact, LoadError> {
        let contents = Arc::new(validate(&bytes)?);
        Ok(Artifact { bytes, contents })
    }

    /// The whole artifact: what a `.cardinal` file holds.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
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

    /// The weights section as stored; [`Program::weights`](crate::Program::weights) is what code reads.
    pub fn weights(&self) -> &[u8] {
        &self.as_bytes()[self.contents.weights.clone()]
    }

    /// Bytes of the weights section that are stored in an encoding.
    pub fn stored_in(&self, encoding: Encoding) -> usize {
        let runs = self.runs().iter().filter(|run| run.encoding == encoding);
        runs.map(|run| encoding.stored(run.bytes)).sum()
    }

    /// Bytes of the weights section as code reads it.
    pub fn loaded_weight_bytes(&self) -> usize {
        self.runs().iter().map(|run| run.bytes).sum()
    }

    /// How the weights section is stored.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.contents.runs
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
