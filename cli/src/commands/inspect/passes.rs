//! `inspect --passes`: what is left of each operator after each pass.

use std::collections::{BTreeMap, BTreeSet};

use cardinal_compiler::passes::Pass;
use cardinal_compiler::pipeline::Keep;
use serde_json::{Value, json};

use crate::args::Format;
use crate::columns::{WIDTH, wrapped};
use crate::engine::Pipeline;
use crate::exit::Outcome;
use crate::loading;
use crate::model_file::ModelFile;
use crate::output;

/// How many nodes of each operator a graph has.
type Operators = BTreeMap<&'static str, usize>;

/// Where a model is on its way through the passes.
struct Points {
    imported: Operators,
    /// After each pass.
    passes: Vec<(&'static Pass, Operators)>,
}

/// Prints what each pass leaves.
///
/// # Errors
/// What the compiler refuses, and those of printing.
pub(super) fn list(file: &ModelFile, pipeline: Pipeline<'_>, format: Format) -> Outcome {
    let keeping = pipeline.keeping(Keep { graphs: true, ..Keep::default() });
    let trace = keeping.passes(None).map_err(|error| loading::refused(file, error))?;
    let after = trace.passes.iter().filter_map(|p| Some((p.pass, p.after.as_ref()?.operators())));
    let points = Points { imported: pipeline.model().graph.operators(), passes: after.collect() };
    match format {
        Format::Json => output::print_json(&points.to_json()),
        Format::Text | Format::Dot | Format::Svg | Format::Html => {
            output::print(|out| write!(out, "{}", points.text()))
        }
    }
}

impl Points {
    /// Each pass with how many nodes there are before and after it.
    fn rows(&self) -> impl Iterator<Item = (&(&'static Pass, Operators), usize, usize)> {
        let nodes = |operators: &Operators| operators.values().sum::<usize>();
        let after = self.passes.iter().map(move |(_, operators)| nodes(operators));
        let before = std::iter::once(nodes(&self.imported)).chain(after.clone());
        self.passes.iter().zip(before).zip(after).map(|((pass, from), to)| (pass, from, to))
    }

    fn to_json(&self) -> Value {
        let row = |((pass, operators), from, to): (&(&Pass, Operators), usize, usize)| {
            json!({
                "name": pass.name,
                "summary": pass.summary,
                "nodes_before": from,
                "nodes_after": to,
                "operators_after": operators,
            })
        };
        let rows: Vec<Value> = self.rows().map(row).collect();
        json!({
            "schema": "cardinal.passes/v1",
            "operators_imported": self.imported,
            "passes": rows,
        })
    }

    fn text(&self) -> String {
        let width = self.passes.iter().map(|(pass, _)| pass.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for ((Pass { name, summary, .. }, _), from, to) in self.rows() {
            let row = format!("{name:<width$}  {from:>5} -> {to:<5}  ");
            let room = WIDTH.saturating_sub(row.len());
            text += &wrapped(summary, room, &row, &" ".repeat(row.len()));
        }
        text += &format!("\n{:<width$} {:>6} -> fused\n", "operator", "import");
        let last = self.passes.last().map_or(&self.imported, |(_, operators)| operators);
        let all: BTreeSet<_> = self.imported.keys().chain(last.keys()).collect();
        for operator in all {
            let count = |of: &Operators| of.get(operator).copied().unwrap_or(0);
            text +=
                &format!("{operator:<width$} {:>6} -> {}\n", count(&self.imported), count(last));
        }
        text
    }
}
