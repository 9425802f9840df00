//! What an inference prints.

use std::io::{self, Write};

use cardinal_runtime::text;
use serde_json::{Value, json};

use super::Sample;
use crate::classify::Class;
use crate::exit::Outcome;
use crate::request::RunRequest;
use crate::tensors::{Array, Spec};
use crate::{output, render};

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.run/v1";

/// Everything that may be printed.
pub(super) struct Report<'a> {
    pub(super) samples: &'a [Sample],
    pub(super) specs: &'a [Spec],
    pub(super) outputs: &'a [Array],
    /// The best classes, when the output is scores of classes.
    pub(super) classes: Option<Classes>,
}

/// The best classes of each sample.
pub(super) struct Classes {
    pub(super) are_probabilities: bool,
    pub(super) top: Vec<Vec<Class>>,
    pub(super) labels: Option<Vec<String>>,
}

impl Report<'_> {
    /// Prints JSON or text; nothing when the tensors are written and no text was asked for.
    pub(super) fn print(&self, request: &RunRequest, threads: usize) -> Outcome {
        if request.json {
            return output::print_json(&self.to_json(threads));
        }
        if request.output.is_some() && request.top.is_none() {
            return Ok(());
        }
        match &self.classes {
            Some(classes) => {
                render::note(match classes.are_probabilities {
                    true => "columns: class, probability as the model gives it, label",
                    false => "columns: class, probability (softmax of the logits), label",
                });
                output::print(|out| self.print_classes(classes, out))
            }
            None => output::print(|out| self.print_summaries(out)),
        }
    }

    fn print_classes(&self, classes: &Classes, out: &mut dyn Write) -> io::Result<()> {
        for ((name, row), top) in self.samples.iter().zip(&classes.top) {
            let one_row = self.samples.iter().filter(|(other, _)| other == name).count() == 1;
            let row = if one_row { String::new() } else { format!("[{row}]") };
            writeln!(out, "{}{row}", text::line(name))?;
            for class in top {
                let label = classes.label(class.index).map(text::line).unwrap_or_default();
                let line = format!("  {:>5}  {:.4}  {label}", class.index, class.probability);
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }

    fn print_summaries(&self, out: &mut dyn Write) -> io::Result<()> {
        self.specs.iter().zip(self.outputs).try_for_each(|(spec, array)| {
            let Summary { min, max, mean } = Summary::of(array);
            let name = text::line(&spec.name);
            writeln!(out, "{name} {}: min {min:.6}, max {max:.6}, mean {mean:.6}", array.ty())
        })
    }

    fn to_json(&self, threads: usize) -> Value {
        let output = |(spec, array): (&Spec, &Array)| {
            let Summary { min, max, mean } = Summary::of(array);
            json!({
                "name": spec.name,
                "dtype": array.dtype.name(),
                "shape": array.shape,
                "min": min,
                "max": max,
                "mean": mean,
            })
        };
        let outputs: Vec<Value> = self.specs.iter().zip(self.outputs).map(output).collect();
        let kind = self.classes.as_ref().map(|c| match c.are_probabilities {
            true => "as given",
            false => "softmax",
        });
        json!({
            "schema": SCHEMA,
            "threads": threads,
            "probabilities": kind,
            "results": self.classes.as_ref().map(|c| self.results(c)).unwrap_or_default(),
            "outputs": outputs,
        })
    }

    fn results(&self, classes: &Classes) -> Vec<Value> {
        let class = |class: &Class| {
            json!({
                "index": class.index,
                "label": classes.label(class.index),
                "probability": class.probability,
                "score": class.score,
            })
        };
        let result = |((name, row), top): (&Sample, &Vec<Class>)| {
            let top: Vec<Value> = top.iter().map(class).collect();
            json!({"input": name, "sample": row, "top": top})
        };
        self.samples.iter().zip(&classes.top).map(result).collect()
    }
}

impl Classes {
    fn label(&self, index: usize) -> Option<&str> {
        self.labels.as_ref()?.get(index).map(String::as_str)
    }
}

/// A tensor in three numbers; NaN elements make the mean NaN.
struct Summary {
    min: f64,
    max: f64,
    mean: f64,
}

impl Summary {
    fn of(array: &Array) -> Summary {
        let values = array.to_f64();
        Summary {
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mean: values.iter().sum::<f64>() / values.len() as f64,
        }
    }
}
