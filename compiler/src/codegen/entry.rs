//! The entry point: resolves the addresses of each call's arguments and calls its kernel. Calls of a
//! stage are in a loop over groups of images, in which those of the stages before are once more:
//!
//! ```text
//! for each group of stages[1] images
//!     for each group of stages[0] images in it
//!         calls of stage 0
//!     calls of stage 1
//! calls that run once
//! ```

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, MemFlagsData, SigRef, Signature, StackSlot, StackSlotData,
    StackSlotKind, Value,
};
use cranelift_codegen::isa::CallConv;

use cardinal_runtime::abi::offset;

use super::emitter::Emitter;

/// What the entry point does.
#[derive(Debug)]
pub(crate) struct Program {
    /// Images that go through each stage together, each a multiple of the one before.
    pub(crate) stages: Vec<usize>,
    /// Calls of kernels, in order, by their stages.
    pub(crate) calls: Vec<Call>,
}

/// One call of a kernel.
#[derive(Debug)]
pub(crate) struct Call {
    /// The kernel's offset in the code section.
    pub(crate) kernel: usize,
    /// Its items, for all images of a group.
    pub(crate) items: usize,
    /// The stage; as many as there are for what runs once.
    pub(crate) stage: usize,
    /// The runs of images of a group that its items are cut into, each of as many: only those of images that
    /// are there are done. All are, where there is no such number.
    pub(crate) runs: Option<usize>,
    /// Runs of images, where the kernel wants to know behind its arguments how many are there.
    pub(crate) counts: Option<usize>,
    /// Its arguments, in order.
    pub(crate) args: Vec<Address>,
}

/// Where an argument is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    /// Memory that the frame names.
    pub(crate) region: Region,
    /// Bytes from its start.
    pub(crate) offset: usize,
    /// Bytes from one image to the next: counted from the first of the model in inputs and outputs, and
    /// from the first of the next stage's group elsewhere.
    pub(crate) image: usize,
}

/// Memory that the frame names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Region {
    /// A model input.
    Input(usize),
    /// A model output.
    Output(usize),
    /// The weights section.
    Weights,
    /// Scratch memory: the arena, and behind it that of threads.
    Arena,
}

/// Emits the calls, each through the caller's parallel-for. Pointers are loaded from the frame at
/// each use: nothing is kept across calls but the frame's address and the positions of loops.
pub(super) fn emit(e: &mut Emitter<'_, '_>, program: &Program, conv: CallConv, frame: Value) {
    // A kernel may count images behind its arguments.
    let most = program.calls.iter().map(|c| c.args.len()).max().unwrap_or(0) + 1;
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, (most * 8) as u32, 3);
    let slot = e.builder.create_sized_stack_slot(slot);
    let mut signature = Signature::new(conv);
    signature.params = vec![AbiParam::new(I64); 4];
    let fork = e.builder.import_signature(signature);
    let entry = Entry { program, frame, slot, fork };
    if let Some(last) = program.stages.len().checked_sub(1) {
        let (zero, images) = (e.int(0), field(e, frame, offset::IMAGES));
        entry.stage(e, last, [zero, images], &[]);
    }
    entry.calls(e, program.stages.len(), &Groups { firsts: &[], end: None });
}

struct Entry<'p> {
    program: &'p Program,
    frame: Value,
    /// Where arguments are written.
    slot: StackSlot,
    /// The signature of the parallel-for.
    fork: SigRef,
}

/// Where loops over images are.
struct Groups<'g> {
    /// The first image of the group of each stage around the calls, outermost first.
    firsts: &'g [Value],
    /// The image behind the last one that is there.
    end: Option<Value>,
}

impl Entry<'_> {
    /// A stage for images `begin..end`, inside of the groups that begin at `around`.
    fn stage(
        &self,
        e: &mut Emitter<'_, '_>,
        stage: usize,
        [begin, end]: [Value; 2],
        around: &[Value],
    ) {
        let together = self.program.stages[stage] as i64;
        // The last group may have fewer images: begins count, not ends.
        let last = e.add_imm(end, together - 1);
        e.fold(begin, last, together, &[], |e, first, _| {
            let firsts: Vec<Value> = around.iter().copied().chain([first]).collect();
            if let Some(before) = stage.checked_sub(1) {
                let behind = e.add_imm(first, together);
                let behind = e.min(behind, end);
                self.stage(e, before, [first, behind], &firsts);
            }
            self.calls(e, stage, &Groups { firsts: &firsts, end: Some(end) });
            Vec::new()
        });
    }

    /// The calls of a stage.
    fn calls(&self, e: &mut Emitter<'_, '_>, stage: usize, groups: &Groups<'_>) {
        for call in self.program.calls.iter().filter(|call| call.stage == stage) {
            for (i, at) in call.args.iter().enumerate() {
                let address = self.resolve(e, groups, *at);
                e.builder.ins().stack_store(I64, address, self.slot, (i * 8) as i32);
            }
            let runs = self.runs(e, call, groups);
            let told = runs.or_else(|| call.counts.map(|all| e.int(all as i64)));
            if let Some(told) = told.filter(|_| call.counts.is_some()) {
                let at = (call.args.len() * 8) as i32;
                e.builder.ins().stack_store(I64, told, self.slot, at);
            }
            let items = match runs.zip(call.runs) {
                Some((there, all)) => e.mul_imm(there, (call.items / all) as i64),
                None => e.int(call.items as i64),
            };
            let args = e.builder.ins().stack_addr(I64, self.slot, 0);
            let code = field(e, self.frame, offset::CODE);
            let kernel = e.add_imm(code, call.kernel as i64);
            let fork = field(e, self.frame, offset::PARALLEL_FOR);
            let context = field(e, self.frame, offset::CONTEXT);
            e.builder.ins().call_indirect(self.fork, fork, &[context, kernel, args, items]);
        }
    }

    /// How many of a call's runs of images have some that are there, if its items are cut into such.
    fn runs(&self, e: &mut Emitter<'_, '_>, call: &Call, groups: &Groups<'_>) -> Option<Value> {
        let (first, end, runs) = (*groups.firsts.last()?, groups.end?, call.runs?);
        let images = self.program.stages[call.stage] / runs;
        let there = e.builder.ins().isub(end, first);
        let up = e.add_imm(there, images as i64 - 1);
        let (there, _) = e.divide(up, images);
        let all = e.int(runs as i64);
        Some(e.min(there, all))
    }

    fn resolve(&self, e: &mut Emitter<'_, '_>, groups: &Groups<'_>, at: Address) -> Value {
        let frame = self.frame;
        let listed = |e: &mut Emitter<'_, '_>, list: i32, i: usize| {
            let list = field(e, frame, list);
            e.pointer(list, i)
        };
        let base = match at.region {
            Region::Input(i) => listed(e, offset::INPUTS, i),
            Region::Output(i) => listed(e, offset::OUTPUTS, i),
            Region::Weights => field(e, frame, offset::WEIGHTS),
            Region::Arena => field(e, frame, offset::ARENA),
        };
        let base = e.add_imm(base, at.offset as i64);
        let Some(first) = groups.firsts.last().filter(|_| at.image != 0) else { return base };
        let within = match (at.region, groups.firsts) {
            (Region::Weights | Region::Arena, [.., around, _]) => {
                e.builder.ins().isub(*first, *around)
            }
            _ => *first,
        };
        let by = e.mul_imm(within, at.image as i64);
        e.add(base, by)
    }
}

fn field(e: &mut Emitter<'_, '_>, frame: Value, at: i32) -> Value {
    e.builder.ins().load(I64, MemFlagsData::trusted(), frame, at)
}
