//! How timm prepares images, by the names of its models. `scripts/timm_settings.py` writes the table.

const TABLE: &str = include_str!("timm.csv");

/// Settings as text by timm's names for them: `mean`, `std`, `crop_pct`, `interpolation`; and `resize` for
/// the length of the shorter side.
pub(super) type Pairs = Vec<(String, String)>;

/// The settings of a model of timm's, with or without the tag of its weights: `resnest50d`,
/// `resnet50.a1_in1k`. The table has tags only of weights that want something else than those of the bare name.
pub(super) fn find(name: &str) -> Option<Pairs> {
    let bare = name.split_once('.').map_or(name, |(bare, _)| bare);
    let values = row(name).or_else(|| row(bare))?;
    let keys = ["interpolation", "crop_pct", "mean", "std"];
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.replace(' ', ","));
    Some(keys.into_iter().zip(values.chain(IMAGENET)).map(pair).collect())
}

/// Whether torchvision has a model of this name too, whose weights want other settings.
pub(super) fn is_torchvisions(name: &str) -> bool {
    const OTHERS: [&str; 10] = [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnext50_32x4d",
        "resnext101_32x8d",
        "resnext101_64x4d",
        "wide_resnet50_2",
        "wide_resnet101_2",
    ];
    OTHERS.contains(&name)
}

/// Mean and standard deviation, where a row has none.
const IMAGENET: [&str; 2] = ["0.485 0.456 0.406", "0.229 0.224 0.225"];

/// What the table has for a name.
fn row(name: &str) -> Option<impl Iterator<Item = &'static str>> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let (_, values) = lines.filter_map(|line| line.split_once(',')).find(|(of, _)| *of == name)?;
    Some(values.split(','))
}

/// The model that a file is called after: the longest name in the table that its stem begins with, up to a dot.
pub(super) fn called(stem: &str) -> Option<&str> {
    let stem =
        ["timm.", "timm_", "timm-"].iter().find_map(|p| stem.strip_prefix(p)).unwrap_or(stem);
    let ends = stem.match_indices('.').map(|(at, _)| at).chain([stem.len()]);
    let names: Vec<&str> = ends.map(|end| &stem[..end]).collect();
    names.into_iter().rev().find(|name| row(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, key: &str) -> Option<String> {
        find(name)?.into_iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    #[test]
    fn models_have_their_own_settings() {
        for (name, interpolation, crop_pct) in [
            ("resnest14d", "bilinear", "0.875"),
            ("resnest50d", "bilinear", "0.875"),
            ("resnest200e", "bicubic", "0.909"),
            ("resnest269e.in1k", "bicubic", "0.928"),
            ("seresnet50", "bicubic", "0.95"),
        ] {
            assert_eq!(of(name, "interpolation").as_deref(), Some(interpolation), "{name}");
            assert_eq!(of(name, "crop_pct").as_deref(), Some(crop_pct), "{name}");
            assert_eq!(of(name, "mean").as_deref(), Some("0.485,0.456,0.406"), "{name}");
        }
        assert_eq!(of("resnet50.a1_in1k", "crop_pct"), of("resnet50", "crop_pct"));
        assert_ne!(of("resnet50.gluon_in1k", "crop_pct"), of("resnet50", "crop_pct"));
        for name in ["", "resnest", "resnest50", "resnest50dd", "# timm", "resnest50d,bilinear"] {
            assert_eq!(find(name), None, "{name}");
        }
    }

    #[test]
    fn names_that_torchvision_has_too_are_timms() {
        for name in ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"] {
            assert!(is_torchvisions(name) && row(name).is_some(), "{name}");
        }
        for name in ["resnet50.a1_in1k", "resnet50d", "resnest50d", "seresnet50", "resnet26"] {
            assert!(!is_torchvisions(name) && find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn files_are_called_after_models() {
        for (stem, model) in [
            ("resnest50d", Some("resnest50d")),
            ("resnest50d.int8", Some("resnest50d")),
            ("timm.resnest50d.ts17", Some("resnest50d")),
            ("resnet50.a1_in1k", Some("resnet50")),
            ("resnet50.gluon_in1k.b8", Some("resnet50.gluon_in1k")),
            ("my_resnest50d", None),
            ("model", None),
            ("", None),
        ] {
            assert_eq!(called(stem), model, "{stem}");
        }
    }
}
