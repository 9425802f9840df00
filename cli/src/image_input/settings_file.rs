//! Files that say how images are prepared: timm's, Hugging Face's, and our own.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use super::timm::Pairs;
use crate::exit::{Failure, Outcome};
use crate::limits::SETTINGS_BYTES;
use crate::tensors::read_bytes;

/// What is looked for in a model's folder: Hugging Face's, and timm's.
const FILES: [&str; 2] = ["preprocessor_config.json", "config.json"];
/// What settings are called.
pub(super) const KEYS: [&str; 5] = ["mean", "std", "crop_pct", "interpolation", "resize"];
/// What is wrong with a file of settings that has none.
const UNKNOWN: &str = "it says nothing of how images are prepared: it is to be JSON with mean, std, crop_pct, \
                       interpolation or resize, or timm's config.json, or Hugging Face's \
                       preprocessor_config.json";

/// What files in a model's folder say.
pub(super) fn beside(model: &Path) -> impl Iterator<Item = (&'static str, Pairs)> {
    FILES.into_iter().filter_map(move |name| Some((name, of_neighbour(model, name)?)))
}

/// What a file says.
///
/// # Errors
/// [`Failure::Io`], and [`Failure::Damaged`] where it says nothing.
pub(super) fn read(path: &Path) -> Outcome<Pairs> {
    let text = read_bytes(path)?;
    if text.len() as u64 > SETTINGS_BYTES {
        let what = format!("it is longer than {SETTINGS_BYTES} bytes, and no file of settings");
        return Err(Failure::damaged(path, what));
    }
    of_json(&text).ok_or_else(|| Failure::damaged(path, UNKNOWN))
}

/// Nothing is read of what is no file, or a long one: whoever put it there may not know of us.
fn of_neighbour(model: &Path, name: &str) -> Option<Pairs> {
    let path = model.parent()?.join(name);
    let about = fs::metadata(&path).ok()?;
    if !about.is_file() || about.len() > SETTINGS_BYTES {
        return None;
    }
    let mut text = Vec::new();
    // It may have grown meanwhile.
    File::open(path).ok()?.take(SETTINGS_BYTES).read_to_end(&mut text).ok()?;
    of_json(&text)
}

/// What JSON says: our own names and timm's (in `pretrained_cfg`), or Hugging Face's.
fn of_json(text: &[u8]) -> Option<Pairs> {
    let whole: Value = serde_json::from_slice(text).ok()?;
    let settings = whole.get("pretrained_cfg").unwrap_or(&whole);
    let alternatives = |key: &str| match key {
        "mean" => settings.get("image_mean"),
        "std" => settings.get("image_std"),
        "interpolation" => settings.get("resample"),
        // The shorter side, where a crop of another size follows.
        "resize" => settings.get("crop_size").and(settings.get("size")?.get("shortest_edge")),
        _ => None,
    };
    let pair = |key: &&str| {
        let own = settings.get(key).filter(|value| !value.is_null());
        let value = own.or_else(|| alternatives(key))?;
        Some(((*key).to_owned(), said(key, value)?))
    };
    let pairs: Pairs = KEYS.iter().filter_map(pair).collect();
    (!pairs.is_empty()).then_some(pairs)
}

/// A value as text.
fn said(key: &str, value: &Value) -> Option<String> {
    match (key, value) {
        // Pillow's numbers.
        ("interpolation", Value::Number(number)) => match number.as_u64() {
            Some(2) => Some("bilinear".into()),
            Some(3) => Some("bicubic".into()),
            _ => Some(number.to_string()),
        },
        (_, Value::String(text)) => Some(text.clone()),
        ("resize", Value::Number(number)) => {
            let whole = number.as_f64().filter(|side| side.fract() == 0.)?;
            Some(format!("{whole:.0}"))
        }
        (_, Value::Number(number)) => Some(number.to_string()),
        (_, Value::Array(all)) => {
            let numbers: Option<Vec<String>> =
                all.iter().map(|x| Some(x.as_f64()?.to_string())).collect();
            Some(numbers?.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(json: &str) -> Option<Vec<(String, String)>> {
        of_json(json.as_bytes())
    }

    fn owned(all: &[(&str, &str)]) -> Option<Pairs> {
        Some(all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn timms_configurations_are_read() {
        let json = r#"{"architecture": "resnest50d", "num_classes": 1000, "pretrained_cfg": {"mean": [0.5, 0.25, 1],
            "std": [0.1, 0.2, 0.3], "input_size": [3, 224, 224], "interpolation": "bilinear", "crop_pct": 0.875}}"#;
        let expected = [
            ("mean", "0.5,0.25,1"),
            ("std", "0.1,0.2,0.3"),
            ("crop_pct", "0.875"),
            ("interpolation", "bilinear"),
        ];
        assert_eq!(pairs(json), owned(&expected));
    }

    #[test]
    fn hugging_faces_configurations_are_read() {
        let json = r#"{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1], "resample": 3,
            "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}"#;
        let expected = [
            ("mean", "0.5,0.5,0.5"),
            ("std", "1,1,1"),
            ("interpolation", "bicubic"),
            ("resize", "256"),
        ];
        assert_eq!(pairs(json), owned(&expected));
        // Without a crop this is the size of the input.
        let json = r#"{"size": {"shortest_edge": 224}, "crop_pct": 0.875}"#;
        assert_eq!(pairs(json), owned(&[("crop_pct", "0.875")]));
    }

    #[test]
    fn neighbours_that_are_no_files_or_long_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.onnx");
        let path = folder.path().join("config.json");
        std::fs::write(&path, r#"{"crop_pct": 0.5}"#).unwrap();
        assert_eq!(beside(&model).count(), 1);
        File::options().write(true).open(&path).unwrap().set_len(3 << 30).unwrap();
        assert_eq!(beside(&model).count(), 0);
        let failure = read(&path).unwrap_err().to_string();
        assert!(failure.contains("longer than"), "{failure}");
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert_eq!(beside(&model).count(), 0);
    }

    #[test]
    fn what_says_nothing_of_images_is_passed_over() {
        for json in [
            "",
            "{",
            "[]",
            "7",
            "{}",
            r#"{"model_type": "bert"}"#,
            r#"{"mean": null}"#,
            r#"{"size": 3}"#,
        ] {
            assert_eq!(pairs(json), None, "{json}");
        }
    }
}
