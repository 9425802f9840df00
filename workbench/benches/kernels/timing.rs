//! How long a step takes.

use std::time::Instant;

use cardinal_workbench::rig::Rig;

/// Seconds of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// Fastest of those that follow each other.
    pub(crate) best: f64,
    /// Median of those.
    pub(crate) median: f64,
    /// Fastest of those with cold weights.
    pub(crate) cold: f64,
}

impl std::ops::Add for Times {
    type Output = Times;

    fn add(self, other: Times) -> Times {
        Times {
            best: self.best + other.best,
            median: self.median + other.median,
            cold: self.cold + other.cold,
        }
    }
}

/// Times a step of the rig's plan, on whatever is in memory.
pub(crate) fn time(rig: &mut Rig, step: usize) -> Times {
    rig.select(step..step + 1);
    let first = once(rig);
    let runs = |seconds: f64| ((seconds / first) as usize).clamp(15, 1000);
    let mut warm: Vec<f64> = (0..runs(0.04)).map(|_| once(rig)).collect();
    warm.sort_by(f64::total_cmp);
    let cold = |_| {
        rig.weights().evict();
        once(rig)
    };
    let cold = (0..runs(0.01).min(50)).map(cold).fold(f64::INFINITY, f64::min);
    Times { best: warm[0], median: warm[warm.len() / 2], cold }
}

fn once(rig: &mut Rig) -> f64 {
    let begin = Instant::now();
    rig.run();
    begin.elapsed().as_secs_f64()
}
