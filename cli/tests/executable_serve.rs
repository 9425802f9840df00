//! Executables that serve their model: made with `--with-serve`, they need nothing else.
#![cfg(all(target_os = "linux", feature = "full"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;
mod digits_folder;
mod serving;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

use common::Folder;
use digits_folder::{folder, json as parsed, model, same};
use serde_json::json;
use serving::{Server, asked_in_binary, elements};

/// Most bytes by which an executable that serves is larger than one that does not.
const SIZE_LIMIT: usize = 1_600_000;

/// A folder with so many images and `digits`, which serves.
fn folder_with_digits(count: usize) -> Folder {
    let folder = folder(count);
    folder.run(&format!("compile {} --emit exe --with-serve -o digits", model())).succeeds();
    folder
}

/// `./digits`, without an environment.
fn digits(folder: &Folder, arguments: &[&str]) -> Command {
    let mut digits = Command::new(folder.path("digits"));
    digits.args(arguments).current_dir(folder.path("")).env_clear();
    digits
}

fn ran(folder: &Folder, arguments: &[&str]) -> Output {
    loop {
        match digits(folder, arguments).stdin(Stdio::null()).output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            ran => return ran.unwrap(),
        }
    }
}

fn said(ran: &Output) -> &str {
    std::str::from_utf8(&ran.stderr).unwrap()
}

#[test]
fn it_answers_what_run_gives() {
    let folder = folder_with_digits(2);
    folder.run("run m.cardinal images/00000.png images/00001.png -q --dump-input x.npy -o y.npy");
    let server = Server::of(&mut digits(&folder, &["serve", "--port", "0"]));
    assert_eq!(server.get("/v2/health/ready").json(), json!({"ready": true}));
    assert_eq!(server.get("/v2/models/digits").json()["name"], "digits");

    let alone = ran(&folder, &["images/00001.png", "--json", "--top", "3"]);
    let alone = parsed(std::str::from_utf8(&alone.stdout).unwrap());
    let image = fs::read(folder.path("images/00001.png")).unwrap();
    let served = server.post("/v2/models/digits/classify?top=3", &image).json();
    assert!(same(&served["top"], &alone["results"][0]["top"]), "{served} {alone}");

    let (x, y) = (elements(&folder, "x.npy"), elements(&folder, "y.npy"));
    let (header, body) = asked_in_binary("input", &[2, 1, 28, 28], &x);
    let headers = [("Inference-Header-Content-Length", header.as_str())];
    let reply = server.send("POST", "/v2/models/digits/infer", &headers, &body);
    assert!(reply.status == 200 && reply.body.ends_with(&y));

    server.post("/v2/models/digits/classify", b"garbage").refuses_with(415);
    server.signal("-TERM");
    let (status, said) = server.wait();
    assert_eq!(status.signal().or(status.code()), Some(15), "{said}");
    assert!(said.contains("POST /v2/models/digits/infer 200"), "{said}");
}

#[test]
fn it_is_an_executable_as_others_are() {
    let folder = folder_with_digits(1);
    folder.run(&format!("compile {} --emit exe -o plain", model())).succeeds();
    let [serving, plain] =
        ["digits", "plain"].map(|name| fs::metadata(folder.path(name)).unwrap().len() as usize);
    println!("{} bytes more", serving - plain);
    assert!(serving - plain < SIZE_LIMIT, "{serving} {plain}");
    for arguments in [&["images/00000.png"][..], &["--selftest"], &["--info"], &["serve", "--help"]]
    {
        assert!(ran(&folder, arguments).status.success(), "{arguments:?}");
    }
    // Names of hosts take what a program that is linked statically does not have.
    let refused = ran(&folder, &["serve", "--host", "localhost"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("take an address, such as 127.0.0.1"), "{}", said(&refused));
    // One that does not serve takes `serve` for an image.
    fs::rename(folder.path("plain"), folder.path("digits")).unwrap();
    let refused = ran(&folder, &["serve"]);
    assert_eq!(refused.status.code(), Some(5), "{}", said(&refused));
}

#[test]
fn only_executables_serve() {
    let folder = folder(0);
    for arguments in ["-o d.cardinal", "--emit obj -o d.o", "-o d.so"] {
        let command = format!("compile {} --with-serve {arguments}", model());
        let said = folder.run(&command).fails_with(2);
        assert!(said.contains("--with-serve is for executables"), "{said}");
    }
    assert_eq!(folder.names(), ["images", "m.cardinal"]);
}
