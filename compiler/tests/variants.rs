//! One artifact for several CPUs: each variant gives the bits that it gives alone, weights are shared
//! by where they come from, and damage anywhere is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::Range;

use bytes::Bytes;
use cardinal_compiler::codegen::Target;
use cardinal_compiler::compile;
use cardinal_compiler::error::Problem;
use cardinal_compiler::ir::{Graph, text};
use cardinal_compiler::machine::Core;
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::passes;
use cardinal_compiler::plan::weights::PackedWeights;
use cardinal_compiler::plan::{Constant, Plan};
use cardinal_runtime::table::{Section, Table};
use cardinal_runtime::{Artifact, ArtifactParts, LoadError, Program, Session, Tensor, cpu};
use prost::Message as _;
use running::files::{import, import_unfilled, models};
use running::random;

const LINUX: &str = "x86_64-unknown-linux-gnu";
const LEVELS: [&str; 3] = ["x86-64", "x86-64-v3", "x86-64-v4"];

fn targets(cpus: &[&str]) -> Vec<Target> {
    cpus.iter().map(|cpu| Target::named(LINUX, cpu).unwrap()).collect()
}

fn compiled(model: &Model, cpus: &[&str]) -> ArtifactParts<PackedWeights> {
    compile(model, &targets(cpus), &CompileOptions::default()).unwrap().parts
}

fn artifact(model: &Model, cpus: &[&str]) -> Artifact {
    compiled(model, cpus).to_artifact().unwrap()
}

/// A small ResNeSt with a stem, grouped convolutions, attention and a head.
fn small() -> Model {
    let paths = models("tiny");
    let path = paths.iter().find(|p| p.to_string_lossy().contains("r2k2_avdfirst")).unwrap();
    import(path, None)
}

/// What a variant makes of reproducible inputs, where this machine can run it.
fn outputs(artifact: Artifact, cpu: &str) -> Option<Vec<Tensor>> {
    let program = match Program::load_variant(artifact, Some(cpu)) {
        Ok(program) => program,
        Err(LoadError::MissingFeatures { .. } | LoadError::Target { .. }) => return None,
        Err(other) => panic!("{cpu}: {other}"),
    };
    assert_eq!(program.variant().name, cpu);
    let inputs = program.inputs().iter().zip(1..);
    let inputs: Vec<Tensor> = inputs
        .map(|(spec, seed)| {
            random(&cardinal_compiler::ir::TensorType::new(spec.dtype, &spec.shape), seed)
        })
        .collect();
    let mut session = Session::new(program, NonZeroUsize::new(2).unwrap()).unwrap();
    Some(session.run(&inputs).unwrap())
}

#[test]
fn each_variant_gives_the_bits_it_gives_alone() {
    let mut ran = 0;
    for path in models("tiny").iter().chain(&models("branches")).step_by(4) {
        let model = import(path, None);
        for cpu in LEVELS {
            let together = outputs(artifact(&model, &LEVELS), cpu);
            let alone = outputs(artifact(&model, &[cpu]), cpu);
            let bits = |all: &Option<Vec<Tensor>>| {
                all.as_ref()
                    .map(|all| all.iter().map(|t| t.as_bytes().to_vec()).collect::<Vec<_>>())
            };
            assert_eq!(bits(&together), bits(&alone), "{path:?} {cpu}");
            ran += usize::from(together.is_some());
        }
    }
    assert!(ran > 0 || !cpu::matches_host(LINUX));
}

#[test]
fn an_artifact_does_not_depend_on_the_order_of_cpus() {
    let model = small();
    let expected = artifact(&model, &LEVELS);
    let names: Vec<&str> = expected.variants().iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, LEVELS);
    for order in [
        &["x86-64-v4", "x86-64", "x86-64-v3"][..],
        &["x86-64-v3", "x86-64-v4", "generic", "x86-64-v3", "x86-64"],
    ] {
        assert!(artifact(&model, order).as_bytes() == expected.as_bytes(), "{order:?}");
    }
}

#[test]
fn targets_of_one_artifact_are_of_one_triple() {
    let mut both = targets(&["x86-64"]);
    both.extend(Target::named("aarch64-unknown-linux-gnu", "generic"));
    for bad in [&both[..], &[]] {
        let error = compile(&small(), bad, &CompileOptions::default()).err().unwrap();
        assert!(matches!(error.problem, Problem::Target(_)), "{error}");
    }
}

#[test]
fn cpus_are_named_after_what_they_have() {
    for cpu in ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"] {
        assert_eq!(Target::named(LINUX, cpu).unwrap().cpu(), cpu);
    }
    let of = |triple: &str, features: &[&str]| {
        let features: Vec<String> = features.iter().map(|f| (*f).to_owned()).collect();
        Target::new(triple, &features).unwrap().cpu()
    };
    assert_eq!(of(LINUX, &["fma", "avx", "sse2"]), "x86-64+avx+fma");
    assert_eq!(of("aarch64-unknown-linux-gnu", &["neon"]), "generic");
}

#[test]
fn micro_architectures_have_the_features_of_their_level() {
    for core in Core::ALL {
        let [target, level] =
            [core.name(), core.level()].map(|cpu| Target::named(LINUX, cpu).unwrap());
        assert_eq!((target.cpu(), target.core()), (core.to_string(), Some(core)));
        let beyond = core.beyond_level().iter().map(|f| (*f).to_owned());
        let mut features: Vec<String> = level.features().iter().cloned().chain(beyond).collect();
        features.sort();
        assert_eq!((target.features(), level.core()), (&features[..], None));
        let refused = Target::named("aarch64-unknown-linux-gnu", core.name()).unwrap_err();
        assert!(matches!(refused.problem, Problem::Target(_)), "{refused}");
    }
    for (cpu, name) in [("x86-64-v3@znver4", "x86-64-v3@znver4"), ("x86-64-v4@znver4", "znver4")] {
        assert_eq!(Target::named(LINUX, cpu).unwrap().cpu(), name);
    }
    for bad in ["znver9", "x86-64-v3@", "x86-64-v3@znver9", "@znver4", "znver4@x86-64-v3"] {
        let refused = Target::named(LINUX, bad).unwrap_err();
        assert!(refused.remedy.as_deref().unwrap_or_default().contains("znver4"), "{refused}");
    }
    let generic = Target::named("aarch64-unknown-linux-gnu", "generic").unwrap();
    assert_eq!(generic.clone().for_core(Some("znver4")), generic);
}

// ---- the shared weights section ------------------------------------------------------------------

fn levels() -> Vec<Target> {
    targets(&LEVELS)
}

fn fused(mut graph: Graph) -> Graph {
    passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    graph
}

/// The constants of all plans by their place.
fn stored(plans: &[Plan]) -> BTreeMap<usize, &Constant> {
    let mut stored: BTreeMap<usize, &Constant> = BTreeMap::new();
    for constant in plans.iter().flat_map(|plan| &plan.constants) {
        let first = stored.entry(constant.offset).or_insert(constant);
        // Two at one place are one.
        assert_eq!((&first.name, &first.ty), (&constant.name, &constant.ty));
        assert_eq!(first.data.bytes(), constant.data.bytes());
    }
    stored
}

#[test]
fn plans_share_what_they_pack_alike_and_nothing_else() {
    for path in models("tiny") {
        let graph = fused(import(&path, None).graph);
        let plans = running::planned_together(&graph, &levels());
        let mut end = 0;
        for (offset, constant) in stored(&plans) {
            assert!(offset.is_multiple_of(64) && offset >= end, "{path:?} {}", constant.name);
            end = offset + constant.ty.bytes();
        }
        let alone: Vec<Plan> = levels().iter().map(|t| running::planned(&graph, t)).collect();
        assert!(plans.iter().all(|plan| plan.weight_bytes == end));
        assert!(end < alone.iter().map(|plan| plan.weight_bytes).sum());
        // The first lies as it would alone, and what is computed is the same for all.
        assert_eq!(plans[0].constants, alone[0].constants);
        for (plan, alone) in plans.iter().zip(&alone) {
            assert_eq!((&plan.steps, &plan.buffers), (&alone.steps, &alone.buffers));
        }
    }
}

#[test]
fn equal_machines_share_all_weights() {
    let graph = fused(small().graph);
    let twice = [levels()[1].clone(), levels()[1].clone()];
    let plans = running::planned_together(&graph, &twice);
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0], running::planned(&graph, &twice[0]));
}

/// Tiles differ, but blocks lie alike: what both compute in the same way is stored once. Ways differ in
/// some layers, since weights that are larger pay less where multiply-adds are faster.
#[test]
fn avx512_shares_weights_with_avx2() {
    let graph = fused(import_unfilled(&models("graphs")[0]).graph);
    let plans = running::planned_together(&graph, &levels()[1..]);
    let packed = |plan: &Plan| -> Vec<(String, usize, usize)> {
        plan.constants.iter().map(|c| (c.name.clone(), c.ty.bytes(), c.offset)).collect()
    };
    let [avx2, avx512] = [packed(&plans[0]), packed(&plans[1])];
    for (name, bytes, offset) in &avx512 {
        // A layer's weights of one size are packed alike.
        let twin = avx2.iter().find(|(n, b, _)| (n, b) == (name, bytes));
        assert!(twin.is_none_or(|(_, _, at)| at == offset), "{name} is stored twice");
    }
    let shared = avx512.iter().filter(|constant| avx2.contains(constant)).count();
    println!("{shared} of {} constants are shared", avx512.len());
    assert!(2 * shared > avx512.len());
}

/// Two weights that happen to be equal are two: others may take their places that are not.
#[test]
fn equal_contents_are_not_merged() {
    let source = "graph @twins {\n\
        input %x f32[1, 16, 8, 8]\n\
        weight %a f32[16, 16, 1, 1] rand(7)\n\
        weight %b f32[16, 16, 1, 1] rand(7)\n\
        %u f32[1, 16, 8, 8] = conv(%x, %a)\nwindow 1x1\nthen relu\n\
        %y f32[1, 16, 8, 8] = conv(%u, %b)\nwindow 1x1\n\
        output %y\n}\n";
    let graph = fused(text::parse(source).unwrap());
    for plan in running::planned_together(&graph, &levels()) {
        let places: BTreeSet<usize> = plan.constants.iter().map(|c| c.offset).collect();
        assert_eq!((plan.constants.len(), places.len()), (2, 2));
    }
}

// ---- damage --------------------------------------------------------------------------------------

fn open(bytes: &[u8]) -> Result<Artifact, LoadError> {
    Artifact::from_bytes(Bytes::copy_from_slice(bytes))
}

/// Where the parts of an artifact are: header, table of contents and sections.
fn regions(artifact: &Artifact) -> Vec<(String, Range<usize>)> {
    let table = Table { sections: artifact.sections().to_vec() };
    let front = [("header", 0..48), ("table", 48..48 + table.encoded_len())];
    let front = front.map(|(name, range)| (name.to_owned(), range));
    let section = |section: &Section| {
        let (begin, length) = (section.offset as usize, section.length as usize);
        (section.name.clone(), begin..begin + length)
    };
    front.into_iter().chain(table.sections.iter().map(section)).collect()
}

/// No byte of a damaged artifact runs: there is no program without an artifact, and opening fails.
#[test]
fn damaged_copies_are_refused() {
    let intact = artifact(&small(), &LEVELS);
    let bytes = intact.as_bytes();
    let mut copies = 0;
    let mut refuse = |what: &str, copy: &[u8]| {
        assert!(open(copy).is_err(), "{what}");
        copies += 1;
    };
    for (what, range) in regions(&intact) {
        for k in 0..24 {
            let at = range.start + (range.len() - 1) * k / 23;
            let mut copy = bytes.to_vec();
            copy[at] ^= 1 << (k % 8);
            refuse(&format!("{what}: bit {} of byte {at}", k % 8), &copy);
        }
        for at in [range.start, range.start + range.len() / 2, range.end - 1] {
            refuse(&format!("{what}: cut at {at}"), &bytes[..at]);
        }
        let mut copy = bytes.to_vec();
        copy.drain(range.clone());
        refuse(&format!("without {what}"), &copy);
        let mut copy = bytes.to_vec();
        copy[range].fill(0xC3);
        refuse(&format!("{what} overwritten"), &copy);
    }
    refuse("one byte more", &[bytes, &[0]].concat());
    for version in [0u32, 1, 4, 6, u32::MAX] {
        let mut copy = bytes.to_vec();
        copy[8..12].copy_from_slice(&version.to_le_bytes());
        refuse(&format!("version {version}"), &copy);
    }
    assert!(copies >= 100, "{copies}");
    assert!(open(bytes).is_ok());
}

/// An artifact with another table, which has its digest: as whoever writes one can make it.
fn with_table(artifact: &Artifact, change: impl FnOnce(&mut Table)) -> Vec<u8> {
    let mut table = Table { sections: artifact.sections().to_vec() };
    change(&mut table);
    let encoded = table.encode_to_vec();
    let first = table.sections[0].offset as usize;
    let mut bytes = artifact.as_bytes().to_vec();
    bytes[12..16].copy_from_slice(&(encoded.len() as u32).to_le_bytes());
    bytes[16..48].copy_from_slice(blake3::hash(&encoded).as_bytes());
    bytes[48..first].fill(0);
    bytes[48..48 + encoded.len()].copy_from_slice(&encoded);
    bytes
}

#[test]
fn intact_artifacts_for_other_machines_are_not_loaded() {
    let load = |change: &dyn Fn(&mut ArtifactParts<PackedWeights>)| {
        let mut parts = compiled(&small(), &LEVELS);
        change(&mut parts);
        Program::load(parts.to_artifact().unwrap()).unwrap_err()
    };
    for target in ["aarch64-unknown-linux-gnu", "x86_64-pc-windows-msvc", "x86_64-unknown-none"] {
        let error = load(&|parts| parts.manifest.target = target.into());
        assert!(matches!(error, LoadError::Target { .. }), "{error}");
    }
    if cpu::matches_host(LINUX) {
        let error = load(&|parts| {
            parts.code.iter_mut().for_each(|code| code.variant.cpu_features.push("zzz".into()));
        });
        let LoadError::MissingFeatures { variant, missing } = error else { panic!("{error}") };
        assert_eq!((variant.as_str(), missing), ("x86-64", vec!["zzz".to_owned()]));
    }
}

/// A swap of two variants' code gives each the other's digest, which is refused.
#[test]
fn code_of_another_variant_is_refused() {
    let intact = artifact(&small(), &LEVELS);
    let bytes = with_table(&intact, |table| {
        table.sections[1].digest = table.sections[2].digest.clone();
    });
    assert!(matches!(open(&bytes), Err(LoadError::Digest(_))));
}
