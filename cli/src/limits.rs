//! What files that are given to a command may ask for at most. What a model may ask for is in
//! `limits.rs` of the compiler; of that, `--max-memory` sets the memory of an inference.
//!
//! The option raises nothing here. A file that is mapped has no limit, and what is beyond these can be
//! given as one: an image as a tensor, a packed tensor unpacked.

use std::time::Duration;

/// Bytes that are read of a pipe, whose length nobody knows before.
pub(crate) const PIPED: u64 = 4 << 30;

/// How long a named pipe may wait for whoever is to write to it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How large an image may be that is decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Largest {
    /// Its longest side.
    pub(crate) side: u32,
    /// Bytes that decoding may take.
    pub(crate) bytes: u64,
}

impl Largest {
    /// Larger than any photograph.
    pub(crate) const USUAL: Largest = Largest { side: 1 << 15, bytes: 1 << 30 };

    /// Of images that are sent to a server, which decodes several at once.
    #[cfg(feature = "serving")]
    pub(crate) const SERVED: Largest = Largest { bytes: 256 << 20, ..Largest::USUAL };
}

/// Bytes of a file that is an image.
pub(crate) const IMAGE_FILE: u64 = 1 << 30;

/// Pixels of an image after resizing.
pub(crate) const RESIZED_PIXELS: u64 = 1 << 26;

/// Bytes of a file that says how images are prepared.
#[cfg(feature = "compiler")]
pub(crate) const SETTINGS_BYTES: u64 = 1 << 20;

/// Bytes of the header of a `.npy`. Numpy's own are 118, or a little more for many axes.
pub(crate) const NPY_HEADER: u32 = 1 << 16;

/// Axes of a `.npy`: as many as numpy itself allows.
pub(crate) const NPY_AXES: usize = 64;

/// Bytes that an array of a `.npz` may be made of however few packed ones.
pub(crate) const NPZ_UNSUSPICIOUS: u64 = 256 << 20;

/// Bytes that a larger one may have for each packed one: numbers that are measured or drawn hardly get
/// smaller, and a large array of nothing is better made where it is used.
pub(crate) const NPZ_PACKING: u64 = 16;

/// Bytes of a record in a journal of scores: a batch of rows.
#[cfg(feature = "compiler")]
pub(crate) const JOURNAL_RECORD: u32 = 1 << 30;

/// Bytes of a cache of measurements.
#[cfg(feature = "compiler")]
pub(crate) const TUNE_CACHE: u64 = 64 << 20;
