//! What there is to see of a compiled model: where its time goes, and what became of one thing.

use std::num::NonZeroUsize;

use bytes::Bytes;
use cardinal_runtime::Artifact;

use super::refusal::Refusal;
use crate::about;
use crate::engine::Running;
use crate::exit::Outcome;
use crate::explain::{Compiled, Story};
use crate::loading;
use crate::mapped::Mapped;
use crate::model_file::ModelFile;
use crate::profile::Profile;
use crate::program::Program;
use crate::request::Measurement;

/// How a model is measured: the options of `cardinal profile`.
#[derive(Debug, Clone, Copy)]
pub struct Measuring {
    /// `--threads`
    pub threads: NonZeroUsize,
    /// `--warmup`
    pub warmup: usize,
    /// `--iterations`
    pub iterations: NonZeroUsize,
}

/// What `cardinal profile --json` prints of an artifact that is called `name`, with its code for the CPU `cpu`.
///
/// # Errors
/// Code that does not run here, an artifact that does not say what it is made of, and want of memory.
pub fn profile(
    artifact: &Artifact,
    (name, cpu): (&str, &str),
    how: Measuring,
) -> Result<String, Refusal> {
    Ok(measured(artifact, (name, cpu), how)?.to_json().to_string())
}

fn measured(artifact: &Artifact, (name, cpu): (&str, &str), how: Measuring) -> Outcome<Profile> {
    let file = ModelFile::of_bytes(name, Mapped::copied(Bytes::new()));
    let program = Program::load(artifact.clone(), Some(cpu), name)?;
    let running = Running::of_artifact(&program);
    let running = running.map_err(|error| loading::refused(&file, error))?;
    let Measuring { threads, warmup, iterations } = how;
    let what = Measurement { warmup, iterations, seed: 0 };
    Profile::measure(&file, &program, &running, threads, &what)
}

/// What `cardinal explain --json` prints of something in an artifact that is called `file`, in its code for the CPU
/// `cpu`; with `assembly` also the machine code.
///
/// # Errors
/// A name of nothing, or of several things, and an artifact that does not say what it is made of.
pub fn explain(
    artifact: &Artifact,
    (file, cpu): (&str, &str),
    name: &str,
    assembly: bool,
) -> Result<String, Refusal> {
    let position = about::variant(artifact, &[cpu.to_owned()])?;
    let compiled = Compiled::recorded(artifact, position, assembly);
    let file = ModelFile::of_bytes(file, Mapped::copied(Bytes::new()));
    let compiled = compiled.map_err(|error| loading::refused(&file, error))?;
    Ok(story(&compiled, name)?)
}

/// The way of one thing, as JSON.
pub(super) fn story(compiled: &Compiled<'_>, name: &str) -> Outcome<String> {
    Ok(Story::of(compiled, name)?.to_json().to_string())
}
