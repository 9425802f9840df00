//! Functions to machine code, through Cranelift and, for wide vectors, an assembler. Nothing in here
//! knows plans or graphs: kernels ask a [`Linker`] for functions, and it lays them out.
//!
//! The result is one position-independent blob without relocations. Kernels are placed first; the
//! entry point then knows their offsets and reaches them relative to the frame's code pointer. So
//! the bytes that the JIT maps, an artifact stores and an object file wraps are the same.

mod callable;
pub(crate) mod emitter;
mod entry;
mod expression;
pub(crate) mod functions;
mod lanes;
mod link;
mod linker;
pub(crate) mod math;
mod stubs;
mod target;
pub(crate) mod trigonometry;

use std::fmt::Write as _;

pub(crate) use callable::{Callable, Tensors, callable, status};
pub(crate) use entry::{Address, Call, Program, Region};
pub(crate) use linker::{KernelCall, Leaf, LeafCode, Linker};
pub use target::{CPUS, Target};

/// Generated code.
#[derive(Debug, Clone)]
pub struct Code {
    /// The code section.
    pub bytes: Vec<u8>,
    /// Offset of the entry point.
    pub entry: usize,
    /// Every function, in order.
    pub functions: Vec<FunctionInfo>,
}

/// Where one function lies in the code section.
#[derive(Debug, Clone)]
pub struct FunctionInfo {
    /// `blocked_conv.3`, `entry`, …
    pub name: String,
    /// Offset.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
    /// Offsets of the functions that it calls by their addresses, ascending.
    pub calls: Vec<usize>,
    /// Its CLIF, if asked for.
    pub clif: Option<String>,
    /// Its disassembly, if asked for.
    pub assembly: Option<String>,
}

/// Which texts to keep of each function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listing {
    /// CLIF.
    pub clif: bool,
    /// Disassembly.
    pub assembly: bool,
}

impl Code {
    /// The texts of all functions, each under a heading.
    pub fn listing(&self) -> String {
        let mut out = String::new();
        for f in &self.functions {
            let _ = writeln!(out, "; {} at {:#x}, {} bytes", f.name, f.offset, f.length);
            for text in [&f.clif, &f.assembly].into_iter().flatten() {
                let _ = writeln!(out, "{}", text.trim_end());
            }
            out.push('\n');
        }
        out
    }
}
