//! Post-training quantization: ranges of values from samples, and what rounding changes.
//!
//! [`subject`] is the float model; [`mod@observe`] runs it on samples and keeps a histogram of each value that
//! will be rounded, from which the compiler chooses where its grid ends; a [`trial`] runs the quantized model
//! and compares it with the float one, and [`report`] says what came of it.

mod observe;
mod report;
mod subject;
mod trial;

use std::collections::{BTreeMap, BTreeSet};

use indicatif::ProgressBar;

use crate::engine::quantize::Range;
use crate::exit::Outcome;
use crate::image_input::ImageOptions;
use crate::samples::{Agreement, Feed, Read, Samples, outputs};

pub(crate) use report::Report;
pub(crate) use subject::Subject;

use observe::observe;
use report::metadata;
use trial::{Trial, Trials};

/// What a model is quantized with.
pub(crate) struct Request<'a> {
    /// What ranges are taken from.
    pub(crate) calibration: &'a Samples,
    /// What the models are compared on.
    pub(crate) test: &'a Samples,
    /// How images are made inputs.
    pub(crate) image: &'a ImageOptions,
    /// For how many percent of the test the top class must stay.
    pub(crate) agree: Option<f64>,
}

/// What came of it.
pub(crate) struct Made {
    /// The quantized model.
    pub(crate) trial: Trial,
    /// How it compares with no layer in float.
    pub(crate) before: Agreement,
    /// The layers that could be quantized and are not.
    pub(crate) kept: Vec<String>,
    /// The range of each rounded value.
    pub(crate) ranges: BTreeMap<String, Range>,
    /// The samples of the calibration.
    pub(crate) calibration: Read,
    /// Those of the test.
    pub(crate) test: Read,
}

impl Made {
    /// The quantized model, which says of itself what was measured.
    ///
    /// # Errors
    /// Those of writing it.
    pub(crate) fn to_bytes(&self) -> cardinal_compiler::error::Result<Vec<u8>> {
        let Made { trial, kept, calibration, test, .. } = self;
        trial.quantized.to_bytes(&metadata((calibration, test), trial.agreement, kept))
    }
}

/// Quantizes a model.
///
/// # Errors
/// Those of the compiler, and what is wrong with the samples for this model.
pub(crate) fn quantize(
    subject: &Subject<'_>,
    request: &Request<'_>,
    progress: &ProgressBar,
) -> Outcome<Made> {
    let (quantizer, nothing) = (&subject.quantizer, BTreeSet::new());
    let points = quantizer.points(&nothing);
    let float = subject.load(subject.accepted(quantizer.observed())?)?;
    let mut feed = Feed::new(&float, request.image, subject.name());
    let running = (&float, subject.threads);
    let observed = observe(running, &points, (request.calibration, &mut feed), progress)?;
    let ranges = observed.ranges(&points);
    progress.set_message("running the float model");
    let own = quantizer.outputs();
    let (expected, test) = outputs(running, own, (request.test, &mut feed))?;
    let (seen, samples) = (observed.seen(&ranges), request.test);
    let mut trials = Trials { subject, seen, expected, samples, feed: &mut feed, progress };
    let mut trial = trials.run(&nothing)?;
    let before = trial.agreement;
    if let Some(percent) = request.agree.filter(|percent| !before.is_at_least(*percent)) {
        trial = trials.fewest(percent, &trial.quantized.layers, &ranges)?;
    }
    let mut kept = quantizer.layers(&nothing);
    kept.retain(|name| trial.quantized.layers.iter().all(|layer| layer.name != *name));
    Ok(Made { trial, before, kept, ranges, calibration: observed.read, test })
}
