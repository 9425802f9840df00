//! Sliding-window pooling: windows are clipped to the input, so padding is never read.

use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::Pooling;
use crate::codegen::KernelCall;
use crate::codegen::emitter::Emitter;
use crate::ir::{PoolKind, Window};
use crate::kernels::pointers::Pointers;
use crate::plan::Role;

pub(super) fn emit(e: &mut Emitter<'_, '_>, spec: &Pooling, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, input] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    e.each(call.begin, call.end, |e, plane| {
        let by = e.mul_imm(plane, (spec.input[0] * spec.input[1] * 4) as i64);
        let from = e.add(input, by);
        let by = e.mul_imm(plane, (spec.output[0] * spec.output[1] * 4) as i64);
        let to = e.add(out, by);
        let (zero, rows) = (e.int(0), e.int(spec.output[0] as i64));
        e.each(zero, rows, |e, y| {
            let vertical = taps(e, &spec.window, spec.input, 0, y);
            let (zero, columns) = (e.int(0), e.int(spec.output[1] as i64));
            e.each(zero, columns, |e, x| {
                let horizontal = taps(e, &spec.window, spec.input, 1, x);
                let value = window(e, spec, from, &vertical, &horizontal);
                let row = e.mul_imm(y, spec.output[1] as i64);
                let at = e.add(row, x);
                let by = e.mul_imm(at, 4);
                let to = e.add(to, by);
                e.store(value, to, 0);
            });
        });
    });
}

/// The taps of a window along one axis that lie inside the input.
pub(in crate::kernels) struct Taps {
    /// Input coordinate of the first.
    pub(in crate::kernels) first: Value,
    /// How many.
    pub(in crate::kernels) count: Value,
    /// How many lie inside the padded input.
    pub(in crate::kernels) padded: Value,
}

pub(in crate::kernels) fn taps(
    e: &mut Emitter<'_, '_>,
    w: &Window,
    input: [usize; 2],
    axis: usize,
    position: Value,
) -> Taps {
    let (dilation, kernel) = (w.dilation[axis] as i64, w.kernel[axis] as i64);
    let moved = e.mul_imm(position, w.stride[axis] as i64);
    let start = e.add_imm(moved, -(w.pad_before[axis] as i64));
    let zero = e.int(0);
    // Taps below 0: ceil(-start / dilation), at least 0.
    let negated = e.builder.ins().ineg(start);
    let rounded = e.add_imm(negated, dilation - 1);
    let rounded = e.max(zero, rounded);
    let by = e.int(dilation);
    let skipped = e.builder.ins().udiv(rounded, by);
    let extent = input[axis] as i64;
    let inside = below(e, start, extent, dilation, kernel);
    let padded = below(e, start, extent + w.pad_after[axis] as i64, dilation, kernel);
    let count = e.builder.ins().isub(inside, skipped);
    let count = e.max(zero, count);
    let distance = e.mul_imm(skipped, dilation);
    Taps { first: e.add(start, distance), count, padded }
}

/// How many of the taps `start + i * dilation`, i < kernel, lie below `limit`.
fn below(e: &mut Emitter<'_, '_>, start: Value, limit: i64, dilation: i64, kernel: i64) -> Value {
    let (zero, limit, most) = (e.int(0), e.int(limit + dilation - 1), e.int(kernel));
    let room = e.builder.ins().isub(limit, start);
    let room = e.max(zero, room);
    let by = e.int(dilation);
    let fit = e.builder.ins().udiv(room, by);
    e.min(most, fit)
}

fn window(
    e: &mut Emitter<'_, '_>,
    spec: &Pooling,
    from: Value,
    vertical: &Taps,
    horizontal: &Taps,
) -> Value {
    let width = spec.input[1] as i64;
    let row = e.mul_imm(vertical.first, width);
    let corner = e.add(row, horizontal.first);
    let by = e.mul_imm(corner, 4);
    let corner = e.add(from, by);
    let start = match spec.kind {
        PoolKind::Max => e.float(F32, f64::NEG_INFINITY),
        PoolKind::Average { .. } => e.float(F32, 0.0),
    };
    let zero = e.int(0);
    let state = [start, corner];
    let (_, state) = e.fold(zero, vertical.count, 1, &state, |e, _, outer| {
        let zero = e.int(0);
        let (_, inner) = e.fold(zero, horizontal.count, 1, outer, |e, _, inner| {
            let x = e.load(F32, inner[1], 0);
            let next = match spec.kind {
                PoolKind::Max => e.extreme(inner[0], x, true),
                PoolKind::Average { .. } => e.builder.ins().fadd(inner[0], x),
            };
            vec![next, e.add_imm(inner[1], spec.window.dilation[1] as i64 * 4)]
        });
        let by = spec.window.dilation[0] as i64 * width * 4;
        vec![inner[0], e.add_imm(outer[1], by)]
    });
    match spec.kind {
        PoolKind::Max => e.without_denormals(state[0]),
        PoolKind::Average { count_padding } => {
            let count = divisor(e, count_padding, vertical, horizontal);
            e.builder.ins().fdiv(state[0], count)
        }
    }
}

/// What a sum over a window is divided by for the mean, as an f32.
pub(in crate::kernels) fn divisor(
    e: &mut Emitter<'_, '_>,
    count_padding: bool,
    vertical: &Taps,
    horizontal: &Taps,
) -> Value {
    let counts = if count_padding {
        [vertical.padded, horizontal.padded]
    } else {
        [vertical.count, horizontal.count]
    };
    let count = e.builder.ins().imul(counts[0], counts[1]);
    e.builder.ins().fcvt_from_sint(F32, count)
}
