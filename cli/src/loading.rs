//! From a model on the command line to a program that runs.

mod rebatch;
mod text_model;

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use cardinal_compiler::error::Error as ModelError;
use cardinal_compiler::options::{CompileOptions, ImportOptions};
use cardinal_compiler::schedule::{Bfloat16, Preferences};
use cardinal_runtime::{Artifact, text};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::args::{Arithmetic, ModelOptions};
use crate::engine::{self, Model, Running, Settings};
use crate::exit::{Failure, Outcome};
use crate::measure::{Preparation, milliseconds};
use crate::model_file::ModelFile;
use crate::own_pages;
use crate::program::{self, Program};
use crate::request::IsaOption;
use crate::tensors::{Named, Spec};

pub(crate) use text_model::{is_text, refuse_all_texts, refuse_text};

/// A loaded model.
pub(crate) struct Loaded {
    /// What runs.
    pub(crate) program: Program,
    /// What it was compiled from, and how; absent for an artifact.
    pub(crate) source: Option<(Model, Settings)>,
    /// How long loading took.
    pub(crate) preparation: Preparation,
}

/// The compiler's settings for a model on this machine.
pub(crate) fn settings(options: &ModelOptions) -> Settings {
    let by_default = CompileOptions::default();
    Settings {
        import: ImportOptions {
            batch: options.most_samples(),
            shapes: options.shape.iter().cloned().collect(),
        },
        target: None,
        cpus: options.cpu.clone(),
        compile: CompileOptions {
            schedule: Preferences {
                winograd: !options.no_winograd,
                winograd_of_bytes: options.int8_winograd,
                bfloat16: bfloat16(options.precision),
                portable_bits: options.portable_bits,
                ..Preferences::default()
            },
            threads: program::available_threads(),
            memory: options.max_memory.unwrap_or(by_default.memory),
            ..by_default
        },
    }
}

fn bfloat16(precision: Arithmetic) -> Bfloat16 {
    match precision {
        Arithmetic::F32 => Bfloat16::Never,
        Arithmetic::Bf16 => Bfloat16::Required,
        Arithmetic::Auto => Bfloat16::WhereFaster,
    }
}

/// The same where an ISA may be asked for by name: without a CPU, that is compiled for.
pub(crate) fn settings_for(options: &ModelOptions, isa: &IsaOption) -> Settings {
    let mut settings = settings(options);
    if settings.cpus.is_empty() {
        settings.cpus.extend(isa.name().map(str::to_owned));
    }
    settings
}

/// Takes the schedule's text that options name, if they name any.
///
/// # Errors
/// Those of reading it, and choices that cannot be taken.
pub(crate) fn schedule(
    file: &ModelFile,
    model: &Model,
    settings: &mut Settings,
    options: &ModelOptions,
) -> Outcome {
    match &options.schedule {
        Some(schedule) => text_model::take_schedule((file, model), settings, schedule),
        None => Ok(()),
    }
}

/// Loads an artifact, or compiles an ONNX model in memory and loads that. `given` are the inputs at
/// hand: their shapes are used where the model and the options leave shapes open. `isa` is the CPU
/// whose code shall run.
///
/// # Errors
/// Everything that is wrong with the model, or with options for it.
pub(crate) fn load(
    file: &ModelFile,
    options: &ModelOptions,
    isa: &IsaOption,
    given: &Named,
) -> Outcome<Loaded> {
    if file.is_artifact() {
        return load_artifact(file, options, isa);
    }
    let progress = progress(format!("compiling {}", file.name()));
    let begin = Instant::now();
    let mut settings = settings_for(options, isa);
    let model = import_for(file, &settings, given)?;
    schedule(file, &model, &mut settings, options)?;
    let compiled = engine::compile(&model, &settings);
    let artifact = compiled.and_then(|compiled| compiled.to_artifact());
    let artifact = artifact.map_err(|error| refused(file, error))?;
    let compile_ms = Some(milliseconds(begin));
    progress.finish_and_clear();
    let begin = Instant::now();
    let program = Program::load(artifact, isa.name(), &file.name())?;
    let preparation = Preparation { compile_ms, load_ms: milliseconds(begin) };
    Ok(Loaded { program, source: Some((model, settings)), preparation })
}

/// What became of the model in the code that runs.
///
/// # Errors
/// What the compiler refuses, or that the artifact does not say it.
pub(crate) fn running(file: &ModelFile, loaded: &Loaded) -> Outcome<Running> {
    let running = match &loaded.source {
        Some((model, settings)) => Running::of_model(model, settings, &loaded.program),
        None => Running::of_artifact(&loaded.program),
    };
    running.map_err(|error| refused(file, error))
}

fn load_artifact(file: &ModelFile, options: &ModelOptions, isa: &IsaOption) -> Outcome<Loaded> {
    // Checking has all of the file in memory at once.
    own_pages::give_back();
    let begin = Instant::now();
    let artifact = program::open_artifact(file.bytes.clone(), &file.name())?;
    let program = Program::load(artifact, isa.name(), &file.name())?;
    file.pages.give_back();
    let preparation = Preparation { compile_ms: None, load_ms: milliseconds(begin) };
    check_options(program.inputs(), options)?;
    Ok(Loaded { program, source: None, preparation })
}

/// Imports a model. One that fixes another batch than the options ask for gets that, once it has been run both
/// ways.
///
/// # Errors
/// [`Failure::Model`], and those of [`rebatch::import`].
pub(crate) fn import(file: &ModelFile, settings: &Settings) -> Outcome<Model> {
    match import_as_it_is(file, &settings.import) {
        Err(Failure::Model { error, .. }) if engine::fixed_batch(&error).is_some() => {
            rebatch::import(file, settings, error)
        }
        other => other,
    }
}

/// Imports a model that leaves open what the options say.
fn import_as_it_is(file: &ModelFile, options: &ImportOptions) -> Outcome<Model> {
    if text_model::is_text(&file.bytes) {
        return text_model::import(file, options);
    }
    if file.weights.is_some() {
        return Err(Failure::usage(format!(
            "--weights-from is for a graph's text, and `{}` is none",
            file.name()
        ))
        .with_help("leave it out: an .onnx has its weights"));
    }
    check_kind(file)?;
    let external = file.external_data()?;
    engine::import(file.bytes.clone(), external.as_ref(), options)
        .map_err(|error| refused(file, error))
}

/// Refuses what is easily taken for an ONNX model, with the way to one.
///
/// # Errors
/// [`Failure::BadModel`].
pub(crate) fn check_kind(file: &ModelFile) -> Outcome {
    let Some((what, help)) = file.mistaken() else { return Ok(()) };
    let (file, message) = (file.name(), what.to_owned());
    Err(Failure::BadModel { file, message, help: Some(help.to_owned()) })
}

/// A model that the compiler refuses.
pub(crate) fn refused(file: &ModelFile, error: impl Into<Box<ModelError>>) -> Failure {
    Failure::Model { file: file.name(), error: error.into() }
}

/// Imports a model for inputs of these shapes, as far as it and the options leave them open.
fn import_for(file: &ModelFile, settings: &Settings, given: &Named) -> Outcome<Model> {
    // A text has its shapes.
    if text_model::is_text(&file.bytes) {
        return import(file, settings);
    }
    let mut settings = settings.clone();
    loop {
        let error = match import_for_batch(file, &settings, batch_of(given)) {
            Err(Failure::Model { error, .. }) => error,
            other => return other,
        };
        let input = engine::input_of_unknown_shape(&error).map(str::to_owned);
        let shape = input.as_deref().and_then(|input| shape_of(given, input));
        match input.zip(shape) {
            Some((input, shape)) if !settings.import.shapes.contains_key(&input) => {
                settings.import.shapes.insert(input, shape);
            }
            Some(_) | None => return Err(refused(file, error)),
        }
    }
}

/// The shape of what is given for an input: by its name, or as the only one without any.
fn shape_of(given: &Named, input: &str) -> Option<Vec<usize>> {
    let named = given.iter().find(|(name, _)| name.as_deref() == Some(input));
    let found = match &given[..] {
        [only @ (None, _)] => Some(only),
        _ => named,
    };
    found.map(|(_, array)| array.shape.clone()).filter(|shape| !shape.contains(&0))
}

fn import_for_batch(file: &ModelFile, settings: &Settings, batch: Option<usize>) -> Outcome<Model> {
    let options = &settings.import;
    if batch.is_none() || options.batch.is_some() || !options.shapes.is_empty() {
        return import(file, settings);
    }
    let with_batch = ImportOptions { batch, ..options.clone() };
    match import_as_it_is(file, &with_batch) {
        // The model fixes another batch: the inputs do not fit, and their check says so better.
        Err(Failure::Model { error, .. }) if engine::is_bad_option(&error) => {
            import(file, settings)
        }
        other => other,
    }
}

/// Refuses options of compiling for an artifact of which a stage is shown; `--cpu` says whose.
///
/// # Errors
/// [`Failure::Usage`].
pub(crate) fn check_shown(artifact: &Artifact, options: &ModelOptions) -> Outcome {
    let inputs: Vec<Spec> = artifact.inputs().iter().map(program::spec).collect();
    check_options(&inputs, &ModelOptions { cpu: Vec::new(), ..options.clone() })
}

/// An artifact is compiled already: options may confirm what it is, but not change it.
fn check_options(inputs: &[Spec], options: &ModelOptions) -> Outcome {
    let fixed = |what: &str| {
        Failure::usage(format!("{what}, and the model is compiled already"))
            .with_help("compile the .onnx again with this option")
    };
    let ModelOptions { shape, cpu, max_memory, .. } = options;
    let ModelOptions { no_winograd, int8_winograd, precision, portable_bits, .. } = options;
    let ModelOptions { schedule, weights_from, .. } = options;
    let is_rounded = *precision != Arithmetic::F32;
    let is_flagged = *no_winograd || *int8_winograd || is_rounded || *portable_bits;
    let is_from_texts = schedule.is_some() || weights_from.is_some();
    if !cpu.is_empty() || is_flagged || is_from_texts || max_memory.is_some() {
        return Err(fixed(
            "--cpu, --no-winograd, --int8-winograd, --precision, --portable-bits, --schedule, --weights-from \
             and --max-memory say how to compile",
        ));
    }
    let another = |batch: usize| inputs.iter().any(|spec| spec.shape.first() != Some(&batch));
    if let Some(batch) = options.most_samples().filter(|batch| another(*batch)) {
        return Err(fixed(&format!("--batch {batch} is not the model's")));
    }
    for (name, shape) in shape {
        if !inputs.iter().any(|spec| spec.name == *name && spec.shape == *shape) {
            return Err(fixed(&format!("--shape {name} is not the model's")));
        }
    }
    Ok(())
}

/// The outermost extent that all tensors share.
fn batch_of(given: &Named) -> Option<usize> {
    let mut batches = given.iter().map(|(_, array)| array.shape.first().copied());
    let first = batches.next()??;
    (first > 0 && batches.all(|batch| batch == Some(first))).then_some(first)
}

/// A spinner on stderr, when that is a terminal.
pub(crate) fn progress(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner()
        .with_message(text::line(&message))
        .with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    // Elsewhere nothing is drawn, and a thread would be for nothing.
    if stderr().is_terminal() {
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    bar
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use cardinal_runtime::DType;

    use super::*;

    #[test]
    fn options_may_confirm_an_artifact_but_not_change_it() {
        let inputs = [Spec { name: "x".into(), dtype: DType::F32, shape: vec![2, 3] }];
        let batch = |n| ModelOptions {
            batch: NonZeroUsize::new(n).into_iter().collect(),
            ..Default::default()
        };
        let shape = |s: &[usize]| ModelOptions {
            shape: vec![("x".into(), s.to_vec())],
            ..Default::default()
        };
        let direct = ModelOptions { no_winograd: true, ..Default::default() };
        assert!(check_options(&inputs, &ModelOptions::default()).is_ok());
        assert!(check_options(&inputs, &batch(2)).is_ok());
        assert!(check_options(&inputs, &shape(&[2, 3])).is_ok());
        let small = ModelOptions { max_memory: Some(1), ..Default::default() };
        for bad in [batch(1), shape(&[1, 3]), direct, small] {
            assert!(matches!(check_options(&inputs, &bad), Err(Failure::Usage { .. })));
        }
    }
}
