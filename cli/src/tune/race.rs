//! Two plans of one model, timed in turns.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use crate::engine::{self, Choices, Layer, Model, Plan, Running, Settings};
use crate::exit::Outcome;
use crate::loading;
use crate::model_file::ModelFile;
use crate::program::{Prepared, Program, Session};
use crate::random;

/// Inferences of each before measuring begins.
const WARMUP: usize = 3;
/// Inferences of each that are measured: at least so many,
const LEAST: usize = 15;
/// and on until this has passed,
const LONG_ENOUGH: Duration = Duration::from_millis(300);
/// but no more than so many.
const MOST: usize = 100;

/// A model compiled with some choices.
pub(super) struct Contender {
    program: Program,
    plan: Plan,
}

impl Contender {
    /// Compiles a model, for the one CPU of the settings.
    pub(super) fn new(
        file: &ModelFile,
        model: &Model,
        settings: &Settings,
        choices: Choices,
    ) -> Outcome<Contender> {
        let refused = |error| loading::refused(file, error);
        let mut settings = settings.clone();
        settings.compile.schedule.choices = choices;
        let compiled = engine::compile(model, &settings).map_err(refused)?;
        let artifact = compiled.to_artifact().map_err(refused)?;
        let program = Program::load(artifact, None, &file.name())?;
        let running = Running::of_model(model, &settings, &program).map_err(refused)?;
        Ok(Contender { program, plan: running.plan })
    }
}

/// Runs both in turns, and says how long the layers of each key take in each: in microseconds.
pub(super) fn race(
    pair: [&Contender; 2],
    layers: &[Layer],
    threads: NonZeroUsize,
) -> Outcome<[BTreeMap<String, f64>; 2]> {
    let mut runners = Vec::new();
    for contender in pair {
        runners.push(Runner::new(contender, threads)?);
    }
    for _ in 0..WARMUP {
        runners.iter_mut().try_for_each(|runner| runner.run().map(drop))?;
    }
    let begin = Instant::now();
    let mut turns = 0;
    while turns < LEAST || (turns < MOST && begin.elapsed() < LONG_ENOUGH) {
        for runner in &mut runners {
            let times = runner.run()?;
            runner.times.push(times);
        }
        turns += 1;
    }
    let times = |Runner { contender, times, .. }: &Runner<'_>| {
        let steps: Vec<&str> = contender.plan.steps.iter().map(|step| step.name.as_str()).collect();
        engine::layer_times(layers, &steps, times)
    };
    Ok([times(&runners[0]), times(&runners[1])])
}

/// A contender with its memory.
struct Runner<'c> {
    contender: &'c Contender,
    session: Session,
    prepared: Prepared,
    /// Microseconds of each step, of each inference that counts.
    times: Vec<Vec<f64>>,
}

impl<'c> Runner<'c> {
    fn new(contender: &'c Contender, threads: NonZeroUsize) -> Outcome<Runner<'c>> {
        const SEED: u64 = 0;
        let session = Session::new(&contender.program, threads)?;
        let prepared = session.prepare(random::arrays(contender.program.inputs(), SEED)?)?;
        Ok(Runner { contender, session, prepared, times: Vec::new() })
    }

    /// One inference: microseconds of each step.
    fn run(&mut self) -> Outcome<Vec<f64>> {
        let calls = self.session.time_calls(&mut self.prepared)?;
        let steps = self.contender.plan.by_step(&calls);
        Ok(steps.into_iter().map(|(ms, _)| ms * 1e3).collect())
    }
}
