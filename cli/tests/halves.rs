//! `compile --weights f16` and `bf16`, from the command line to results.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::process::Command;

use cardinal_cli::executable::split;
use cardinal_runtime::cpu::{host_features, missing_features};
use cardinal_runtime::{Artifact, Narrow};
use common::programs::examples;
use common::{Folder, Ran, command};
use serde_json::Value;

/// Values of `--weights` besides f32, and what each is called in messages.
const FORMATS: [(&str, &str); 2] = [("f16", "half precision"), ("bf16", "bfloat16")];

#[test]
fn every_format_is_tested() {
    assert_eq!(Narrow::ALL.map(|narrow| (narrow.name(), narrow.words())), FORMATS);
}

fn digits() -> Folder {
    let path = examples().join("digits/mnist_resnest.onnx");
    Folder::new().file("digits.onnx", std::fs::read(path).unwrap())
}

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    std::fs::read(folder.path(name)).unwrap()
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.succeeds()).unwrap()
}

/// What the runs of `run --json` found in the first images.
fn classes(folder: &Folder, model: &str) -> Vec<String> {
    let image = |i: usize| examples().join(format!("digits/images/{i:05}.png"));
    let images: Vec<String> = (0..20).map(|i| image(i).display().to_string()).collect();
    let results = json(folder.run(&format!("run {model} --json {}", images.join(" "))));
    let results = results["results"].as_array().unwrap().iter();
    results.map(|result| result["top"][0]["index"].to_string()).collect()
}

#[test]
fn files_are_about_half_as_large_and_classify_alike() {
    let folder = digits();
    let compiled = |format: &str| {
        let name = format!("{format}.cardinal");
        folder.run(&format!("compile digits.onnx -o {name} --weights {format}")).succeeds();
        (Artifact::copy(&read(&folder, &name)).unwrap(), classes(&folder, &name))
    };
    let (full, expected) = compiled("f32");
    for (format, _) in FORMATS {
        let (halves, found) = compiled(format);
        assert_eq!(halves.loaded_weight_bytes(), full.weights().len());
        let ratio = halves.weights().len() as f64 / full.weights().len() as f64;
        assert!((0.5..0.53).contains(&ratio), "{ratio}");
        assert_eq!(found, expected, "{format}");
    }
}

#[test]
fn the_change_is_reported() {
    let folder = digits();
    for (format, words) in FORMATS {
        let compile = format!("compile digits.onnx -o m.cardinal --weights {format}");
        let said = folder.run(&compile);
        assert!(said.stderr.contains(&format!(" of weights ({format}; ")), "{said:?}");
        let changes = format!("weights in {words} change output on one random input by up to ");
        assert!(said.stderr.contains(&changes), "{said:?}");
        assert!(said.stderr.contains("the top class stays in 1 of 1"), "{said:?}");
        assert_eq!(said.succeeds(), "");

        let report = json(folder.run(&format!("{compile} --json")));
        assert_eq!(report["schema"], "cardinal.compile/v1");
        assert_eq!((&report["kind"], &report["weights"]), (&"artifact".into(), &format.into()));
        let artifact = Artifact::copy(&read(&folder, "m.cardinal")).unwrap();
        assert_eq!(report["weight_bytes"], artifact.weights().len());
        assert_eq!(report["loaded_weight_bytes"], artifact.loaded_weight_bytes());
        let change = &report["change"];
        assert_eq!(change["of"], format!("weights in {words}"));
        let expected = (&true.into(), &Value::Array(vec![]));
        assert_eq!((&change["measured"], &report["beyond_half"]), expected);
        let output = &change["outputs"][0];
        let difference = output["max_rel"].as_f64().unwrap();
        assert!(difference > 0.0 && difference < 2e-2, "{report}");
        assert_eq!((&output["top1_same"], &output["top1_of"]), (&1.into(), &1.into()));
    }
    let report = json(folder.run("compile digits.onnx -o m.cardinal --json"));
    assert_eq!((&report["weights"], &report["change"]), (&"f32".into(), &Value::Null));
    let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
    let arguments = format!("--target {other}-unknown-linux-gnu --weights f16 -o m.cardinal");
    let report = json(folder.run(&format!("compile digits.onnx {arguments} --json")));
    assert_eq!(report["change"]["measured"], false);
    let said = folder.run(&format!("compile digits.onnx {arguments}"));
    assert!(said.stderr.contains("is not known: the code is for other machines"), "{said:?}");
}

/// What `--sample` and `--max-error` say of rounding is said of weights too, and is the larger the fewer digits.
#[test]
fn samples_measure_the_change() {
    let folder = digits();
    let samples = examples().join("digits/images").display().to_string();
    let errors = FORMATS.map(|(format, _)| {
        let compile = format!("compile digits.onnx -o m.cardinal --weights {format} --json");
        let report = json(folder.run(&format!("{compile} --sample {samples}")));
        assert_eq!(report["sampled"]["samples"], 100);
        report["sampled"]["error"].as_f64().unwrap()
    });
    assert!(0.0 < errors[0] && 3.0 * errors[0] < errors[1] && errors[1] < 0.02, "{errors:?}");
}

/// The reported change is that of the outputs, which `verify` finds too.
#[test]
fn artifacts_say_how_their_weights_are_stored() {
    let folder = digits();
    for (format, _) in FORMATS {
        folder.run(&format!("compile digits.onnx -o m.cardinal --weights {format}")).succeeds();
        let artifact = Artifact::copy(&read(&folder, "m.cardinal")).unwrap();
        let about = folder.run("inspect m.cardinal").succeeds();
        let ((narrow, bytes), stored) = (artifact.narrow().unwrap(), artifact.weights().len());
        assert_eq!(narrow.name(), format);
        for line in [
            format!("weights          {format}, {bytes} bytes of them"),
            format!("weight bytes     {stored}"),
            format!("loaded weights   {} bytes", artifact.loaded_weight_bytes()),
        ] {
            assert!(about.contains(&line), "{line}: {about}");
        }
        let about = json(folder.run("inspect m.cardinal --json"));
        assert_eq!(
            (&about["weights"], &about["half_weight_bytes"]),
            (&format.into(), &bytes.into())
        );
    }
    folder.run("compile digits.onnx -o m.cardinal").succeeds();
    assert!(folder.run("inspect m.cardinal").succeeds().contains("\nweights          f32\n"));
}

#[test]
fn what_cannot_load_halves_is_refused_and_nothing_is_written() {
    let folder = digits();
    for (format, _) in FORMATS {
        for output in ["-o m.o", "-o m.so", "-o m --emit obj", "-o m.cardinal --emit shared"] {
            let compile = format!("compile digits.onnx --weights {format} {output}");
            let said = folder.run(&compile).fails_with(2);
            assert!(
                said.contains("in place") && said.contains("help: leave --weights out"),
                "{said}"
            );
        }
    }
    folder.run("compile digits.onnx --weights f8 -o m.cardinal").fails_with(2);
    folder.run("compile digits.onnx --json -o -").fails_with(2);
    assert_eq!(folder.names(), ["digits.onnx"]);
    folder.run("compile digits.onnx --weights f32 -o m.o").succeeds();
}

#[test]
fn the_bytes_depend_on_the_model_alone() {
    let folder = digits();
    for (format, _) in FORMATS {
        let compiled = |arguments: &str| {
            let options = format!("--weights {format} -o m.cardinal {arguments}");
            folder.run(&format!("compile digits.onnx {options}")).succeeds();
            read(&folder, "m.cardinal")
        };
        let expected = compiled("--threads 1");
        for arguments in ["--threads 1", "--threads 4", ""] {
            assert!(compiled(arguments) == expected, "{arguments}");
        }
        let relinked = folder.run("relink --weights digits.onnx m.cardinal -o again.cardinal");
        relinked.succeeds();
        assert!(read(&folder, "again.cardinal") == expected);
    }
}

/// All variants read the same halves, and make of them what the least of them does.
#[cfg(target_arch = "x86_64")]
#[test]
fn several_cpus_share_the_halves() {
    FORMATS.iter().for_each(|(format, _)| several_cpus_share(format));
}

#[cfg(target_arch = "x86_64")]
fn several_cpus_share(format: &str) {
    let folder = digits();
    let list = "--cpu x86-64,x86-64-v3";
    folder.run(&format!("compile digits.onnx --weights {format} {list} -o m.cardinal")).succeeds();
    let artifact = Artifact::copy(&read(&folder, "m.cardinal")).unwrap();
    assert!(artifact.variants().len() >= 2);
    let all = artifact.loaded_weight_bytes() as u64;
    let least = &artifact.variants()[0].reads;
    assert!(least.iter().map(|part| part.bytes).sum::<u64>() < all, "{least:?} of {all}");
    let image = examples().join("digits/images/00000.png").display().to_string();
    for variant in artifact.variants() {
        if !missing_features(&variant.cpu_features, &host_features()).is_empty() {
            eprintln!("NOT RUN: the code for {}, which this CPU cannot run", variant.name);
            continue;
        }
        let found =
            json(folder.run(&format!("run m.cardinal --isa {} --json {image}", variant.name)));
        assert_eq!(found["results"][0]["top"][0]["index"], 7, "{}", variant.name);
    }
}

/// Runs the folder's executable.
#[cfg(target_os = "linux")]
fn execute(folder: &Folder, arguments: &[&str]) -> std::process::Output {
    Command::new(folder.path("digits"))
        .args(arguments)
        .current_dir(folder.path("."))
        .output()
        .unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn executables_carry_halves() {
    // Four times what the digits of the format are expected to change.
    FORMATS
        .iter()
        .zip([2e-2, 0.1])
        .for_each(|((format, _), most)| executable_carries(format, most));
}

#[cfg(target_os = "linux")]
fn executable_carries(format: &str, most: f64) {
    let folder = digits();
    for (arguments, more_allowed) in [("", true), ("--no-winograd", false)] {
        let compile = format!("compile digits.onnx -o digits --weights {format} --json");
        assert_eq!(json(folder.run(&format!("{compile} {arguments}")))["kind"], "exe");
        let ran = execute(&folder, &["--selftest"]);
        assert!(ran.status.success() && ran.stdout.starts_with(b"same "), "{ran:?}");
        let parts = split(&read(&folder, "digits").into()).unwrap();
        assert_eq!(parts.sample.rtol > 0.0, more_allowed);
        assert!(parts.sample.rtol < most, "{}", parts.sample.rtol);
    }
    let said = String::from_utf8(execute(&folder, &["--info"]).stdout).unwrap();
    assert!(said.contains(&format!("weights          {format}, ")), "{said}");
    let image = examples().join("digits/images/00000.png").display().to_string();
    let ran = execute(&folder, &["--top", "1", "--json", &image]);
    let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(found["results"][0]["top"][0]["index"], 7);
}

#[test]
fn damaged_files_are_refused() {
    let folder = digits();
    let good = FORMATS.map(|(format, _)| {
        folder.run(&format!("compile digits.onnx --weights {format} -o good.cardinal")).succeeds();
        read(&folder, "good.cardinal")
    });
    for (k, good) in (0..20).flat_map(|k| good.iter().map(move |good| (k, good))) {
        let at = (good.len() - 1) * k / 19;
        let mut bad = good.clone();
        bad[at] ^= 1 << (k % 8);
        for bytes in [&bad[..], &good[..at]] {
            std::fs::write(folder.path("bad.cardinal"), bytes).unwrap();
            folder.run("bench bad.cardinal --iterations 1").fails_with(3);
        }
    }
}

#[test]
fn processes_that_name_a_folder_share_what_is_expanded() {
    FORMATS.iter().for_each(|(format, _)| processes_share(format));
}

fn processes_share(format: &str) {
    let folder = digits();
    folder.run(&format!("compile digits.onnx -o m.cardinal --weights {format}")).succeeds();
    let image = examples().join("digits/images/00000.png");
    let run = format!("run m.cardinal {} --json", image.display());
    let sharing = |place: &str| {
        let output = command(&folder.path(""), &run).env("CARDINAL_WEIGHTS", place).output();
        let output = output.unwrap();
        (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let alone = folder.run(&run).succeeds();
    let file = || {
        let names = std::fs::read_dir(folder.path("shared/here")).unwrap();
        let mut paths = names.map(|entry| entry.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|end| end == "weights")).unwrap()
    };
    let mut whole = Vec::new();
    // It is made, it is found, and one that is damaged is made anew.
    for round in 0..3 {
        let (code, result, said) = sharing("shared/here");
        assert_eq!((code, &result[..]), (Some(0), alone.as_bytes()), "{said}");
        let now = std::fs::read(file()).unwrap();
        match round {
            0 => whole = now,
            _ => assert!(now == whole, "round {round}"),
        }
        if round == 1 {
            std::fs::write(file(), vec![0; whole.len()]).unwrap();
        }
    }
    let artifact = Artifact::copy(&read(&folder, "m.cardinal")).unwrap();
    assert_eq!(whole.len(), artifact.loaded_weight_bytes());
    // What is no folder.
    let (code, _, said) = sharing("digits.onnx");
    assert!(code == Some(5) && said.contains("keep expanded weights in `digits.onnx`"), "{said}");
}
