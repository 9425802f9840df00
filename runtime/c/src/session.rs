//! Running models.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, TryLockError};

use cardinal_runtime::{Role, cpu};

use crate::pointers::{array, handle, place};
use crate::program::Program;
use crate::status::{Failure, Status, guard};

/// The memory and the threads for one inference at a time. Sessions of one program share its weights
/// and code. A session may move from thread to thread, but runs in one at a time.
pub struct Session(pub(crate) Mutex<cardinal_runtime::Session>);

/// A tensor that a model reads: dense, row-major, aligned to its elements.
#[repr(C)]
pub struct Input {
    /// Its first element.
    pub data: *const c_void,
    /// Its size in bytes.
    pub bytes: usize,
}

/// Memory that a model writes a tensor to: dense, row-major, aligned to its elements.
#[repr(C)]
pub struct Output {
    /// Where its first element goes.
    pub data: *mut c_void,
    /// Its size in bytes.
    pub bytes: usize,
}

impl Input {
    /// The bytes; none where null is given as what it says, nothing.
    ///
    /// # Safety
    ///
    /// The fields are true during `'a`, and not null with bytes.
    unsafe fn slice<'a>(&self) -> &'a [u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.bytes) }
    }
}

impl Output {
    /// As [`Input::slice`].
    ///
    /// # Safety
    ///
    /// The same, and nothing else refers to these bytes.
    unsafe fn slice<'a>(&self) -> &'a mut [u8] {
        if self.data.is_null() {
            return &mut [];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast(), self.bytes) }
    }
}

/// Makes a session of a program, which runs on `threads` threads, the caller of cardinal_session_run
/// among them; 0 stands for as many as the process may run at once. Results have the same bits for
/// any number of threads.
///
/// Threads started here end when the session is freed. They do not survive fork(): make sessions in
/// the process that runs them.
///
/// # Safety
///
/// `program` is null or a program that is not freed; `session` is null or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_session_new(
    program: *const Program,
    threads: usize,
    session: *mut *mut Session,
) -> Status {
    guard(|| {
        // SAFETY: this function's conditions.
        let (program, place) = unsafe { (handle(program, "program")?, place(session, "session")?) };
        let threads = NonZeroUsize::new(threads).unwrap_or_else(cpu::available_threads);
        let session = cardinal_runtime::Session::new(Arc::clone(&program.program), threads)?;
        *place = Box::into_raw(Box::new(Session(Mutex::new(session))));
        Ok(())
    })
}

/// Threads that sessions share: each session that is made with them can run at the same time as the
/// others, and starts none of its own.
pub struct Pool(Arc<cardinal_runtime::Pool>);

/// Starts a pool of `threads` threads, the callers of cardinal_session_run counted as one; 0 stands for
/// as many as the process may run at once. They end when the pool and all its sessions are freed, and do
/// not survive fork().
///
/// # Safety
///
/// `pool` is null or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_pool_new(threads: usize, pool: *mut *mut Pool) -> Status {
    guard(|| {
        // SAFETY: this function's condition.
        let place = unsafe { place(pool, "pool")? };
        let threads = NonZeroUsize::new(threads).unwrap_or_else(cpu::available_threads);
        let pool = cardinal_runtime::Pool::new(threads)?;
        *place = Box::into_raw(Box::new(Pool(Arc::new(pool))));
        Ok(())
    })
}

/// Makes a session like cardinal_session_new, which runs on the threads of a pool. Where others of the
/// pool run at the same time, each caller takes the place of a worker: no more threads compute than the
/// pool has. Results have the same bits.
///
/// # Safety
///
/// `program` and `pool` are null or what is not freed; `session` is null or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_session_with_pool(
    program: *const Program,
    pool: *const Pool,
    session: *mut *mut Session,
) -> Status {
    guard(|| {
        // SAFETY: this function's conditions.
        let (program, pool, place) = unsafe {
            (handle(program, "program")?, handle(pool, "pool")?, place(session, "session")?)
        };
        let (program, pool) = (Arc::clone(&program.program), Arc::clone(&pool.0));
        let session = cardinal_runtime::Session::with_pool(program, pool)?;
        *place = Box::into_raw(Box::new(Session(Mutex::new(session))));
        Ok(())
    })
}

/// Frees a pool, unless it is null. Its sessions live on, and keep its threads.
///
/// # Safety
///
/// `pool` is null or a pool that is not freed and that no other thread is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_pool_free(pool: *mut Pool) {
    guard(|| {
        // SAFETY: this function's condition; pools are made by `cardinal_pool_new` alone.
        drop((!pool.is_null()).then(|| unsafe { Box::from_raw(pool) }));
        Ok(())
    });
}

/// Runs one inference, and returns when its outputs are written. Takes one tensor for each input and
/// each output, in the order of CardinalProgramInfo. Inputs may overlap each other; an output
/// overlaps nothing. Allocates nothing.
///
/// # Safety
///
/// `session` is null or a session that is not freed before this returns. `inputs` and `outputs` are
/// null or point to as many values as the counts say, whose data is null or points to as many bytes,
/// which no other thread changes, nor in the case of outputs reads, before this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_session_run(
    session: *mut Session,
    inputs: *const Input,
    input_count: usize,
    outputs: *const Output,
    output_count: usize,
) -> Status {
    guard(|| {
        // SAFETY: this function's conditions.
        let (session, inputs, outputs) = unsafe {
            let inputs = array(inputs, input_count, "inputs")?;
            (handle(session, "session")?, inputs, array(outputs, output_count, "outputs")?)
        };
        check(inputs, outputs)?;
        let mut session = session.0.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Failure::Busy,
            TryLockError::Poisoned(_) => Failure::Panic("the session failed before".into()),
        })?;
        // SAFETY: neither null nor too long, and outputs are apart from everything, as `check`
        // found; the rest is this function's conditions.
        let inputs = inputs.iter().map(|input| unsafe { input.slice() });
        // SAFETY: the same.
        let outputs = outputs.iter().map(|output| unsafe { output.slice() });
        Ok(session.run_slices(inputs, outputs)?)
    })
}

/// Frees a session, unless it is null, and ends its threads.
///
/// # Safety
///
/// `session` is null or a session that is not freed and that no thread is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardinal_session_free(session: *mut Session) {
    guard(|| {
        // SAFETY: this function's condition; sessions are made by `cardinal_session_new` alone.
        drop((!session.is_null()).then(|| unsafe { Box::from_raw(session) }));
        Ok(())
    });
}

/// Refuses what no model could work on, whatever its tensors are.
fn check(inputs: &[Input], outputs: &[Output]) -> Result<(), Failure> {
    for (index, input) in inputs.iter().enumerate() {
        extent(Role::Input, index, input.data, input.bytes)?;
    }
    for (index, output) in outputs.iter().enumerate() {
        let own = extent(Role::Output, index, output.data, output.bytes)?;
        let inputs = inputs.iter().map(|t| (t.data, t.bytes));
        let before = outputs[..index].iter().map(|t| (t.data.cast_const(), t.bytes));
        let overlaps = |(data, bytes): (*const c_void, usize)| {
            own.start.max(data.addr()) < own.end.min(data.addr() + bytes)
        };
        if inputs.chain(before).any(overlaps) {
            return Err(Failure::Overlap(index));
        }
    }
    Ok(())
}

/// The addresses of a tensor, if they are such.
fn extent(
    role: Role,
    index: usize,
    data: *const c_void,
    bytes: usize,
) -> Result<Range<usize>, Failure> {
    if data.is_null() && bytes > 0 {
        return Err(Failure::NullTensor { role, index, bytes });
    }
    let end = data.addr().checked_add(bytes).filter(|_| bytes <= isize::MAX as usize);
    end.map(|end| data.addr()..end).ok_or(Failure::TooLong("a tensor"))
}
