//! How long the steps of a plan take, and what they do meanwhile.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Instant;

use cardinal_compiler::ir::{Axis, Graph, NodeId};
use cardinal_compiler::kernels::conv::algorithm_of;
use cardinal_compiler::machine::Element;
use cardinal_compiler::plan::Step;
use cardinal_compiler::schedule::Choice;

use super::Gauges;
use super::gauges::is_pause;
use super::thinned::Thinned;
use crate::engine::Running;
use crate::exit::Outcome;
use crate::measure::{Spread, milliseconds, quantile};
use crate::program::{Program, Session};
use crate::random;
use crate::request::Measurement;

/// Every step of a plan, in its order.
pub(crate) struct StepTimes {
    pub(crate) steps: Vec<StepTime>,
    pub(crate) cost: Cost,
}

/// What a step takes in an inference, all its calls together.
pub(crate) struct StepTime {
    /// The value that it makes.
    pub(crate) name: String,
    pub(crate) kernel: &'static str,
    /// That of the convolution that the step is of, or else the kernel.
    pub(crate) algorithm: String,
    /// Height and width of the value, such as `56x56`; `-` where it has none.
    pub(crate) stage: String,
    /// The median.
    pub(crate) ms: f64,
    pub(crate) calls: usize,
    /// By the definition of the convolution or product, whatever computes it.
    pub(crate) multiply_adds: usize,
    /// What these are of.
    pub(crate) element: Element,
    /// Read and written, each once a call.
    pub(crate) bytes: usize,
}

/// What the clocks cost: medians of whole inferences, with and without them in turns.
pub(crate) struct Cost {
    pub(crate) with_clocks_ms: f64,
    pub(crate) without_ms: f64,
    /// Of inferences without clocks.
    pub(crate) spread: Spread,
}

impl StepTime {
    /// Operations, of which a multiply-add is two.
    pub(crate) fn operations(&self) -> f64 {
        2.0 * self.multiply_adds as f64
    }

    /// 10⁹ operations a second, where there are any.
    pub(crate) fn gflops(&self) -> Option<f64> {
        (self.multiply_adds > 0 && self.ms > 0.0).then(|| self.operations() / self.ms / 1e6)
    }

    /// 10⁹ bytes a second.
    pub(crate) fn gigabytes(&self) -> Option<f64> {
        (self.ms > 0.0).then(|| self.bytes as f64 / self.ms / 1e6)
    }
}

impl StepTimes {
    /// Runs the program on random inputs, with clocks around its steps and without, in turns. Gauges measure the
    /// machine in between.
    ///
    /// # Errors
    /// Those of [`Session::new`], of [`Session::run`] and of [`Gauges::measure`].
    pub(crate) fn measure(
        running: &Running,
        program: &Program,
        threads: NonZeroUsize,
        what: &Measurement,
        mut gauges: Option<&mut Gauges>,
    ) -> Outcome<StepTimes> {
        let plan = &running.plan;
        let mut session = Session::new(program, threads)?;
        let mut prepared = session.prepare(random::arrays(program.inputs(), what.seed)?)?;
        for _ in 0..what.warmup {
            session.run_prepared(&mut prepared)?;
        }
        let mut runs = Thinned::new();
        let (mut with_clocks, mut without) = (Thinned::new(), Thinned::new());
        for iteration in 0..what.iterations.get() {
            if let Some(gauges) =
                gauges.as_deref_mut().filter(|_| is_pause(iteration, what.iterations))
            {
                gauges.measure()?;
                // An inference that does not count: caches hold what the gauges have read.
                session.run_prepared(&mut prepared)?;
            }
            let begin = Instant::now();
            let calls = session.time_calls(&mut prepared)?;
            with_clocks.add(milliseconds(begin));
            runs.add(plan.by_step(&calls));
            let begin = Instant::now();
            session.run_prepared(&mut prepared)?;
            without.add(milliseconds(begin));
        }
        let about = About::of(running);
        let each = plan.steps.iter().enumerate();
        let steps = each.map(|(number, step)| {
            let times: Vec<f64> = runs.kept().iter().map(|run| run[number].0).collect();
            let calls = runs.kept().last().map_or(0, |run| run[number].1);
            about.step(step, median(&times), calls)
        });
        let cost = Cost {
            with_clocks_ms: median(with_clocks.kept()),
            without_ms: median(without.kept()),
            spread: Spread::of(without.kept()),
        };
        Ok(StepTimes { steps: steps.collect(), cost })
    }

    /// What all steps take.
    pub(crate) fn total_ms(&self) -> f64 {
        self.steps.iter().map(|step| step.ms).sum()
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// What is known of the values that steps make, by name.
struct About<'r> {
    graph: &'r Graph,
    nodes: BTreeMap<&'r str, NodeId>,
    taken: BTreeMap<&'r str, &'r Choice>,
}

impl<'r> About<'r> {
    fn of(running: &'r Running) -> About<'r> {
        let graph = &running.graph;
        let nodes = graph.nodes().map(|id| (graph.node(id).name.as_str(), id)).collect();
        let taken = running.taken().collect();
        About { graph, nodes, taken }
    }

    fn step(&self, step: &Step, ms: f64, calls: usize) -> StepTime {
        StepTime {
            name: step.name.clone(),
            kernel: step.kernel.name(),
            algorithm: self.algorithm(step),
            stage: self.stage(step),
            ms,
            calls,
            multiply_adds: calls * step.kernel.multiply_adds(),
            element: step.kernel.multiplies(),
            bytes: calls * step.bytes(),
        }
    }

    /// Borders around a convolution are no part of its algorithm, nor are copies unless they are its own.
    fn algorithm(&self, step: &Step) -> String {
        let kernel = step.kernel.name();
        let is_of = |choice: &Choice| {
            let own = algorithm_of(choice).is_some_and(|info| info.has(kernel));
            own || step.kernel.multiply_adds() > 0
        };
        let choice = self.taken.get(step.name.as_str());
        let taken = choice.filter(|choice| is_of(choice));
        taken.map_or(kernel, |choice| choice.algorithm()).to_owned()
    }

    fn stage(&self, step: &Step) -> String {
        let axes = self.nodes.get(step.name.as_str()).map(|id| &self.graph.ty(*id).axes);
        match axes.map(Vec::as_slice) {
            Some([_, _, rows, columns]) => format!("{}x{}", Axis::size(rows), Axis::size(columns)),
            Some(_) | None => "-".into(),
        }
    }
}
