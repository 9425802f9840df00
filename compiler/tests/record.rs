//! What artifacts say of how they were compiled: the texts of the way through the compiler, and nothing that a
//! forged section could do with them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use cardinal_compiler::codegen::{Listing, Target};
use cardinal_compiler::error::Problem;
use cardinal_compiler::ir::text;
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::{CompileOptions, Narrow};
use cardinal_compiler::pipeline::{Pipeline, Trace};
use cardinal_compiler::record::Record;
use cardinal_compiler::schedule::{Choice, Chosen, Summary};
use cardinal_compiler::{kernels, plan, schedule};
use cardinal_runtime::table::name;
use cardinal_runtime::{Artifact, OtherSection};
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec;
use prost::Message;

/// A convolution in blocks, whose weights are large enough for fewer digits, and a matrix.
const SOURCE: &str = "graph @tiny {
  input %x f32[1, 16, 12, 12]
  weight %w f32[32, 16, 3, 3] rand(1)
  weight %b f32[32] rand(2)
  %\"u\\u{1b}\" f32[1, 32, 12, 12] = conv(%x, %w, %b)
    window 3x3 pad 1
    then relu
    from \"Conv\\u{202e}\"
  %m f32[1, 32] = reduce_mean(%\"u\\u{1b}\")
    axes [2, 3]
  weight %v f32[32, 10] rand(3)
  %y f32[1, 10] = matmul(%m, %v)
  output %y
}";

const CPUS: [&str; 2] = ["x86-64-v3", "znver4"];

fn model() -> Model {
    Model {
        graph: text::parse(SOURCE).unwrap(),
        metadata: Vec::new(),
        digest: [7; 32],
        operators: Default::default(),
    }
}

fn targets() -> Vec<Target> {
    CPUS.map(|cpu| Target::named("x86_64-unknown-linux-gnu", cpu).unwrap()).to_vec()
}

fn compiled(weights: Option<Narrow>) -> (Trace, Artifact) {
    let options = CompileOptions { weights, ..CompileOptions::default() };
    let model = model();
    let pipeline = Pipeline::new(&model, &options);
    let artifact = pipeline.compile(&targets()).unwrap().parts.to_artifact().unwrap();
    (pipeline.plans(&targets()).unwrap(), artifact)
}

/// The artifact with other bytes in place of its record, or without one.
fn with_record(record: Option<Vec<u8>>) -> Artifact {
    let (model, options) = (model(), CompileOptions::default());
    let mut parts = Pipeline::new(&model, &options).compile(&targets()).unwrap().parts;
    let section = |bytes| OtherSection { name: name::RECORD.into(), required: false, bytes };
    parts.others = record.map(section).into_iter().collect();
    parts.to_artifact().unwrap()
}

#[test]
fn an_artifact_says_what_its_way_through_the_compiler_says() {
    let (trace, artifact) = compiled(None);
    assert_eq!(artifact.variants().len(), trace.variants.len());
    for (position, variant) in trace.variants.iter().enumerate() {
        let record = Record::read(&artifact, position).unwrap();
        assert_eq!(record.target, variant.target);
        assert_eq!(text::print(&record.graph), text::print(&trace.graph));
        let summary = Summary::of(&trace.graph, &variant.schedule);
        assert_eq!(schedule::text::print(&record.schedule), schedule::text::print(&summary));
        let functions = plan::step_functions(variant.plan().unwrap());
        assert_eq!(plan::step_functions(&record.plan), functions);
        let expected = variant.code(Listing { clif: false, assembly: true }).unwrap();
        let code = record.code(&artifact, position, true).unwrap();
        assert!(code.listing() == expected.listing(), "{}", code.listing());
        assert_eq!(code.bytes, artifact.code(position));
        let hashed = record.with_hashes(&artifact).unwrap().plan;
        assert_eq!(plan::text::print(&hashed), plan::text::print(variant.plan().unwrap()));
    }
}

#[test]
fn hashes_are_those_of_what_is_stored() {
    let (trace, artifact) = compiled(Some(Narrow::F16));
    let plan = Record::read(&artifact, 0).unwrap().with_hashes(&artifact).unwrap().plan;
    let exact = trace.variants[0].plan().unwrap();
    let hash = |plan: &plan::Plan| -> Vec<u64> {
        plan.constants.iter().map(|constant| constant.data.hash()).collect()
    };
    let changed = hash(&plan).iter().zip(hash(exact)).filter(|(a, b)| *a != b).count();
    assert!(changed > 0 && changed < plan.constants.len(), "{changed}");
}

#[test]
fn an_artifact_without_a_record_says_so() {
    let error = Record::read(&with_record(None), 0).unwrap_err();
    assert!(matches!(error.problem, Problem::Record(_)), "{error}");
    assert!(error.remedy.is_some());
    let artifact = compiled(None).1;
    let error = Record::read(&artifact, CPUS.len()).unwrap_err();
    assert!(matches!(error.problem, Problem::Record(_)), "{error}");
}

/// The record inflated, with one of its texts changed to another of the same length.
fn edited(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let artifact = compiled(None).1;
    let mut bytes = decompress_to_vec(artifact.section(name::RECORD).unwrap()).unwrap();
    let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    compress_to_vec(&bytes, 6)
}

#[test]
fn a_forged_record_is_refused() {
    let bomb = compress_to_vec(&vec![0; 64 << 20], 6);
    assert!(bomb.len() < 1 << 20);
    for (what, forged) in [
        ("nothing", Vec::new()),
        ("no deflate", b"soup".to_vec()),
        ("more than a record may hold", bomb),
        ("no message", compress_to_vec(&[0xFF; 99], 6)),
        ("no variants", compress_to_vec(&[], 6)),
        ("a graph that does not parse", edited("graph @tiny", "graph %tiny")),
        ("a graph that is none", edited("window   3x3", "window   9x9")),
        ("a schedule that does not parse", edited("schedule @tiny", "schedule %tiny")),
        ("a schedule that drives a terminal", edited("kilocycles\n", "\u{1b}[2J[31m7z\n")),
        ("the plan of other code", edited("  arena     ", "  arena  9  ")),
        ("a function's name that drives a terminal", edited("entry", "\u{1b}[2Jy")),
    ] {
        let error = Record::read(&with_record(Some(forged)), 0).unwrap_err();
        assert!(matches!(error.problem, Problem::Record(_)), "{what}: {error}");
    }
    let artifact = with_record(Some(edited("entry", "Entry")));
    let code = Record::read(&artifact, 0).unwrap().code(&artifact, 0, false).unwrap();
    assert!(code.functions.iter().any(|function| function.name == "Entry"));
}

#[test]
fn every_byte_of_a_record_can_be_damaged() {
    let artifact = compiled(None).1;
    let section = artifact.section(name::RECORD).unwrap().to_vec();
    let inflated = decompress_to_vec(&section).unwrap();
    // Past the digests, as somebody may write who also writes those.
    for at in (0..inflated.len()).step_by(inflated.len() / 200) {
        for bit in [0, 4, 7] {
            let mut bytes = inflated.clone();
            bytes[at] ^= 1 << bit;
            let artifact = with_record(Some(compress_to_vec(&bytes, 1)));
            let Ok(record) = Record::read(&artifact, 0) else { continue };
            let _ = record.code(&artifact, 0, true);
            let _ = plan::json::to_json(&record.plan);
            record.plan.steps.iter().for_each(|step| {
                let _ = step.kernel.multiply_adds();
            });
            let _ = record.with_hashes(&artifact);
        }
    }
}

/// A section whose first variant has this plan's text, and functions that call these.
#[derive(Clone, PartialEq, Message)]
struct Section {
    #[prost(string, tag = "1")]
    graph: String,
    #[prost(message, repeated, tag = "2")]
    variants: Vec<SectionVariant>,
}

#[derive(Clone, PartialEq, Message)]
struct SectionVariant {
    #[prost(string, tag = "1")]
    schedule: String,
    #[prost(string, tag = "2")]
    plan: String,
    #[prost(message, repeated, tag = "3")]
    functions: Vec<SectionFunction>,
}

#[derive(Clone, PartialEq, Message)]
struct SectionFunction {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    length: u64,
    #[prost(uint64, repeated, tag = "4")]
    calls: Vec<u64>,
}

/// The artifact whose first variant's record is changed so.
fn forged(change: impl FnOnce(&mut SectionVariant)) -> Artifact {
    let artifact = compiled(None).1;
    let bytes = decompress_to_vec(artifact.section(name::RECORD).unwrap()).unwrap();
    let mut section = Section::decode(&*bytes).unwrap();
    change(&mut section.variants[0]);
    with_record(Some(compress_to_vec(&section.encode_to_vec(), 1)))
}

#[test]
fn forged_calls_are_refused() {
    assert!(Record::read(&forged(|_| {}), 0).is_ok());
    let none = forged(|variant| variant.functions[0].calls.push(1));
    let many = forged(|variant| {
        let offset = variant.functions[0].offset;
        variant.functions[0].calls = vec![offset; variant.functions.len() + 1];
    });
    for artifact in [none, many] {
        let error = Record::read(&artifact, 0).unwrap_err();
        assert!(matches!(error.problem, Problem::Record(_)), "{error}");
    }
}

#[test]
fn where_choices_come_from_changes_no_byte() {
    let options = CompileOptions::default();
    let model = model();
    let layers = Pipeline::new(&model, &options).schedules(&targets()).unwrap();
    let layers = layers.variants.iter().flat_map(|v| v.schedule.layers(&layers.graph));
    let layers: Vec<_> = layers.collect();
    assert!(!layers.is_empty());
    let of = |because: &str| {
        let chosen =
            |choice: &Choice| Chosen { choice: choice.clone(), because: because.to_owned() };
        let mut options = CompileOptions::default();
        // What is not the estimates' choice.
        let last = layers.iter().filter_map(|layer| Some((layer, layer.candidates.last()?)));
        options.schedule.choices =
            last.map(|(layer, choice)| (layer.key.clone(), chosen(choice))).collect();
        let parts = Pipeline::new(&model, &options).compile(&targets()).unwrap().parts;
        let artifact = parts.to_artifact().unwrap();
        artifact.section(name::RECORD).unwrap().to_vec()
    };
    assert!(of("chosen in a.txt") == of("direct 17.3 us; nothing faster"));
    let text = decompress_to_vec(&of("chosen in a.txt")).unwrap();
    assert!(text.windows(5).any(|part| part == b"tuned"));
}

#[test]
fn a_plan_that_divides_by_nothing_is_refused() {
    let (trace, _) = compiled(None);
    let mut seen = 0;
    for variant in &trace.variants {
        let text = plan::text::print(variant.plan().unwrap());
        for key in ["chunk", "together", "pixels", "blocks"] {
            for line in text.lines().filter(|line| line.split_whitespace().next() == Some(key)) {
                let zero = text.replacen(line, &format!("    {key} 0"), 1);
                let Ok(plan) = plan::text::parse(&zero, &kernels::registry()) else { continue };
                seen += 1;
                let _ = plan::json::to_json(&plan);
                let _ = plan::check::check(&plan);
            }
        }
    }
    assert!(seen > 0);
}
