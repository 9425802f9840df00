//! What was found, in words and as JSON.

use std::io::{self, Write};

use cardinal_runtime::text;
use serde_json::{Value, json};

use super::{Found, Part};
use crate::columns::{self, WIDTH};
use crate::engine::Rewrite;
use crate::exit::Outcome;
use crate::output;

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.bisect/v1";

/// Everything that there is to say.
pub(crate) struct Report<'a> {
    pub(crate) model: String,
    pub(crate) found: &'a Found,
    /// All rewrites.
    pub(crate) rewrites: &'a [Rewrite],
    /// What was written.
    pub(crate) part: Option<&'a Part>,
    /// The flags that `verify` needs to show the same, each with a space before it.
    pub(crate) flags: String,
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
        match self.found {
            Found::Nothing => writeln!(out, "nothing found: results are what they should be")?,
            Found::Import(verdicts) => {
                let differs = |line: &String| columns::wrapped(line, WIDTH - 2, "", "  ");
                verdicts.iter().try_for_each(|line| write!(out, "{}", differs(line)))?;
                let says = [
                    "so gives the model as imported, in the interpreter:",
                    "no pass and no code is to blame,",
                    "but the reading of the model, its inputs, or what is expected",
                ];
                write!(out, "{}", columns::clauses(says, "", ""))?;
            }
            Found::Rewrite(at) => self.print_rewrite(out, *at)?,
            Found::Kernel(kernel) => {
                writeln!(
                    out,
                    "code: {} is the first value that differs",
                    text::line(&kernel.value)
                )?;
                let how = if kernel.alone { "shown by" } else { "not shown alone by" };
                for name in &kernel.nodes {
                    writeln!(out, "  {how} {}", text::line(name))?;
                }
            }
        }
        let Some(part) = self.part else { return Ok(()) };
        for node in &part.nodes {
            writeln!(out, "  from     {}", text::line(node))?;
        }
        if part.nodes.len() < part.of {
            writeln!(out, "{} ONNX nodes of {} show it", part.nodes.len(), part.of)?;
        }
        let [model, inputs] = [&part.model, &part.inputs].map(|path| path.display().to_string());
        let flags = &self.flags;
        writeln!(out, "these nodes alone: cardinal verify {model} --input {inputs}{flags}")
    }

    fn print_rewrite(&self, out: &mut dyn Write, at: usize) -> io::Result<()> {
        let Some(Rewrite { pass, change }) = self.rewrites.get(at) else { return Ok(()) };
        let (number, all) = (at + 1, self.rewrites.len());
        writeln!(out, "pass {pass}: rewrite {number} of {all}, at {}", text::line(&change.at))?;
        for (what, nodes) in [("removed", &change.removed), ("made", &change.made)] {
            for node in nodes {
                writeln!(out, "  {what:8} {} = {}", text::line(&node.name), node.op.mnemonic())?;
            }
        }
        Ok(())
    }

    /// One object of the schema cardinal.bisect/v1.
    pub(super) fn to_json(&self) -> Value {
        let mut report = json!({"schema": SCHEMA, "model": self.model, "found": Value::Null});
        match self.found {
            Found::Nothing => {}
            Found::Import(verdicts) => {
                report["found"] = "import".into();
                report["outputs"] = verdicts.clone().into();
            }
            Found::Rewrite(at) => {
                report["found"] = "rewrite".into();
                if let Some(Rewrite { pass, change }) = self.rewrites.get(*at) {
                    let names = |nodes: &[cardinal_compiler::ir::Node]| -> Vec<String> {
                        nodes.iter().map(|node| node.name.clone()).collect()
                    };
                    report["pass"] = (*pass).into();
                    report["rewrite"] = (at + 1).into();
                    report["rewrites"] = self.rewrites.len().into();
                    report["removed"] = names(&change.removed).into();
                    report["made"] = names(&change.made).into();
                }
            }
            Found::Kernel(kernel) => {
                report["found"] = "kernel".into();
                report["value"] = kernel.value.clone().into();
                report["nodes"] = kernel.nodes.clone().into();
                report["alone"] = kernel.alone.into();
            }
        }
        if let Some(part) = self.part {
            report["part"] = json!({
                "model": part.model.display().to_string(),
                "inputs": part.inputs.display().to_string(),
                "nodes": part.nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>(),
                "of": part.of,
            });
        }
        report
    }
}
