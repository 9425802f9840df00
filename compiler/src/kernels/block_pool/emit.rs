//! Pools over values in blocks of 16 channels.

use std::ops::Range;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::BlockPool;
use crate::codegen::KernelCall;
use crate::codegen::emitter::{Emitter, LANES};
use crate::ir::{PoolKind, Window};
use crate::kernels::pointers::Pointers;
use crate::kernels::pool::emit::{Taps, divisor, taps};
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::Role;

const ELEMENT: i64 = F32_BYTES as i64;
/// Vectors of a block.
const PER_BLOCK: usize = BLOCK / LANES;

pub(super) fn emit(e: &mut Emitter<'_, '_>, spec: &BlockPool, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, input] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    e.each(call.begin, call.end, |e, item| {
        let (rest, y) = e.divide(item, spec.rows.count);
        let (image, block) = e.divide(rest, spec.blocks.count);
        let (mut from, mut to) = (input, out);
        for (index, around) in [(image, spec.images), (block, spec.blocks)] {
            let by = e.mul_imm(index, around.input as i64 * ELEMENT);
            from = e.add(from, by);
            let by = e.mul_imm(index, around.output as i64 * ELEMENT);
            to = e.add(to, by);
        }
        let by = e.mul_imm(y, spec.rows.output as i64 * ELEMENT);
        let to = e.add(to, by);
        let vertical = taps(e, &spec.window, spec.input, 0, y);
        let by = e.mul_imm(vertical.first, spec.rows.input as i64 * ELEMENT);
        let row = Row { spec, from: e.add(from, by), to, vertical };
        let columns = spec.columns;
        let [first, last] = inside(spec);
        if first == last {
            return row.clipped(e, 0..columns);
        }
        let rows = e.int(spec.window.kernel[0] as i64);
        let is_whole = e.builder.ins().icmp(IntCC::Equal, row.vertical.count, rows);
        e.either(
            is_whole,
            |e| {
                row.clipped(e, 0..first);
                row.whole(e, first..last);
                row.clipped(e, last..columns);
            },
            |e| row.clipped(e, 0..columns),
        );
    });
}

/// The columns of outputs whose windows lie inside the input, if it is worth writing windows out.
fn inside(spec: &BlockPool) -> [usize; 2] {
    const MOST_TAPS: usize = 9;
    let w = &spec.window;
    let reach = w.kernel[1].saturating_sub(1) * w.dilation[1];
    let first = w.pad_before[1].div_ceil(w.stride[1]);
    let room = (spec.input[1] + w.pad_before[1]).checked_sub(reach + 1);
    let last = room.map_or(0, |room| (room / w.stride[1] + 1).min(spec.columns));
    let is_small = w.kernel[0] * w.kernel[1] <= MOST_TAPS;
    if is_small && first < last { [first, last] } else { [0, 0] }
}

/// A row of outputs.
struct Row<'s> {
    spec: &'s BlockPool,
    /// The first row of the input that its windows read.
    from: Value,
    to: Value,
    vertical: Taps,
}

impl Row<'_> {
    /// Outputs whose windows may reach beyond the input.
    fn clipped(&self, e: &mut Emitter<'_, '_>, columns: Range<usize>) {
        let spec = self.spec;
        let [begin, end] = [columns.start, columns.end].map(|n| e.int(n as i64));
        if columns.is_empty() {
            return;
        }
        e.each(begin, end, |e, x| {
            let horizontal = taps(e, &spec.window, spec.input, 1, x);
            let by = e.mul_imm(horizontal.first, BLOCK as i64 * ELEMENT);
            let corner = e.add(self.from, by);
            let sums = window(e, spec, corner, self.vertical.count, horizontal.count);
            let divisor = match spec.kind {
                PoolKind::Max => None,
                PoolKind::Average { count_padding } => {
                    let count = divisor(e, count_padding, &self.vertical, &horizontal);
                    Some(e.builder.ins().splat(F32X4, count))
                }
            };
            self.store(e, x, sums, divisor);
        });
    }

    /// Outputs whose windows lie inside the input, written out: in the order of [`window`].
    fn whole(&self, e: &mut Emitter<'_, '_>, columns: Range<usize>) {
        let spec = self.spec;
        let Window { kernel: [kh, kw], stride, pad_before, dilation, .. } = spec.window;
        let divisor = match spec.kind {
            PoolKind::Max => None,
            PoolKind::Average { .. } => Some(e.float(F32X4, (kh * kw) as f64)),
        };
        let [begin, end] = [columns.start, columns.end].map(|n| e.int(n as i64));
        e.each(begin, end, |e, x| {
            let by = e.mul_imm(x, (stride[1] * BLOCK) as i64 * ELEMENT);
            let corner = e.add(self.from, by);
            let left = -((pad_before[1] * BLOCK) as i64 * ELEMENT);
            let sums = (0..PER_BLOCK).map(|vector| {
                let lane = (vector * LANES) as i64 * ELEMENT;
                let mut sum = start(e, spec.kind);
                for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
                    let at = i * dilation[0] * spec.rows.input + j * dilation[1] * BLOCK;
                    let next = e.load(F32X4, corner, left + at as i64 * ELEMENT + lane);
                    sum = joined(e, spec.kind, sum, next);
                }
                sum
            });
            let sums = sums.collect();
            self.store(e, x, sums, divisor);
        });
    }

    fn store(&self, e: &mut Emitter<'_, '_>, x: Value, sums: Vec<Value>, divisor: Option<Value>) {
        let by = e.mul_imm(x, BLOCK as i64 * ELEMENT);
        let to = e.add(self.to, by);
        for (vector, sum) in sums.into_iter().enumerate() {
            let value = match divisor {
                Some(divisor) => e.builder.ins().fdiv(sum, divisor),
                None => e.without_denormals(sum),
            };
            e.store(value, to, (vector * LANES) as i64 * ELEMENT);
        }
    }
}

/// What a window begins with.
fn start(e: &mut Emitter<'_, '_>, kind: PoolKind) -> Value {
    match kind {
        PoolKind::Max => e.float(F32X4, f64::NEG_INFINITY),
        PoolKind::Average { .. } => e.float(F32X4, 0.0),
    }
}

/// With one more element.
fn joined(e: &mut Emitter<'_, '_>, kind: PoolKind, window: Value, next: Value) -> Value {
    match kind {
        PoolKind::Max => e.extreme(window, next, true),
        PoolKind::Average { .. } => e.builder.ins().fadd(window, next),
    }
}

fn window(
    e: &mut Emitter<'_, '_>,
    spec: &BlockPool,
    corner: Value,
    rows: Value,
    columns: Value,
) -> Vec<Value> {
    let mut state = vec![start(e, spec.kind); PER_BLOCK];
    state.push(corner);
    let zero = e.int(0);
    let (_, mut state) = e.fold(zero, rows, 1, &state, |e, _, outer| {
        let zero = e.int(0);
        let (_, mut inner) = e.fold(zero, columns, 1, outer, |e, _, inner| {
            let mut next = Vec::with_capacity(inner.len());
            for (vector, best) in inner[..PER_BLOCK].iter().enumerate() {
                let x = e.load(F32X4, inner[PER_BLOCK], (vector * LANES) as i64 * ELEMENT);
                next.push(joined(e, spec.kind, *best, x));
            }
            let by = (spec.window.dilation[1] * BLOCK) as i64 * ELEMENT;
            next.push(e.add_imm(inner[PER_BLOCK], by));
            next
        });
        let by = (spec.window.dilation[0] * spec.rows.input) as i64 * ELEMENT;
        inner[PER_BLOCK] = e.add_imm(outer[PER_BLOCK], by);
        inner
    });
    state.truncate(PER_BLOCK);
    state
}
