//! What tuning says of itself.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::names::counted;
use crate::render;

/// What tuning did for each CPU.
pub(crate) struct Report {
    pub(super) threads: NonZeroUsize,
    pub(super) cache: Option<PathBuf>,
    /// What went wrong, and did not matter enough to fail.
    pub(super) warnings: Vec<String>,
    pub(super) cpus: Vec<CpuReport>,
}

/// What tuning did for one CPU. Layers of equal key are one, but for times.
#[derive(Debug, Default)]
pub(super) struct CpuReport {
    pub(super) cpu: String,
    pub(super) measured: usize,
    pub(super) cached: usize,
    /// For how many the estimates were not the best.
    pub(super) changed: usize,
    /// Microseconds of all layers that are tuned, as the estimates have them and as they are now.
    pub(super) estimate_us: f64,
    pub(super) tuned_us: f64,
}

impl Report {
    /// Prints a line for each CPU on stderr.
    pub(crate) fn print(&self) {
        for warning in &self.warnings {
            render::note(format_args!("warning: {warning}"));
        }
        let threads = match self.threads.get() {
            1 => "1 thread".into(),
            n => counted(n, "thread"),
        };
        for cpu in &self.cpus {
            let gain = 100.0 * (1.0 - cpu.tuned_us / cpu.estimate_us.max(f64::MIN_POSITIVE));
            render::note(format_args!(
                "tuned for {} on {threads}: {} kinds of convolutions measured, {} from the cache, {} \
                 changed; together {:.2} ms -> {:.2} ms ({gain:.1} % less)",
                cpu.cpu,
                cpu.measured,
                cpu.cached,
                cpu.changed,
                cpu.estimate_us / 1e3,
                cpu.tuned_us / 1e3,
            ));
        }
    }

    /// The same as an object.
    pub(crate) fn to_json(&self) -> Value {
        let cpu = |cpu: &CpuReport| {
            json!({
                "cpu": cpu.cpu,
                "measured": cpu.measured,
                "cached": cpu.cached,
                "changed": cpu.changed,
                "estimate_us": cpu.estimate_us,
                "tuned_us": cpu.tuned_us,
            })
        };
        let cache = self.cache.as_ref().map(|path| path.display().to_string());
        let cpus: Vec<Value> = self.cpus.iter().map(cpu).collect();
        json!({
            "threads": self.threads,
            "cache": cache,
            "warnings": self.warnings,
            "cpus": cpus,
        })
    }
}
