//! Measures what the machine can do at most, for some milliseconds at a time.
//!
//! On a machine that does other things too, what is measured in one stretch may all be too low. So a profile measures
//! before the inferences, between them and after, and the best counts.

use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use cardinal_compiler::codegen::Target;
use cardinal_compiler::machine::Element;
use cardinal_compiler::peak::Peak;

use super::Ceilings;
use super::reading::Reading;
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::program::{Prepared, Program, Session};

/// Runs of the program that multiplies in a measurement.
const RUNS: usize = 16;
/// How long threads sleep before: who has just slept is let run at once, on a core that others use too.
const REST: Duration = Duration::from_millis(2);
/// Runs where there is one measurement alone.
const RUNS_ALONE: usize = 60;
/// Measurements between inferences, at most.
const PAUSES: usize = 8;
/// Bytes that threads read together for the bandwidth of memory, in turns: more than caches hold.
const STREAMED: usize = 256 << 20;
/// Measurements that it takes to read them all.
const TURNS: usize = 4;
/// Bytes that each thread reads again and again for that of caches: what the second level holds everywhere.
const NEAR: usize = 192 << 10;
/// How often it does, and how often that is timed.
const TIMES: usize = 512;
const READINGS: usize = 3;

/// What measures the ceilings of a machine, again and again.
pub(crate) struct Gauges {
    peaks: Vec<(Element, Multiplying)>,
    memory: Reading,
    caches: Reading,
    best: Ceilings,
}

impl Gauges {
    /// Gauges of the peak in these element types, with the instructions that code for the target has, and of the
    /// bandwidth.
    ///
    /// # Errors
    /// Those of generating and loading code, and want of memory.
    pub(super) fn new(
        file: &ModelFile,
        target: &Target,
        elements: &[Element],
        threads: NonZeroUsize,
    ) -> Outcome<Gauges> {
        let mut peaks = Vec::new();
        for element in elements {
            let program = Multiplying::new(file, target, *element, threads)?;
            peaks.extend(program.map(|program| (*element, program)));
        }
        Ok(Gauges {
            peaks,
            memory: Reading::new(threads, STREAMED, TURNS, 1)?,
            caches: Reading::new(threads, NEAR * threads.get(), 1, TIMES)?,
            best: Ceilings::default(),
        })
    }

    /// Measures all for some milliseconds.
    ///
    /// # Errors
    /// Those of running code, and of threads that do not start.
    pub(super) fn measure(&mut self) -> Outcome {
        let mut now = Ceilings { measurements: 1, ..Ceilings::default() };
        for (element, program) in &mut self.peaks {
            now.gflops.push((*element, program.best_of(RUNS)?));
        }
        now.memory = rested(&mut self.memory)?;
        for _ in 0..READINGS {
            now.caches = now.caches.max(rested(&mut self.caches)?);
        }
        self.best.raise(&now);
        Ok(())
    }

    /// What was measured.
    pub(super) fn into_ceilings(self) -> Ceilings {
        self.best
    }
}

/// 10⁹ bytes a second, after a rest.
fn rested(reading: &mut Reading) -> Outcome<f64> {
    thread::sleep(REST);
    reading.gigabytes()
}

/// Whether to measure before an inference of so many: a few times between them, evenly.
pub(super) fn is_pause(inference: usize, inferences: NonZeroUsize) -> bool {
    let stretches = (PAUSES + 1).min(inferences.get()) as u128;
    let stretch = |inference: usize| inference as u128 * stretches / inferences.get() as u128;
    inference > 0 && stretch(inference) > stretch(inference - 1)
}

/// The peak in one element type: 10⁹ operations a second; `None` where it is not multiplied.
///
/// # Errors
/// Those of generating, loading and running code.
pub(crate) fn peak(
    file: &ModelFile,
    target: &Target,
    element: Element,
    threads: NonZeroUsize,
) -> Outcome<Option<f64>> {
    let program = Multiplying::new(file, target, element, threads)?;
    program.map(|mut program| program.best_of(RUNS_ALONE)).transpose()
}

/// A program that only multiplies, with its threads.
struct Multiplying {
    session: Session,
    prepared: Prepared,
    /// Those of a run.
    operations: f64,
}

impl Multiplying {
    fn new(
        file: &ModelFile,
        target: &Target,
        element: Element,
        threads: NonZeroUsize,
    ) -> Outcome<Option<Multiplying>> {
        const NAME: &str = "the program that measures the peak";
        let peak = Peak::new(target, element, threads);
        let peak = peak.map_err(|error| loading::refused(file, error))?;
        let Some(peak) = peak else { return Ok(None) };
        let artifact = peak.parts.to_artifact().map_err(|e| Failure::Failed(e.to_string()))?;
        let program = Program::load(artifact, None, NAME)?;
        let session = Session::new(&program, threads)?;
        let prepared = session.prepare(Vec::new())?;
        Ok(Some(Multiplying { session, prepared, operations: 2.0 * peak.multiply_adds as f64 }))
    }

    /// 10⁹ operations a second, in the fastest of so many runs.
    fn best_of(&mut self, runs: usize) -> Outcome<f64> {
        thread::sleep(REST);
        let mut best = 0.0f64;
        for _ in 0..runs {
            let begin = Instant::now();
            self.session.run_prepared(&mut self.prepared)?;
            best = best.max(self.operations / begin.elapsed().as_secs_f64() / 1e9);
        }
        Ok(best)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is a panic")]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_between_inferences_few_and_even() {
        for count in (1..60).chain([1000, 1001, 12_345]) {
            let inferences = NonZeroUsize::new(count).unwrap();
            let pauses: Vec<usize> = (0..count).filter(|i| is_pause(*i, inferences)).collect();
            assert_eq!(pauses.len(), PAUSES.min(count - 1), "{count}");
            let ends = std::iter::once(0).chain(pauses).chain([count]).collect::<Vec<_>>();
            let stretches: Vec<usize> = ends.windows(2).map(|ends| ends[1] - ends[0]).collect();
            let [least, most] =
                [stretches.iter().min(), stretches.iter().max()].map(Option::unwrap);
            assert!(*least > 0 && most - least <= 1, "{count}: {stretches:?}");
        }
        assert!(!is_pause(usize::MAX - 1, NonZeroUsize::MAX));
    }
}
