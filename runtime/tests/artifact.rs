//! What is written can be read, and what is not exactly that is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;

use bytes::Bytes;
use cardinal_runtime::manifest::{Choice, Manifest, Section};
use cardinal_runtime::{
    Artifact, ArtifactParts, LoadError, MAX_BYTES, MAX_CHOICE_BYTES, MAX_MANIFEST_BYTES,
    ManifestError, Part, Program, Role,
};
use common::{Random, artifact_bytes, forge, forge_encoded, open, parts, placed_manifest, tensor};
use prost::Message;

#[test]
fn parts_come_back_from_memory_and_from_a_file() {
    let ArtifactParts { manifest, code, weights } = parts();
    let bytes = artifact_bytes();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &bytes).unwrap();
    for artifact in [open(&bytes).unwrap(), Artifact::open(file.path()).unwrap()] {
        assert_eq!(artifact.as_bytes(), bytes);
        assert_eq!([artifact.code(0), artifact.code(1)], [&code[0][..], &code[1]]);
        assert_eq!(artifact.code(2), [] as [u8; 0]);
        assert_eq!(artifact.weights(), weights);
        assert_eq!(artifact.manifest().metadata, manifest.metadata);
        assert_eq!(artifact.inputs()[0].to_string(), "x f32[1, 3, 2, 2]");
        assert_eq!(artifact.outputs()[0].to_string(), "y f32[1, 3, 2, 2]");
    }
}

#[test]
fn the_writer_agrees_with_the_description_of_the_format() {
    let ArtifactParts { code, weights, .. } = parts();
    assert_eq!(artifact_bytes(), forge(&placed_manifest(), &code, &weights));
}

#[test]
fn writing_is_deterministic_and_sorts_features() {
    let mut shuffled = parts();
    let features = ["fma", "avx2", "fma"].map(str::to_owned).to_vec();
    shuffled.manifest.variants[1].cpu_features = features;
    let artifact = shuffled.clone().to_artifact().unwrap();
    assert_eq!(artifact.variants()[1].cpu_features, ["avx2", "fma"]);
    assert_eq!(artifact.as_bytes(), shuffled.to_artifact().unwrap().as_bytes());
}

#[test]
fn sections_are_aligned_wherever_the_bytes_are() {
    let bytes = artifact_bytes();
    for shift in 0..64 {
        let mut shifted = vec![0; shift];
        shifted.extend(&bytes);
        let artifact = Artifact::from_bytes(Bytes::from(shifted).slice(shift..)).unwrap();
        assert_eq!(artifact.weights().as_ptr() as usize % 64, 0);
        assert_eq!(artifact.as_bytes(), bytes);
    }
}

#[test]
fn manifests_of_every_size_are_placed() {
    for length in (0..9000).step_by(37).chain([3800, 3900, 4000, 4096, 1 << 20]) {
        let mut parts = parts();
        parts.manifest.model_name = "m".repeat(length);
        let artifact = parts.to_artifact().unwrap();
        assert!(open(artifact.as_bytes()).is_ok(), "{length}");
    }
}

#[test]
fn sections_may_fill_their_pages_and_weights_be_empty() {
    for (code, weights) in [(1, 0), (4096, 0), (4095, 4096), (4097, 4097), (8192, 1)] {
        let code = vec![vec![1; code], vec![3; 8193 - code]];
        let parts = ArtifactParts { code, weights: vec![2; weights], ..parts() };
        let artifact = parts.to_artifact().unwrap();
        assert!(open(artifact.as_bytes()).is_ok(), "{weights}");
    }
}

#[test]
fn every_single_bit_flip_is_refused() {
    let mut bytes = artifact_bytes();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bytes).is_err(), "bit {bit} does not matter");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(open(&bytes).is_ok());
}

#[test]
fn every_truncation_is_refused_as_one() {
    let bytes = artifact_bytes();
    assert!(matches!(open(&[]), Err(LoadError::NotAnArtifact { looks_like_onnx: false })));
    for length in 1..bytes.len() {
        let error = open(&bytes[..length]).unwrap_err();
        let LoadError::Truncated { expected, actual } = error else {
            panic!("{length}: {error:?}");
        };
        assert_eq!(actual, length as u64);
        assert!(expected > actual);
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    let mut bytes = artifact_bytes();
    bytes.push(0);
    let error = open(&bytes).unwrap_err();
    assert!(matches!(error, LoadError::TrailingBytes { .. }));
    assert_eq!(error.to_string(), "the artifact has 1 bytes after its end");
}

#[test]
fn damage_is_located() {
    let flipped = |at: usize| {
        let mut bytes = artifact_bytes();
        bytes[at] ^= 0x40;
        open(&bytes).unwrap_err()
    };
    assert!(matches!(flipped(60), LoadError::Digest(Part::Manifest)));
    assert!(matches!(flipped(4096), LoadError::Digest(Part::Code(0))));
    assert!(matches!(flipped(8192), LoadError::Digest(Part::Code(1))));
    assert!(matches!(flipped(12288), LoadError::Digest(Part::Weights)));
    assert!(matches!(flipped(4095), LoadError::Padding { offset: 4095 }));
    assert!(matches!(flipped(8191), LoadError::Padding { offset: 8191 }));
    assert!(matches!(flipped(12287), LoadError::Padding { offset: 12287 }));
    assert_eq!(
        flipped(8192).to_string(),
        "the code section 2 is damaged: its digest does not match"
    );
}

#[test]
fn other_files_are_named() {
    let onnx = b"\x08\x07\x12\x07pytorch\x1a\x052.5.0:\x80\x10";
    let error = open(onnx).unwrap_err();
    assert_eq!(error.to_string(), "not a Cardinal artifact but an ONNX model");
    assert_eq!(error.remedy().unwrap(), "compile it first: cardinal compile MODEL.onnx");
    let error = open(b"\x7fELF, and so on").unwrap_err();
    assert_eq!(error.to_string(), "not a Cardinal artifact");
}

#[test]
fn other_versions_are_refused_with_a_remedy() {
    for (version, remedy) in [(1u32, "compile the model again"), (5, "use a newer Cardinal")] {
        let mut bytes = artifact_bytes();
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let error = open(&bytes).unwrap_err();
        let LoadError::Version { found, supported } = &error else { panic!("{error:?}") };
        assert_eq!((*found, supported), (version, &(2..=4)));
        assert!(error.remedy().unwrap().starts_with(remedy));
    }
}

#[test]
fn missing_files_and_directories_are_io_errors() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path(), &directory.path().join("absent.cardinal")] {
        let error = Artifact::open(path).unwrap_err();
        assert!(matches!(error, LoadError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }
    let empty = tempfile::NamedTempFile::new().unwrap();
    let error = Artifact::open(empty.path()).unwrap_err();
    assert!(matches!(error, LoadError::NotAnArtifact { .. }));
}

/// Opens an artifact whose manifest was changed and given its new digest.
fn forged(change: impl FnOnce(&mut Manifest)) -> LoadError {
    let ArtifactParts { code, weights, .. } = parts();
    let mut manifest = placed_manifest();
    change(&mut manifest);
    open(&forge(&manifest, &code, &weights)).unwrap_err()
}

fn code_of(manifest: &mut Manifest, variant: usize) -> &mut Section {
    manifest.variants[variant].code.as_mut().unwrap()
}

/// As [`forged`], for an error in the manifest.
#[track_caller]
fn assert_forged(expected: ManifestError, change: impl FnOnce(&mut Manifest)) {
    let error = forged(change);
    assert!(error.remedy().is_some());
    let LoadError::BadManifest(error) = error else { panic!("{error:?}") };
    assert_eq!(error, expected);
}

#[test]
fn sections_in_wrong_places_are_refused() {
    let (code, weights) = (Part::Code(0), Part::Weights);
    let code_at = |variant: usize, offset: u64| {
        move |m: &mut Manifest| {
            code_of(m, variant).offset = offset;
        }
    };
    let weights_at = |offset: u64| {
        move |m: &mut Manifest| {
            m.weights.as_mut().unwrap().offset = offset;
        }
    };
    let misaligned = |part, offset| ManifestError::Misaligned { part, offset };
    assert_forged(misaligned(code, 4097), code_at(0, 4097));
    assert_forged(misaligned(Part::Code(1), 8193), code_at(1, 8193));
    assert_forged(misaligned(weights, 12352), weights_at(12352));
    assert_forged(misaligned(weights, u64::MAX), weights_at(u64::MAX));
    let gap = |part, offset, expected| ManifestError::Gap { part, offset, expected };
    assert_forged(gap(Part::Code(1), 12288, 8192), code_at(1, 12288));
    assert_forged(gap(weights, 16384, 12288), weights_at(16384));
    let overlap = |part, offset, end| ManifestError::Overlap { part, offset, end };
    assert_forged(overlap(Part::Code(1), 4096, 4196), code_at(1, 4096));
    assert_forged(overlap(weights, 8192, 8242), weights_at(8192));
    let error = forged(code_at(0, 0));
    let LoadError::BadManifest(ManifestError::Overlap { part, offset: 0, .. }) = error else {
        panic!("code over the header")
    };
    assert_eq!(part, code);
}

#[test]
fn sections_of_wrong_lengths_are_refused() {
    for length in [u64::MAX, u64::MAX - 4096, 1 << 63, i64::MAX as u64] {
        for variant in 0..2 {
            assert_forged(ManifestError::SectionOverflow(Part::Code(variant)), |m| {
                code_of(m, variant).length = length;
            });
        }
        assert_forged(ManifestError::SectionOverflow(Part::Weights), |m| {
            m.weights.as_mut().unwrap().length = length;
        });
    }
    let error = forged(|m| m.weights.as_mut().unwrap().length = 1 << 50);
    assert!(matches!(error, LoadError::Truncated { .. }));
    let error = forged(|m| m.weights.as_mut().unwrap().length -= 1);
    assert!(matches!(error, LoadError::TrailingBytes { .. }));
    let error = forged(|m| code_of(m, 0).length -= 1);
    assert!(matches!(error, LoadError::Padding { offset: 4195 }));
}

#[test]
fn sections_without_description_or_digest_are_refused() {
    assert_forged(ManifestError::NoSection(Part::Code(1)), |m| m.variants[1].code = None);
    assert_forged(ManifestError::NoSection(Part::Weights), |m| m.weights = None);
    let short = |part| ManifestError::SectionDigest { part, bytes: 31 };
    assert_forged(short(Part::Code(0)), |m| {
        code_of(m, 0).digest.pop();
    });
    assert_forged(short(Part::Weights), |m| {
        m.weights.as_mut().unwrap().digest.pop();
    });
    assert_forged(ManifestError::ModelDigest(1), |m| m.model_digest = vec![0]);
    assert_forged(ManifestError::Structure(33), |m| m.variants[0].structure = vec![0; 33]);
}

#[test]
fn absurd_sizes_and_entries_are_refused() {
    for (variant, code) in [(0, 100), (1, 50)] {
        for entry in [code, code + 1, u64::MAX] {
            assert_forged(ManifestError::EntryOutside { entry, code }, |m| {
                m.variants[variant].entry_offset = entry;
            });
        }
        for bytes in [MAX_BYTES + 1, u64::MAX] {
            assert_forged(ManifestError::Arena(bytes), |m| m.variants[variant].arena_bytes = bytes);
            let set_worker = |m: &mut Manifest| m.variants[variant].worker_bytes = bytes;
            assert_forged(ManifestError::Worker(bytes), set_worker);
        }
        assert_forged(ManifestError::Worker(65), |m| m.variants[variant].worker_bytes = 65);
    }
    assert_forged(ManifestError::NoCode, |m| {
        code_of(m, 1).length = 0;
        m.weights.as_mut().unwrap().offset = 8192;
    });
}

#[test]
fn wrong_variants_are_refused() {
    assert_forged(ManifestError::Variants(0), |m| m.variants.clear());
    assert_forged(ManifestError::Variants(17), |m| {
        m.variants.resize(17, m.variants[0].clone());
    });
    for (i, name) in [(0, ""), (1, ""), (1, "any")] {
        assert_forged(ManifestError::VariantName(name.into()), |m| {
            m.variants[i].name = name.into()
        });
    }
    assert_forged(ManifestError::VariantOrder("quantum".into()), |m| {
        m.variants[1].cpu_features.clear();
    });
    assert_forged(ManifestError::VariantOrder("any".into()), |m| m.variants.swap(0, 1));
    assert_forged(ManifestError::VariantOrder("quantum".into()), |m| {
        m.variants[0].core = "znver4".into();
        m.variants[1].core = "znver4".into();
        m.variants[1].cpu_features = m.variants[0].cpu_features.clone();
    });
    // Readers before version 4 would refuse this one for its order.
    assert_forged(ManifestError::Version { stated: 2, needed: 4 }, |m| {
        m.variants[1].core = "znver4".into();
        m.variants[1].cpu_features = m.variants[0].cpu_features.clone();
    });
    assert_forged(ManifestError::Features("quantum".into()), |m| {
        m.variants[1].cpu_features = vec!["fma".into(), "avx2".into()];
    });
    assert_forged(ManifestError::Features("any".into()), |m| {
        m.variants[0].cpu_features = vec!["fma".into(), "fma".into()];
    });
}

#[test]
fn choices_are_sorted_and_short() {
    let choice = |layer: &str, choice: &str| Choice { layer: layer.into(), choice: choice.into() };
    let with = |choices: Vec<Choice>| move |m: &mut Manifest| m.choices = choices;
    for twice in [["b", "a"], ["a", "a"], ["", ""]] {
        let choices = twice.map(|layer| choice(layer, "x")).into();
        assert_forged(ManifestError::ChoiceOrder, with(choices));
    }
    let long = "x".repeat(MAX_CHOICE_BYTES + 1);
    let length = ManifestError::ChoiceLength { bytes: long.len(), limit: MAX_CHOICE_BYTES };
    assert_forged(length.clone(), with(vec![choice(&long, "x")]));
    assert_forged(length, with(vec![choice("a", "x"), choice("b", &long)]));
}

#[test]
fn wrong_tensors_are_refused() {
    for code in [0, 8, u32::MAX] {
        assert_forged(
            ManifestError::UnknownDType { role: Role::Input, name: "x".into(), code },
            |m| m.inputs[0].dtype = code,
        );
    }
    let shapes: [&[u64]; 4] =
        [&[u64::MAX], &[1 << 32, 1 << 32], &[1 << 62, 4, 0], &[MAX_BYTES / 4 + 1]];
    for shape in shapes {
        assert_forged(ManifestError::Shape { role: Role::Output, name: "y".into() }, |m| {
            m.outputs[0].shape = shape.to_vec();
        });
    }
    assert_forged(ManifestError::Duplicate { role: Role::Input, name: "x".into() }, |m| {
        m.inputs.push(tensor("x", &[1]));
    });
}

#[test]
fn long_manifests_are_refused_before_they_are_read_and_written() {
    let mut bytes = artifact_bytes();
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let too_long =
        |error: &LoadError| matches!(error, LoadError::BadManifest(ManifestError::TooLong { .. }));
    assert!(too_long(&open(&bytes).unwrap_err()));
    let mut parts = parts();
    parts.manifest.model_name = "m".repeat(MAX_MANIFEST_BYTES as usize);
    assert!(too_long(&parts.to_artifact().unwrap_err()));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let refused = |code: Vec<Vec<u8>>| match (ArtifactParts { code, ..parts() }).to_artifact() {
        Err(LoadError::BadManifest(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(vec![vec![1], Vec::new()]), ManifestError::NoCode);
    let sections = ManifestError::Sections { variants: 2, sections: 1 };
    assert_eq!(refused(vec![vec![1]]), sections);
}

/// A hostile manifest has a right digest. Whatever it says, opening returns.
#[test]
fn damaged_manifests_with_right_digests_do_no_harm() {
    let ArtifactParts { code, weights, .. } = parts();
    let intact = placed_manifest().encode_to_vec();
    let mut random = Random(0x5EED);
    for _ in 0..20_000 {
        let mut manifest = intact.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(manifest.len());
            manifest[at] = random.below(256) as u8;
        }
        if random.below(4) == 0 {
            manifest.truncate(random.below(manifest.len()));
        }
        if let Ok(artifact) = open(&forge_encoded(2, &manifest, &code, &weights)) {
            for (i, code) in code.iter().enumerate().take(artifact.variants().len()) {
                assert_eq!(artifact.code(i), code);
            }
            assert_eq!(artifact.weights(), weights);
        }
    }
}

#[test]
fn other_targets_are_refused_with_a_remedy() {
    for target in ["riscv64gc-unknown-linux-gnu", "x86_64-unknown-none", "", "-", "🦀"] {
        let mut parts = parts();
        parts.manifest.target = target.into();
        let error = Program::load(parts.to_artifact().unwrap()).unwrap_err();
        assert!(matches!(error, LoadError::Target { .. }), "{target}");
        assert!(error.remedy().unwrap().starts_with("compile with --target "));
    }
}

#[test]
fn missing_features_are_listed_with_a_remedy() {
    let mut parts = parts();
    parts.manifest.variants.remove(0);
    parts.code.remove(0);
    parts.manifest.variants[0].cpu_features = vec!["quantum".into(), "avx9".into()];
    let error = Program::load(parts.to_artifact().unwrap()).unwrap_err();
    let LoadError::MissingFeatures { variant, missing } = &error else { panic!("{error:?}") };
    assert_eq!(variant, "quantum");
    assert_eq!(missing, &["avx9", "quantum"]);
    assert!(error.remedy().unwrap().starts_with("compile with --cpu "));
}

#[test]
fn the_variant_that_the_machine_can_run_is_loaded() {
    let artifact = || parts().to_artifact().unwrap();
    assert_eq!(Program::load(artifact()).unwrap().variant().name, "any");
    assert_eq!(Program::load_variant(artifact(), Some("any")).unwrap().variant().name, "any");
    let error = Program::load_variant(artifact(), Some("quantum")).unwrap_err();
    assert!(matches!(error, LoadError::MissingFeatures { .. }), "{error:?}");
    let error = Program::load_variant(artifact(), Some("none")).unwrap_err();
    assert!(matches!(error, LoadError::NoVariant { .. }), "{error:?}");
}

/// Processes that map one file share its pages, weights included: the mapping is read-only, shared
/// and of the file itself.
#[cfg(target_os = "linux")]
#[test]
fn weights_are_the_pages_of_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), artifact_bytes()).unwrap();
    let program = Program::load(Artifact::open(file.path()).unwrap()).unwrap();
    let weights = program.artifact().weights().as_ptr().addr();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapping = maps.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (begin, end) = words[0].split_once('-')?;
        let bound = |text| usize::from_str_radix(text, 16).unwrap();
        (bound(begin)..bound(end)).contains(&weights).then(|| {
            let offset = bound(words[2]) + weights - bound(begin);
            (words[1].to_owned(), offset, words.last().copied().unwrap_or("").to_owned())
        })
    });
    let path = file.path().canonicalize().unwrap().display().to_string();
    assert_eq!(mapping, Some(("r--s".into(), 12288, path)));
}
