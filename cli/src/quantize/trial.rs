//! Quantized models that are run, to see what rounding changes.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::ProgressBar;

use super::subject::Subject;
use crate::engine::quantize::{Layer, Quantized, Range, Seen};
use crate::exit::Outcome;
use crate::samples::{Agreement, Feed, Outputs, Samples, compare, outputs};

/// A quantized model, and how it compares with the float one.
pub(crate) struct Trial {
    /// The model.
    pub(crate) quantized: Quantized,
    /// Its outputs beside the float model's.
    pub(crate) agreement: Agreement,
}

/// What every trial needs.
pub(crate) struct Trials<'a, 'f> {
    /// What is quantized.
    pub(crate) subject: &'a Subject<'a>,
    /// What is known of each value.
    pub(crate) seen: BTreeMap<String, Seen>,
    /// What the float model gives for the samples.
    pub(crate) expected: Outputs,
    /// What models run on.
    pub(crate) samples: &'a Samples,
    /// How they read it.
    pub(crate) feed: &'a mut Feed<'f>,
    /// Says what is done.
    pub(crate) progress: &'a ProgressBar,
}

impl Trials<'_, '_> {
    /// Quantizes the model but for what is in `kept`, and runs it.
    ///
    /// # Errors
    /// Those of the compiler, and of reading the samples.
    pub(crate) fn run(&mut self, kept: &BTreeSet<String>) -> Outcome<Trial> {
        self.progress.set_message(match kept.len() {
            0 => "running the quantized model".into(),
            count => format!("running it with {count} layers in float"),
        });
        let subject = self.subject;
        let quantized = subject.accepted(subject.quantizer.quantized(&self.seen, kept))?;
        let program = subject.load(subject.accepted(quantized.to_bytes(&[]))?)?;
        let (running, own) = ((&program, subject.threads), program.outputs().len());
        let (actual, _) = outputs(running, own, (self.samples, self.feed))?;
        Ok(Trial { quantized, agreement: compare(&actual, &self.expected) })
    }

    /// A trial that agrees for so many percent of the samples with as few layers in float as may be,
    /// those with the most noise first: their number is doubled until it is enough, and then halved
    /// in between.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub(crate) fn fewest(
        &mut self,
        percent: f64,
        layers: &[Layer],
        ranges: &BTreeMap<String, Range>,
    ) -> Outcome<Trial> {
        let order = worst_first(layers, ranges);
        let mut front = |count: usize| self.run(&order[..count].iter().cloned().collect());
        let (mut too_few, mut enough) = (0, 1.min(order.len()));
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
}

/// The names of layers by the noise that their weights and inputs add, the most first.
fn worst_first(layers: &[Layer], ranges: &BTreeMap<String, Range>) -> Vec<String> {
    let noise = |layer: &Layer| {
        let range = layer.input.as_ref().and_then(|input| ranges.get(input));
        let input = range.map_or(0., |range| 1. / range.signal_to_noise);
        input + 1. / layer.weights
    };
    let mut order: Vec<&Layer> = layers.iter().collect();
    order.sort_by(|a, b| noise(b).total_cmp(&noise(a)));
    order.into_iter().map(|layer| layer.name.clone()).collect()
}
