//! What rounding changes on samples: in a line, as JSON, and for the compiled model to say of itself.

use serde_json::{Value, json};

use crate::samples::{Agreement, Read};

/// What keys of a model's metadata begin with.
const PREFIX: &str = "cardinal.precision.";

/// What was measured.
pub(crate) struct Sampled {
    /// The outputs as compiled beside those in f32.
    pub(super) agreement: Agreement,
    pub(super) read: Read,
    /// Whether no samples were given.
    pub(super) are_random: bool,
    /// What was allowed.
    pub(super) max_error: Option<f64>,
    /// The layers that stay in f32 for that.
    pub(super) stays: Vec<String>,
    /// How many layers would round else.
    pub(super) layers: usize,
}

impl Sampled {
    /// One line, or two.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Agreement { top, error } = self.agreement;
        let random = if self.are_random { "random " } else { "" };
        let mut line = format!(
            "on {} {random}samples outputs change by {error:.4} of their standard deviation",
            self.read.count
        );
        if let Some(allowed) = self.max_error {
            line += &format!(", of which {allowed} is allowed");
        }
        if let Some((same, all)) = top {
            line += &format!("; the top class stays in {same} of {all}");
        }
        let mut lines = vec![line];
        if !self.stays.is_empty() {
            lines.push(format!(
                "for that {} of {} convolutions stay in f32",
                self.stays.len(),
                self.layers
            ));
        }
        lines
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "samples": self.read.count,
            "random": self.are_random,
            "blake3": (!self.are_random).then_some(&self.read.digest),
            "error": self.agreement.error,
            "max_error": self.max_error,
            "top1_same": self.agreement.top.map(|(same, _)| same),
            "top1_of": self.agreement.top.map(|(_, all)| all),
            "in_f32": self.stays,
        })
    }

    /// What the compiled model says of itself.
    pub(crate) fn metadata(&self) -> Vec<(String, String)> {
        let count = self.read.count;
        let samples = match self.are_random {
            true => format!("{count} random samples"),
            false => format!("{count} samples, blake3 {}", self.read.digest),
        };
        let mut entries =
            vec![("samples", samples), ("error", format!("{:.4}", self.agreement.error))];
        if let Some(allowed) = self.max_error {
            entries.push(("max_error", allowed.to_string()));
        }
        if let Some((same, all)) = self.agreement.top {
            entries.push(("agreement", format!("{same}/{all}")));
        }
        if !self.stays.is_empty() {
            entries.push(("in_f32", json!(self.stays).to_string()));
        }
        entries.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect()
    }
}
