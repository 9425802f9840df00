//! The file format of executables.
//!
//! ```text
//! 0       the runner: a statically linked program
//!         zeros up to the next page
//! page    the artifact, as in a .cardinal file
//!         the sample: a protobuf message
//!         the trailer, 128 bytes; the file ends with it:
//!   +0      8-byte magic CARDEXEC
//!   +8      format version, u32 little-endian
//!   +12     length of the sample, u32
//!   +16     offset of the artifact, u64, a multiple of the page size
//!   +24     length of the artifact, u64
//!   +32     BLAKE3 of everything before the artifact
//!   +64     BLAKE3 of the sample
//!   +96     BLAKE3 of the 96 bytes before this one
//! ```
//!
//! The artifact has digests of its own. So every byte of the file is covered; what a flipped bit in
//! the runner's own machine code does before it comes to check, nobody can promise.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use prost::Message as _;

use super::sample::Sample;

/// Marks a trailer.
const MAGIC: &[u8; 8] = b"CARDEXEC";
/// Version of this format.
const VERSION: u32 = 1;
/// Bytes of the trailer that its own digest covers.
const COVERED: usize = 96;
/// Bytes of the trailer.
const TRAILER: usize = COVERED + DIGEST;
/// Bytes of a digest.
const DIGEST: usize = 32;
/// The artifact begins at a multiple of this, so that it can be mapped.
const PAGE: usize = cardinal_runtime::PAGE as usize;

/// Why a file is not an executable of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file does not end with a trailer.
    #[error("no model is attached to it, or it is cut short")]
    NoTrailer,
    /// Written in another version of the format.
    #[error("its format has version {found}, and this runner reads version {VERSION}")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// A part's bytes do not have the digest written down for them.
    #[error("the {0} is damaged: its digest does not match")]
    Digest(&'static str),
    /// The parts that the trailer speaks of do not make up the file.
    #[error("its parts do not make up the file")]
    Layout,
    /// The sample is intact, and no sample.
    #[error("the sample is invalid: {0}")]
    BadSample(#[from] prost::DecodeError),
    /// The sample is too large for the format.
    #[error("a sample of {0} bytes is too large")]
    LargeSample(usize),
}

/// What an executable consists of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The program that runs the model, padded to a page.
    pub runner: Bytes,
    /// The model; its own checks are up to [`Artifact`](cardinal_runtime::Artifact).
    pub artifact: Bytes,
    /// What `--selftest` compares with.
    pub sample: Sample,
}

/// The pieces of an executable, to be written one after the other.
///
/// # Errors
/// [`FormatError::LargeSample`].
pub fn assemble<'a>(
    runner: &'a [u8],
    artifact: &'a [u8],
    sample: &Sample,
) -> Result<[Cow<'a, [u8]>; 5], FormatError> {
    let offset = runner.len().next_multiple_of(PAGE);
    let padding = vec![0; offset - runner.len()];
    let sample = sample.encode_to_vec();
    let length = u32::try_from(sample.len()).map_err(|_| FormatError::LargeSample(sample.len()))?;
    let before = blake3::Hasher::new().update(runner).update(&padding).finalize();
    let mut trailer = Vec::with_capacity(TRAILER);
    trailer.extend(MAGIC);
    trailer.extend(VERSION.to_le_bytes());
    trailer.extend(length.to_le_bytes());
    trailer.extend((offset as u64).to_le_bytes());
    trailer.extend((artifact.len() as u64).to_le_bytes());
    trailer.extend(before.as_bytes());
    trailer.extend(blake3::hash(&sample).as_bytes());
    trailer.extend(blake3::hash(&trailer).as_bytes());
    Ok([runner.into(), padding.into(), artifact.into(), sample.into(), trailer.into()])
}

/// Takes an executable apart, and checks everything but the artifact.
///
/// # Errors
/// Everything that [`FormatError`] describes.
pub fn split(file: &Bytes) -> Result<Parts, FormatError> {
    let trailer = Trailer::read(file)?;
    let runner = file.slice(..trailer.artifact.start);
    check_digest("runner", &runner, &trailer.runner_digest)?;
    let sample = file.slice(trailer.sample);
    check_digest("sample", &sample, &trailer.sample_digest)?;
    let artifact = file.slice(trailer.artifact);
    Ok(Parts { runner, artifact, sample: Sample::decode(sample)? })
}

/// The end of an executable.
struct Trailer {
    artifact: Range<usize>,
    sample: Range<usize>,
    runner_digest: [u8; DIGEST],
    sample_digest: [u8; DIGEST],
}

impl Trailer {
    fn read(file: &[u8]) -> Result<Trailer, FormatError> {
        let (rest, bytes) = file.split_last_chunk::<TRAILER>().ok_or(FormatError::NoTrailer)?;
        if !bytes.starts_with(MAGIC) {
            return Err(FormatError::NoTrailer);
        }
        check_digest("trailer", &bytes[..COVERED], &bytes[COVERED..])?;
        let version = u32::from_le_bytes(field(bytes, 8));
        if version != VERSION {
            return Err(FormatError::Version { found: version });
        }
        let sample_length = u64::from(u32::from_le_bytes(field(bytes, 12)));
        let offset = u64::from_le_bytes(field(bytes, 16));
        let artifact_end = offset.checked_add(u64::from_le_bytes(field(bytes, 24)));
        let artifact_end = artifact_end.ok_or(FormatError::Layout)?;
        let end = artifact_end.checked_add(sample_length).ok_or(FormatError::Layout)?;
        if end != rest.len() as u64 || !offset.is_multiple_of(PAGE as u64) {
            return Err(FormatError::Layout);
        }
        // None is past the end of what is in memory.
        let [offset, artifact_end, end] = [offset, artifact_end, end].map(|n| n as usize);
        Ok(Trailer {
            artifact: offset..artifact_end,
            sample: artifact_end..end,
            runner_digest: field(bytes, 32),
            sample_digest: field(bytes, 64),
        })
    }
}

/// The `N` bytes at `offset` of the trailer.
fn field<const N: usize>(trailer: &[u8; TRAILER], offset: usize) -> [u8; N] {
    std::array::from_fn(|i| trailer[offset + i])
}

fn check_digest(part: &'static str, bytes: &[u8], digest: &[u8]) -> Result<(), FormatError> {
    if blake3::hash(bytes).as_bytes() != digest {
        return Err(FormatError::Digest(part));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(runner: &[u8], artifact: &[u8]) -> Vec<u8> {
        let sample = Sample { seed: 7, ..Sample::default() };
        assemble(runner, artifact, &sample).unwrap().concat()
    }

    #[test]
    fn parts_come_back() {
        for length in [0, 1, PAGE - 1, PAGE, PAGE + 1] {
            let runner = vec![0xAB; length];
            let parts = split(&file(&runner, b"model").into()).unwrap();
            assert_eq!(parts.runner.len(), length.next_multiple_of(PAGE));
            assert_eq!((&parts.artifact[..], parts.sample.seed), (&b"model"[..], 7));
            assert_eq!(parts.runner[..length], runner);
        }
    }

    #[test]
    fn every_bit_outside_of_the_artifact_matters() {
        let good = file(b"runner", b"model");
        for place in (0..good.len()).filter(|at| !(PAGE..PAGE + 5).contains(at)) {
            let mut bad = good.clone();
            bad[place] ^= 1 << (place % 8);
            assert!(split(&bad.into()).is_err(), "{place}");
        }
    }

    #[test]
    fn no_other_length_is_accepted() {
        let good = file(b"runner", b"model");
        for length in 0..good.len() {
            assert!(split(&good[..length].to_vec().into()).is_err(), "{length}");
        }
        assert_eq!(split(&[&good[..], &[0]].concat().into()).unwrap_err(), FormatError::NoTrailer);
        assert_eq!(split(&[&[0], &good[..]].concat().into()).unwrap_err(), FormatError::Layout);
    }

    #[test]
    fn a_trailer_that_lies_is_refused() {
        let good = file(b"runner", b"model");
        let start = good.len() - TRAILER;
        for (at, bytes) in [
            (8, &9u32.to_le_bytes()[..]),
            (12, &u32::MAX.to_le_bytes()),
            (16, &u64::MAX.to_le_bytes()),
            (16, &1u64.to_le_bytes()),
            (24, &u64::MAX.to_le_bytes()),
            (24, &0u64.to_le_bytes()),
        ] {
            let mut bad = good.clone();
            bad[start + at..][..bytes.len()].copy_from_slice(bytes);
            let digest = blake3::hash(&bad[start..start + COVERED]);
            bad[start + COVERED..].copy_from_slice(digest.as_bytes());
            let error = split(&bad.into()).unwrap_err();
            assert!(matches!(error, FormatError::Layout | FormatError::Version { found: 9 }));
        }
    }
}
