//! Runs the steps of a plan on memory of our own.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::null_mut;

use cardinal_compiler::codegen::{Listing, Target};
use cardinal_compiler::plan::{Base, Place, Plan, generate};
use cardinal_runtime::abi::{self, Frame};
use memmap2::{Mmap, MmapMut};

use crate::call::call;
use crate::memory::{Memory, Placement};

/// Threads that a rig between guards pretends to have.
pub const WORKERS: usize = 2;

/// A plan with code and memory.
pub struct Rig {
    plan: Plan,
    target: Target,
    code: Mmap,
    entry: usize,
    inputs: Vec<Memory>,
    outputs: Vec<Memory>,
    weights: Memory,
    arena: Memory,
    parallel_for: abi::ParallelFor,
}

impl Rig {
    /// Every input, output, constant, buffer and thread's scratch memory lies apart, between guards.
    /// Items are done in parts, last ones first, as several workers.
    ///
    /// A step's own scratch memory is as long as its kernel asks for.
    pub fn apart(plan: &Plan, target: &Target, placement: Placement) -> Rig {
        let plain = |bytes: usize| Memory::new(bytes, placement);
        let ports = plan.inputs.iter().map(|p| plain(p.ty.bytes()));
        let constants = plan.constants.iter().map(|c| {
            let bytes = c.data.bytes().expect("constants have contents");
            Memory::holding(&bytes, placement)
        });
        let buffers = plan.buffers.iter().map(|b| plain(b.bytes));
        let scratch = plan.steps.iter().map(|s| plain(WORKERS * s.kernel.scratch() * 4));
        let inputs = ports.chain(constants).chain(buffers).chain(scratch).collect();
        let outputs = plan.outputs.iter().map(|p| plain(p.ty.bytes())).collect();
        Rig::new(separated(plan), target, inputs, outputs, placement)
    }

    /// A plan whose places are all inputs and outputs, with their contents; outputs by their bytes.
    pub fn by_hand(
        plan: Plan,
        target: &Target,
        inputs: &[Vec<u8>],
        outputs: &[usize],
        placement: Placement,
    ) -> Rig {
        let inputs = inputs.iter().map(|bytes| Memory::holding(bytes, placement)).collect();
        let outputs = outputs.iter().map(|bytes| Memory::new(*bytes, placement)).collect();
        Rig::new(plan, target, inputs, outputs, placement)
    }

    /// Memory as the runtime lays it out, for one thread, which does all items.
    pub fn together(plan: &Plan, target: &Target) -> Rig {
        let free = |bytes: usize| Memory::new(bytes, Placement::Free);
        let inputs = plan.inputs.iter().map(|p| free(p.ty.bytes())).collect();
        let outputs = plan.outputs.iter().map(|p| free(p.ty.bytes())).collect();
        let mut rig = Rig::new(plan.clone(), target, inputs, outputs, Placement::Free);
        rig.weights = free(plan.weight_bytes);
        for c in &plan.constants {
            let bytes = c.data.bytes().expect("constants have contents");
            rig.weights.bytes_mut()[c.offset..][..bytes.len()].copy_from_slice(&bytes);
        }
        let arena = plan.arena_bytes.next_multiple_of(abi::ALIGNMENT);
        rig.arena = free(arena + plan.worker_bytes);
        rig.parallel_for = at_once;
        rig
    }

    fn new(
        plan: Plan,
        target: &Target,
        inputs: Vec<Memory>,
        outputs: Vec<Memory>,
        placement: Placement,
    ) -> Rig {
        let (code, entry) = mapped(&plan, target);
        let [weights, arena] = [Memory::new(0, placement), Memory::new(0, placement)];
        let parallel_for = in_parts_if_aligned;
        let target = target.clone();
        Rig { plan, target, code, entry, inputs, outputs, weights, arena, parallel_for }
    }

    /// From now on runs these steps only, on the memory as it is.
    pub fn select(&mut self, steps: Range<usize>) {
        let steps = self.plan.steps[steps].to_vec();
        (self.code, self.entry) = mapped(&Plan { steps, ..self.plan.clone() }, &self.target);
    }

    /// The contents of an input.
    pub fn input_mut(&mut self, i: usize) -> &mut [u8] {
        self.inputs[i].bytes_mut()
    }

    /// The contents of an output.
    pub fn output(&self, i: usize) -> &[u8] {
        self.outputs[i].bytes()
    }

    /// The weights, if they are together.
    pub fn weights(&self) -> &Memory {
        &self.weights
    }

    /// Runs the steps.
    pub fn run(&mut self) {
        let inputs: Vec<*const u8> = self.inputs.iter().map(Memory::as_ptr).collect();
        let outputs: Vec<*mut u8> = self.outputs.iter_mut().map(Memory::as_mut_ptr).collect();
        let frame = Frame {
            inputs: inputs.as_ptr(),
            outputs: outputs.as_ptr(),
            weights: self.weights.as_ptr(),
            arena: self.arena.as_mut_ptr(),
            code: self.code.as_ptr(),
            parallel_for: self.parallel_for,
            context: null_mut(),
            images: self.plan.images().unwrap_or(1),
        };
        let entry = self.code[self.entry..].as_ptr();
        // SAFETY: the code was generated from this plan for this machine, its entry point is there,
        // and every memory is as long as the plan says. Kernels that do not keep to that are what
        // this is for: between guards they fault.
        unsafe { call(entry, [(&raw const frame) as usize, 0, 0, 0, 0, 0]) }
    }
}

/// The code of a plan, executable, and the offset of its entry point.
fn mapped(plan: &Plan, target: &Target) -> (Mmap, usize) {
    let code = generate(plan, target, Listing::default()).expect("code");
    let mut map = MmapMut::map_anon(code.bytes.len()).expect("memory");
    map.copy_from_slice(&code.bytes);
    (map.make_exec().expect("executable memory"), code.entry)
}

/// The plan with constants, buffers and each step's scratch memory as further inputs, in this order.
fn separated(plan: &Plan) -> Plan {
    let constants = plan.inputs.len();
    let buffers = constants + plan.constants.len();
    let scratch = buffers + plan.buffers.len();
    let mut apart = plan.clone();
    for (at, step) in apart.steps.iter_mut().enumerate() {
        for Place { base, .. } in &mut step.args {
            *base = match *base {
                Base::Constant(i) => Base::Input(constants + i),
                Base::Buffer(i) => Base::Input(buffers + i),
                Base::Worker => Base::Input(scratch + at),
                Base::Input(_) | Base::Output(_) => continue,
            };
        }
    }
    Plan { constants: Vec::new(), buffers: Vec::new(), arena_bytes: 0, worker_bytes: 0, ..apart }
}

/// A parallel-for of one thread.
unsafe extern "C" fn at_once(
    _context: *mut c_void,
    kernel: abi::Kernel,
    args: *const c_void,
    items: usize,
) {
    // SAFETY: generated code passes a kernel of its own with its arguments.
    unsafe { kernel(args, 0, items, 0) }
}

/// [`in_parts`] for a caller whose stack is aligned: the return address lies on top of 16 aligned bytes.
/// Any other dies of an illegal instruction.
#[unsafe(naked)]
unsafe extern "C" fn in_parts_if_aligned(
    _context: *mut c_void,
    _kernel: abi::Kernel,
    _args: *const c_void,
    _items: usize,
) {
    std::arch::naked_asm!(
        "lea rax, [rsp + 8]",
        "test al, 15",
        "jne 2f",
        "jmp {}",
        "2: ud2",
        sym in_parts,
    )
}

/// A parallel-for in three uneven parts, the last first, by workers in turn.
unsafe extern "C" fn in_parts(
    _context: *mut c_void,
    kernel: abi::Kernel,
    args: *const c_void,
    items: usize,
) {
    let cuts = [0, items / 5, items / 2, items];
    for (i, part) in cuts.windows(2).enumerate().rev().filter(|(_, part)| part[0] < part[1]) {
        // SAFETY: as above; the parts cover all items, and each worker has scratch memory.
        unsafe { call(kernel as *const u8, [args as usize, part[0], part[1], i % WORKERS, 0, 0]) }
    }
}
