//! Files that say how images are prepared: timm's, Hugging Face's, and our own.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::timm::Pairs;
use crate::exit::{Failure, Outcome};
use crate::limits::SETTINGS_BYTES;
use crate::tensors::read_bytes;

/// What is looked for in a model's folder: Hugging Face's, and timm's.
const FILES: [&str; 2] = ["preprocessor_config.json", "config.json"];
/// What settings are called.
const KEYS: [&str; 5] = ["mean", "std", "crop_pct", "interpolation", "resize"];
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
    let is_small = text.len() as u64 <= SETTINGS_BYTES;
    of_json(&text).filter(|_| is_small).ok_or_else(|| Failure::damaged(path, UNKNOWN))
}

fn of_neighbour(model: &Path, name: &str) -> Option<Pairs> {
    let path = model.parent()?.join(name);
    let about = fs::metadata(&path).ok()?;
    let is_small = about.is_file() && about.len() <= SETTINGS_BYTES;
    of_json(&fs::read(path).ok().filter(|_| is_small)?)
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
        let value = settings.get(key).or_else(|| alternatives(key))?;
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
