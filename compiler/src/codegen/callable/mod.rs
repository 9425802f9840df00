//! What makes the code section callable from C: functions that check their arguments, make a
//! [`Frame`](cardinal_runtime::abi::Frame) on the stack, and call the entry point in the
//! floating-point mode that it wants.
//!
//! They stand behind the code section, which stays as it is, so that a model gives the same bits
//! however it is called. Nothing is left to relocate but the distance to the weights.

mod parallel;
mod run;

use std::ops::{Range, RangeInclusive};

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, SigRef, Signature, StackSlotData, StackSlotKind, Value,
};
use cranelift_codegen::isa::CallConv;

use super::emitter::Emitter;
use super::linker::KERNEL_PARAMETERS;
use super::stubs::{Relocation, Stubs, stubs};
use super::{Linker, Listing, Target};
use crate::error::Result;

/// What the functions return. The header that goes with them explains these to their users.
pub(crate) mod status {
    /// All went well.
    pub(crate) const OK: i64 = 0;
    /// A pointer is null.
    pub(crate) const NULL: i64 = 1;
    /// The arena is not aligned.
    pub(crate) const ARENA: i64 = 2;
    /// An input or output is not aligned to its elements.
    pub(crate) const TENSOR: i64 = 3;
    /// No threads.
    pub(crate) const THREADS: i64 = 4;
    /// The parallel-for left work out, did some twice, or made up ranges or workers.
    pub(crate) const PARALLEL_FOR: i64 = 5;
    /// The model does not take so many images.
    pub(crate) const IMAGES: i64 = 6;
}

/// A code section with functions behind it.
#[derive(Debug)]
pub(crate) struct Callable {
    /// The code section, verbatim, and the functions.
    pub(crate) bytes: Vec<u8>,
    /// The code section.
    pub(crate) kernels: Range<usize>,
    /// `(inputs…, outputs…, arena) -> status`
    pub(crate) run: Range<usize>,
    /// `(inputs…, outputs…, arena, parallel_for, context, threads) -> status`
    pub(crate) run_parallel: Range<usize>,
    /// `(images, inputs…, outputs…, arena, parallel_for, context, threads) -> status`
    pub(crate) run_images: Range<usize>,
    /// `() -> 1 or 0`
    pub(crate) cpu_supported: Range<usize>,
    /// Where the address of the weights is wanted.
    pub(crate) relocations: Vec<Relocation>,
}

/// Alignment in bytes that each input's and each output's elements need.
#[derive(Debug, Clone)]
pub(crate) struct Tensors {
    /// By input.
    pub(crate) inputs: Vec<usize>,
    /// By output.
    pub(crate) outputs: Vec<usize>,
    /// Images of an inference, from the fewest to the most.
    pub(crate) images: RangeInclusive<usize>,
}

/// Puts functions behind a code section whose entry point is at `entry`.
///
/// # Errors
/// [`crate::error::Problem::Internal`], for a target that the section cannot be for.
pub(crate) fn callable(
    target: &Target,
    code: &[u8],
    entry: usize,
    tensors: &Tensors,
) -> Result<Callable> {
    let mut linker = Linker::new(target, Listing::default())?;
    linker.bytes = code.to_vec();
    let stubs = stubs(target)?;
    let weights = linker.append("weights", &stubs.weights);
    let cpu_supported = linker.append("cpu_supported", &stubs.cpu_supported);
    let helpers = Helpers::place(&mut linker, &stubs, weights);
    let callees = Callees::place(&mut linker, &helpers, entry)?;
    let mut place = |form| run::place(&mut linker, &callees, tensors, form);
    let [run, run_parallel, run_images] =
        [place(Form::Alone)?, place(Form::Parallel)?, place(Form::Images)?];
    let placed = |r: &Relocation| Relocation { offset: weights + r.offset, ..*r };
    Ok(Callable {
        kernels: 0..code.len(),
        run: run..linker.end_of(run),
        run_parallel: run_parallel..linker.end_of(run_parallel),
        run_images: run_images..linker.end_of(run_images),
        cpu_supported: cpu_supported..linker.end_of(cpu_supported),
        relocations: stubs.relocations.iter().map(placed).collect(),
        bytes: linker.bytes,
    })
}

/// Where the stubs are that others call, in the code section.
struct Helpers {
    conv: CallConv,
    enter_mode: usize,
    leave_mode: usize,
    here: usize,
    weights: usize,
}

/// What `run` and its like call, besides.
struct Callees<'a> {
    helpers: &'a Helpers,
    entry: usize,
    /// `parallel::serial`
    serial: usize,
    /// `parallel::fork`
    fork: usize,
}

/// What a function takes besides tensors and the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing: `parallel::serial` runs the kernels.
    Alone,
    /// A parallel-for, which runs them by way of `parallel::fork`.
    Parallel,
    /// The same, and how many images there are.
    Images,
}

impl Linker {
    /// The end of the function at this offset.
    fn end_of(&self, offset: usize) -> usize {
        let function = self.functions.iter().find(|f| f.offset == offset);
        function.map_or(offset, |f| f.offset + f.length)
    }
}

impl<'a> Callees<'a> {
    fn place(linker: &mut Linker, helpers: &'a Helpers, entry: usize) -> Result<Callees<'a>> {
        let mut place = |name: &str, emit: &dyn Fn(&mut Emitter<'_, '_>, &[Value])| {
            let function = linker.function(emit, KERNEL_PARAMETERS)?;
            linker.place(name, function, true)
        };
        let serial = place("serial", &|e, args| parallel::serial(e, helpers, args))?;
        let guarded = place("guarded", &|e, args| parallel::guarded(e, helpers, args))?;
        let fork = place("fork", &|e, args| parallel::fork(e, helpers, guarded, args))?;
        Ok(Callees { helpers, entry, serial, fork })
    }
}

impl Helpers {
    fn place(linker: &mut Linker, stubs: &Stubs, weights: usize) -> Helpers {
        let mut place = |name: &str, code: &[u8]| linker.append(name, code);
        let enter_mode = place("enter_mode", &stubs.enter_mode);
        let leave_mode = place("leave_mode", &stubs.leave_mode);
        let here = place("here", &stubs.here);
        Helpers { conv: linker.fast.default_call_conv(), enter_mode, leave_mode, here, weights }
    }

    /// Calls a function that gives a value.
    fn ask(&self, e: &mut Emitter<'_, '_>, function: usize) -> Value {
        let mut signature = Signature::new(self.conv);
        signature.returns = vec![AbiParam::new(I64)];
        let function = e.import_with(signature, function);
        let call = e.builder.ins().call(function, &[]);
        e.builder.inst_results(call)[0]
    }

    /// The former mode.
    fn enter_mode(&self, e: &mut Emitter<'_, '_>) -> Value {
        self.ask(e, self.enter_mode)
    }

    fn leave_mode(&self, e: &mut Emitter<'_, '_>, mode: Value) {
        let function = e.import(self.conv, 1, self.leave_mode);
        e.builder.ins().call(function, &[mode]);
    }

    /// The address of the code section.
    fn code(&self, e: &mut Emitter<'_, '_>) -> Value {
        let here = self.ask(e, self.here);
        e.add_imm(here, -(self.here as i64))
    }
}

/// A call through a pointer to something with a kernel's or a parallel-for's four parameters.
fn call_pointer(e: &mut Emitter<'_, '_>, conv: CallConv, function: Value, args: [Value; 4]) {
    let mut signature = Signature::new(conv);
    signature.params = vec![AbiParam::new(I64); args.len()];
    let signature: SigRef = e.builder.import_signature(signature);
    e.builder.ins().call_indirect(signature, function, &args);
}

/// The address of new memory on the stack.
fn stack(e: &mut Emitter<'_, '_>, bytes: usize) -> Value {
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes as u32, 3);
    let slot = e.builder.create_sized_stack_slot(slot);
    e.builder.ins().stack_addr(I64, slot, 0)
}
