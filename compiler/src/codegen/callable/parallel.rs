//! Parallel-fors: one for a single thread, and one around the caller's.
//!
//! The caller's code is not trusted to be right. What it asks of a kernel is checked, and items are
//! counted, so that a wrong parallel-for is an error and not a wrong result.

use std::mem::{offset_of, size_of};

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Value};

use super::{Helpers, call_pointer, stack};
use crate::codegen::emitter::Emitter;

/// What `run_parallel` keeps on its stack for [`fork`].
#[repr(C)]
struct Job {
    parallel_for: u64,
    context: u64,
    threads: u64,
    /// The floating-point mode of the caller.
    mode: u64,
    /// Whether the caller's parallel-for did what it must not.
    broken: u64,
}

/// What [`fork`] keeps on its stack for [`guarded`].
#[repr(C)]
struct Fork {
    kernel: u64,
    args: u64,
    items: u64,
    threads: u64,
    /// How many items are done; atomic.
    done: u64,
    /// Whether a range or a worker was made up; atomic.
    bad: u64,
}

/// Offset of a field, as an operand.
macro_rules! at {
    ($record:ty, $field:ident) => {
        offset_of!($record, $field) as i64
    };
}

fn load(e: &mut Emitter<'_, '_>, record: Value, offset: i64) -> Value {
    e.load(I64, record, offset)
}

/// A parallel-for on the calling thread: one range, of all items.
pub(super) fn serial(e: &mut Emitter<'_, '_>, helpers: &Helpers, args: &[Value]) {
    let &[_context, kernel, kernel_args, items] = args else { return };
    let zero = e.int(0);
    call_pointer(e, helpers.conv, kernel, [kernel_args, zero, items, zero]);
}

/// A parallel-for with the caller's: in the caller's floating-point mode, on [`guarded`] in place of
/// the kernel. Once it did something wrong it is not called again.
pub(super) fn fork(e: &mut Emitter<'_, '_>, helpers: &Helpers, guarded: usize, args: &[Value]) {
    let &[job, kernel, kernel_args, items] = args else { return };
    let broken = load(e, job, at!(Job, broken));
    let record = stack(e, size_of::<Fork>());
    e.either(
        broken,
        |_| {},
        |e| {
            let threads = load(e, job, at!(Job, threads));
            let zero = e.int(0);
            for (offset, value) in [
                (at!(Fork, kernel), kernel),
                (at!(Fork, args), kernel_args),
                (at!(Fork, items), items),
                (at!(Fork, threads), threads),
                (at!(Fork, done), zero),
                (at!(Fork, bad), zero),
            ] {
                e.store(value, record, offset);
            }
            let mode = load(e, job, at!(Job, mode));
            helpers.leave_mode(e, mode);
            let function = load(e, job, at!(Job, parallel_for));
            let context = load(e, job, at!(Job, context));
            let code = helpers.code(e);
            let kernel = e.add_imm(code, guarded as i64);
            call_pointer(e, helpers.conv, function, [context, kernel, record, items]);
            helpers.enter_mode(e);
            note_damage(e, job, record, items);
        },
    );
}

/// Sets the job's `broken` unless every item was done once, as far as counting tells.
fn note_damage(e: &mut Emitter<'_, '_>, job: Value, record: Value, items: Value) {
    let done = load(e, record, at!(Fork, done));
    let bad = load(e, record, at!(Fork, bad));
    let missing = e.builder.ins().bxor(done, items);
    let broken = e.builder.ins().bor(missing, bad);
    e.store(broken, job, at!(Job, broken));
}

/// Whether the caller's parallel-for did something wrong: not zero if so.
pub(super) fn broken(e: &mut Emitter<'_, '_>, job: Value) -> Value {
    load(e, job, at!(Job, broken))
}

/// The kernel that the caller's parallel-for sees: checks the range and the worker, and calls the
/// real kernel in the floating-point mode that it wants, whichever thread this is.
pub(super) fn guarded(e: &mut Emitter<'_, '_>, helpers: &Helpers, args: &[Value]) {
    let &[record, begin, end, worker] = args else { return };
    let items = load(e, record, at!(Fork, items));
    let threads = load(e, record, at!(Fork, threads));
    let mut compare = |condition, a, b| e.builder.ins().icmp(condition, a, b);
    let ordered = compare(IntCC::UnsignedLessThanOrEqual, begin, end);
    let inside = compare(IntCC::UnsignedLessThanOrEqual, end, items);
    let known = compare(IntCC::UnsignedLessThan, worker, threads);
    let good = e.builder.ins().band(ordered, inside);
    let good = e.builder.ins().band(good, known);
    e.either(
        good,
        |e| {
            let count = e.builder.ins().isub(end, begin);
            e.either(count, |e| run_range(e, helpers, record, [begin, end, worker], count), |_| {});
        },
        |e| {
            let one = e.int(1);
            let bad = e.add_imm(record, at!(Fork, bad));
            e.builder.ins().atomic_store(MemFlagsData::trusted(), one, bad);
        },
    );
}

/// Runs the real kernel on a range of `count` items, at least one.
fn run_range(
    e: &mut Emitter<'_, '_>,
    helpers: &Helpers,
    record: Value,
    [begin, end, worker]: [Value; 3],
    count: Value,
) {
    let mode = helpers.enter_mode(e);
    let kernel = load(e, record, at!(Fork, kernel));
    let args = load(e, record, at!(Fork, args));
    call_pointer(e, helpers.conv, kernel, [args, begin, end, worker]);
    helpers.leave_mode(e, mode);
    let done = e.add_imm(record, at!(Fork, done));
    e.builder.ins().atomic_rmw(I64, MemFlagsData::trusted(), AtomicRmwOp::Add, done, count);
}

/// A [`Job`] on the stack, of its first four fields.
pub(super) fn job(e: &mut Emitter<'_, '_>, fields: [Value; 4]) -> Value {
    let [parallel_for, context, threads, mode] = fields;
    let job = stack(e, size_of::<Job>());
    let whole = e.int(0);
    for (offset, value) in [
        (at!(Job, parallel_for), parallel_for),
        (at!(Job, context), context),
        (at!(Job, threads), threads),
        (at!(Job, mode), mode),
        (at!(Job, broken), whole),
    ] {
        e.store(value, job, offset);
    }
    job
}
