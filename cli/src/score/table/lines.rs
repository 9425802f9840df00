//! Tables of lines: JSON Lines and CSV.

use std::io::{self, BufWriter, Write};

use cardinal_runtime::text;
use serde_json::{Value, json};

use super::Table;
use crate::csv;
use crate::score::row::{Kind, Reading, Row};

/// An object a line.
pub(super) struct JsonLines<'w>(BufWriter<Box<dyn Write + 'w>>);

impl<'w> JsonLines<'w> {
    pub(super) fn new(out: Box<dyn Write + 'w>) -> JsonLines<'w> {
        JsonLines(BufWriter::new(out))
    }
}

impl Table for JsonLines<'_> {
    fn write(&mut self, rows: &[Row], reading: &Reading) -> io::Result<()> {
        rows.iter().try_for_each(|row| {
            let object = object(row, reading).to_string();
            writeln!(self.0, "{}", text::json(&object))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(mut self: Box<Self>, _: &Reading) -> io::Result<()> {
        self.0.flush()
    }
}

/// A row as an object; what it does not have is null.
fn object(row: &Row, reading: &Reading) -> Value {
    let is_good = row.error.is_none();
    match reading.kind() {
        Kind::Classes => {
            let best = row.top.first();
            json!({
                "key": row.key,
                "class": best.map(|best| best.class),
                "score": best.map(|best| best.score),
                "label": best.and_then(|best| reading.label(best.class)),
                "top": is_good.then(|| top(row, reading)),
                "error": row.error,
            })
        }
        Kind::Logits => json!({
            "key": row.key,
            "logits": is_good.then_some(&row.logits),
            "error": row.error,
        }),
    }
}

/// The best classes.
fn top(row: &Row, reading: &Reading) -> Value {
    let class = |scored: &crate::score::row::Scored| {
        let label = reading.label(scored.class);
        json!({"class": scored.class, "score": scored.score, "label": label})
    };
    row.top.iter().map(class).collect()
}

/// Comma-separated values. Lists are in JSON, and what a row does not have is empty.
pub(super) struct Csv<'w>(BufWriter<Box<dyn Write + 'w>>);

impl<'w> Csv<'w> {
    pub(super) fn new(out: Box<dyn Write + 'w>, kind: Kind) -> io::Result<Csv<'w>> {
        let mut out = BufWriter::new(out);
        csv::write_row(
            &mut out,
            match kind {
                Kind::Classes => &["key", "class", "score", "label", "top", "error"],
                Kind::Logits => &["key", "logits", "error"],
            },
        )?;
        Ok(Csv(out))
    }
}

impl Table for Csv<'_> {
    fn write(&mut self, rows: &[Row], reading: &Reading) -> io::Result<()> {
        rows.iter().try_for_each(|row| {
            let object = object(row, reading);
            let fields = object.as_object().into_iter().flat_map(|o| o.values()).map(field);
            let fields: Vec<String> = fields.collect();
            csv::write_row(&mut self.0, &fields.iter().map(String::as_str).collect::<Vec<_>>())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(mut self: Box<Self>, _: &Reading) -> io::Result<()> {
        self.0.flush()
    }
}

fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
