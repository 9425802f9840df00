//! `cardinal compile`: a model to a file.

mod change;
mod native;
mod summary;

use std::path::{Path, PathBuf};
use std::time::Instant;

use cardinal_runtime::{Artifact, text};
use indicatif::ProgressBar;

use crate::args::{CompileArgs, Emit};
use crate::engine::{self, Compiled, Model, Settings};
use crate::executable::{self, Sample};
use crate::exit::{Failure, Outcome};
use crate::image_input;
use crate::loading;
use crate::max_error::{self, Sampled};
use crate::model_file::ModelFile;
use crate::output;
use crate::render;
use crate::stdio::is_dash;
use crate::tune;

use change::Change;
use summary::Summary;

pub(crate) fn run(args: &CompileArgs) -> Outcome {
    let output = output::place(args.output.as_deref(), default_output(&args.model, args.emit));
    let emit = kind_of(args.emit, &output)?;
    check(args, emit, &output)?;
    let signer = args.signing.signer(&output)?;
    let begin = Instant::now();
    let file = ModelFile::open(&args.model)?.with_weights(args.options.weights_from.as_ref());
    if file.is_artifact() {
        return Err(Failure::usage(format!("`{}` is compiled already", file.name()))
            .with_help("compile takes an .onnx model"));
    }
    let inputs = std::iter::once(args.model.as_path()).chain(args.tuning.tune_cache.as_deref());
    let inputs = inputs.chain(args.sampling.sample.iter().map(PathBuf::as_path));
    output::check(&output, &inputs.collect::<Vec<_>>())?;
    let compiling = format!("compiling {}", file.name());
    let progress = loading::progress(compiling.clone());
    let mut settings = settings(args);
    let mut model = loading::import(&file, &settings)?;
    if let Some(preprocess) = &args.preprocess {
        image_input::store(preprocess, &mut model.metadata)?;
    }
    loading::schedule(&file, &model, &mut settings, &args.options)?;
    let refused = |error| loading::refused(&file, error);
    let (tuned, sampled) = measure(args, &file, &mut model, &mut settings, &progress)?;
    progress.set_message(text::line(&compiling));
    let sample = match emit {
        Emit::Exe => Some(executable::sample(&model, &settings, refused)?),
        Emit::Artifact | Emit::Obj | Emit::Shared => None,
    };
    let compiled = engine::compile(&model, &settings).map_err(refused)?;
    check_batches(args, &compiled)?;
    let content = match (emit, engine::may_round(&settings)) {
        (Emit::Artifact, false) => Content::Packed(&compiled),
        (Emit::Artifact | Emit::Exe, _) => {
            Content::Laid(compiled.to_artifact().map_err(refused)?, sample)
        }
        (Emit::Obj | Emit::Shared, _) => {
            let artifact = compiled.to_artifact().map_err(refused)?;
            Content::Native(native::make(emit, &output, &file, &artifact)?, artifact)
        }
    };
    // Whoever gets here has had every one of them proved.
    let proved = args.check_rewrites.then(|| engine::rewrites(&model).map(|all| all.len()));
    let proved = proved.transpose().map_err(refused)?;
    let change = match &content {
        Content::Laid(artifact, _) | Content::Native(_, artifact) => {
            Change::measure(&model, &settings, artifact, refused)?
        }
        Content::Packed(_) => None,
    };
    progress.finish_and_clear();
    content.write(&output, args.with_serve)?;
    signer.map_or(Ok(()), |signer| signer.sign(&output))?;
    Summary {
        model: file.name(),
        output: &output,
        emit,
        weights: args.weights,
        compiled: &compiled,
        change: change.as_ref(),
        sampled: sampled.as_ref(),
        tuned: tuned.as_ref(),
        proved,
        seconds: begin.elapsed().as_secs_f64(),
    }
    .print(args.json)
}

/// Code for a batch takes any smaller one: says so where several are asked for, or why it does not.
fn check_batches(args: &CompileArgs, compiled: &Compiled) -> Outcome {
    let Some(most) = args.options.most_samples().filter(|_| args.options.batch.len() > 1) else {
        return Ok(());
    };
    match &compiled.fixed_by {
        None if most == 1 => Ok(()),
        None => {
            render::note(format_args!(
                "one code for batches of 1 to {most}, the one for {most}, in which few images take longer than in code \
                 for few; compile for these apart where they are what mostly comes"
            ));
            Ok(())
        }
        Some(by) => {
            let what = format!("this model can be compiled for one batch only: {}", text::line(by));
            Err(Failure::usage(what).with_help("compile once for each batch: --batch N"))
        }
    }
}

/// Chooses by measurements, as far as the arguments ask for it. What rounding changes on samples becomes part of
/// what the model says of itself.
fn measure(
    args: &CompileArgs,
    file: &ModelFile,
    model: &mut Model,
    settings: &mut Settings,
    progress: &ProgressBar,
) -> Outcome<(Option<tune::Report>, Option<Sampled>)> {
    let mut tuned = None;
    if args.tune {
        let (choices, report) = tune::tune(file, model, settings, &args.tuning, progress)?;
        settings.compile.schedule.choices = choices;
        tuned = Some(report);
    }
    if !args.sampling.asks() {
        return Ok((tuned, None));
    }
    let samples = &args.sampling.samples()?;
    let (max_error, threads) = (args.sampling.max_error, settings.compile.threads);
    let request = max_error::Request { file, model, settings, samples, max_error, threads };
    let (choices, sampled) = max_error::choose(&request, progress)?;
    settings.compile.schedule.choices = choices;
    model.metadata.extend(sampled.metadata());
    Ok((tuned, Some(sampled)))
}

/// What goes into the output.
enum Content<'a> {
    /// An artifact whose weights are packed as it is written: nothing else needs it.
    Packed(&'a Compiled),
    /// An artifact in memory, or an executable of it.
    Laid(Artifact, Option<Sample>),
    /// An object file or a library, and the artifact in it.
    Native(native::Files, Artifact),
}

impl Content<'_> {
    fn write(&self, output: &Path, with_serve: bool) -> Outcome {
        match self {
            Content::Packed(compiled) => {
                output::write_made(output, &|file| compiled.write_to(file))
            }
            Content::Laid(artifact, None) => output::write(output, artifact.as_bytes()),
            Content::Laid(artifact, Some(sample)) => {
                executable::write(output, artifact, sample, with_serve)
            }
            Content::Native(files, _) => native::write(output, files),
        }
    }
}

/// Refuses what cannot be, before anything is read.
fn check(args: &CompileArgs, emit: Emit, output: &Path) -> Outcome {
    if args.json && is_dash(output) {
        return Err(Failure::usage("standard output can take the model or the JSON")
            .with_help("name a file for the model, such as `-o model.cardinal`"));
    }
    if args.tune && args.options.schedule.is_some() {
        return Err(Failure::usage("--tune chooses what --schedule has chosen already")
            .with_help("leave out one of the two"));
    }
    if args.with_serve && emit != Emit::Exe {
        return Err(Failure::usage("--with-serve is for executables alone").with_help(
            "write one with --emit exe, or serve the artifact: cardinal serve MODEL.cardinal",
        ));
    }
    args.sampling.check(engine::may_round(&settings(args)))?;
    match emit {
        Emit::Artifact => Ok(()),
        Emit::Exe => executable::check_target(args.target.as_deref(), args.with_serve),
        Emit::Obj | Emit::Shared => native::check(output, args),
    }
}

fn settings(args: &CompileArgs) -> Settings {
    let mut settings = Settings { target: args.target.clone(), ..loading::settings(&args.options) };
    let compile = &mut settings.compile;
    compile.check_rewrites = args.check_rewrites;
    compile.threads = args.threads.unwrap_or(compile.threads);
    compile.weights = args.weights.narrow();
    settings
}

fn default_output(model: &Path, emit: Option<Emit>) -> PathBuf {
    let stem = if is_dash(model) { None } else { model.file_stem() };
    let mut name = stem.unwrap_or("model".as_ref()).to_owned();
    name.push(match emit {
        Some(Emit::Obj) => ".o",
        Some(Emit::Shared) => ".so",
        Some(Emit::Exe) => "",
        Some(Emit::Artifact) | None => ".cardinal",
    });
    name.into()
}

fn kind_of(emit: Option<Emit>, output: &Path) -> Outcome<Emit> {
    if let Some(emit) = emit {
        return Ok(emit);
    }
    if is_dash(output) {
        return Ok(Emit::Artifact);
    }
    match output.extension().map(|e| e.to_string_lossy()).as_deref() {
        Some("cardinal") => Ok(Emit::Artifact),
        Some("o") => Ok(Emit::Obj),
        Some("so") => Ok(Emit::Shared),
        None => Ok(Emit::Exe),
        Some(other) => Err(Failure::usage(format!("no kind of output is called .{other}"))
            .with_help("use .cardinal, .o, .so or no extension, or say what to write with --emit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_says_what_is_written_unless_emit_does() {
        let kind = |path: &str| kind_of(None, Path::new(path)).ok();
        assert_eq!(kind("a/m.cardinal"), Some(Emit::Artifact));
        assert_eq!(kind("-"), Some(Emit::Artifact));
        assert_eq!(kind("m.o"), Some(Emit::Obj));
        assert_eq!(kind("m.so"), Some(Emit::Shared));
        assert_eq!(kind("a.b/m"), Some(Emit::Exe));
        assert_eq!(kind("m.onnx"), None);
        assert_eq!(kind_of(Some(Emit::Artifact), Path::new("m.bin")).ok(), Some(Emit::Artifact));
    }

    #[test]
    fn the_default_output_is_in_this_folder() {
        let output = |model: &str, emit| default_output(Path::new(model), emit);
        assert_eq!(output("/a/b/r50.v2.onnx", None), Path::new("r50.v2.cardinal"));
        assert_eq!(output("-", None), Path::new("model.cardinal"));
        assert_eq!(output("a/r50.onnx", Some(Emit::Obj)), Path::new("r50.o"));
        assert_eq!(output("r50.onnx", Some(Emit::Shared)), Path::new("r50.so"));
        assert_eq!(output("a/r50.onnx", Some(Emit::Exe)), Path::new("r50"));
    }
}
