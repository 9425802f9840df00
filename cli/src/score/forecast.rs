//! What to expect of scoring, measured part by part.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::inputs::{Columns, Inputs, Item};
use super::row::Reading;
use crate::exit::{Failure, Outcome};
use crate::program::{Program, Session};
use crate::{output, random};

/// Images that are decoded, at most.
const IMAGES: usize = 256;

/// How long each part is measured at least.
const LEAST: Duration = Duration::from_secs(2);

/// How many images a second the parts of scoring make, and all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forecast {
    /// Images that were decoded.
    images: usize,
    /// Decoding and resizing alone, on all threads.
    decode: f64,
    /// Inference alone, on all threads.
    inference: f64,
}

impl Forecast {
    /// Decodes the first images, and then runs the model on random inputs, each on all threads as scoring
    /// does.
    ///
    /// # Errors
    /// Those of the images and of the model.
    pub(crate) fn measure(
        program: &Program,
        reading: &Reading,
        inputs: &Inputs,
        threads: NonZeroUsize,
    ) -> Outcome<Forecast> {
        let mut items: Vec<Item> = Vec::new();
        inputs.each(0..inputs.len().min(IMAGES), Columns::All, &mut |item| {
            items.push(item);
            Ok(())
        })?;
        let next = AtomicUsize::new(0);
        let decode = per_second(vec![(); threads.get()], &|()| {
            let at = next.fetch_add(1, Ordering::Relaxed) % items.len().max(1);
            match items.get(at).map(|item| reading.decode(item)) {
                Some(Err(failure)) if !failure.is_of_an_image() => Err(failure),
                _ => Ok(1),
            }
        })?;
        let arrays = random::arrays(program.inputs(), 0)?;
        let worker = |_| {
            let session = Session::new(program, NonZeroUsize::MIN)?;
            let prepared = session.prepare(arrays.clone())?;
            Ok((session, prepared))
        };
        let workers = (0..threads.get()).map(worker).collect::<Outcome<Vec<_>>>()?;
        let inference = per_second(workers, &|(session, prepared)| {
            session.run_prepared(prepared).map(|()| program.batch())
        })?;
        Ok(Forecast { images: items.len(), decode, inference })
    }

    /// A thread does first the one and then the other for each image, so times add up.
    fn predicted(self) -> f64 {
        1. / (1. / self.decode + 1. / self.inference)
    }

    /// How much of the time decoding takes.
    fn decode_share(self) -> f64 {
        self.predicted() / self.decode
    }

    /// As a part of the schema cardinal.bench/v1.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "count": self.images,
            "decode_per_second": self.decode,
            "inference_per_second": self.inference,
            "predicted_per_second": self.predicted(),
            "decode_share": self.decode_share(),
        })
    }

    /// Prints a table.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn print(self) -> Outcome {
        let rows = [
            ("decode, resize", self.decode),
            ("inference", self.inference),
            ("score", self.predicted()),
        ];
        let share = 100. * self.decode_share();
        output::print(|out| {
            writeln!(out, "{} images: images/s to expect of `cardinal score`", self.images)?;
            rows.iter().try_for_each(|(name, rate)| writeln!(out, "  {name:<14} {rate:8.1}"))?;
            writeln!(out, "  decoding takes {share:.1} % of the time")
        })
    }
}

/// Lets each worker do `work`, which says how many images it was, again and again for a while.
fn per_second<W: Send>(
    workers: Vec<W>,
    work: &(dyn Fn(&mut W) -> Outcome<usize> + Sync),
) -> Outcome<f64> {
    let measure = |mut worker: W| {
        work(&mut worker)?;
        let begin = Instant::now();
        let mut images = 0;
        while begin.elapsed() < LEAST {
            images += work(&mut worker)?;
        }
        Ok(images as f64 / begin.elapsed().as_secs_f64())
    };
    let rates: Vec<Outcome<f64>> = thread::scope(|scope| {
        let running: Vec<_> =
            workers.into_iter().map(|worker| scope.spawn(move || measure(worker))).collect();
        let ended = |_| Err(Failure::Failed("a measurement has ended early".into()));
        running.into_iter().map(|thread| thread.join().unwrap_or_else(ended)).collect()
    });
    rates.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up() {
        let forecast = Forecast { images: 1, decode: 300., inference: 100. };
        assert!((forecast.predicted() - 75.).abs() < 1e-9);
        assert!((forecast.decode_share() - 0.25).abs() < 1e-9);
    }
}
