//! Models that are quantized.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::ProgressBar;

use super::images::ImageOptions;
use super::model::{Options, Source};
use super::refusal::Refusal;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::program;
use crate::quantize::{self, Report, Request, Subject};
use crate::samples::Samples;

/// How a model is quantized: the options of `cardinal quantize`.
#[derive(Debug, Clone, Default)]
pub struct Quantization {
    /// `--calibrate`: images, arrays, and folders of these.
    pub calibrate: Vec<PathBuf>,
    /// `--test`; that of calibrating where there is none.
    pub test: Vec<PathBuf>,
    /// `--agree`, in percent.
    pub agree: Option<f64>,
    /// `--threads`; all of this machine's where there is none.
    pub threads: Option<NonZeroUsize>,
    /// How images are made inputs.
    pub images: ImageOptions,
    /// How to read and run the model.
    pub options: Options,
}

/// Quantizes a model, as `cardinal quantize` does, into a file that takes its place when it is whole. What
/// came of it is JSON (cardinal.quantize/v1). How images are prepared is said on stderr.
///
/// # Errors
/// What is wrong with the model, with the samples for it, or with the output.
pub fn quantize(model: Source<'_>, path: &Path, asked: &Quantization) -> Result<String, Refusal> {
    Ok(write(model, path, asked)?)
}

fn write(model: Source<'_>, path: &Path, asked: &Quantization) -> Outcome<String> {
    let begin = Instant::now();
    if asked.agree.is_some_and(|percent| !(0. ..=100.).contains(&percent)) {
        return Err(Failure::usage("what agrees is a number of percent from 0 to 100"));
    }
    let calibration = Samples::of(&asked.calibrate)?;
    let test = match asked.test.as_slice() {
        [] => calibration.clone(),
        paths => Samples::of(paths)?,
    };
    let file = model.open()?;
    let threads = asked.threads.unwrap_or_else(program::available_threads);
    let subject = Subject::open(&file, asked.options.settings()?, threads)?;
    let image = &asked.images.parse()?;
    let request = Request { calibration: &calibration, test: &test, image, agree: asked.agree };
    let made = quantize::quantize(&subject, &request, &ProgressBar::hidden())?;
    let bytes = subject.accepted(made.to_bytes())?;
    output::write(path, &bytes)?;
    let (model, sizes) = (file.name(), (file.bytes.len(), bytes.len()));
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Report { model, output: path, sizes, made: &made, seconds }.to_json().to_string())
}
