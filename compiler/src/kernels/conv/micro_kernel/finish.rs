//! What is done to a tile that is stored: functions of many steps.
//!
//! ```text
//!   sums, in all registers ──► out ──► a vector, its function, constants ──► out
//!                               a row of blocks each trip, over the pixels of the tile
//! ```

use cranelift_codegen::ir::types::{F32, F32X4};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::MicroKernel;
use crate::asm::{Assembler, Register};
use crate::codegen::emitter::{Element, Emitter, LANES};
use crate::codegen::functions::is_vectorizable;
use crate::ir::DType;
use crate::ir::expr::Expr;
use crate::kernels::conv::parameters::{OTHER, TO};
use crate::lanes::{Program, Registers};
use crate::machine::{BLOCK, F32_BYTES};

/// Where the pixel's sums are, and what lies in the residual operand; the contraction is done with these.
const PIXEL: Register = Register::Scratch1;
const ADDED: Register = Register::Scratch0;

/// Counts pixels.
const PIXELS: Register = Register::Scratch2;

/// The operand that is the sum, and the one that is the residual.
const SUM: usize = 0;
const RESIDUAL: usize = 1;

/// Whether a micro-kernel can apply this to the sums that it has stored, on every machine.
pub(in crate::kernels) fn can_finish(finish: &Expr) -> bool {
    // Every machine that has an assembler has as many.
    const REGISTERS: usize = 16;
    program(finish).is_some_and(|program| Registers::of(&program, REGISTERS).is_some())
}

/// Whether it reads the residual operand.
pub(super) fn reads_residual(finish: &Expr) -> bool {
    let mut reads = false;
    finish.visit(&mut |expr| reads |= *expr == Expr::Operand(RESIDUAL));
    reads
}

/// Its steps, of f32.
fn program(finish: &Expr) -> Option<Program> {
    Program::of(finish, &[DType::F32; 2])
}

/// Behind the stores of a tile.
pub(super) fn assembled(a: &mut Assembler, spec: &MicroKernel) {
    let program = (spec.finish != Expr::default()).then(|| program(&spec.finish)).flatten();
    let Some(program) = program else { return };
    let Some(registers) = Registers::of(&program, a.vectors().registers()) else { return };
    registers.set(a);
    let reads_residual = reads_residual(&spec.finish);
    a.copy(PIXEL, TO);
    if reads_residual {
        a.copy(ADDED, OTHER);
    }
    a.set(PIXELS, spec.pixels);
    let pixel = a.here();
    let (per_block, lanes) = (a.vectors().per_block(), a.vectors().lanes());
    for vector in 0..spec.blocks * per_block {
        let (block, lane) = (vector / per_block, vector % per_block * lanes);
        let at = |base: Register, apart: usize| base.at((block * apart + lane) * F32_BYTES);
        let (sum, added) = (at(PIXEL, spec.output_block), at(ADDED, spec.residual_block));
        let result = registers.compute(a, &mut |a, operand, to| {
            a.load(to, if operand == SUM { sum } else { added });
        });
        if let Some(result) = result {
            a.store(sum, result);
        }
    }
    let by = (spec.output_pixel * F32_BYTES) as i64;
    a.add_immediate(PIXEL, by);
    if reads_residual {
        a.add_immediate(ADDED, by);
    }
    a.loop_back(PIXELS, pixel);
}

/// The same through Cranelift, a vector of four sums at a time.
pub(super) fn emitted(e: &mut Emitter<'_, '_>, spec: &MicroKernel, places: [Value; 2]) {
    if spec.finish == Expr::default() {
        return;
    }
    e.repeat(spec.pixels, &places, |e, places| {
        let [out, residual] = [places[SUM], places[RESIDUAL]];
        for first in (0..spec.blocks * BLOCK).step_by(LANES) {
            let (block, lane) = (first / BLOCK, first % BLOCK);
            let at = |apart: usize| ((block * apart + lane) * F32_BYTES) as i64;
            let sum = e.load(F32X4, out, at(spec.output_block));
            let result = finished(e, &spec.finish, sum, (residual, at(spec.residual_block)));
            e.store(result, out, at(spec.output_block));
        }
        let by = (spec.output_pixel * F32_BYTES) as i64;
        places.iter().map(|place| e.add_imm(*place, by)).collect()
    });
}

/// What becomes of four sums, with where the residual operand is.
fn finished(
    e: &mut Emitter<'_, '_>,
    finish: &Expr,
    sum: Value,
    (residual, at): (Value, i64),
) -> Value {
    let reads_residual = reads_residual(finish);
    let float = |value| Element { value, dtype: DType::F32 };
    if is_vectorizable(finish, e.fma) {
        let added = if reads_residual { e.load(F32X4, residual, at) } else { sum };
        let result = e.expression(finish, &[sum, added].map(float), DType::F32).value;
        return if e.ty(result) == F32X4 { result } else { e.builder.ins().splat(F32X4, result) };
    }
    (0..LANES).fold(sum, |vector, lane| {
        let own = e.builder.ins().extractlane(sum, lane as u8);
        let at = at + (lane * F32_BYTES) as i64;
        let added = if reads_residual { e.load(F32, residual, at) } else { own };
        let result = e.expression(finish, &[own, added].map(float), DType::F32).value;
        e.builder.ins().insertlane(vector, result, lane as u8)
    })
}
