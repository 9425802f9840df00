//! Fixture files: models with external weights, arrays, and the generator of stripped weights.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cardinal_compiler::onnx::{self, ExternalData, Model};
use cardinal_compiler::options::ImportOptions;
use cardinal_runtime::Tensor;
use serde_json::Value;

/// Folders of fixtures: the project's own and, where `CARDINAL_FIXTURES` names one, a larger set.
pub(crate) fn folders(kind: &str) -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind);
    let more = std::env::var_os("CARDINAL_FIXTURES").map(|dir| PathBuf::from(dir).join(kind));
    [own].into_iter().chain(more).collect()
}

/// Every `.onnx` of the folders, sorted.
pub(crate) fn models(kind: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in folders(kind) {
        let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
        let paths = files.map(|f| f.unwrap().path());
        all.extend(paths.filter(|p| p.extension().is_some_and(|e| e == "onnx")));
    }
    all.sort();
    assert!(!all.is_empty());
    all
}

/// The file's name without `.onnx`.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Imports a model, reading external data from the files beside it.
pub(crate) fn import(path: &Path, batch: Option<usize>) -> Model {
    try_import(path, batch).unwrap_or_else(|e| panic!("{path:?}: {e}"))
}

pub(crate) fn try_import(
    path: &Path,
    batch: Option<usize>,
) -> cardinal_compiler::error::Result<Model> {
    struct Beside(PathBuf);
    impl ExternalData for Beside {
        fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
            let all = std::fs::read(self.0.join(location)).map_err(|e| e.to_string())?;
            let end = length.map_or(all.len(), |n| (offset + n) as usize);
            Ok(Bytes::from(all).slice(offset as usize..end))
        }
    }
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let beside = Beside(path.parent().unwrap().to_owned());
    let options = ImportOptions { batch, ..ImportOptions::default() };
    onnx::import(bytes, &beside, &options)
}

/// An f32 array.
pub(crate) fn read_npy(path: &Path) -> Tensor {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape: Vec<usize> = npy.shape().iter().map(|n| *n as usize).collect();
    let values: Vec<f32> = npy.into_vec().unwrap();
    Tensor::from_f32(&shape, &values).unwrap()
}

/// Rows `first..first + count` along the outermost axis.
pub(crate) fn rows(tensor: &Tensor, first: usize, count: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    let values = tensor.as_f32().unwrap();
    let row = values.len() / shape[0];
    shape[0] = count;
    Tensor::from_f32(&shape, &values[first * row..(first + count) * row]).unwrap()
}

// ---- stripped weights, as the head of the fixtures' fill_weights.py defines them -----------------

fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// The top 24 bits of splitmix64 at element `i`.
fn draw(hash: u64, i: u64) -> u64 {
    let z = hash.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 40
}

fn unit(key: &str, n: usize) -> Vec<f32> {
    let hash = fnv1a(key);
    (0..n as u64).map(|i| draw(hash, i) as f32 * 2f32.powi(-23) - 1.0).collect()
}

fn centred(key: &str, n: usize, row: usize) -> Vec<f32> {
    let hash = fnv1a(key);
    let all: Vec<u64> = (0..n as u64).map(|i| draw(hash, i)).collect();
    let rows = all.chunks(row).flat_map(|row| {
        let mean = row.iter().sum::<u64>() as f64 / row.len() as f64;
        row.iter().map(move |k| ((*k as f64 - mean) * 2f64.powi(-23)) as f32)
    });
    rows.collect()
}

/// The values of one tensor of a fill file (or of the generator's known answers).
pub(crate) fn fill(entry: &Value) -> Vec<f32> {
    let dims: Vec<usize> =
        entry["dims"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let flag = |key: &str| entry[key].as_bool().unwrap_or(false);
    let number = |key: &str| entry[key].as_f64().unwrap() as f32;
    let (scale, shift, n) = (number("scale"), number("shift"), dims.iter().product());
    let key = entry["key"].as_str().unwrap();
    let made: Vec<usize> =
        if flag("transpose") { dims.iter().rev().copied().collect() } else { dims.clone() };
    if scale == 0.0 {
        return vec![shift; n];
    }
    let units =
        if flag("center") { centred(key, n, made[1..].iter().product()) } else { unit(key, n) };
    let values: Vec<f32> = units.into_iter().map(|u| u * scale + shift).collect();
    if !flag("transpose") {
        return values;
    }
    let (rows, columns) = (dims[0], dims[1]);
    (0..n).map(|i| values[i % columns * rows + i / columns]).collect()
}

/// A stripped model with its weights, in memory, and its fill file.
pub(crate) fn import_filled(path: &Path, batch: Option<usize>) -> (Model, Value) {
    struct Filled(Vec<(u64, Bytes)>);
    impl ExternalData for Filled {
        fn read(&self, _: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
            let found = self.0.iter().find(|(at, _)| *at == offset);
            let (_, bytes) = found.ok_or_else(|| format!("nothing at {offset}"))?;
            Ok(bytes.slice(..length.map_or(bytes.len(), |n| n as usize)))
        }
    }
    let json = std::fs::read(path.with_extension("fill.json")).unwrap();
    let plan: Value = serde_json::from_slice(&json).unwrap();
    let tensor = |entry: &Value| {
        let bytes: Vec<u8> = fill(entry).iter().flat_map(|v| v.to_le_bytes()).collect();
        (entry["offset"].as_u64().unwrap(), Bytes::from(bytes))
    };
    let external = Filled(plan["tensors"].as_array().unwrap().iter().map(tensor).collect());
    let options = ImportOptions { batch, ..ImportOptions::default() };
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let model = onnx::import(bytes, &external, &options);
    (model.unwrap_or_else(|e| panic!("{path:?}: {e}")), plan)
}

/// Input number `k` of a stripped model.
pub(crate) fn made_input(plan: &Value, k: usize) -> Tensor {
    let dims: Vec<usize> = plan["input_dims"].as_array().unwrap()[1..]
        .iter()
        .map(|d| d.as_u64().unwrap() as usize)
        .collect();
    let (c, h, w) = (dims[0], dims[1], dims[2]);
    let (rows, columns) = (h.div_ceil(32), w.div_ceil(32));
    let model = plan["model"].as_str().unwrap();
    let coarse = unit(&format!("{model}/input{k}.coarse"), c * rows * columns);
    let fine = unit(&format!("{model}/input{k}.fine"), c * h * w);
    let value = |(i, fine): (usize, &f32)| {
        let (channel, y, x) = (i / (h * w), i / w % h, i % w);
        1.25 * coarse[(channel * rows + y / 32) * columns + x / 32] + fine
    };
    let values: Vec<f32> = fine.iter().enumerate().map(value).collect();
    Tensor::from_f32(&[1, c, h, w], &values).unwrap()
}

/// A stripped model with made-up weights, for what does not depend on them.
pub(crate) fn import_unfilled(path: &Path) -> Model {
    struct MadeUp;
    impl ExternalData for MadeUp {
        fn read(&self, _: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
            let count = length.ok_or("a length is not given")? / 4;
            let value = |i: u64| (((offset / 4 + i) % 251) as f32 - 100.0) * 1e-3;
            Ok((0..count).flat_map(|i| value(i).to_le_bytes()).collect())
        }
    }
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let model = onnx::import(bytes, &MadeUp, &ImportOptions::default());
    model.unwrap_or_else(|e| panic!("{path:?}: {e}"))
}
