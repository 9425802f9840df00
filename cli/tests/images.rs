//! `run` on many images: each result as soon as it is there, and bad images beside good ones.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Folder, Ran, command};
use serde_json::Value;

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

/// A folder with the digits model, compiled, three of its images and what is none.
fn folder() -> Folder {
    let image = |n: usize| fs::read(digits().join(format!("images/0000{n}.png"))).unwrap();
    let folder = Folder::new()
        .file("a.png", image(0))
        .file("b.png", image(1))
        .file("c.png", image(2))
        .file("bad.png", &image(3)[..100])
        .file("none.png", "soup");
    let model = digits().join("mnist_resnest.onnx");
    folder.run(&format!("compile {} -o m.cardinal", model.display())).succeeds();
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The lines of stderr that say that something is wrong.
fn errors(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect()
}

/// The second image is a pipe, which nobody has written to when the first result is read.
#[test]
fn a_result_is_printed_before_the_next_image_is_read() {
    let folder = folder();
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut run = command(&folder.path(""), "run m.cardinal a.png pipe --top 1");
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a.png");
    assert_eq!(child.try_wait().unwrap(), None, "the results came at the end");
    fs::write(&pipe, fs::read(folder.path("b.png")).unwrap()).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.len() == 3 && rest[1] == "pipe", "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bad_image_is_one_line_and_the_others_have_results() {
    let folder = folder();
    let good = folder.run("run m.cardinal a.png b.png c.png").succeeds();
    for batch in ["", "--batch 2"] {
        let model = if batch.is_empty() { "m.cardinal".into() } else { model() };
        let ran =
            folder.run(&format!("run {model} a.png bad.png b.png none.png no.png c.png {batch}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (5, good.as_str()), "{ran:?}");
        let said = errors(&ran);
        assert_eq!(said.len(), 4, "{ran:?}");
        for (line, name) in said.iter().zip(["bad.png", "none.png", "no.png", "3 of 6 images"]) {
            assert!(line.contains(name), "{line}");
        }
    }
}

fn model() -> String {
    digits().join("mnist_resnest.onnx").display().to_string()
}

#[test]
fn one_bad_image_alone_is_one_error() {
    let ran = folder().run("run m.cardinal bad.png");
    assert_eq!((ran.code, errors(&ran).len()), (5, 1), "{ran:?}");
}

#[test]
fn an_output_whose_rows_would_not_be_the_images_is_not_written() {
    let folder = folder().file("y.npy", "old");
    let ran = folder.run("run m.cardinal a.png bad.png b.png -o y.npy");
    assert!(ran.code == 5 && errors(&ran)[1].contains("`y.npy` is not written"), "{ran:?}");
    assert_eq!(fs::read(folder.path("y.npy")).unwrap(), b"old");
    folder.run("run m.cardinal a.png b.png -o y.npy").succeeds();
    assert!(fs::read(folder.path("y.npy")).unwrap().starts_with(b"\x93NUMPY"));
}

/// No image is there, so reading one would be the first complaint.
#[test]
fn an_output_that_cannot_be_written_is_found_before_the_first_inference() {
    let folder = folder().file("labels", "too\nfew\n");
    fs::create_dir(folder.path("folder.npy")).unwrap();
    for (output, code) in
        [("-o no/y.npy", 5), ("-o folder.npy", 5), ("-o a.png/y.npy", 5), ("--labels labels", 2)]
    {
        let said = folder.run(&format!("run m.cardinal no.png {output}")).fails_with(code);
        assert!(!said.contains("no.png"), "{said}");
    }
    let said = folder.run("run m.cardinal --input no.npy -o no/y.npy").fails_with(5);
    assert!(said.contains("no.npy"), "{said}");
}

#[test]
fn quiet_says_only_what_goes_wrong() {
    let folder = folder();
    let ran = folder.run("run m.cardinal a.png --quiet");
    assert!(ran.code == 0 && ran.stderr.is_empty(), "{ran:?}");
    let ran = folder.run("run m.cardinal a.png bad.png -q");
    assert_eq!((ran.code, ran.stderr.lines().count()), (5, 2), "{ran:?}");
}

#[test]
fn lines_of_json_and_rows_of_csv_say_what_the_object_says() {
    let folder = folder();
    let run = |rest: &str| folder.run(&format!("run m.cardinal a.png b.png {rest}")).succeeds();
    let whole = json(&run("--json"));
    let results = whole["results"].as_array().unwrap();
    let lines = run("--jsonl");
    let lines: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!(&lines, results);
    let csv = run("--csv");
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["input", "sample", "rank", "class", "label", "probability", "score"]);
    let classes = results.iter().flat_map(|result| result["top"].as_array().unwrap());
    assert_eq!(rows.len() - 1, classes.clone().count());
    for (row, class) in rows[1..].iter().zip(classes) {
        assert_eq!(row[3], class["index"].to_string());
        assert_eq!(row[4], class["label"].as_str().unwrap());
        assert_eq!(json(row[5]).as_f64(), class["probability"].as_f64());
        assert!((row[6].parse::<f64>().unwrap() - class["score"].as_f64().unwrap()).abs() < 1e-5);
    }
    folder.run("run m.cardinal a.png --json --csv").fails_with(2);
}

#[test]
fn what_the_model_sees_can_be_written_and_gives_the_same() {
    let folder = folder();
    let run = |rest: &str| folder.run(&format!("run m.cardinal {rest}")).succeeds();
    run("a.png -o y.npy --dump-input x.npy");
    run("--input x.npy -o z.npy");
    let bytes = |name| fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("y.npy"), bytes("z.npy"));
    let one = bytes("x.npy");
    run("b.png a.png --dump-input x.npy");
    assert!(bytes("x.npy").ends_with(&one[one.len() - 28 * 28 * 4..]));
    folder.run("run m.cardinal --input x.npy --dump-input y.npy").fails_with(2);
}

#[test]
fn names_that_are_no_utf8_stay_distinct() {
    let folder = folder();
    let image = fs::read(folder.path("a.png")).unwrap();
    let names: [&[u8]; 3] = [b"\xff.png", b"\xfe.png", b"\\xff.png"];
    let names = names.map(OsStr::from_bytes);
    names.iter().for_each(|name| fs::write(folder.path("").join(name), &image).unwrap());
    let mut run = command(&folder.path(""), "run m.cardinal --jsonl --top 1");
    let output = run.args(names).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let inputs: Vec<Value> = text.lines().map(|line| json(line)["input"].clone()).collect();
    assert_eq!(inputs, ["\\xff.png", "\\xfe.png", "\\\\xff.png"]);
}

/// What is said of images of colour has the longest numbers, and warnings.
#[test]
fn what_is_done_to_images_is_said_in_80_columns() {
    let model = "../compiler/tests/fixtures/tiny/resnest_r2k2_avdfirst.dyn.onnx";
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
    let folder = folder();
    for name in ["model.onnx", "resnet50.onnx"] {
        fs::copy(&model, folder.path(name)).unwrap();
        for arguments in ["run NAME a.png", "score NAME a.png -o y.csv"] {
            let ran = folder.run(&arguments.replace("NAME", name));
            let lines: Vec<&str> = ran.stderr.lines().collect();
            assert!(lines.iter().all(|line| line.chars().count() <= 80), "{ran:?}");
            let all = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                all.contains("images: crop_pct") && all.contains("mean [0.485, 0.456, 0.406] ("),
                "{ran:?}"
            );
            assert!(all.contains("warning: "), "{ran:?}");
            assert!(lines.len() > 3 && lines[1].starts_with("  "), "{ran:?}");
        }
    }
}

/// Whatever the artifact is called and whoever gives it other weights, until `run` is told otherwise.
#[test]
fn artifacts_and_executables_keep_how_images_are_prepared() {
    let folder = folder();
    let compile = format!("compile {} --preprocess imagenet.json", model());
    let folder = folder.file("imagenet.json", r#"{"mean": 0.25, "std": 0.5, "crop_pct": 0.5}"#);
    for output in ["p.cardinal", "program"] {
        folder.run(&format!("{compile} -o {output}")).succeeds();
    }
    fs::remove_file(folder.path("imagenet.json")).unwrap();
    folder.run(&format!("relink --weights {} p.cardinal -o q.cardinal", model())).succeeds();
    let bytes = |name| fs::read(folder.path(name)).unwrap();
    assert!(bytes("p.cardinal") == bytes("q.cardinal"));
    let stored = folder.run("run p.cardinal a.png");
    assert!(stored.stderr.contains("crop_pct 0.5 (the model's metadata)"), "{stored:?}");
    let by_flags = folder.run("run m.cardinal a.png --mean 0.25 --std 0.5 --preprocess none");
    let other = folder.run("run m.cardinal a.png").succeeds();
    assert!(stored.stdout != other && by_flags.stdout != other);
    let program = Command::new(folder.path("program")).arg(folder.path("a.png")).output().unwrap();
    let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&String::from_utf8(program.stdout).unwrap()), lines(&stored.stdout));
    let ran = folder.run("run p.cardinal a.png --preprocess none");
    assert!(ran.stderr.contains("crop_pct 1 (--preprocess none)"), "{ran:?}");
}
