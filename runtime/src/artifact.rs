//! Artifacts: compiled models as files or as bytes in memory, which are the same thing.
//!
//! The layout and the rules are in `validate.rs`; `write.rs` makes them.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, MmapMut};

use crate::abi::ALIGNMENT;
use crate::encoding::{Encoding, Narrow, Run};
use crate::error::LoadError;
use crate::expand::expand;
use crate::manifest::{Manifest, Variant};
use crate::memory;
use crate::spec::TensorSpec;
use crate::table::{Section, name};
use crate::validate::{Contents, check_section, validate};

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

    /// Bytes that were just written, with what was written.
    pub(crate) fn checked(bytes: Bytes, contents: Arc<Contents>) -> Artifact {
        Artifact { bytes, contents }
    }

    /// The whole artifact: what a `.cardinal` file holds.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The table of contents: every section, in the order of the file.
    pub fn sections(&self) -> &[Section] {
        &self.contents.table.sections
    }

    /// What the first section of this name holds, if there is one.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        self.contents.named(name).next().map(|at| self.bytes_of(at))
    }

    /// What the artifact says about the model.
    pub fn manifest(&self) -> &Manifest {
        &self.contents.description.manifest
    }

    /// What code says of itself, once for each kind of CPU, the preferred last.
    pub fn variants(&self) -> &[Variant] {
        &self.contents.description.variants
    }

    /// The code of a variant, by its position: one position-independent blob; empty where there is no
    /// such variant.
    pub fn code(&self, variant: usize) -> &[u8] {
        let length = self.contents.description.code_bytes.get(variant).copied().unwrap_or(0);
        self.code_section(variant).get(..length).unwrap_or_default()
    }

    /// The code of a variant and what it says of itself.
    pub(crate) fn code_section(&self, variant: usize) -> &[u8] {
        let at = self.contents.named(name::CODE).nth(variant);
        at.map_or(&[], |at| self.bytes_of(at))
    }

    /// Whether these are the bytes of a variant's code section, by its digest.
    pub(crate) fn check_code(&self, variant: usize, section: &[u8]) -> Result<(), LoadError> {
        let at = self.contents.named(name::CODE).nth(variant);
        at.map_or(Ok(()), |at| check_section(&self.contents.table, at, section))
    }

    /// The weights section as stored; [`Program::weights`](crate::Program::weights) is what code reads.
    pub fn weights(&self) -> &[u8] {
        self.section(name::WEIGHTS).unwrap_or_default()
    }

    /// The digest of that section.
    pub(crate) fn weights_digest(&self) -> &[u8] {
        let section = self.sections().iter().find(|section| section.name == name::WEIGHTS);
        section.map_or(&[], |section| &section.digest)
    }

    fn bytes_of(&self, at: usize) -> &[u8] {
        &self.as_bytes()[self.contents.ranges[at].clone()]
    }

    /// The weights section as code reads it, which is a copy where it is encoded.
    ///
    /// # Errors
    /// [`LoadError::Io`] for want of memory.
    pub fn loaded_weights(&self) -> Result<Bytes, LoadError> {
        let stored = self.weights();
        if self.runs().iter().all(|run| run.encoding == Encoding::Plain) {
            return Ok(self.bytes.slice_ref(stored));
        }
        let everything = 0..self.loaded_weight_bytes();
        expand(self.runs(), stored, &[everything])
            .map(Bytes::from_owner)
            .map_err(|source| LoadError::io("expand the weights", source))
    }

    /// Bytes of the weights section that are stored in an encoding.
    pub fn stored_in(&self, encoding: Encoding) -> usize {
        let runs = self.runs().iter().filter(|run| run.encoding == encoding);
        runs.map(|run| encoding.stored(run.bytes)).sum()
    }

    /// The format that weights are stored in, and how many bytes of them; of several the one of the most, and none
    /// where all are as code reads them.
    pub fn narrow(&self) -> Option<(Narrow, usize)> {
        let stored = |narrow| (narrow, self.stored_in(Encoding::Narrow(narrow)));
        Narrow::ALL
            .map(stored)
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .max_by_key(|(_, bytes)| *bytes)
    }

    /// Bytes of the weights section as code reads it.
    pub fn loaded_weight_bytes(&self) -> usize {
        self.runs().iter().map(|run| run.bytes).sum()
    }

    /// How the weights section is stored.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.contents.description.runs
    }

    /// The model's inputs, in order.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.contents.description.inputs
    }

    /// The model's outputs, in order.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.contents.description.outputs
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
            .field("model", &self.manifest().model_name)
            .field("target", &self.manifest().target)
            .field("bytes", &self.as_bytes().len())
            .finish_non_exhaustive()
    }
}
