//! What goes wrong before there is a model to run: exit codes, and what is said and left behind.

mod common;

use common::{Folder, command};

#[test]
fn a_command_line_that_cannot_be_gives_2() {
    let folder = Folder::new();
    for arguments in [
        "",
        "fly",
        "compile",
        "run m.onnx",
        "run m.onnx a.png --input x.npy",
        "run m.onnx a.png --top 0",
        "run m.onnx a.png --mean x",
        "run m.onnx a.png --labels-offset 1",
        "run - -",
        "run - --input -",
        "run m.onnx --input a=- --input b=-",
        "run m.onnx --input x.npy --output - --json",
        "bench m.onnx --iterations 0",
        "bench m.onnx --threads 0",
        "bench m.onnx --batch 0",
        "bench m.onnx --shape x=1xa",
        "verify m.onnx --expected y.npy",
        "verify m.onnx --input x.npy --expected y.npy --rtol -1",
        "verify m.onnx --atol nan",
        "inspect m.onnx --stage soup",
        "inspect m.onnx --stage asm --format json",
        "inspect m.onnx --stage import --after x",
        "inspect m.onnx --format svg --stage plan",
        "inspect m.onnx --format svg --why",
        "inspect m.onnx --format svg --passes",
        "inspect m.onnx --format html --stage asm",
        "inspect m.onnx --format html --diff fold_constants",
        "inspect m.onnx --format html --cpu x86-64-v3,x86-64-v4",
        "inspect m.onnx --format json --node x",
        "inspect m.onnx --after no_such_pass",
        "compile m.onnx -o m.txt",
        "compile m.onnx --emit soup",
    ] {
        folder.run(arguments).fails_with(2);
    }
    assert!(folder.names().is_empty());
}

#[test]
fn a_file_that_is_not_there_gives_5() {
    let folder = Folder::new();
    for arguments in [
        "compile no.onnx",
        "run no.onnx x.png",
        "run no.onnx --input no.npy",
        "inspect no.onnx",
        "bench no.cardinal",
        "verify no.onnx",
    ] {
        let said = folder.run(arguments).fails_with(5);
        assert!(said.contains("`no.") && said.contains("No such file"), "{said}");
    }
    let said = folder.run("compile .").fails_with(5);
    assert!(said.contains("directory"), "{said}");
}

#[test]
fn damaged_inputs_give_5() {
    let folder = Folder::new().file("x.npy", "soup").file("x.npz", "PK soup").file("m.onnx", "");
    for name in ["x.npy", "x.npz"] {
        let said = folder.run(&format!("run m.onnx --input {name}")).fails_with(5);
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn garbage_is_no_model_and_nothing_is_written() {
    for content in [&b""[..], b"soup", &[0xff; 1000], b"CARDINAL", b"CARDINAL\0\0\0\0\0\0"] {
        let folder = Folder::new().file("m.onnx", content);
        for arguments in ["inspect m.onnx", "bench m.onnx", "run m.onnx x.png"] {
            let said = folder.run(arguments).fails_with(3);
            assert!(said.contains("m.onnx"), "{said}");
        }
        assert_eq!(folder.names(), ["m.onnx"]);
    }
    let folder = Folder::new().file("m.onnx", "soup").file("out.cardinal", "old");
    folder.run("compile m.onnx").fails_with(3);
    folder.run("compile m.onnx -o out.cardinal").fails_with(3);
    folder.run_with("compile - -o -", b"soup").fails_with(3);
    assert_eq!(folder.names(), ["m.onnx", "out.cardinal"]);
    assert_eq!(std::fs::read(folder.path("out.cardinal")).unwrap(), b"old");
}

#[test]
fn compiled_models_are_not_compiled_again() {
    let folder = Folder::new().file("m.cardinal", "CARDINAL");
    let said = folder.run("compile m.cardinal").fails_with(2);
    assert!(said.contains("compiled already"), "{said}");
    let said = folder.run("verify m.cardinal").fails_with(2);
    assert!(said.contains("--expected"), "{said}");
}

#[test]
fn help_and_version_go_to_stdout() {
    let folder = Folder::new();
    assert!(folder.run("--version").succeeds().starts_with("cardinal 0."));
    for name in ["compile", "run", "inspect", "bench", "verify"] {
        assert!(folder.run(&format!("help {name}")).succeeds().contains("Examples:"));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command(&folder.path(""), "help run").stdout(writer).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn more_memory_than_is_allowed_gives_3_and_the_way_to_allow_it() {
    let model = "../examples/digits/mnist_resnest.onnx";
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
    let folder = Folder::new().file("x.npy", "soup");
    let compile = format!("compile {} -o m.cardinal --batch 9", model.display());
    let said = folder.run(&format!("{compile} --max-memory 4KiB")).fails_with(3);
    let (_, advice) = said.split_once("allow it: ").unwrap();
    assert!(said.contains("of 4096 allowed") && said.contains('`'), "{said}");
    assert_eq!(folder.names(), ["x.npy"]);
    folder.run(&format!("{compile} {}", advice.trim())).succeeds();
    for command in ["bench", "verify", "inspect --stage plan"] {
        let line = format!("{command} {} --max-memory 4KiB", model.display());
        folder.run(&line).fails_with(3);
    }
    let said = folder.run("bench m.cardinal --max-memory 8GiB").fails_with(2);
    assert!(said.contains("--max-memory"), "{said}");
    folder.run(&format!("{compile} --max-memory much")).fails_with(2);
}
