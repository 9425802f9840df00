//! `cardinal profile`: what it prints is whole and adds up, whatever the times are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::Folder;
use serde_json::Value;

/// A quick profile: times are noise, and nothing here depends on them.
const QUICK: &str = "--iterations 2 --warmup 1";

/// A folder with the digits model.
fn folder() -> Folder {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx");
    let folder = Folder::new();
    fs::copy(model, folder.path("m.onnx")).unwrap();
    folder
}

/// The same with the model in 8 bits as `q.onnx`.
fn quantized() -> Folder {
    let folder = folder();
    let image = "../examples/digits/images/00000.png";
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(image), folder.path("0.png")).unwrap();
    folder.run("quantize m.onnx --calibrate 0.png -o q.onnx").succeeds();
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn steps(value: &Value) -> &[Value] {
    value["steps"].as_array().unwrap()
}

/// Name and kernel of each step.
fn named(steps: &[Value]) -> Vec<[&str; 2]> {
    steps.iter().map(|step| ["name", "kernel"].map(|key| step[key].as_str().unwrap())).collect()
}

/// Every number of a step is one, and what is a part is no less than nothing.
fn check_steps(profile: &Value) {
    for step in steps(profile) {
        for key in ["ms", "share", "calls", "multiply_adds", "bytes"] {
            assert!(step[key].as_f64().is_some_and(|x| x >= 0.0), "{key} of {step}");
        }
        for key in ["algorithm", "stage", "element"] {
            assert!(step[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {step}");
        }
        assert!(["compute", "memory"].contains(&step["bound"].as_str().unwrap()), "{step}");
        let multiplies = step["multiply_adds"].as_u64().unwrap() > 0;
        assert!(multiplies || step["gflops"].is_null(), "{step}");
        assert!(step["bytes"].as_u64().unwrap() > 0, "{step}");
    }
}

fn sum(rows: &Value, key: &str) -> f64 {
    rows.as_array().unwrap().iter().map(|row| row[key].as_f64().unwrap()).sum()
}

#[test]
fn every_step_of_the_plan_is_there_once_and_shares_add_up() {
    for (folder, model) in [(folder(), "m.onnx"), (quantized(), "q.onnx")] {
        let profile = folder.run(&format!("profile {model} --json --threads 1 {QUICK}"));
        let profile = json(&profile.succeeds());
        assert_eq!(profile["schema"], "cardinal.profile/v1");
        assert_eq!(profile["threads"], 1);
        let plan = folder.run(&format!("inspect {model} --stage plan --format json")).succeeds();
        assert_eq!(named(steps(&profile)), named(steps(&json(&plan))));
        check_steps(&profile);
        for rows in ["steps", "algorithms", "stages"] {
            let shares = sum(&profile[rows], "share");
            assert!((shares - 1.0).abs() < 1e-9, "{shares} of {rows}");
        }
        for rows in ["algorithms", "stages"] {
            assert_eq!(sum(&profile[rows], "steps") as usize, steps(&profile).len());
        }
        let peaks = profile["peak_gflops"].as_object().unwrap();
        assert!(peaks.values().all(|peak| peak.as_f64().unwrap() > 0.0), "{peaks:?}");
        assert!(profile["memory_gb_per_s"].as_f64().unwrap() > 0.0);
    }
}

/// A multiply-add by the definition of the digits model's first convolution: 16 channels of 3 × 3 of one
/// channel, on 14 × 14 pixels.
#[test]
fn work_is_that_of_the_definition() {
    let folder = folder();
    let profile = folder.run(&format!("profile m.onnx --json --cpu x86-64 --threads 1 {QUICK}"));
    let profile = json(&profile.succeeds());
    let first = steps(&profile).iter().find(|step| step["multiply_adds"] != 0).unwrap();
    assert_eq!(first["multiply_adds"], 16 * 9 * 14 * 14);
    assert_eq!(first["stage"], "14x14");
}

#[test]
fn text_fits_80_columns_without_escapes_and_is_cut() {
    let folder = folder();
    let short = folder.run(&format!("profile m.onnx {QUICK}")).succeeds();
    let long = folder.run(&format!("profile m.onnx --all {QUICK}")).succeeds();
    for text in [&short, &long] {
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains("all steps") && text.contains("measured peak"), "{text}");
    }
    assert!(short.contains("more steps; --all lists all") && !long.contains("more steps"));
    assert!(long.lines().count() > short.lines().count() + 20);
}

#[test]
fn a_profile_is_compared_with_an_older_one_step_by_step() {
    let folder = folder();
    let older = folder.run(&format!("profile m.onnx --json {QUICK}")).succeeds();
    fs::write(folder.path("old.json"), &older).unwrap();
    let newer = folder.run(&format!("profile m.onnx --json --against old.json {QUICK}"));
    let newer = json(&newer.succeeds());
    let rows = newer["against"].as_array().unwrap();
    assert_eq!(named(rows), named(steps(&newer)));
    for ((row, step), old) in rows.iter().zip(steps(&newer)).zip(steps(&json(&older))) {
        assert_eq!((&row["new_ms"], &row["old_ms"]), (&step["ms"], &old["ms"]));
        let ratio = step["ms"].as_f64().unwrap() / old["ms"].as_f64().unwrap();
        assert!((row["ratio"].as_f64().unwrap() - ratio).abs() < 1e-9, "{row}");
    }
    let text = folder.run(&format!("profile m.onnx --against old.json {QUICK}")).succeeds();
    assert!(text.contains("ratio") && text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn steps_that_took_no_time_have_no_ratio() {
    let step = "{\"name\": \"x\", \"kernel\": \"map\", \"ms\": 0}";
    let zero = format!("{{\"schema\": \"cardinal.profile/v1\", \"steps\": [{step}]}}");
    let folder = folder().file("zero.json", zero);
    let text = folder.run(&format!("profile m.onnx --against zero.json {QUICK}")).succeeds();
    let last = text.lines().last().unwrap();
    assert!(last.ends_with("     -  all steps"), "{last}");
}

#[test]
fn what_is_no_profile_is_refused() {
    let folder = folder().file("no.json", "{").file("other.json", "{\"schema\": \"x\"}");
    let folder = folder.file("steps.json", "{\"schema\": \"cardinal.profile/v1\", \"steps\": [1]}");
    for (older, says) in [
        ("no.json", "no JSON"),
        ("other.json", "schema"),
        ("steps.json", "lacks"),
        ("gone", "read"),
        ("/dev/zero", "too large"),
    ] {
        // Before anything is measured, and so before the model is read.
        let refused = folder.run(&format!("profile gone.onnx --against {older} {QUICK}"));
        let said = refused.fails_with(5);
        assert!(said.contains(says), "{said}");
    }
    folder.run("profile m.onnx --against no.json --format html").fails_with(2);
    folder.run("profile m.onnx --json --format text").fails_with(2);
}

/// Each track has spans that lie within those of its steps, and none begins before the last has ended.
#[test]
fn a_trace_has_a_track_a_thread() {
    let folder = folder();
    let trace = folder.run(&format!("profile m.onnx --format chrome-trace --threads 2 {QUICK}"));
    let trace = json(&trace.succeeds());
    let events = trace["traceEvents"].as_array().unwrap();
    let names = events.iter().filter(|event| event["ph"] == "M");
    let names: Vec<&str> = names.map(|event| event["args"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["steps", "thread 0", "thread 1"]);
    let spans = |track: u64| {
        let of = move |event: &&Value| event["ph"] == "X" && event["tid"] == track;
        let mut spans: Vec<(f64, f64, u64)> = events
            .iter()
            .filter(of)
            .map(|event| {
                let time = |key: &str| event[key].as_f64().unwrap();
                let step = event["args"]["step"].as_u64().unwrap();
                (time("ts"), time("ts") + time("dur"), step)
            })
            .collect();
        spans.sort_by(|a, b| a.0.total_cmp(&b.0));
        spans
    };
    let steps = spans(0);
    let plan = json(&folder.run("inspect m.onnx --stage plan --format json").succeeds());
    assert_eq!(steps.len(), plan["steps"].as_array().unwrap().len());
    for track in 0..=2 {
        let spans = spans(track);
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0 + 1e-3), "track {track}");
        for (begin, end, step) in spans {
            let (from, to, _) = steps.iter().find(|(.., other)| *other == step).unwrap();
            assert!(*from <= begin && begin <= end && end <= to + 1e-3, "step {step}");
        }
    }
    let worked: BTreeSet<u64> = spans(1).into_iter().chain(spans(2)).map(|span| span.2).collect();
    assert_eq!(worked.len(), steps.len(), "some step ran on no thread");
}

#[test]
fn the_page_stands_alone_and_names_are_text() {
    let folder = Folder::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx");
    fs::copy(model, folder.path("a<b>&\"c.onnx")).unwrap();
    let page = folder.run(&format!("profile a<b>&\"c.onnx --format html {QUICK}")).succeeds();
    assert!(page.contains("a&lt;b&gt;&amp;&quot;c.onnx") && !page.contains("a<b>"), "{page}");
    for word in ["http:", "https:", "src=", "<script", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("<circle"));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert_eq!(page.matches("<tr>").count(), 30);
}

#[test]
fn steps_of_bench_are_those_of_the_plan() {
    let folder = folder();
    let report = json(&folder.run(&format!("bench m.onnx --steps --json {QUICK}")).succeeds());
    let plan = json(&folder.run("inspect m.onnx --stage plan --format json").succeeds());
    assert_eq!(named(steps(&report)), named(steps(&plan)));
}
