//! One stream of inferences: a program with the memory and the threads to run it.

use std::borrow::Borrow;
use std::ffi::c_void;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use crate::abi::{ALIGNMENT, Entry, Frame, Kernel, ParallelFor};
use crate::batch::Batch;
use crate::error::{Role, RunError};
use crate::float_mode::FloatMode;
use crate::memory;
use crate::pool::Pool;
use crate::program::Program;
use crate::spec::TensorSpec;
use crate::tensor::Tensor;
use crate::trace::{StepTrace, Traced, traced_parallel_for};

/// Runs a program, one inference after another. Sessions of one program share its weights and code.
pub struct Session {
    program: Arc<Program>,
    pool: Arc<Pool>,
    /// Page-aligned, so aligned as the ABI wants it.
    arena: MmapMut,
    inputs: Pointers<*const u8>,
    outputs: Pointers<*mut u8>,
    /// Images of the inference that is bound.
    images: usize,
}

/// A pointer table of the call frame, kept so that a run allocates nothing.
struct Pointers<P>(Vec<P>);

// SAFETY: the pointers are written anew by each run before anybody reads them, and mean nothing
// between runs, which is when a session can move to another thread.
unsafe impl<P> Send for Pointers<P> {}

impl Session {
    /// Reserves the arena and starts `threads - 1` workers; the caller of [`run`](Self::run) is the
    /// other thread. Results do not depend on the number of threads.
    pub fn new(program: Arc<Program>, threads: NonZeroUsize) -> Result<Session, RunError> {
        Session::with_pool(program, Arc::new(Pool::new(threads)?))
    }

    /// Reserves the arena, for a session that runs on the threads of a pool, as others may at the same time.
    /// Starts no thread. Results are those of any other session of this program.
    pub fn with_pool(program: Arc<Program>, pool: Arc<Pool>) -> Result<Session, RunError> {
        // Workers' memory begins at an aligned address behind the arena.
        let variant = program.variant();
        let arena = variant.arena_bytes.next_multiple_of(ALIGNMENT as u64);
        let bytes = arena + variant.worker_bytes * pool.threads() as u64;
        let arena = memory::anonymous(bytes as usize)
            .map_err(|source| RunError::Arena { bytes, source })?;
        let inputs = Pointers(vec![std::ptr::null(); program.inputs().len()]);
        let outputs = Pointers(vec![std::ptr::null_mut(); program.outputs().len()]);
        let images = Batch::new(variant, program.inputs()).images();
        Ok(Session { program, pool, arena, inputs, outputs, images })
    }

    /// The program that this runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Runs one inference: one tensor per input, in order, to one per output. Where the program
    /// [takes fewer](Program::takes_fewer) images than it was compiled for, the outermost extent of inputs may be
    /// any number from 1 up to the spec's, the same for all, and outputs have it too.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let mut outputs = self.outputs_for(inputs)?;
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Tensors that [`run_into`](Self::run_into) can write to for these inputs. What is wrong with the inputs is for
    /// that to say.
    pub fn outputs_for(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let images = inputs.first().and_then(|input| input.shape().first().copied());
        let images = images.filter(|images| *images <= self.most_images());
        match images.filter(|_| self.program.takes_fewer()) {
            Some(images) => self.new_outputs_for(images),
            None => self.new_outputs(),
        }
    }

    /// Tensors that [`run_into`](Self::run_into) can write to, of as many images as the program takes.
    pub fn new_outputs(&self) -> Result<Vec<Tensor>, RunError> {
        let zeros = |spec: &TensorSpec| Ok(Tensor::zeros(spec.dtype, &spec.shape)?);
        self.program.outputs().iter().map(zeros).collect()
    }

    /// The same of so many images, for a program that [takes fewer](Program::takes_fewer).
    pub fn new_outputs_for(&self, images: usize) -> Result<Vec<Tensor>, RunError> {
        let zeros = |spec: &TensorSpec| {
            let spec = spec.for_images(images);
            Ok(Tensor::zeros(spec.dtype, &spec.shape)?)
        };
        self.program.outputs().iter().map(zeros).collect()
    }

    /// Images of an inference at most.
    fn most_images(&self) -> usize {
        Batch::new(self.program.variant(), self.program.inputs()).images()
    }

    /// Runs one inference without allocating anything. `inputs` are tensors or references to them, of as many images
    /// as `outputs`; every element of `outputs` is overwritten.
    pub fn run_into<T: Borrow<Tensor>>(
        &mut self,
        inputs: &[T],
        outputs: &mut [Tensor],
    ) -> Result<(), RunError> {
        self.bind(inputs, outputs)?;
        self.enter(parallel_for, self.pool_context());
        Ok(())
    }

    /// Runs one inference on the caller's own memory, without allocating anything. A slice is a whole
    /// tensor, dense and row-major, of as many bytes as its spec says, or where the program
    /// [takes fewer](Program::takes_fewer) images as many as all its slices have, and begins where an element of its
    /// type may; every element of `outputs` is overwritten.
    pub fn run_slices<'a>(
        &mut self,
        inputs: impl IntoIterator<Item = &'a [u8]>,
        outputs: impl IntoIterator<Item = &'a mut [u8]>,
    ) -> Result<(), RunError> {
        let program = &self.program;
        let mut batch = Batch::new(program.variant(), program.inputs());
        bind(Role::Input, program.inputs(), &mut self.inputs, inputs, |spec, bytes| {
            check_bytes(&mut batch, Role::Input, spec, bytes).map(|()| bytes.as_ptr())
        })?;
        bind(Role::Output, program.outputs(), &mut self.outputs, outputs, |spec, bytes| {
            check_bytes(&mut batch, Role::Output, spec, bytes).map(|()| bytes.as_mut_ptr())
        })?;
        self.images = batch.images();
        self.enter(parallel_for, self.pool_context());
        Ok(())
    }

    /// Runs one inference like [`run_into`](Self::run_into), and says how long each step of the plan
    /// took, in order.
    pub fn run_timed<T: Borrow<Tensor>>(
        &mut self,
        inputs: &[T],
        outputs: &mut [Tensor],
    ) -> Result<Vec<Duration>, RunError> {
        self.bind(inputs, outputs)?;
        let mut timed = Timed { pool: Arc::as_ptr(&self.pool), steps: Vec::new() };
        self.enter(timed_parallel_for, std::ptr::from_mut(&mut timed).cast());
        Ok(timed.steps)
    }

    /// Runs one inference like [`run_into`](Self::run_into), and says when each step of the plan ran, in
    /// order, and on which threads. The clocks cost more than those of [`run_timed`](Self::run_timed).
    pub fn run_traced<T: Borrow<Tensor>>(
        &mut self,
        inputs: &[T],
        outputs: &mut [Tensor],
    ) -> Result<Vec<StepTrace>, RunError> {
        self.bind(inputs, outputs)?;
        let pool = Arc::clone(&self.pool);
        let mut traced = Traced::new(&pool);
        self.enter(traced_parallel_for, std::ptr::from_mut(&mut traced).cast());
        Ok(traced.finish())
    }

    /// Checks tensors and writes their addresses to the tables of the call frame.
    fn bind<T: Borrow<Tensor>>(
        &mut self,
        inputs: &[T],
        outputs: &mut [Tensor],
    ) -> Result<(), RunError> {
        let program = &self.program;
        let mut batch = Batch::new(program.variant(), program.inputs());
        bind(Role::Input, program.inputs(), &mut self.inputs, inputs, |spec, tensor| {
            let tensor = tensor.borrow();
            batch.check(Role::Input, spec, tensor.dtype(), tensor.shape())?;
            Ok(tensor.as_bytes().as_ptr())
        })?;
        bind(Role::Output, program.outputs(), &mut self.outputs, outputs, |spec, tensor| {
            batch.check(Role::Output, spec, tensor.dtype(), tensor.shape())?;
            Ok(tensor.as_bytes_mut().as_mut_ptr())
        })?;
        self.images = batch.images();
        Ok(())
    }

    /// What [`parallel_for`] works with.
    fn pool_context(&self) -> *mut c_void {
        Arc::as_ptr(&self.pool).cast_mut().cast()
    }

    /// Calls the entry point on the tensors that are bound, which are borrowed still. `context` is what
    /// `parallel_for` takes.
    fn enter(&mut self, parallel_for: ParallelFor, context: *mut c_void) {
        let frame = Frame {
            inputs: self.inputs.0.as_ptr(),
            outputs: self.outputs.0.as_ptr(),
            weights: self.program.weights().as_ptr(),
            arena: self.arena.as_mut_ptr(),
            code: self.program.code().as_ptr(),
            parallel_for,
            context,
            images: self.images,
        };
        let _caller = self.pool.enter();
        // SAFETY: the frame is as the ABI says: the tables point to tensors of the types that the
        // manifest states; weights and code live as long as the program; the arena is ours alone
        // and as long as stated; the context is what its function takes.
        unsafe { call(self.program.entry(), &frame) }
    }
}

/// Calls the entry point in its floating-point mode. Not inlined, so that no arithmetic of the
/// caller's can be scheduled into that mode.
///
/// # Safety
///
/// `entry` may be called with `frame`.
#[inline(never)]
unsafe fn call(entry: Entry, frame: &Frame) {
    let _mode = FloatMode::enter();
    // SAFETY: the caller's promise.
    unsafe { entry(frame) }
}

/// The [`abi::ParallelFor`](crate::abi::ParallelFor) that generated code calls.
unsafe extern "C" fn parallel_for(
    context: *mut c_void,
    kernel: Kernel,
    args: *const c_void,
    items: usize,
) {
    // SAFETY: generated code passes on the frame's `context`, which is the session's pool; the
    // kernel and its arguments are its own, made for any partition.
    unsafe { (*context.cast::<Pool>().cast_const()).parallel_for(kernel, args, items) }
}

/// What [`timed_parallel_for`] works with.
struct Timed {
    pool: *const Pool,
    steps: Vec<Duration>,
}

/// The same, with a clock.
unsafe extern "C" fn timed_parallel_for(
    context: *mut c_void,
    kernel: Kernel,
    args: *const c_void,
    items: usize,
) {
    let begin = Instant::now();
    // SAFETY: as in `parallel_for`; generated code forks from one thread, so nobody else has the
    // context.
    unsafe {
        let timed = &mut *context.cast::<Timed>();
        (*timed.pool).parallel_for(kernel, args, items);
        timed.steps.push(begin.elapsed());
    }
}

/// Fills a table of the call frame, a pointer for each spec, and refuses to do with more or fewer.
fn bind<P, T>(
    role: Role,
    specs: &[TensorSpec],
    table: &mut Pointers<P>,
    given: impl IntoIterator<Item = T>,
    mut address: impl FnMut(&TensorSpec, T) -> Result<P, RunError>,
) -> Result<(), RunError> {
    let mut given = given.into_iter();
    for (i, (slot, spec)) in table.0.iter_mut().zip(specs).enumerate() {
        let tensor =
            given.next().ok_or(RunError::Count { role, expected: specs.len(), given: i })?;
        *slot = address(spec, tensor)?;
    }
    match given.count() {
        0 => Ok(()),
        more => Err(RunError::Count { role, expected: specs.len(), given: specs.len() + more }),
    }
}

fn check_bytes(
    batch: &mut Batch<'_>,
    role: Role,
    spec: &TensorSpec,
    bytes: &[u8],
) -> Result<(), RunError> {
    batch.check_bytes(role, spec, bytes.len())?;
    if !bytes.as_ptr().addr().is_multiple_of(spec.dtype.size()) {
        return Err(RunError::Misaligned { role, expected: spec.clone() });
    }
    Ok(())
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("program", &self.program)
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}
