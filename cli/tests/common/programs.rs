//! Programs in other languages around the digits model, and what they should say.

#![allow(clippy::panic, reason = "a failing test is a panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Folder;

/// The examples that come with the project.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// What a program says on stdout; it must succeed.
pub(crate) fn say(command: &mut Command) -> String {
    let said = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{command:?}: {errors}");
    String::from_utf8(said.stdout).unwrap()
}

/// The stored images as PGM files, and the classes that the model's author saw it predict.
pub(crate) fn images(folder: &Folder) -> (Vec<PathBuf>, Vec<String>) {
    let text = std::fs::read_to_string(examples().join("digits/labels.txt")).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let image = image::open(examples().join("digits").join(words[0])).unwrap().to_luma8();
        let path = folder.path(&words[0].replace('/', "_")).with_extension("pgm");
        let header = format!("P5\n{} {}\n255\n", image.width(), image.height());
        std::fs::write(&path, [header.as_bytes(), image.as_raw()].concat()).unwrap();
        (path, words[2].to_owned())
    });
    rows.unzip()
}
