//! Stubs: the few functions around the entry point that Cranelift cannot make, as machine code written by
//! hand for each architecture. They read and write control registers, ask the CPU what it is, and find
//! their own address. Each calls nothing and uses no memory but its stack.
//!
//! They compute nothing: the innermost functions of kernels are a [`Leaf`](super::Leaf) each.

mod aarch64;
mod x86;

use target_lexicon::Architecture;

use super::Target;
use crate::error::{Error, Result};

/// Machine code of each stub, in the C convention of System V.
#[derive(Debug, Clone)]
pub(super) struct Stubs {
    /// `() -> mode`: sets the mode of generated code (`abi::float_mode`), gives the former one.
    pub(super) enter_mode: Vec<u8>,
    /// `(mode)`: sets a mode that `enter_mode` gave.
    pub(super) leave_mode: Vec<u8>,
    /// `() -> address` of this function itself.
    pub(super) here: Vec<u8>,
    /// `() -> address` of the weights, once its relocations are applied.
    pub(super) weights: Vec<u8>,
    /// What a linker has to write into `weights`.
    pub(super) relocations: Vec<Relocation>,
    /// `() -> 1` when the CPU and the system have what the target's features need, else 0.
    pub(super) cpu_supported: Vec<u8>,
}

/// A place in code into which a linker writes where the weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relocation {
    /// Offset of the place.
    pub(crate) offset: usize,
    /// ELF's `r_type` for the architecture.
    pub(crate) kind: u32,
    /// Added to the address of the weights.
    pub(crate) addend: i64,
}

/// The stubs for a target.
///
/// # Errors
/// [`crate::error::Problem::Internal`] when it has a feature that nobody knows how to detect.
pub(super) fn stubs(target: &Target) -> Result<Stubs> {
    match target.machine_triple().architecture {
        Architecture::X86_64 => x86::stubs(target.features()),
        Architecture::Aarch64(_) => Ok(aarch64::stubs()),
        other => Err(Error::internal(format!("no control registers of {other} are known"))),
    }
}
