//! What tuning has found, in a file: for each machine, what won for each layer, and of tuning that did not come
//! to its end, what was measured.
//!
//! ```text
//! {"schema": "cardinal.tune/v1", "compiler": "0.1.0",
//!  "machines": {MACHINE: {LAYER:
//!    {"choice": "F(4x4) …", "us": 812.3, "estimate": "direct …", "estimate_us": 1110.0}}},
//!  "unfinished": {MACHINE: {LAYER: {"estimate": "direct …", "timings": [
//!    {"choice": "F(4x4) …", "us": 812.3, "estimate_us": 1110.0}]}}}}
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::engine::{Choice, Layer, Timing, Winner, read_choice};
use crate::exit::Failure;
use crate::limits::TUNE_CACHE;
use crate::output;

/// The schema of the file.
const SCHEMA: &str = "cardinal.tune/v1";
/// How the schema of every version begins.
const FAMILY: &str = "cardinal.tune/";
/// Choices of one version mean little to another, whose candidates and kernels are others.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Something for each layer, by machine and by the key of the layer.
type ByLayer<T> = BTreeMap<String, BTreeMap<String, T>>;

/// What is known of layers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Cache {
    winners: ByLayer<Winner>,
    /// Of layers without a winner.
    unfinished: ByLayer<Unfinished>,
}

/// Candidates that were measured beside the estimate's choice.
#[derive(Debug, Clone, PartialEq)]
struct Unfinished {
    estimate: Choice,
    timings: Vec<Timing>,
}

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
        for (machine, layers) in &self.unfinished {
            all.unfinished.entry(machine.clone()).or_default().extend(layers.clone());
        }
        for (machine, layers) in &self.winners {
            for (key, winner) in layers {
                all.put(machine, key.clone(), winner.clone());
            }
        }
        output::write(path, format!("{:#}\n", all.to_json()).as_bytes())
    }

    /// What won for a layer, if it still is one of its candidates.
    pub(super) fn winner(&self, machine: &str, layer: &Layer) -> Option<Winner> {
        let winner = self.winners.get(machine)?.get(&layer.key)?;
        let same = layer.candidates.first() == Some(&winner.estimate);
        (same && layer.candidates.contains(&winner.choice)).then(|| winner.clone())
    }

    /// Remembers what won for the layers of this key.
    pub(super) fn put(&mut self, machine: &str, key: String, winner: Winner) {
        if let Some(layers) = self.unfinished.get_mut(machine) {
            layers.remove(&key);
        }
        self.winners.entry(machine.to_owned()).or_default().insert(key, winner);
    }

    /// What was measured of a layer's candidates before tuning was stopped, of those that it still has.
    pub(super) fn timings(&self, machine: &str, layer: &Layer) -> Vec<Timing> {
        let known = self.unfinished.get(machine).and_then(|layers| layers.get(&layer.key));
        let known = known.filter(|known| layer.candidates.first() == Some(&known.estimate));
        let timings = known.map(|known| known.timings.iter()).into_iter().flatten();
        timings.filter(|timing| layer.candidates.contains(&timing.choice)).cloned().collect()
    }

    /// Remembers what was measured so far of the layers of this one's key.
    pub(super) fn keep(&mut self, machine: &str, layer: &Layer, timings: Vec<Timing>) {
        let Some(estimate) = layer.candidates.first().cloned() else { return };
        let unfinished = Unfinished { estimate, timings };
        let layers = self.unfinished.entry(machine.to_owned()).or_default();
        layers.insert(layer.key.clone(), unfinished);
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
        let nothing = json!({});
        let unfinished = file.get("unfinished").unwrap_or(&nothing);
        Ok(Cache {
            winners: by_layer(&file["machines"], "machines", winner)?,
            unfinished: by_layer(unfinished, "unfinished", unfinished_of)?,
        })
    }

    fn to_json(&self) -> Value {
        let machines = from_layers(&self.winners, entry);
        let unfinished = from_layers(&self.unfinished, |Unfinished { estimate, timings }| {
            let timings: Vec<Value> = timings.iter().map(timing_entry).collect();
            json!({"estimate": estimate.to_string(), "timings": timings})
        });
        let mut file = json!({"schema": SCHEMA, "compiler": VERSION, "machines": machines});
        if !unfinished.is_empty() {
            file["unfinished"] = unfinished.into();
        }
        file
    }
}

fn by_layer<T>(
    value: &Value,
    what: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<ByLayer<T>, Useless> {
    let mut all = ByLayer::new();
    for (machine, layers) in object(value, what)? {
        let all = all.entry(machine.clone()).or_default();
        for (key, entry) in object(layers, machine)? {
            let entry = read(entry).ok_or_else(|| Useless::Entry(key.clone()))?;
            all.insert(key.clone(), entry);
        }
    }
    Ok(all)
}

/// Machines without layers are left out.
fn from_layers<T>(all: &ByLayer<T>, write: impl Fn(&T) -> Value) -> Map<String, Value> {
    let layers = |layers: &BTreeMap<String, T>| -> Map<String, Value> {
        layers.iter().map(|(key, entry)| (key.clone(), write(entry))).collect()
    };
    let some = all.iter().filter(|(_, all)| !all.is_empty());
    some.map(|(machine, all)| (machine.clone(), layers(all).into())).collect()
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

fn timing_entry(timing: &Timing) -> Value {
    json!({
        "choice": timing.choice.to_string(),
        "us": tenths(timing.us),
        "estimate_us": tenths(timing.estimate_us),
    })
}

fn winner(entry: &Value) -> Option<Winner> {
    Some(Winner {
        choice: choice(entry, "choice")?,
        us: time(entry, "us")?,
        estimate: choice(entry, "estimate")?,
        estimate_us: time(entry, "estimate_us")?,
    })
}

fn unfinished_of(entry: &Value) -> Option<Unfinished> {
    let timings = entry["timings"].as_array()?.iter().map(|entry| {
        Some(Timing {
            choice: choice(entry, "choice")?,
            us: time(entry, "us")?,
            estimate_us: time(entry, "estimate_us")?,
        })
    });
    Some(Unfinished {
        estimate: choice(entry, "estimate")?,
        timings: timings.collect::<Option<_>>()?,
    })
}

fn choice(entry: &Value, key: &str) -> Option<Choice> {
    read_choice(entry[key].as_str()?).ok()
}

fn time(entry: &Value, key: &str) -> Option<f64> {
    entry[key].as_f64().filter(|us| *us >= 0.0 && us.is_finite())
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
    fn what_was_measured_is_kept_until_there_is_a_winner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tune.json");
        let candidates = ["direct 6x2 by weights", "F(4x4) 14x2 rows 7 images 1"];
        let one = layer("one", &candidates);
        let timing = Timing { choice: one.candidates[1].clone(), us: 2.5, estimate_us: 3.0 };
        let mut unfinished = Cache::default();
        unfinished.keep("a CPU, 1 thread", &one, vec![timing.clone()]);
        unfinished.write(&path).unwrap();
        let read = Cache::read(&path).unwrap();
        assert_eq!(read, unfinished);
        assert_eq!(read.timings("a CPU, 1 thread", &one), [timing]);
        assert_eq!(read.timings("another CPU", &one), []);
        // Measured beside another choice, or of no use any more.
        assert_eq!(read.timings("a CPU, 1 thread", &layer("one", &["direct 4x2 by weights"])), []);
        assert_eq!(read.timings("a CPU, 1 thread", &layer("one", &candidates[..1])), []);
        cache("one", 1.0).write(&path).unwrap();
        let read = Cache::read(&path).unwrap();
        assert_eq!(read.timings("a CPU, 1 thread", &one), []);
        assert!(read.winner("a CPU, 1 thread", &one).is_some());
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
