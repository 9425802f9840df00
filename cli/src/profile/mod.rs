//! Where the time of a model goes: each step of its plan beside what the machine can do at most.
//!
//! - [`steps`] runs a model and times the steps of its plan,
//! - [`gauges`] measures the peak of multiply-adds and, with [`reading`], the bandwidth of memory: the [`ceilings`],
//! - [`sums`] adds steps up by what they have in common,
//! - [`text`], [`json`], [`html`] and [`trace`] show it, and [`against`] shows two.
//!
//! A step is bound by memory where its bytes at the bandwidth measured take longer than its operations at the
//! peak measured, and by compute elsewhere. The bandwidth is that of memory, or that of caches for a step that
//! is faster than memory could be.

mod against;
mod ceilings;
mod gauges;
mod html;
mod json;
mod reading;
mod steps;
mod sums;
mod text;
mod thinned;
mod trace;

use std::num::NonZeroUsize;

use crate::engine::Running;
use crate::exit::Outcome;
use crate::measure::Spread;
use crate::model_file::ModelFile;
use crate::program::Program;
use crate::request::Measurement;

pub(crate) use against::{Comparison, Older};
pub(crate) use ceilings::Ceilings;
pub(crate) use gauges::{Gauges, peak};
pub(crate) use steps::StepTimes;
pub(crate) use text::{head, tail};
pub(crate) use trace::Timeline;

use steps::{Cost, StepTime};

/// A profile of a model.
pub(crate) struct Profile {
    /// The model, as typed.
    pub(crate) model: String,
    /// The CPU that its code is for.
    pub(crate) isa: String,
    /// The narrowest type that its convolutions multiply.
    pub(crate) precision: String,
    pub(crate) batch: usize,
    pub(crate) threads: NonZeroUsize,
    pub(crate) iterations: NonZeroUsize,
    pub(crate) ceilings: Ceilings,
    pub(crate) steps: StepTimes,
}

/// What keeps a step from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The multiply-adds of the machine.
    Compute,
    /// The bandwidth of its memory, or of its caches.
    Memory,
}

impl Bound {
    fn name(self) -> &'static str {
        match self {
            Bound::Compute => "compute",
            Bound::Memory => "memory",
        }
    }
}

impl Profile {
    /// Measures a program, and before, meanwhile and after the machine that it runs on.
    ///
    /// # Errors
    /// Those of loading and running.
    pub(crate) fn measure(
        file: &ModelFile,
        program: &Program,
        running: &Running,
        threads: NonZeroUsize,
        what: &Measurement,
    ) -> Outcome<Profile> {
        let steps = running.plan.steps.iter();
        let mut elements: Vec<_> = steps.map(|step| step.kernel.multiplies()).collect();
        elements.sort_unstable();
        elements.dedup();
        let mut gauges = Gauges::new(file, &running.target, &elements, threads)?;
        gauges.measure()?;
        let steps = StepTimes::measure(running, program, threads, what, Some(&mut gauges))?;
        gauges.measure()?;
        Ok(Profile {
            model: file.name(),
            isa: program.isa().to_owned(),
            precision: program.precision().to_owned(),
            batch: program.batch(),
            threads,
            iterations: what.iterations,
            ceilings: gauges.into_ceilings(),
            steps,
        })
    }

    /// How far the times of inferences are apart.
    pub(crate) fn spread(&self) -> &Spread {
        &self.steps.cost.spread
    }

    fn cost(&self) -> &Cost {
        &self.steps.cost
    }

    /// The step's part of the time of all.
    fn share(&self, step: &StepTime) -> f64 {
        step.ms / self.steps.total_ms()
    }

    /// The part of the peak that a step reaches, where it multiplies.
    fn part_of_peak(&self, step: &StepTime) -> Option<f64> {
        Some(step.gflops()? / self.ceilings.peak(step.element)?)
    }

    /// The bandwidth of where a step's bytes are.
    fn bandwidth(&self, step: &StepTime) -> f64 {
        let Ceilings { memory, caches, .. } = self.ceilings;
        if step.gigabytes().is_some_and(|rate| rate > memory) { caches } else { memory }
    }

    /// What bounds a step.
    fn bound(&self, step: &StepTime) -> Bound {
        let peak = self.ceilings.peak(step.element);
        let seconds = peak.map(|peak| step.operations() / peak);
        let moved = step.bytes as f64 / self.bandwidth(step);
        match seconds {
            Some(computed) if computed >= moved => Bound::Compute,
            Some(_) | None => Bound::Memory,
        }
    }
}
