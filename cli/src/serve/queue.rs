//! Requests that wait, and the batches that they become.
//!
//! Each model has a queue of its own, and models take turns. A batch begins when its rows are as many as the model
//! takes at once, or when the oldest of them has waited for long enough. Requests with more rows than that take turns
//! too: each has one batch's rows run, and goes to the queue's end with the others.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rows::{Answer, Part, Rows};

/// Requests that wait for inferences.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// How long a batch that is not full waits.
    delay: Duration,
}

struct State {
    models: Vec<Line>,
    /// The model whose turn it is.
    turn: usize,
    is_closed: bool,
}

/// The queue of one model.
struct Line {
    batch: usize,
    waiting: VecDeque<Waiting>,
}

/// A request with rows that are not run.
struct Waiting {
    rows: Arc<Rows>,
    answer: Arc<Answer>,
    /// The first row that is not run.
    next: usize,
    /// When it waits for no others any more.
    ready: Instant,
}

/// Rows of one model for one inference.
pub(super) struct Batch {
    /// Which model.
    pub(super) model: usize,
    /// Whose rows; none is empty.
    pub(super) parts: Vec<Part>,
}

impl Queue {
    /// For models that take so many rows at once.
    pub(super) fn new(batches: impl Iterator<Item = usize>, delay: Duration) -> Queue {
        let models = batches.map(|batch| Line { batch, waiting: VecDeque::new() }).collect();
        let state = State { models, turn: 0, is_closed: false };
        Queue { state: Mutex::new(state), changed: Condvar::new(), delay }
    }

    /// Adds a request.
    pub(super) fn add(&self, model: usize, rows: Rows, answer: Answer) {
        let ready = Instant::now() + self.delay;
        let (rows, answer) = (Arc::new(rows), Arc::new(answer));
        if let Some(line) = self.lock().models.get_mut(model) {
            line.waiting.push_back(Waiting { rows, answer, next: 0, ready });
        }
        self.changed.notify_one();
    }

    /// Waits for a batch; `None` when the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(batch) = state.take(now) {
                // Whoever is notified looks at all that is left.
                self.changed.notify_one();
                return Some(batch);
            }
            let earliest = state.earliest();
            if state.is_closed && earliest.is_none() {
                return None;
            }
            state = match earliest {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(ready) => {
                    let waited = self.changed.wait_timeout(state, ready.duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Says that no more will come.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A batch of the next model, in turn, that has one.
    fn take(&mut self, now: Instant) -> Option<Batch> {
        let (count, is_closed) = (self.models.len(), self.is_closed);
        for model in (0..count).map(|step| (self.turn + step) % count) {
            let line = &mut self.models[model];
            line.waiting.retain(|waiting| !waiting.answer.is_unwanted());
            if line.is_ready(now) || is_closed && !line.waiting.is_empty() {
                self.turn = (model + 1) % count;
                return Some(Batch { model, parts: line.take() });
            }
        }
        None
    }

    /// When the first request waits for no others any more.
    fn earliest(&self) -> Option<Instant> {
        let waiting = self.models.iter().flat_map(|line| &line.waiting);
        waiting.map(|waiting| waiting.ready).min()
    }
}

impl Line {
    fn is_ready(&self, now: Instant) -> bool {
        let rows: usize = self.waiting.iter().map(Waiting::left).sum();
        rows >= self.batch || self.waiting.iter().any(|waiting| waiting.ready <= now)
    }

    /// Takes rows of one request after the other until the batch is full.
    fn take(&mut self) -> Vec<Part> {
        let (mut parts, mut room) = (Vec::new(), self.batch);
        while room > 0
            && let Some(mut waiting) = self.waiting.pop_front()
        {
            let range = waiting.next..waiting.next + waiting.left().min(room);
            room -= range.len();
            waiting.next = range.end;
            waiting.answer.begin();
            let (rows, answer) = (Arc::clone(&waiting.rows), Arc::clone(&waiting.answer));
            parts.push(Part { rows, range, answer });
            if waiting.left() > 0 {
                self.waiting.push_back(waiting);
            }
        }
        parts
    }
}

impl Waiting {
    fn left(&self) -> usize {
        self.rows.count - self.next
    }
}
