//! The functions that a program calls: checks of the arguments, a frame, and the entry point.

use std::mem::size_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, Block, BlockArg, InstBuilder, Signature, Value};

use cardinal_runtime::abi::{self, ALIGNMENT, offset};

use super::{Callees, Form, Tensors, parallel, stack, status};
use crate::codegen::emitter::Emitter;
use crate::codegen::linker::Linker;
use crate::error::Result;

/// Places `run`, `run_parallel` or `run_images`; returns its offset.
pub(super) fn place(
    linker: &mut Linker,
    callees: &Callees<'_>,
    tensors: &Tensors,
    form: Form,
) -> Result<usize> {
    let pointers = tensors.inputs.len() + tensors.outputs.len() + 1;
    let (name, before, more) = match form {
        Form::Alone => ("run", 0, 0),
        Form::Parallel => ("run_parallel", 0, 3),
        Form::Images => ("run_images", 1, 3),
    };
    let mut signature = Signature::new(callees.helpers.conv);
    signature.params = vec![AbiParam::new(I64); before + pointers + more];
    signature.returns = vec![AbiParam::new(I32)];
    let function = linker.function_with(signature, |e, args| {
        let (images, args) = args.split_at(before);
        let (pointers, more) = args.split_at(pointers);
        Some(run(e, callees, tensors, images.first().copied(), pointers, more))
    })?;
    linker.place(name, function, true)
}

/// Checks, then calls the entry point. `pointers` are inputs, outputs and the arena; `more` is empty
/// or parallel-for, context and threads. Without `images` there are all. Returns the status.
fn run(
    e: &mut Emitter<'_, '_>,
    callees: &Callees<'_>,
    tensors: &Tensors,
    images: Option<Value>,
    pointers: &[Value],
    more: &[Value],
) -> Value {
    let done = e.builder.create_block();
    e.builder.append_block_param(done, I32);
    check_pointers(e, tensors, pointers, done);
    if let &[parallel_for, _, threads] = more {
        check_threads(e, parallel_for, threads, done);
    }
    let images = match images {
        Some(images) => check_images(e, tensors, images, done),
        None => e.int(*tensors.images.end() as i64),
    };
    let frame = Frame { callees, pointers, inputs: tensors.inputs.len(), images };
    let status = frame.call(e, more);
    e.builder.ins().jump(done, &[BlockArg::Value(status)]);
    e.builder.switch_to_block(done);
    e.builder.seal_block(done);
    e.builder.block_params(done)[0]
}

/// As many images as the model takes.
fn check_images(e: &mut Emitter<'_, '_>, tensors: &Tensors, images: Value, done: Block) -> Value {
    let (least, most) = (*tensors.images.start() as i64, *tensors.images.end() as i64);
    let beyond = e.add_imm(images, -least);
    let wrong = e.builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, beyond, most - least);
    refuse(e, wrong, status::IMAGES, done);
    images
}

/// Goes on only where `wrong` is zero; leaves with the status otherwise.
fn refuse(e: &mut Emitter<'_, '_>, wrong: Value, status: i64, done: Block) {
    let good = e.builder.create_block();
    let status = e.builder.ins().iconst(I32, status);
    e.builder.ins().brif(wrong, done, &[BlockArg::Value(status)], good, &[]);
    e.builder.switch_to_block(good);
    e.builder.seal_block(good);
}

fn check_pointers(e: &mut Emitter<'_, '_>, tensors: &Tensors, pointers: &[Value], done: Block) {
    for pointer in pointers {
        let null = e.builder.ins().icmp_imm_u(IntCC::Equal, *pointer, 0);
        refuse(e, null, status::NULL, done);
    }
    let Some((arena, rest)) = pointers.split_last() else { return };
    let misaligned = e.builder.ins().band_imm_u(*arena, ALIGNMENT as i64 - 1);
    refuse(e, misaligned, status::ARENA, done);
    let alignments = tensors.inputs.iter().chain(&tensors.outputs);
    for (pointer, alignment) in rest.iter().zip(alignments).filter(|(_, a)| **a > 1) {
        let misaligned = e.builder.ins().band_imm_u(*pointer, *alignment as i64 - 1);
        refuse(e, misaligned, status::TENSOR, done);
    }
}

/// One thread needs no parallel-for.
fn check_threads(e: &mut Emitter<'_, '_>, parallel_for: Value, threads: Value, done: Block) {
    let none = e.builder.ins().icmp_imm_u(IntCC::Equal, threads, 0);
    refuse(e, none, status::THREADS, done);
    let many = e.builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, threads, 1);
    let null = e.builder.ins().icmp_imm_u(IntCC::Equal, parallel_for, 0);
    let wrong = e.builder.ins().band(many, null);
    refuse(e, wrong, status::NULL, done);
}

/// A call of the entry point.
struct Frame<'a> {
    callees: &'a Callees<'a>,
    /// Inputs, outputs and the arena.
    pointers: &'a [Value],
    /// How many of them are inputs.
    inputs: usize,
    /// Images of the inference.
    images: Value,
}

impl Frame<'_> {
    /// Calls the entry point, with `more` (parallel-for, context, threads) if there is any; returns
    /// the status.
    fn call(&self, e: &mut Emitter<'_, '_>, more: &[Value]) -> Value {
        let mode = self.callees.helpers.enter_mode(e);
        let code = self.callees.helpers.code(e);
        let serial = e.add_imm(code, self.callees.serial as i64);
        let (parallel_for, context) = match more {
            &[parallel_for, context, threads] => {
                let job = parallel::job(e, [parallel_for, context, threads, mode]);
                let fork = e.add_imm(code, self.callees.fork as i64);
                let many = e.builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, threads, 1);
                (e.builder.ins().select(many, fork, serial), Some(job))
            }
            _ => (serial, None),
        };
        let frame = self.fill(e, code, parallel_for, context);
        let entry = e.import(self.callees.helpers.conv, 1, self.callees.entry);
        e.builder.ins().call(entry, &[frame]);
        self.callees.helpers.leave_mode(e, mode);
        let ok = e.builder.ins().iconst(I32, status::OK);
        let Some(job) = context else { return ok };
        let broken = parallel::broken(e, job);
        let wrong = e.builder.ins().iconst(I32, status::PARALLEL_FOR);
        e.builder.ins().select(broken, wrong, ok)
    }

    /// The frame, on the stack.
    fn fill(
        &self,
        e: &mut Emitter<'_, '_>,
        code: Value,
        parallel_for: Value,
        context: Option<Value>,
    ) -> Value {
        // Inputs and outputs in one table; the arena, which is behind them, does no harm there.
        let table = stack(e, self.pointers.len() * 8);
        for (i, pointer) in self.pointers.iter().enumerate() {
            e.store(*pointer, table, i as i64 * 8);
        }
        let outputs = e.add_imm(table, self.inputs as i64 * 8);
        let weights = self.callees.helpers.ask(e, self.callees.helpers.weights);
        let context = context.unwrap_or(table);
        let frame = stack(e, size_of::<abi::Frame>());
        let fields = [
            (offset::INPUTS, table),
            (offset::OUTPUTS, outputs),
            (offset::WEIGHTS, weights),
            (offset::ARENA, self.pointers[self.pointers.len() - 1]),
            (offset::CODE, code),
            (offset::PARALLEL_FOR, parallel_for),
            (offset::CONTEXT, context),
            (offset::IMAGES, self.images),
        ];
        for (offset, value) in fields {
            e.store(value, frame, i64::from(offset));
        }
        frame
    }
}
