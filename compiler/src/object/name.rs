//! What a model is called in C.

use std::fmt;

/// A prefix of C identifiers: ASCII letters and digits with single underscores between, beginning
/// with a letter. Whatever follows it after another underscore is no keyword, and neither C nor C++
/// reserves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name for a file's stem: every run of other characters becomes one underscore, none stays
    /// at an end, `m` goes before a digit, and a stem with nothing left is called `model`.
    ///
    /// `resnest50d` stays; `resnet-50.v2` becomes `resnet_50_v2`, and `3x3` becomes `m3x3`.
    pub fn from_stem(stem: &str) -> Name {
        let words = stem.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
        let name = words.collect::<Vec<_>>().join("_");
        Name(match name.bytes().next() {
            None => "model".into(),
            Some(b'0'..=b'9') => format!("m{name}"),
            Some(_) => name,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stem_gives_an_identifier() {
        for (stem, name) in [
            ("resnest50d", "resnest50d"),
            ("resnet-50.v2", "resnet_50_v2"),
            ("3x3", "m3x3"),
            ("", "model"),
            ("---", "model"),
            ("__a__b_", "a_b"),
            ("模型", "model"),
            ("café", "caf"),
            ("int", "int"),
            ("a\"; #error\n", "a_error"),
            ("\u{202e}x", "x"),
            ("٣", "model"),
        ] {
            assert_eq!(Name::from_stem(stem).to_string(), name, "{stem:?}");
        }
    }
}
