//! Softmax and its logarithm along the last axis: rows of powers in vectors, their sum in f64, then the quotients, or
//! the differences from the logarithm of the sum.

use cranelift_codegen::ir::types::{F32, F32X4, F64, I64};
use cranelift_codegen::ir::{InstBuilder, StackSlotData, StackSlotKind, Value};

use super::Softmax;
use crate::codegen::emitter::{Emitter, LANES};
use crate::codegen::{KernelCall, Linker, math};
use crate::error::Result;
use crate::ir::expr::Expr;
use crate::ir::{Binary, DType, Unary};
use crate::kernels::map::{Map, over};
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::Nest;

/// Vectors, and sums, that are found side by side.
const ABREAST: usize = 4;

const ELEMENT: i64 = F32_BYTES as i64;

/// How a row is computed.
pub(super) struct Rows {
    extent: i64,
    powers: Map,
    /// The function of rows of powers, where there is one.
    leaf: Option<usize>,
    /// What makes the results of a row: of the powers and their sum, or of the elements, the largest and the
    /// logarithm of the sum.
    results: Map,
    log: bool,
}

/// What is known of a row, one f32 behind the other: its largest element, and what its powers come to.
const LARGEST: i64 = 0;
const TOTAL: i64 = ELEMENT;

impl Rows {
    /// `None` where elements are apart, or too few.
    pub(super) fn of(spec: &Softmax, linker: &mut Linker) -> Result<Option<Rows>> {
        if spec.inner != 1 || spec.extent < BLOCK {
            return Ok(None);
        }
        let Softmax { extent, log, .. } = *spec;
        let [x, first, second] = [1, 2, 3].map(Expr::Operand);
        let less = x.clone().binary(Binary::Sub, first.clone());
        let results = match log {
            true => less.clone().binary(Binary::Sub, second),
            false => x.binary(Binary::Div, first),
        };
        let powers = row(extent, 1, less.unary(Unary::Exp));
        let results = row(extent, if log { 2 } else { 1 }, results);
        let leaf = powers.leaf(linker)?;
        Ok(Some(Rows { extent: extent as i64, powers, leaf, results, log }))
    }

    pub(super) fn emit(&self, e: &mut Emitter<'_, '_>, [out, input]: [Value; 2], call: KernelCall) {
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 2 * F32_BYTES as u32, 2);
        let slot = e.builder.create_sized_stack_slot(slot);
        let largest = e.builder.ins().stack_addr(I64, slot, LARGEST as i32);
        let total = e.builder.ins().stack_addr(I64, slot, TOTAL as i32);
        e.each(call.begin, call.end, |e, item| {
            let offset = e.mul_imm(item, self.extent * ELEMENT);
            let (from, to) = (e.add(input, offset), e.add(out, offset));
            let found = self.largest(e, from);
            e.store(found, largest, 0);
            over(e, &self.powers, self.leaf, &[to, from, largest]);
            let sum = self.total(e, to);
            let sum = if self.log { math::log(e, sum) } else { sum };
            let sum = e.builder.ins().fdemote(F32, sum);
            e.store(sum, total, 0);
            match self.log {
                true => over(e, &self.results, None, &[to, from, largest, total]),
                false => over(e, &self.results, None, &[to, to, total]),
            }
        });
    }

    /// The largest element. A NaN may get lost; its power does not.
    fn largest(&self, e: &mut Emitter<'_, '_>, from: Value) -> Value {
        let round = (ABREAST * LANES) as i64;
        let at = |i: usize| (i * LANES) as i64 * ELEMENT;
        let mut state: Vec<Value> = (0..ABREAST).map(|i| e.load(F32X4, from, at(i))).collect();
        state.push(e.add_imm(from, round * ELEMENT));
        let (begin, end) = (e.int(round), e.int(self.extent));
        let (next, state) = e.fold(begin, end, round, &state, |e, _, state| {
            let mut state = state.to_vec();
            let here = state[ABREAST];
            for (i, best) in state[..ABREAST].iter_mut().enumerate() {
                let x = e.load(F32X4, here, at(i));
                *best = e.float_max(*best, x);
            }
            state[ABREAST] = e.add_imm(here, round * ELEMENT);
            state
        });
        let mut best = state[0];
        for other in &state[1..ABREAST] {
            best = e.float_max(*other, best);
        }
        let lanes = [0, 1, 2, 3].map(|lane| e.builder.ins().extractlane(best, lane));
        let best = lanes.into_iter().reduce(|a, b| e.float_max(a, b)).unwrap_or(best);
        let (_, state) = e.fold(next, end, 1, &[best, state[ABREAST]], |e, _, state| {
            let x = e.load(F32, state[1], 0);
            vec![e.float_max(state[0], x), e.add_imm(state[1], ELEMENT)]
        });
        state[0]
    }

    /// The sum of all elements, in f64.
    fn total(&self, e: &mut Emitter<'_, '_>, from: Value) -> Value {
        let (zero, end) = (e.int(0), e.int(self.extent));
        let nothing = e.float(F64, 0.0);
        let state = [nothing, nothing, nothing, nothing, from];
        let (next, state) = e.fold(zero, end, ABREAST as i64, &state, |e, _, state| {
            let mut state = state.to_vec();
            let here = state[ABREAST];
            for (i, sum) in state[..ABREAST].iter_mut().enumerate() {
                *sum = added(e, *sum, here, i as i64 * ELEMENT);
            }
            state[ABREAST] = e.add_imm(here, ABREAST as i64 * ELEMENT);
            state
        });
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| state[i]);
        let (low, high) = (e.builder.ins().fadd(a, b), e.builder.ins().fadd(c, d));
        let sum = e.builder.ins().fadd(low, high);
        let (_, state) = e.fold(next, end, 1, &[sum, state[ABREAST]], |e, _, state| {
            vec![added(e, state[0], state[1], 0), e.add_imm(state[1], ELEMENT)]
        });
        state[0]
    }
}

/// A row of f32: the result, an operand of as many, and so many operands of one.
fn row(extent: usize, of_one: usize, expr: Expr) -> Map {
    let mut strides = vec![vec![1], vec![1]];
    strides.resize(2 + of_one, vec![0]);
    let dtypes = vec![DType::F32; strides.len()];
    Map { nest: Nest { dims: vec![extent], strides }, dtypes, expr }
}

fn added(e: &mut Emitter<'_, '_>, sum: Value, from: Value, at: i64) -> Value {
    let x = e.load(F32, from, at);
    let x = e.builder.ins().fpromote(F64, x);
    e.builder.ins().fadd(sum, x)
}
