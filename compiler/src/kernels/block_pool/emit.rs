//! Pools over values in blocks of 16 channels.

use std::ops::Range;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32X4, I8X16, I32, I32X4};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::BlockPool;
use crate::codegen::KernelCall;
use crate::codegen::emitter::{Emitter, LANES};
use crate::ir::{PoolKind, Window};
use crate::kernels::pointers::Pointers;
use crate::kernels::pool::emit::{Taps, divisor, taps};
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::Role;
use crate::schedule::byte_scale::ByteScale;

/// Vectors of a block, of f32 and of the sums of bytes. A block of bytes itself is one.
const PER_BLOCK: usize = BLOCK / LANES;

/// Elements as the loops around them see them: how many vectors a block has, and how they come and go.
#[derive(Clone, Copy)]
struct Elements {
    kind: PoolKind,
    bytes: Option<ByteScale>,
}

impl Elements {
    /// Vectors of what a window is reduced to.
    fn vectors(self) -> usize {
        if self.are_maxima_of_bytes() { 1 } else { PER_BLOCK }
    }

    fn are_maxima_of_bytes(self) -> bool {
        self.bytes.is_some() && self.kind == PoolKind::Max
    }

    /// What a window begins with.
    fn start(self, e: &mut Emitter<'_, '_>) -> Value {
        match (self.bytes, self.kind) {
            (None, PoolKind::Max) => e.float(F32X4, f64::NEG_INFINITY),
            (None, PoolKind::Average { .. }) => e.float(F32X4, 0.0),
            (Some(_), PoolKind::Max) => e.zeros(I8X16),
            (Some(_), PoolKind::Average { .. }) => e.zeros(I32X4),
        }
    }

    /// The block at an address.
    fn load(self, e: &mut Emitter<'_, '_>, at: Value, offset: i64) -> Vec<Value> {
        match (self.bytes, self.kind) {
            (None, _) => {
                let vector = |v: usize| offset + (v * LANES * F32_BYTES) as i64;
                (0..PER_BLOCK).map(|v| e.load(F32X4, at, vector(v))).collect()
            }
            (Some(_), PoolKind::Max) => vec![e.load(I8X16, at, offset)],
            (Some(_), PoolKind::Average { .. }) => e.load_bytes(at, offset).to_vec(),
        }
    }

    /// With one more element.
    fn joined(self, e: &mut Emitter<'_, '_>, window: Value, next: Value) -> Value {
        match (self.bytes, self.kind) {
            (None, PoolKind::Max) => e.extreme(window, next, true),
            (None, PoolKind::Average { .. }) => e.builder.ins().fadd(window, next),
            (Some(_), PoolKind::Max) => e.builder.ins().umax(window, next),
            (Some(_), PoolKind::Average { .. }) => e.builder.ins().iadd(window, next),
        }
    }

    /// Stores a window, or what its mean is.
    fn store(self, e: &mut Emitter<'_, '_>, to: Value, window: Vec<Value>, mean: Option<Counts>) {
        if self.are_maxima_of_bytes() {
            return window.into_iter().for_each(|maxima| e.store(maxima, to, 0));
        }
        for (vector, sum) in window.into_iter().enumerate() {
            let value = match mean {
                Some(counts) => self.mean(e, sum, counts),
                None => e.without_denormals(sum),
            };
            e.store(value, to, (vector * LANES * F32_BYTES) as i64);
        }
    }

    fn mean(self, e: &mut Emitter<'_, '_>, sum: Value, counts: Counts) -> Value {
        let Some(bytes) = self.bytes else { return e.builder.ins().fdiv(sum, counts.divisor) };
        // Each byte that was added counts from the lowest.
        let offset = e.mul_imm(counts.added, i64::from(bytes.lowest));
        let offset = e.builder.ins().ireduce(I32, offset);
        let offset = e.builder.ins().splat(I32X4, offset);
        let steps = e.builder.ins().iadd(sum, offset);
        let steps = e.builder.ins().fcvt_from_sint(F32X4, steps);
        let mean = e.builder.ins().fdiv(steps, counts.divisor);
        let scale = e.float(F32X4, f64::from(bytes.scale));
        e.builder.ins().fmul(mean, scale)
    }
}

/// What a mean is made of its sum with.
#[derive(Clone, Copy)]
struct Counts {
    /// How many elements were added up.
    added: Value,
    /// What the sum is divided by, in every lane of f32: it may count padding, which is 0.
    divisor: Value,
}

pub(super) fn emit(e: &mut Emitter<'_, '_>, spec: &BlockPool, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, input] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    let [read, made] = [spec.read(), spec.made()].map(|element| element.bytes() as i64);
    e.each(call.begin, call.end, |e, item| {
        let (rest, y) = e.divide(item, spec.rows.count);
        let (image, block) = e.divide(rest, spec.blocks.count);
        let (mut from, mut to) = (input, out);
        for (index, around) in [(image, spec.images), (block, spec.blocks)] {
            let by = e.mul_imm(index, around.input as i64 * read);
            from = e.add(from, by);
            let by = e.mul_imm(index, around.output as i64 * made);
            to = e.add(to, by);
        }
        let by = e.mul_imm(y, spec.rows.output as i64 * made);
        let to = e.add(to, by);
        let vertical = taps(e, &spec.window, spec.input, 0, y);
        let by = e.mul_imm(vertical.first, spec.rows.input as i64 * read);
        let elements = Elements { kind: spec.kind, bytes: spec.bytes };
        let row = Row { spec, elements, from: e.add(from, by), to, vertical };
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
    elements: Elements,
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
            let by = e.mul_imm(horizontal.first, (BLOCK * spec.read().bytes()) as i64);
            let corner = e.add(self.from, by);
            let sums = window(e, self, corner, horizontal.count);
            let mean = match spec.kind {
                PoolKind::Max => None,
                PoolKind::Average { count_padding } => {
                    let count = divisor(e, count_padding, &self.vertical, &horizontal);
                    let divisor = e.builder.ins().splat(F32X4, count);
                    let added = e.builder.ins().imul(self.vertical.count, horizontal.count);
                    Some(Counts { added, divisor })
                }
            };
            self.store(e, x, sums, mean);
        });
    }

    /// Outputs whose windows lie inside the input, written out: in the order of [`window`].
    fn whole(&self, e: &mut Emitter<'_, '_>, columns: Range<usize>) {
        let spec = self.spec;
        let Window { kernel: [kh, kw], stride, pad_before, dilation, .. } = spec.window;
        let mean = match spec.kind {
            PoolKind::Max => None,
            PoolKind::Average { .. } => {
                let divisor = e.float(F32X4, (kh * kw) as f64);
                Some(Counts { added: e.int((kh * kw) as i64), divisor })
            }
        };
        let [begin, end] = [columns.start, columns.end].map(|n| e.int(n as i64));
        let element = spec.read().bytes() as i64;
        e.each(begin, end, |e, x| {
            let by = e.mul_imm(x, (stride[1] * BLOCK) as i64 * element);
            let corner = e.add(self.from, by);
            let left = -((pad_before[1] * BLOCK) as i64 * element);
            let mut sums = vec![self.elements.start(e); self.elements.vectors()];
            for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
                let at = i * dilation[0] * spec.rows.input + j * dilation[1] * BLOCK;
                let block = self.elements.load(e, corner, left + at as i64 * element);
                for (sum, next) in sums.iter_mut().zip(block) {
                    *sum = self.elements.joined(e, *sum, next);
                }
            }
            self.store(e, x, sums, mean);
        });
    }

    fn store(&self, e: &mut Emitter<'_, '_>, x: Value, sums: Vec<Value>, mean: Option<Counts>) {
        let by = e.mul_imm(x, (BLOCK * self.spec.made().bytes()) as i64);
        let to = e.add(self.to, by);
        self.elements.store(e, to, sums, mean);
    }
}

/// A window's elements as one block, in the order in which it is written out: so many columns from a
/// corner on.
fn window(e: &mut Emitter<'_, '_>, row: &Row<'_>, corner: Value, columns: Value) -> Vec<Value> {
    let Row { spec, elements, vertical, .. } = row;
    let (vectors, bytes) = (elements.vectors(), spec.read().bytes() as i64);
    let mut state = vec![elements.start(e); vectors];
    state.push(corner);
    let zero = e.int(0);
    let (_, mut state) = e.fold(zero, vertical.count, 1, &state, |e, _, outer| {
        let zero = e.int(0);
        let (_, mut inner) = e.fold(zero, columns, 1, outer, |e, _, inner| {
            let block = elements.load(e, inner[vectors], 0);
            let pairs = inner[..vectors].iter().zip(block);
            let mut next: Vec<Value> = pairs.map(|(w, x)| elements.joined(e, *w, x)).collect();
            let by = (spec.window.dilation[1] * BLOCK) as i64 * bytes;
            next.push(e.add_imm(inner[vectors], by));
            next
        });
        let by = (spec.window.dilation[0] * spec.rows.input) as i64 * bytes;
        inner[vectors] = e.add_imm(outer[vectors], by);
        inner
    });
    state.truncate(vectors);
    state
}
