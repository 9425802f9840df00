//! What came of quantizing a model: as text, as JSON, and for the model to say of itself.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use cardinal_runtime::text;
use serde_json::{Value, json};

use super::Made;
use crate::engine::quantize::{Layer, Range};
use crate::exit::Outcome;
use crate::output;
use crate::samples::{Agreement, Read};

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.quantize/v1";
/// What keys of a model's metadata begin with.
const PREFIX: &str = "cardinal.quantize.";

/// Everything that there is to say.
pub(crate) struct Report<'a> {
    pub(crate) model: String,
    pub(crate) output: &'a Path,
    /// Bytes of both files, the float model's without what is in others.
    pub(crate) sizes: (usize, usize),
    /// What was made.
    pub(crate) made: &'a Made,
    pub(crate) seconds: f64,
}

/// What a model says of how it was quantized.
pub(super) fn metadata(
    (calibration, test): (&Read, &Read),
    agreement: Agreement,
    kept: &[String],
) -> Vec<(String, String)> {
    let samples = |read: &Read| format!("{} samples, blake3 {}", read.count, read.digest);
    let mut entries = vec![
        ("calibration", samples(calibration)),
        ("test", samples(test)),
        ("error", format!("{:.4}", agreement.error)),
    ];
    if let Some((same, all)) = agreement.top {
        entries.push(("agreement", format!("{same}/{all}")));
    }
    if !kept.is_empty() {
        entries.push(("kept", json!(kept).to_string()));
    }
    entries.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect()
}

impl Report<'_> {
    /// Prints it.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn print(&self, json: bool) -> Outcome {
        match json {
            true => output::print_json(&self.to_json()),
            false => output::print(|out| self.print_text(out)),
        }
    }

    fn print_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Made { ranges, kept, .. } = self.made;
        let widest =
            self.layers().iter().map(|layer| text::line(&layer.name).chars().count()).max();
        let width = widest.unwrap_or(0).max("layer".len());
        writeln!(out, "{:width$}  weights   input  range of the input", "layer")?;
        for layer in self.layers() {
            let name = text::line(&layer.name);
            write!(out, "{name:width$}  {:>7}", decibels(layer.weights))?;
            match range_of(ranges, layer) {
                Some(range) => {
                    let (low, high) = ends(range);
                    let input = decibels(range.signal_to_noise);
                    writeln!(out, "  {input:>6}  {low:.4} to {high:.4}, by {}", range.way)?;
                }
                None => writeln!(out)?,
            }
        }
        for name in kept {
            writeln!(out, "{:width$}  in float", text::line(name))?;
        }
        self.lines().iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    fn layers(&self) -> &[Layer] {
        &self.made.trial.quantized.layers
    }

    fn lines(&self) -> Vec<String> {
        let Made { trial, before, kept, test, .. } = self.made;
        let (quantized, all) = (self.layers().len(), self.layers().len() + kept.len());
        let [float, small] = [self.sizes.0, self.sizes.1].map(|bytes| bytes as f64 / 1e6);
        let mut lines = vec![
            format!("{quantized} of {all} layers in 8 bits; {small:.2} MB, of {float:.2} MB"),
            format!("{} on {} samples", said(trial.agreement), test.count),
        ];
        if !kept.is_empty() {
            lines.push(format!("with all of them in 8 bits: {}", said(*before)));
        }
        lines
    }

    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        let Made { trial, before, kept, ranges, calibration, test } = self.made;
        let layer = |layer: &Layer| {
            let range = range_of(ranges, layer);
            json!({
                "name": layer.name,
                "weights_db": number(layer.weights),
                "input": layer.input,
                "input_db": range.and_then(|range| number(range.signal_to_noise)),
                "low": range.map(|range| ends(range).0),
                "high": range.map(|range| ends(range).1),
                "range_by": range.map(|range| range.way),
            })
        };
        json!({
            "schema": SCHEMA,
            "model": self.model,
            "output": self.output.display().to_string(),
            "bytes": self.sizes.1,
            "model_bytes": self.sizes.0,
            "layers": self.layers().iter().map(layer).collect::<Vec<Value>>(),
            "kept": kept,
            "calibration": samples(calibration),
            "test": samples(test),
            "agreement": agreement(trial.agreement),
            "agreement_without_kept": agreement(*before),
            "seconds": self.seconds,
        })
    }
}

/// The range of what a layer reads, if that is rounded.
fn range_of<'r>(ranges: &'r BTreeMap<String, Range>, layer: &Layer) -> Option<&'r Range> {
    ranges.get(layer.input.as_ref()?)
}

fn samples(read: &Read) -> Value {
    json!({"samples": read.count, "blake3": read.digest})
}

fn agreement(agreement: Agreement) -> Value {
    json!({
        "top1_same": agreement.top.map(|(same, _)| same),
        "top1_of": agreement.top.map(|(_, all)| all),
        "error": agreement.error,
    })
}

fn said(agreement: Agreement) -> String {
    let error = format!("outputs differ by {:.4} of their standard deviation", agreement.error);
    match agreement.top {
        Some((same, all)) => {
            let percent = same as f64 * 100. / all.max(1) as f64;
            format!("top class as in float for {same} of {all} ({percent:.2} %); {error}")
        }
        None => error,
    }
}

/// Where a range ends.
fn ends(range: &Range) -> (f64, f64) {
    let (scale, zero) = (f64::from(range.grid.scale), f64::from(range.grid.zero));
    (0. - zero * scale, (255. - zero) * scale)
}

fn number(ratio: f64) -> Option<f64> {
    Some(10. * ratio.log10()).filter(|decibels| decibels.is_finite())
}

fn decibels(ratio: f64) -> String {
    number(ratio).map_or("exact".into(), |decibels| format!("{decibels:.1} dB"))
}
