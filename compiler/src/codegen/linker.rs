//! Compiles functions and lays them out.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, ExternalName, FuncRef, Function, Signature, UserFuncName, Value,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_codegen::{Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use target_lexicon::Architecture;

use super::emitter::Emitter;
use super::entry::{self, Program};
use super::{Code, FunctionInfo, Listing, Target, link};
use crate::asm;
use crate::error::{Error, Result};
use crate::machine::Vectors;

/// Alignment of each function in the code section.
const FUNCTION_ALIGNMENT: usize = 64;

/// Parameters of a leaf function: what is read, weights or scratch memory, what is written, a bias, a
/// count, one more operand.
pub(crate) const LEAF_PARAMETERS: usize = 6;

/// Arguments, begin, end and worker of a kernel.
pub(super) const KERNEL_PARAMETERS: usize = 4;

/// What a kernel is called with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelCall {
    /// The address of its argument pointers.
    pub(crate) args: Value,
    /// Its first item.
    pub(crate) begin: Value,
    /// The item behind its last.
    pub(crate) end: Value,
    /// The number of the calling thread.
    pub(crate) worker: Value,
}

/// A leaf function: what it does, as a specification. Equal ones are one function.
pub(crate) trait Leaf: fmt::Debug + PartialEq + 'static {
    /// The beginning of its name; a number follows.
    fn name(&self) -> String;

    /// Its code, for vectors like these.
    ///
    /// # Errors
    /// [`crate::error::Problem::Internal`] where there is none for them.
    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>>;
}

/// The code of a leaf function.
pub(crate) enum LeafCode<'l> {
    /// A function of the portable assembler.
    Assembled(asm::Function),
    /// A body for Cranelift, with [`LEAF_PARAMETERS`].
    Body(LeafBody<'l>),
}

/// Emits the body of a leaf function, given its parameters.
pub(crate) type LeafBody<'l> = Box<dyn FnOnce(&mut Emitter<'_, '_>, &[Value]) + 'l>;

/// A leaf function that has its place.
struct PlacedLeaf {
    spec: Box<dyn Any>,
    offset: usize,
}

/// What is kept of a function besides its code, texts as far as they are asked for.
#[derive(Default)]
struct About {
    calls: Vec<usize>,
    clif: Option<String>,
    assembly: Option<String>,
}

/// Compiles functions and lays them out.
pub struct Linker {
    /// With Cranelift's mid-end.
    pub(super) fast: Arc<dyn TargetIsa>,
    /// Without.
    plain: Arc<dyn TargetIsa>,
    fma: bool,
    vectors: Vectors,
    listing: Listing,
    pub(super) bytes: Vec<u8>,
    pub(super) functions: Vec<FunctionInfo>,
    leaves: Vec<PlacedLeaf>,
}

impl Linker {
    pub(crate) fn new(target: &Target, listing: Listing) -> Result<Linker> {
        Ok(Linker {
            fast: target.isa(true)?,
            plain: target.isa(false)?,
            fma: target.has_fma(),
            vectors: target.vectors(),
            listing,
            bytes: Vec::new(),
            functions: Vec::new(),
            leaves: Vec::new(),
        })
    }

    /// A kernel's function with the given body.
    pub(crate) fn kernel(
        &self,
        body: impl FnOnce(&mut Emitter<'_, '_>, KernelCall),
    ) -> Result<Function> {
        let with = |e: &mut Emitter<'_, '_>, parameters: &[Value]| {
            if let &[args, begin, end, worker] = parameters {
                body(e, KernelCall { args, begin, end, worker });
            }
        };
        self.function(with, KERNEL_PARAMETERS)
    }

    /// A function of `parameters` pointer-sized parameters with the given body.
    pub(super) fn function(
        &self,
        body: impl FnOnce(&mut Emitter<'_, '_>, &[Value]),
        parameters: usize,
    ) -> Result<Function> {
        let mut signature = Signature::new(self.fast.default_call_conv());
        signature.params = vec![AbiParam::new(I64); parameters];
        self.function_with(signature, |e, params| {
            body(e, params);
            None
        })
    }

    /// A function of a signature; its body gives what it returns.
    pub(super) fn function_with(
        &self,
        signature: Signature,
        body: impl FnOnce(&mut Emitter<'_, '_>, &[Value]) -> Option<Value>,
    ) -> Result<Function> {
        let name = UserFuncName::user(0, 0);
        let mut function = Function::with_name_signature(name, signature);
        let mut context = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut function, &mut context);
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        builder.seal_block(block);
        let params = builder.block_params(block).to_vec();
        let leaf_conv = self.leaf_conv();
        let mut emitter =
            Emitter { builder: &mut builder, fma: self.fma, leaf_conv, refused: None };
        let result = body(&mut emitter, &params);
        if let Some(error) = emitter.refused {
            return Err(error);
        }
        builder.ins().return_(result.as_slice());
        builder.finalize(self.fast.frontend_config());
        Ok(function)
    }

    /// Places a leaf function, once; returns its offset.
    pub(crate) fn leaf<L: Leaf>(&mut self, spec: L) -> Result<usize> {
        let alike = || self.leaves.iter().filter_map(|l| Some((l, l.spec.downcast_ref::<L>()?)));
        if let Some((placed, _)) = alike().find(|(_, known)| **known == spec) {
            return Ok(placed.offset);
        }
        let name = format!("{}.{}", spec.name(), alike().count());
        let offset = match spec.code(self.vectors)? {
            LeafCode::Assembled(function) => {
                let base = self.end();
                let listed = self.listing.assembly;
                let assembly = listed.then(|| function.disassemble(base)).transpose()?;
                let about = About { assembly, ..About::default() };
                self.add(&name, &function.encode()?, about)
            }
            LeafCode::Body(body) => {
                let function = self.function(body, LEAF_PARAMETERS)?;
                self.place(&name, function, false)?
            }
        };
        self.leaves.push(PlacedLeaf { spec: Box::new(spec), offset });
        Ok(offset)
    }

    /// Whether leaf functions may be written in the portable instructions.
    pub(crate) fn has_assembler(&self) -> bool {
        asm::is_encoded(self.vectors)
    }

    /// The vectors that code is made for.
    pub(crate) fn vectors(&self) -> Vectors {
        self.vectors
    }

    /// Assembled functions are System V's everywhere.
    fn leaf_conv(&self) -> CallConv {
        match asm::is_encoded(self.vectors) {
            true => CallConv::SystemV,
            false => self.fast.default_call_conv(),
        }
    }

    /// Places the entry point behind everything else; all of the code.
    pub(crate) fn program(mut self, program: &Program) -> Result<Code> {
        let call_conv = self.fast.default_call_conv();
        let body = |e: &mut Emitter<'_, '_>, args: &[Value]| {
            if let &[frame] = args {
                entry::emit(e, program, call_conv, frame);
            }
        };
        let function = self.function(body, 1)?;
        let entry = self.place("entry", function, true)?;
        Ok(Code { bytes: self.bytes, entry, functions: self.functions })
    }

    /// Appends code; returns its offset.
    pub(super) fn append(&mut self, name: &str, code: &[u8]) -> usize {
        self.add(name, code, About::default())
    }

    /// Where the next function begins.
    fn end(&self) -> usize {
        self.bytes.len().next_multiple_of(FUNCTION_ALIGNMENT)
    }

    fn add(&mut self, name: &str, code: &[u8], about: About) -> usize {
        let offset = self.end();
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(code);
        let (name, length) = (name.to_owned(), code.len());
        let About { calls, clif, assembly } = about;
        self.functions.push(FunctionInfo { name, offset, length, calls, clif, assembly });
        offset
    }

    /// Compiles the function and appends it; returns its offset.
    pub(crate) fn place(
        &mut self,
        name: &str,
        function: Function,
        optimize: bool,
    ) -> Result<usize> {
        let isa = if optimize { &self.fast } else { &self.plain };
        let clif = self.listing.clif.then(|| function.display().to_string());
        let mut context = Context::for_function(function);
        let fail = |e: &dyn fmt::Debug| Error::internal(format!("{name}: {e:?}"));
        let names = context.func.params.user_named_funcs().clone();
        let is_x86 = matches!(isa.triple().architecture, Architecture::X86_64);
        context.set_disasm(self.listing.assembly && !is_x86);
        let compiled =
            context.compile(&**isa, &mut ControlPlane::default()).map_err(|e| fail(&e.inner))?;
        let at = self.end();
        let mut code = compiled.code_buffer().to_vec();
        let mut calls = Vec::new();
        for reloc in compiled.buffer.relocs() {
            let callee = match &reloc.target {
                FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    names.get(*name).map(|name| name.index as usize)
                }
                _ => None,
            };
            let place = (reloc.kind, reloc.offset as usize, reloc.addend);
            callee
                .and_then(|callee| link::resolve(&mut code, at, place, callee))
                .ok_or_else(|| fail(&reloc.kind))?;
            calls.extend(callee);
        }
        calls.sort_unstable();
        calls.dedup();
        // Elsewhere Cranelift's own text, which it writes while it compiles.
        let assembly = match self.listing.assembly && is_x86 {
            true => Some(asm::x86::disassemble(&code, at)),
            false => compiled.vcode.clone(),
        };
        Ok(self.add(name, &code, About { calls, clif, assembly }))
    }
}

impl fmt::Debug for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linker").field("functions", &self.functions).finish_non_exhaustive()
    }
}

impl Emitter<'_, '_> {
    /// The leaf function at this offset.
    pub(crate) fn leaf(&mut self, offset: usize) -> FuncRef {
        self.import(self.leaf_conv, LEAF_PARAMETERS, offset)
    }
}
