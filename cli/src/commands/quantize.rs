//! `cardinal quantize`: a model with its convolutions in 8 bits.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::ProgressBar;

use crate::args::QuantizeArgs;
use crate::engine::quantize::{Layer, Quantized, Quantizer, Seen};
use crate::engine::{self, Settings};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::program::{self, Program};
use crate::quantize::{
    Agreement, Feed, Outputs, Range, Read, Report, Samples, compare, metadata, observe, outputs,
};
use crate::stdio::is_dash;
use crate::{output, render};

pub(crate) fn run(args: &QuantizeArgs) -> Outcome {
    let begin = Instant::now();
    let path = args.output.clone().unwrap_or_else(|| default_output(&args.model));
    let [calibration, test] = [&args.calibrate, &args.test].map(|paths| Samples::of(paths));
    let (calibration, test) = (calibration?, test?);
    check(args, &path, &[&calibration, &test])?;
    let file = ModelFile::open(&args.model)?;
    let work = Work::new(args, &file)?;
    let test = if args.test.is_empty() { &calibration } else { &test };
    let progress = loading::progress(format!("compiling {}", file.name()));
    let result = work.quantize(&calibration, test, &progress)?;
    let kept = result.trial.kept(&work.quantizer);
    let reads = (&result.calibration, &result.test);
    let metadata = metadata(reads, result.trial.agreement, &kept);
    let bytes = result.trial.quantized.to_bytes(&metadata);
    let bytes = bytes.map_err(|error| loading::refused(&file, error))?;
    progress.finish_and_clear();
    output::write(&path, &bytes)?;
    let report = Report {
        model: file.name(),
        output: &path,
        sizes: (file.bytes.len(), bytes.len()),
        layers: &result.trial.quantized.layers,
        kept: &kept,
        ranges: &result.ranges,
        calibration: &result.calibration,
        test: &result.test,
        agreement: result.trial.agreement,
        before: result.before,
        seconds: begin.elapsed().as_secs_f64(),
    };
    if !is_dash(&path) {
        let seconds = begin.elapsed().as_secs_f64();
        let (model, path) = (file.name(), path.display());
        render::note(format_args!("{model} -> {path}, in {seconds:.2} s"));
        return report.print(args.json);
    }
    Ok(())
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
    let inputs = args.calibrate.iter().chain(&args.test).chain([&args.model]);
    output::check(path, &inputs.map(PathBuf::as_path).collect::<Vec<_>>())
}

/// A model that is being quantized.
struct Work<'a> {
    args: &'a QuantizeArgs,
    file: &'a ModelFile,
    settings: Settings,
    quantizer: Quantizer,
    threads: NonZeroUsize,
}

/// What comes of it.
struct Outcomes {
    trial: Trial,
    /// With every convolution in 8 bits.
    before: Agreement,
    ranges: BTreeMap<String, Range>,
    calibration: Read,
    test: Read,
}

/// A quantized model, and how it compares.
struct Trial {
    quantized: Quantized,
    agreement: Agreement,
}

/// What every trial needs.
struct Basis<'a> {
    seen: &'a BTreeMap<String, Seen>,
    /// Of the float model.
    expected: &'a Outputs,
}

impl<'a> Work<'a> {
    fn new(args: &'a QuantizeArgs, file: &'a ModelFile) -> Outcome<Work<'a>> {
        if file.is_artifact() {
            return Err(Failure::usage(format!("`{}` is compiled already", file.name()))
                .with_help("quantize the .onnx that it was compiled from, and compile that"));
        }
        let settings = loading::settings(&args.options);
        let external = file.external_data()?;
        let quantizer = Quantizer::open(&file.bytes, external.as_ref(), &settings.import)
            .map_err(|error| loading::refused(file, error))?;
        let threads = args.threads.unwrap_or_else(program::available_threads);
        Ok(Work { args, file, settings, quantizer, threads })
    }

    fn quantize(
        &self,
        calibration: &Samples,
        test: &Samples,
        progress: &ProgressBar,
    ) -> Outcome<Outcomes> {
        let points = self.quantizer.points(&BTreeSet::new());
        let float = self.quantizer.observed();
        let float = self.load(float.map_err(|error| loading::refused(self.file, error))?)?;
        let own = self.quantizer.outputs();
        let mut feed = Feed::new(&float, &self.args.image, self.file.name());
        let running = (&float, self.threads);
        let observed = observe(running, &points, (calibration, &mut feed), progress)?;
        let ranges = observed.ranges(&points);
        let seen = observed.seen(&ranges);
        progress.set_message("running the float model");
        let (expected, test_read) = outputs(running, own, (test, &mut feed))?;
        let basis = Basis { seen: &seen, expected: &expected };
        let mut trial = |kept: &BTreeSet<String>| {
            progress.set_message(match kept.len() {
                0 => "running the quantized model".into(),
                n => format!("running it with {n} convolutions in float"),
            });
            self.trial(&basis, kept, (test, &mut feed))
        };
        let all = trial(&BTreeSet::new())?;
        let before = all.agreement;
        let trial = match self.args.agree {
            Some(percent) if !before.is_at_least(percent) => {
                fewest(&worst_first(&all.quantized.layers, &ranges), percent, &mut trial)?
            }
            Some(_) | None => all,
        };
        Ok(Outcomes { trial, before, ranges, calibration: observed.read, test: test_read })
    }

    fn trial(
        &self,
        basis: &Basis<'_>,
        kept: &BTreeSet<String>,
        samples: (&Samples, &mut Feed<'_>),
    ) -> Outcome<Trial> {
        let refused = |error| loading::refused(self.file, error);
        let quantized = self.quantizer.quantized(basis.seen, kept).map_err(refused)?;
        let program = self.load(quantized.to_bytes(&[]).map_err(refused)?)?;
        let own = program.outputs().len();
        let (actual, _) = outputs((&program, self.threads), own, samples)?;
        Ok(Trial { quantized, agreement: compare(&actual, basis.expected) })
    }

    /// Compiles a model for this machine.
    fn load(&self, model: Vec<u8>) -> Outcome<Program> {
        let refused = |error| loading::refused(self.file, error);
        let model = engine::import_whole(model.into(), &self.settings.import).map_err(refused)?;
        let compiled = engine::compile(&model, &self.settings).map_err(refused)?;
        let artifact = compiled.to_artifact().map_err(refused)?;
        Program::load(artifact, None, &self.file.name())
    }
}

impl Trial {
    /// The convolutions that could be quantized and are not.
    fn kept(&self, quantizer: &Quantizer) -> Vec<String> {
        let mut all = quantizer.convolutions(&BTreeSet::new());
        all.retain(|name| self.quantized.layers.iter().all(|layer| layer.name != *name));
        all
    }
}

/// The names of layers by the noise that their weights and inputs add, the most first.
fn worst_first(layers: &[Layer], ranges: &BTreeMap<String, Range>) -> Vec<String> {
    let noise = |layer: &Layer| {
        let input = ranges.get(&layer.input).map_or(0., |range| 1. / range.signal_to_noise);
        input + 1. / layer.weights
    };
    let mut order: Vec<&Layer> = layers.iter().collect();
    order.sort_by(|a, b| noise(b).total_cmp(&noise(a)));
    order.into_iter().map(|layer| layer.name.clone()).collect()
}

/// A trial that agrees for so many percent of the samples with as few layers in float as may be, taken
/// from the front of `order`: their number is doubled until it is enough, and then halved in between.
fn fewest(
    order: &[String],
    percent: f64,
    run: &mut dyn FnMut(&BTreeSet<String>) -> Outcome<Trial>,
) -> Outcome<Trial> {
    let (mut too_few, mut enough) = (0, 1.min(order.len()));
    let mut front = |count: usize| run(&order[..count].iter().cloned().collect());
    let mut best = front(enough)?;
    while !best.agreement.is_at_least(percent) && enough < order.len() {
        (too_few, enough) = (enough, (enough * 2).min(order.len()));
        best = front(enough)?;
    }
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        let trial = front(middle)?;
        if trial.agreement.is_at_least(percent) {
            (enough, best) = (middle, trial);
        } else {
            too_few = middle;
        }
    }
    Ok(best)
}

fn default_output(model: &Path) -> PathBuf {
    let stem = if is_dash(model) { None } else { model.file_stem() };
    let mut name = stem.unwrap_or("model".as_ref()).to_owned();
    name.push(".int8.onnx");
    name.into()
}
