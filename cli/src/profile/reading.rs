//! Threads that read memory together, for its bandwidth.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::RwLock;
use std::thread::{self, Builder};
use std::time::Instant;

use crate::exit::{Failure, Outcome};

const WORD: usize = size_of::<u64>();

/// Memory that threads read, a part at a time.
pub(super) struct Reading {
    words: Vec<u64>,
    /// Words of a part.
    part: usize,
    /// The part that is read next.
    next: usize,
    threads: NonZeroUsize,
    /// How often a part is read.
    times: usize,
}

impl Reading {
    /// About so many bytes in so many parts, each read so many times over by all threads together.
    ///
    /// # Errors
    /// [`Failure::Failed`] for want of memory.
    pub(super) fn new(
        threads: NonZeroUsize,
        bytes: usize,
        parts: usize,
        times: usize,
    ) -> Outcome<Reading> {
        let part = (bytes / WORD).div_ceil(parts);
        let mut words = Vec::new();
        let all = part * parts;
        words.try_reserve_exact(all).map_err(|_| Failure::memory(all * WORD))?;
        // Pages that were never written to would all be one.
        words.resize(all, 1u64);
        Ok(Reading { words, part, next: 0, threads, times })
    }

    /// 10⁹ bytes a second, of the next part.
    ///
    /// # Errors
    /// [`Failure::Failed`] where a thread does not start.
    pub(super) fn gigabytes(&mut self) -> Outcome<f64> {
        let Reading { times, threads, .. } = *self;
        let part = self.turn();
        let bytes = size_of_val(part) * times;
        let seconds = seconds(part, times, threads)?;
        Ok(bytes as f64 / seconds / 1e9)
    }

    /// The next part.
    fn turn(&mut self) -> &[u64] {
        let begin = self.next * self.part;
        self.next = (self.next + 1) % (self.words.len() / self.part);
        &self.words[begin..begin + self.part]
    }
}

/// How long threads take to read words together, so many times over, from when all have been started.
fn seconds(words: &[u64], times: usize, threads: NonZeroUsize) -> Outcome<f64> {
    let read = |share: &[u64]| {
        (0..times).for_each(|_| _ = black_box(sum(black_box(share))));
    };
    let gate = RwLock::new(());
    let begin = thread::scope(|scope| {
        let closed = gate.write();
        // The last share is this thread's.
        let mut shares = words.chunks(words.len().div_ceil(threads.get()));
        let own = shares.next_back();
        for share in shares {
            let wait_and_read = || {
                drop(gate.read());
                read(share);
            };
            Builder::new().spawn_scoped(scope, wait_and_read).map_err(not_started)?;
        }
        let begin = Instant::now();
        drop(closed);
        own.into_iter().for_each(read);
        Ok(begin)
    })?;
    Ok(begin.elapsed().as_secs_f64())
}

fn not_started(error: std::io::Error) -> Failure {
    Failure::Failed(format!("a thread that measures the bandwidth does not start: {error}"))
}

/// Something that every word has a part in, as fast as words can be loaded.
fn sum(words: &[u64]) -> u64 {
    let (rows, _) = words.as_chunks::<8>();
    rows.iter().fold(0, |sum: u64, [a, b, c, d, e, f, g, h]| {
        sum.wrapping_add((a ^ b) ^ (c ^ d) ^ ((e ^ f) ^ (g ^ h)))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is a panic")]
mod tests {
    use super::*;

    /// So what was read is read again only after all others, which throw it out of caches.
    #[test]
    fn parts_take_turns_and_are_all_of_the_memory() {
        let mut reading = Reading::new(NonZeroUsize::MIN, 80_000, 4, 1).unwrap();
        let places: Vec<_> = (0..8).map(|_| reading.turn().as_ptr_range()).collect();
        assert_eq!(places[..4], places[4..]);
        assert_eq!(places[0].start, reading.words.as_ptr_range().start);
        assert_eq!(places[3].end, reading.words.as_ptr_range().end);
        assert!(places[..4].windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn any_number_of_threads_reads() {
        for threads in [1, 2, 3, 7] {
            let threads = NonZeroUsize::new(threads).unwrap();
            let mut reading = Reading::new(threads, 4096, 2, 3).unwrap();
            assert!((0..3).all(|_| reading.gigabytes().unwrap() > 0.0));
        }
    }
}
