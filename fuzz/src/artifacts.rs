//! A small artifact, edits to it, and its digests made anew, so that edits reach the checks behind them.
//!
//! Nothing of the format is known here but its header: digests are found by looking for them.

use std::collections::HashMap;
use std::ops::Range;

use arbitrary::Arbitrary;
use cardinal_compiler::ir::text;
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::Narrow;
use cardinal_compiler::{CompileOptions, compile};
use cardinal_runtime::PAGE;

use crate::{must, targets};

/// A matrix large enough to be stored in fewer digits.
const SOURCE: &str = "graph @tiny {
  input %x f32[1, 33]
  weight %w f32[33, 32] rand(1)
  weight %b f32[32] rand(2)
  %y f32[1, 32] = matmul(%x, %w, %b)
  output %y
}";

/// Where the header has the length of what follows it, and the digest of that.
const LENGTH: Range<usize> = 12..16;
/// Bytes of the header.
const HEADER: usize = 48;
/// Bytes of a digest.
const DIGEST: usize = 32;

/// An intact artifact, and where its digests are.
pub struct Intact {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What has a digest, and where that is; digests of digests come later.
    seals: Vec<(Range<usize>, usize)>,
}

/// An edit; places are taken modulo what there is.
#[derive(Debug, Clone, Arbitrary)]
pub enum Edit {
    /// Flips bits of a byte.
    Flip(u16, u8),
    /// Writes a byte into what describes the artifact, right after the header.
    Set(u16, u8),
    /// Inserts a byte there.
    Insert(u16, u8),
    /// Removes one there.
    Remove(u16),
    /// Cuts the end off.
    Cut(u16),
    /// Adds zeros at the end.
    Extend(u16),
}

impl Intact {
    /// An artifact with code for two kinds of CPU, and weights in this format.
    pub fn new(weights: Option<Narrow>) -> Intact {
        let graph = must(text::parse(SOURCE));
        let model = Model {
            graph,
            metadata: vec![("k".into(), "v".into())],
            digest: [7; 32],
            operators: Default::default(),
        };
        let options = CompileOptions { weights, ..CompileOptions::default() };
        let artifact = must(must(compile(&model, &targets(), &options)).parts.to_artifact());
        let bytes = artifact.as_bytes().to_vec();
        let seals = seals(&bytes);
        Intact { bytes, seals }
    }

    /// The artifact after these edits, its digests made anew where that is wanted.
    pub fn edited(&self, edits: &[Edit], seal: bool) -> Vec<u8> {
        let mut copy = Intact { bytes: self.bytes.clone(), seals: self.seals.clone() };
        edits.iter().for_each(|edit| copy.edit(edit));
        if seal {
            copy.seal();
        }
        copy.bytes
    }

    fn edit(&mut self, edit: &Edit) {
        let length = self.bytes.len();
        let described = self.described();
        let in_file = |at: u16| usize::from(at) % length.max(1);
        let in_description = |at: u16| described.start + usize::from(at) % described.len().max(1);
        match *edit {
            Edit::Flip(at, bits) if length > 0 => self.bytes[in_file(at)] ^= bits,
            Edit::Set(at, byte) if !described.is_empty() => self.bytes[in_description(at)] = byte,
            Edit::Insert(at, byte) if !described.is_empty() => {
                self.insert(in_description(at), byte)
            }
            Edit::Remove(at) if !described.is_empty() => self.remove(in_description(at)),
            Edit::Flip(..) | Edit::Set(..) | Edit::Insert(..) | Edit::Remove(_) => {}
            Edit::Cut(bytes) => self.bytes.truncate(length - in_file(bytes)),
            Edit::Extend(bytes) => self.bytes.resize(length + usize::from(bytes), 0),
        }
    }

    /// The message after the header, as far as it is there.
    fn described(&self) -> Range<usize> {
        let length = self.bytes.get(LENGTH).and_then(|length| length.first_chunk());
        let length = length.map_or(0, |length| u32::from_le_bytes(*length) as usize);
        HEADER..HEADER.saturating_add(length).min(self.bytes.len()).max(HEADER)
    }

    /// Inserts a byte into the description, and takes one from the zeros behind it.
    fn insert(&mut self, at: usize, byte: u8) {
        let end = self.described().end;
        if end.is_multiple_of(PAGE as usize) || end >= self.bytes.len() {
            return;
        }
        self.bytes.remove(end);
        self.bytes.insert(at, byte);
        self.moved(at, 1);
    }

    fn remove(&mut self, at: usize) {
        let end = self.described().end;
        self.bytes.insert(end, 0);
        self.bytes.remove(at);
        self.moved(at, -1);
    }

    /// Keeps track of what an inserted or removed byte moved.
    fn moved(&mut self, at: usize, by: isize) {
        let end = self.described().end;
        let length = (end - HEADER).saturating_add_signed(by) as u32;
        self.bytes[LENGTH].copy_from_slice(&length.to_le_bytes());
        for (_, place) in &mut self.seals {
            if (at..end).contains(place) {
                *place = place.saturating_add_signed(by);
            }
        }
    }

    fn seal(&mut self) {
        let described = self.described();
        for (range, place) in &self.seals {
            let range = if range.start == HEADER { described.clone() } else { range.clone() };
            let Some(digest) = self.bytes.get(range).map(blake3::hash) else { continue };
            if let Some(to) = self.bytes.get_mut(*place..place.saturating_add(DIGEST)) {
                to.copy_from_slice(digest.as_bytes());
            }
        }
    }
}

/// Looks for digests of ranges that begin after the header or on a page, from the last to the first.
fn seals(bytes: &[u8]) -> Vec<(Range<usize>, usize)> {
    let places = bytes.windows(DIGEST).enumerate().map(|(at, window)| (window, at));
    let places: HashMap<&[u8], usize> = places.collect();
    let pages = (0..bytes.len()).step_by(PAGE as usize).skip(1);
    let mut starts: Vec<usize> = std::iter::once(HEADER).chain(pages).collect();
    starts.reverse();
    let mut seals = Vec::new();
    for start in starts {
        let mut hasher = blake3::Hasher::new();
        for end in start + 1..=bytes.len() {
            hasher.update(&bytes[end - 1..end]);
            if let Some(place) = places.get(&hasher.finalize().as_bytes()[..]) {
                seals.push((start..end, *place));
                break;
            }
        }
    }
    assert!(seals.len() > 2, "digests are where they are not looked for");
    seals
}
