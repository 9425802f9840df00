//! Detached signatures: what a key has signed is taken, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a test may stop here")]

mod common;

use std::fs;
use std::process::Command;

use common::{Folder, onnx};
use minisign::KeyPair;

/// A key pair, written as `minisign -G -W` writes it: NAME.key and NAME.pub.
fn key(folder: &Folder, name: &str) -> KeyPair {
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let write = |kind: &str, text: String| fs::write(folder.path(&format!("{name}.{kind}")), text);
    write("key", pair.sk.to_box(None).unwrap().to_string()).unwrap();
    write("pub", pair.pk.to_box().unwrap().to_string()).unwrap();
    pair
}

/// A folder with a model, m.onnx.
fn with_model() -> Folder {
    let folder = Folder::new();
    let relu = onnx::node("Relu", &["x"], "y");
    onnx::write(&folder.path("m.onnx"), &[1, 4], vec![relu], &[], |_, _| 0.0).unwrap();
    folder
}

/// A folder with a signed artifact, m.cardinal, and the key, k.
fn signed() -> (Folder, KeyPair) {
    let folder = with_model();
    let pair = key(&folder, "k");
    folder.run("compile m.onnx -o m.cardinal --sign k.key").succeeds();
    (folder, pair)
}

#[test]
fn what_the_key_has_signed_is_taken() {
    let (folder, pair) = signed();
    let names = ["k.key", "k.pub", "m.cardinal", "m.cardinal.minisig", "m.onnx"];
    assert_eq!(folder.names(), names);
    let base64 = pair.pk.to_base64();
    fs::copy(folder.path("m.cardinal.minisig"), folder.path("elsewhere")).unwrap();
    for trust in ["k.pub", &base64, "k.pub --signature elsewhere"] {
        folder.run(&format!("inspect m.cardinal --verify-with {trust}")).succeeds();
        folder.run(&format!("bench m.cardinal --iterations 1 --verify-with {trust}")).succeeds();
    }
    let artifact = fs::read(folder.path("m.cardinal")).unwrap();
    let piped = "inspect - --verify-with k.pub --signature elsewhere";
    folder.run_with(piped, &artifact).succeeds();
}

#[test]
fn every_kind_of_output_is_signed_and_relinked_ones_too() {
    let (folder, _) = signed();
    for output in ["m.o", "m"] {
        folder.run(&format!("compile m.onnx -o {output} --sign k.key")).succeeds();
        assert!(folder.path(&format!("{output}.minisig")).is_file());
    }
    let relink =
        "relink m.cardinal --weights m.onnx -o n.cardinal --sign k.key --verify-with k.pub";
    folder.run(relink).succeeds();
    folder.run("inspect n.cardinal --verify-with k.pub").succeeds();
}

#[test]
fn everything_else_is_refused() {
    let (folder, _) = signed();
    key(&folder, "other");
    let artifact = fs::read(folder.path("m.cardinal")).unwrap();
    let signature = fs::read(folder.path("m.cardinal.minisig")).unwrap();
    let refused = |model: &str, key: &str, code: i32, what: &str| {
        for command in ["inspect", "bench --iterations 1"] {
            let ran = folder.run(&format!("{command} {model} --verify-with {key}"));
            let said = ran.fails_with(code);
            assert!(said.contains(what), "{said}");
        }
    };
    refused("m.cardinal", "other.pub", 3, "the key has not signed it");
    // Another artifact, which is as whole as the signed one.
    let other = folder.run("compile m.onnx --no-winograd -o other.cardinal --batch 1");
    other.succeeds();
    fs::copy(folder.path("m.cardinal.minisig"), folder.path("other.cardinal.minisig")).unwrap();
    refused("other.cardinal", "k.pub", 3, "the key has not signed it");
    fs::remove_file(folder.path("other.cardinal.minisig")).unwrap();
    refused("other.cardinal", "k.pub", 5, "other.cardinal.minisig");
    refused("m.onnx", "k.pub", 2, "is not compiled");
    refused("m.cardinal", "k.key", 5, "it is no public key");
    refused("m.cardinal", "absent.pub", 5, "absent.pub");
    for at in (0..artifact.len()).step_by(artifact.len() / 20) {
        let mut flipped = artifact.clone();
        flipped[at] ^= 1;
        fs::write(folder.path("m.cardinal"), flipped).unwrap();
        refused("m.cardinal", "k.pub", 3, "the key has not signed it");
    }
    fs::write(folder.path("m.cardinal"), &artifact).unwrap();
    // The first line is nobody's word, of the third the beginning is a label, and `=` fills up base64.
    let lines =
        signature.split(|&byte| byte == b'\n').zip([usize::MAX, 0, b"trusted comment: ".len(), 0]);
    let mut begin = 0;
    for (line, label) in lines {
        for at in (begin..begin + line.len()).skip(label).filter(|at| signature[*at] != b'=') {
            let mut flipped = signature.clone();
            flipped[at] ^= 4;
            fs::write(folder.path("m.cardinal.minisig"), &flipped).unwrap();
            let ran = folder.run("inspect m.cardinal --verify-with k.pub");
            assert!(matches!(ran.code, 3 | 5), "byte {at}: {ran:?}");
        }
        begin += line.len() + 1;
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused_before_any_work() {
    let folder = with_model().file("bad", "not a key\n");
    let pair = KeyPair::generate_encrypted_keypair(Some("secret".into())).unwrap();
    fs::write(folder.path("k.key"), pair.sk.to_box(None).unwrap().to_string()).unwrap();
    fs::write(folder.path("k.pub"), pair.pk.to_box().unwrap().to_string()).unwrap();
    let compile = |arguments: &str, password: Option<&str>| {
        let mut command =
            common::command(&folder.path("."), &format!("compile m.onnx {arguments}"));
        let output = match password {
            Some(password) => command.env("CARDINAL_KEY_PASSWORD", password),
            None => command.env_remove("CARDINAL_KEY_PASSWORD"),
        };
        let output = output.stdin(std::process::Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let refused = |arguments: &str, password, code, what: &str| {
        let (found, said) = compile(arguments, password);
        assert!(found == Some(code) && said.contains(what), "{found:?}: {said}");
        assert_eq!(folder.names(), ["bad", "k.key", "k.pub", "m.onnx"]);
    };
    refused("-o - --sign k.key", None, 2, "no place for a signature");
    refused("--sign bad", Some("x"), 5, "it is no secret key");
    refused("--sign absent", None, 5, "absent");
    refused("--sign k.key", Some("wrong"), 5, "Wrong password");
    let (code, said) = compile("--sign k.key", Some("secret"));
    assert_eq!(code, Some(0), "{said}");
    folder.run("inspect m.cardinal --verify-with k.pub").succeeds();
}

/// The tool whose format this is takes our signatures, and we take its.
#[test]
fn minisign_itself_agrees() {
    if Command::new("minisign").arg("-v").output().is_err() {
        println!("NOT RUN: minisign is not installed (Debian package minisign)");
        return;
    }
    let (folder, _) = signed();
    let minisign = |arguments: &str| {
        let mut command = Command::new("minisign");
        command.current_dir(folder.path(".")).args(arguments.split(' ')).output().unwrap()
    };
    let checked = minisign("-V -p k.pub -m m.cardinal");
    assert!(checked.status.success(), "{checked:?}");
    fs::remove_file(folder.path("m.cardinal.minisig")).unwrap();
    let made = minisign("-S -W -s k.key -m m.cardinal");
    assert!(made.status.success(), "{made:?}");
    folder.run("inspect m.cardinal --verify-with k.pub").succeeds();
}
