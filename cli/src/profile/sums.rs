//! Steps added up by what they have in common.

use super::steps::StepTime;

/// Some steps together.
pub(crate) struct Sum<'p> {
    /// What they have in common.
    pub(crate) name: &'p str,
    pub(crate) steps: usize,
    pub(crate) ms: f64,
    pub(crate) multiply_adds: usize,
}

impl Sum<'_> {
    /// 10⁹ operations a second, where there are any.
    pub(crate) fn gflops(&self) -> Option<f64> {
        let is_rate = self.multiply_adds > 0 && self.ms > 0.0;
        is_rate.then(|| 2.0 * self.multiply_adds as f64 / self.ms / 1e6)
    }
}

/// The sums of steps of the same name, the slowest first.
pub(crate) fn by<'p>(
    steps: &'p [StepTime],
    name: impl Fn(&'p StepTime) -> &'p str,
) -> Vec<Sum<'p>> {
    let mut sums = in_order(steps, name);
    sums.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    sums
}

/// The same in the order of the plan.
pub(crate) fn in_order<'p>(
    steps: &'p [StepTime],
    name: impl Fn(&'p StepTime) -> &'p str,
) -> Vec<Sum<'p>> {
    let mut sums: Vec<Sum<'p>> = Vec::new();
    for step in steps {
        let name = name(step);
        let at = sums.iter().position(|sum| sum.name == name).unwrap_or_else(|| {
            sums.push(Sum { name, steps: 0, ms: 0.0, multiply_adds: 0 });
            sums.len() - 1
        });
        let sum = &mut sums[at];
        sum.steps += 1;
        sum.ms += step.ms;
        sum.multiply_adds += step.multiply_adds;
    }
    sums
}
