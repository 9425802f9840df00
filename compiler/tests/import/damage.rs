//! Damaged files: an error that says what is wrong, or a valid graph; never a panic.

use std::path::Path;

use bytes::Bytes;
use cardinal_compiler::error::{Error, Problem};
use cardinal_compiler::ir::verify;
use cardinal_compiler::onnx::{Model, NoExternalData, import};
use cardinal_compiler::options::ImportOptions;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::proto;

fn read(bytes: impl Into<Bytes>) -> Result<Model, Error> {
    import(bytes.into(), &NoExternalData, &ImportOptions::default())
}

fn malformed(bytes: impl Into<Bytes>) -> String {
    match read(bytes).unwrap_err().problem {
        Problem::Malformed(what) => what,
        other => panic!("{other:?}"),
    }
}

fn real_model() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join("branches/k2r2.radix.ts17_dynbatch.onnx")).unwrap()
}

#[test]
fn files_that_are_no_models_are_told_apart() {
    assert!(malformed(Bytes::new()).contains("empty"));
    assert!(malformed("ir_version: 8\ngraph {\n}\n").contains("text"));
    assert!(malformed("<!DOCTYPE html>\n<html><head>").contains("text"));
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    assert!(malformed(pointer).contains("git lfs pull"));
    assert!(malformed(vec![0x08, 0x08]).contains("no graph"));
    assert!(malformed(vec![0x80; 64]).contains("model at byte 0"));
}

#[test]
fn a_truncated_model_is_refused_wherever_it_ends() {
    let model = real_model();
    for length in (0..model.len()).step_by(53).chain(model.len() - 40..model.len()) {
        read(model[..length].to_vec()).unwrap_err();
    }
    assert!(malformed(model[..model.len() / 2].to_vec()).contains("truncated"));
}

#[test]
fn flipped_bits_never_make_it_panic() {
    let model = real_model();
    let mut state = 7u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    // Weights are most of the file and most boring: prefer what surrounds them.
    let (mut good, mut refused) = (0, 0);
    for _ in 0..3000 {
        let mut damaged = model.clone();
        for _ in 0..=random(3) {
            let at = random(model.len());
            damaged[at] ^= 1 << random(8);
        }
        match read(damaged) {
            Ok(model) => {
                verify(&model.graph).unwrap();
                good += 1;
            }
            Err(error) => {
                assert!(!matches!(error.problem, Problem::Internal(_)), "{error}");
                refused += 1;
            }
        }
    }
    assert!(good > 0 && refused > 0);
}

fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(tag, WireType::LengthDelimited, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend(content);
    out
}

/// Fields in fields, `levels` deep; `tag` gives the number of the one at a level, 0 the innermost.
/// Written from its end: lengths stand before what they count.
fn nest(levels: usize, tag: impl Fn(usize) -> u32) -> Vec<u8> {
    let mut backwards: Vec<u8> = Vec::new();
    for level in 0..levels {
        let mut head = Vec::new();
        encode_key(tag(level), WireType::LengthDelimited, &mut head);
        encode_varint(backwards.len() as u64, &mut head);
        backwards.extend(head.iter().rev());
    }
    backwards.reverse();
    backwards
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    const DEEP: usize = 100_000;
    // Graph in attribute in node in graph.
    let mut graphs = nest(DEEP, |level| [6, 5, 1][level % 3]);
    for tag in [5, 1, 7] {
        graphs = field(tag, &graphs);
    }
    assert!(malformed(graphs).contains("deep"));
    // Sequence of sequence, map of map, optional of optional: the type of a value or an attribute.
    for (kind, element) in [(4, 1), (5, 2), (9, 1)] {
        let types = nest(DEEP, |level| if level % 2 == 0 { element } else { kind });
        let value = field(7, &field(11, &field(2, &types)));
        assert!(malformed(value).contains("deep"), "{kind}");
        let attribute = field(7, &field(1, &field(5, &field(14, &types))));
        assert!(malformed(attribute).contains("deep"), "{kind}");
        let inside_function = field(25, &field(7, &field(5, &field(15, &types))));
        assert!(malformed(inside_function).contains("deep"), "{kind}");
    }
}

#[test]
fn groups_are_refused() {
    let mut groups = Vec::new();
    for _ in 0..100_000 {
        encode_key(50, WireType::StartGroup, &mut groups);
    }
    assert!(malformed(groups.clone()).contains("groups"));
    assert!(malformed(field(7, &groups)).contains("groups"));
}

#[test]
fn lengths_must_stay_inside_their_message() {
    let mut huge = Vec::new();
    encode_key(7, WireType::LengthDelimited, &mut huge);
    encode_varint(u64::MAX, &mut huge);
    assert!(malformed(huge).contains("past the end of the file"));
    // A graph of 4 bytes whose node claims 9, in a file that has them.
    let mut model = field(7, &[0x0a, 9, 0, 0]);
    model.extend([0x0a; 32]);
    assert!(malformed(model).contains("longer than the message"));
}

#[test]
fn weights_are_there_once() {
    use protobuf::Message;
    let nodes = vec![proto::node("Add", &["x", "w"], &["y"], vec![])];
    let mut model = proto::model(&[2], nodes);
    let mut tensor = proto::floats("w", &[2]).write_to_bytes().unwrap();
    tensor.extend(field(9, &[0; 8]));
    let mut graph = model.graph.take().unwrap().write_to_bytes().unwrap();
    graph.extend(field(5, &tensor));
    let mut bytes = proto::bytes(&model).to_vec();
    bytes.extend(field(7, &graph));
    assert!(malformed(bytes).contains("field 9 is there twice"));
}

#[test]
fn weights_are_slices_of_the_file() {
    let file = Bytes::from(real_model());
    let range = file.as_ptr_range();
    let graph = read(file.clone()).unwrap().graph;
    let weights = graph.nodes().filter_map(|id| match &graph.node(id).op {
        cardinal_compiler::ir::Op::Weight(w) => w.bytes(graph.ty(id)),
        _ => None,
    });
    let large: Vec<Bytes> = weights.filter(|w| w.len() > 64).collect();
    assert!(!large.is_empty());
    assert!(large.iter().all(|w| range.contains(&w.as_ptr())));
}
