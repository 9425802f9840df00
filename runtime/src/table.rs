//! The table of contents of an artifact: which sections it has, where, and their digests.

use std::collections::BTreeSet;
use std::ops::Range;

use prost::Message;

use crate::error::{LoadError, Part, TableError};
use crate::format::{DIGEST_BYTES, HEADER_BYTES, MAX_NAME_BYTES, MAX_SECTIONS, PAGE};

/// The names of sections that are written.
pub mod name {
    /// What the model is, a [`Manifest`](crate::manifest::Manifest). The first section.
    pub const MANIFEST: &str = "manifest";
    /// Code for one kind of CPU, and what it says of itself. As often as there are variants.
    pub const CODE: &str = "code";
    /// The weights, as stored. The last section.
    pub const WEIGHTS: &str = "weights";
    /// What became of the model on its way to this code, for readers: the compiler writes and reads it, and
    /// nothing of it is needed to run a model.
    pub const RECORD: &str = "record";
}

/// Names of sections that have a meaning already, though nothing writes or reads them yet: that of the
/// figures measured for a lower precision, of how to prepare images, of the names of classes, and of the
/// batches that there are schedules for. None is needed to run a model.
pub const RESERVED_SECTIONS: [&str; 4] = ["precision", "preprocessing", "labels", "batches"];

/// The sections of an artifact, in the order of the file.
#[derive(Clone, PartialEq, Message)]
pub struct Table {
    /// The manifest first, the weights last.
    #[prost(message, repeated, tag = "1")]
    pub sections: Vec<Section>,
}

/// A named part of the artifact.
#[derive(Clone, PartialEq, Message)]
pub struct Section {
    /// Lower-case letters, digits, `-`, `_`, `.` and `/`: at least one of them, at most 64.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Whether a reader that does not know the name must refuse the artifact, instead of passing over
    /// the section.
    #[prost(bool, tag = "2")]
    pub required: bool,
    /// Offset from the beginning of the artifact, a multiple of [`PAGE`].
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// Length in bytes, without padding.
    #[prost(uint64, tag = "4")]
    pub length: u64,
    /// BLAKE3 of these bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub digest: Vec<u8>,
}

impl Table {
    /// The table of sections of these names, requirements and lengths, each on the next page. Digests are
    /// zero: they change neither the table's length nor any place.
    ///
    /// The first offset depends on the table's length, which depends on the offsets'; both only grow
    /// here, and a varint has at most ten bytes, so this settles in two or three rounds.
    pub(crate) fn placed(sections: Vec<Section>) -> Result<Table, TableError> {
        let mut table = Table { sections };
        let mut first = 0;
        loop {
            table.set_offsets(first)?;
            let needed = next_page(table.end()).ok_or(TableError::TooLong(table.end()))?;
            if needed == first {
                return Ok(table);
            }
            first = needed;
        }
    }

    fn set_offsets(&mut self, mut offset: u64) -> Result<(), TableError> {
        for at in 0..self.sections.len() {
            let part = self.part(at);
            let section = &mut self.sections[at];
            section.offset = offset;
            let end = offset.checked_add(section.length).and_then(next_page);
            offset = end.ok_or(TableError::Overflow(part))?;
        }
        Ok(())
    }

    /// Where the table ends in the artifact.
    pub(crate) fn end(&self) -> u64 {
        HEADER_BYTES + self.encoded_len() as u64
    }

    /// What the section at this position is, for people.
    pub(crate) fn part(&self, at: usize) -> Part {
        let before = self.sections[..at].iter().filter(|section| section.name == name::CODE);
        match self.sections[at].name.as_str() {
            name::MANIFEST => Part::Manifest,
            name::CODE => Part::Code(before.count()),
            name::WEIGHTS => Part::Weights,
            other => Part::Other(other.into()),
        }
    }

    /// Checks names, requirements and places of a table that ends at `end`, and gives the places.
    pub(crate) fn check(&self, mut end: u64) -> Result<Vec<Range<usize>>, LoadError> {
        self.check_names()?;
        let mut ranges = Vec::with_capacity(self.sections.len());
        for (at, section) in self.sections.iter().enumerate() {
            let range = section.place(end, || self.part(at))?;
            end = range.end as u64;
            ranges.push(range);
        }
        Ok(ranges)
    }

    fn check_names(&self) -> Result<(), LoadError> {
        let sections = &self.sections;
        if sections.len() > MAX_SECTIONS {
            return Err(TableError::Sections(sections.len()).into());
        }
        let ends = (sections.first(), sections.last());
        if ends.0.is_none_or(|first| first.name != name::MANIFEST) {
            return Err(TableError::Missing(Part::Manifest).into());
        }
        if ends.1.is_none_or(|last| last.name != name::WEIGHTS) {
            return Err(TableError::Missing(Part::Weights).into());
        }
        let mut names = BTreeSet::new();
        for (at, Section { name, required, .. }) in sections.iter().enumerate() {
            if !is_name(name) {
                return Err(TableError::Name(name.clone()).into());
            }
            if !names.insert(name) && name != name::CODE {
                return Err(TableError::Repeated(self.part(at)).into());
            }
            let is_known = !matches!(self.part(at), Part::Other(_));
            if is_known && !required {
                return Err(TableError::Optional(self.part(at)).into());
            }
            if !is_known && *required {
                return Err(LoadError::UnknownSection { name: name.clone() });
            }
        }
        match names.contains(&name::CODE.to_owned()) {
            true => Ok(()),
            false => Err(TableError::Missing(Part::Code(0)).into()),
        }
    }
}

impl Section {
    /// A section without a place, and with room for its digest.
    pub(crate) fn new(name: &str, required: bool, length: usize) -> Section {
        let (offset, length) = (0, length as u64);
        Section { name: name.into(), required, offset, length, digest: vec![0; DIGEST_BYTES] }
    }

    /// Where the section is, given where the part before it ends.
    fn place(&self, end: u64, part: impl Fn() -> Part) -> Result<Range<usize>, TableError> {
        let (offset, length) = (self.offset, self.length);
        let expected = next_page(end).ok_or_else(|| TableError::Overflow(part()))?;
        if offset != expected {
            return Err(TableError::Offset { part: part(), offset, expected });
        }
        if self.digest.len() != DIGEST_BYTES {
            return Err(TableError::Digest { part: part(), bytes: self.digest.len() });
        }
        byte_range(offset, length).ok_or_else(|| TableError::Overflow(part()))
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_./".contains(&c);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

/// `offset..offset + length`, where memory could hold it.
fn byte_range(offset: u64, length: u64) -> Option<Range<usize>> {
    let end = offset.checked_add(length).filter(|&end| end <= isize::MAX as u64)?;
    Some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
}

/// The first multiple of the page size that is not below `offset`.
fn next_page(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(PAGE)
}
