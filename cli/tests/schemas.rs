//! What commands print for programs, held against the schemas in `docs/src/schemas`.
//!
//! Schemas close every object, so that a field that is printed and not described there fails, and so does one that is
//! described and not printed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use common::programs::examples;
use common::{Folder, npy};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

/// Where schemas are for one another.
const BASE: &str = "file:///schemas";
/// A quick measurement: nothing here depends on times.
const QUICK: &str = "--iterations 2 --warmup 1 --threads 1";
/// Keys of what may look like a number and is none: names, texts of the dumps, and digests.
const TEXTS: [&str; 12] = [
    "name",
    "label",
    "axes",
    "attributes",
    "text",
    "hash",
    "digest",
    "structure",
    "blake3",
    "message",
    "operands",
    "value",
];

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src")
}

/// The names of all schemas, with what they say.
fn schemas() -> Vec<(String, Value)> {
    let files = fs::read_dir(book().join("schemas")).unwrap().map(|file| file.unwrap().path());
    let mut all: Vec<(String, Value)> = files
        .map(|path| {
            let schema = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), schema)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

static REGISTRY: LazyLock<Registry<'static>> = LazyLock::new(|| {
    let all = schemas().into_iter();
    let add = |registry: jsonschema::RegistryBuilder<'static>, (name, schema): (String, Value)| {
        registry.add(format!("{BASE}/{name}"), schema).unwrap()
    };
    all.fold(Registry::new(), add).prepare().unwrap()
});

fn validator(name: &str) -> Validator {
    let schema = json!({ "$ref": format!("{BASE}/{name}") });
    jsonschema::options().offline().with_registry(&REGISTRY).build(&schema).unwrap()
}

/// Checks what a command has printed, and that the schema is not one that lets anything pass.
fn check(name: &str, value: &Value) {
    let validator = validator(name);
    let errors: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?} in {value}");
    for changed in with_one_more(value) {
        assert!(!validator.is_valid(&changed), "{name} lets a field pass: {changed}");
    }
    no_number_is_a_text(name, "", value);
}

/// The value with a field more in one of its objects, for the first object of each array.
fn with_one_more(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(fields) => {
            let mut all = vec![value.clone()];
            all[0]["undocumented"] = json!([]);
            for (key, inner) in fields {
                all.extend(with_one_more(inner).into_iter().map(|changed| {
                    let mut outer = value.clone();
                    outer[key] = changed;
                    outer
                }));
            }
            all
        }
        Value::Array(items) => {
            let first = items.iter().take(1).flat_map(with_one_more);
            first.map(|changed| Value::Array([&[changed], &items[1..]].concat())).collect()
        }
        _ => Vec::new(),
    }
}

fn no_number_is_a_text(schema: &str, key: &str, value: &Value) {
    match value {
        Value::String(text) => {
            let is_number = text.parse::<f64>().is_ok();
            assert!(!is_number || TEXTS.contains(&key), "{schema}: {key} is {text:?}");
        }
        Value::Object(fields) => {
            for (inner, value) in fields {
                let key = if TEXTS.contains(&key) { key } else { inner };
                no_number_is_a_text(schema, key, value);
            }
        }
        Value::Array(items) => items.iter().for_each(|v| no_number_is_a_text(schema, key, v)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The digits model with an image, what is no image, and an array that the model takes.
fn folder() -> Folder {
    let read = |name: &str| fs::read(examples().join("digits").join(name)).unwrap();
    Folder::new()
        .file("m.onnx", read("mnist_resnest.onnx"))
        .file("0.png", read("images/00000.png"))
        .file("bad.png", b"no image")
        .file("x.npy", npy::made_up(&[1, 1, 28, 28]))
}

/// Runs a command, which must print one object, and checks it.
fn prints(folder: &Folder, schema: &str, arguments: &str, code: i32) -> Value {
    let ran = folder.run(arguments);
    assert_eq!(ran.code, code, "{arguments}: {}", ran.stderr);
    let value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{arguments}: {e}"));
    check(schema, &value);
    value
}

/// The same of an object a line.
fn lines(schema: &str, text: &str) {
    assert!(!text.is_empty());
    text.lines().for_each(|line| check(schema, &serde_json::from_str(line).unwrap()));
}

#[test]
fn schemas_are_schemas_that_the_book_lists() {
    let page = fs::read_to_string(book().join("schemas.md")).unwrap();
    for (name, schema) in schemas() {
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        assert!(page.contains(&format!("schemas/{name}")), "{name}");
        let title = schema["title"].as_str().unwrap();
        if let Some(version) = title.strip_prefix("cardinal.") {
            assert_eq!(name, version.replace('/', ".") + ".json");
            assert_eq!(schema["properties"]["schema"]["const"], title);
        }
    }
}

#[test]
fn compile() {
    let folder = folder();
    let says = |rest: &str| {
        prints(&folder, "compile.v1.json", &format!("compile m.onnx {rest} --json"), 0)
    };
    says("-o m.cardinal");
    assert!(says("-o m.o --check-rewrites")["rewrites_proved"].is_u64());
    for weights in ["f16", "bf16"] {
        assert!(says(&format!("-o h.cardinal --weights {weights}"))["change"].is_object());
    }
    let sampled = says("-o b.cardinal --precision auto --max-error 0.1 --sample 0.png");
    assert!(sampled["sampled"].is_object(), "{sampled}");
    assert!(says("-o t.cardinal --tune --tune-cache t.json --threads 1")["tune"].is_object());
}

#[test]
fn run_and_score() {
    let folder = folder();
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    prints(&folder, "run.v1.json", "run m.cardinal 0.png --json", 0);
    let block = examples().join("../compiler/tests/fixtures/branches/k2r2.radix.ts17.onnx");
    let folder = folder.file("block.onnx", fs::read(block).unwrap());
    let plan = folder.run("inspect block.onnx --stage import --json").succeeds();
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let shape = plan["nodes"][0]["type"]["shape"].as_array().unwrap();
    let shape: Vec<usize> = shape.iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let folder = folder.file("block.npy", npy::made_up(&shape));
    let of_block = prints(&folder, "run.v1.json", "run block.onnx --input block.npy --json", 0);
    assert_eq!(of_block["probabilities"], Value::Null);
    lines("run.line.v1.json", &folder.run("run m.cardinal 0.png --jsonl").succeeds());
    for rest in ["-o r.jsonl", "-o l.jsonl --outputs logits"] {
        assert_eq!(folder.run(&format!("score m.cardinal 0.png bad.png {rest}")).code, 5);
    }
    for table in ["r.jsonl", "l.jsonl"] {
        lines("score.row.v1.json", &fs::read_to_string(folder.path(table)).unwrap());
    }
}

#[test]
fn bench_and_profile() {
    let folder = folder();
    let bench = format!("bench m.onnx {QUICK} --json");
    let steps = prints(&folder, "bench.v1.json", &format!("{bench} --steps --images 0.png"), 0);
    assert!(steps["steps"].is_array() && steps["images"].is_object(), "{steps}");
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    prints(&folder, "bench.v1.json", &format!("bench m.cardinal {QUICK} --json"), 0);
    let profile = format!("profile m.onnx {QUICK} --json");
    let old = prints(&folder, "profile.v1.json", &profile, 0);
    let folder = folder.file("old.json", old.to_string());
    prints(&folder, "profile.v1.json", &format!("{profile} --against old.json"), 0);
}

#[test]
fn inspect() {
    let folder = folder();
    let says = |schema: &str, rest: &str| {
        prints(&folder, schema, &format!("inspect m.onnx {rest} --json"), 0)
    };
    for stage in ["--stage import", "--stage fused", "--after split_attention"] {
        says("graph.v1.json", stage);
    }
    says("schedule.v1.json", "--stage schedule");
    says("plan.v1.json", "--stage plan");
    says("passes.v1.json", "--passes");
    for stage in ["fused", "schedule", "plan"] {
        says("why.v1.json", &format!("--stage {stage} --why"));
    }
    folder.run("compile m.onnx -o m.cardinal --cpu x86-64-v3,x86-64-v4 --batch 4").succeeds();
    let artifact = prints(&folder, "artifact.v2.json", "inspect m.cardinal --json", 0);
    assert_eq!(artifact["variants"].as_array().unwrap().len(), 2);
    prints(&folder, "plan.v1.json", "inspect m.cardinal --stage plan --json", 0);
}

#[test]
fn verify_and_bisect() {
    let folder = folder();
    prints(&folder, "verify.v1.json", "verify m.onnx --json", 0);
    prints(&folder, "verify.v1.json", "verify m.onnx --layers --json", 0);
    prints(&folder, "verify.v1.json", "verify m.onnx --rtol 0 --atol 1e-30 --json", 4);
    let says = |rest: &str, code: i32| {
        prints(&folder, "bisect.v1.json", &format!("bisect m.onnx {rest} --json"), code)
    };
    assert_eq!(says("", 0)["found"], Value::Null);
    assert!(says("--rtol 0 --atol 1e-30", 4)["part"].is_object());
    folder.run("run m.onnx 0.png --output y.npy").succeeds();
    assert_eq!(says("--input x.npy --expected y.npy", 4)["found"], "import");
}

#[test]
fn explain() {
    let folder = folder();
    folder.run("compile m.onnx -o m.cardinal").succeeds();
    for model in ["m.onnx", "m.cardinal"] {
        let explain = format!("explain {model} split_attention --json");
        let story = prints(&folder, "explain.v1.json", &explain, 0);
        assert!(!story["functions"].as_array().unwrap().is_empty(), "{story}");
        assert_eq!(story["rewrites"].is_null(), model == "m.cardinal");
    }
}

#[test]
fn doctor_quantize_and_operators() {
    let folder = folder();
    prints(&folder, "doctor.v2.json", "doctor m.onnx --json", 0);
    for model in ["unsupported.onnx", "open.onnx", "fixed.onnx"] {
        let bytes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(model);
        let folder = Folder::new().file(model, fs::read(bytes).unwrap());
        let code = folder.run(&format!("doctor {model}")).code;
        prints(&folder, "doctor.v2.json", &format!("doctor {model} --json"), code);
    }
    let quantize = "quantize m.onnx --calibrate 0.png -o q.onnx --json";
    prints(&folder, "quantize.v1.json", quantize, 0);
    prints(&folder, "operators.v1.json", "operators --json", 0);
}

#[test]
fn errors() {
    let folder = folder();
    let unsupported = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/unsupported.onnx");
    let folder = folder.file("u.onnx", fs::read(unsupported).unwrap());
    for (arguments, code) in [
        ("compile u.onnx", 3),
        ("compile none.onnx", 5),
        ("compile m.onnx --no-such-flag", 2),
        ("bench m.onnx --threads 0", 2),
        ("verify m.onnx --rtol 0 --atol 1e-30 --json", 4),
        ("run m.onnx bad.png 0.png --jsonl", 5),
    ] {
        let ran = folder.run(&format!("{arguments} --errors json"));
        assert_eq!(ran.code, code, "{ran:?}");
        // Notes stay text.
        let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with('{')).collect();
        lines("error.v1.json", &errors.join("\n"));
    }
}

#[test]
fn executables() {
    let folder = folder();
    folder.run("compile m.onnx -o digits").succeeds();
    for (schema, arguments) in [
        ("selftest.v1.json", "--selftest --json"),
        ("artifact.v2.json", "--info --json"),
        ("bench.v1.json", "--bench --json --iterations 2 --warmup 0"),
        ("run.v1.json", "0.png --json"),
    ] {
        let mut command = Command::new(folder.path("digits"));
        let ran = command.args(arguments.split(' ')).current_dir(folder.path("")).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        check(schema, &serde_json::from_slice(&ran.stdout).unwrap());
    }
}

/// Every schema is one that a test above holds something against.
#[test]
fn no_schema_is_left_out() {
    let source = include_str!("schemas.rs");
    let files: BTreeSet<String> = schemas().into_iter().map(|(name, _)| name).collect();
    for name in files.iter().filter(|name| *name != "common.json") {
        assert!(source.contains(&format!("\"{name}\"")), "{name}");
    }
}
