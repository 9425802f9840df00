//! What a compilation made: in a few lines on stderr, or as JSON on stdout.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::change::Change;
use crate::args::{Emit, Stored};
use crate::engine::Compiled;
use crate::exit::Outcome;
use crate::max_error::Sampled;
use crate::names::counted;
use crate::stdio::is_dash;
use crate::tune::Report;
use crate::{output, render};

/// The schema of JSON.
const SCHEMA: &str = "cardinal.compile/v1";

/// What there is to say.
pub(super) struct Summary<'a> {
    /// The model, as typed.
    pub(super) model: String,
    pub(super) output: &'a Path,
    pub(super) emit: Emit,
    pub(super) weights: Stored,
    pub(super) compiled: &'a Compiled,
    /// What fewer digits change.
    pub(super) change: Option<&'a Change>,
    /// What rounding changes on samples.
    pub(super) sampled: Option<&'a Sampled>,
    /// What tuning found.
    pub(super) tuned: Option<&'a Report>,
    /// How many rewrites have been proved, if that was asked for.
    pub(super) proved: Option<usize>,
    pub(super) seconds: f64,
}

impl Summary<'_> {
    /// Prints it.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(super) fn print(&self, json: bool) -> Outcome {
        self.tuned.into_iter().for_each(Report::print);
        if json {
            return output::print_json(&self.to_json());
        }
        render::note(self.headline());
        if let Some(proved) = self.proved {
            let proved = counted(proved, "rewrite");
            render::note(format_args!("{proved} proved on random values"));
        }
        self.compiled.out_of_range_lines().for_each(render::note);
        self.change.iter().flat_map(|change| change.lines()).for_each(render::note);
        self.sampled.iter().flat_map(|sampled| sampled.lines()).for_each(render::note);
        Ok(())
    }

    fn headline(&self) -> String {
        let Summary { model, output, compiled, seconds, .. } = self;
        let output = match is_dash(output) {
            true => "standard output".into(),
            false => output.display().to_string(),
        };
        format!(
            "{model} -> {output}: {} nodes, {} of code for {}, {} of weights{}, {} of scratch memory, in {seconds:.2} s",
            compiled.nodes,
            size(compiled.code_bytes),
            compiled.cpus.join(", "),
            size(compiled.weight_bytes),
            self.loaded(),
            size(compiled.arena_bytes),
        )
    }

    fn loaded(&self) -> String {
        let loaded = size(self.compiled.loaded_weight_bytes);
        let narrow = self.weights.narrow();
        narrow.map_or_else(String::new, |narrow| format!(" ({}; {loaded} loaded)", narrow.name()))
    }

    fn to_json(&self) -> Value {
        let compiled = self.compiled;
        let mut report = json!({
            "schema": SCHEMA,
            "model": self.model,
            "output": self.output.display().to_string(),
            "kind": name(self.emit),
            "nodes": compiled.nodes,
            "cpus": compiled.cpus,
            "code_bytes": compiled.code_bytes,
            "weights": name(self.weights),
            "weight_bytes": compiled.weight_bytes,
            "loaded_weight_bytes": compiled.loaded_weight_bytes,
            "arena_bytes": compiled.arena_bytes,
            "seconds": self.seconds,
        });
        if let Some(proved) = self.proved {
            report["rewrites_proved"] = proved.into();
        }
        if let Some(tuned) = self.tuned {
            report["tune"] = tuned.to_json();
        }
        if let Some(sampled) = self.sampled {
            report["sampled"] = sampled.to_json();
        }
        if let Some(change) = self.change {
            let names: Vec<&str> = compiled.out_of_range.iter().map(|b| b.name.as_str()).collect();
            report["beyond_half"] = json!(names);
            report["change"] = change.to_json();
        }
        report
    }
}

/// What a value is called on the command line.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// `1.2 MB`
fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
