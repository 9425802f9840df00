//! The model in this process's own file.

use std::time::Instant;

use cardinal_runtime::Artifact;

use super::format::{FormatError, split};
use super::own_file;
use super::sample::Sample;
use crate::about;
use crate::exit::{Failure, Outcome};
use crate::mapped::Pages;
use crate::measure::{Preparation, milliseconds};
use crate::output;
use crate::own_pages;
use crate::program::{self, Program};
use crate::request::IsaOption;

/// A checked executable: this one. None of the model's code has run.
pub(super) struct Attached {
    name: String,
    pages: Pages,
    artifact: Artifact,
    /// What to compare with.
    pub(super) sample: Sample,
    runner_bytes: usize,
    /// When opening began.
    begin: Instant,
}

impl Attached {
    /// Maps and checks this process's own file; `name` is its name for messages.
    ///
    /// # Errors
    /// [`Failure::BadModel`] when it is damaged, [`Failure::Io`] when it cannot be read.
    pub(super) fn open(name: &str) -> Outcome<Attached> {
        // Checking has all of the file in memory at once.
        own_pages::give_back();
        let begin = Instant::now();
        let file = own_file::open()?;
        let parts = split(&file.bytes).map_err(|error| damaged(name, &error))?;
        Ok(Attached {
            name: name.to_owned(),
            pages: file.pages,
            artifact: program::open_artifact(parts.artifact, name)?,
            sample: parts.sample,
            runner_bytes: parts.runner.len(),
            begin,
        })
    }

    /// Makes the model runnable, with the code that `isa` asks for.
    ///
    /// # Errors
    /// [`Failure::BadModel`] when this machine cannot run it.
    pub(super) fn load(self, isa: &IsaOption) -> Outcome<(Program, Preparation)> {
        let program = Program::load(self.artifact, isa.name(), &self.name)?;
        self.pages.give_back();
        Ok((program, Preparation { compile_ms: None, load_ms: milliseconds(self.begin) }))
    }

    /// Prints what the model is.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(super) fn describe(&self, json: bool) -> Outcome {
        let version = env!("CARGO_PKG_VERSION");
        let (runner, artifact) = (self.runner_bytes, self.artifact.as_bytes().len());
        if json {
            let mut value = about::to_json(&self.artifact);
            value["runner"] = version.into();
            value["runner_bytes"] = runner.into();
            value["artifact_bytes"] = artifact.into();
            return output::print_json(&value);
        }
        let mut lines = about::lines(&self.artifact);
        lines.push(("runner".into(), version.into()));
        lines.push(("runner bytes".into(), runner.to_string()));
        lines.push(("artifact bytes".into(), artifact.to_string()));
        about::print(&lines)
    }
}

fn damaged(name: &str, error: &FormatError) -> Failure {
    let message = error.to_string();
    let help = "copy the file again, or compile the model again".to_owned();
    Failure::BadModel { file: name.to_owned(), message, help: Some(help) }
}
