//! The errors of operators, as text and as JSON.

use std::io::{self, Write};

use cardinal_runtime::text;
use serde_json::{Value, json};

use super::{Layer, Layers};

impl Layers {
    /// Prints a line for each operator, and how many there are that rounding alone does not explain.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>10} {:>10} {:>7}  {:<16} value",
            "error", "rounding", "ratio", "operator"
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
        let mark = if self.is_explained() { "" } else { "  more than rounding" };
        let by = self.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let (error, rounding) = (self.error, self.rounding);
        let (op, name) = (self.op, text::line(&self.name));
        writeln!(out, "{error:>10.2e} {rounding:>10.2e} {ratio:>7}  {op:<16} %{name}{by}{mark}")
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
