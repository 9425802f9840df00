//! `cardinal quantize`: a model with its convolutions in 8 bits.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::args::{Arithmetic, QuantizeArgs};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::program;
use crate::quantize::{Report, Request, Subject, quantize};
use crate::samples::Samples;
use crate::stdio::is_dash;
use crate::{output, render};

pub(crate) fn run(args: &QuantizeArgs) -> Outcome {
    let begin = Instant::now();
    let path = output::place(args.output.as_deref(), default_output(&args.model));
    let calibration = Samples::of(&args.calibrate)?;
    let test = match args.test.as_slice() {
        [] => calibration.clone(),
        paths => Samples::of(paths)?,
    };
    check(args, &path, &[&calibration, &test])?;
    let file = ModelFile::open(&args.model)?;
    loading::refuse_all_texts(&file, &args.options)?;
    let progress = loading::progress(format!("compiling {}", file.name()));
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let subject = Subject::open(&file, loading::settings(&args.options), threads)?;
    let (calibration, test, image) = (&calibration, &test, &args.image);
    let request = Request { calibration, test, image, agree: args.agree };
    let made = quantize(&subject, &request, &progress)?;
    let bytes = subject.accepted(made.to_bytes())?;
    progress.finish_and_clear();
    output::write(&path, &bytes)?;
    let (model, sizes) = (file.name(), (file.bytes.len(), bytes.len()));
    let seconds = begin.elapsed().as_secs_f64();
    if is_dash(&path) {
        return Ok(());
    }
    render::note(format_args!("{model} -> {}, in {seconds:.2} s", path.display()));
    Report { model, output: &path, sizes, made: &made, seconds }.print(args.json)
}

/// Refuses what cannot be, before anything is read.
fn check(args: &QuantizeArgs, path: &Path, samples: &[&Samples]) -> Outcome {
    let stdin = samples.iter().any(|samples| samples.read_stdin());
    if stdin {
        return Err(Failure::usage("samples are read more than once, which stdin cannot be")
            .with_help("save them to a file first"));
    }
    if args.json && is_dash(path) {
        return Err(Failure::usage("standard output can take the model or the JSON")
            .with_help("name a file for the model, such as `-o model.int8.onnx`"));
    }
    if args.options.precision != Arithmetic::F32 {
        return Err(Failure::usage(
            "ranges are those of values in f32, whatever they are compiled for later",
        )
        .with_help("leave out --precision here, and give it to compile"));
    }
    let inputs = args.calibrate.iter().chain(&args.test).chain([&args.model]);
    output::check(path, &inputs.map(PathBuf::as_path).collect::<Vec<_>>())
}

fn default_output(model: &Path) -> PathBuf {
    let stem = if is_dash(model) { None } else { model.file_stem() };
    let mut name = stem.unwrap_or("model".as_ref()).to_owned();
    name.push(".int8.onnx");
    name.into()
}
