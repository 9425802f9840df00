//! A profile as JSON, and what is read of an older one.

use serde_json::{Value, json};

use super::steps::StepTime;
use super::sums::{self, Sum};
use super::{Profile, StepTimes};

/// The schema's name.
pub(super) const SCHEMA: &str = "cardinal.profile/v1";

impl Profile {
    /// One object of the schema cardinal.profile/v1.
    pub(crate) fn to_json(&self) -> Value {
        let steps = &self.steps.steps;
        let total = self.steps.total_ms();
        let sum = |sum: &Sum<'_>| {
            json!({
                "name": sum.name,
                "steps": sum.steps,
                "ms": sum.ms,
                "share": sum.ms / total,
                "gflops": sum.gflops(),
            })
        };
        let peaks = self.ceilings.gflops.iter();
        let peaks = peaks.map(|(element, gflops)| (element.name().to_owned(), json!(gflops)));
        let cost = self.cost();
        json!({
            "schema": SCHEMA,
            "model": self.model,
            "cpu": self.isa,
            "precision": self.precision,
            "batch": self.batch,
            "threads": self.threads,
            "iterations": self.iterations,
            "peak_gflops": Value::Object(peaks.collect()),
            "memory_gb_per_s": self.ceilings.memory,
            "caches_gb_per_s": self.ceilings.caches,
            "machine_measurements": self.ceilings.measurements,
            "total_ms": total,
            "inference_ms": cost.without_ms,
            "inference_with_clocks_ms": cost.with_clocks_ms,
            "inference_spread": cost.spread.part(),
            "steps": Value::from_iter(steps.iter().map(|step| self.step(step))),
            "algorithms": Value::from_iter(sums::by(steps, |s| &s.algorithm).iter().map(sum)),
            "stages": Value::from_iter(sums::in_order(steps, |s| &s.stage).iter().map(sum)),
        })
    }

    fn step(&self, step: &StepTime) -> Value {
        json!({
            "name": step.name,
            "kernel": step.kernel,
            "algorithm": step.algorithm,
            "stage": step.stage,
            "ms": step.ms,
            "share": self.share(step),
            "calls": step.calls,
            "multiply_adds": step.multiply_adds,
            "element": step.element.name(),
            "gflops": step.gflops(),
            "part_of_peak": self.part_of_peak(step),
            "bytes": step.bytes,
            "gb_per_s": step.gigabytes(),
            "bound": self.bound(step).name(),
        })
    }
}

impl StepTimes {
    /// One object a step, of what `bench --steps` shows.
    pub(crate) fn to_json(&self) -> Value {
        let object = |step: &StepTime| {
            json!({
                "name": step.name,
                "kernel": step.kernel,
                "ms": step.ms,
                "multiply_adds": step.multiply_adds,
            })
        };
        self.steps.iter().map(object).collect()
    }
}
