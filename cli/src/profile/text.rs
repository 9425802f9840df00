//! A profile as tables that fit 80 columns.

use std::io::{self, Write};

use cardinal_runtime::text;

use super::steps::StepTime;
use super::sums::{self, Sum};
use super::{Bound, Ceilings, Profile, StepTimes};
use crate::exit::Outcome;
use crate::names::counted;
use crate::output;

/// Steps that are listed where not all are asked for.
const SHOWN: usize = 20;
/// Columns of the last column of the table of steps.
const NAME: usize = 21;
/// The same of the table that has few others.
const NAME_ALONE: usize = 34;
/// Columns of algorithms.
const ALGORITHM: usize = 14;
/// Columns of the model's name.
const MODEL: usize = 36;

impl Profile {
    /// Prints the total, steps, and sums of them.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn print(&self, all: bool) -> Outcome {
        output::print(|out| {
            self.heading(out)?;
            self.table(out, all)?;
            self.sums(out)?;
            self.legend(out)
        })
    }

    fn heading(&self, out: &mut dyn Write) -> io::Result<()> {
        let Profile { model, isa, precision, batch, threads, .. } = self;
        let model = tail(model, MODEL);
        writeln!(out, "{model}: {:.3} ms an inference", self.cost().without_ms)?;
        let threads = counted(threads.get(), "thread");
        writeln!(out, "batch {batch}, {threads}, {precision}, code for {isa}")?;
        let Ceilings { gflops, memory, caches, .. } = &self.ceilings;
        let peaks: Vec<String> = gflops
            .iter()
            .map(|(e, gflops)| format!("{gflops:.0} GFLOP/s in {}", e.name()))
            .collect();
        let peaks = if peaks.is_empty() { "unknown".into() } else { peaks.join(", ") };
        writeln!(out, "measured peak: {peaks}")?;
        writeln!(out, "measured bandwidth: {memory:.1} GB/s from memory, {caches:.0} from caches")
    }

    fn table(&self, out: &mut dyn Write, all: bool) -> io::Result<()> {
        writeln!(
            out,
            "\n{:>8} {:>6} {:>7} {:>5} {:>5} {:<7} {:<ALGORITHM$} step",
            "ms", "share", "GFLOP/s", "peak", "GB/s", "bound", "algorithm"
        )?;
        let mut order: Vec<&StepTime> = self.steps.steps.iter().collect();
        if !all {
            order.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        }
        let shown = if all { order.len() } else { order.len().min(SHOWN) };
        let (listed, rest) = order.split_at(shown);
        listed.iter().try_for_each(|step| self.line(out, step))?;
        if !rest.is_empty() {
            let ms: f64 = rest.iter().map(|step| step.ms).sum();
            let share = self.percent(ms);
            let ms = self.ms(ms);
            writeln!(out, "{ms} {share:>6} in {} more steps; --all lists all", rest.len())?;
        }
        writeln!(out, "{} {:>6} all steps", self.ms(self.steps.total_ms()), "100%")
    }

    fn line(&self, out: &mut dyn Write, step: &StepTime) -> io::Result<()> {
        let number =
            |x: Option<f64>, digits: usize| x.map_or_else(String::new, |x| format!("{x:.digits$}"));
        let peak = self.part_of_peak(step).map(|part| 100.0 * part);
        let peak = number(peak, 0) + if peak.is_some() { "%" } else { "" };
        writeln!(
            out,
            "{} {:>6} {:>7} {peak:>5} {:>5} {:<7} {:<ALGORITHM$} {}",
            self.ms(step.ms),
            self.percent(step.ms),
            number(step.gflops(), 1),
            number(step.gigabytes(), 1),
            self.bound(step).name(),
            head(&step.algorithm, ALGORITHM),
            tail(&step.name, NAME),
        )
    }

    fn sums(&self, out: &mut dyn Write) -> io::Result<()> {
        let steps = &self.steps.steps;
        for (what, sums) in [
            ("algorithm", sums::by(steps, |step| &step.algorithm)),
            ("height and width", sums::in_order(steps, |step| &step.stage)),
        ] {
            writeln!(out, "\n{:>8} {:>6} {:>7} {:>5} {what}", "ms", "share", "GFLOP/s", "steps")?;
            for sum in &sums {
                let Sum { name, steps, ms, .. } = sum;
                let rate = sum.gflops().map_or_else(String::new, |rate| format!("{rate:.1}"));
                let name = head(name, NAME);
                let share = self.percent(*ms);
                writeln!(out, "{} {share:>6} {rate:>7} {steps:>5} {name}", self.ms(*ms))?;
            }
        }
        Ok(())
    }

    fn legend(&self, out: &mut dyn Write) -> io::Result<()> {
        let cost = self.cost();
        let percent = 100.0 * (cost.with_clocks_ms / cost.without_ms - 1.0);
        writeln!(
            out,
            "\nMedians of {}. An inference takes {:.3} ms ({}), and {:.3} ms with\n\
             clocks around its steps ({percent:+.1} %), measured in turns.\n\
             GFLOP/s count the multiply-adds of the definition as two each: Winograd's and\n\
             Strassen's ways make fewer, and can exceed the peak. GB/s count what a step\n\
             reads and writes, once. A step is bound by {} where that takes longer at the\n\
             bandwidth than its operations at the peak, and by {} elsewhere. The\n\
             bandwidth is that of caches for steps that are faster than memory could be.\n\
             Peak and bandwidth are the best of {} short measurements before, between and\n\
             after inferences: whatever else runs meanwhile makes one lower.",
            self.iterations,
            cost.without_ms,
            cost.spread,
            cost.with_clocks_ms,
            Bound::Memory.name(),
            Bound::Compute.name(),
            self.ceilings.measurements,
        )
    }

    /// Milliseconds, with a digit more where all are few.
    fn ms(&self, ms: f64) -> String {
        let digits = if self.steps.total_ms() < 10.0 { 4 } else { 3 };
        format!("{ms:8.digits$}")
    }

    fn percent(&self, ms: f64) -> String {
        format!("{:.1}%", 100.0 * ms / self.steps.total_ms())
    }
}

impl StepTimes {
    /// Prints a line a step, then one a kernel: `bench --steps`.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn print(&self) -> Outcome {
        let total = self.total_ms();
        let line = |ms: f64, rate: Option<f64>| {
            let rate = rate.map_or_else(String::new, |rate| format!("{rate:.1}"));
            format!("{ms:9.4} {:5.1} % {rate:>8}", 100.0 * ms / total)
        };
        output::print(|out| {
            writeln!(out, "\n{:>9} {:>7} {:>8}  {:<15} step", "ms", "share", "GFLOP/s", "kernel")?;
            for step in &self.steps {
                let name = tail(&step.name, NAME_ALONE);
                writeln!(out, "{}  {:<15} {name}", line(step.ms, step.gflops()), step.kernel)?;
            }
            writeln!(out)?;
            for sum in sums::by(&self.steps, |step| step.kernel) {
                writeln!(out, "{}  {}", line(sum.ms, sum.gflops()), sum.name)?;
            }
            let all = sums::by(&self.steps, |_| "all steps");
            all.iter()
                .try_for_each(|sum| writeln!(out, "{}  {}", line(sum.ms, sum.gflops()), sum.name))
        })
    }
}

/// The end of a name that is longer than so many characters, without what exporters add to most: names of one
/// model begin alike.
pub(crate) fn tail(name: &str, most: usize) -> String {
    let name = name.replace("_output_0", "");
    let text = text::line(&name);
    let count = text.chars().count();
    match count > most {
        true => std::iter::once('…').chain(text.chars().skip(count - most + 1)).collect(),
        false => text,
    }
}

/// The beginning of one.
pub(crate) fn head(text: &str, most: usize) -> String {
    text::line(text).chars().take(most).collect()
}
