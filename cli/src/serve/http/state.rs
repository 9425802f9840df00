//! What all requests share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::serve::hosted::{Hosted, VERSION};
use crate::serve::metrics::Metrics;
use crate::serve::queue::Queue;
use crate::serve::refusal::Refusal;
use crate::serve::rows::{Answer, Outputs, Rows};

/// How much of `--max-body` all bodies together may take.
const BODIES: usize = 8;

/// Bytes of a unit of memory that is charged for.
const UNIT: usize = 1 << 10;

/// What clients may ask for.
#[derive(Debug, Clone, Copy)]
pub(in crate::serve) struct Limits {
    /// Requests that wait or run.
    pub(in crate::serve) queue: usize,
    /// From a request's header to its answer.
    pub(in crate::serve) timeout: Duration,
    /// Bytes of a body, and of the tensors of a request.
    pub(in crate::serve) body: usize,
}

/// What all requests share.
pub(in crate::serve) struct State {
    pub(super) models: Arc<[Hosted]>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Limits,
    queue: Arc<Queue>,
    places: Arc<Semaphore>,
    /// Units that bodies and tensors may take.
    memory: Arc<Semaphore>,
}

impl State {
    /// For these models, whose batches are run from this queue.
    pub(in crate::serve) fn new(
        models: Arc<[Hosted]>,
        queue: Arc<Queue>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> State {
        let most = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let memory = most(limits.body.saturating_mul(BODIES).div_ceil(UNIT));
        State { models, metrics, queue, places: most(limits.queue), memory, limits }
    }

    /// The model of this name, and its place among all.
    ///
    /// # Errors
    /// 404, with the names that there are.
    pub(super) fn find(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<(usize, &Hosted), Refusal> {
        let missing = |what: String| Refusal::new(StatusCode::NOT_FOUND, what);
        let names = || self.models.iter().map(|model| format!("`{}`", model.name));
        let found = self.models.iter().enumerate().find(|(_, model)| model.name == name);
        let found = found.ok_or_else(|| {
            let names = names().collect::<Vec<_>>().join(", ");
            missing(format!("there is no model `{name}`; there are {names}"))
        })?;
        match version {
            None | Some(VERSION) => Ok(found),
            Some(other) => {
                Err(missing(format!("model `{name}` has version {VERSION} and no `{other}`")))
            }
        }
    }

    /// Refuses what would not be taken on, before its body is read.
    ///
    /// # Errors
    /// 503
    pub(super) fn check_queue(&self) -> Result<(), Refusal> {
        match self.places.available_permits() {
            0 => Err(self.full()),
            _ => Ok(()),
        }
    }

    /// How many requests wait or run.
    pub(super) fn taken_on(&self) -> usize {
        self.limits.queue.saturating_sub(self.places.available_permits())
    }

    fn full(&self) -> Refusal {
        Refusal::busy(format!(
            "{} requests wait or run already, which is the most (--queue)",
            self.limits.queue
        ))
    }

    /// Charges for so many bytes in all.
    ///
    /// # Errors
    /// 503
    pub(super) fn charge(&self, memory: &mut Memory, bytes: usize) -> Result<(), Refusal> {
        let held = memory.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(more) = bytes.div_ceil(UNIT).checked_sub(held).filter(|more| *more > 0) else {
            return Ok(());
        };
        let more = u32::try_from(more).ok();
        let more = more.and_then(|n| Arc::clone(&self.memory).try_acquire_many_owned(n).ok());
        let more = more.ok_or_else(|| {
            Refusal::busy("other requests take the memory that there is for them (--max-body)")
        })?;
        match &mut memory.0 {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    /// Runs rows of a model, when their turn comes. Gives the outputs, and what their memory is charged by.
    ///
    /// # Errors
    /// 503 where there is no room for them, 504 where their turn does not come in time, and those of the inference.
    pub(super) async fn run(
        &self,
        model: usize,
        rows: Rows,
        deadline: Instant,
    ) -> Result<(Outputs, Arc<Memory>), Refusal> {
        let hosted = self.models.get(model).ok_or_else(Refusal::internal)?;
        let mut memory = Memory::default();
        self.charge(&mut memory, hosted.rows.bytes().saturating_mul(rows.count))?;
        let memory = Arc::new(memory);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| self.full())?;
        let held = Held { _place: place, _memory: Arc::clone(&memory) };
        let (answer, promise) = Answer::new(&hosted.rows, rows.count, Box::new(held))?;
        self.queue.add(model, rows, answer);
        let outputs = timeout_at(deadline.into(), promise).await.map_err(|_| self.late())?;
        let outputs = outputs.map_err(|_| Refusal::internal())??;
        self.metrics.add_queued(&hosted.name, outputs.queued);
        Ok((outputs, memory))
    }

    /// The refusal of what takes too long.
    pub(super) fn late(&self) -> Refusal {
        let message = format!("no answer within {:?} (--timeout)", self.limits.timeout);
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, message)
    }
}

/// What a request holds as long as the queue knows of it, even if its client does not wait any more.
struct Held {
    _place: OwnedSemaphorePermit,
    _memory: Arc<Memory>,
}

/// Memory that is charged for, until this is dropped.
#[derive(Default)]
pub(super) struct Memory(Option<OwnedSemaphorePermit>);

impl Memory {
    /// The same bytes, for which it is charged until the last of them are dropped.
    pub(super) fn keep(self: Arc<Memory>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _memory: self })
    }
}

struct Kept {
    bytes: Bytes,
    _memory: Arc<Memory>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
