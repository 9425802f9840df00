//! A program that only multiplies: what a machine can do at most, for what a model does to be held against.
//!
//! An item is a loop of products into registers of their own, by the instructions that micro-kernels multiply
//! with. Nothing is read, and no product waits for another. Items are independent, as those of kernels are, so
//! any number of threads shares them out.

use std::num::NonZeroUsize;

use cardinal_runtime::manifest::{Manifest, TensorInfo, Variant};
use cardinal_runtime::{ArtifactParts, Code as CodeSection, DType};
use cranelift_codegen::ir::{InstBuilder, Value};

use crate::asm::{self, Assembler, Register, Vector};
use crate::codegen::emitter::Emitter;
use crate::codegen::{
    Address, Call, Code, KernelCall, Leaf, LeafCode, Linker, Listing, Program, Region, Target,
};
use crate::error::Result;
use crate::machine::{BLOCK, Dots, Element, F32_BYTES, Factor, Vectors};
use crate::pipeline::VERSION;

/// Items for each thread: enough to be shared out evenly, and some tenths of a millisecond. What else runs on a machine
/// leaves all cores alone for so long now and then.
const ITEMS: usize = 192;
/// No program is longer than for so many threads.
const MOST_THREADS: usize = 1 << 12;
/// Turns of the loop of an item.
const TURNS: usize = 1024;
/// Products of a turn, each of a whole register and into one of its own: more than are in flight.
const SUMS: usize = 12;

/// A program that only multiplies.
#[derive(Debug)]
pub struct Peak {
    /// The program. It takes nothing, and what it gives says nothing.
    pub parts: ArtifactParts,
    /// Multiply-adds that a run of it makes.
    pub multiply_adds: usize,
}

impl Peak {
    /// The program for elements of this type on this target, for so many threads, if convolutions multiply such there.
    ///
    /// # Errors
    /// Those of generating code.
    pub fn new(target: &Target, element: Element, threads: NonZeroUsize) -> Result<Option<Peak>> {
        let machine = target.machine();
        let factor = Factor::of(element, machine.dots.unwrap_or(Dots::Words));
        let is_there = match factor {
            Factor::F32 => true,
            Factor::U8(_) | Factor::I16(_) => machine.dots.is_some(),
            Factor::Bf16 => machine.bfloats,
        };
        if !is_there {
            return Ok(None);
        }
        let in_a_product = machine.vectors.lanes() * element.of_word();
        let items = ITEMS * threads.get().min(MOST_THREADS);
        let Code { bytes, entry, .. } = code(target, factor, items)?;
        Ok(Some(Peak {
            parts: parts(target, bytes, entry, items),
            multiply_adds: items * TURNS * SUMS * in_a_product,
        }))
    }
}

fn code(target: &Target, factor: Factor, items: usize) -> Result<Code> {
    let mut linker = Linker::new(target, Listing::default())?;
    let products = linker.leaf(Products(factor))?;
    let function = linker.kernel(|e, call| emit(e, products, call))?;
    let kernel = linker.place("peak", function, false)?;
    let args = vec![Address { region: Region::Output(0), offset: 0, image: 0 }];
    let call = Call { kernel, items, stage: 0, runs: None, counts: None, args };
    linker.program(&Program { stages: Vec::new(), calls: vec![call] })
}

fn parts(target: &Target, bytes: Vec<u8>, entry: usize, items: usize) -> ArtifactParts {
    let shape = vec![items as u64, BLOCK as u64];
    let sums = TensorInfo { name: "sums".into(), dtype: DType::F32 as u32, shape };
    let manifest = Manifest {
        model_name: "peak".into(),
        model_digest: vec![0; 32],
        compiler_version: VERSION.into(),
        target: target.triple(),
        outputs: vec![sums],
        ..Manifest::default()
    };
    let variant = Variant {
        name: target.cpu(),
        cpu_features: target.features().to_vec(),
        entry_offset: entry as u64,
        ..Variant::default()
    };
    let code = vec![CodeSection { variant, bytes }];
    ArtifactParts { manifest, code, others: Vec::new(), weights: Vec::new() }
}

/// All turns of a range of items, whose sums go where the first of them has its own.
fn emit(e: &mut Emitter<'_, '_>, products: usize, call: KernelCall) {
    let out = e.pointer(call.args, 0);
    let to = e.moved_by(out, call.begin, BLOCK * F32_BYTES);
    let items = e.builder.ins().isub(call.end, call.begin);
    let turns = e.mul_imm(items, TURNS as i64);
    let (leaf, none) = (e.leaf(products), e.int(0));
    e.builder.ins().call(leaf, &[none, none, to, none, turns, none]);
}

/// So many turns, at least one: `fn(_, _, out, _, turns, _)`.
#[derive(Debug, PartialEq)]
struct Products(Factor);

impl Leaf for Products {
    fn name(&self) -> String {
        "products".into()
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        Ok(match asm::is_encoded(vectors) {
            true => LeafCode::Assembled(self.assembled(vectors)),
            false => LeafCode::Body(Box::new(in_lanes)),
        })
    }
}

impl Products {
    /// The sums are in the first registers; behind them are two factors, and what pairs of products take.
    fn assembled(&self, vectors: Vectors) -> asm::Function {
        let [x, w, pair, ones] = [0, 1, 2, 3].map(|i| Vector(SUMS + i));
        let mut a = Assembler::new("products", vectors);
        (0..SUMS).for_each(|sum| a.zero(Vector(sum)));
        [x, w, ones].into_iter().for_each(|factor| a.splat(factor, 0.5));
        let turn = a.here();
        for sum in (0..SUMS).map(Vector) {
            match self.0 {
                Factor::F32 => a.multiply_add(sum, x, w),
                Factor::Bf16 => a.add_dot_bfloats(sum, x, w),
                Factor::U8(Dots::Words) => a.dot_bytes(sum, x, w),
                Factor::I16(Dots::Words) => a.add_dot_halves(sum, x, w),
                Factor::U8(Dots::Pairs) => {
                    a.dot_pairs(pair, x, w);
                    a.dot_halves(pair, pair, ones);
                    a.add_integers(sum, sum, pair);
                }
                Factor::I16(Dots::Pairs) => {
                    a.dot_halves(pair, x, w);
                    a.add_integers(sum, sum, pair);
                }
            }
        }
        a.loop_back(Register::Tiles, turn);
        a.store(Register::To.at(0), Vector(0));
        a.finish()
    }
}

/// The same in f32, through Cranelift.
fn in_lanes(e: &mut Emitter<'_, '_>, parameters: &[Value]) {
    use cranelift_codegen::ir::types::F32X4;
    let &[_, _, to, _, turns, _] = parameters else { return };
    let half = e.float(F32X4, 0.5);
    let (none, zero) = (e.int(0), e.float(F32X4, 0.0));
    let (_, sums) = e.fold(none, turns, 1, &[zero; SUMS], |e, _, sums| {
        sums.iter().map(|sum| e.multiply_add(half, half, *sum)).collect()
    });
    let total = sums.into_iter().reduce(|a, b| e.builder.ins().fadd(a, b));
    if let Some(total) = total {
        e.store(total, to, 0);
    }
}
