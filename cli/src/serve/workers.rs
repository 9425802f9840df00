//! The threads that run batches, one inference at a time each.

use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::hosted::{Hosted, RowShape};
use super::metrics::Metrics;
use super::queue::{Batch, Queue};
use super::refusal::Refusal;
use super::rows::{hand_out, run_rows};
use crate::exit::{Failure, Outcome};
use crate::program::{Session, Threads};
use crate::random;
use crate::tensors::Array;

/// Workers that run batches until this is dropped, and then those that wait. Nobody waits for them: an inference that is
/// being run when the process ends has no one to be for.
pub(super) struct Workers(Arc<Queue>);

/// What runs a batch's rows in one inference.
type Run<'a> = &'a mut dyn FnMut(&Batch) -> Outcome<Vec<Array>>;

impl Workers {
    /// Starts so many, which share threads. Each has a session of every model, which has run once.
    ///
    /// # Errors
    /// Those of making sessions, and [`Failure::Failed`] where the system starts no thread.
    pub(super) fn start(
        count: NonZeroUsize,
        threads: NonZeroUsize,
        models: &Arc<[Hosted]>,
        queue: &Arc<Queue>,
        metrics: &Arc<Metrics>,
    ) -> Outcome<Workers> {
        let threads = Threads::new(threads)?;
        let workers = Workers(Arc::clone(queue));
        for index in 0..count.get() {
            let sessions = models.iter().map(|model| ready_session(model, &threads));
            let sessions = sessions.collect::<Outcome<Vec<Session>>>()?;
            let (models, queue, metrics) =
                (Arc::clone(models), Arc::clone(queue), Arc::clone(metrics));
            let worker = thread::Builder::new().name(format!("serve-{}", index + 1));
            let worker = worker.spawn(move || work_with(sessions, &models, &queue, &metrics));
            worker.map_err(|error| not_started(&error))?;
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A session that has run once, on random inputs: what is slow or fails the first time does so before any request.
fn ready_session(model: &Hosted, threads: &Threads) -> Outcome<Session> {
    let mut session = Session::sharing(&model.program, threads)?;
    session.run(random::arrays(model.program.inputs(), 0)?)?;
    Ok(session)
}

fn not_started(error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot start a thread: {error}"))
}

fn work_with(mut sessions: Vec<Session>, models: &[Hosted], queue: &Queue, metrics: &Metrics) {
    let kinds: Vec<Kind<'_>> =
        models.iter().map(|model| Kind { name: &model.name, rows: &model.rows }).collect();
    work(queue, &kinds, metrics, &mut |batch| match sessions.get_mut(batch.model) {
        Some(session) => run_rows(&models[batch.model], session, &batch.parts),
        None => Err(Failure::Failed("there is no such model".into())),
    });
}

/// What there is to know of a model whose rows somebody else runs.
struct Kind<'a> {
    name: &'a str,
    rows: &'a RowShape,
}

/// Runs batches until there are no more. What goes wrong with one, a panic too, is the answer to its requests.
fn work(queue: &Queue, models: &[Kind<'_>], metrics: &Metrics, run: Run<'_>) {
    while let Some(batch) = queue.next() {
        let begin = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&batch)));
        let Kind { name, rows } = models[batch.model];
        let count = batch.parts.iter().map(|part| part.range.len()).sum();
        metrics.add_inference(name, count, begin.elapsed());
        let refusal = match outcome {
            Ok(Ok(outputs)) => {
                hand_out(&outputs, &batch.parts, rows);
                continue;
            }
            Ok(Err(failure)) => Refusal::from(failure),
            Err(_) => Refusal::internal(),
        };
        batch.parts.iter().for_each(|part| part.answer.refuse(&refusal));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::serve::rows::{Answer, Outputs, Part, Rows};

    type Answered = Result<Outputs, Refusal>;

    /// What requests of so many rows get from a model whose rows are one f32 and become one. Row r of request n is
    /// 100 n + r.
    fn answers(batch: usize, counts: &[usize], run: Run<'_>) -> Vec<Answered> {
        let queue = Queue::new([batch].into_iter(), Duration::ZERO);
        let places = Arc::new(Semaphore::new(counts.len()));
        let rows = RowShape { is_open: true, batch, inputs: vec![4], outputs: vec![4] };
        let mut promises = Vec::new();
        for (n, count) in counts.iter().enumerate() {
            let place = Arc::clone(&places).try_acquire_owned().unwrap();
            let (answer, promise) = Answer::new(&rows, *count, Box::new(place)).unwrap();
            let input = (0..*count).flat_map(|row| ((n * 100 + row) as f32).to_le_bytes());
            let inputs = vec![input.collect::<Vec<u8>>().into()];
            queue.add(0, Rows { count: *count, inputs }, answer);
            promises.push(promise);
        }
        queue.close();
        work(&queue, &[Kind { name: "m", rows: &rows }], &Metrics::new(), run);
        assert_eq!(places.available_permits(), counts.len());
        promises.into_iter().map(|mut promise| promise.try_recv().unwrap()).collect()
    }

    /// The rows of a batch.
    fn rows(batch: &Batch) -> Vec<f32> {
        let part =
            |part: &Part| part.rows.inputs[0][part.range.start * 4..part.range.end * 4].to_vec();
        let bytes: Vec<u8> = batch.parts.iter().flat_map(part).collect();
        bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    fn doubled(batch: &Batch) -> Outcome<Vec<Array>> {
        let doubled: Vec<f32> = rows(batch).iter().map(|x| 2. * x).collect();
        Ok(vec![Array::from_f32(vec![doubled.len()], &doubled)])
    }

    fn is_doubled(n: usize, count: usize, answered: &Answered) -> bool {
        let expected = (0..count).flat_map(|row| (2. * (n * 100 + row) as f32).to_le_bytes());
        let outputs = answered.as_ref().unwrap();
        outputs.count == count && outputs.tensors == [expected.collect::<Vec<u8>>()]
    }

    #[test]
    fn requests_share_batches_and_get_their_own_rows() {
        let (mut sizes, counts) = (Vec::new(), [1, 2, 9, 1]);
        let answers = answers(4, &counts, &mut |batch| {
            sizes.push(rows(batch).len());
            doubled(batch)
        });
        assert_eq!(sizes, [4, 4, 4, 1]);
        for (n, (answered, count)) in answers.iter().zip(counts).enumerate() {
            assert!(is_doubled(n, count, answered), "{n}: {answered:?}");
        }
    }

    #[test]
    fn a_panic_costs_the_requests_of_its_inference() {
        let answers = answers(2, &[2, 2, 2], &mut |batch| {
            assert!(!rows(batch).contains(&100.), "a bug that this test expects");
            doubled(batch)
        });
        assert!(is_doubled(0, 2, &answers[0]) && is_doubled(2, 2, &answers[2]));
        let refusal = answers[1].as_ref().unwrap_err();
        assert_eq!(refusal.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
