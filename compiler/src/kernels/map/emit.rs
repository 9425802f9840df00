//! Elementwise loops over strided operands, four f32 at a time where strides allow.

use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::Map;
use crate::codegen::KernelCall;
use crate::codegen::emitter::{Element, Emitter, LANES, register};
use crate::codegen::functions::is_vectorizable;
use crate::ir::DType;
use crate::kernels::pointers::Pointers;

/// Elements of an innermost loop that is written out, such as the channels of a block; of a longer one,
/// elements of a round.
const WRITTEN_OUT: usize = 16;

pub(super) fn emit(e: &mut Emitter<'_, '_>, map: &Map, call: KernelCall) {
    let pointers = Pointers::of(map, call).all(e);
    let KernelCall { begin, end, .. } = call;
    let rank = map.nest.dims.len();
    if rank == 0 {
        // One element; the range is 0..1, or empty.
        return e.each(begin, end, |e, _| element(e, map, &pointers));
    }
    let pointers = advanced(e, map, 0, &pointers, begin);
    if rank == 1 {
        return innermost(e, map, begin, end, &pointers);
    }
    e.fold(begin, end, 1, &pointers, |e, _, here| {
        level(e, map, 1, here);
        stepped(e, map, 0, here, 1)
    });
}

/// The loops from `axis` inwards.
fn level(e: &mut Emitter<'_, '_>, map: &Map, axis: usize, pointers: &[Value]) {
    let extent = map.nest.dims[axis];
    let last = axis + 1 == map.nest.dims.len();
    if last && extent <= WRITTEN_OUT && extent.is_multiple_of(LANES) && vectorizes(map) {
        return (0..extent).step_by(LANES).for_each(|trip| vector(e, map, pointers, trip));
    }
    let (zero, count) = (e.int(0), e.int(extent as i64));
    if last {
        return innermost(e, map, zero, count, pointers);
    }
    e.fold(zero, count, 1, pointers, |e, _, here| {
        level(e, map, axis + 1, here);
        stepped(e, map, axis, here, 1)
    });
}

fn innermost(e: &mut Emitter<'_, '_>, map: &Map, begin: Value, end: Value, pointers: &[Value]) {
    let axis = map.nest.dims.len() - 1;
    let (mut next, mut here) = (begin, pointers.to_vec());
    if vectorizes(map) {
        for round in [WRITTEN_OUT, LANES].into_iter().filter(|n| *n <= map.nest.dims[axis]) {
            (next, here) = e.fold(next, end, round as i64, &here, |e, _, here| {
                (0..round).step_by(LANES).for_each(|trip| vector(e, map, here, trip));
                stepped(e, map, axis, here, round as i64)
            });
        }
    }
    e.fold(next, end, 1, &here, |e, _, here| {
        element(e, map, here);
        stepped(e, map, axis, here, 1)
    });
}

/// Whether the innermost loop runs over contiguous or constant f32 only.
fn vectorizes(map: &Map) -> bool {
    let inner = map.nest.strides.iter().filter_map(|s| s.last());
    map.dtypes.iter().all(|d| *d == DType::F32)
        && is_vectorizable(&map.expr)
        && map.nest.strides[0].last() == Some(&1)
        && inner.into_iter().all(|s| matches!(s, 0 | 1))
        && map.nest.dims.last().is_some_and(|n| *n >= LANES)
}

fn element(e: &mut Emitter<'_, '_>, map: &Map, pointers: &[Value]) {
    let mut operands = vec![Element { value: pointers[0], dtype: DType::I64 }];
    for (pointer, dtype) in pointers.iter().zip(&map.dtypes).skip(1) {
        let value = e.load(register(*dtype), *pointer, 0);
        operands.push(Element { value, dtype: *dtype });
    }
    let result = e.expression(&map.expr, &operands, map.dtypes[0]);
    let result = e.cast(result, map.dtypes[0]);
    e.store(result.value, pointers[0], 0);
}

/// As many elements as a register holds, so many trips of the innermost loop further.
fn vector(e: &mut Emitter<'_, '_>, map: &Map, pointers: &[Value], trips: usize) {
    let at = (trips * DType::F32.size()) as i64;
    let mut operands = vec![Element { value: pointers[0], dtype: DType::I64 }];
    for (pointer, strides) in pointers.iter().zip(&map.nest.strides).skip(1) {
        let value = if strides.last() == Some(&0) {
            let lane = e.load(register(DType::F32), *pointer, 0);
            e.builder.ins().splat(F32X4, lane)
        } else {
            e.load(F32X4, *pointer, at)
        };
        operands.push(Element { value, dtype: DType::F32 });
    }
    let mut result = e.expression(&map.expr, &operands, DType::F32).value;
    if e.ty(result) != F32X4 {
        result = e.builder.ins().splat(F32X4, result);
    }
    e.store(result, pointers[0], at);
}

/// The pointers `trips` further along `axis`.
fn stepped(
    e: &mut Emitter<'_, '_>,
    map: &Map,
    axis: usize,
    pointers: &[Value],
    trips: i64,
) -> Vec<Value> {
    let bytes = map.nest.strides.iter().zip(&map.dtypes);
    let bytes = bytes.map(|(s, d)| s[axis] as i64 * d.size() as i64 * trips);
    pointers.iter().zip(bytes).map(|(p, by)| e.add_imm(*p, by)).collect()
}

fn advanced(
    e: &mut Emitter<'_, '_>,
    map: &Map,
    axis: usize,
    pointers: &[Value],
    trips: Value,
) -> Vec<Value> {
    let bytes = map.nest.strides.iter().zip(&map.dtypes);
    let bytes: Vec<i64> = bytes.map(|(s, d)| s[axis] as i64 * d.size() as i64).collect();
    let mut moved = Vec::with_capacity(pointers.len());
    for (pointer, by) in pointers.iter().zip(bytes) {
        let distance = e.mul_imm(trips, by);
        moved.push(e.add(*pointer, distance));
    }
    moved
}
