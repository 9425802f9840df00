//! `bench --steps`: where the time goes.

use std::num::NonZeroUsize;

use cardinal_compiler::plan::Step;
use serde_json::{Value, json};

use crate::exit::Outcome;
use crate::measure::quantile;
use crate::program::{Program, Session};
use crate::request::Measurement;
use crate::{output, random};

/// Every step of a plan, with its median time in milliseconds.
pub(super) struct StepTimes(Vec<(Step, f64)>);

impl StepTimes {
    /// Runs the program on random inputs, and times its steps.
    ///
    /// # Errors
    /// Those of [`Session::new`] and of [`Session::run`].
    pub(super) fn measure(
        steps: Vec<Step>,
        program: &Program,
        threads: NonZeroUsize,
        what: &Measurement,
    ) -> Outcome<StepTimes> {
        let mut session = Session::new(program, threads)?;
        let mut prepared = session.prepare(&random::arrays(program.inputs(), what.seed))?;
        let mut times = vec![Vec::new(); steps.len()];
        for _ in 0..what.warmup {
            session.run_prepared(&mut prepared)?;
        }
        for _ in 0..what.iterations.get() {
            for (times, ms) in times.iter_mut().zip(session.time_steps(&mut prepared)?) {
                times.push(ms);
            }
        }
        let medians = times.into_iter().map(|mut times| {
            times.sort_by(f64::total_cmp);
            quantile(&times, 0.5)
        });
        Ok(StepTimes(steps.into_iter().zip(medians).collect()))
    }

    /// One object a step.
    pub(super) fn to_json(&self) -> Value {
        let object = |(step, ms): &(Step, f64)| {
            json!({
                "name": step.name,
                "kernel": step.kernel.name(),
                "ms": ms,
                "multiply_adds": step.kernel.multiply_adds(),
            })
        };
        self.0.iter().map(object).collect()
    }

    /// One line a step, then one a kernel.
    pub(super) fn print(&self) -> Outcome {
        let total: f64 = self.0.iter().map(|(_, ms)| ms).sum();
        let line = |ms: f64, multiply_adds: usize| {
            let rate = match multiply_adds {
                0 => String::new(),
                n => format!("{:.1}", 2.0 * n as f64 / ms / 1e6),
            };
            format!("{ms:9.4} {:5.1} % {rate:>8}", 100.0 * ms / total)
        };
        let mut kernels: Vec<(&str, f64, usize)> = Vec::new();
        for (step, ms) in &self.0 {
            let (name, more) = (step.kernel.name(), step.kernel.multiply_adds());
            match kernels.iter_mut().find(|(kernel, ..)| *kernel == name) {
                Some((_, sum, work)) => (*sum, *work) = (*sum + ms, *work + more),
                None => kernels.push((name, *ms, more)),
            }
        }
        kernels.sort_by(|a, b| b.1.total_cmp(&a.1));
        output::print(|out| {
            writeln!(out, "\n{:>9} {:>7} {:>8}  {:<15} step", "ms", "share", "GFLOP/s", "kernel")?;
            for (step, ms) in &self.0 {
                let line = line(*ms, step.kernel.multiply_adds());
                writeln!(out, "{line}  {:<15} {}", step.kernel.name(), step.name)?;
            }
            writeln!(out)?;
            for (kernel, ms, work) in &kernels {
                writeln!(out, "{}  {kernel}", line(*ms, *work))?;
            }
            writeln!(out, "{}  all steps", line(total, kernels.iter().map(|k| k.2).sum()))
        })
    }
}
