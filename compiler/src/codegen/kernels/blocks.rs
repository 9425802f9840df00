//! Means and pools over values in blocks of 16 channels.

use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::pool::{divisor, taps};
use crate::codegen::emitter::{Emitter, LANES};
use crate::ir::PoolKind;
use crate::plan::kernel::{BlockMean, BlockPool};
use crate::plan::tile::BLOCK;

/// Bytes of an element.
const ELEMENT: i64 = 4;
/// Vectors of a block.
const PER_BLOCK: usize = BLOCK / LANES;

pub(super) fn mean(e: &mut Emitter<'_, '_>, spec: &BlockMean, args: Value, items: [Value; 2]) {
    let (out, input) = (e.pointer(args, 0), e.pointer(args, 1));
    let [begin, end] = items;
    e.each(begin, end, |e, item| {
        let (mut rest, mut from, mut to) = (item, input, out);
        for (axis, count) in spec.kept.dims.iter().enumerate().rev() {
            let (next, index) = e.divide(rest, *count);
            rest = next;
            let by = e.mul_imm(index, spec.kept.strides[0][axis] as i64 * ELEMENT);
            to = e.add(to, by);
            let by = e.mul_imm(index, spec.kept.strides[1][axis] as i64 * ELEMENT);
            from = e.add(from, by);
        }
        let zero = e.float(F32X4, 0.0);
        let mut state = vec![zero; PER_BLOCK];
        state.push(from);
        let sums = level(e, spec, 0, &state);
        let scale = e.float(F32X4, spec.scale);
        for (vector, sum) in sums[..PER_BLOCK].iter().enumerate() {
            let scaled = e.builder.ins().fmul(*sum, scale);
            e.store(scaled, to, (vector * LANES) as i64 * ELEMENT);
        }
    });
}

/// Adds what the loops from `axis` inwards reach. Each level has sums of its own, so that a plane
/// is summed by rows: the error grows with the longest axis and not with the area.
fn level(e: &mut Emitter<'_, '_>, spec: &BlockMean, axis: usize, state: &[Value]) -> Vec<Value> {
    let from = state[PER_BLOCK];
    if axis == spec.reduced.dims.len() {
        let mut next: Vec<Value> = Vec::with_capacity(state.len());
        for (vector, sum) in state[..PER_BLOCK].iter().enumerate() {
            let x = e.load(F32X4, from, (vector * LANES) as i64 * ELEMENT);
            next.push(e.builder.ins().fadd(*sum, x));
        }
        next.push(from);
        return next;
    }
    let by = spec.reduced.strides[0][axis] as i64 * ELEMENT;
    let innermost = axis + 1 == spec.reduced.dims.len();
    e.repeat(spec.reduced.dims[axis], state, |e, state| {
        let mut next = if innermost {
            level(e, spec, axis + 1, state)
        } else {
            let zero = e.float(F32X4, 0.0);
            let mut fresh = vec![zero; PER_BLOCK];
            fresh.push(state[PER_BLOCK]);
            let part = level(e, spec, axis + 1, &fresh);
            let pairs = state[..PER_BLOCK].iter().zip(&part);
            let mut sums: Vec<Value> = pairs.map(|(a, b)| e.builder.ins().fadd(*a, *b)).collect();
            sums.push(state[PER_BLOCK]);
            sums
        };
        next[PER_BLOCK] = e.add_imm(state[PER_BLOCK], by);
        next
    })
}

pub(super) fn pool(e: &mut Emitter<'_, '_>, spec: &BlockPool, args: Value, items: [Value; 2]) {
    let (out, input) = (e.pointer(args, 0), e.pointer(args, 1));
    let [begin, end] = items;
    e.each(begin, end, |e, item| {
        let (rest, y) = e.divide(item, spec.output[0]);
        let (image, block) = e.divide(rest, spec.blocks[0]);
        let (mut from, mut to) = (input, out);
        for (index, [_, by_input, by_output]) in [(image, spec.images), (block, spec.blocks)] {
            let by = e.mul_imm(index, by_input as i64 * ELEMENT);
            from = e.add(from, by);
            let by = e.mul_imm(index, by_output as i64 * ELEMENT);
            to = e.add(to, by);
        }
        let by = e.mul_imm(y, spec.rows[1] as i64 * ELEMENT);
        let to = e.add(to, by);
        let vertical = taps(e, &spec.window, spec.input, 0, y);
        let by = e.mul_imm(vertical.first, spec.rows[0] as i64 * ELEMENT);
        let from = e.add(from, by);
        let (zero, columns) = (e.int(0), e.int(spec.output[1] as i64));
        e.each(zero, columns, |e, x| {
            let horizontal = taps(e, &spec.window, spec.input, 1, x);
            let by = e.mul_imm(horizontal.first, BLOCK as i64 * ELEMENT);
            let corner = e.add(from, by);
            let sums = window(e, spec, corner, vertical.count, horizontal.count);
            let by = e.mul_imm(x, BLOCK as i64 * ELEMENT);
            let to = e.add(to, by);
            let divisor = match spec.kind {
                PoolKind::Max => None,
                PoolKind::Average { count_padding } => {
                    let count = divisor(e, count_padding, &vertical, &horizontal);
                    Some(e.builder.ins().splat(F32X4, count))
                }
            };
            for (vector, sum) in sums.into_iter().enumerate() {
                let value = match divisor {
                    Some(divisor) => e.builder.ins().fdiv(sum, divisor),
                    None => sum,
                };
                e.store(value, to, (vector * LANES) as i64 * ELEMENT);
            }
        });
    });
}

fn window(
    e: &mut Emitter<'_, '_>,
    spec: &BlockPool,
    corner: Value,
    rows: Value,
    columns: Value,
) -> Vec<Value> {
    let start = match spec.kind {
        PoolKind::Max => e.float(F32X4, f64::NEG_INFINITY),
        PoolKind::Average { .. } => e.float(F32X4, 0.0),
    };
    let mut state = vec![start; PER_BLOCK];
    state.push(corner);
    let zero = e.int(0);
    let (_, mut state) = e.fold(zero, rows, 1, &state, |e, _, outer| {
        let zero = e.int(0);
        let (_, mut inner) = e.fold(zero, columns, 1, outer, |e, _, inner| {
            let mut next = Vec::with_capacity(inner.len());
            for (vector, best) in inner[..PER_BLOCK].iter().enumerate() {
                let x = e.load(F32X4, inner[PER_BLOCK], (vector * LANES) as i64 * ELEMENT);
                next.push(match spec.kind {
                    PoolKind::Max => e.extreme(*best, x, true),
                    PoolKind::Average { .. } => e.builder.ins().fadd(*best, x),
                });
            }
            let by = (spec.window.dilation[1] * BLOCK) as i64 * ELEMENT;
            next.push(e.add_imm(inner[PER_BLOCK], by));
            next
        });
        let by = (spec.window.dilation[0] * spec.rows[0]) as i64 * ELEMENT;
        inner[PER_BLOCK] = e.add_imm(outer[PER_BLOCK], by);
        inner
    });
    state.truncate(PER_BLOCK);
    state
}
