//! Plan to machine code: one Cranelift function per distinct kernel, and one entry point that
//! calls them in order.
//!
//! The result is one position-independent blob without relocations. Kernels are placed first; the
//! entry point then knows their offsets and reaches them relative to the frame's code pointer. So
//! the bytes that the JIT maps, an artifact stores and an object file wraps are the same.

mod callable;
mod emitter;
mod entry;
mod kernels;
mod leaves;
mod link;
mod math;
mod target;
pub mod x86;

use std::fmt::Write as _;
use std::sync::Arc;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    AbiParam, ExternalName, FuncRef, InstBuilder, Signature, UserFuncName,
};
use cranelift_codegen::ir::{Function, Value, types::I64};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_codegen::{Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

pub(crate) use callable::{Callable, Tensors, callable, status};
pub use target::{CPUS, Target};

use crate::asm;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::plan::kernel::Kernel;
use crate::plan::strassen::{StrassenInput, StrassenOutput, Sums};
use crate::plan::tile::{MicroKernel, Tile, Variants, Vectors};
use crate::plan::winograd::{Transform, Transforms, WinogradInput, WinogradOutput};
use emitter::Emitter;

/// Alignment of each function in the code section.
const FUNCTION_ALIGNMENT: usize = 64;

/// Input, weights, output, bias, tiles and other operand of a micro-kernel.
const MICRO_PARAMETERS: usize = 6;

/// Arguments, begin, end and worker of a kernel.
const KERNEL_PARAMETERS: usize = 4;

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
        let name = format!("{}.{i}", kernel.name());
        let function = match kernel {
            Kernel::Tile(tile) => linker.tile(tile)?,
            Kernel::WinogradInput(input) => linker.winograd_input(input)?,
            Kernel::WinogradOutput(output) => linker.winograd_output(output)?,
            Kernel::StrassenInput(input) => linker.strassen_input(input)?,
            Kernel::StrassenOutput(output) => linker.strassen_output(output)?,
            _ => linker.function(
                |e, args| kernels::emit(e, kernel, args[0], [args[1], args[2]]),
                KERNEL_PARAMETERS,
            )?,
        };
        let optimize = !matches!(kernel, Kernel::Contract(_));
        offsets.push(linker.place(&name, function, optimize)?);
    }
    let calls = entry::calls(plan, &kernels, &offsets)?;
    let call_conv = linker.fast.default_call_conv();
    let function =
        linker.function(|e, args| entry::emit(e, plan, &calls, call_conv, args[0]), 1)?;
    let entry = linker.place("entry", function, true)?;
    Ok(Code { bytes: linker.bytes, entry, functions: linker.functions })
}

/// Arguments, begin, end and worker of a kernel.
fn parameters(args: &[Value]) -> [Value; 4] {
    [args[0], args[1], args[2], args[3]]
}

/// Functions at these offsets.
fn imported(
    e: &mut Emitter<'_, '_>,
    conv: CallConv,
    offsets: &Variants<usize>,
) -> Variants<FuncRef> {
    offsets.map(|row| row.map(|offset| Some(e.import(conv, MICRO_PARAMETERS, offset?))))
}

/// Functions at the offsets of a tile contraction's passes.
fn all_imported(
    e: &mut Emitter<'_, '_>,
    conv: CallConv,
    passes: &[(usize, Variants<usize>)],
) -> Vec<(usize, Variants<FuncRef>)> {
    passes.iter().map(|(n, offsets)| (*n, imported(e, conv, offsets))).collect()
}

/// Functions at the offsets of Winograd's transforms.
fn all_transforms(
    e: &mut Emitter<'_, '_>,
    conv: CallConv,
    offsets: &Transforms<usize>,
) -> Transforms<FuncRef> {
    offsets.each(|offset| e.import(conv, MICRO_PARAMETERS, *offset))
}

/// No function.
const NONE: Variants<usize> = [[None; 2]; 2];

/// Offsets of the variants that there are.
fn each<T>(
    variants: Variants<T>,
    mut place: impl FnMut(T) -> Result<usize>,
) -> Result<Variants<usize>> {
    let mut offsets = NONE;
    for (row, specs) in offsets.iter_mut().zip(variants) {
        for (offset, spec) in row.iter_mut().zip(specs) {
            *offset = spec.map(&mut place).transpose()?;
        }
    }
    Ok(offsets)
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
    vectors: Vectors,
    listing: Listing,
    bytes: Vec<u8>,
    functions: Vec<FunctionInfo>,
    /// Micro-kernels that are placed already, and where.
    micro_kernels: Vec<(MicroKernel, usize)>,
    /// The same of transforms.
    transforms: Vec<(Transform, usize)>,
    /// The same of sums around Strassen's products.
    sums: Vec<(Sums, usize)>,
}

impl Linker {
    fn new(target: &Target, listing: Listing) -> Result<Linker> {
        Ok(Linker {
            fast: target.isa(true)?,
            plain: target.isa(false)?,
            fma: target.has_fma(),
            vectors: target.vectors(),
            listing,
            bytes: Vec::new(),
            functions: Vec::new(),
            micro_kernels: Vec::new(),
            transforms: Vec::new(),
            sums: Vec::new(),
        })
    }

    /// A function of `parameters` pointer-sized parameters with the given body.
    fn function(
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
    fn function_with(
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
        let result = body(&mut Emitter { builder: &mut builder, fma: self.fma }, &params);
        builder.ins().return_(result.as_slice());
        builder.finalize(self.fast.frontend_config());
        Ok(function)
    }

    /// The function of a tile contraction, with calls of its micro-kernels, which are placed.
    fn tile(&mut self, tile: &Tile) -> Result<Function> {
        let passes = self.passes(tile)?;
        let conv = self.micro_conv();
        self.function(
            |e, args| {
                let passes = all_imported(e, conv, &passes);
                kernels::tile::emit(e, tile, &passes, args[0], [args[1], args[2]]);
            },
            KERNEL_PARAMETERS,
        )
    }

    /// The micro-kernels of a tile contraction, placed, and for how many parts each.
    fn passes(&mut self, tile: &Tile) -> Result<Vec<(usize, Variants<usize>)>> {
        let place =
            |(parts, variants)| Ok((parts, each(variants, |spec| self.micro_kernel(spec))?));
        tile.passes().into_iter().map(place).collect()
    }

    /// The function of the sums of inputs for Strassen's products.
    fn strassen_input(&mut self, spec: &StrassenInput) -> Result<Function> {
        let offset = self.sums(spec.sums())?;
        let conv = self.micro_conv();
        self.function(
            |e, args| {
                let sums = e.import(conv, MICRO_PARAMETERS, offset);
                kernels::strassen::input(e, spec, sums, parameters(args));
            },
            KERNEL_PARAMETERS,
        )
    }

    /// The function of Strassen's products and the sums of them.
    fn strassen_output(&mut self, spec: &StrassenOutput) -> Result<Function> {
        let passes = self.passes(&spec.tile)?;
        let offset = self.sums(spec.sums())?;
        let conv = self.micro_conv();
        self.function(
            |e, args| {
                let passes = all_imported(e, conv, &passes);
                let sums = e.import(conv, MICRO_PARAMETERS, offset);
                kernels::strassen::output(e, spec, &passes, sums, parameters(args));
            },
            KERNEL_PARAMETERS,
        )
    }

    /// The function of an input transform.
    fn winograd_input(&mut self, spec: &WinogradInput) -> Result<Function> {
        let offsets = spec.transforms().try_each(|spec| self.transform(spec))?;
        let conv = self.micro_conv();
        self.function(
            |e, args| {
                let transforms = all_transforms(e, conv, &offsets);
                kernels::winograd::input(e, spec, &transforms, parameters(args));
            },
            KERNEL_PARAMETERS,
        )
    }

    /// The function of products in the transformed domain and the output transform.
    fn winograd_output(&mut self, spec: &WinogradOutput) -> Result<Function> {
        let mut products = spec.variants().map(|row| row.map(|(class, _)| (class, NONE)));
        for (offsets, specs) in
            products.iter_mut().flatten().zip(spec.variants().into_iter().flatten())
        {
            offsets.1 = each(specs.1, |spec| self.micro_kernel(spec))?;
        }
        let transforms = spec.transforms().try_each(|spec| self.transform(spec))?;
        let conv = self.micro_conv();
        self.function(
            |e, args| {
                let products = products
                    .map(|row| row.map(|(class, offsets)| (class, imported(e, conv, &offsets))));
                let transforms = all_transforms(e, conv, &transforms);
                let args = parameters(args);
                kernels::winograd::output(e, spec, &products, &transforms, args);
            },
            KERNEL_PARAMETERS,
        )
    }

    /// Places a transform, once; returns its offset.
    fn transform(&mut self, spec: &Transform) -> Result<usize> {
        if let Some((_, offset)) = self.transforms.iter().find(|(known, _)| known == spec) {
            return Ok(*offset);
        }
        let name = format!("transform.{}", self.transforms.len());
        let offset = self.assembled(&name, &x86::transform(self.vectors, spec))?;
        self.transforms.push((spec.clone(), offset));
        Ok(offset)
    }

    /// Places sums around Strassen's products, once; returns their offset.
    fn sums(&mut self, spec: Sums) -> Result<usize> {
        if let Some((_, offset)) = self.sums.iter().find(|(known, _)| *known == spec) {
            return Ok(*offset);
        }
        let name = format!("sums.{}", self.sums.len());
        let offset = self.assembled(&name, &x86::sums(self.vectors, &spec))?;
        self.sums.push((spec, offset));
        Ok(offset)
    }

    /// Places an assembled function; returns its offset.
    fn assembled(&mut self, name: &str, function: &asm::Function) -> Result<usize> {
        let code = function.encode()?;
        let assembly = self.listing.assembly.then(|| function.disassemble()).transpose()?;
        Ok(self.append(name, &code, None, assembly))
    }

    /// Places a micro-kernel, once; returns its offset.
    fn micro_kernel(&mut self, spec: MicroKernel) -> Result<usize> {
        if let Some((_, offset)) = self.micro_kernels.iter().find(|(known, _)| *known == spec) {
            return Ok(*offset);
        }
        let name = format!("micro.{}x{}.{}", spec.pixels, spec.blocks, self.micro_kernels.len());
        let vectors = self.vectors.for_groups_of(spec.narrow);
        let offset = if asm::is_encoded(vectors) {
            self.assembled(&name, &x86::micro_kernel(vectors, &spec))?
        } else {
            let body = |e: &mut Emitter<'_, '_>, args: &[Value]| {
                kernels::tile::micro_kernel(e, &spec, args);
            };
            let function = self.function(body, MICRO_PARAMETERS)?;
            self.place(&name, function, false)?
        };
        self.micro_kernels.push((spec, offset));
        Ok(offset)
    }

    /// Assembled functions are System V's everywhere.
    fn micro_conv(&self) -> CallConv {
        match asm::is_encoded(self.vectors) {
            true => CallConv::SystemV,
            false => self.fast.default_call_conv(),
        }
    }

    /// Appends code; returns its offset.
    fn append(
        &mut self,
        name: &str,
        code: &[u8],
        clif: Option<String>,
        assembly: Option<String>,
    ) -> usize {
        let offset = self.bytes.len().next_multiple_of(FUNCTION_ALIGNMENT);
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(code);
        let (name, length) = (name.to_owned(), code.len());
        self.functions.push(FunctionInfo { name, offset, length, clif, assembly });
        offset
    }

    /// Compiles the function and appends it; returns its offset.
    fn place(&mut self, name: &str, function: Function, optimize: bool) -> Result<usize> {
        let isa = if optimize { &self.fast } else { &self.plain };
        let clif = self.listing.clif.then(|| function.display().to_string());
        let mut context = Context::for_function(function);
        let fail = |e: &dyn std::fmt::Debug| Error::internal(format!("{name}: {e:?}"));
        let names = context.func.params.user_named_funcs().clone();
        let compiled =
            context.compile(&**isa, &mut ControlPlane::default()).map_err(|e| fail(&e.inner))?;
        let at = self.bytes.len().next_multiple_of(FUNCTION_ALIGNMENT);
        let mut code = compiled.code_buffer().to_vec();
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
        }
        let assembly = if self.listing.assembly {
            let capstone = isa.to_capstone().map_err(|e| fail(&e))?;
            Some(compiled.disassemble(None, &capstone).map_err(|e| fail(&e))?)
        } else {
            None
        };
        Ok(self.append(name, &code, clif, assembly))
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
