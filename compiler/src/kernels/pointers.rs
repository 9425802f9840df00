//! The pointers that a kernel is called with, by what they are to it.

use cranelift_codegen::ir::Value;

use crate::codegen::KernelCall;
use crate::codegen::emitter::Emitter;
use crate::plan::kernel::{Kernel, Role};

/// The argument array of a call.
pub(crate) struct Pointers {
    roles: Vec<Role>,
    args: Value,
    worker: Value,
}

impl Pointers {
    /// The arguments that this kernel is called with.
    pub(crate) fn of(kernel: &impl Kernel, call: KernelCall) -> Pointers {
        Pointers { roles: kernel.arguments(), args: call.args, worker: call.worker }
    }

    /// Loads an argument's address, if the kernel has the argument.
    pub(crate) fn find(&self, e: &mut Emitter<'_, '_>, role: Role) -> Option<Value> {
        let at = self.roles.iter().position(|known| *known == role)?;
        Some(e.pointer(self.args, at))
    }

    /// The same, or null.
    pub(crate) fn load(&self, e: &mut Emitter<'_, '_>, role: Role) -> Value {
        self.find(e, role).unwrap_or_else(|| e.int(0))
    }

    /// Loads the address of the scratch memory of the thread that calls the kernel: each has its own.
    pub(crate) fn scratch(&self, e: &mut Emitter<'_, '_>, kernel: &impl Kernel) -> Value {
        let first = self.load(e, Role::Scratch);
        e.moved(first, self.worker, kernel.scratch())
    }

    /// How many runs of images its items go through: those that are there, if the kernel counts them.
    pub(crate) fn runs(&self, e: &mut Emitter<'_, '_>, kernel: &impl Kernel) -> Option<Value> {
        kernel.counts().map(|_| e.pointer(self.args, self.roles.len()))
    }

    /// Loads all of them, in order.
    pub(crate) fn all(&self, e: &mut Emitter<'_, '_>) -> Vec<Value> {
        (0..self.roles.len()).map(|i| e.pointer(self.args, i)).collect()
    }
}
