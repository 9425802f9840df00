//! The numbers of the artifact format: what marks it, and what nothing in it may exceed.

/// The first bytes of every artifact.
pub const MAGIC: [u8; 8] = *b"CARDINAL";

/// Version of the format, of the messages' meaning and of [`abi::Frame`](crate::abi::Frame).
pub const FORMAT_VERSION: u32 = 5;

/// Sections begin at multiples of this.
pub const PAGE: u64 = 4096;

/// Manifests are no longer than this.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// No artifact has code for more kinds of CPU than this.
pub const MAX_VARIANTS: usize = 16;

/// No text of a choice is longer than this.
pub const MAX_CHOICE_BYTES: usize = 1 << 10;

/// No arena and no input or output is larger than this (64 GiB).
pub const MAX_BYTES: u64 = 1 << 36;

/// No thread has more scratch memory of its own than this (1 GiB).
pub(crate) const MAX_WORKER_BYTES: u64 = 1 << 30;

/// Bytes before the table of contents.
pub(crate) const HEADER_BYTES: u64 = 48;

/// Bytes of a BLAKE3 digest.
pub(crate) const DIGEST_BYTES: usize = 32;

/// No artifact has more sections than this.
pub const MAX_SECTIONS: usize = 64;

/// Tables of contents are no longer than this.
pub const MAX_TABLE_BYTES: u64 = 64 << 10;

/// No name of a section is longer than this, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 64;
