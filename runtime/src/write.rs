//! Writing artifacts: into memory, or straight into a file.
//!
//! The weights are most of an artifact. They are made piece by piece where they will lie, and each piece
//! is digested while the caches still have it. In a file, no more than one piece is in memory at a time.

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, MmapMut};
use prost::Message;

use crate::artifact::Artifact;
use crate::code::Code;
use crate::encoding::check_runs;
use crate::error::{LoadError, ManifestError, TableError};
use crate::format::{FORMAT_VERSION, MAGIC, MAX_TABLE_BYTES};
use crate::manifest::Manifest;
use crate::memory;
use crate::table::{Section, Table, name};
use crate::validate::{Contents, Description, check, check_manifest_length};

/// What the compiler makes, before it is laid out as an artifact.
#[derive(Debug, Clone, Default)]
pub struct ArtifactParts<W = Vec<u8>> {
    /// What the artifact says about the model.
    pub manifest: Manifest,
    /// The code for each kind of CPU, the preferred last. Features are sorted, and what the manifest says
    /// too is filled in.
    pub code: Vec<Code>,
    /// Sections that runtimes pass over unless they know their names.
    pub others: Vec<OtherSection>,
    /// The weights section as stored, in the manifest's runs, or how to write it.
    pub weights: W,
}

/// A section that no runtime needs, unless it is said to be required.
#[derive(Debug, Clone, Default)]
pub struct OtherSection {
    /// Its name, as [`Section::name`] may be.
    pub name: String,
    /// Whether runtimes that do not know it must refuse the artifact.
    pub required: bool,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A weights section that is written where it will lie: it is most of an artifact, and need not be in
/// memory twice, or at once.
pub trait Weights {
    /// Its size in bytes.
    fn length(&self) -> usize;

    /// Writes the section, one piece after the other.
    ///
    /// # Errors
    /// Those of `to`.
    fn write(self, to: &mut dyn Pieces) -> io::Result<()>;
}

/// Where the pieces of a section go.
pub trait Pieces {
    /// The next `length` bytes of the section: zero, on a 64-byte boundary if the section's pieces so far are
    /// multiples of that, for `fill` to write.
    ///
    /// # Errors
    /// The system's, for want of room.
    fn piece(&mut self, length: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<()>;
}

impl Weights for Vec<u8> {
    fn length(&self) -> usize {
        self.len()
    }

    fn write(self, to: &mut dyn Pieces) -> io::Result<()> {
        to.piece(self.len(), &mut |bytes| bytes.copy_from_slice(&self))
    }
}

impl<W: Weights> ArtifactParts<W> {
    /// Lays the parts out as an artifact in memory, ready to be written or loaded.
    ///
    /// The bytes depend on nothing but the parts. Fails where [`Artifact::from_bytes`] would refuse
    /// the result, or for want of memory.
    pub fn to_artifact(self) -> Result<Artifact, LoadError> {
        let allocated = |source| LoadError::io("allocate memory for the artifact", source);
        let LaidOut { mut contents, sections, weights } = self.lay_out()?;
        let length = contents.ranges.last().map_or(0, |weights| weights.end);
        let mut memory = InMemory::new(length).map_err(allocated)?;
        contents.write(&sections, weights, &mut memory).map_err(allocated)?;
        let map: Mmap = memory.map.make_read_only().map_err(allocated)?;
        Ok(Artifact::checked(Bytes::from_owner(map), Arc::new(contents)))
    }

    /// Writes the bytes of [`to_artifact`](Self::to_artifact) to a file, from its position on, which is a
    /// multiple of the page size, and leaves it at their end. The file has to be new from there on.
    ///
    /// # Errors
    /// Where [`Artifact::from_bytes`] would refuse the result; [`LoadError::Io`] where the file cannot be
    /// written.
    pub fn write_to<F: Write + Seek + ?Sized>(self, file: &mut F) -> Result<(), LoadError> {
        let written = |source| LoadError::io("write the artifact", source);
        let LaidOut { mut contents, sections, weights } = self.lay_out()?;
        let mut file = InFile::new(file).map_err(written)?;
        contents.write(&sections, weights, &mut file).map_err(written)
    }

    /// Checks the parts, and decides where they lie.
    fn lay_out(self) -> Result<LaidOut<W>, LoadError> {
        let ArtifactParts { manifest, code, others, weights } = self;
        let stored = weights.length();
        let runs = check_runs(&manifest.weight_runs, stored)?;
        let loaded = runs.iter().map(|run| run.bytes).sum();
        let completed = |Code { variant, bytes }| {
            let mut variant = variant.of_model(&manifest, loaded);
            variant.cpu_features.sort();
            variant.cpu_features.dedup();
            Code { variant, bytes }
        };
        let code: Vec<Code> = code.into_iter().map(completed).collect();
        let lengths = code.iter().map(|code| (code.variant.clone(), code.bytes.len())).collect();
        let description = check(manifest, lengths, stored)?;
        let sections = sections(&description, code, others)?;
        let table = table(&sections, stored)?;
        let ranges = table.check(table.end())?;
        Ok(LaidOut { contents: Contents { table, ranges, description }, sections, weights })
    }
}

/// Parts in their places.
struct LaidOut<W> {
    contents: Contents,
    /// The sections before the weights.
    sections: Vec<OtherSection>,
    weights: W,
}

/// All sections but the weights, in order.
fn sections(
    description: &Description,
    code: Vec<Code>,
    others: Vec<OtherSection>,
) -> Result<Vec<OtherSection>, ManifestError> {
    let required =
        |name: &str, bytes: Vec<u8>| OtherSection { name: name.into(), required: true, bytes };
    let manifest = description.manifest.encode_to_vec();
    check_manifest_length(manifest.len() as u64)?;
    let code = code.into_iter().map(|code| required(name::CODE, code.into_section()));
    let manifest = required(name::MANIFEST, manifest);
    Ok([manifest].into_iter().chain(code).chain(others).collect())
}

/// The table of these sections and of so many bytes of weights, without digests.
fn table(sections: &[OtherSection], weights: usize) -> Result<Table, TableError> {
    let listed = sections.iter().map(|s| Section::new(&s.name, s.required, s.bytes.len()));
    let weights = Section::new(name::WEIGHTS, true, weights);
    let table = Table::placed(listed.chain([weights]).collect())?;
    match table.encoded_len() as u64 {
        bytes if bytes > MAX_TABLE_BYTES => Err(TableError::TooLong(bytes)),
        _ => Ok(table),
    }
}

impl Contents {
    /// Writes everything. Digests are of what is written, so the header and the table, whose length
    /// they do not change, come last.
    fn write(
        &mut self,
        sections: &[OtherSection],
        weights: impl Weights,
        to: &mut impl Sink,
    ) -> io::Result<()> {
        let Contents { table, ranges, .. } = self;
        let mut end = 0;
        for ((listed, range), section) in table.sections.iter_mut().zip(&*ranges).zip(sections) {
            let mut digested = Digested::new(to, range.start - end)?;
            digested.piece(range.len(), &mut |bytes| bytes.copy_from_slice(&section.bytes))?;
            listed.digest = digested.digest();
            end = range.end;
        }
        if let Some((listed, range)) = table.sections.last_mut().zip(ranges.last()) {
            let mut digested = Digested::new(to, range.start - end)?;
            weights.write(&mut digested)?;
            // The table says how long they are: other lengths would be an artifact that nobody can read.
            if digested.digest.count() != listed.length {
                return Err(io::Error::other("the weights are not as long as they say"));
            }
            listed.digest = digested.digest();
        }
        to.finish(&front(table))
    }
}

/// The header and the table of contents.
fn front(table: &Table) -> Vec<u8> {
    let table = table.encode_to_vec();
    let mut front = MAGIC.to_vec();
    front.extend(FORMAT_VERSION.to_le_bytes());
    front.extend((table.len() as u32).to_le_bytes());
    front.extend(blake3::hash(&table).as_bytes());
    front.extend(table);
    front
}

/// Pieces of a section that are digested as they are written.
struct Digested<'a, S> {
    to: &'a mut S,
    digest: blake3::Hasher,
}

impl<'a, S: Sink> Digested<'a, S> {
    /// A section that begins so many bytes further.
    fn new(to: &'a mut S, padding: usize) -> io::Result<Digested<'a, S>> {
        to.skip(padding)?;
        Ok(Digested { to, digest: blake3::Hasher::new() })
    }

    fn digest(self) -> Vec<u8> {
        self.digest.finalize().as_bytes().to_vec()
    }
}

impl<S: Sink> Pieces for Digested<'_, S> {
    fn piece(&mut self, length: usize, fill: &mut dyn FnMut(&mut [u8])) -> io::Result<()> {
        let bytes = self.to.next(length)?;
        fill(bytes);
        self.digest.update(bytes);
        self.to.put()
    }
}

/// Where an artifact's bytes go, in order.
trait Sink {
    /// The next `length` bytes, all zero, to be written.
    fn next(&mut self, length: usize) -> io::Result<&mut [u8]>;

    /// Takes what [`next`](Self::next) gave.
    fn put(&mut self) -> io::Result<()>;

    /// Puts `front` where everything began, over what was skipped first.
    fn finish(&mut self, front: &[u8]) -> io::Result<()>;

    /// Leaves so many bytes zero.
    fn skip(&mut self, length: usize) -> io::Result<()> {
        self.next(length)?;
        self.put()
    }
}

/// Fresh memory, which is written in place.
struct InMemory {
    map: MmapMut,
    /// Where the next bytes go.
    at: usize,
}

impl InMemory {
    fn new(length: usize) -> io::Result<InMemory> {
        Ok(InMemory { map: memory::anonymous(length)?, at: 0 })
    }
}

impl Sink for InMemory {
    fn next(&mut self, length: usize) -> io::Result<&mut [u8]> {
        let begin = self.at;
        self.at += length;
        self.map.get_mut(begin..self.at).ok_or_else(|| io::ErrorKind::WriteZero.into())
    }

    fn put(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, front: &[u8]) -> io::Result<()> {
        self.map[..front.len()].copy_from_slice(front);
        Ok(())
    }
}

/// A file, through memory for one piece.
struct InFile<'a, F: ?Sized> {
    file: &'a mut F,
    begin: u64,
    piece: MmapMut,
    length: usize,
}

impl<'a, F: Write + Seek + ?Sized> InFile<'a, F> {
    fn new(file: &'a mut F) -> io::Result<InFile<'a, F>> {
        let begin = file.stream_position()?;
        Ok(InFile { file, begin, piece: memory::anonymous(1)?, length: 0 })
    }
}

impl<F: Write + Seek + ?Sized> Sink for InFile<'_, F> {
    fn next(&mut self, length: usize) -> io::Result<&mut [u8]> {
        self.length = length;
        match self.piece.len() < length {
            true => self.piece = memory::anonymous(length)?,
            false => self.piece[..length].fill(0),
        }
        Ok(&mut self.piece[..length])
    }

    fn put(&mut self) -> io::Result<()> {
        self.file.write_all(&self.piece[..self.length])
    }

    fn finish(&mut self, front: &[u8]) -> io::Result<()> {
        let end = self.file.stream_position()?;
        self.file.seek(SeekFrom::Start(self.begin))?;
        self.file.write_all(front)?;
        self.file.seek(SeekFrom::Start(end)).map(drop)
    }
}
