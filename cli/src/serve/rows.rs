//! What a request asks for and what it gets: rows of a model's inputs and outputs, as bytes.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::hosted::{Hosted, RowShape};
use super::refusal::Refusal;
use crate::exit::{Failure, Outcome};
use crate::program::Session;
use crate::tensors::{Array, room};

/// The inputs of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// How many there are, at least one.
    pub(super) count: usize,
    /// All rows of each input of the model.
    pub(super) inputs: Vec<Bytes>,
}

/// The outputs of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outputs {
    /// How many rows there are.
    pub(super) count: usize,
    /// All rows of each output of the model.
    pub(super) tensors: Vec<Vec<u8>>,
    /// How long the first of them waited to be run.
    pub(super) queued: Duration,
}

/// Who waits for the outputs of a request.
pub(super) type Promise = oneshot::Receiver<Result<Outputs, Refusal>>;

/// What is given back by being dropped.
pub(super) type Held = Box<dyn Send + Sync>;

/// Where the outputs of a request are put together, from however many inferences.
pub(super) struct Answer {
    since: Instant,
    gathered: Mutex<Gathered>,
    /// What the request holds until nobody knows of it any more.
    _held: Held,
}

struct Gathered {
    outputs: Vec<Vec<u8>>,
    count: usize,
    missing: usize,
    queued: Option<Duration>,
    /// Nobody, once they have their answer.
    to: Option<oneshot::Sender<Result<Outputs, Refusal>>>,
}

impl Answer {
    /// Room for so many rows. As long as anybody knows of it, it holds what it is given.
    ///
    /// # Errors
    /// [`Failure::Failed`] for want of memory.
    pub(super) fn new(shape: &RowShape, count: usize, held: Held) -> Outcome<(Answer, Promise)> {
        let output = |row: &usize| {
            let bytes = row * count;
            let mut output = room(bytes)?;
            output.resize(bytes, 0);
            Ok(output)
        };
        let outputs = shape.outputs.iter().map(output).collect::<Outcome<Vec<Vec<u8>>>>()?;
        let (to, promise) = oneshot::channel();
        let gathered = Gathered { outputs, count, missing: count, queued: None, to: Some(to) };
        let answer = Answer { since: Instant::now(), gathered: Mutex::new(gathered), _held: held };
        Ok((answer, promise))
    }

    /// Whether nobody waits for it: it is given, or whoever waited has gone.
    pub(super) fn is_unwanted(&self) -> bool {
        self.lock().to.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Says that some of it is about to be run.
    pub(super) fn begin(&self) {
        self.lock().queued.get_or_insert_with(|| self.since.elapsed());
    }

    /// Refuses it, unless it has been given.
    pub(super) fn refuse(&self, refusal: &Refusal) {
        if let Some(to) = self.lock().to.take() {
            // Whoever has gone misses nothing.
            let _ = to.send(Err(refusal.clone()));
        }
    }

    /// Takes rows of outputs, of which those from `from` on are the request's rows of this range. Gives it when none
    /// is missing.
    fn take(&self, range: Range<usize>, outputs: &[Array], from: usize, shape: &RowShape) {
        let mut gathered = self.lock();
        let rows = range.len();
        for ((whole, part), row) in gathered.outputs.iter_mut().zip(outputs).zip(&shape.outputs) {
            let (to, from) = (range.start * row..range.end * row, from * row..(from + rows) * row);
            if let (Some(to), Some(from)) = (whole.get_mut(to), part.bytes.get(from)) {
                to.copy_from_slice(from);
            }
        }
        gathered.missing = gathered.missing.saturating_sub(rows);
        if gathered.missing == 0
            && let Some(to) = gathered.to.take()
        {
            let tensors = std::mem::take(&mut gathered.outputs);
            let queued = gathered.queued.unwrap_or_default();
            // Whoever has gone misses nothing.
            let _ = to.send(Ok(Outputs { count: gathered.count, tensors, queued }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some rows of a request, to be run with others.
pub(super) struct Part {
    /// The request's inputs.
    pub(super) rows: Arc<Rows>,
    /// Which of its rows.
    pub(super) range: Range<usize>,
    /// Where the outputs go.
    pub(super) answer: Arc<Answer>,
}

/// Runs these rows in one inference, at most as many as the model takes at once; the last again where there are
/// fewer and the model does not take fewer.
///
/// # Errors
/// Those of the session.
pub(super) fn run_rows(
    model: &Hosted,
    session: &mut Session,
    parts: &[Part],
) -> Outcome<Vec<Array>> {
    let inputs = model.program.inputs().iter().zip(&model.rows.inputs).enumerate();
    let there = parts.iter().map(|part| part.range.len()).sum();
    let count = if model.program.takes_fewer() { there } else { model.rows.batch };
    let arrays = inputs.map(|(index, (spec, row))| {
        let whole = row * count;
        let mut bytes = room(whole)?;
        for Part { rows, range, .. } in parts {
            let part =
                rows.inputs.get(index).and_then(|all| all.get(range.start * row..range.end * row));
            bytes.extend_from_slice(part.ok_or_else(missing)?);
        }
        let last = bytes.len().saturating_sub(*row)..bytes.len();
        while bytes.len() < whole && !last.is_empty() {
            bytes.extend_from_within(last.clone());
        }
        Ok(Array { dtype: spec.dtype, shape: model.rows.shape(spec, count), bytes })
    });
    session.run(arrays.collect::<Outcome<Vec<Array>>>()?)
}

fn missing() -> Failure {
    Failure::Failed("a request has fewer rows than it says".into())
}

/// Gives each request its own rows of the outputs.
pub(super) fn hand_out(outputs: &[Array], parts: &[Part], shape: &RowShape) {
    let mut from = 0;
    for Part { range, answer, .. } in parts {
        answer.take(range.clone(), outputs, from, shape);
        from += range.len();
    }
}
