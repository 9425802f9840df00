//! Plan to machine code: one Cranelift function per distinct kernel, and one entry point that
//! calls them in order.
//!
//! The result is one position-independent blob without relocations. Kernels are placed first; the
//! entry point then knows their offsets and reaches them relative to the frame's code pointer. So
//! the bytes that the JIT maps, an artifact stores and an object file would wrap are the same.

mod emitter;
mod entry;
mod kernels;
mod math;
mod target;

use std::fmt::Write as _;
use std::sync::Arc;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, UserFuncName};
use cranelift_codegen::ir::{Function, types::I64};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

pub use target::{CPUS, Target};

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::plan::kernel::Kernel;
use emitter::Emitter;

/// Alignment of each function in the code section.
const FUNCTION_ALIGNMENT: usize = 64;

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
    /// `contract.3`, `entry`, …
    pub name: String,
    /// Offset.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
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

/// Generates code for a checked plan.
///
/// # Errors
/// [`crate::error::Problem::Target`] when the target cannot be generated for.
pub fn generate(plan: &Plan, target: &Target, listing: Listing) -> Result<Code> {
    let kernels = distinct(plan);
    let mut linker = Linker::new(target, listing)?;
    let mut offsets = Vec::with_capacity(kernels.len());
    for (i, kernel) in kernels.iter().enumerate() {
        let optimize = !matches!(kernel, Kernel::Contract(_));
        let function = linker.function(
            |e, args| kernels::emit(e, kernel, args[0], [args[1], args[2]]),
            3,
            i,
        )?;
        offsets.push(linker.place(&format!("{}.{i}", kernel.name()), function, optimize)?);
    }
    let calls = entry::calls(plan, &kernels, &offsets)?;
    let call_conv = linker.fast.default_call_conv();
    let function = linker.function(
        |e, args| entry::emit(e, plan, &calls, call_conv, args[0]),
        1,
        kernels.len(),
    )?;
    let entry = linker.place("entry", function, true)?;
    Ok(Code { bytes: linker.bytes, entry, functions: linker.functions })
}

/// Steps with equal kernels share a function.
fn distinct(plan: &Plan) -> Vec<&Kernel> {
    let mut kernels: Vec<&Kernel> = Vec::new();
    for step in &plan.steps {
        if !kernels.contains(&&step.kernel) {
            kernels.push(&step.kernel);
        }
    }
    kernels
}

/// Compiles functions and lays them out.
struct Linker {
    /// With Cranelift's mid-end.
    fast: Arc<dyn TargetIsa>,
    /// Without.
    plain: Arc<dyn TargetIsa>,
    fma: bool,
    listing: Listing,
    bytes: Vec<u8>,
    functions: Vec<FunctionInfo>,
}

impl Linker {
    fn new(target: &Target, listing: Listing) -> Result<Linker> {
        Ok(Linker {
            fast: target.isa(true)?,
            plain: target.isa(false)?,
            fma: target.has_fma(),
            listing,
            bytes: Vec::new(),
            functions: Vec::new(),
        })
    }

    /// A function of `parameters` pointer-sized parameters with the given body.
    fn function(
        &self,
        body: impl FnOnce(&mut Emitter<'_, '_>, &[cranelift_codegen::ir::Value]),
        parameters: usize,
        index: usize,
    ) -> Result<Function> {
        let mut signature = Signature::new(self.fast.default_call_conv());
        signature.params = vec![AbiParam::new(I64); parameters];
        let name = UserFuncName::user(0, index as u32);
        let mut function = Function::with_name_signature(name, signature);
        let mut context = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut function, &mut context);
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        builder.seal_block(block);
        let params = builder.block_params(block).to_vec();
        body(&mut Emitter { builder: &mut builder, fma: self.fma }, &params);
        builder.ins().return_(&[]);
        builder.finalize(self.fast.frontend_config());
        Ok(function)
    }

    /// Compiles the function and appends it; returns its offset.
    fn place(&mut self, name: &str, function: Function, optimize: bool) -> Result<usize> {
        let isa = if optimize { &self.fast } else { &self.plain };
        let clif = self.listing.clif.then(|| function.display().to_string());
        let mut context = Context::for_function(function);
        let fail = |e: &dyn std::fmt::Debug| Error::internal(format!("{name}: {e:?}"));
        let compiled =
            context.compile(&**isa, &mut ControlPlane::default()).map_err(|e| fail(&e.inner))?;
        if let Some(reloc) = compiled.buffer.relocs().first() {
            return Err(fail(&reloc.kind));
        }
        let assembly = if self.listing.assembly {
            let capstone = isa.to_capstone().map_err(|e| fail(&e))?;
            Some(compiled.disassemble(None, &capstone).map_err(|e| fail(&e))?)
        } else {
            None
        };
        let offset = self.bytes.len().next_multiple_of(FUNCTION_ALIGNMENT);
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(compiled.code_buffer());
        let length = compiled.code_buffer().len();
        self.functions.push(FunctionInfo { name: name.into(), offset, length, clif, assembly });
        Ok(offset)
    }
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
