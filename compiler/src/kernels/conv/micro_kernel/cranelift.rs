//! The micro-kernel of f32 through Cranelift, in vectors of four lanes: for machines without an assembler.

use cranelift_codegen::ir::types::{F32, F32X4};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::{MicroKernel, finish};
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
    let (sums, [at_input, at_weights]) = places(spec);
    let inner = spec.reduce.get(level..).unwrap_or_default();
    let elements = match (inner, spec.shared_taps()) {
        // In the order in which the assembled code has them: a sum's bits depend on it.
        ([taps, channels], Some(_)) => {
            let of_channel = |i: usize| {
                (0..taps.count).map(move |tap| Element {
                    line: tap * channels.count + i,
                    input: tap * taps.input,
                    channel: i,
                })
            };
            (0..channels.count).flat_map(of_channel).collect()
        }
        ([innermost], _) => {
            // A narrow group's channels are found by its lanes.
            let stride = if spec.narrow > 0 { 0 } else { innermost.input };
            let of = |i| Element { line: i, input: i * stride, channel: i };
            (0..innermost.count).map(of).collect()
        }
        ([], _) => vec![Element::default()],
        ([outer, ..], _) => {
            return e.repeat(outer.count, state, |e, state| {
                let mut next = contract(e, spec, level + 1, state);
                next[at_input] = e.add_imm(state[at_input], outer.input as i64 * ELEMENT);
                next
            });
        }
    };
    let mut next = state.to_vec();
    for element in &elements {
        let at = [state[at_input], state[at_weights]];
        multiply_add(e, spec, element, at, &mut next[..sums]);
    }
    let by = (elements.len() * BLOCK) as i64 * ELEMENT;
    next[at_weights] = e.add_imm(next[at_weights], by);
    next
}

/// How many sums there are, and where input and weights are behind them.
fn places(spec: &MicroKernel) -> (usize, [usize; 2]) {
    let sums = spec.pixels * spec.blocks * PER_BLOCK;
    (sums, [sums, sums + 1])
}

/// A contracted element.
#[derive(Default)]
struct Element {
    /// Its line of weights.
    line: usize,
    /// Where it is in the input; for narrow groups, where its block is.
    input: usize,
    /// Its channel within each narrow group.
    channel: usize,
}

/// Adds the products of an element to all sums.
fn multiply_add(
    e: &mut Emitter<'_, '_>,
    spec: &MicroKernel,
    element: &Element,
    [input, weights]: [Value; 2],
    sums: &mut [Value],
) {
    let row = spec.blocks * PER_BLOCK;
    let of_vector = |v: usize| {
        let (block, part) = (v / PER_BLOCK, v % PER_BLOCK);
        block * spec.weights_block + element.line * BLOCK + part * LANES
    };
    let weights: Vec<Value> =
        (0..row).map(|v| e.load(F32X4, weights, of_vector(v) as i64 * ELEMENT)).collect();
    for (pixel, sums) in sums.chunks_mut(row).enumerate() {
        let at = pixel * spec.input_pixel + element.input;
        let shared = (spec.narrow == 0).then(|| splat(e, input, at));
        for (vector, (sum, weight)) in sums.iter_mut().zip(&weights).enumerate() {
            let factor = shared.unwrap_or_else(|| spread(e, spec, input, at, vector, element));
            *sum = e.multiply_add(*weight, factor, *sum);
        }
    }
}

/// An element in all lanes.
fn splat(e: &mut Emitter<'_, '_>, input: Value, at: usize) -> Value {
    let lane = e.load(F32, input, at as i64 * ELEMENT);
    e.builder.ins().splat(F32X4, lane)
}

/// The channel of each lane's own group.
fn spread(
    e: &mut Emitter<'_, '_>,
    spec: &MicroKernel,
    input: Value,
    at: usize,
    vector: usize,
    element: &Element,
) -> Value {
    let first = vector * LANES;
    match spec.narrow {
        1 => e.load(F32X4, input, (at + first) as i64 * ELEMENT),
        narrow => splat(e, input, at + first / narrow * narrow + element.channel),
    }
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
    finish::emitted(e, spec, [out, residual]);
}
