//! The entry point: resolves each step's places and calls its kernel.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Value,
};
use cranelift_codegen::isa::CallConv;

use cardinal_runtime::abi::offset;

use super::emitter::Emitter;
use crate::error::{Error, Result};
use crate::plan::kernel::Kernel;
use crate::plan::{Base, Place, Plan};

/// One call of a kernel.
pub(super) struct Call {
    /// The kernel's offset in the code section.
    kernel: usize,
    items: usize,
    args: Vec<Place>,
}

/// The plan's steps, with their kernels' offsets.
pub(super) fn calls(plan: &Plan, kernels: &[&Kernel], offsets: &[usize]) -> Result<Vec<Call>> {
    let call = |step: &crate::plan::Step| {
        let at = kernels.iter().position(|k| **k == step.kernel);
        let kernel = at.and_then(|i| offsets.get(i).copied());
        let kernel = kernel.ok_or_else(|| Error::internal("a step's kernel was not generated"))?;
        Ok(Call { kernel, items: step.kernel.items(), args: step.args.clone() })
    };
    plan.steps.iter().map(call).collect()
}

/// Emits the calls, each through the caller's parallel-for. Pointers are loaded from the frame at
/// each use: nothing is kept across calls but the frame's address.
pub(super) fn emit(
    e: &mut Emitter<'_, '_>,
    plan: &Plan,
    calls: &[Call],
    conv: CallConv,
    frame: Value,
) {
    let most = calls.iter().map(|c| c.args.len()).max().unwrap_or(0).max(1);
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, (most * 8) as u32, 3);
    let slot = e.builder.create_sized_stack_slot(slot);
    let signature = |n: usize| {
        let mut signature = Signature::new(conv);
        signature.params = vec![AbiParam::new(I64); n];
        signature
    };
    let fork_signature = e.builder.import_signature(signature(4));
    for call in calls {
        for (i, place) in call.args.iter().enumerate() {
            let address = resolve(e, plan, frame, *place);
            e.builder.ins().stack_store(I64, address, slot, (i * 8) as i32);
        }
        let args = e.builder.ins().stack_addr(I64, slot, 0);
        let code = field(e, frame, offset::CODE);
        let kernel = e.add_imm(code, call.kernel as i64);
        let items = e.int(call.items as i64);
        let fork = field(e, frame, offset::PARALLEL_FOR);
        let context = field(e, frame, offset::CONTEXT);
        e.builder.ins().call_indirect(fork_signature, fork, &[context, kernel, args, items]);
    }
}

fn field(e: &mut Emitter<'_, '_>, frame: Value, at: i32) -> Value {
    e.builder.ins().load(I64, MemFlagsData::trusted(), frame, at)
}

fn resolve(e: &mut Emitter<'_, '_>, plan: &Plan, frame: Value, place: Place) -> Value {
    let listed = |e: &mut Emitter<'_, '_>, list: i32, i: usize| {
        let list = field(e, frame, list);
        e.pointer(list, i)
    };
    let (base, extra) = match place.base {
        Base::Input(i) => (listed(e, offset::INPUTS, i), 0),
        Base::Output(i) => (listed(e, offset::OUTPUTS, i), 0),
        Base::Constant(i) => (field(e, frame, offset::WEIGHTS), plan.constants[i].offset),
        Base::Worker => (field(e, frame, offset::ARENA), plan.arena_bytes),
        Base::Buffer(i) => (field(e, frame, offset::ARENA), plan.buffers[i].offset),
    };
    e.add_imm(base, (extra + place.offset) as i64)
}
