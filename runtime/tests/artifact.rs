//! What is written can be read, and what is not exactly that is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::io::{self, Cursor};

use bytes::Bytes;
use cardinal_runtime::manifest::{Choice, Manifest, Variant, WeightRange};
use cardinal_runtime::table::Table;
use cardinal_runtime::{
    Artifact, ArtifactParts, Code, CodeError, FORMAT_VERSION, LoadError, MAX_BYTES,
    MAX_CHOICE_BYTES, MAX_MANIFEST_BYTES, MAX_SECTIONS, ManifestError, OtherSection, Part, Pieces,
    Program, RESERVED_SECTIONS, Role, TableError, Weights,
};
use common::{Forged, Random, artifact_bytes, open, parts, tensor};
use prost::Message;

#[test]
fn parts_come_back_from_memory_and_from_a_file() {
    let ArtifactParts { manifest, code, others, weights } = parts();
    let bytes = artifact_bytes();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &bytes).unwrap();
    for artifact in [open(&bytes).unwrap(), Artifact::open(file.path()).unwrap()] {
        assert_eq!(artifact.as_bytes(), bytes);
        assert_eq!([artifact.code(0), artifact.code(1)], [&code[0].bytes[..], &code[1].bytes]);
        assert_eq!(artifact.code(2), [] as [u8; 0]);
        assert_eq!(artifact.weights(), weights);
        assert_eq!(artifact.section("notes"), Some(&others[0].bytes[..]));
        assert_eq!(artifact.section("absent"), None);
        let names: Vec<&str> = artifact.sections().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["manifest", "code", "code", "notes", "weights"]);
        assert_eq!(artifact.manifest().metadata, manifest.metadata);
        assert_eq!(artifact.inputs()[0].to_string(), "x f32[1, 3, 2, 2]");
        assert_eq!(artifact.outputs()[0].to_string(), "y f32[1, 3, 2, 2]");
    }
}

#[test]
fn the_writer_agrees_with_the_description_of_the_format() {
    assert_eq!(artifact_bytes(), Forged::changed(|_, _| ()).bytes());
}

#[test]
fn what_is_written_to_a_file_is_what_is_made_in_memory() {
    for before in [0, 4096, 3 * 4096] {
        let mut file = Cursor::new(vec![0x55; before]);
        file.set_position(before as u64);
        parts().write_to(&mut file).unwrap();
        assert_eq!(file.position() as usize, file.get_ref().len());
        assert!(file.get_ref()[..before].iter().all(|&byte| byte == 0x55));
        assert_eq!(file.get_ref()[before..], artifact_bytes());
    }
}

/// Weights that say one length and write another.
struct Liar(usize);

impl Weights for Liar {
    fn length(&self) -> usize {
        100
    }

    fn write(self, to: &mut dyn Pieces) -> io::Result<()> {
        to.piece(self.0, &mut |_| ())
    }
}

#[test]
fn weights_of_another_length_than_stated_are_an_error() {
    for length in [0, 99, 101] {
        let ArtifactParts { manifest, code, others, .. } = parts();
        let parts = || {
            let (manifest, code, others) = (manifest.clone(), code.clone(), others.clone());
            ArtifactParts { manifest, code, others, weights: Liar(length) }
        };
        assert!(matches!(parts().to_artifact(), Err(LoadError::Io { .. })), "{length}");
        let written = parts().write_to(&mut Cursor::new(Vec::new()));
        assert!(matches!(written, Err(LoadError::Io { .. })), "{length}");
    }
}

#[test]
fn writing_is_deterministic_and_sorts_features() {
    let mut shuffled = parts();
    let features = ["fma", "avx2", "fma"].map(str::to_owned).to_vec();
    shuffled.code[1].variant.cpu_features = features;
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
fn tables_of_every_length_are_placed() {
    let longest = MAX_SECTIONS - parts().code.len() - 2;
    for others in 0..=longest {
        let section =
            |n: usize| OtherSection { name: format!("{:0<60}/{n}", "x"), ..Default::default() };
        let parts = ArtifactParts { others: (0..others).map(section).collect(), ..parts() };
        let artifact = parts.to_artifact().unwrap();
        assert_eq!(open(artifact.as_bytes()).unwrap().sections().len(), others + 4);
    }
}

#[test]
fn sections_may_fill_their_pages_and_weights_be_empty() {
    for (code, weights) in [(1, 0), (4096, 0), (4095, 4096), (4097, 4097), (8192, 1)] {
        let mut parts = ArtifactParts { weights: vec![2; weights], ..parts() };
        parts.code[0].bytes = vec![1; code];
        parts.code[1].bytes = vec![3; 8193 - code];
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
    assert!(matches!(flipped(60), LoadError::Digest(Part::Table)));
    let sections = [Part::Manifest, Part::Code(0), Part::Code(1), Part::Other("notes".into())];
    for (page, damaged) in (1..).zip(sections.into_iter().chain([Part::Weights])) {
        let LoadError::Digest(part) = flipped(page * 4096) else { panic!("{damaged}") };
        assert_eq!(part, damaged);
        let offset = page * 4096 - 1;
        assert!(matches!(flipped(offset), LoadError::Padding { offset: o } if o == offset as u64));
    }
    assert_eq!(
        flipped(12288).to_string(),
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
    for (version, remedy) in [(4u32, "compile the model again"), (6, "use a newer Cardinal")] {
        let mut bytes = artifact_bytes();
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let error = open(&bytes).unwrap_err();
        assert!(matches!(error, LoadError::Version { found } if found == version));
        assert!(error.remedy().unwrap().starts_with(remedy));
        assert!(error.to_string().ends_with(&format!("reads version {FORMAT_VERSION}")));
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

/// Opens an artifact of which something was changed and given its new digests.
fn forged(change: impl FnOnce(&mut Manifest, &mut Vec<Code>)) -> LoadError {
    open(&Forged::changed(change).bytes()).unwrap_err()
}

/// As [`forged`], for an error in the manifest.
#[track_caller]
fn assert_forged(expected: ManifestError, change: impl FnOnce(&mut Manifest)) {
    let error = forged(|manifest, code| {
        change(manifest);
        // What code says is another test's.
        let weights = parts().weights.len();
        for Code { variant, .. } in code {
            *variant = common::agreeing(variant.clone(), manifest, weights);
        }
    });
    assert!(error.remedy().is_some());
    let LoadError::BadManifest(error) = error else { panic!("{error:?}") };
    assert_eq!(error, expected);
}

/// As [`forged`], for an error in what a variant says of itself.
#[track_caller]
fn assert_code(variant: usize, expected: CodeError, change: impl FnOnce(&mut Variant)) {
    let error = forged(|_, code| change(&mut code[variant].variant));
    assert!(error.remedy().is_some());
    let LoadError::BadCode { variant: at, error } = error else { panic!("{error:?}") };
    assert_eq!((at, error), (variant, expected));
}

/// Opens an artifact whose table of contents was changed and given its new digest.
fn with_table(change: impl FnOnce(&mut Table)) -> LoadError {
    let mut forged = Forged::changed(|_, _| ());
    change(&mut forged.table);
    open(&forged.bytes()).unwrap_err()
}

/// As [`with_table`], for an error in the table itself.
#[track_caller]
fn assert_table(expected: TableError, change: impl FnOnce(&mut Table)) {
    let error = with_table(change);
    assert!(error.remedy().is_some());
    let LoadError::BadTable(error) = error else { panic!("{error:?}") };
    assert_eq!(error, expected);
}

/// The sections of [`parts`], in order.
fn all_parts() -> [Part; 5] {
    let notes = Part::Other("notes".into());
    [Part::Manifest, Part::Code(0), Part::Code(1), notes, Part::Weights]
}

#[test]
fn sections_in_wrong_places_are_refused() {
    for (i, part) in all_parts().into_iter().enumerate() {
        let expected = 4096 * (i as u64 + 1);
        for offset in [0, expected - 4096, expected - 1, expected + 64, expected + 4096, u64::MAX] {
            let error = TableError::Offset { part: part.clone(), offset, expected };
            assert_table(error, |table| table.sections[i].offset = offset);
        }
    }
}

#[test]
fn sections_of_wrong_lengths_are_refused() {
    for (i, part) in all_parts().into_iter().enumerate() {
        for length in [u64::MAX, u64::MAX - 4096, 1 << 63, i64::MAX as u64] {
            assert_table(TableError::Overflow(part.clone()), |t| t.sections[i].length = length);
        }
    }
    let error = with_table(|t| t.sections[4].length = 1 << 50);
    assert!(matches!(error, LoadError::Truncated { .. }));
    let error = with_table(|t| t.sections[4].length -= 1);
    assert!(matches!(error, LoadError::TrailingBytes { .. }));
    let error = with_table(|t| t.sections[3].length -= 1);
    assert!(matches!(error, LoadError::Padding { .. }));
}

#[test]
fn sections_of_wrong_names_are_refused() {
    for (i, name) in [(3, ""), (3, "Notes"), (3, "no tes"), (3, "n\u{1b}[2J"), (1, "é")] {
        assert_table(TableError::Name(name.into()), |t| t.sections[i].name = name.into());
    }
    let long = "n".repeat(65);
    assert_table(TableError::Name(long.clone()), |t| t.sections[3].name = long);
    assert_table(TableError::Repeated(Part::Weights), |t| {
        t.sections[3] = t.sections[4].clone();
    });
    assert_table(TableError::Missing(Part::Manifest), |t| t.sections.swap(0, 1));
    assert_table(TableError::Missing(Part::Weights), |t| t.sections.swap(3, 4));
    assert_table(TableError::Missing(Part::Weights), |t| drop(t.sections.pop()));
    assert_table(TableError::Missing(Part::Manifest), |t| t.sections.clear());
    assert_table(TableError::Missing(Part::Code(0)), |t| {
        t.sections.drain(1..3);
    });
    assert_table(TableError::Sections(65), |t| {
        let notes = t.sections[3].clone();
        t.sections.splice(3..4, std::iter::repeat_n(notes, 61));
    });
    for (i, part) in [(0, Part::Manifest), (2, Part::Code(1)), (4, Part::Weights)] {
        assert_table(TableError::Optional(part), |t| t.sections[i].required = false);
    }
    assert_table(TableError::Digest { part: Part::Weights, bytes: 31 }, |t| {
        t.sections[4].digest.pop();
    });
}

/// What a newer writer adds is passed over where it may be, and refused where it may not.
#[test]
fn unknown_sections_are_passed_over_unless_they_are_required() {
    let other = |name: &str, required| {
        let others = vec![OtherSection { name: name.into(), required, bytes: b"text".to_vec() }];
        open(ArtifactParts { others, ..parts() }.to_artifact()?.as_bytes())
    };
    for name in RESERVED_SECTIONS.into_iter().chain(["a-b_c.d/3"]) {
        assert_eq!(other(name, false).unwrap().section(name), Some(&b"text"[..]));
        let error = other(name, true).unwrap_err();
        assert!(matches!(&error, LoadError::UnknownSection { name: n } if n == name), "{error:?}");
        assert!(error.remedy().unwrap().starts_with("use a newer Cardinal"));
        let error = with_table(|table| table.sections[3].required = true);
        assert!(matches!(error, LoadError::UnknownSection { .. }), "{error:?}");
    }
}

#[test]
fn absurd_sizes_and_entries_are_refused() {
    for (variant, code) in [(0, 100), (1, 50)] {
        for entry in [code, code + 1, u64::MAX] {
            let outside = CodeError::EntryOutside { entry, code };
            assert_code(variant, outside, |v| v.entry_offset = entry);
        }
        for bytes in [MAX_BYTES + 1, u64::MAX] {
            assert_code(variant, CodeError::Arena(bytes), |v| v.arena_bytes = bytes);
            assert_code(variant, CodeError::Worker(bytes), |v| v.worker_bytes = bytes);
        }
        assert_code(variant, CodeError::Worker(65), |v| v.worker_bytes = 65);
        assert_code(variant, CodeError::Structure(33), |v| v.structure = vec![0; 33]);
        let features = ["fma", "avx2"].map(str::to_owned);
        assert_code(variant, CodeError::Features, |v| v.cpu_features = features.to_vec());
        // Of fewer images than none, with no input to count them in, with others in outputs, and with a reason
        // against it.
        let of_images: [&dyn Fn(&mut Variant); 4] = [
            &|v| v.inputs[0].shape = vec![0],
            &|v| v.inputs.clear(),
            &|v| (v.inputs[0].shape, v.outputs[0].shape) = (vec![2, 3], vec![3, 2]),
            &|v| v.fixed_by = "a node".into(),
        ];
        for change in of_images {
            assert_code(variant, CodeError::Images, |v| {
                v.takes_fewer = true;
                change(v);
            });
        }
        let long = MAX_CHOICE_BYTES + 1;
        assert_code(variant, CodeError::FixedBy(long), |v| v.fixed_by = "x".repeat(long));
        // Misaligned, empty, outside, out of order, overlapping, of half a line, and beyond all numbers.
        let ranges: [&[[u64; 2]]; 7] = [
            &[[1, 63]],
            &[[0, 0]],
            &[[0, 64], [1 << 30, 64]],
            &[[64, 64], [0, 64]],
            &[[0, 128], [64, 64]],
            &[[0, 32]],
            &[[64, u64::MAX]],
        ];
        for ranges in ranges {
            let [offset, bytes] = ranges[ranges.len() - 1];
            let reads = ranges.iter().map(|&[offset, bytes]| WeightRange { offset, bytes });
            let (reads, expected) = (reads.collect(), CodeError::Reads { offset, bytes });
            assert_code(variant, expected, |v| v.reads = reads);
        }
    }
    let error = forged(|_, code| code[1].bytes.clear());
    assert!(matches!(error, LoadError::BadCode { variant: 1, error: CodeError::NoCode }));
    assert_forged(ManifestError::ModelDigest(1), |m| m.model_digest = vec![0]);
}

/// The manifest cannot give code other memory than it was made for: each claim about it is the code's
/// too, under the code's digest.
#[test]
fn manifests_that_disagree_with_the_code_are_refused() {
    let refused = |expected: CodeError, change: &dyn Fn(&mut Manifest)| {
        let error = forged(|manifest, _| change(manifest));
        let LoadError::BadCode { variant: 0, error } = error else { panic!("{error:?}") };
        assert_eq!(error, expected);
    };
    let (input, output) = (Role::Input, Role::Output);
    let count = |role, manifest| CodeError::Count { role, manifest, code: 1 };
    refused(count(input, 0), &|m| m.inputs.clear());
    refused(count(input, 2), &|m| m.inputs.push(tensor("z", &[1])));
    refused(count(output, 0), &|m| m.outputs.clear());
    refused(count(output, 2), &|m| m.outputs.push(tensor("z", &[1])));
    // As many bytes as another number of images is no better.
    let shapes: [&[u64]; 6] = [&[1], &[], &[1, 3, 2, 3], &[2, 3, 2, 2], &[3, 1, 2, 2], &[12]];
    for shape in shapes {
        let of = |role| CodeError::Type { role, position: 0 };
        refused(of(input), &|m| m.inputs[0].shape = shape.to_vec());
        refused(of(output), &|m| m.outputs[0].shape = shape.to_vec());
    }
    refused(CodeError::Type { role: input, position: 0 }, &|m| m.inputs[0].dtype = 5);
    refused(CodeError::Type { role: output, position: 0 }, &|m| m.outputs[0].dtype = 5);
    let target = cardinal_runtime::cpu::host_triple();
    refused(CodeError::Target(target), &|m| m.target = "riscv64gc-unknown-linux-gnu".into());
    for weights in [0, 199, 201] {
        let lie = CodeError::Weights { manifest: 200, code: weights };
        assert_code(1, lie, |v| v.weight_bytes = weights);
    }
}

#[test]
fn code_that_does_not_describe_itself_is_refused() {
    let with_section = |section: &[u8]| {
        let Forged { table, mut sections, .. } = Forged::changed(|_, _| ());
        sections[2] = section.to_vec();
        let listed = table.sections.iter().zip(sections);
        let forged =
            Forged::of(listed.map(|(s, bytes)| (&s.name[..], s.required, bytes)).collect());
        match open(&forged.bytes()).unwrap_err() {
            LoadError::BadCode { variant: 1, error } => error,
            other => panic!("{other:?}"),
        }
    };
    for short in [&[][..], &[1], &[0, 0, 0], &[1, 0, 0, 0], &[9, 9, 3, 0, 0, 0]] {
        assert_eq!(with_section(short), CodeError::NoRecord);
    }
    assert!(matches!(with_section(&[0xFF, 0xFF, 2, 0, 0, 0]), CodeError::Decode(_)));
    assert!(matches!(with_section(&[0xFF; 9]), CodeError::TooLong { .. }));
    assert_eq!(with_section(&[0; 4]), CodeError::NoCode);
}

#[test]
fn wrong_variants_are_refused() {
    let refused = |expected: ManifestError, change: &dyn Fn(&mut Vec<Code>)| {
        let error = forged(|_, code| change(code));
        let LoadError::BadManifest(error) = error else { panic!("{error:?}") };
        assert_eq!(error, expected);
    };
    refused(ManifestError::Variants(17), &|code| code.resize(17, code[0].clone()));
    for (i, name) in [(0, ""), (1, ""), (1, "any")] {
        refused(ManifestError::VariantName(name.into()), &|c| c[i].variant.name = name.into());
    }
    refused(ManifestError::VariantOrder("quantum".into()), &|code| {
        code[1].variant.cpu_features.clear();
    });
    refused(ManifestError::VariantOrder("any".into()), &|code| code.swap(0, 1));
    refused(ManifestError::VariantOrder("quantum".into()), &|code| {
        code[0].variant.core = "znver4".into();
        code[1].variant.core = "znver4".into();
        code[1].variant.cpu_features.clear();
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
fn long_messages_are_refused_before_they_are_read_and_written() {
    let mut bytes = artifact_bytes();
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = open(&bytes).unwrap_err();
    assert!(matches!(error, LoadError::BadTable(TableError::TooLong(_))), "{error:?}");
    let too_long =
        |error: &LoadError| matches!(error, LoadError::BadManifest(ManifestError::TooLong { .. }));
    let long = "m".repeat(MAX_MANIFEST_BYTES as usize);
    assert!(too_long(&forged(|manifest, _| manifest.model_name.clone_from(&long))));
    let mut parts = parts();
    parts.manifest.model_name = long;
    assert!(too_long(&parts.to_artifact().unwrap_err()));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let refused = |change: &dyn Fn(&mut ArtifactParts)| {
        let mut parts = parts();
        change(&mut parts);
        let error = parts.clone().to_artifact().unwrap_err().to_string();
        let mut file = Cursor::new(Vec::new());
        assert_eq!(parts.write_to(&mut file).unwrap_err().to_string(), error);
        assert!(file.get_ref().is_empty());
        error
    };
    let error = refused(&|parts| parts.code[1].bytes.clear());
    assert_eq!(error, "code section 2 is invalid: it has no code");
    let error = refused(&|parts| parts.code.clear());
    assert_eq!(error, "the manifest is invalid: code for 0 kinds of CPU is absurd");
    let error = refused(&|parts| parts.others[0].name = "Notes".into());
    assert_eq!(error, "the table of contents is invalid: no section can be called \"Notes\"");
    let error = refused(&|parts| parts.others.push(parts.others[0].clone()));
    assert_eq!(error, "the table of contents is invalid: there is more than one section \"notes\"");
}

/// A hostile table has a right digest. Whatever it says, opening returns.
#[test]
fn damaged_tables_with_right_digests_do_no_harm() {
    let forged = Forged::changed(|_, _| ());
    let mut random = Random(0x5EED);
    for _ in 0..20_000 {
        let table = damaged(&forged.table.encode_to_vec(), &mut random);
        if let Ok(artifact) = open(&forged.with_table(&table)) {
            assert_eq!(artifact.weights(), parts().weights);
        }
    }
}

/// The same of manifests and of what code says of itself.
#[test]
fn damaged_messages_with_right_digests_do_no_harm() {
    let mut random = Random(0x5EED);
    for round in 0..20_000 {
        let Forged { table, mut sections, .. } = Forged::changed(|_, _| ());
        sections[round % 3] = damaged(&sections[round % 3], &mut random);
        let listed = table.sections.iter().zip(sections);
        let forged =
            Forged::of(listed.map(|(s, bytes)| (&s.name[..], s.required, bytes)).collect());
        if let Ok(artifact) = open(&forged.bytes()) {
            assert_eq!(artifact.weights(), parts().weights);
            assert!(artifact.variants().iter().all(|v| v.arena_bytes <= MAX_BYTES));
        }
    }
}

/// Some bytes changed, sometimes the end cut off.
fn damaged(intact: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = intact.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = random.below(256) as u8;
    }
    if random.below(4) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
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
    parts.code.remove(0);
    parts.code[0].variant.cpu_features = vec!["quantum".into(), "avx9".into()];
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
    assert_eq!(mapping, Some(("r--s".into(), 20480, path)));
}
