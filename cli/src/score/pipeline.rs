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

/// How many images an inference takes.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    /// At most.
    most: usize,
    /// Whether it takes fewer, too.
    takes_fewer: bool,
}

/// Everything that it takes to score.
pub(super) struct Pipeline<'a> {
    reading: &'a Reading,
    batch: Batch,
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
        let batch = Batch { most: program.batch(), takes_fewer: program.takes_fewer() };
        Ok(Pipeline { reading, batch, sessions })
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
                let waiting = Vec::new();
                let mut batches = Batches { to_workers, to_writer, batch: batch.most, waiting };
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
    batch: Batch,
    session: &mut Session,
) -> bool {
    let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
    let Ok((items, reply)) = next else { return false };
    // Where nobody takes the rows, the batches end soon.
    let _ = reply.send(score(&items, reading, batch, session));
    true
}

/// The rows of a batch. Where the model takes no fewer images, the last that is good stands in the place of those
/// that are missing.
pub(super) fn score(
    items: &[Item],
    reading: &Reading,
    batch: Batch,
    session: &mut Session,
) -> Outcome<Vec<Row>> {
    let mut decoded: Vec<Outcome<Array>> = items.iter().map(|item| reading.decode(item)).collect();
    if let Some(at) = decoded.iter().position(|d| d.as_ref().is_err_and(|f| !f.is_of_an_image())) {
        return decoded.swap_remove(at).map(|_| Vec::new());
    }
    let mut good: Vec<Array> = decoded.iter().flatten().cloned().collect();
    if let Some(last) = good.last().cloned().filter(|_| !batch.takes_fewer) {
        good.resize(batch.most, last);
    }
    let made = if good.is_empty() { Vec::new() } else { infer(&good, reading, session)? };
    let mut made = made.into_iter();
    let row = |(decoded, item): (Outcome<Array>, &Item)| {
        let row = match decoded {
            Ok(_) => made.next().unwrap_or_default(),
            Err(failure) => Row::failed(&failure),
        };
        Row { key: item.key.clone(), ..row }
    };
    Ok(decoded.into_iter().zip(items).map(row).collect())
}

fn infer(images: &[Array], reading: &Reading, session: &mut Session) -> Outcome<Vec<Row>> {
    let input = Array::concatenate(images);
    let input = input.ok_or_else(|| Failure::Failed("a batch has no images".into()))?;
    let outputs = session.run(vec![input])?;
    Ok(outputs.first().map(|output| reading.rows(output)).unwrap_or_default())
}
