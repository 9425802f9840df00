//! A fork-join pool for generated code: cheap forks, static ranges, no allocation.
//!
//! # Protocol
//!
//! A pool of N threads has N-1 workers; the thread that forks is the last. A fork splits `0..items`
//! into contiguous ranges, one per participant, at most one per item. Which thread runs a range
//! does not depend on timing, and what a kernel computes for an item does not depend on its range
//! (see [`abi::ParallelFor`](crate::abi::ParallelFor)), so results are the same for any N.
//!
//! The forking thread
//!
//! 1. takes `busy` (whoever finds it taken, as a nested fork would, runs its items inline),
//! 2. writes the job's fields and sets `remaining` to the number of participating workers,
//! 3. publishes a new `ticket`: a generation count and the number of participants in one word,
//! 4. unparks those participating workers that are parked, runs its own range, the last one,
//! 5. waits until `remaining` is 0, and releases `busy`.
//!
//! A worker waits until `ticket` differs from the one it saw last. If it participates, it reads the
//! job, runs its range and decrements `remaining`; otherwise it goes back to waiting. Why this is
//! enough:
//!
//! - *The job is read only while it is valid.* Its fields are relaxed; the ticket's store and load
//!   order them. Only a participant reads them, and the forking thread changes them no earlier than
//!   after that participant's decrement. A worker that is late sees the newest ticket only, and can
//!   have missed no ticket that it participates in, for that fork would still be waiting.
//! - *The results are visible.* Decrements release, and the wait for 0 acquires.
//! - *No wake-up is lost.* Before it parks, a worker sets its `parked` flag and then looks at the
//!   ticket again; the forking thread stores the ticket and then looks at the flags. All four are
//!   sequentially consistent, so at least one side sees the other. An unpark that comes before the
//!   park makes it return at once. The wait for `remaining` uses the flag `joining` the same way,
//!   and a mutex keeps the notification from falling between the look and the wait.
//!
//! Waiting spins for [`SPIN`], longer than the gap between the layers of a model, then sleeps. Being
//! dropped sets `stop`, publishes a ticket in which everybody participates, and joins the workers.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::abi::Kernel;
use crate::float_mode::FloatMode;

/// How long a thread spins before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// Pauses between two looks at the clock.
const PAUSES: u32 = 32;

/// Low bits of a ticket: how many workers participate. The rest counts generations.
const PARTICIPANT_BITS: u32 = 16;
const PARTICIPANTS: u64 = (1 << PARTICIPANT_BITS) - 1;

/// Keeps what different threads write on different cache lines (and off the adjacent one, which
/// prefetchers bring along).
#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// What the forking thread and the workers share.
#[derive(Default)]
struct Shared {
    ticket: Padded<AtomicU64>,
    remaining: Padded<AtomicUsize>,
    job: Padded<Job>,
    /// One flag per worker.
    parked: Vec<Padded<AtomicBool>>,
    stop: AtomicBool,
    joining: AtomicBool,
    join_lock: Mutex<()>,
    joined: Condvar,
}

/// A kernel's call, in atomics because a job is written while others may hold references to it;
/// `ticket` and `remaining` do the ordering.
#[derive(Default)]
struct Job {
    kernel: AtomicPtr<c_void>,
    args: AtomicPtr<c_void>,
    items: AtomicUsize,
}

impl Job {
    fn write(&self, kernel: Kernel, args: *const c_void, items: usize) {
        self.kernel.store(kernel as *mut c_void, Ordering::Relaxed);
        self.args.store(args.cast_mut(), Ordering::Relaxed);
        self.items.store(items, Ordering::Relaxed);
    }

    /// Runs one participant's range.
    ///
    /// # Safety
    ///
    /// A [`write`](Self::write) must happen before, whose kernel may be called with these arguments
    /// on this range.
    unsafe fn run(&self, part: usize, parts: usize) {
        let kernel = self.kernel.load(Ordering::Relaxed);
        // SAFETY: `write` stored a function of this type.
        let kernel = unsafe { std::mem::transmute::<*mut c_void, Kernel>(kernel) };
        let args = self.args.load(Ordering::Relaxed);
        let range = part_of(self.items.load(Ordering::Relaxed), part, parts);
        // SAFETY: the caller's promise.
        unsafe { kernel(args, range.start, range.end, part) }
    }
}

/// The `part`th of `parts` contiguous ranges of `0..items`, whose lengths differ by 1 at most.
fn part_of(items: usize, part: usize, parts: usize) -> Range<usize> {
    let (length, longer) = (items / parts, items % parts);
    let begin = part * length + part.min(longer);
    begin..begin + length + usize::from(part < longer)
}

/// N-1 worker threads, and room for the caller as the Nth.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    busy: AtomicBool,
}

impl Pool {
    /// Starts `threads - 1` workers. If one cannot be started, those before it are stopped.
    ///
    /// There must be fewer than 65536 threads.
    pub(crate) fn new(threads: NonZeroUsize) -> io::Result<Pool> {
        let count = threads.get() - 1;
        debug_assert!(count as u64 <= PARTICIPANTS);
        let parked = std::iter::repeat_with(Padded::default).take(count).collect();
        let shared = Arc::new(Shared { parked, ..Shared::default() });
        let mut pool = Pool { shared, workers: Vec::with_capacity(count), busy: false.into() };
        for index in 0..count {
            let worker = start_worker(Arc::clone(&pool.shared), index)?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Number of threads, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `kernel` over `0..items` on all threads, and returns when all are done.
    ///
    /// # Safety
    ///
    /// `kernel` may be called with `args` on any disjoint ranges of `0..items`, from any threads at
    /// once, and does not unwind.
    pub(crate) unsafe fn parallel_for(&self, kernel: Kernel, args: *const c_void, items: usize) {
        let parts = items.min(self.threads());
        if parts > 1 && !self.busy.swap(true, Ordering::Acquire) {
            // SAFETY: the caller's promise; `busy` was free, and is ours.
            unsafe { self.fork(kernel, args, items, parts) };
            self.busy.store(false, Ordering::Release);
        } else if items > 0 {
            // SAFETY: the caller's promise.
            unsafe { kernel(args, 0, items, 0) }
        }
    }

    /// Does `work` on ranges that make up `0..items`, on all threads, and returns when all is done. The
    /// workers are in the floating-point mode of generated code. A panic ends the process.
    pub(crate) fn for_ranges(&self, items: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        // SAFETY: `call` takes a reference to such work, which may be done by several threads, and it
        // does not unwind.
        unsafe { self.parallel_for(call, std::ptr::from_ref(&work).cast(), items) }
    }

    /// # Safety
    ///
    /// As [`parallel_for`](Self::parallel_for); and nobody else is forking, and `parts` is between 2
    /// and the number of threads.
    unsafe fn fork(&self, kernel: Kernel, args: *const c_void, items: usize, parts: usize) {
        let participants = parts - 1;
        self.shared.job.0.write(kernel, args, items);
        self.shared.remaining.0.store(participants, Ordering::Relaxed);
        self.publish(participants);
        // SAFETY: written above; the last range, which no worker has.
        unsafe { self.shared.job.0.run(participants, parts) };
        self.shared.join();
    }

    /// Hands out a new ticket and wakes its participants.
    fn publish(&self, participants: usize) {
        let generation = (self.shared.ticket.0.load(Ordering::Relaxed) >> PARTICIPANT_BITS) + 1;
        let ticket = generation << PARTICIPANT_BITS | participants as u64;
        self.shared.ticket.0.store(ticket, Ordering::SeqCst);
        for (worker, parked) in self.workers.iter().zip(&self.shared.parked).take(participants) {
            if parked.0.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.publish(self.workers.len());
        for worker in self.workers.drain(..) {
            // An error would say that the worker panicked: it has nothing that could.
            let _ = worker.join();
        }
    }
}

/// The kernel of [`Pool::for_ranges`].
unsafe extern "C" fn call(work: *const c_void, begin: usize, end: usize, _: usize) {
    // SAFETY: that passes a reference that outlives the fork.
    let work = unsafe { *work.cast::<&(dyn Fn(Range<usize>) + Sync)>() };
    work(begin..end);
}

fn start_worker(shared: Arc<Shared>, index: usize) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("cardinal-{}", index + 1))
        .spawn(move || work(&shared, index))
}

/// A worker's life.
fn work(shared: &Shared, index: usize) {
    let _mode = FloatMode::enter();
    let mut seen = 0;
    loop {
        seen = shared.next_ticket(seen, index);
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let participants = (seen & PARTICIPANTS) as usize;
        if index < participants {
            // SAFETY: the ticket says that a job was written for us, and the forking thread keeps
            // it valid until we are done. Ranges of different participants are disjoint.
            unsafe { shared.job.0.run(index, participants + 1) };
            shared.finish();
        }
    }
}

impl Shared {
    /// Waits for a ticket other than `seen`.
    fn next_ticket(&self, seen: u64, index: usize) -> u64 {
        if !spin_until(|| self.ticket.0.load(Ordering::Acquire) != seen) {
            let parked = &self.parked[index].0;
            parked.store(true, Ordering::SeqCst);
            while self.ticket.0.load(Ordering::SeqCst) == seen {
                thread::park();
            }
            parked.store(false, Ordering::Relaxed);
        }
        self.ticket.0.load(Ordering::Acquire)
    }

    /// Reports that a participant is done. The job may be gone when this returns.
    fn finish(&self) {
        let last = self.remaining.0.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.joining.load(Ordering::SeqCst) {
            drop(self.join_lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.joined.notify_one();
        }
    }

    /// Waits until all participants are done.
    fn join(&self) {
        if spin_until(|| self.remaining.0.load(Ordering::Acquire) == 0) {
            return;
        }
        self.joining.store(true, Ordering::SeqCst);
        let mut lock = self.join_lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.remaining.0.load(Ordering::SeqCst) != 0 {
            lock = self.joined.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        self.joining.store(false, Ordering::Relaxed);
    }
}

/// Whether `done` comes true while spinning is worth it.
fn spin_until(done: impl Fn() -> bool) -> bool {
    // Most waits end before the clock would have been read.
    if spin_some(&done) {
        return true;
    }
    let start = Instant::now();
    while start.elapsed() < SPIN {
        if spin_some(&done) {
            return true;
        }
    }
    false
}

fn spin_some(done: impl Fn() -> bool) -> bool {
    for _ in 0..PAUSES {
        if done() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// How often each item was done, and by how many ranges.
    struct Tally {
        items: Vec<AtomicU32>,
        ranges: AtomicUsize,
    }

    impl Tally {
        fn new(items: usize) -> Tally {
            let items = std::iter::repeat_with(AtomicU32::default).take(items).collect();
            Tally { items, ranges: AtomicUsize::new(0) }
        }

        fn fork(&self, pool: &Pool) {
            let args = std::ptr::from_ref(self).cast();
            // SAFETY: `count` takes a tally, counts in atomics and does not unwind.
            unsafe { pool.parallel_for(count, args, self.items.len()) }
        }

        fn assert_each_done(&self, times: u32) {
            assert!(self.items.iter().all(|n| n.load(Ordering::Relaxed) == times));
        }
    }

    unsafe extern "C" fn count(args: *const c_void, begin: usize, end: usize, _: usize) {
        // SAFETY: `Tally::fork` passes a tally.
        let tally = unsafe { &*args.cast::<Tally>() };
        tally.ranges.fetch_add(1, Ordering::Relaxed);
        for item in &tally.items[begin..end] {
            item.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).unwrap()).unwrap()
    }

    #[test]
    fn parts_are_a_balanced_partition() {
        for items in [1, 2, 3, 7, 64, 1000, usize::MAX] {
            for parts in 1..=9 {
                let ranges: Vec<_> = (0..parts).map(|p| part_of(items, p, parts)).collect();
                assert_eq!(ranges[0].start, 0);
                assert_eq!(ranges[parts - 1].end, items);
                assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
                let lengths = ranges.iter().map(|r| r.len());
                assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn many_forks_do_each_item_once() {
        for threads in 1..=5 {
            let pool = pool(threads);
            let tally = Tally::new(37);
            for _ in 0..20_000 / threads as u32 {
                tally.fork(&pool);
            }
            tally.assert_each_done(20_000 / threads as u32);
        }
    }

    #[test]
    fn forks_of_every_size_interleave() {
        let pool = pool(4);
        for round in 0..2_000 {
            let tally = Tally::new(round % 7);
            tally.fork(&pool);
            tally.assert_each_done(1);
            assert_eq!(tally.ranges.load(Ordering::Relaxed), (round % 7).min(4));
        }
    }

    #[test]
    fn ranges_make_up_the_items() {
        for (threads, items) in [(1, 7), (2, 1), (3, 1000), (5, 0)] {
            let tally = Tally::new(items);
            pool(threads).for_ranges(items, &|range| {
                tally.items[range].iter().for_each(|n| _ = n.fetch_add(1, Ordering::Relaxed));
            });
            tally.assert_each_done(1);
        }
    }

    #[test]
    fn no_items_call_no_kernel() {
        let tally = Tally::new(0);
        tally.fork(&pool(3));
        tally.fork(&pool(1));
        assert_eq!(tally.ranges.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn parked_workers_wake() {
        let pool = pool(3);
        let tally = Tally::new(8);
        for round in 1..=20 {
            wait_until_parked(&pool);
            tally.fork(&pool);
            tally.assert_each_done(round);
        }
    }

    #[test]
    fn dropping_stops_workers_in_every_state() {
        for round in 0..200 {
            let pool = pool(3);
            if round % 2 == 0 {
                Tally::new(3).fork(&pool);
            }
            if round % 20 == 0 {
                wait_until_parked(&pool);
            }
            let shared = Arc::downgrade(&pool.shared);
            drop(pool);
            assert_eq!(shared.strong_count(), 0, "a worker outlived its pool");
        }
    }

    fn wait_until_parked(pool: &Pool) {
        while !pool.shared.parked.iter().all(|parked| parked.0.load(Ordering::Relaxed)) {
            thread::yield_now();
        }
    }

    #[test]
    fn slow_workers_are_waited_for() {
        unsafe extern "C" fn slow(args: *const c_void, begin: usize, end: usize, _: usize) {
            if begin == 0 {
                thread::sleep(SPIN * 20);
            }
            // SAFETY: the caller passes what `count` takes.
            unsafe { count(args, begin, end, 0) }
        }
        let pool = pool(2);
        let tally = Tally::new(2);
        for round in 1..=20 {
            // SAFETY: as in `Tally::fork`.
            unsafe { pool.parallel_for(slow, std::ptr::from_ref(&tally).cast(), 2) };
            tally.assert_each_done(round);
        }
    }

    #[test]
    fn nested_forks_run_inline() {
        struct Nested<'a>(&'a Pool, &'a Tally);
        unsafe extern "C" fn nested(args: *const c_void, begin: usize, end: usize, _: usize) {
            // SAFETY: the caller below passes this type.
            let Nested(pool, tally) = unsafe { &*args.cast::<Nested<'_>>() };
            for _ in begin..end {
                tally.fork(pool);
            }
        }
        let (pool, tally) = (pool(3), Tally::new(5));
        let args = Nested(&pool, &tally);
        // SAFETY: `nested` shares what may be shared and does not unwind.
        unsafe { pool.parallel_for(nested, std::ptr::from_ref(&args).cast(), 6) };
        tally.assert_each_done(6);
        assert_eq!(tally.ranges.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn a_pool_can_move_between_threads() {
        let pool = pool(3);
        let pool = thread::spawn(move || {
            Tally::new(9).fork(&pool);
            pool
        })
        .join()
        .unwrap();
        let tally = Tally::new(9);
        tally.fork(&pool);
        tally.assert_each_done(1);
    }
}
