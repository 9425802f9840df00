//! One inference in time, in the format of Chrome's traces, which Perfetto opens: a track of steps, and one for
//! each thread with what it did of them.

use std::num::NonZeroUsize;
use std::time::Duration;

use cardinal_compiler::plan::Plan;
use serde_json::{Value, json};

use crate::exit::Outcome;
use crate::program::{Program, Session, StepTrace};
use crate::random;
use crate::request::Measurement;

/// The track of steps; those of threads follow.
const STEPS: usize = 0;

/// An inference, call by call.
pub(crate) struct Timeline<'p> {
    plan: &'p Plan,
    threads: NonZeroUsize,
    /// In the order of the plan's sequence.
    calls: Vec<StepTrace>,
}

impl<'p> Timeline<'p> {
    /// Runs the program on random inputs, and traces an inference after some others: of as many as are to be
    /// measured, the fastest.
    ///
    /// # Errors
    /// Those of [`Session::new`] and of [`Session::run`].
    pub(crate) fn record(
        plan: &'p Plan,
        program: &Program,
        threads: NonZeroUsize,
        what: &Measurement,
    ) -> Outcome<Timeline<'p>> {
        let mut session = Session::new(program, threads)?;
        let mut prepared = session.prepare(random::arrays(program.inputs(), what.seed)?)?;
        for _ in 0..what.warmup {
            session.run_prepared(&mut prepared)?;
        }
        let end = |calls: &[StepTrace]| calls.last().map(|call| call.end);
        let mut calls = session.trace_calls(&mut prepared)?;
        for _ in 1..what.iterations.get() {
            let next = session.trace_calls(&mut prepared)?;
            if end(&next) < end(&calls) {
                calls = next;
            }
        }
        Ok(Timeline { plan, threads, calls })
    }

    /// The trace's events.
    pub(crate) fn to_json(&self) -> Value {
        let mut events: Vec<Value> = (0..=self.threads.get()).map(track).collect();
        let sequence = self.plan.sequence(self.plan.images().unwrap_or(0));
        for (call, number) in self.calls.iter().zip(sequence) {
            let step = &self.plan.steps[number];
            let event = |track: usize, begin: Duration, end: Duration| {
                json!({
                    "name": step.name,
                    "cat": step.kernel.name(),
                    "ph": "X",
                    "ts": microseconds(begin),
                    "dur": microseconds(end.saturating_sub(begin)),
                    "pid": 1,
                    "tid": track,
                    "args": { "kernel": step.kernel.name(), "step": number },
                })
            };
            events.push(event(STEPS, call.begin, call.end));
            let spans = call.spans.iter();
            events.extend(spans.map(|span| event(STEPS + 1 + span.thread, span.begin, span.end)));
        }
        json!({ "displayTimeUnit": "ms", "traceEvents": events })
    }
}

/// What a track is called.
fn track(number: usize) -> Value {
    let name = match number.checked_sub(STEPS + 1) {
        None => "steps".into(),
        Some(thread) => format!("thread {thread}"),
    };
    json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": { "name": name } })
}

fn microseconds(since: Duration) -> f64 {
    since.as_secs_f64() * 1e6
}
