//! What an inference prints.

use std::io::{self, Write};

use cardinal_runtime::text;
use serde_json::{Value, json};

use crate::classify::{self, Classifier, Ranking};
use crate::csv;
use crate::exit::Outcome;
use crate::request::RunRequest;
use crate::tensors::{Array, Spec};
use crate::{output, render};

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.run/v1";

/// The first line of `--csv`.
const COLUMNS: [&str; 7] = ["input", "sample", "rank", "class", "label", "probability", "score"];

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Not at all: they are written to a file.
    Nothing,
    Text,
    Json,
    JsonLines,
    Csv,
}

/// What one row of the outputs came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    /// The file.
    pub(super) name: &'a str,
    /// Which row in it.
    pub(super) row: usize,
    /// Of how many.
    pub(super) of: usize,
}

/// Prints results as they come.
pub(super) struct Report<'a> {
    form: Form,
    quiet: bool,
    specs: &'a [Spec],
    classifier: Option<Classifier>,
    /// Whether anything was printed.
    has_begun: bool,
    /// Whether the scores of all samples were probabilities.
    are_probabilities: bool,
    /// What `--json` prints at the end.
    results: Vec<Value>,
    /// Each output in short, of all samples together.
    summaries: Vec<Summary>,
}

impl<'a> Report<'a> {
    /// Nothing is printed yet.
    ///
    /// # Errors
    /// [`Failure::Usage`](crate::exit::Failure::Usage) for rows of classes where there are none.
    pub(super) fn new(
        request: &RunRequest,
        specs: &'a [Spec],
        classifier: Option<Classifier>,
    ) -> Outcome<Report<'a>> {
        let form = match request {
            RunRequest { json: true, .. } => Form::Json,
            RunRequest { jsonl: true, .. } => Form::JsonLines,
            RunRequest { csv: true, .. } => Form::Csv,
            _ if request.output.is_some() && !request.wants_text() => Form::Nothing,
            _ => Form::Text,
        };
        if classifier.is_none() && matches!(form, Form::JsonLines | Form::Csv) {
            return Err(classify::no_classes(
                "print a summary with --json, or write the output with --output",
            ));
        }
        Ok(Report {
            form,
            quiet: request.quiet,
            specs,
            classifier,
            has_begun: false,
            are_probabilities: true,
            results: Vec::new(),
            summaries: specs.iter().map(|_| Summary::default()).collect(),
        })
    }

    /// Takes the outputs for some samples, a row each, and prints what can be printed now.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(super) fn add(&mut self, samples: &[Sample<'_>], outputs: &[Array]) -> Outcome {
        if self.form == Form::Nothing {
            return Ok(());
        }
        if self.form == Form::Json || self.classifier.is_none() {
            self.summaries.iter_mut().zip(outputs).for_each(|(all, output)| all.add(output));
        }
        let (Some(classifier), [output]) = (&self.classifier, outputs) else { return Ok(()) };
        let rankings = classifier.rank(output);
        self.are_probabilities &= rankings.iter().all(|ranking| ranking.are_probabilities);
        if !self.has_begun {
            self.begin()?;
        }
        for (sample, ranking) in samples.iter().zip(&rankings) {
            self.print(*sample, ranking)?;
        }
        Ok(())
    }

    /// What stands before the first sample.
    fn begin(&mut self) -> Outcome {
        self.has_begun = true;
        match self.form {
            Form::Text if !self.quiet => render::note(match self.are_probabilities {
                true => "columns: class, probability as the model gives it, label",
                false => "columns: class, probability (softmax of the logits), label",
            }),
            Form::Csv => return output::print(|out| csv::write_row(out, &COLUMNS)),
            Form::Text | Form::Nothing | Form::Json | Form::JsonLines => {}
        }
        Ok(())
    }

    fn print(&mut self, sample: Sample<'_>, ranking: &Ranking) -> Outcome {
        let Some(classifier) = &self.classifier else { return Ok(()) };
        match self.form {
            Form::Nothing => Ok(()),
            Form::Text => output::print(|out| print_text(out, classifier, sample, ranking)),
            Form::Csv => output::print(|out| print_csv(out, classifier, sample, ranking)),
            Form::JsonLines => output::print_json(&to_json(classifier, sample, ranking)),
            Form::Json => {
                self.results.push(to_json(classifier, sample, ranking));
                Ok(())
            }
        }
    }

    /// Prints what stands after the last sample.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(super) fn finish(mut self, threads: usize) -> Outcome {
        match (self.form, &self.classifier) {
            (Form::Json, _) => output::print_json(&self.whole(threads)),
            (Form::Text, None) => output::print(|out| self.print_summaries(out)),
            (Form::Csv, Some(_)) if !self.has_begun => self.begin(),
            (Form::Nothing | Form::Text | Form::JsonLines | Form::Csv, _) => Ok(()),
        }
    }

    fn print_summaries(&self, out: &mut dyn Write) -> io::Result<()> {
        self.specs.iter().zip(&self.summaries).try_for_each(|(spec, summary)| {
            let Summary { min, max, .. } = summary;
            let (name, ty) = (text::line(&spec.name), summary.spec(spec).ty());
            writeln!(out, "{name} {ty}: min {min:.6}, max {max:.6}, mean {:.6}", summary.mean())
        })
    }

    fn whole(&mut self, threads: usize) -> Value {
        let output = |(spec, summary): (&Spec, &Summary)| {
            let Spec { name, dtype, shape } = summary.spec(spec);
            json!({
                "name": name,
                "dtype": dtype.name(),
                "shape": shape,
                "min": summary.min,
                "max": summary.max,
                "mean": summary.mean(),
            })
        };
        let outputs: Vec<Value> = self.specs.iter().zip(&self.summaries).map(output).collect();
        let kind = self.classifier.as_ref().map(|_| match self.are_probabilities {
            true => "as given",
            false => "softmax",
        });
        json!({
            "schema": SCHEMA,
            "threads": threads,
            "probabilities": kind,
            "results": std::mem::take(&mut self.results),
            "outputs": outputs,
        })
    }
}

fn print_text(
    out: &mut dyn Write,
    classifier: &Classifier,
    Sample { name, row, of }: Sample<'_>,
    ranking: &Ranking,
) -> io::Result<()> {
    let row = if of == 1 { String::new() } else { format!("[{row}]") };
    writeln!(out, "{}{row}", text::line(name))?;
    for class in &ranking.top {
        let label = classifier.label(class.index).map(text::line).unwrap_or_default();
        let line = format!("  {:>5}  {:.4}  {label}", class.index, class.probability);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn print_csv(
    out: &mut dyn Write,
    classifier: &Classifier,
    sample: Sample<'_>,
    ranking: &Ranking,
) -> io::Result<()> {
    for (rank, class) in ranking.top.iter().enumerate() {
        let numbers = [sample.row, rank + 1, class.index].map(|number| number.to_string());
        let (probability, score) = (class.probability.to_string(), class.score.to_string());
        let label = classifier.label(class.index).unwrap_or_default();
        let [row, rank, index] = numbers.each_ref().map(String::as_str);
        csv::write_row(out, &[sample.name, row, rank, index, label, &probability, &score])?;
    }
    Ok(())
}

fn to_json(classifier: &Classifier, sample: Sample<'_>, ranking: &Ranking) -> Value {
    let top = classifier.to_json(ranking);
    json!({"input": sample.name, "sample": sample.row, "top": top})
}

/// A tensor in three numbers; NaN elements make the mean NaN.
struct Summary {
    rows: usize,
    elements: usize,
    min: f64,
    max: f64,
    sum: f64,
}

impl Default for Summary {
    fn default() -> Summary {
        Summary { rows: 0, elements: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0. }
    }
}

impl Summary {
    fn add(&mut self, array: &Array) {
        for value in array.to_f64() {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.sum += value;
            self.elements += 1;
        }
        self.rows += array.shape.first().copied().unwrap_or(0);
    }

    fn mean(&self) -> f64 {
        self.sum / self.elements as f64
    }

    /// What all rows together are.
    fn spec(&self, spec: &Spec) -> Spec {
        let mut all = spec.clone();
        if let Some(first) = all.shape.first_mut() {
            *first = self.rows;
        }
        all
    }
}
