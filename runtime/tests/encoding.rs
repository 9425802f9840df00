//! Weights that are stored in fewer digits: what code reads of them, and what is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use cardinal_runtime::manifest::WeightRun;
use cardinal_runtime::{
    Artifact, ArtifactParts, Encoding, EncodingError, LoadError, ManifestError, Narrow, Part,
    Program,
};
use common::{Forged, Random, agreeing, any, manifest, open, simple};

/// The codes as they are in files, which stay what they are.
const PLAIN: u32 = 0;
const HALF: u32 = 1;
const BFLOAT: u32 = 2;

/// Each format, with its code and the widths of its exponent and its fraction.
const FORMATS: [(Narrow, u32, [u32; 2]); 2] =
    [(Narrow::F16, HALF, [5, 10]), (Narrow::Bf16, BFLOAT, [8, 7])];

fn run(bytes: u64, encoding: u32) -> WeightRun {
    WeightRun { bytes, encoding }
}

/// Parts with so stored weights, and code that is never called.
fn parts(runs: Vec<WeightRun>, weights: Vec<u8>) -> ArtifactParts {
    let mut manifest = manifest(&[1]);
    manifest.weight_runs = runs;
    simple(manifest, &[0xC3; 100], weights)
}

/// 64 plain bytes, 96 halves in 192 bytes, none of them NaN, 32 bfloats in 64 bytes, and 5 plain bytes.
fn mixed() -> ArtifactParts {
    let runs = vec![run(64, PLAIN), run(384, HALF), run(128, BFLOAT), run(5, PLAIN)];
    parts(runs, (0..STORED).map(|i| i as u8 % 120).collect())
}

/// Bytes of that.
const STORED: usize = 64 + 192 + 64 + 5;

fn mixed_bytes() -> Vec<u8> {
    mixed().to_artifact().unwrap().as_bytes().to_vec()
}

fn loaded(parts: ArtifactParts) -> Vec<u8> {
    let artifact = parts.to_artifact().unwrap();
    let artifact = open(artifact.as_bytes()).unwrap();
    let bytes = artifact.loaded_weight_bytes();
    let program = Program::load(artifact).unwrap();
    assert_eq!(program.weights().len(), bytes);
    program.weights().to_vec()
}

/// What a word stands for, by IEEE 754's definition: of a bias `b`, which is half of all exponents,
/// `(-1)^s * 2^(e-b) * 1.m`, or `2^(1-b) * 0.m` where e is 0.
fn value(word: u16, [exponent, fraction]: [u32; 2]) -> f64 {
    let sign = if word >> 15 == 1 { -1.0 } else { 1.0 };
    let bias = (1 << (exponent - 1)) - 1;
    let digits = f64::from(u32::from(word) & ((1 << fraction) - 1)) / 2f64.powi(fraction as i32);
    sign * match i32::from(word & 0x7FFF) >> fraction {
        0 => digits * 2f64.powi(1 - bias),
        e if e == 2 * bias + 1 && digits == 0.0 => f64::INFINITY,
        e if e == 2 * bias + 1 => f64::NAN,
        e => (1.0 + digits) * 2f64.powi(e - bias),
    }
}

#[test]
fn formats_are_what_files_say() {
    assert_eq!(Narrow::ALL, FORMATS.map(|(narrow, ..)| narrow));
    assert_eq!(Encoding::from_code(PLAIN), Some(Encoding::Plain));
    for (narrow, code, widths) in FORMATS {
        assert_eq!(Encoding::from_code(code), Some(Encoding::Narrow(narrow)));
        assert_eq!(Encoding::Narrow(narrow).code(), code);
        let finite = (0..=u16::MAX).map(|word| value(word, widths)).filter(|v| v.is_finite());
        assert_eq!(narrow.largest(), finite.fold(0.0, f64::max), "{narrow:?}");
    }
    assert_eq!(Encoding::from_code(3), None);
}

#[test]
fn every_word_is_loaded_as_its_value() {
    for (narrow, code, widths) in FORMATS {
        let weights: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let floats = loaded(parts(vec![run(4 << 16, code)], weights));
        let floats = floats.as_chunks().0.iter().map(|float| f32::from_le_bytes(*float));
        assert_eq!(floats.len(), 1 << 16);
        for (word, float) in (0..=u16::MAX).zip(floats) {
            let expected = value(word, widths);
            let same = f64::from(float).to_bits() == expected.to_bits();
            assert!(same || float.is_nan() && expected.is_nan(), "{narrow:?} {word:#06x}: {float}");
        }
    }
}

#[test]
fn runs_are_loaded_one_after_the_other() {
    let stored = mixed().weights;
    let mut expected = stored[..64].to_vec();
    for (range, (_, _, widths)) in [64..256, 256..320].into_iter().zip(FORMATS) {
        for word in stored[range].as_chunks().0 {
            expected.extend((value(u16::from_le_bytes(*word), widths) as f32).to_le_bytes());
        }
    }
    expected.extend(&stored[320..]);
    assert_eq!(loaded(mixed()), expected);
    let artifact = mixed().to_artifact().unwrap();
    assert_eq!(artifact.weights(), stored);
    let narrow = FORMATS.map(|(narrow, ..)| artifact.stored_in(Encoding::Narrow(narrow)));
    assert_eq!((artifact.stored_in(Encoding::Plain), narrow), (69, [192, 64]));
    assert_eq!(artifact.loaded_weight_bytes(), 64 + 384 + 128 + 5);
    assert_eq!(artifact.narrow(), Some((Narrow::F16, 192)));
}

/// Long runs are expanded in parts, by several threads; the ends of parts must meet.
#[test]
fn long_runs_are_loaded_whole() {
    for (_, code, widths) in FORMATS {
        let (plain, words) = (3 * 1_000_000, 1_500_007usize);
        let plain = usize::next_multiple_of(plain, 64);
        let mut weights: Vec<u8> = (0..plain).map(|i| (i % 251) as u8).collect();
        let word = |i: usize| (i % 0x7C00) as u16;
        weights.extend((0..words).flat_map(|i| word(i).to_le_bytes()));
        let runs = vec![run(plain as u64, PLAIN), run(4 * words as u64, code)];
        let found = loaded(parts(runs, weights.clone()));
        assert!(found[..plain] == weights[..plain]);
        for (i, float) in found[plain..].as_chunks().0.iter().enumerate() {
            assert_eq!(f64::from(f32::from_le_bytes(*float)), value(word(i), widths), "{i}");
        }
    }
}

#[test]
fn plain_weights_stay_where_they_are() {
    for runs in [vec![], vec![run(STORED as u64, PLAIN)]] {
        let artifact = parts(runs, mixed().weights).to_artifact().unwrap();
        let program = Program::load(artifact).unwrap();
        assert_eq!(program.weights().as_ptr(), program.artifact().weights().as_ptr());
    }
    assert_eq!(loaded(parts(vec![], vec![])), []);
}

/// What is expanded is private, on a page, and read-only.
#[cfg(target_os = "linux")]
#[test]
fn expanded_weights_cannot_be_written() {
    let program = Program::load(mixed().to_artifact().unwrap()).unwrap();
    let address = program.weights().as_ptr().addr();
    assert!(address.is_multiple_of(4096));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let permissions = maps.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (begin, end) = words[0].split_once('-')?;
        let bound = |text| usize::from_str_radix(text, 16).unwrap();
        (bound(begin)..bound(end)).contains(&address).then(|| words[1].to_owned())
    });
    assert_eq!(permissions.as_deref(), Some("r--p"));
}

/// An artifact with right digests of this list of runs, over `stored` bytes; the code reads as many as are
/// loaded.
fn forged(runs: &[WeightRun], stored: usize) -> Result<Artifact, LoadError> {
    let mut parts = parts(runs.to_vec(), vec![0; stored]);
    let loaded = runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.bytes));
    let loaded = if runs.is_empty() { stored } else { loaded as usize };
    parts.code[0].variant = agreeing(any(), &parts.manifest, loaded);
    open(&Forged::from_parts(parts).bytes())
}

fn refused(runs: &[WeightRun], stored: usize) -> ManifestError {
    match forged(runs, stored) {
        Err(LoadError::BadManifest(error)) => error,
        other => panic!("{runs:?}: {other:?}"),
    }
}

#[test]
fn lists_of_runs_that_cannot_be_are_refused() {
    FORMATS.iter().for_each(|(_, code, _)| refuses_impossible_lists(*code));
    // Neighbours in two formats are two runs.
    assert!(forged(&[run(128, HALF), run(128, BFLOAT), run(128, HALF)], 192).is_ok());
}

fn refuses_impossible_lists(code: u32) {
    let (half, plain) = (|| run(128, code), || run(128, PLAIN));
    assert!(forged(&[half(), plain(), half()], 256).is_ok());
    let max = 1 << 63;
    let rows: &[(&[WeightRun], usize, (usize, EncodingError))] = &[
        (&[half(), run(128, 3)], 192, (1, EncodingError::Unknown(3))),
        (&[run(128, u32::MAX)], 64, (0, EncodingError::Unknown(u32::MAX))),
        (&[half(), run(0, PLAIN)], 64, (1, EncodingError::Length(0))),
        (&[run(0, code), plain()], 128, (0, EncodingError::Length(0))),
        (&[run(6, code)], 3, (0, EncodingError::Length(6))),
        (&[run(7, code)], 3, (0, EncodingError::Length(7))),
        (&[half(), half()], 128, (1, EncodingError::Unmerged)),
        (&[half(), plain(), plain()], 320, (2, EncodingError::Unmerged)),
        (&[run(100, code), plain()], 178, (1, EncodingError::Misaligned(100))),
        (&[run(63, PLAIN), half()], 127, (1, EncodingError::Misaligned(63))),
        (&[half()], 63, (0, EncodingError::Outside { stored: 63 })),
        (&[half(), run(1, PLAIN)], 64, (1, EncodingError::Outside { stored: 64 })),
        (&[half()], 0, (0, EncodingError::Outside { stored: 0 })),
        (&[run(1 << 40, code)], 64, (0, EncodingError::Outside { stored: 64 })),
        (&[run(max, code)], 64, (0, EncodingError::Outside { stored: 64 })),
        (&[run(u64::MAX - 3, code)], 64, (0, EncodingError::Outside { stored: 64 })),
        (&[half(), run(u64::MAX, PLAIN)], 64, (1, EncodingError::Outside { stored: 64 })),
        (&[half(), run(u64::MAX - 127, PLAIN)], 64, (1, EncodingError::Outside { stored: 64 })),
    ];
    for (runs, stored, (at, error)) in rows {
        let expected = ManifestError::Encoding { run: *at, error: *error };
        assert_eq!(refused(runs, *stored), expected, "{runs:?}");
    }
    let unencoded = ManifestError::Unencoded { runs: 64, stored: 65 };
    assert_eq!(refused(&[half()], 65), unencoded);
}

/// It may be from a later version, which an error about it says.
#[test]
fn an_unknown_encoding_is_said_to_be_of_a_newer_version() {
    let error = forged(&[run(128, 3)], 64).unwrap_err();
    assert!(
        error.to_string().contains("run 1 of the weights has the unknown encoding 3"),
        "{error}"
    );
    assert!(error.remedy().unwrap().starts_with("use a newer Cardinal"), "{error}");
}

/// Runs change places, lengths and encodings at random: whatever is opened is loaded, and is no longer
/// than twice what is stored.
#[test]
fn random_lists_of_runs_do_no_harm() {
    let mut random = Random(0xF16);
    let mut opened = 0;
    for _ in 0..20_000 {
        let stored = 32 * random.below(8) + random.below(2) * random.below(64);
        let runs: Vec<WeightRun> = (0..=random.below(4))
            .map(|_| {
                run(
                    64 * random.below(5) as u64 + random.below(2) as u64 * 4,
                    random.below(4) as u32,
                )
            })
            .collect();
        if let Ok(artifact) = forged(&runs, stored) {
            opened += 1;
            assert!(artifact.loaded_weight_bytes() <= 2 * stored);
            let program = Program::load(artifact).unwrap();
            assert!(program.weights().iter().all(|byte| *byte == 0));
        }
    }
    assert!(opened > 40, "{opened}");
}

#[test]
fn every_single_bit_flip_and_truncation_is_refused() {
    let mut bytes = mixed_bytes();
    assert!(open(&bytes).is_ok());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bytes).is_err(), "bit {bit} does not matter");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..bytes.len() {
        assert!(open(&bytes[..length]).is_err(), "{length}");
    }
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(matches!(open(&bytes), Err(LoadError::Digest(Part::Weights))));
}
