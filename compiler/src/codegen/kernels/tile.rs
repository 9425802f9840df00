//! Around the micro-kernel: finds where each item's tiles begin, and calls.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4};
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use crate::codegen::emitter::{Emitter, LANES};
use crate::plan::tile::{Around, BLOCK, MicroKernel, Tile, TileStep, Variants};

/// Bytes of an element.
const ELEMENT: i64 = 4;

/// Functions of [`Tile::passes`].
pub(super) type Passes = [(usize, Variants<FuncRef>)];

/// Byte addresses of an item.
#[derive(Clone, Copy)]
pub(super) struct Here {
    pub(super) input: Value,
    pub(super) weights: Value,
    pub(super) out: Value,
    pub(super) bias: Value,
    pub(super) other: Value,
}

pub(in crate::codegen) fn emit(
    e: &mut Emitter<'_, '_>,
    spec: &Tile,
    passes: &Passes,
    args: Value,
    [begin, end]: [Value; 2],
) {
    let first = 3 + usize::from(spec.micro.bias);
    let none = e.int(0);
    let has_other = spec.micro.steps.contains(&TileStep::AddOther);
    let base = Here {
        out: e.pointer(args, 0),
        input: e.pointer(args, 1),
        weights: e.pointer(args, 2),
        bias: if spec.micro.bias { e.pointer(args, 3) } else { none },
        other: if has_other { e.pointer(args, first) } else { none },
    };
    e.each(begin, end, |e, item| {
        let (group, block_tile, image, row) = indices(e, spec, item);
        let mut here = base;
        for (index, around) in [(image, &spec.images), (group, &spec.groups), (row, &spec.rows)] {
            here = moved(e, here, index, around);
        }
        let micro = &spec.micro;
        // Weights and bias of earlier groups, then of earlier tiles of this one.
        let row_of_weights = (micro.depth() * BLOCK) as i64 * ELEMENT;
        let blocks = e.mul_imm(group, spec.blocks as i64);
        let within = e.mul_imm(block_tile, micro.blocks as i64);
        let before = e.add(blocks, within);
        let by = e.mul_imm(before, row_of_weights);
        here.weights = e.add(here.weights, by);
        let by = e.mul_imm(before, BLOCK as i64 * ELEMENT);
        here.bias = e.add(here.bias, by);
        let by = e.mul_imm(within, micro.output_block as i64 * ELEMENT);
        here.out = e.add(here.out, by);
        let by = e.mul_imm(within, micro.other_block as i64 * ELEMENT);
        here.other = e.add(here.other, by);
        calls(e, spec, passes, block_tile, here);
    });
}

/// Group, tile of blocks, image and row of an item.
pub(super) fn indices(
    e: &mut Emitter<'_, '_>,
    spec: &Tile,
    item: Value,
) -> (Value, Value, Value, Value) {
    let (images, tiles) = (spec.images.count, spec.block_tiles());
    if spec.pixels_first {
        let (rest, block_tile) = e.divide(item, tiles);
        let (rest, group) = e.divide(rest, spec.groups.count);
        let (image, row) = e.divide(rest, spec.rows.count);
        return (group, block_tile, image, row);
    }
    let (rest, row) = e.divide(item, spec.rows.count);
    let (rest, image) = e.divide(rest, images);
    let (group, block_tile) = e.divide(rest, tiles);
    (group, block_tile, image, row)
}

fn moved(e: &mut Emitter<'_, '_>, here: Here, index: Value, around: &Around) -> Here {
    let mut at = |base: Value, stride: usize| {
        let by = e.mul_imm(index, stride as i64 * ELEMENT);
        e.add(base, by)
    };
    Here {
        input: at(here.input, around.input),
        out: at(here.out, around.output),
        other: at(here.other, around.other),
        ..here
    }
}

/// An item: with as many blocks as a whole tile has, or as are left for the last.
fn calls(e: &mut Emitter<'_, '_>, spec: &Tile, passes: &Passes, tile: Value, here: Here) {
    let (whole, rest) = (spec.blocks / spec.micro.blocks, spec.blocks % spec.micro.blocks);
    if rest == 0 {
        return parts(e, spec, passes, 0, here);
    }
    if whole == 0 {
        return parts(e, spec, passes, 1, here);
    }
    let last = e.int(whole as i64);
    let is_last = e.builder.ins().icmp(IntCC::Equal, tile, last);
    e.either(is_last, |e| parts(e, spec, passes, 1, here), |e| parts(e, spec, passes, 0, here));
}

/// Every part of the contraction, one after the other; `size` says for how many blocks.
pub(super) fn parts(
    e: &mut Emitter<'_, '_>,
    spec: &Tile,
    passes: &Passes,
    size: usize,
    here: Here,
) {
    let input = spec.micro.reduce.first().map_or(0, |r| r.count / spec.parts * r.stride);
    let weights = spec.micro.depth() / spec.parts * BLOCK;
    let mut at = vec![here.input, here.weights];
    for (count, variants) in passes {
        at = e.repeat(*count, &at, |e, at| {
            row(e, spec, &variants[size], Here { input: at[0], weights: at[1], ..here });
            let by = |n: usize| n as i64 * ELEMENT;
            vec![e.add_imm(at[0], by(input)), e.add_imm(at[1], by(weights))]
        });
    }
}

/// The row's whole tiles and its last.
fn row(e: &mut Emitter<'_, '_>, spec: &Tile, functions: &[Option<FuncRef>; 2], here: Here) {
    let micro = &spec.micro;
    let whole = spec.columns / micro.pixels;
    let mut here = here;
    for (function, tiles) in functions.iter().zip([whole, 1]) {
        let Some(function) = function else { continue };
        let count = e.int(tiles as i64);
        let args = [here.input, here.weights, here.out, here.bias, count, here.other];
        e.builder.ins().call(*function, &args);
        let pixels = (tiles * micro.pixels) as i64 * ELEMENT;
        here.input = e.add_imm(here.input, pixels * micro.input_pixel as i64);
        here.out = e.add_imm(here.out, pixels * micro.output_pixel as i64);
        here.other = e.add_imm(here.other, pixels * micro.output_pixel as i64);
    }
}

/// The micro-kernel through Cranelift, in four-lane vectors: `fn(in, weights, out, bias, tiles,
/// other)`.
pub(in crate::codegen) fn micro_kernel(
    e: &mut Emitter<'_, '_>,
    spec: &MicroKernel,
    params: &[Value],
) {
    let [input, weights, out, bias, tiles, other] = *params else { return };
    let zero = e.int(0);
    let pixels = spec.pixels as i64 * ELEMENT;
    e.fold(zero, tiles, 1, &[input, out, other], |e, _, state| {
        let [input, out, other] = *state else { return Vec::new() };
        let sums = sums(e, spec, input, weights, bias, out);
        finish(e, spec, sums, out, other);
        vec![
            e.add_imm(input, pixels * spec.input_pixel as i64),
            e.add_imm(out, pixels * spec.output_pixel as i64),
            e.add_imm(other, pixels * spec.output_pixel as i64),
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
    if spec.onto {
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
        let (count, stride) = span.map_or((1, 0), |s| (s.count, s.stride));
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
        next[at_input] = e.add_imm(state[at_input], span.stride as i64 * ELEMENT);
        next
    })
}

fn finish(e: &mut Emitter<'_, '_>, spec: &MicroKernel, sums: Vec<Value>, out: Value, other: Value) {
    for (i, mut sum) in sums.into_iter().enumerate() {
        for step in &spec.steps {
            sum = match step {
                TileStep::AddOther => {
                    let other = e.load(F32X4, other, offset(spec, spec.other_block, i));
                    e.builder.ins().fadd(sum, other)
                }
                TileStep::Relu => {
                    let zero = e.float(F32X4, 0.0);
                    e.float_max(zero, sum)
                }
            };
        }
        e.store(sum, out, offset(spec, spec.output_block, i));
    }
}
