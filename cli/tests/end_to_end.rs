//! From ONNX to results. The models are `models/make_models.py`'s, the references numpy's.
#![allow(clippy::unwrap_used, reason = "a test may stop here")]

mod common;

use std::path::Path;

use serde_json::Value;

use common::Folder;

fn model(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name);
    std::fs::read(path).unwrap()
}

/// A folder with some of the models.
fn folder(names: &[&str]) -> Folder {
    names.iter().fold(Folder::new(), |folder, name| folder.file(name, model(name)))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn results_are_numpys() {
    let folder = folder(&["classifier.onnx", "x.npy", "y.npy"]);
    for options in ["", "--no-winograd", "--cpu x86-64", "--threads 1", "--batch 2"] {
        let verify = "verify classifier.onnx --input x.npy --expected y.npy --rtol 1e-5 --atol 0";
        let out = folder.run(&format!("{verify} {options}")).succeeds();
        assert!(out.starts_with("same") && out.contains("argmax agrees in 2 of 2"), "{out}");
    }
}

#[test]
fn results_are_the_reference_interpreters() {
    let folder = folder(&["classifier.onnx", "x.npy"]);
    for rest in ["", "--input x.npy", "--batch 3 --seed 7"] {
        folder.run(&format!("verify classifier.onnx --rtol 1e-5 --atol 0 {rest}")).succeeds();
    }
}

#[test]
fn a_wrong_expectation_gives_4() {
    let mut wrong = model("y.npy");
    *wrong.last_mut().unwrap() ^= 0x80;
    let folder = folder(&["classifier.onnx", "x.npy"]).file("wrong.npy", wrong);
    let ran = folder.run("verify classifier.onnx --input x.npy --expected wrong.npy");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.starts_with("DIFFERENT") && ran.stdout.contains("element 7"), "{ran:?}");
}

#[test]
fn a_compiled_file_gives_the_same_bits_as_compiling_in_memory() {
    let folder = folder(&["fixed.onnx", "x1.npy"]);
    folder.run("compile fixed.onnx").succeeds();
    folder.run("compile fixed.onnx -o again.cardinal --threads 1").succeeds();
    let piped = folder.run_with("compile - -o -", &model("fixed.onnx"));
    let compiled = std::fs::read(folder.path("fixed.cardinal")).unwrap();
    assert_eq!(compiled, std::fs::read(folder.path("again.cardinal")).unwrap());
    assert!(piped.bytes.starts_with(b"CARDINAL"), "{:?}", piped.stderr);
    folder.run("run fixed.onnx --input x1.npy --output a.npy").succeeds();
    folder.run("run fixed.cardinal --input x1.npy --output b.npy").succeeds();
    let bytes = |name| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("a.npy"), bytes("b.npy"));
}

#[test]
fn the_batch_is_the_inputs_where_it_is_open() {
    let folder = folder(&["classifier.onnx", "fixed.onnx", "x.npy"]);
    let out = json(&folder.run("run classifier.onnx --input x.npy --json").succeeds());
    assert_eq!(out["outputs"][0]["shape"], json("[2, 4]"));
    let said = folder.run("run classifier.onnx --batch 1 --input x.npy").fails_with(2);
    assert!(said.contains("takes f32[1, 3, 8, 8], and f32[2, 3, 8, 8] is given"), "{said}");
    let said = folder.run("run fixed.onnx --input x.npy").fails_with(2);
    assert!(said.contains("takes f32[1, 3, 8, 8], and f32[2, 3, 8, 8] is given"), "{said}");
}

#[test]
fn open_dimensions_are_given_by_a_shape() {
    let folder = folder(&["open.onnx"]);
    let said = folder.run("compile open.onnx").fails_with(2);
    assert!(said.contains("--shape"), "{said}");
    folder.run("verify open.onnx --shape x=1x3x10x12").succeeds();
}

#[test]
fn an_image_is_classified_as_the_metadata_says() {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let folder = folder(&["classifier.onnx"]).file("black.png", png.into_inner());
    let ran = folder.run("run classifier.onnx black.png black.png --batch 2 --top 1");
    assert!(ran.stderr.contains("mean [0.5, 0.5, 0.5] (the model's metadata)"), "{ran:?}");
    let out = ran.succeeds();
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(["ant", "bee", "cat", "dog"].iter().any(|label| out.contains(label)), "{out}");
}

#[test]
fn an_unsupported_operator_is_named_and_nothing_is_written() {
    let folder = folder(&["unsupported.onnx"]);
    let said = folder.run("compile unsupported.onnx").fails_with(3);
    assert!(said.contains("/act") && said.contains("Mish"), "{said}");
    assert_eq!(folder.names(), ["unsupported.onnx"]);
}

#[test]
fn settings_are_found_beside_files_and_not_beside_stdin() {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/colour_12x8.png");
    let folder = folder(&["classifier.onnx"])
        .file("image.png", std::fs::read(image).unwrap())
        .file("config.json", r#"{"crop_pct": 0.5}"#);
    let of_file = folder.run("run classifier.onnx image.png");
    let of_stdin = folder.run_with("run - image.png", &model("classifier.onnx"));
    for (ran, is_said) in [(of_file, true), (of_stdin, false)] {
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.stderr.contains("config.json beside it"), is_said, "{ran:?}");
    }
}

#[test]
fn external_data_is_found_beside_the_model_only() {
    let weights = model("external.weights");
    let good = folder(&["external.onnx"]).file("weights", &weights);
    good.run("verify external.onnx").succeeds();
    let said = folder(&["external.onnx"]).run("compile external.onnx").fails_with(3);
    assert!(said.contains("`w1`") && said.contains("No such file"), "{said}");
    let short = folder(&["external.onnx"]).file("weights", &weights[1..]);
    short.run("compile external.onnx").fails_with(3);
    let outside = Folder::new().file("secret", &weights);
    let escaping = folder(&["external.onnx"]);
    std::os::unix::fs::symlink(outside.path("secret"), escaping.path("weights")).unwrap();
    let said = escaping.run("compile external.onnx").fails_with(3);
    assert!(said.contains("outside of the model's folder"), "{said}");
    let said = good.run_with("compile - -o -", &model("external.onnx")).fails_with(3);
    assert!(said.contains("without a folder"), "{said}");
}

#[test]
fn every_stage_can_be_seen() {
    let folder = folder(&["fixed.onnx"]);
    let inspect = |rest: &str| folder.run(&format!("inspect fixed.onnx {rest}")).succeeds();
    for stage in ["import", "fused", "plan", "clif", "asm"] {
        assert!(!inspect(&format!("--stage {stage}")).is_empty());
    }
    for stage in ["import", "fused", "plan"] {
        json(&inspect(&format!("--stage {stage} --format json")));
        assert!(inspect(&format!("--stage {stage} --format dot")).starts_with("digraph"));
    }
    assert_eq!(inspect(""), inspect("--stage fused"));
    assert!(inspect("--stage import").starts_with("graph @classifier"));
    assert!(inspect("--why").contains("; near misses: "));
    assert!(json(&inspect("--why --format json"))["near_misses"].is_array());
}

#[test]
fn every_pass_can_be_the_last() {
    let folder = folder(&["fixed.onnx"]);
    let list = json(&folder.run("inspect fixed.onnx --passes --format json").succeeds());
    let short = folder.run("inspect fixed.onnx --passes --json").succeeds();
    assert_eq!(json(&short), list);
    let passes = list["passes"].as_array().unwrap();
    assert!(!passes.is_empty());
    for pass in passes {
        let name = pass["name"].as_str().unwrap();
        let dump = folder.run(&format!("inspect fixed.onnx --after {name}")).succeeds();
        assert!(dump.starts_with("graph @classifier"), "{dump}");
    }
    let text = folder.run("inspect fixed.onnx --passes").succeeds();
    let (table, operators) = text.split_once("\n\n").unwrap();
    assert!(table.lines().all(|line| line.len() <= 80), "{table}");
    let rows = table.lines().filter(|line| !line.starts_with(' '));
    assert_eq!(rows.count(), passes.len());
    let after = &passes.last().unwrap()["operators_after"];
    assert!(after["conv"].as_u64() > Some(0), "{after}");
    let conv = operators.lines().find(|line| line.starts_with("conv ")).unwrap();
    assert!(conv.ends_with(&format!("-> {}", after["conv"])), "{conv}");
}

/// A block of ResNeSt with two radix-major splits, as an exporter wrote it.
fn block() -> Folder {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compiler/tests/fixtures");
    let block = std::fs::read(fixtures.join("branches/k2r2.radix.ts17.onnx")).unwrap();
    let paths = std::fs::read(fixtures.join("branches/sk_timm_5x5.ts13.onnx")).unwrap();
    Folder::new().file("block.onnx", block).file("paths.onnx", paths)
}

#[test]
fn a_diff_shows_what_a_pass_did() {
    let folder = block();
    let diff = folder.run("inspect block.onnx --diff split_attention").succeeds();
    assert!(diff.starts_with("--- after drop_quantized\n+++ after split_attention\n"), "{diff}");
    let (mut removed, mut added) = (0, 0);
    for line in diff.lines() {
        removed += usize::from(line.starts_with("-  %") && line.contains(" = "));
        added += usize::from(line.starts_with("+  %") && line.contains(" = "));
    }
    assert_eq!((removed, added), (16, 2), "{diff}");
    assert!(diff.contains("= split_attention(") && diff.contains("+    radix    2"), "{diff}");
    let first = folder.run("inspect block.onnx --diff fold_constants").succeeds();
    assert!(first.starts_with("--- after import\n"), "{first}");
    let nothing = folder.run("inspect block.onnx --diff fold_batch_norm").succeeds();
    assert_eq!(nothing, "; fold_batch_norm changed nothing\n");
    let said = folder.run("inspect block.onnx --diff soup").fails_with(2);
    assert!(said.contains("the passes are fold_constants, "), "{said}");
    folder.run("inspect block.onnx --diff split_attention --format json").fails_with(2);
}

#[test]
fn near_misses_name_their_nodes() {
    let folder = block();
    let text = folder.run("inspect paths.onnx --why").succeeds();
    let (_, misses) = text.split_once("; near misses: 1\n").unwrap();
    assert!(misses.starts_with("; merge_branches at \"/"), "{misses}");
    assert!(misses.contains("3x3 pad 1") && misses.contains("5x5 pad 2"), "{misses}");
    let why = json(&folder.run("inspect paths.onnx --why --format json").succeeds());
    let from = why["near_misses"][0]["from"].as_array().unwrap();
    assert!(from.iter().any(|node| node == "/Concat"), "{from:?}");
    let none = folder.run("inspect block.onnx --why").succeeds();
    assert!(none.ends_with("; near misses: 0\n"), "{none}");
}

#[test]
fn checked_rewrites_compile_to_the_same_bytes() {
    let folder = block();
    let checked = folder.run("compile block.onnx -o checked.cardinal --check-rewrites");
    assert!(checked.stderr.contains("rewrites proved on random values"), "{checked:?}");
    checked.succeeds();
    folder.run("compile block.onnx -o plain.cardinal").succeeds();
    let bytes = |name| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("checked.cardinal"), bytes("plain.cardinal"));
}

#[test]
fn compiling_is_timed_apart_from_running() {
    let folder = folder(&["classifier.onnx"]);
    let out = folder.run("bench classifier.onnx --iterations 3 --batch 4 --json").succeeds();
    let out = json(&out);
    assert_eq!(out["batch"], 4);
    assert!(out["compile_ms"].as_f64().unwrap() > 0.);
}

#[test]
fn a_folder_gets_a_file_of_the_usual_name() {
    let folder = folder(&["classifier.onnx"]);
    std::fs::create_dir(folder.path("made")).unwrap();
    folder.run("compile classifier.onnx -o made").succeeds();
    folder.run("compile classifier.onnx --emit obj -o made/").succeeds();
    let names = ["classifier.cardinal", "classifier.h", "classifier.o"];
    assert!(names.iter().all(|name| folder.path("made").join(name).exists()));
    let said = folder.run("compile classifier.onnx -o missing/").fails_with(5);
    assert!(said.contains("missing"), "{said}");
}
