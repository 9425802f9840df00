//! Real exporter files: compiled and interpreted results against the stored f64 references.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::path::Path;

use cardinal_compiler::interp;
use cardinal_compiler::ir::{Op, text};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::passes::{Run, run_with};
use cardinal_compiler::schedule::{self, Preferences, Summary};
use cardinal_compiler::{kernels, plan};
use cardinal_runtime::Tensor;
use running::files::{
    fill, import, import_filled, made_input, models, read_npy, rows, stem, try_import,
};
use running::linked::{self, Link, Linked};
use running::{avx2, compile_for, host, planned, rows as every_number, run, to_reference};

/// Largest absolute difference.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let each = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    each.fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

/// The models of a file, each with the first row of the stored input that it takes: a dynamic
/// batch is fixed to 1 and to all rows, a static one is run over the rows in turn.
fn cases_of(path: &Path, x: &Tensor) -> Vec<(Model, usize, usize)> {
    let all = x.shape()[0];
    let model = import(path, None);
    let batch = model.graph.ty(model.graph.inputs()[0]).shape()[0];
    match try_import(path, Some(all)) {
        Ok(open) if batch != all => vec![(model, 0, 1), (open, 0, all)],
        _ => (0..all / batch).map(|i| (model.clone(), i * batch, batch)).collect(),
    }
}

fn check_file(path: &Path, x: &Tensor, y: &Tensor, tolerance: f32) {
    for (model, first, count) in cases_of(path, x) {
        let (x, y) = (rows(x, first, count), rows(y, first, count));
        let expected = y.as_f32().unwrap();
        let reference = interp::run(&model.graph, &[to_reference(&x)]).unwrap();
        let interpreted = reference[0].to_bytes();
        let (words, _) = interpreted.as_chunks::<4>();
        let interpreted: Vec<f32> = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
        let d = distance(&interpreted, expected);
        assert!(d <= tolerance, "{path:?}: interpreted differs by {d}");
        let found = run_model(&model, &x);
        let d = distance(found.as_f32().unwrap(), expected);
        assert!(d <= tolerance, "{path:?}: compiled differs by {d}");
        if let Some((target, tools)) = linked::foreign() {
            let artifact = linked::artifact(&model.graph, &target);
            let program = Linked::new(&artifact, tools, Link::Static);
            let found = program.run(2, std::slice::from_ref(&x)).remove(0);
            let d = distance(found.as_f32().unwrap(), expected);
            assert!(d <= tolerance, "{path:?}: {d} off on {target:?}");
        }
    }
}

fn run_model(model: &Model, x: &Tensor) -> Tensor {
    run(&model.graph, &host(), 2, std::slice::from_ref(x)).remove(0)
}

#[test]
fn tiny_networks_match_their_outputs() {
    for path in models("tiny") {
        let name = stem(&path);
        let (base, _) = name.split_once('.').unwrap();
        let at = |end: &str| read_npy(&path.with_file_name(format!("{base}.{end}.npy")));
        check_file(&path, &at("in"), &at("out"), 2e-5);
    }
}

#[test]
fn blocks_match_their_outputs() {
    for path in models("branches") {
        let name = stem(&path);
        let mut parts = name.split('.');
        let (base, form) = (parts.next().unwrap(), parts.next().unwrap());
        let explicit = path.with_file_name(format!("{base}.in.npy"));
        let output = match form {
            "cardinal_linear" | "radix_of_linear" => format!("{base}.linear.out.npy"),
            "cardinal_conv" | "radix" => format!("{base}.conv.out.npy"),
            _ => format!("{base}.out.npy"),
        };
        let (x, y) = (read_npy(&explicit), read_npy(&path.with_file_name(output)));
        check_file(&path, &x, &y, 1e-5);
    }
}

/// Networks and blocks of both exporters, for five images: any number of these gives each its own row.
#[test]
fn fewer_images_give_their_rows() {
    let mut open = 0;
    for path in models("tiny").into_iter().chain(models("branches")) {
        let Ok(model) = try_import(&path, Some(5)) else { continue };
        every_number::check(&compile_for(&model.graph, &host()), &stem(&path));
        open += 1;
    }
    assert!(open >= 8, "{open} models leave their batch open");
}

#[test]
fn the_weight_generator_gives_the_known_answers() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/graphs/generator_kat.json");
    let answers: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let answers = answers.as_array().unwrap();
    assert!(!answers.is_empty());
    for answer in answers {
        if answer.get("input").is_some() {
            check_known_input(answer);
            continue;
        }
        let bits: Vec<String> =
            fill(answer).iter().map(|v| format!("{:08x}", v.to_bits())).collect();
        let expected = answer["f32_bits"].as_array().unwrap();
        let expected: Vec<&str> = expected.iter().map(|b| b.as_str().unwrap()).collect();
        assert_eq!(bits[..expected.len()], expected[..], "{}", answer["key"]);
    }
}

fn check_known_input(answer: &serde_json::Value) {
    let dims = answer["dims"].as_array().unwrap();
    let mut batched = vec![serde_json::json!(1)];
    batched.extend(dims.iter().cloned());
    let plan = serde_json::json!({"model": answer["input"], "input_dims": batched});
    let made = made_input(&plan, answer["number"].as_u64().unwrap() as usize);
    let (shape, values) = (made.shape(), made.as_f32().unwrap());
    for (at, bits) in answer["f32_bits_at"].as_object().unwrap() {
        let at: Vec<usize> = at.split(',').map(|i| i.parse().unwrap()).collect();
        let value = values[(at[0] * shape[2] + at[1]) * shape[3] + at[2]];
        assert_eq!(format!("{:08x}", value.to_bits()), bits.as_str().unwrap());
    }
}

/// Every export of a full-size network gives the stored logits, to a thousandth of their standard
/// deviation, and the same class. The larger set is `scripts/check_models.py`'s.
#[test]
fn full_size_networks_match_their_logits() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in models("graphs").iter().filter(|p| p.starts_with(own)) {
        let dynamic = stem(path).contains("dynbatch");
        let batch = dynamic.then_some(3);
        let (model, plan) = import_filled(path, batch);
        let reference = path.with_file_name(plan["reference"].as_str().unwrap());
        let logits = read_npy(&reference);
        for (x, expected) in cases(&plan, &logits, dynamic) {
            let found = run_model(&model, &x);
            let found = found.as_f32().unwrap();
            let error = distance(found, &expected) / deviation(logits.as_f32().unwrap());
            assert!(error <= 1e-3, "{path:?}: {error}");
            for (found, expected) in found.chunks(1000).zip(expected.chunks(1000)) {
                assert_eq!(largest(found), largest(expected), "{path:?}");
            }
        }
    }
}

fn cases(plan: &serde_json::Value, logits: &Tensor, dynamic: bool) -> Vec<(Tensor, Vec<f32>)> {
    let inputs = [made_input(plan, 0), made_input(plan, 1)];
    let row = |k: usize| rows(logits, k, 1).as_f32().unwrap().to_vec();
    if !dynamic {
        return inputs.into_iter().zip([row(0), row(1)]).collect();
    }
    let order = [0, 1, 0];
    let values: Vec<f32> =
        order.iter().flat_map(|k| inputs[*k].as_f32().unwrap()).copied().collect();
    let mut shape = inputs[0].shape().to_vec();
    shape[0] = 3;
    let expected = order.iter().flat_map(|k| row(*k)).collect();
    vec![(Tensor::from_f32(&shape, &values).unwrap(), expected)]
}

fn deviation(values: &[f32]) -> f32 {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
}

fn largest(values: &[f32]) -> usize {
    (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap()
}

/// `parse(print(x)) == x` for the import stage, after each pass, and for the plan.
#[test]
fn every_stage_of_every_small_model_survives_its_text() {
    for path in models("tiny").into_iter().chain(models("branches")) {
        let mut graph = import(&path, None).graph;
        let check = |graph: &cardinal_compiler::ir::Graph, stage: &str| {
            let printed = text::print(graph);
            let parsed = text::parse(&printed).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            assert!(parsed == *graph, "{path:?} at {stage}");
            assert_eq!(text::print(&parsed), printed, "{path:?} at {stage}");
        };
        check(&graph, "import");
        cardinal_compiler::passes::run(&mut graph, None, &mut |pass, graph| {
            check(graph, pass.name)
        })
        .unwrap();
        let plan = planned(&graph, &avx2());
        let printed = plan::text::print(&plan);
        let parsed = plan::text::parse(&printed, &kernels::registry())
            .unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert!(parsed == plan, "{path:?} at plan");
    }
}

/// The dumps that a person reads: the fused stage of every block, those of the larger set included
/// where it is there, and import, fused and plan of the project's tiny networks and of two blocks.
#[test]
fn dumps_are_as_reviewed() {
    let blocks = ["k2r2.radix.ts17", "k2r2.cardinal_conv.dyn"];
    // Plans and schedules change with estimates: a block in blocks, and a network.
    let planned_too = [blocks[0], "resnest_r2k1_avdlast.ts17"];
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = models("tiny").into_iter().chain(models("branches"));
    for path in all {
        let name = stem(&path);
        let is_block = path.parent().unwrap().ends_with("branches");
        if !is_block && !path.starts_with(own) {
            continue;
        }
        let whole = !is_block || blocks.contains(&name.as_str());
        let mut graph = import(&path, None).graph;
        if whole {
            snapshot(&name, "import", &text::print(&graph));
        }
        cardinal_compiler::passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
        snapshot(&name, "fused", &text::print(&graph));
        if planned_too.contains(&name.as_str()) {
            let schedule = kernels::schedule(&graph, &avx2().machine(), &Preferences::default());
            snapshot(&name, "schedule", &schedule::text::print(&Summary::of(&graph, &schedule)));
            let plan = kernels::lower(&graph, &schedule).unwrap();
            snapshot(&name, "plan", &plan::text::print(&plan));
        }
    }
}

fn snapshot(name: &str, stage: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("{name}@{stage}"), text));
}

/// Both sides of every rewrite agree in the interpreter.
#[test]
fn every_rewrite_keeps_the_meaning() {
    for path in models("tiny").into_iter().chain(models("branches")) {
        let mut graph = import(&path, None).graph;
        let run = Run { check_rewrites: true, ..Run::default() };
        let checked = run_with(&mut graph, run, &mut |_| {});
        checked.unwrap_or_else(|e| panic!("{path:?}: {e}"));
    }
}

/// A stage of a fused graph that no pass should leave behind in inference graphs.
#[test]
fn folding_leaves_no_batch_norm_behind_a_convolution() {
    for path in models("tiny") {
        let mut graph = import(&path, None).graph;
        cardinal_compiler::passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
        let left = graph
            .nodes()
            .filter(|id| matches!(graph.node(*id).op, Op::BatchNorm { .. } | Op::Identity));
        assert_eq!(left.count(), 0, "{path:?}");
    }
}
