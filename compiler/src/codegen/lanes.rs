//! Programs of lanes through Cranelift: on one element, or on a vector of four.

use cranelift_codegen::ir::immediates::Ieee32;
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value};

use super::emitter::Emitter;
use crate::lanes::{Formula, Program, Step, Value as Number};

impl Emitter<'_, '_> {
    /// A function of f32 on a register.
    pub(super) fn formula(&mut self, formula: Formula, x: Value) -> Value {
        let program = Program::of_one(formula);
        let ty = self.ty(x);
        let mut values: Vec<Value> = Vec::with_capacity(program.steps.len());
        for step in &program.steps {
            let of = |number: &Number| values[number.0];
            let value = match step {
                Step::Operand(_) => x,
                Step::Constant(bits) => self.bits(ty, *bits),
                Step::MultiplyAdd(a, b, c) => self.builder.ins().fma(of(a), of(b), of(c)),
                Step::Add(a, b) => self.builder.ins().fadd(of(a), of(b)),
                Step::Subtract(a, b) => self.builder.ins().fsub(of(a), of(b)),
                Step::Multiply(a, b) => self.builder.ins().fmul(of(a), of(b)),
                Step::Divide(a, b) => self.builder.ins().fdiv(of(a), of(b)),
                Step::SquareRoot(a) => self.builder.ins().sqrt(of(a)),
                Step::Max(a, b) => self.float_max(of(a), of(b)),
                Step::Min(a, b) => self.float_min(of(a), of(b)),
                Step::Pick { a, b, yes, no } => self.select_less(of(a), of(b), of(yes), of(no)),
                Step::And(a, b) => {
                    self.on_integers([of(a), of(b)], |e, [a, b]| e.builder.ins().band(a, b))
                }
                Step::Xor(a, b) => {
                    self.on_integers([of(a), of(b)], |e, [a, b]| e.builder.ins().bxor(a, b))
                }
                Step::AddIntegers(a, b) => {
                    self.on_integers([of(a), of(b)], |e, [a, b]| e.builder.ins().iadd(a, b))
                }
                Step::SubtractIntegers(a, b) => {
                    self.on_integers([of(a), of(b)], |e, [a, b]| e.builder.ins().isub(a, b))
                }
                Step::ShiftLeft(a, by) => self
                    .on_integers([of(a)], |e, [a]| e.builder.ins().ishl_imm_u(a, i64::from(*by))),
                Step::ShiftRight(a, by) => self
                    .on_integers([of(a)], |e, [a]| e.builder.ins().sshr_imm_u(a, i64::from(*by))),
                Step::FloatOfInteger(a) => {
                    let integer = self.cast_bits(integers(ty), of(a));
                    self.builder.ins().fcvt_from_sint(ty, integer)
                }
            };
            values.push(value);
        }
        values.last().copied().unwrap_or(x)
    }

    /// A constant by its bits, in each lane.
    fn bits(&mut self, ty: Type, bits: u32) -> Value {
        let lane = self.builder.ins().f32const(Ieee32::with_bits(bits));
        if ty == F32X4 { self.builder.ins().splat(F32X4, lane) } else { lane }
    }

    /// What is computed of the bits of floats, as a float.
    fn on_integers<const N: usize>(
        &mut self,
        floats: [Value; N],
        of: impl FnOnce(&mut Self, [Value; N]) -> Value,
    ) -> Value {
        let ty = self.ty(floats[0]);
        let lanes = floats.map(|float| self.cast_bits(integers(ty), float));
        let result = of(self, lanes);
        self.cast_bits(ty, result)
    }

    fn cast_bits(&mut self, ty: Type, value: Value) -> Value {
        let flags = MemFlagsData::new();
        let flags = if ty.is_vector() { flags.with_endianness(Endianness::Little) } else { flags };
        self.builder.ins().bitcast(ty, flags, value)
    }
}

/// Integers as wide as floats.
fn integers(ty: Type) -> Type {
    if ty == F32 { I32 } else { I32X4 }
}
