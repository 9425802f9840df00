//! How weights are stored, which need not be how code reads them.
//!
//! A weights section is *loaded* into what the code was compiled for: constants at multiples of
//! [`ALIGNMENT`], f32 where they are floats. As *stored*, it may be shorter: the manifest lists
//! [runs](WeightRun), which follow each other in both forms.
//!
//! ```text
//! loaded   | 64 bytes of biases | 9216 bytes of f32 weights | …
//! stored   | 64 bytes of biases | 4608 bytes of halves      | …
//! ```
//!
//! A run states its loaded length alone. Where it begins, and how long it is as stored, follow; so runs
//! can neither overlap nor leave anything out, and what is loaded is at most twice what is stored.

use crate::abi::ALIGNMENT;
use crate::error::{EncodingError, ManifestError};
use crate::manifest::WeightRun;

/// How a run of the weights section is stored; the discriminants are the ones stored in artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// As code reads it: f32, integers, whatever it is.
    Plain = 0,
    /// f32, each as the IEEE 754 binary16 next to it, little-endian.
    Half = 1,
}

impl Encoding {
    /// The encoding with this discriminant.
    pub fn from_code(code: u32) -> Option<Encoding> {
        [Encoding::Plain, Encoding::Half].into_iter().find(|e| *e as u32 == code)
    }

    /// How many bytes store so many loaded ones.
    pub fn stored(self, loaded: usize) -> usize {
        match self {
            Encoding::Plain => loaded,
            Encoding::Half => loaded / 2,
        }
    }

    /// Loaded bytes that can only be stored together.
    fn unit(self) -> usize {
        match self {
            Encoding::Plain => 1,
            Encoding::Half => size_of::<f32>(),
        }
    }
}

/// A checked [`WeightRun`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its loaded length in bytes; never zero.
    pub(crate) bytes: usize,
    pub(crate) encoding: Encoding,
}

/// Checks the runs of a section of which so many bytes are stored. The result has one run at least,
/// unless nothing is stored; it makes up all that is loaded.
pub(crate) fn check_runs(runs: &[WeightRun], stored: usize) -> Result<Vec<Run>, ManifestError> {
    if runs.is_empty() {
        let all = Run { bytes: stored, encoding: Encoding::Plain };
        return Ok(Vec::from_iter((stored > 0).then_some(all)));
    }
    let mut checked: Vec<Run> = Vec::with_capacity(runs.len());
    let (mut loaded, mut end) = (0usize, 0usize);
    for (at, run) in runs.iter().enumerate() {
        let fail = |error| ManifestError::Encoding { run: at, error };
        let run = check_run(run).map_err(fail)?;
        if checked.last().is_some_and(|before| before.encoding == run.encoding) {
            return Err(fail(EncodingError::Unmerged));
        }
        if !loaded.is_multiple_of(ALIGNMENT) {
            return Err(fail(EncodingError::Misaligned(loaded as u64)));
        }
        let sums =
            loaded.checked_add(run.bytes).zip(end.checked_add(run.encoding.stored(run.bytes)));
        let within =
            |&(loaded, end): &(usize, usize)| loaded <= isize::MAX as usize && end <= stored;
        (loaded, end) =
            sums.filter(within).ok_or(fail(EncodingError::Outside { stored: stored as u64 }))?;
        checked.push(run);
    }
    match end == stored {
        true => Ok(checked),
        false => Err(ManifestError::Unencoded { runs: end as u64, stored: stored as u64 }),
    }
}

/// Checks what a run says of itself.
fn check_run(run: &WeightRun) -> Result<Run, EncodingError> {
    let encoding = Encoding::from_code(run.encoding).ok_or(EncodingError::Unknown(run.encoding))?;
    match usize::try_from(run.bytes) {
        Ok(bytes) if bytes > 0 && bytes.is_multiple_of(encoding.unit()) => {
            Ok(Run { bytes, encoding })
        }
        _ => Err(EncodingError::Length(run.bytes)),
    }
}
