//! Making executables.

use std::path::Path;

use cardinal_compiler::options::CompileOptions;
use cardinal_runtime::{Artifact, cpu};

use super::format::assemble;
use super::sample::Sample;
use crate::engine::{self, Model, ModelResult, Settings};
use crate::exit::{Failure, Outcome};
use crate::program::{Program, Session, available_threads};
use crate::{output, random};

/// The runner, from build.rs; empty where it could not be built.
const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cardinal-runner"));

/// Seed of the sample's inputs.
const SEED: u64 = 0;

/// Refuses targets for which there is no runner, before anything is compiled.
///
/// # Errors
/// [`Failure::Usage`] for another machine's target, [`Failure::Failed`] when there is no runner.
pub(crate) fn check_target(target: Option<&str>) -> Outcome {
    if let Some(target) = target.filter(|target| !cpu::matches_host(target)) {
        let host = cpu::host_triple();
        return Err(Failure::usage(format!(
            "executables can be made for this machine's architecture only ({host}), and the target is {target}"
        ))
        .with_help("write an artifact, `-o model.cardinal`, or use cardinal on a machine of that kind"));
    }
    if RUNNER.is_empty() {
        return Err(Failure::Failed(
            "this build of cardinal cannot make executables: no C library to link statically with \
             was there when it was built. Install one (libc6-dev, glibc-static) and build cardinal \
             again, or write an artifact, `-o model.cardinal`"
                .into(),
        ));
    }
    Ok(())
}

/// What the executable of a model will compare with: the outputs of the same model, compiled for
/// the least that this architecture guarantees and without Winograd's transform. So they do not
/// depend on this machine, and come from other code than what they are compared with.
///
/// # Errors
/// What the compiler refuses, or [`Failure::Failed`] for want of memory.
pub(crate) fn sample(
    model: &Model,
    settings: &Settings,
    refused: impl FnOnce(Box<cardinal_compiler::error::Error>) -> Failure,
) -> Outcome<Sample> {
    let artifact = plainly_compiled(model, settings).map_err(refused)?;
    let program = Program::load(artifact, None, &model.graph.name)?;
    let inputs = random::arrays(program.inputs(), SEED);
    let outputs = Session::new(&program, available_threads())?.run(&inputs)?;
    Ok(Sample::new(SEED, &outputs))
}

fn plainly_compiled(model: &Model, settings: &Settings) -> ModelResult<Artifact> {
    let threads = settings.compile.threads;
    let compile = CompileOptions { winograd: false, threads, ..CompileOptions::default() };
    let plain = Settings { cpus: vec!["generic".into()], compile, ..settings.clone() };
    engine::compile(model, &plain).map(|compiled| compiled.artifact)
}

/// Writes the executable: whole or not at all, and without another copy of the weights.
///
/// # Errors
/// [`Failure::Io`]; [`Failure::Failed`] when the outputs are too large to be a sample.
pub(crate) fn write(path: &Path, artifact: &Artifact, sample: &Sample) -> Outcome {
    let pieces = assemble(RUNNER, artifact.as_bytes(), sample);
    let pieces = pieces.map_err(|error| Failure::Failed(error.to_string()))?;
    output::write_program(path, &pieces.each_ref().map(AsRef::as_ref))
}
