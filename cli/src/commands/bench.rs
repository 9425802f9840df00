//! `cardinal bench`: how fast a model runs.

mod steps;

use std::time::Instant;

use serde_json::json;

use crate::args::BenchArgs;
use crate::engine::{self, Session};
use crate::exit::{Failure, Outcome};
use crate::loading::{self, milliseconds};
use crate::model_file::ModelFile;
use crate::{output, random};

use steps::StepTimes;

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.bench/v1";

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(engine::available_threads);
    let file = ModelFile::open(&args.model)?;
    let loaded = loading::load(&file, &args.options, &args.isa, None)?;
    let steps = match (&loaded.model, args.steps) {
        (_, false) => None,
        (Some(model), true) => {
            let settings = loading::settings_for(&args.options, &args.isa);
            let steps = engine::steps(model, &settings, &loaded.program);
            Some(steps.map_err(|error| loading::refused(&file, error))?)
        }
        (None, true) => {
            return Err(Failure::usage("an artifact does not have the names of its plan's steps")
                .with_help("use --steps with the .onnx"));
        }
    };
    let inputs = random::arrays(loaded.program.inputs(), args.seed);
    let mut session = Session::new(&loaded.program, threads)?;
    let mut prepared = session.prepare(&inputs)?;
    for _ in 0..args.warmup {
        session.run_prepared(&mut prepared)?;
    }
    let mut latencies = Vec::with_capacity(args.iterations.get().min(1 << 20));
    for _ in 0..args.iterations.get() {
        let begin = Instant::now();
        session.run_prepared(&mut prepared)?;
        latencies.push(milliseconds(begin));
    }
    let steps = match steps {
        Some(steps) => {
            Some(StepTimes::measure(steps, args.iterations.get(), &mut session, &mut prepared)?)
        }
        None => None,
    };
    let batch = loaded.program.inputs().first().and_then(|s| s.shape.first()).copied();
    let batch = batch.unwrap_or(1);
    if args.json {
        let mut report = json!({
            "schema": SCHEMA,
            "latency_ms": latencies,
            "threads": threads,
            "batch": batch,
            "compile_ms": loaded.compile_ms,
            "load_ms": loaded.load_ms,
            "peak_rss_bytes": peak_rss_bytes(),
        });
        if let Some(steps) = steps {
            report["steps"] = steps.to_json();
        }
        return output::print_json(&report);
    }
    print_table(&latencies, batch, threads.get(), &loaded)?;
    steps.map_or(Ok(()), |steps| steps.print())
}

fn print_table(
    latencies: &[f64],
    batch: usize,
    threads: usize,
    loaded: &loading::Loaded,
) -> Outcome {
    let mut sorted = latencies.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    let compile = loaded.compile_ms.map_or("compiled before".into(), |ms| format!("{ms:10.1} ms"));
    let rows = [
        ("minimum", format!("{:10.3} ms", quantile(&sorted, 0.))),
        ("median", format!("{:10.3} ms", quantile(&sorted, 0.5))),
        ("p90", format!("{:10.3} ms", quantile(&sorted, 0.9))),
        ("mean", format!("{mean:10.3} ms")),
        ("compile", compile),
        ("load", format!("{:10.1} ms", loaded.load_ms)),
        (
            "peak memory",
            peak_rss_bytes().map_or("unknown".into(), |b| format!("{:10.1} MB", b as f64 / 1e6)),
        ),
    ];
    output::print(|out| {
        writeln!(out, "{} inferences, batch {batch}, {threads} threads", latencies.len())?;
        rows.iter().try_for_each(|(name, value)| writeln!(out, "  {name:<12} {value}"))
    })
}

/// The smallest value that at least `q` of all are not above (nearest rank).
fn quantile(sorted: &[f64], q: f64) -> f64 {
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
    fn the_peak_is_in_kibibytes() {
        assert_eq!(parse_peak("VmPeak:\t 1 kB\nVmHWM:\t  12 kB\n"), Some(12288));
        assert_eq!(parse_peak("VmRSS: 1 kB"), None);
    }
}
