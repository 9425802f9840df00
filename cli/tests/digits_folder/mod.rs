//! Folders with the digits model, compiled, and images of digits.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::Folder;

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

/// Where the digits model is.
pub(crate) fn model() -> String {
    digits().join("mnist_resnest.onnx").display().to_string()
}

/// A folder with `m.cardinal` and with so many images of digits in `images`, of which a hundred are different.
pub(crate) fn folder(count: usize) -> Folder {
    let folder = Folder::new();
    folder.run(&format!("compile {} -o m.cardinal", model())).succeeds();
    fs::create_dir(folder.path("images")).unwrap();
    let digits = fs::read_dir(digits().join("images")).unwrap();
    let mut digits: Vec<PathBuf> = digits.map(|entry| entry.unwrap().path()).collect();
    digits.sort();
    for (n, from) in (0..count).zip(digits.iter().cycle()) {
        fs::copy(from, folder.path(&format!("images/{n:05}.png"))).unwrap();
    }
    folder
}

/// A JSON value.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Whether two values are the same, but for the last bits of numbers, which are lost where JSON is read.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|number| number.as_f64().unwrap());
            (a - b).abs() <= 1e-12 * a.abs()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        }
        _ => a == b,
    }
}

/// A JSON value for each line.
pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}
