//! A fork-join pool for generated code: cheap forks, shares that are evened out, no allocation.
//!
//! # Protocol
//!
//! A pool of N threads has N-1 workers; the thread that forks is the last. A fork cuts `0..items`
//! into *grains*, contiguous ranges, and gives each participant a share of as many neighbouring ones.
//! A participant takes grains from the front of its own share, and when that is empty, from the rear of
//! the others': so one that is slow, or that another program has driven off its CPU, does less, and
//! one that never came is not waited for. Half of what is left is taken at a time, which makes few
//! calls of many. Who takes what depends on timing, but what a kernel computes for an item does not depend
//! on its range or its worker (see [`abi::ParallelFor`](crate::abi::ParallelFor)), so results are the
//! same for any N.
//!
//! The forking thread
//!
//! 1. takes `busy` (whoever finds it taken, as a nested fork would, runs its items inline),
//! 2. writes the job's fields, and sets `remaining` to the number of grains,
//! 3. writes each participant's share, which names the generation that it is of,
//! 4. publishes a new `ticket`: a generation count and the number of participants in one word,
//! 5. unparks those participating workers that are parked, and takes grains like any other participant,
//! 6. waits until `remaining` is 0, and releases `busy`.
//!
//! A worker waits until `ticket` differs from the one it saw last. If it participates, it takes grains of
//! that generation until there are none, and decrements `remaining` after each run of them; then it goes
//! back to waiting. Why this is enough:
//!
//! - *The job is read only while it is valid.* Its fields are relaxed; the shares' stores and exchanges
//!   order them. A participant reads them once it has taken a grain of its generation, and the forking thread
//!   changes them no earlier than after that grain's decrement. A worker that is late finds shares of
//!   another generation, or empty ones, and takes nothing. (Generations in shares repeat after 2³² forks:
//!   a worker would have to stand still between two instructions for days, and for as many forks exactly.)
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
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::abi::Kernel;
use crate::error::RunError;
use crate::float_mode::FloatMode;

/// No pool has more threads than this.
pub const MAX_THREADS: usize = 1024;

/// How long a thread spins before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// Pauses between two looks at the clock.
const PAUSES: u32 = 32;

/// Low bits of a ticket: how many workers participate. The rest counts generations.
const PARTICIPANT_BITS: u32 = 16;
const PARTICIPANTS: u64 = (1 << PARTICIPANT_BITS) - 1;

/// Grains of a participant, at most.
const GRAINS: usize = 16;

/// Keeps what different threads write on different cache lines (and off the adjacent one, which
/// prefetchers bring along).
#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// What the forking thread and the workers share.
#[derive(Default)]
struct Shared {
    ticket: Padded<AtomicU64>,
    /// Grains that are not done.
    remaining: Padded<AtomicUsize>,
    job: Padded<Job>,
    /// One per thread, the forking thread's behind the workers' that participate.
    shares: Vec<Padded<Share>>,
    /// One flag per worker.
    parked: Vec<Padded<AtomicBool>>,
    stop: AtomicBool,
    joining: AtomicBool,
    join_lock: Mutex<()>,
    joined: Condvar,
}

/// A kernel's call, in atomics because a job is written while others may hold references to it;
/// shares and `remaining` do the ordering.
#[derive(Default)]
struct Job {
    kernel: AtomicPtr<c_void>,
    args: AtomicPtr<c_void>,
    items: AtomicUsize,
    grains: AtomicUsize,
}

impl Job {
    fn write(&self, kernel: Kernel, args: *const c_void, items: usize, grains: usize) {
        self.kernel.store(kernel as *mut c_void, Ordering::Relaxed);
        self.args.store(args.cast_mut(), Ordering::Relaxed);
        self.items.store(items, Ordering::Relaxed);
        self.grains.store(grains, Ordering::Relaxed);
    }

    /// Runs some grains.
    ///
    /// # Safety
    ///
    /// A [`write`](Self::write) must happen before, whose kernel may be called with these arguments
    /// on the items of these grains, as this worker.
    unsafe fn run(&self, run: Range<usize>, worker: usize) {
        let kernel = self.kernel.load(Ordering::Relaxed);
        // SAFETY: `write` stored a function of this type.
        let kernel = unsafe { std::mem::transmute::<*mut c_void, Kernel>(kernel) };
        let args = self.args.load(Ordering::Relaxed);
        let (items, grains) =
            (self.items.load(Ordering::Relaxed), self.grains.load(Ordering::Relaxed));
        let (first, last) =
            (part_of(items, run.start, grains), part_of(items, run.end - 1, grains));
        // SAFETY: the caller's promise.
        unsafe { kernel(args, first.start, last.end, worker) }
    }
}

/// A participant's grains that nobody has taken: the generation in the high 32 bits, then begin and end
/// in 16 each.
#[derive(Default)]
struct Share(AtomicU64);

/// Which end of a share grains are taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Rear,
}

impl Share {
    fn write(&self, generation: u32, grains: Range<usize>) {
        self.0.store(Share::word(generation, grains), Ordering::Release);
    }

    fn word(generation: u32, grains: Range<usize>) -> u64 {
        u64::from(generation) << 32 | (grains.start as u64) << 16 | grains.end as u64
    }

    /// Takes half of what is left, rounded up, if there are grains and they are of this generation.
    fn take(&self, generation: u32, end: End) -> Option<Range<usize>> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let left = (word >> 16 & 0xffff) as usize..(word & 0xffff) as usize;
            if (word >> 32) as u32 != generation || left.is_empty() {
                return None;
            }
            let half = left.len().div_ceil(2);
            let (taken, rest) = match end {
                End::Front => (left.start..left.start + half, left.start + half..left.end),
                End::Rear => (left.end - half..left.end, left.start..left.end - half),
            };
            let rest = Share::word(generation, rest);
            match self.0.compare_exchange_weak(word, rest, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(taken),
                Err(now) => word = now,
            }
        }
    }
}

/// The `part`th of `parts` contiguous ranges of `0..items`, whose lengths differ by 1 at most.
fn part_of(items: usize, part: usize, parts: usize) -> Range<usize> {
    let (length, longer) = (items / parts, items % parts);
    let begin = part * length + part.min(longer);
    begin..begin + length + usize::from(part < longer)
}

/// Threads that run the steps of inferences: N-1 workers, and room for the caller as the Nth.
///
/// Sessions can share one ([`Session::with_pool`](crate::Session::with_pool)), and run at the same time. Each
/// caller then takes the place of a worker, so that no more threads compute than the pool has: the workers that are
/// left help the session that asks first; the others' callers do their steps alone meanwhile, and ask again at the
/// next step. As many sessions as threads run alone, each on its caller's thread. The bits of a result do not
/// depend on who helped.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    busy: AtomicBool,
    /// Sessions that run now.
    callers: Padded<AtomicUsize>,
}

/// A session that runs on a pool, until this is dropped.
pub(crate) struct Caller<'p>(&'p Pool);

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.0.callers.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// Starts `threads - 1` workers. If one cannot be started, those before it are stopped.
    ///
    /// # Errors
    /// [`RunError::TooManyThreads`] for more than [`MAX_THREADS`], and [`RunError::Thread`] where the system
    /// refuses to start one.
    pub fn new(threads: NonZeroUsize) -> Result<Pool, RunError> {
        if threads.get() > MAX_THREADS {
            return Err(RunError::TooManyThreads { given: threads.get(), limit: MAX_THREADS });
        }
        Pool::start(threads).map_err(RunError::Thread)
    }

    /// The same for a number of threads that is known to be no more than [`MAX_THREADS`].
    pub(crate) fn start(threads: NonZeroUsize) -> io::Result<Pool> {
        let count = threads.get() - 1;
        debug_assert!(count as u64 <= PARTICIPANTS);
        let parked = std::iter::repeat_with(Padded::default).take(count).collect();
        let shares = std::iter::repeat_with(Padded::default).take(count + 1).collect();
        let shared = Arc::new(Shared { parked, shares, ..Shared::default() });
        let mut pool = Pool {
            shared,
            workers: Vec::with_capacity(count),
            busy: false.into(),
            callers: Padded::default(),
        };
        for index in 0..count {
            let worker = start_worker(Arc::clone(&pool.shared), index)?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Says that a session runs, whose caller counts as one of the threads.
    pub(crate) fn enter(&self) -> Caller<'_> {
        self.callers.0.fetch_add(1, Ordering::Relaxed);
        Caller(self)
    }

    /// Threads that a session may have now: all but those that compute for other sessions.
    fn available(&self) -> usize {
        let others = self.callers.0.load(Ordering::Relaxed).saturating_sub(1);
        self.threads().saturating_sub(others).max(1)
    }

    /// Runs `kernel` over `0..items` on the threads that other sessions leave, and returns when all are done.
    ///
    /// # Safety
    ///
    /// `kernel` may be called with `args` on any disjoint ranges of `0..items`, from any threads at
    /// once, and does not unwind.
    pub(crate) unsafe fn parallel_for(&self, kernel: Kernel, args: *const c_void, items: usize) {
        let parts = items.min(self.available());
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
        let Shared { job, remaining, shares, ticket, .. } = &*self.shared;
        let grains = items.min(parts * GRAINS);
        let generation = (ticket.0.load(Ordering::Relaxed) >> PARTICIPANT_BITS) + 1;
        job.0.write(kernel, args, items, grains);
        remaining.0.store(grains, Ordering::Relaxed);
        for (part, share) in shares.iter().take(parts).enumerate() {
            share.0.write(generation as u32, part_of(grains, part, parts));
        }
        let participants = parts - 1;
        self.publish(generation, participants);
        // SAFETY: the job is written, for such a kernel, and this is the last participant.
        unsafe { self.shared.work_off(generation as u32, participants, parts) };
        self.shared.join();
    }

    /// Hands out the ticket of a generation and wakes its participants.
    fn publish(&self, generation: u64, participants: usize) {
        let ticket = generation << PARTICIPANT_BITS | participants as u64;
        self.shared.ticket.0.store(ticket, Ordering::SeqCst);
        for (worker, parked) in self.workers.iter().zip(&self.shared.parked).take(participants) {
            if parked.0.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ticket = self.shared.ticket.0.load(Ordering::Relaxed);
        self.publish((ticket >> PARTICIPANT_BITS) + 1, self.workers.len());
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
            let generation = (seen >> PARTICIPANT_BITS) as u32;
            // SAFETY: the ticket says that there is a job of this generation, and that we participate.
            unsafe { shared.work_off(generation, index, participants + 1) };
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

    /// Takes grains of a generation's job and runs them until none are left: a participant's own, then
    /// those of the others, the next one's first.
    ///
    /// # Safety
    ///
    /// The kernel of that job may be called on any ranges, by several participants at once; each
    /// works off a generation by one thread.
    unsafe fn work_off(&self, generation: u32, participant: usize, parts: usize) {
        for other in 0..parts {
            let share = &self.shares[(participant + other) % parts].0;
            let end = if other == 0 { End::Front } else { End::Rear };
            while let Some(grains) = share.take(generation, end) {
                let count = grains.len();
                // SAFETY: whoever wrote this share has written the job before, and cannot change it
                // until these grains are done. Nobody else has them.
                unsafe { self.job.0.run(grains, participant) };
                self.finish(count);
            }
        }
    }

    /// Reports that so many grains are done. The job may be gone when this returns.
    fn finish(&self, grains: usize) {
        let last = self.remaining.0.fetch_sub(grains, Ordering::SeqCst) == grains;
        if last && self.joining.load(Ordering::SeqCst) {
            drop(self.join_lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.joined.notify_one();
        }
    }

    /// Waits until all grains are done.
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
mod tests;
