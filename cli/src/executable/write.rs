//! Making executables.

use std::path::Path;

use cardinal_compiler::options::{CompileOptions, Narrow};
use cardinal_compiler::schedule::{Bfloat16, Preferences};
use cardinal_runtime::manifest::Variant;
use cardinal_runtime::{Artifact, cpu};

use super::format::assemble;
use super::sample::Sample;
use crate::compare::compare;
use crate::engine::{self, Model, ModelResult, Settings};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::serving;
use crate::trial::{self, Trial};

/// The runner, from build.rs; empty where it could not be built.
const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cardinal-runner"));

/// The one that serves, too; empty without the feature `full`, and where it could not be built.
const SERVING_RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cardinal-serving-runner"));

/// How many times the change by one rounding of the weights another rounding may make. Found were up to
/// 1.3, in six networks of up to 101 layers.
const OF_ROUNDING: f64 = 4.0;

/// What rounding factors to bfloat16 changes at most, of the largest magnitude: more is a fault.
const MOST_FACTORS: f64 = 0.15;

/// How many times what a small change of the inputs does rounding factors may do. Found were up to 24.
const TIMES_NEARBY: f64 = 8.0;

fn runner(with_serve: bool) -> &'static [u8] {
    if with_serve { SERVING_RUNNER } else { RUNNER }
}

/// Refuses targets for which there is no runner, before anything is compiled.
///
/// # Errors
/// [`Failure::Usage`] for another machine's target, [`Failure::Failed`] when there is no runner.
pub(crate) fn check_target(target: Option<&str>, with_serve: bool) -> Outcome {
    if let Some(target) = target.filter(|target| !cpu::matches_host(target)) {
        let host = cpu::host_triple();
        return Err(Failure::usage(format!(
            "executables can be made for this machine's architecture only ({host}), and the target is {target}"
        ))
        .with_help("write an artifact, `-o model.cardinal`, or use cardinal on a machine of that kind"));
    }
    if with_serve && !cfg!(feature = "full") {
        return Err(serving::left_out());
    }
    if runner(with_serve).is_empty() {
        return Err(Failure::Failed(
            "this build of cardinal cannot make executables: no C library to link statically with \
             was there when it was built, or it was built without its feature `executables`. Install \
             one (libc6-dev, glibc-static) and build cardinal again, or write an artifact, \
             `-o model.cardinal`"
                .into(),
        ));
    }
    Ok(())
}

/// What the executable of a model will compare with: the outputs of the same model, compiled for
/// the least that this architecture guarantees and without Winograd's transform. So they do not
/// depend on this machine, and come from other code than what they are compared with.
///
/// Weights of fewer digits are rounded here as they are in what is compared, but for transformed ones,
/// which are rounded after the transform there. That moves the outputs about as much as the rounding here
/// did, which is measured. Values that the model rounds to bytes may be rounded to the next one there, where
/// they lie in the middle; that moves the outputs about as much as a small change of the inputs does. What
/// rounding factors to bfloat16 changes is measured on this machine, or guessed where that multiplies none.
///
/// # Errors
/// What the compiler refuses, or [`Failure::Failed`] for want of memory.
pub(crate) fn sample(
    model: &Model,
    settings: &Settings,
    refused: impl Fn(Box<cardinal_compiler::error::Error>) -> Failure,
) -> Outcome<Sample> {
    let weights = settings.compile.weights;
    let winograd = settings.compile.schedule.winograd;
    let run = |weights| {
        let artifact = plainly_compiled(model, settings, weights).map_err(&refused)?;
        trial::run(artifact, &model.graph.name)
    };
    let expected = run(weights)?;
    let narrowed = match (winograd, weights) {
        (true, Some(_)) => difference(&expected, &run(None)?),
        (false, _) | (_, None) => 0.0,
    };
    let bfloats = settings.compile.schedule.bfloat16 != Bfloat16::Never;
    let rounded = match engine::rounds_values(&model.graph) || bfloats {
        true => {
            let artifact = plainly_compiled(model, settings, weights).map_err(&refused)?;
            difference(&expected, &trial::run_nearby(artifact, &model.graph.name)?)
        }
        false => 0.0,
    };
    let factors = match bfloats {
        true => {
            let artifact = compiled_in_bfloats(model, settings, weights).map_err(&refused)?;
            match artifact.variants().first().map(Variant::precision) {
                Some("f32") => TIMES_NEARBY * rounded,
                _ => difference(&expected, &trial::run(artifact, &model.graph.name)?)
                    .min(MOST_FACTORS),
            }
        }
        false => 0.0,
    };
    let rtol = OF_ROUNDING * (narrowed + rounded + factors);
    Ok(Sample::new(trial::SEED, &expected.outputs, rtol))
}

fn plainly_compiled(
    model: &Model,
    settings: &Settings,
    weights: Option<Narrow>,
) -> ModelResult<Artifact> {
    let schedule = Preferences { winograd: false, ..Preferences::default() };
    compiled_for(model, settings, "generic", (schedule, weights))
}

/// For this machine, with products of bfloat16 where it has them.
fn compiled_in_bfloats(
    model: &Model,
    settings: &Settings,
    weights: Option<Narrow>,
) -> ModelResult<Artifact> {
    let bfloat16 = Bfloat16::WhereFaster;
    let winograd = settings.compile.schedule.winograd;
    let schedule = Preferences { winograd, bfloat16, ..Preferences::default() };
    compiled_for(model, settings, "native", (schedule, weights))
}

fn compiled_for(
    model: &Model,
    settings: &Settings,
    cpu: &str,
    (schedule, weights): (Preferences, Option<Narrow>),
) -> ModelResult<Artifact> {
    // Rewrites are proved when the model itself is compiled, and what it was tuned for is not this.
    let CompileOptions { threads, memory, .. } = settings.compile;
    let check_rewrites = false;
    let compile = CompileOptions { schedule, check_rewrites, weights, threads, memory };
    let settings = Settings { cpus: vec![cpu.into()], compile, ..settings.clone() };
    engine::compile(model, &settings)?.to_artifact()
}

/// The largest difference of two runs, of the largest magnitude of the output.
fn difference(one: &Trial, other: &Trial) -> f64 {
    let pairs = one.outputs.iter().zip(&other.outputs);
    pairs.map(|(one, other)| compare(one, other).max_rel).fold(0.0, f64::max).min(1.0)
}

/// Writes the executable: whole or not at all, and without another copy of the weights.
///
/// # Errors
/// [`Failure::Io`]; [`Failure::Failed`] when the outputs are too large to be a sample.
pub(crate) fn write(
    path: &Path,
    artifact: &Artifact,
    sample: &Sample,
    with_serve: bool,
) -> Outcome {
    let pieces = assemble(runner(with_serve), artifact.as_bytes(), sample);
    let pieces = pieces.map_err(|error| Failure::Failed(error.to_string()))?;
    output::write_program(path, &pieces.each_ref().map(AsRef::as_ref))
}
