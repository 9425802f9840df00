//! One stream of inferences: a thread of its own with a session, which it now and then makes anew.

use std::num::NonZeroUsize;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use cardinal_runtime::{Session, Tensor};

use crate::misuse::{MISUSES, Place};
use crate::random::Random;
use crate::source::{From, Source};

/// One call in so many is wrong, or on numbers that are none.
const MISUSE_EVERY: usize = 100;

/// A session is dropped after so many calls, on average.
const SESSION_CALLS: usize = 200;

/// One new session in so many has a program that was loaded anew.
const RELOAD_EVERY: usize = 4;

/// What streams have done.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) inferences: u64,
    /// Results that are not the first run's.
    pub(crate) wrong: u64,
    pub(crate) misuses: u64,
    /// Mistakes that were not refused with their errors, or that changed an output.
    pub(crate) unrefused: u64,
    pub(crate) sessions: u64,
    pub(crate) loads: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.inferences += other.inferences;
        self.wrong += other.wrong;
        self.misuses += other.misuses;
        self.unrefused += other.unrefused;
        self.sessions += other.sessions;
        self.loads += other.loads;
    }
}

/// A stream between two moments at which memory is measured.
pub(crate) struct Stream<'a> {
    source: &'a Source,
    threads: NonZeroUsize,
    random: Random,
    session: Session,
    outputs: Vec<Tensor>,
    pub(crate) counts: Counts,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(source: &'a Source, threads: usize, seed: u64) -> Stream<'a> {
        let threads = NonZeroUsize::new(threads).expect("threads");
        let session = Session::new(source.program(From::Memory), threads).expect("a session");
        let outputs = session.new_outputs().expect("outputs");
        let counts = Counts::default();
        Stream { source, threads, random: Random(seed), session, outputs, counts }
    }

    /// Runs for so long.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if self.random.once_in(SESSION_CALLS) {
                let from = self.renew();
                self.session_from(from);
            }
            let ordinary = self.source.inputs.len() - 1;
            if !self.random.once_in(MISUSE_EVERY) {
                let input = self.random.below(ordinary);
                self.infer(input);
                continue;
            }
            match MISUSES.get(self.random.below(MISUSES.len() + 1)) {
                Some(misuse) => self.misuse(*misuse),
                None => self.infer(ordinary),
            }
        }
    }

    /// Goes on in a state that is the same whatever was before: with a session of the program that
    /// others share, which has run once.
    pub(crate) fn settle(&mut self) {
        self.session_from(From::Memory);
        self.infer(0);
    }

    /// Where the next session's program is from, which sometimes is loaded anew.
    fn renew(&mut self) -> From {
        let from = [From::Memory, From::File][self.random.below(2)];
        if self.random.once_in(RELOAD_EVERY) {
            self.source.reload(from);
            self.counts.loads += 1;
        }
        from
    }

    fn session_from(&mut self, from: From) {
        let program = self.source.program(from);
        self.session = Session::new(program, self.threads).expect("a session");
        self.counts.sessions += 1;
    }

    /// Runs once, in one of the three ways to run, and compares with the first run.
    fn infer(&mut self, input: usize) {
        let (x, expected) = (&self.source.inputs[input], &self.source.expected[input]);
        self.outputs[0].as_bytes_mut().fill(0xFF);
        match self.random.below(3) {
            0 => self.outputs = self.session.run(from_ref(x)).expect("a result"),
            1 => self.session.run_into(&[x], &mut self.outputs).expect("a result"),
            _ => {
                let outputs = self.outputs.iter_mut().map(Tensor::as_bytes_mut);
                self.session.run_slices([x.as_bytes()], outputs).expect("a result");
            }
        }
        self.counts.inferences += 1;
        self.counts.wrong += u64::from(self.outputs[0] != *expected);
    }

    fn misuse(&mut self, misuse: fn(&mut Place<'_>) -> bool) {
        self.outputs[0].as_bytes_mut().fill(0x55);
        let refused = misuse(&mut Place {
            session: &mut self.session,
            artifact: &self.source.artifact,
            input: &self.source.inputs[0],
            outputs: &mut self.outputs,
        });
        let untouched = self.outputs[0].as_bytes().iter().all(|byte| *byte == 0x55);
        self.counts.misuses += 1;
        self.counts.unrefused += u64::from(!(refused && untouched));
    }
}
