//! `compile --sample` and `--max-error`: what rounding changes on samples, and which convolutions may round for that to
//! stay within an allowance.
//!
//! The errors that layers bring in are as good as independent of each other, so their squares add up. Each kind of
//! layer is run once in each of its ways that round, with all others in f32; [`kinds`] takes the cheapest combination
//! whose squares are within what is allowed, and that is run too. Where it is beyond all the same, less is allowed.

mod kinds;
mod report;

use std::num::NonZeroUsize;

use indicatif::ProgressBar;

use crate::engine::{self, Choices, Model, Settings};
use crate::exit::{Failure, Outcome};
use crate::image_input::ImageOptions;
use crate::loading;
use crate::model_file::ModelFile;
use crate::program::Program;
use crate::samples::{Agreement, Feed, Outputs, Read, Samples, compare, outputs};

use kinds::{Kind, choices, fit, kinds};
pub(crate) use report::Sampled;

/// How often less is allowed, before everything stays in f32.
const ATTEMPTS: usize = 6;
/// What is aimed at, as a part of what is allowed, where a combination was beyond it.
const CARE: f64 = 0.9;

/// What is measured, and on what.
pub(crate) struct Request<'a> {
    pub(crate) file: &'a ModelFile,
    pub(crate) model: &'a Model,
    pub(crate) settings: &'a Settings,
    pub(crate) samples: &'a Samples,
    /// The most that outputs may change, in their standard deviations.
    pub(crate) max_error: Option<f64>,
    /// Threads to run on.
    pub(crate) threads: NonZeroUsize,
}

/// Measures what rounding changes and, where that is beyond what is allowed, chooses what stays in f32: for each CPU of
/// the settings that this machine can run. What is worst of them is what is said.
///
/// # Errors
/// [`Failure::Usage`] where nothing can be measured here, [`Failure::Mismatch`] where weights alone change more than is
/// allowed, what is wrong with the samples for this model, and those of compiling and running.
pub(crate) fn choose(request: &Request<'_>, progress: &ProgressBar) -> Outcome<(Choices, Sampled)> {
    let cpus = engine::cpus(request.settings).map_err(|e| loading::refused(request.file, e))?;
    let mut all = request.settings.compile.schedule.choices.clone();
    let mut worst: Option<Sampled> = None;
    for cpu in cpus.iter().filter(|cpu| cpu.obstacle.is_none()) {
        let (choices, sampled) = on_cpu(request, &cpu.settings, progress)?;
        all.extend(choices);
        let is_worse = worst.as_ref().is_none_or(|w| sampled.agreement.error > w.agreement.error);
        if is_worse {
            worst = Some(sampled);
        }
    }
    let obstacle = || cpus.iter().find_map(|cpu| cpu.obstacle.clone()).unwrap_or_default();
    let measured = worst.ok_or_else(|| {
        Failure::usage(format!(
            "what rounding changes cannot be measured: this machine {}",
            obstacle()
        ))
        .with_help("compile on a machine that runs the code, or leave out --sample and --max-error")
    })?;
    Ok((all, measured))
}

fn on_cpu(
    request: &Request<'_>,
    settings: &Settings,
    progress: &ProgressBar,
) -> Outcome<(Choices, Sampled)> {
    let refused = |error| loading::refused(request.file, error);
    let exact = request.load(&engine::in_f32(settings))?;
    let image = ImageOptions::default();
    let mut feed = Feed::new(&exact, &image, request.file.name());
    let (samples, own) = (request.samples, exact.outputs().len());
    let (expected, read) = outputs((&exact, request.threads), own, (samples, &mut feed))?;
    let layers = engine::layers(request.model, settings).map_err(refused)?;
    let mut search = Search { request, settings, expected, feed, progress };
    let (kinds, agreement) = search.within(kinds(&layers))?;
    let stays = |kind: &&Kind| kind.taken == 0;
    let stays = kinds.iter().filter(stays).flat_map(|kind| kind.layers.clone()).collect();
    let because = |kind: &Kind| match kind.taken {
        0 => "products of bfloat16 would change the outputs too much".to_owned(),
        _ => String::new(),
    };
    // Where nothing was to be chosen, what the estimates say needs no saying.
    let is_changed = kinds.iter().any(|kind| kind.taken != 1);
    let choices = if is_changed { choices(&kinds, because) } else { Choices::new() };
    let layers = layers.iter().filter(|layer| layer.taken.rounds()).count();
    let (are_random, max_error) = (samples.are_random(), request.max_error);
    Ok((choices, Sampled { agreement, read, are_random, max_error, stays, layers }))
}

impl Request<'_> {
    fn load(&self, settings: &Settings) -> Outcome<Program> {
        let refused = |error| loading::refused(self.file, error);
        let compiled = engine::compile(self.model, settings).map_err(refused)?;
        Program::load(compiled.to_artifact().map_err(refused)?, None, &self.file.name())
    }
}

/// The model in f32, and what others are compared with it on.
struct Search<'a, 'f> {
    request: &'a Request<'a>,
    settings: &'a Settings,
    expected: Outputs,
    feed: Feed<'f>,
    progress: &'a ProgressBar,
}

impl Search<'_, '_> {
    /// The kinds, each with the way that it is computed in, and how that compares with f32.
    fn within(&mut self, mut kinds: Vec<Kind>) -> Outcome<(Vec<Kind>, Agreement)> {
        self.progress.set_message("running the model on samples");
        let most = self.run(&Choices::new())?;
        let Some(allowed) = self.request.max_error.filter(|allowed| !within(most, *allowed)) else {
            return Ok((kinds, most));
        };
        let none = self.in_f32(&mut kinds)?;
        if !within(none, allowed) {
            return Err(beyond(none, allowed));
        }
        self.measure(&mut kinds, none)?;
        let mut aim = allowed;
        for _ in 0..ATTEMPTS {
            fit(&mut kinds, aim.powi(2) - none.error.powi(2));
            let agreement = self.run(&choices(&kinds, |_| String::new()))?;
            if within(agreement, allowed) {
                return Ok((kinds, agreement));
            }
            aim *= CARE * (allowed / agreement.error).clamp(0.1, 1.);
        }
        let none = self.in_f32(&mut kinds)?;
        Ok((kinds, none))
    }

    /// Computes all kinds in f32.
    fn in_f32(&mut self, kinds: &mut [Kind]) -> Outcome<Agreement> {
        kinds.iter_mut().for_each(|kind| kind.taken = 0);
        self.run(&choices(kinds, |_| String::new()))
    }

    /// Runs each kind alone in each of its ways that round.
    fn measure(&mut self, kinds: &mut [Kind], none: Agreement) -> Outcome {
        let count: usize = kinds.iter().map(|kind| kind.ways.len() - 1).sum();
        let mut done = 0;
        for at in 0..kinds.len() {
            for way in 1..kinds[at].ways.len() {
                done += 1;
                self.progress.set_message(format!("measuring errors, {done} of {count}"));
                kinds[at].taken = way;
                let agreement = self.run(&choices(kinds, |_| String::new()))?;
                let added = agreement.error.powi(2) - none.error.powi(2);
                kinds[at].ways[way].error =
                    if added.is_nan() { f64::INFINITY } else { added.max(0.) };
            }
            kinds[at].taken = 0;
        }
        Ok(())
    }

    fn run(&mut self, choices: &Choices) -> Outcome<Agreement> {
        let mut settings = self.settings.clone();
        settings.compile.schedule.choices.extend(choices.clone());
        let program = self.request.load(&settings)?;
        let (running, own) = ((&program, self.request.threads), program.outputs().len());
        let (actual, _): (Outputs, Read) =
            outputs(running, own, (self.request.samples, &mut self.feed))?;
        Ok(compare(&actual, &self.expected))
    }
}

/// An error that is not a number is within nothing.
fn within(agreement: Agreement, allowed: f64) -> bool {
    agreement.error <= allowed
}

fn beyond(agreement: Agreement, allowed: f64) -> Failure {
    let error = agreement.error;
    let message = if error.is_finite() {
        format!(
            "even with all products in f32 outputs change by {error:.4} of their standard deviation, of which {allowed} is allowed"
        )
    } else {
        "outputs are not finite for these samples, or the same for all, so that a change has no measure".into()
    };
    Failure::Mismatch(message)
}
