//! Workers that turn batches of images into rows, and a queue that keeps the order.
//!
//! A batch goes through decoding, resizing and inference on one thread, with a session of one thread: no
//! core waits for another, whatever takes longer. One thread hands out batches, one takes the rows: for each
//! batch there is a channel of its own, and the channels stand in a queue in the order of the batches. The
//! queue's length is how far the workers may be ahead of the slowest batch.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::inputs::{Give, Item};
use super::row::{Reading, Row};
use crate::exit::{Failure, Outcome};
use crate::program::{Program, Session};
use crate::tensors::Array;

/// Batches for each worker that wait for a slower one before them.
const AHEAD: usize = 4;

/// A batch, and where its rows go.
type Work = (Vec<Item>, SyncSender<Outcome<Vec<Row>>>);

/// The rows of one batch, once they are there.
type Promise = Receiver<Outcome<Vec<Row>>>;

/// What gives items, one after the other.
pub(super) type Feed<'a> = &'a (dyn Fn(Give<'_>) -> Outcome + Sync);

/// Everything that it takes to score.
pub(super) struct Pipeline<'a> {
    reading: &'a Reading,
    batch: usize,
    /// One for each worker.
    sessions: Vec<Session>,
}

impl<'a> Pipeline<'a> {
    /// With so many workers.
    ///
    /// # Errors
    /// Those of making sessions.
    pub(super) fn new(
        program: &Program,
        reading: &'a Reading,
        threads: NonZeroUsize,
    ) -> Outcome<Pipeline<'a>> {
        let session = |_| Session::new(program, NonZeroUsize::MIN);
        let sessions = (0..threads.get()).map(session).collect::<Outcome<Vec<Session>>>()?;
        Ok(Pipeline { reading, batch: program.batch(), sessions })
    }

    /// Scores what `feed` gives, and gives the rows to `take` in the same order.
    ///
    /// # Errors
    /// Those of `feed` and of `take`, and those of the model, but not of single images.
    pub(super) fn run(self, feed: Feed<'_>, take: &mut dyn FnMut(Vec<Row>) -> Outcome) -> Outcome {
        let Pipeline { reading, batch, sessions } = self;
        let (to_workers, work) = sync_channel::<Work>(sessions.len());
        let (to_writer, promises) = sync_channel::<Promise>(sessions.len() * AHEAD);
        let work = Arc::new(Mutex::new(work));
        thread::scope(|scope| {
            for mut session in sessions {
                let work = Arc::clone(&work);
                scope.spawn(move || while answer(&work, reading, batch, &mut session) {});
            }
            // Without a reader, handing out ends.
            drop(work);
            let feeder = scope.spawn(move || {
                let mut batches = Batches { to_workers, to_writer, batch, waiting: Vec::new() };
                feed(&mut |item| batches.add(item))?;
                batches.hand_out()
            });
            let taken = promises.into_iter().try_for_each(|promise| match promise.recv() {
                Ok(rows) => take(rows?),
                Err(_) => Err(Failure::Failed("a worker has ended early".into())),
            });
            let fed = feeder.join();
            taken?;
            fed.unwrap_or_else(|_| {
                Err(Failure::Failed("reading the images has ended early".into()))
            })
        })
    }
}

/// Puts items together and hands them out.
struct Batches {
    to_workers: SyncSender<Work>,
    to_writer: SyncSender<Promise>,
    batch: usize,
    waiting: Vec<Item>,
}

impl Batches {
    fn add(&mut self, item: Item) -> Outcome {
        self.waiting.push(item);
        if self.waiting.len() < self.batch { Ok(()) } else { self.hand_out() }
    }

    fn hand_out(&mut self) -> Outcome {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (reply, promise) = sync_channel(1);
        let items = std::mem::take(&mut self.waiting);
        // Where nobody listens any more, whoever left has the error.
        let stopped = |()| Failure::Failed("scoring has ended early".into());
        self.to_writer.send(promise).map_err(|_| stopped(()))?;
        self.to_workers.send((items, reply)).map_err(|_| stopped(()))
    }
}

/// Scores one batch; `false` when there are no more.
fn answer(
    work: &Mutex<Receiver<Work>>,
    reading: &Reading,
    batch: usize,
    session: &mut Session,
) -> bool {
    let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
    let Ok((items, reply)) = next else { return false };
    // Where nobody takes the rows, the batches end soon.
    let _ = reply.send(score(&items, reading, batch, session));
    true
}

/// The rows of a batch. In the place of an image that is bad or missing stands another.
pub(super) fn score(
    items: &[Item],
    reading: &Reading,
    batch: usize,
    session: &mut Session,
) -> Outcome<Vec<Row>> {
    let mut decoded: Vec<Outcome<Array>> = items.iter().map(|item| reading.decode(item)).collect();
    if let Some(at) = decoded.iter().position(|d| d.as_ref().is_err_and(|f| !f.is_of_an_image())) {
        return decoded.swap_remove(at).map(|_| Vec::new());
    }
    let good: Vec<&Array> = decoded.iter().flatten().collect();
    let mut rows = match good.first() {
        None => Vec::new(),
        Some(any) => {
            let slots = (0..batch).map(|slot| match decoded.get(slot) {
                Some(Ok(array)) => array.clone(),
                Some(Err(_)) | None => (*any).clone(),
            });
            infer(&slots.collect::<Vec<Array>>(), reading, session)?
        }
    };
    rows.resize(items.len(), Row::default());
    for ((row, decoded), item) in rows.iter_mut().zip(decoded).zip(items) {
        if let Err(failure) = decoded {
            *row = Row::failed(&failure);
        }
        row.key.clone_from(&item.key);
    }
    Ok(rows)
}

fn infer(images: &[Array], reading: &Reading, session: &mut Session) -> Outcome<Vec<Row>> {
    let input = Array::concatenate(images);
    let input = input.ok_or_else(|| Failure::Failed("a batch has no images".into()))?;
    let outputs = session.run(vec![input])?;
    Ok(outputs.first().map(|output| reading.rows(output)).unwrap_or_default())
}
