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
//!
//! What is stored in fewer bytes is in one of the formats of [`Narrow`], each of which is a row here.

use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use half::{bf16, f16};

use crate::abi::ALIGNMENT;
use crate::error::{EncodingError, ManifestError};
use crate::manifest::WeightRun;

/// How a run of the weights section is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As code reads it: f32, integers, whatever it is.
    Plain,
    /// f32, each as the number next to it in a format of fewer digits.
    Narrow(Narrow),
}

/// Formats of floats in 16 bits, little-endian, that weights of f32 are rounded to; the discriminants are the
/// codes stored in artifacts, where 0 is for [`Encoding::Plain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Narrow {
    /// IEEE 754 binary16, half precision: 11 bits of digits, up to 65504.
    F16 = 1,
    /// The upper half of an f32: 8 bits of digits, and f32's range.
    Bf16 = 2,
}

/// What there is to say of a format.
struct Row {
    name: &'static str,
    words: &'static str,
    largest: f64,
}

impl Narrow {
    /// All of them.
    pub const ALL: [Narrow; 2] = [Narrow::F16, Narrow::Bf16];

    fn row(self) -> Row {
        match self {
            Narrow::F16 => Row { name: "f16", words: "half precision", largest: 65504.0 },
            Narrow::Bf16 => {
                Row { name: "bf16", words: "bfloat16", largest: 255.0 / 128.0 * 2f64.powi(127) }
            }
        }
    }

    /// Its name, as `compile --weights` takes it: `f16`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What weights are in that are stored so, for messages: `half precision`.
    pub fn words(self) -> &'static str {
        self.row().words
    }

    /// Its largest number.
    pub fn largest(self) -> f64 {
        self.row().largest
    }

    /// Rounds floats to nearest even, denormals as well, each to a word of its own.
    ///
    /// # Panics
    /// Where there are not as many words as floats.
    pub fn round(self, floats: &[f32], words: &mut [u16]) {
        match self {
            Narrow::F16 => words.reinterpret_cast_mut::<f16>().convert_from_f32_slice(floats),
            Narrow::Bf16 => words.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(floats),
        }
    }

    /// What words stand for, exactly. There are as many floats.
    pub(crate) fn widen(self, words: &[u16], floats: &mut [f32]) {
        match self {
            Narrow::F16 => words.reinterpret_cast::<f16>().convert_to_f32_slice(floats),
            // `half` looks for NaN, which takes executables, where loops are not made vectors, a third of the time to load.
            Narrow::Bf16 => floats
                .iter_mut()
                .zip(words)
                .for_each(|(float, word)| *float = f32::from_bits(u32::from(*word) << 16)),
        }
    }
}

impl Encoding {
    /// What artifacts have for it.
    pub fn code(self) -> u32 {
        match self {
            Encoding::Plain => 0,
            Encoding::Narrow(narrow) => narrow as u32,
        }
    }

    /// The encoding with this code.
    pub fn from_code(code: u32) -> Option<Encoding> {
        let all = Narrow::ALL.map(Encoding::Narrow).into_iter();
        all.chain([Encoding::Plain]).find(|encoding| encoding.code() == code)
    }

    /// How many bytes store so many loaded ones.
    pub fn stored(self, loaded: usize) -> usize {
        match self {
            Encoding::Plain => loaded,
            Encoding::Narrow(_) => loaded / 2,
        }
    }

    /// Loaded bytes that can only be stored together.
    fn unit(self) -> usize {
        match self {
            Encoding::Plain => 1,
            Encoding::Narrow(_) => size_of::<f32>(),
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
