//! How fast a loaded model runs: what `cardinal bench` does, and what an executable does.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Instant;

use serde_json::{Value, json};

use crate::exit::Outcome;
use crate::names::counted;
use crate::program::{Program, Session};
use crate::request::Measurement;
use crate::{output, random, render};

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.bench/v1";

/// What it took to get a program, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preparation {
    /// Importing and compiling; absent for what was compiled before.
    pub(crate) compile_ms: Option<f64>,
    /// Making the artifact runnable.
    pub(crate) load_ms: f64,
}

/// Every inference that was timed, and what else is told of them.
pub(crate) struct Measured {
    latencies_ms: Vec<f64>,
    threads: NonZeroUsize,
    batch: usize,
    precision: String,
    preparation: Preparation,
}

/// Runs the program on random inputs, and times it.
///
/// # Errors
/// [`Failure::Usage`](crate::exit::Failure::Usage) for absurdly many threads, `Failed` for want of
/// memory.
pub(crate) fn measure(
    program: &Program,
    preparation: Preparation,
    threads: NonZeroUsize,
    what: &Measurement,
) -> Outcome<Measured> {
    let inputs = random::arrays(program.inputs(), what.seed)?;
    let mut session = Session::new(program, threads)?;
    let mut prepared = session.prepare(inputs)?;
    for _ in 0..what.warmup {
        session.run_prepared(&mut prepared)?;
    }
    let mut latencies_ms = Vec::with_capacity(what.iterations.get().min(1 << 20));
    for _ in 0..what.iterations.get() {
        let begin = Instant::now();
        session.run_prepared(&mut prepared)?;
        latencies_ms.push(milliseconds(begin));
    }
    let batch = program.inputs().first().and_then(|s| s.shape.first()).copied().unwrap_or(1);
    let precision = program.precision().to_owned();
    Ok(Measured { latencies_ms, threads, batch, precision, preparation })
}

impl Measured {
    /// Prints a table, or with `json` one object of the schema cardinal.bench/v1.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn print(&self, json: bool) -> Outcome {
        if json {
            return output::print_json(&self.to_json());
        }
        self.print_table()
    }

    /// One object of the schema cardinal.bench/v1.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "latency_ms": self.latencies_ms,
            "spread": Spread::of(&self.latencies_ms).part(),
            "threads": self.threads,
            "batch": self.batch,
            "precision": self.precision,
            "compile_ms": self.preparation.compile_ms,
            "load_ms": self.preparation.load_ms,
            "peak_rss_bytes": peak_rss_bytes(),
        })
    }

    fn print_table(&self) -> Outcome {
        let mut sorted = self.latencies_ms.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let spread = Spread::of(&sorted);
        spread.warn();
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        let Preparation { compile_ms, load_ms } = self.preparation;
        let compile = compile_ms.map_or("compiled before".into(), |ms| format!("{ms:10.1} ms"));
        let peak = peak_rss_bytes();
        let peak = peak.map_or("unknown".into(), |b| format!("{:10.1} MB", b as f64 / 1e6));
        let rows = [
            ("minimum", format!("{:10.3} ms", quantile(&sorted, 0.))),
            ("median", format!("{:10.3} ms", quantile(&sorted, 0.5))),
            ("p90", format!("{:10.3} ms", quantile(&sorted, 0.9))),
            ("mean", format!("{mean:10.3} ms")),
            ("p10 to p90", format!("{:10.1} % of the median", 100.0 * spread.part())),
            ("compile", compile),
            ("load", format!("{load_ms:10.1} ms")),
            ("peak memory", peak),
        ];
        let [count, threads] = [(sorted.len(), "inference"), (self.threads.get(), "thread")]
            .map(|(n, what)| counted(n, what));
        let (batch, precision) = (self.batch, &self.precision);
        output::print(|out| {
            writeln!(out, "{count}, batch {batch}, {threads}, {precision}")?;
            rows.iter().try_for_each(|(name, value)| writeln!(out, "  {name:<12} {value}"))
        })
    }
}

/// How far times of the same work are apart: from those that one in ten is below to those that one in ten is above,
/// as a part of the median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread(f64);

/// Times that are further apart than this are of other work of the machine too.
const NOISY: f64 = 0.25;
/// Fewer times say nothing of their spread.
const FEW: usize = 10;

impl Spread {
    /// That of these times, in any order. Few times are not apart.
    pub(crate) fn of(times: &[f64]) -> Spread {
        let mut sorted = times.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5);
        let is_known = sorted.len() >= FEW && median > 0.0;
        Spread(if is_known {
            (quantile(&sorted, 0.9) - quantile(&sorted, 0.1)) / median
        } else {
            0.0
        })
    }

    /// As a part of the median.
    pub(crate) fn part(self) -> f64 {
        self.0
    }

    /// Says on stderr that a machine is noisy, if it is.
    pub(crate) fn warn(self) {
        if self.0 > NOISY {
            render::note(format_args!(
                "warning: times are {self} apart, so this machine does other work too: close other programs, or \
                 compare the least times only"
            ));
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", 100.0 * self.0)
    }
}

/// Milliseconds since `begin`.
pub(crate) fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

/// The smallest value that at least `q` of all are not above (nearest rank).
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// Most memory that this process has had resident, where the system says.
fn peak_rss_bytes() -> Option<u64> {
    parse_peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!([0., 0.5, 0.9, 1.].map(|q| quantile(&ten, q)), [1., 5., 9., 10.]);
        assert_eq!(quantile(&[7.], 0.5), 7.);
    }

    #[test]
    fn the_spread_leaves_out_a_tenth_on_either_side() {
        let mut times = vec![10.0; 20];
        (times[3], times[17]) = (1.0, 90.0);
        assert_eq!(Spread::of(&times).part(), 0.0);
        times[4..8].fill(14.0);
        assert_eq!(Spread::of(&times).part(), 0.4);
        assert_eq!(Spread::of(&[1.0, 100.0]).part(), 0.0);
        assert_eq!(Spread(0.1234).to_string(), "12.3 %");
    }

    #[test]
    fn the_peak_is_in_kibibytes() {
        assert_eq!(parse_peak("VmPeak:\t 1 kB\nVmHWM:\t  12 kB\n"), Some(12288));
        assert_eq!(parse_peak("VmRSS: 1 kB"), None);
    }
}
