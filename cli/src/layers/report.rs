//! The errors of operators, as text and as JSON.

use std::io::{self, Write};

use cardinal_runtime::text;
use serde_json::{Value, json};

use super::{Layer, Layers};
use crate::columns::{WIDTH, wrapped};
use crate::profile::{head, tail};

/// Columns of operators.
const OPERATOR: usize = 15;
/// Columns of the ways in which they are computed.
const WAY: usize = 14;

impl Layers {
    /// Prints a line for each operator, and how many there are that rounding alone does not explain.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>8} {:>8} {:>7} {:<OPERATOR$} {:<WAY$} value",
            "error", "rounding", "ratio", "operator", "by"
        )?;
        self.0.iter().try_for_each(|layer| layer.print(out))?;
        let (all, bad) =
            (self.0.len(), self.0.iter().filter(|layer| !layer.is_explained()).count());
        let operators = if all == 1 { "operator" } else { "operators" };
        match bad {
            0 => writeln!(out, "rounding explains the errors of all {all} {operators}\n"),
            _ => writeln!(
                out,
                "rounding does not explain the errors of {bad} of {all} {operators}\n"
            ),
        }
    }

    /// An object for each operator.
    pub(crate) fn to_json(&self) -> Value {
        Value::from_iter(self.0.iter().map(Layer::to_json))
    }
}

impl Layer {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let ratio = self.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let by = head(self.by.as_deref().unwrap_or_default(), WAY);
        let (error, rounding, op) = (self.error, self.rounding, head(self.op, OPERATOR));
        let room = WIDTH - (8 + 8 + 7 + OPERATOR + WAY + 5);
        let name = tail(&self.name, room);
        writeln!(
            out,
            "{error:>8.2e} {rounding:>8.2e} {ratio:>7} {op:<OPERATOR$} {by:<WAY$} {name}"
        )?;
        if self.is_explained() {
            return Ok(());
        }
        let (name, by) = (text::line(&self.name), self.by.as_deref().unwrap_or_default());
        let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
        let said = format!("more than rounding: %{name}{by}");
        write!(out, "{}", wrapped(&said, WIDTH - 9, "         ", "         "))
    }

    fn to_json(&self) -> Value {
        // Infinity is no number of JSON's, and becomes null.
        json!({
            "value": self.name,
            "operator": self.op,
            "by": self.by,
            "from": self.from.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "error": self.error,
            "magnitude": self.magnitude,
            "rounding": self.rounding,
            "ratio": self.ratio(),
            "explained": self.is_explained(),
        })
    }
}
