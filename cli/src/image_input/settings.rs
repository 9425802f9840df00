//! Who says how images are prepared, and what: flags, then what `--preprocess` names or else the model's
//! metadata, a file of settings beside it, and timm where the file is called after a model of timm's.

use std::fmt;
use std::path::Path;
#[cfg(feature = "compiler")]
use std::path::PathBuf;

#[cfg(feature = "compiler")]
use super::settings_file;
use super::timm::{self, Pairs};
use crate::exit::Outcome;
#[cfg(feature = "compiler")]
use crate::stdio::is_dash;

/// What `--preprocess` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Preprocess {
    /// As most models of ImageNet want it.
    Imagenet,
    /// As a model of timm's wants it.
    Timm(String),
    /// As a file says. Executables read none.
    #[cfg(feature = "compiler")]
    File(PathBuf),
    /// Scaled to [0, 1], and that is all.
    None,
}

impl Preprocess {
    /// What the flag's value means.
    pub(crate) fn parse(text: &str) -> Result<Preprocess, String> {
        match (text, text.strip_prefix("timm:")) {
            ("imagenet", _) => Ok(Preprocess::Imagenet),
            ("none", _) => Ok(Preprocess::None),
            (_, Some(name)) if timm::find(name).is_some() => Ok(Preprocess::Timm(name.to_owned())),
            (_, Some(name)) => {
                Err(format!("no ResNet, ResNeSt, SE- or SK-ResNet of timm's is called `{name}`"))
            }
            #[cfg(feature = "compiler")]
            (path, None) if path.ends_with(".json") => Ok(Preprocess::File(path.into())),
            _ => Err("this is none of imagenet, timm:NAME, FILE.json and none".into()),
        }
    }

    fn pairs(&self) -> Outcome<Pairs> {
        let fixed =
            |all: [(&str, &str); 4]| all.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        Ok(match self {
            Preprocess::Imagenet => fixed([
                ("mean", "0.485,0.456,0.406"),
                ("std", "0.229,0.224,0.225"),
                ("crop_pct", "0.875"),
                ("interpolation", "bicubic"),
            ]),
            Preprocess::None => fixed([
                ("mean", "0"),
                ("std", "1"),
                ("crop_pct", "1"),
                ("interpolation", "bicubic"),
            ]),
            Preprocess::Timm(name) => timm::find(name).unwrap_or_default(),
            #[cfg(feature = "compiler")]
            Preprocess::File(path) => settings_file::read(path)?,
        })
    }
}

impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Preprocess::Imagenet => f.write_str("imagenet"),
            Preprocess::Timm(name) => write!(f, "timm:{name}"),
            #[cfg(feature = "compiler")]
            Preprocess::File(path) => write!(f, "{}", path.display()),
            Preprocess::None => f.write_str("none"),
        }
    }
}

/// The key of a model's metadata that says what `compile --preprocess` was given.
#[cfg(feature = "compiler")]
const STORED: &str = "cardinal.preprocess";

/// Puts what `--preprocess` says into a model's metadata, instead of what they say.
///
/// # Errors
/// Those of reading a file that it names.
#[cfg(feature = "compiler")]
pub(crate) fn store(what: &Preprocess, metadata: &mut Pairs) -> Outcome {
    let pairs = what.pairs()?;
    replace(metadata, pairs.into_iter().chain([(STORED.to_owned(), what.to_string())]));
    Ok(())
}

/// Keeps what [`store`] put into the metadata `old`, if it did, whatever those of new weights say.
#[cfg(feature = "compiler")]
pub(crate) fn keep(old: &[(String, String)], metadata: &mut Pairs) {
    if old.iter().any(|(key, _)| key == STORED) {
        replace(metadata, old.iter().filter(|(key, _)| is_about_images(key)).cloned());
    }
}

#[cfg(feature = "compiler")]
fn replace(metadata: &mut Pairs, pairs: impl Iterator<Item = (String, String)>) {
    metadata.retain(|(key, _)| !is_about_images(key));
    metadata.extend(pairs);
}

#[cfg(feature = "compiler")]
fn is_about_images(key: &str) -> bool {
    key == STORED || settings_file::KEYS.contains(&key)
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    Flag,
    Preprocess(Preprocess),
    Metadata,
    #[cfg(feature = "compiler")]
    File(&'static str),
    Called(String),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("flag"),
            Source::Preprocess(what) => write!(f, "--preprocess {what}"),
            Source::Metadata => f.write_str("the model's metadata"),
            #[cfg(feature = "compiler")]
            Source::File(name) => write!(f, "{name} beside it"),
            Source::Called(name) => write!(f, "timm's {name}, by the file's name"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// All that is known of how a model's images are prepared, the first that says something being right.
pub(super) struct Settings {
    sources: Vec<(Source, Pairs)>,
}

impl Settings {
    /// For the model in a file.
    ///
    /// # Errors
    /// A file that `--preprocess` names and that is none.
    pub(super) fn of(
        preprocess: Option<&Preprocess>,
        metadata: &[(String, String)],
        model: &str,
    ) -> Outcome<Settings> {
        if let Some(what) = preprocess {
            let source = Source::Preprocess(what.clone());
            return Ok(Settings { sources: vec![(source, what.pairs()?)] });
        }
        let mut sources = vec![(Source::Metadata, metadata.to_vec())];
        let path = Path::new(model);
        // Nothing is beside a model on stdin.
        #[cfg(feature = "compiler")]
        if !is_dash(path) {
            let beside = settings_file::beside(path);
            sources.extend(beside.map(|(name, pairs)| (Source::File(name), pairs)));
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if let Some(name) = timm::called(&stem) {
            let pairs = timm::find(name).unwrap_or_default();
            sources.push((Source::Called(name.to_owned()), pairs));
        }
        Ok(Settings { sources })
    }

    /// What is said of a key, and by whom.
    pub(super) fn stored(&self, key: &str) -> Option<(&str, Source)> {
        self.stored_as(&[key]).map(|(_, value, source)| (value, source))
    }

    /// What the first source that has one of these keys says of it.
    pub(super) fn stored_as<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &str, Source)> {
        self.sources.iter().find_map(|(source, pairs)| {
            keys.iter().find_map(|key| {
                let (_, value) = pairs.iter().find(|(k, _)| k == key)?;
                Some((*key, value.trim(), source.clone()))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_flag_names_is_told_apart() {
        assert_eq!(Preprocess::parse("imagenet"), Ok(Preprocess::Imagenet));
        assert_eq!(Preprocess::parse("timm:resnest50d"), Ok(Preprocess::Timm("resnest50d".into())));
        assert_eq!(Preprocess::parse("a/b.json"), Ok(Preprocess::File("a/b.json".into())));
        for text in ["", "timm:", "timm:vit", "resnest50d", "Imagenet"] {
            assert!(Preprocess::parse(text).is_err(), "{text}");
        }
    }
}
