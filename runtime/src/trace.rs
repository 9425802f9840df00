//! When steps of an inference run, and on which threads.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::abi::Kernel;
use crate::pool::Pool;

/// When a step of the plan ran, counted from the beginning of the inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTrace {
    /// When it began.
    pub begin: Duration,
    /// When all of it was done.
    pub end: Duration,
    /// What threads did of it, in no order.
    pub spans: Vec<Span>,
}

/// When a thread worked on a part of a step, counted from the beginning of the inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The thread: 0 is the caller's, and those of the pool follow.
    pub thread: usize,
    /// When it began.
    pub begin: Duration,
    /// When that part was done.
    pub end: Duration,
}

/// What [`traced_parallel_for`] works with.
pub(crate) struct Traced<'p> {
    pool: &'p Pool,
    caller: ThreadId,
    start: Instant,
    /// What each thread does of the step that runs.
    threads: Vec<Mutex<Vec<Span>>>,
    steps: Vec<StepTrace>,
}

impl Traced<'_> {
    pub(crate) fn new(pool: &Pool) -> Traced<'_> {
        let threads = (0..pool.threads()).map(|_| Mutex::default()).collect();
        let (caller, start) = (thread::current().id(), Instant::now());
        Traced { pool, caller, start, threads, steps: Vec::new() }
    }

    /// All steps that ran, in order.
    pub(crate) fn finish(self) -> Vec<StepTrace> {
        self.steps
    }

    /// Notes what a participant has done. Which number the caller has among them depends on how many
    /// there are.
    fn put(&self, participant: usize, begin: Duration) {
        let end = self.start.elapsed();
        let is_caller = thread::current().id() == self.caller;
        let thread = if is_caller { 0 } else { participant + 1 };
        let span = Span { thread, begin, end };
        if let Some(spans) = self.threads.get(thread) {
            spans.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        }
    }

    fn take(&self) -> Vec<Span> {
        let take = |spans: &Mutex<Vec<Span>>| {
            std::mem::take(&mut *spans.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.threads.iter().flat_map(take).collect()
    }
}

/// A call of a kernel, for [`traced_kernel`].
struct Call<'t> {
    traced: &'t Traced<'t>,
    kernel: Kernel,
    args: *const c_void,
}

/// The [`abi::ParallelFor`](crate::abi::ParallelFor) of inferences that are traced.
///
/// # Safety
///
/// `context` is a [`Traced`] that nobody else has, and `kernel` may be called with `args` on any partition
/// of the items.
pub(crate) unsafe extern "C" fn traced_parallel_for(
    context: *mut c_void,
    kernel: Kernel,
    args: *const c_void,
    items: usize,
) {
    // SAFETY: the caller's promise.
    let traced = unsafe { &mut *context.cast::<Traced<'_>>() };
    let begin = traced.start.elapsed();
    let call = Call { traced, kernel, args };
    // SAFETY: what this calls on parts of the items calls the kernel on the same, and does not unwind.
    unsafe { traced.pool.parallel_for(traced_kernel, std::ptr::from_ref(&call).cast(), items) };
    let spans = traced.take();
    let end = traced.start.elapsed();
    traced.steps.push(StepTrace { begin, end, spans });
}

/// Calls the kernel of a [`Call`], with clocks.
unsafe extern "C" fn traced_kernel(args: *const c_void, begin: usize, end: usize, worker: usize) {
    // SAFETY: `traced_parallel_for` passes this type, which is shared between threads in ways that it
    // allows: all but the spans, which have locks, is read only.
    let call = unsafe { &*args.cast::<Call<'_>>() };
    let began = call.traced.start.elapsed();
    // SAFETY: these are a part of the items that the kernel may be called on.
    unsafe { (call.kernel)(call.args, begin, end, worker) };
    call.traced.put(worker, began);
}
