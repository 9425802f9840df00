//! The micro-kernel through Cranelift, in vectors of four lanes: for machines without an assembler.

use cranelift_codegen::ir::types::{F32, F32X4};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::MicroKernel;
use crate::codegen::emitter::{Emitter, LANES};
use crate::machine::{BLOCK, F32_BYTES};
use crate::schedule::epilogue::FusedStep;

const ELEMENT: i64 = F32_BYTES as i64;

/// The body of `fn(in, weights, out, bias, tiles, residual)`.
pub(super) fn emit(e: &mut Emitter<'_, '_>, spec: &MicroKernel, params: &[Value]) {
    let [input, weights, out, bias, tiles, residual] = *params else { return };
    let zero = e.int(0);
    let pixels = spec.pixels as i64 * ELEMENT;
    e.fold(zero, tiles, 1, &[input, out, residual], |e, _, state| {
        let [input, out, residual] = *state else { return Vec::new() };
        let sums = sums(e, spec, input, weights, bias, out);
        finish(e, spec, sums, out, residual);
        vec![
            e.add_imm(input, pixels * spec.input_pixel as i64),
            e.add_imm(out, pixels * spec.output_pixel as i64),
            e.add_imm(residual, pixels * spec.output_pixel as i64),
        ]
    });
}

/// Vectors of a block.
const PER_BLOCK: usize = BLOCK / LANES;

fn sums(
    e: &mut Emitter<'_, '_>,
    spec: &MicroKernel,
    input: Value,
    weights: Value,
    bias: Value,
    out: Value,
) -> Vec<Value> {
    let row = spec.blocks * PER_BLOCK;
    let mut state = Vec::with_capacity(spec.pixels * row + 2);
    for _ in 0..spec.pixels {
        for vector in 0..row {
            let at = (vector * LANES) as i64 * ELEMENT;
            let start = if spec.bias { e.load(F32X4, bias, at) } else { e.float(F32X4, 0.0) };
            state.push(start);
        }
    }
    let count = state.len();
    state.extend([input, weights]);
    let mut state = contract(e, spec, 0, &state);
    state.truncate(count);
    if spec.accumulate {
        for (i, sum) in state.iter_mut().enumerate() {
            let held = e.load(F32X4, out, offset(spec, spec.output_block, i));
            *sum = e.builder.ins().fadd(*sum, held);
        }
    }
    state
}

/// Bytes from the start of a tile to its `i`-th vector, with blocks so far apart.
fn offset(spec: &MicroKernel, block: usize, i: usize) -> i64 {
    let row = spec.blocks * PER_BLOCK;
    let (pixel, vector) = (i / row, i % row);
    let (whole, part) = (vector / PER_BLOCK, vector % PER_BLOCK);
    (pixel * spec.output_pixel + whole * block + part * LANES) as i64 * ELEMENT
}

/// The contracted loops from `level` inwards, over sums, input and weights.
fn contract(
    e: &mut Emitter<'_, '_>,
    spec: &MicroKernel,
    level: usize,
    state: &[Value],
) -> Vec<Value> {
    let row = spec.blocks * PER_BLOCK;
    let (at_input, at_weights) = (spec.pixels * row, spec.pixels * row + 1);
    if level + 1 >= spec.reduce.len() {
        let mut next = state.to_vec();
        let span = spec.reduce.last().copied();
        let (count, stride) = span.map_or((1, 0), |s| (s.count, s.input));
        for i in 0..count {
            let weights: Vec<Value> = (0..row)
                .map(|v| {
                    let (block, part) = (v / PER_BLOCK, v % PER_BLOCK);
                    let at = block * spec.weights_block + i * BLOCK + part * LANES;
                    let at = at as i64 * ELEMENT;
                    e.load(F32X4, state[at_weights], at)
                })
                .collect();
            for pixel in 0..spec.pixels {
                if spec.narrow > 0 {
                    for (vector, weight) in weights.iter().enumerate() {
                        let at = (pixel * spec.input_pixel + vector * LANES) as i64 * ELEMENT;
                        let element = if spec.narrow == 1 {
                            e.load(F32X4, state[at_input], at)
                        } else {
                            let group = vector * LANES / spec.narrow * spec.narrow;
                            let at = (pixel * spec.input_pixel + group + i) as i64 * ELEMENT;
                            let lane = e.load(F32, state[at_input], at);
                            e.builder.ins().splat(F32X4, lane)
                        };
                        let sum = &mut next[pixel * row + vector];
                        *sum = e.multiply_add(*weight, element, *sum);
                    }
                    continue;
                }
                let at = (pixel * spec.input_pixel + i * stride) as i64 * ELEMENT;
                let lane = e.load(F32, state[at_input], at);
                let element = e.builder.ins().splat(F32X4, lane);
                for (vector, weight) in weights.iter().enumerate() {
                    let sum = &mut next[pixel * row + vector];
                    *sum = e.multiply_add(*weight, element, *sum);
                }
            }
        }
        let by = (count * BLOCK) as i64 * ELEMENT;
        next[at_weights] = e.add_imm(next[at_weights], by);
        return next;
    }
    let span = spec.reduce[level];
    e.repeat(span.count, state, |e, state| {
        let mut next = contract(e, spec, level + 1, state);
        next[at_input] = e.add_imm(state[at_input], span.input as i64 * ELEMENT);
        next
    })
}

fn finish(
    e: &mut Emitter<'_, '_>,
    spec: &MicroKernel,
    sums: Vec<Value>,
    out: Value,
    residual: Value,
) {
    for (i, mut sum) in sums.into_iter().enumerate() {
        for step in &spec.steps {
            sum = match step {
                FusedStep::AddResidual => {
                    let at = offset(spec, spec.residual_block, i);
                    let residual = e.load(F32X4, residual, at);
                    e.builder.ins().fadd(sum, residual)
                }
                FusedStep::Relu => {
                    let zero = e.float(F32X4, 0.0);
                    e.float_max(zero, sum)
                }
            };
        }
        e.store(sum, out, offset(spec, spec.output_block, i));
    }
}
