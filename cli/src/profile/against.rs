//! Two profiles, step by step.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};

use super::Profile;
use super::json::SCHEMA;
use super::text::tail;
use crate::exit::{Failure, Outcome};
use crate::output;

/// The largest file that is read as a profile: steps take some hundred bytes each.
const MOST_BYTES: u64 = 64 << 20;
/// Columns of a step's name.
const NAME: usize = 35;

/// What an older profile says of steps: milliseconds, by name and kernel, and the how manieth of these.
pub(crate) struct Older(BTreeMap<Key, f64>);

/// A step, in terms that another plan of the model may share.
type Key = (String, String, usize);

/// A profile beside an older one.
pub(crate) struct Comparison {
    rows: Vec<Row>,
}

/// A step in both, or in one of them.
struct Row {
    name: String,
    kernel: String,
    old_ms: Option<f64>,
    new_ms: Option<f64>,
}

impl Row {
    /// How many times as long it takes now.
    fn ratio(&self) -> Option<f64> {
        let old_ms = self.old_ms.filter(|ms| *ms > 0.0)?;
        Some(self.new_ms? / old_ms)
    }

    /// How much longer it takes now, with what is only in one of the two.
    fn change(&self) -> f64 {
        self.new_ms.unwrap_or(0.0) - self.old_ms.unwrap_or(0.0)
    }
}

impl Comparison {
    /// A profile beside an older one.
    pub(crate) fn new(profile: &Profile, Older(mut older): Older) -> Comparison {
        let steps = profile.steps.steps.iter().map(|step| (&*step.name, step.kernel, step.ms));
        let mut rows = Vec::new();
        for (key, ms) in numbered(steps) {
            let old_ms = older.remove(&key);
            let (name, kernel, _) = key;
            rows.push(Row { name, kernel, old_ms, new_ms: Some(ms) });
        }
        let gone = |((name, kernel, _), ms)| Row { name, kernel, old_ms: Some(ms), new_ms: None };
        rows.extend(older.into_iter().map(gone));
        Comparison { rows }
    }

    /// The total of both, in milliseconds.
    fn totals(&self) -> [f64; 2] {
        let old = self.rows.iter().filter_map(|row| row.old_ms).sum();
        [old, self.rows.iter().filter_map(|row| row.new_ms).sum()]
    }

    /// An array with an object for each step.
    pub(crate) fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.name,
                "kernel": row.kernel,
                "old_ms": row.old_ms,
                "new_ms": row.new_ms,
                "ratio": row.ratio(),
            })
        };
        self.rows.iter().map(row).collect()
    }

    /// Prints the steps whose times changed most, or all.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn print(&self, all: bool) -> Outcome {
        const SHOWN: usize = 20;
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|a, b| b.change().abs().total_cmp(&a.change().abs()));
        let left = if all { 0 } else { rows.len().saturating_sub(SHOWN) };
        rows.truncate(rows.len() - left);
        let [old, new] = self.totals();
        output::print(|out| {
            writeln!(
                out,
                "\n{:>9} {:>9} {:>6}  {:<15} step",
                "old ms", "new ms", "ratio", "kernel"
            )?;
            for row in rows {
                let ms = |ms: Option<f64>| ms.map_or("-".into(), |ms| format!("{ms:.4}"));
                let ratio = row.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}"));
                let (old_ms, new_ms) = (ms(row.old_ms), ms(row.new_ms));
                let (kernel, name) = (tail(&row.kernel, 15), tail(&row.name, NAME));
                writeln!(out, "{old_ms:>9} {new_ms:>9} {ratio:>6}  {kernel:<15} {name}")?;
            }
            if left > 0 {
                writeln!(out, "{left} more steps changed less; --all lists all")?;
            }
            let ratio = if old > 0.0 { format!("{:.2}", new / old) } else { "-".into() };
            writeln!(out, "{old:9.4} {new:9.4} {ratio:>6}  all steps")
        })
    }
}

/// Steps with their numbers among those of the same name and kernel.
fn numbered<'s>(
    steps: impl Iterator<Item = (&'s str, &'s str, f64)>,
) -> impl Iterator<Item = (Key, f64)> {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    steps.map(move |(name, kernel, ms)| {
        let count = seen.entry((name, kernel)).or_default();
        *count += 1;
        ((name.to_owned(), kernel.to_owned(), *count), ms)
    })
}

impl Older {
    /// Reads what `profile --json` has printed.
    ///
    /// # Errors
    /// [`Failure::Io`] and [`Failure::Damaged`].
    pub(crate) fn read(path: &Path) -> Outcome<Older> {
        let mut bytes = Vec::new();
        // A device has no end that its size would tell.
        let read = File::open(path).and_then(|f| f.take(MOST_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| Failure::reading(path, error))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(Failure::damaged(path, "it is too large for a profile"));
        }
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::damaged(path, format!("it is no JSON: {error}")))?;
        if value["schema"] != SCHEMA {
            return Err(Failure::damaged(
                path,
                format!("it is not of the schema {SCHEMA}, which `cardinal profile --json` prints"),
            ));
        }
        let step = |step: &'_ Value| -> Option<(String, String, f64)> {
            let text = |key: &str| Some(step[key].as_str()?.to_owned());
            Some((text("name")?, text("kernel")?, step["ms"].as_f64()?))
        };
        let steps = value["steps"].as_array().and_then(|all| all.iter().map(step).collect());
        let steps: Option<Vec<(String, String, f64)>> = steps;
        let steps =
            steps.ok_or_else(|| Failure::damaged(path, "a step lacks its name, kernel or ms"))?;
        let steps = steps.iter().map(|(name, kernel, ms)| (&**name, &**kernel, *ms));
        Ok(Older(numbered(steps).collect()))
    }
}
