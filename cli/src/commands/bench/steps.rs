//! `bench --steps`: where the time goes.

use std::num::NonZeroUsize;

use cardinal_compiler::plan::{Plan, Step};
use cardinal_runtime::text;
use serde_json::{Value, json};

use crate::exit::Outcome;
use crate::measure::quantile;
use crate::program::{Program, Session};
use crate::request::Measurement;
use crate::{output, random};

/// Every step of a plan.
pub(super) struct StepTimes(Vec<StepTime>);

/// What a step takes in an inference, all its calls together.
struct StepTime {
    name: String,
    kernel: &'static str,
    /// The median, in milliseconds.
    ms: f64,
    multiply_adds: usize,
}

impl StepTimes {
    /// Runs the program on random inputs, and times its steps.
    ///
    /// # Errors
    /// Those of [`Session::new`] and of [`Session::run`].
    pub(super) fn measure(
        plan: &Plan,
        program: &Program,
        threads: NonZeroUsize,
        what: &Measurement,
    ) -> Outcome<StepTimes> {
        let mut session = Session::new(program, threads)?;
        let mut prepared = session.prepare(random::arrays(program.inputs(), what.seed)?)?;
        let mut runs = Vec::new();
        for _ in 0..what.warmup {
            session.run_prepared(&mut prepared)?;
        }
        for _ in 0..what.iterations.get() {
            runs.push(plan.by_step(&session.time_calls(&mut prepared)?));
        }
        let step = |(number, step): (usize, &Step)| {
            let mut times: Vec<f64> = runs.iter().map(|run| run[number].0).collect();
            times.sort_by(f64::total_cmp);
            let calls = runs.last().map_or(0, |run| run[number].1);
            StepTime {
                name: step.name.clone(),
                kernel: step.kernel.name(),
                ms: quantile(&times, 0.5),
                multiply_adds: calls * step.kernel.multiply_adds(),
            }
        };
        Ok(StepTimes(plan.steps.iter().enumerate().map(step).collect()))
    }

    /// One object a step.
    pub(super) fn to_json(&self) -> Value {
        let object = |step: &StepTime| {
            json!({
                "name": step.name,
                "kernel": step.kernel,
                "ms": step.ms,
                "multiply_adds": step.multiply_adds,
            })
        };
        self.0.iter().map(object).collect()
    }

    /// One line a step, then one a kernel.
    pub(super) fn print(&self) -> Outcome {
        let total: f64 = self.0.iter().map(|step| step.ms).sum();
        let line = |ms: f64, multiply_adds: usize| {
            let rate = match multiply_adds {
                0 => String::new(),
                n => format!("{:.1}", 2.0 * n as f64 / ms / 1e6),
            };
            format!("{ms:9.4} {:5.1} % {rate:>8}", 100.0 * ms / total)
        };
        let mut kernels: Vec<(&str, f64, usize)> = Vec::new();
        for StepTime { kernel, ms, multiply_adds, .. } in &self.0 {
            match kernels.iter_mut().find(|(name, ..)| name == kernel) {
                Some((_, sum, work)) => (*sum, *work) = (*sum + ms, *work + multiply_adds),
                None => kernels.push((kernel, *ms, *multiply_adds)),
            }
        }
        kernels.sort_by(|a, b| b.1.total_cmp(&a.1));
        output::print(|out| {
            writeln!(out, "\n{:>9} {:>7} {:>8}  {:<15} step", "ms", "share", "GFLOP/s", "kernel")?;
            for StepTime { name, kernel, ms, multiply_adds } in &self.0 {
                let name = text::line(name);
                writeln!(out, "{}  {kernel:<15} {name}", line(*ms, *multiply_adds))?;
            }
            writeln!(out)?;
            for (kernel, ms, work) in &kernels {
                writeln!(out, "{}  {kernel}", line(*ms, *work))?;
            }
            writeln!(out, "{}  all steps", line(total, kernels.iter().map(|k| k.2).sum()))
        })
    }
}
