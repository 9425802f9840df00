//! Artifacts for several CPUs and relinked ones, from the command line.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "a test may stop here")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Folder, Ran, command};

fn model(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name);
    std::fs::read(path).unwrap()
}

/// A folder with the classifier, its input and numpy's output for it.
fn folder() -> Folder {
    ["classifier.onnx", "x.npy", "y.npy"]
        .iter()
        .fold(Folder::new(), |folder, name| folder.file(name, model(name)))
}

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    std::fs::read(folder.path(name)).unwrap()
}

fn spawned(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        bytes: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

const VERIFY: &str = "--input x.npy --expected y.npy --rtol 1e-5 --atol 0";

/// The name of the best variant here, of those up to AVX2.
fn best_here() -> &'static str {
    let v3 = ["avx2", "bmi1", "bmi2", "fma", "lzcnt", "popcnt"];
    let has = cardinal_runtime::cpu::host_features();
    if v3.iter().all(|f| has.contains(&(*f).to_owned())) { "x86-64-v3" } else { "x86-64" }
}

#[test]
fn one_artifact_runs_the_best_code_or_the_one_asked_for() {
    let folder = folder();
    let said = folder
        .run("compile classifier.onnx --batch 2 --cpu x86-64 --cpu x86-64-v3 -o two.cardinal");
    assert!(said.stderr.contains("of code for x86-64, x86-64-v3"), "{said:?}");
    let listed =
        folder.run("compile classifier.onnx --batch 2 --cpu x86-64-v3,x86-64 -o list.cardinal");
    listed.succeeds();
    assert_eq!(read(&folder, "two.cardinal"), read(&folder, "list.cardinal"));

    let about = folder.run("inspect two.cardinal").succeeds();
    let variants: Vec<&str> = about.lines().filter(|l| l.starts_with("variant ")).collect();
    assert_eq!(variants.len(), 2, "{about}");
    for (line, name) in variants.iter().zip(["x86-64", "x86-64-v3"]) {
        assert_eq!(line.contains("(runs here)"), name == best_here(), "{about}");
        assert_eq!(line.split_whitespace().nth(1), Some(name));
    }
    assert_eq!(about.matches("\narena bytes ").count(), 2, "{about}");

    for isa in ["", "--isa x86-64", &format!("--isa {}", best_here())] {
        folder.run(&format!("verify two.cardinal {VERIFY} {isa}")).succeeds();
    }
    // Each gives the bits that it gives alone.
    for cpu in ["x86-64", best_here()] {
        folder
            .run(&format!("compile classifier.onnx --batch 2 --cpu {cpu} -o one.cardinal"))
            .succeeds();
        folder.run("run one.cardinal --input x.npy --output one.npy").succeeds();
        folder
            .run(&format!("run two.cardinal --isa {cpu} --input x.npy --output two.npy"))
            .succeeds();
        assert_eq!(read(&folder, "one.npy"), read(&folder, "two.npy"), "{cpu}");
    }
}

#[test]
fn an_isa_that_is_not_there_is_refused() {
    let folder = folder();
    folder.run("compile classifier.onnx --batch 2 --cpu x86-64 -o m.cardinal").succeeds();
    for command in
        ["run m.cardinal --input x.npy", "bench m.cardinal", &format!("verify m.cardinal {VERIFY}")]
    {
        let said = folder.run(&format!("{command} --isa x86-64-v4")).fails_with(2);
        assert!(said.contains("no code for \"x86-64-v4\""), "{said}");
        assert!(said.contains("help: it has code for x86-64"), "{said}");
    }
    let with_variable = |value: &str, arguments: &str| {
        let mut command = command(&folder.path(""), arguments);
        command.env("CARDINAL_ISA", value);
        spawned(command)
    };
    let verify = format!("verify m.cardinal {VERIFY}");
    with_variable("x86-64-v4", &verify).fails_with(2);
    with_variable("x86-64-v4", &format!("{verify} --isa x86-64")).succeeds();
    with_variable("", &verify).succeeds();
    // A model that is compiled in memory is compiled for it.
    with_variable("x86-64", &format!("verify classifier.onnx {VERIFY}")).succeeds();
    let said = with_variable("z80", &format!("verify classifier.onnx {VERIFY}")).fails_with(2);
    assert!(said.contains("unknown CPU `z80`"), "{said}");
}

#[test]
fn plans_and_code_are_shown_for_one_cpu() {
    let folder = folder();
    for stage in ["plan", "clif", "asm"] {
        let inspect = format!("inspect classifier.onnx --stage {stage}");
        let said = folder.run(&format!("{inspect} --cpu x86-64,x86-64-v3")).fails_with(2);
        assert!(said.contains("for one CPU"), "{said}");
        folder.run(&format!("{inspect} --cpu x86-64-v3")).succeeds();
    }
}

#[test]
fn the_bytes_do_not_depend_on_folder_or_threads() {
    let cpus = "--cpu x86-64,x86-64-v3,x86-64-v4";
    let compiled = |name: &str, threads: usize| {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.path(name)).unwrap();
        std::fs::write(folder.path(&format!("{name}/m.onnx")), model("classifier.onnx")).unwrap();
        let compile = format!("compile {name}/m.onnx {cpus} --threads {threads} -o out.cardinal");
        folder.run(&compile).succeeds();
        read(&folder, "out.cardinal")
    };
    let first = compiled("a", 1);
    for (name, threads) in [("b", 2), ("deeper/still", 4)] {
        assert!(compiled(name, threads) == first, "{name}");
    }
}

#[test]
fn damaged_copies_are_refused_with_3() {
    let folder = folder();
    folder.run("compile classifier.onnx --cpu x86-64,x86-64-v4 -o m.cardinal").succeeds();
    let intact = read(&folder, "m.cardinal");
    let mut copies: Vec<(String, Vec<u8>)> = Vec::new();
    for k in 0..8 {
        let at = (intact.len() - 1) * k / 7;
        let mut copy = intact.clone();
        copy[at] ^= 0x10;
        copies.push((format!("bit flipped at {at}"), copy));
    }
    for length in [8, 47, 48, 5000, intact.len() - 1] {
        copies.push((format!("cut to {length}"), intact[..length].to_vec()));
    }
    let mut old = intact;
    old[8] = 1;
    copies.push(("of version 1".into(), old));
    for (what, copy) in copies {
        std::fs::write(folder.path("bad.cardinal"), copy).unwrap();
        for command in ["run bad.cardinal --input x.npy --isa x86-64", "inspect bad.cardinal"] {
            let said = folder.run(command).fails_with(3);
            assert!(said.contains("bad.cardinal"), "{what}: {said}");
        }
        let relink = "relink --weights classifier.onnx bad.cardinal -o out.cardinal";
        folder.run(relink).fails_with(3);
        assert!(!folder.names().contains(&"out.cardinal".to_owned()), "{what}");
    }
}

// ---- relink --------------------------------------------------------------------------------------

/// The classifier with one bit of its weights changed: the middle of the file is in an initializer.
fn retrained() -> Vec<u8> {
    let mut model = model("classifier.onnx");
    let at = model.len() / 2;
    model[at] ^= 1;
    model
}

#[test]
fn no_input_is_overwritten() {
    let folder = folder().file("model", model("classifier.onnx"));
    folder.run("compile classifier.onnx -o a.cardinal").succeeds();
    for lost in [
        "relink --weights classifier.onnx a.cardinal -o classifier.onnx",
        "relink --weights classifier.onnx a.cardinal -o ./classifier.onnx",
        "compile classifier.onnx --emit artifact -o classifier.onnx",
        "compile model -o model",
    ] {
        let said = folder.run(lost).fails_with(2);
        assert!(said.contains("is an input, and would be lost"), "{said}");
    }
    assert!(read(&folder, "classifier.onnx") == model("classifier.onnx"));
    assert!(read(&folder, "model") == model("classifier.onnx"));
    // An artifact gets other weights in its place.
    let before = read(&folder, "a.cardinal");
    folder.run("relink --weights classifier.onnx a.cardinal -o a.cardinal").succeeds();
    assert!(read(&folder, "a.cardinal") == before);
}

#[test]
fn what_is_no_model_is_named() {
    let mut folder = folder();
    let kinds: [(&str, &[u8], &str); 9] = [
        ("program", b"\x7fELF\x02\x01\x01", "an executable or an object file"),
        ("cat.png", b"\x89PNG\r\n\x1a\n", "an image"),
        ("weights.pth", b"PK\x03\x04\0\0", "torch.onnx.export"),
        ("old.pt", b"\x80\x02\x8a\x0al\xfc", "torch.onnx.export"),
        ("model.h5", b"\x89HDF\r\n\x1a\n\0", "from_keras"),
        ("model.keras", b"PK\x03\x04\0\0", "from_keras"),
        ("model.tflite", b"\x1c\0\0\0TFL3\0", "--tflite"),
        ("model.safetensors", b"\x40\0\0\0\0\0\0\0{\"w\":", "weights without a network"),
        ("x1.npy", b"\x93NUMPY\x01\0", "an array of NumPy"),
    ];
    for (file, bytes, _) in kinds {
        folder = folder.file(file, bytes);
    }
    for (file, _, kind) in kinds {
        for command in ["inspect", "bench", "run --input x.npy"] {
            let said = folder.run(&format!("{command} {file}")).fails_with(3);
            assert!(said.contains(kind), "{said}");
        }
    }
}

#[test]
fn relinking_gives_the_bytes_of_compiling() {
    let folder = folder().file("new.onnx", retrained());
    let compile = |model: &str, out: &str| {
        folder
            .run(&format!("compile {model} --batch 2 --cpu x86-64,x86-64-v3 -o {out}"))
            .succeeds();
    };
    compile("classifier.onnx", "old.cardinal");
    compile("new.onnx", "fresh.cardinal");
    assert!(read(&folder, "old.cardinal") != read(&folder, "fresh.cardinal"));
    folder.run("relink --weights new.onnx old.cardinal -o relinked.cardinal").succeeds();
    assert!(read(&folder, "relinked.cardinal") == read(&folder, "fresh.cardinal"));
    // And back, over itself: the results are numpy's for the weights that it was made with.
    folder
        .run("relink --weights classifier.onnx relinked.cardinal -o relinked.cardinal")
        .succeeds();
    assert!(read(&folder, "relinked.cardinal") == read(&folder, "old.cardinal"));
    folder.run(&format!("verify relinked.cardinal {VERIFY}")).succeeds();
}

#[test]
fn relinking_another_graph_gives_3_and_says_why() {
    let folder =
        folder().file("fixed.onnx", model("fixed.onnx")).file("open.onnx", model("open.onnx"));
    folder.run("compile classifier.onnx --batch 2 -o m.cardinal").succeeds();
    let digits =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx");
    let other = format!("relink --weights {} m.cardinal -o out.cardinal", digits.display());
    let said = folder.run(&other).fails_with(3);
    assert!(said.contains("the graph is not the artifact's"), "{said}");
    assert!(said.contains("help: compile the model instead"), "{said}");
    // Files that fix another batch are followed to the artifact's.
    for same in ["fixed.onnx", "open.onnx"] {
        folder.run(&format!("relink --weights {same} m.cardinal -o same.cardinal")).succeeds();
    }
    let said = folder.run("relink --weights m.cardinal m.cardinal -o out.cardinal").fails_with(2);
    assert!(said.contains("compiled already"), "{said}");
    folder.run("relink --weights - - -o out.cardinal").fails_with(2);
    folder.run("relink --weights no.onnx m.cardinal -o out.cardinal").fails_with(5);
    folder.run("relink --weights classifier.onnx no.cardinal -o out.cardinal").fails_with(5);
    folder.run("relink --weights classifier.onnx classifier.onnx -o out.cardinal").fails_with(3);
    assert!(!folder.names().contains(&"out.cardinal".to_owned()));
}

#[test]
fn portable_bits_are_said_kept_and_fixed() {
    let folder = folder();
    let compile = "compile classifier.onnx --batch 2 --cpu x86-64-v3 --portable-bits";
    folder.run(&format!("{compile} -o m.cardinal")).succeeds();
    let about = folder.run("inspect m.cardinal").succeeds();
    assert!(
        about.lines().any(|l| l.starts_with("portable bits ") && l.ends_with("yes")),
        "{about}"
    );
    folder.run("relink --weights classifier.onnx m.cardinal -o relinked.cardinal").succeeds();
    assert!(read(&folder, "relinked.cardinal") == read(&folder, "m.cardinal"));
    let said = folder.run("bench m.cardinal --portable-bits").fails_with(2);
    assert!(said.contains("compiled already"), "{said}");
    let said = folder.run(&compile.replace("v3", "v2")).fails_with(2);
    assert!(said.contains("fused multiply-add"), "{said}");
}
