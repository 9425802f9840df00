//! Findings as text.

use std::io::{self, Write};

use bytesize::ByteSize;
use cardinal_compiler::onnx::{DeclaredTensor, OperatorUse};
use cardinal_runtime::text;

use super::{Findings, Imported};
use crate::columns::WIDTH;
use crate::exit::Outcome;
use crate::output;

/// Columns of what a line is about.
const LABEL: usize = 12;
/// Things of a kind that are named at most: JSON has all.
const NAMED: usize = 8;
/// Near misses, which take lines each.
const NEAR: usize = 3;

impl Findings {
    /// Prints all, what is wrong first.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn print(&self) -> Outcome {
        output::print(|out| {
            self.verdict(out)?;
            self.file(out)?;
            self.operators(out)?;
            match &self.imported {
                Some(imported) => {
                    self.nodes(out, imported)?;
                    imported.print(out)
                }
                None => Ok(()),
            }
        })
    }

    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let unsupported = self.unsupported().count();
        let verdict = match &self.refusal {
            None => "it compiles".into(),
            Some(_) if unsupported > 0 => {
                format!("it does not compile: {unsupported} of its operators are not supported")
            }
            Some(why) => format!("it does not compile: {why}"),
        };
        said(out, "verdict", &verdict)?;
        self.refusal
            .as_ref()
            .and_then(|why| why.help())
            .map_or(Ok(()), |help| said(out, "help", help))
    }

    fn file(&self, out: &mut dyn Write) -> io::Result<()> {
        let survey = &self.survey;
        let producer = if survey.producer.is_empty() { "unknown" } else { &survey.producer };
        said(out, "producer", producer)?;
        let opsets = survey.opsets.iter().map(|(domain, version)| match domain.as_str() {
            "" => version.to_string(),
            domain => format!("{domain} {version}"),
        });
        let opsets: Vec<String> = opsets.collect();
        said(
            out,
            "format",
            &format!("IR version {}, opset {}", survey.ir_version, opsets.join(", ")),
        )?;
        if survey.functions > 0 {
            said(out, "functions", &format!("{}, which are inlined", survey.functions))?;
        }
        let stored: Vec<String> =
            survey.stored.iter().map(|(element, count)| format!("{count} of {element}")).collect();
        let external = match survey.external {
            0 => String::new(),
            count => format!("; {count} of them in other files"),
        };
        said(out, "initializers", &format!("{}{external}", stored.join(", ")))?;
        survey.inputs.iter().try_for_each(|input| said(out, "input", &self.input(input)))?;
        survey.outputs.iter().try_for_each(|output| said(out, "output", &declared(output)))
    }

    /// As declared, and what that is fixed to.
    fn input(&self, input: &DeclaredTensor) -> String {
        let specs = self.imported.iter().flat_map(|imported| &imported.inputs);
        let spec = specs.into_iter().find(|spec| spec.name == input.name);
        let fixed = spec.map(|spec| spec.shape.iter().map(usize::to_string).collect::<Vec<_>>());
        match fixed {
            Some(shape) if Some(&shape) != input.dims.as_ref() => {
                let shape = shape.join(", ");
                format!("{}, fixed to [{shape}]; --batch and --shape fix others", declared(input))
            }
            Some(_) | None => declared(input),
        }
    }

    /// How many nodes there are on the way.
    fn nodes(&self, out: &mut dyn Write, imported: &Imported) -> io::Result<()> {
        let in_file: usize = self.survey.operators.iter().map(|found| found.nodes.len()).sum();
        let read = imported.contents.imported;
        let fused = match imported.memory {
            Some(_) => format!(", and {} after all passes", imported.contents.fused),
            None => String::new(),
        };
        let computed = "as shapes and constants are computed when a model is read";
        said(out, "nodes", &format!("{in_file} in the file become {read}, {computed}{fused}"))
    }

    fn unsupported(&self) -> impl Iterator<Item = &OperatorUse> {
        self.survey.operators.iter().filter(|operator| operator.refusal.is_some())
    }

    fn operators(&self, out: &mut dyn Write) -> io::Result<()> {
        let supported = self.survey.operators.iter().filter(|operator| operator.refusal.is_none());
        let counts =
            supported.map(|operator| format!("{} {}", operator.nodes.len(), named(operator)));
        let counts: Vec<String> = counts.collect();
        said(out, "operators", &counts.join(", "))?;
        for operator in self.unsupported() {
            let count = operator.nodes.len();
            said(
                out,
                "unsupported",
                &format!("{count} {}: {}", named(operator), some(&operator.nodes)),
            )?;
            if let Some(remedy) = operator.refusal.as_ref().and_then(|e| e.remedy.as_ref()) {
                said(out, "", remedy)?;
            }
        }
        Ok(())
    }
}

impl Imported {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let contents = &self.contents;
        let giga = contents.multiply_adds as f64 / 1e9;
        let work = format!("{giga:.3} G multiply-adds, {} parameters", contents.parameters);
        said(out, "work", &work)?;
        self.memory(out)?;
        for pass in &self.passes {
            said(
                out,
                "rewritten",
                &format!("{} × {}: {}", pass.rewrites, pass.name, pass.summary),
            )?;
        }
        for (kind, count) in &contents.attention {
            said(out, "attention", &format!("{count} × {kind}"))?;
        }
        for miss in self.near_misses.iter().take(NEAR) {
            said(out, "near miss", &format!("{} at {}: {}", miss.pass, miss.node, miss.because))?;
        }
        more(
            out,
            self.near_misses.len().saturating_sub(NEAR),
            "near misses; inspect --why has all",
        )?;
        self.unusual(out)?;
        self.images(out)
    }

    fn memory(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(memory) = &self.memory {
            let size = |bytes: usize| ByteSize::b(bytes as u64).to_string();
            let (weights, arena, worker) =
                (size(memory.weights), size(memory.arena), size(memory.worker));
            said(
                out,
                "memory",
                &format!("{weights} weights, {arena} arena, {worker} more a thread"),
            )?;
        }
        if self.estimates.is_empty() {
            return said(
                out,
                "estimate",
                "none: of convolutions in blocks only, on machines whose costs are known",
            );
        }
        let each = self.estimates.iter();
        let each: Vec<String> =
            each.map(|e| format!("{:.2} ms in {}", e.ms, e.precision)).collect();
        let what = "an estimate of the convolutions alone, on one thread here; bench measures";
        said(out, "estimate", &format!("{} ({what})", each.join(", ")))
    }

    fn unusual(&self, out: &mut dyn Write) -> io::Result<()> {
        let unusual = &self.contents.unusual;
        for weight in unusual.iter().take(NAMED) {
            let kinds =
                [("NaN", weight.nan), ("infinite", weight.infinite), ("denormal", weight.denormal)];
            let kinds = kinds.iter().filter(|(_, count)| *count > 0);
            let kinds: Vec<String> = kinds.map(|(kind, count)| format!("{count} {kind}")).collect();
            said(
                out,
                "weight",
                &format!("{} has elements that are {}", weight.name, kinds.join(", ")),
            )?;
        }
        more(out, unusual.len().saturating_sub(NAMED), "such weights; --json has all")
    }

    fn images(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.images.what {
            Ok(what) => said(out, "images", what)?,
            Err(why) => said(out, "images", &format!("none: {why}"))?,
        }
        self.images.warnings.iter().try_for_each(|warning| said(out, "", warning))
    }
}

/// How many are not named.
fn more(out: &mut dyn Write, left: usize, what: &str) -> io::Result<()> {
    match left {
        0 => Ok(()),
        left => said(out, "", &format!("{left} more {what}")),
    }
}

fn named(operator: &OperatorUse) -> String {
    match operator.domain.as_str() {
        "" => operator.name.clone(),
        domain => format!("{domain}::{}", operator.name),
    }
}

/// The first of some names.
fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let left = names.len() - shown.len();
    let rest = if left > 0 { format!(" and {left} more") } else { String::new() };
    shown.join(", ") + &rest
}

fn declared(tensor: &DeclaredTensor) -> String {
    let dims =
        tensor.dims.as_ref().map_or("of any rank".into(), |dims| format!("[{}]", dims.join(", ")));
    format!("{} {}{dims}", tensor.name, tensor.element)
}

/// Words after a label, broken to lines: between words, or within one that is longer than a line.
fn said(out: &mut dyn Write, label: &str, words: &str) -> io::Result<()> {
    let room = WIDTH - LABEL - 1;
    let mut lines = vec![String::new()];
    for word in text::line(words).split(' ') {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(room) {
            let last = lines.last().map_or(0, |line| line.chars().count());
            if last > 0 && last + 1 + piece.len() > room {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.extend((!line.is_empty()).then_some(' '));
                line.extend(piece);
            }
        }
    }
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    labels.zip(lines).try_for_each(|(label, line)| {
        writeln!(out, "{}", format!("{label:<LABEL$} {line}").trim_end())
    })
}
