//! What tuning has found, in a file: for each machine, what won for each layer.
//!
//! ```text
//! {"schema": "cardinal.tune/v1", "compiler": "0.1.0", "machines": {MACHINE: {LAYER:
//!   {"choice": "F(4x4) …", "us": 812.3, "estimate": "direct …", "estimate_us": 1110.0}}}}
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::engine::{Layer, Winner, read_choice};
use crate::exit::Failure;
use crate::limits::TUNE_CACHE;
use crate::output;

/// The schema of the file.
const SCHEMA: &str = "cardinal.tune/v1";
/// How the schema of every version begins.
const FAMILY: &str = "cardinal.tune/";
/// Choices of one version mean little to another, whose candidates and kernels are others.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What won, by machine and by the key of the layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Cache(BTreeMap<String, BTreeMap<String, Winner>>);

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Useless {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is a folder, a device or a pipe.
    #[error("it is no regular file")]
    NoFile,
    /// It is larger than [`TUNE_CACHE`].
    #[error("it is larger than {} MB", TUNE_CACHE >> 20)]
    TooLarge,
    /// Someone else's.
    #[error("it is no cache of measurements")]
    Foreign,
    /// It is not JSON.
    #[error("it is damaged: {0}")]
    NoJson(#[from] serde_json::Error),
    /// It is JSON of another kind.
    #[error("it is not of the schema {SCHEMA}")]
    Schema,
    /// Another version wrote it.
    #[error("version {0} wrote it, and this is {VERSION}")]
    Version(String),
    /// Something in it is not what it should be.
    #[error("it is damaged: {0}")]
    Entry(String),
}

impl Cache {
    /// What the file holds; nothing where there is none.
    pub(super) fn read(path: &Path) -> Result<Cache, Useless> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Cache::default()),
            Err(error) => return Err(error.into()),
            Ok(about) if !about.is_file() => return Err(Useless::NoFile),
            Ok(about) if about.len() > TUNE_CACHE => return Err(Useless::TooLarge),
            Ok(_) => {}
        }
        let mut text = Vec::new();
        File::open(path)?.take(TUNE_CACHE).read_to_end(&mut text)?;
        match is_foreign(&text) {
            true => Err(Useless::Foreign),
            false => Cache::parse(&text),
        }
    }

    /// Puts the file in its place at once, with what others have put into it meanwhile.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut all = Cache::read(path).unwrap_or_default();
        for (machine, layers) in &self.0 {
            all.0.entry(machine.clone()).or_default().extend(layers.clone());
        }
        output::write(path, format!("{:#}\n", all.to_json()).as_bytes())
    }

    /// What won for a layer, if it still is one of its candidates.
    pub(super) fn winner(&self, machine: &str, layer: &Layer) -> Option<Winner> {
        let winner = self.0.get(machine)?.get(&layer.key)?;
        let same = layer.candidates.first() == Some(&winner.estimate);
        (same && layer.candidates.contains(&winner.choice)).then(|| winner.clone())
    }

    /// Remembers what won for the layers of this key.
    pub(super) fn put(&mut self, machine: &str, key: String, winner: Winner) {
        self.0.entry(machine.to_owned()).or_default().insert(key, winner);
    }

    fn parse(text: &[u8]) -> Result<Cache, Useless> {
        let file: Value = serde_json::from_slice(text)?;
        if file["schema"] != SCHEMA {
            return Err(Useless::Schema);
        }
        if file["compiler"] != VERSION {
            let version = file["compiler"].as_str().unwrap_or("unknown");
            return Err(Useless::Version(version.into()));
        }
        let mut cache = Cache::default();
        for (machine, layers) in object(&file["machines"], "machines")? {
            for (key, entry) in object(layers, machine)? {
                let winner = winner(entry).ok_or_else(|| Useless::Entry(key.clone()))?;
                cache.put(machine, key.clone(), winner);
            }
        }
        Ok(cache)
    }

    fn to_json(&self) -> Value {
        let layers = |layers: &BTreeMap<String, Winner>| -> Map<String, Value> {
            layers.iter().map(|(key, winner)| (key.clone(), entry(winner))).collect()
        };
        let machines = self.0.iter().map(|(machine, all)| (machine.clone(), layers(all).into()));
        let machines: Map<String, Value> = machines.collect();
        json!({"schema": SCHEMA, "compiler": VERSION, "machines": machines})
    }
}

/// Whether a file is neither a cache, nor what damage or another version makes of one.
fn is_foreign(text: &[u8]) -> bool {
    let head = format!("{:#}", json!({ "compiler": "" }));
    // Up to the version.
    let head = &head.as_bytes()[..head.len().saturating_sub("\"\n}".len())];
    let names_schema = text.windows(FAMILY.len()).any(|part| part == FAMILY.as_bytes());
    !(text.is_empty() || text.starts_with(head) || names_schema)
}

fn object<'v>(value: &'v Value, what: &str) -> Result<&'v Map<String, Value>, Useless> {
    value.as_object().ok_or_else(|| Useless::Entry(what.into()))
}

fn entry(winner: &Winner) -> Value {
    json!({
        "choice": winner.choice.to_string(),
        "us": tenths(winner.us),
        "estimate": winner.estimate.to_string(),
        "estimate_us": tenths(winner.estimate_us),
    })
}

fn winner(entry: &Value) -> Option<Winner> {
    let choice = |key: &str| read_choice(entry[key].as_str()?).ok();
    let time = |key: &str| entry[key].as_f64().filter(|us| *us >= 0.0 && us.is_finite());
    Some(Winner {
        choice: choice("choice")?,
        us: time("us")?,
        estimate: choice("estimate")?,
        estimate_us: time("estimate_us")?,
    })
}

/// Times are kept, and shown, to a tenth of a microsecond: those of a run are those that the next one reads.
pub(super) fn tenths(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

/// Where the cache is unless the user says: `cardinal/tune.json` in the folder that the XDG base
/// directory specification has for caches. `None` for a user without a home.
pub(super) fn default_path() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let folders = etcetera::base_strategy::Xdg::new().ok()?;
    Some(folders.cache_dir().join("cardinal").join("tune.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn winner(us: f64) -> Winner {
        Winner {
            choice: read_choice("F(4x4) 14x2 rows 7 images 1").unwrap(),
            us,
            estimate: read_choice("direct 6x2 by weights").unwrap(),
            estimate_us: 1110.0,
        }
    }

    fn cache(key: &str, us: f64) -> Cache {
        let mut cache = Cache::default();
        cache.put("a CPU, 1 thread", key.into(), winner(us));
        cache
    }

    fn layer(key: &str, candidates: &[&str]) -> Layer {
        let candidates: Vec<_> = candidates.iter().map(|c| read_choice(c).unwrap()).collect();
        let taken = candidates[0].clone();
        Layer { name: "y".into(), key: key.into(), candidates, estimates: Vec::new(), taken }
    }

    #[test]
    fn what_is_written_is_read_and_merged_with_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tune.json");
        assert_eq!(Cache::read(&path).unwrap(), Cache::default());
        cache("one", 812.34).write(&path).unwrap();
        assert_eq!(Cache::read(&path).unwrap(), cache("one", 812.3));
        cache("two", 1.0).write(&path).unwrap();
        cache("one", 2.0).write(&path).unwrap();
        let mut both = cache("one", 2.0);
        both.put("a CPU, 1 thread", "two".into(), winner(1.0));
        assert_eq!(Cache::read(&path).unwrap(), both);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_candidate_any_more_is_not_found() {
        let cache = cache("one", 1.0);
        let (direct, winograd) = ("direct 6x2 by weights", "F(4x4) 14x2 rows 7 images 1");
        let find = |machine: &str, key: &str, candidates: &[&str]| {
            cache.winner(machine, &layer(key, candidates)).is_some()
        };
        assert!(find("a CPU, 1 thread", "one", &[direct, winograd]));
        assert!(!find("a CPU, 2 threads", "one", &[direct, winograd]));
        assert!(!find("a CPU, 1 thread", "two", &[direct, winograd]));
        assert!(!find("a CPU, 1 thread", "one", &[winograd, direct]));
        assert!(!find("a CPU, 1 thread", "one", &[direct]));
    }

    #[test]
    fn everything_else_is_useless_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tune.json");
        cache("one", 1.0).write(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let other = |from: &str, to: &str| {
            assert!(good.contains(from), "{good}");
            good.replace(from, to)
        };
        let deep = format!("{{\"schema\": \"{SCHEMA}\", \"x\": {}", "[".repeat(100_000));
        let bad = [
            (String::new(), "damaged"),
            (deep, "damaged"),
            ("null".into(), "no cache"),
            (good.replace("compiler", "made by").replace(FAMILY, "tune/"), "no cache"),
            (good[..good.len() / 2].into(), "damaged"),
            (other("tune/v1", "tune/v2"), "schema"),
            (other(VERSION, "0.0.1"), "version 0.0.1"),
            (other("direct 6x2", "direct 06x2"), "damaged: one"),
            (other("1110.0", "-1"), "damaged: one"),
            (other("\"us\": 1.0", "\"us\": null"), "damaged: one"),
            (other("\"machines\": {", "\"machines\": 7, \"x\": {"), "damaged: machines"),
        ];
        for (text, why) in bad {
            fs::write(&path, &text).unwrap();
            let said = Cache::read(&path).unwrap_err().to_string();
            assert!(said.contains(why), "{said}: {text}");
            cache("one", 1.0).write(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), good);
        }
        assert!(matches!(Cache::read(folder.path()), Err(Useless::NoFile)));
        assert!(matches!(Cache::read(Path::new("/dev/null")), Err(Useless::NoFile)));
        let huge = File::create(&path).unwrap();
        huge.set_len(TUNE_CACHE + 1).unwrap();
        assert!(matches!(Cache::read(&path), Err(Useless::TooLarge)));
    }
}
