//! Elementwise loops over strided operands, four f32 or sixteen bytes at a time where strides allow.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32X4, I32X4};
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use super::Map;
use super::row::TRIP;
use crate::codegen::KernelCall;
use crate::codegen::emitter::{Element, Emitter, LANES, register};
use crate::codegen::functions::is_vectorizable;
use crate::ir::DType;
use crate::ir::expr::Expr;
use crate::kernels::pointers::Pointers;

/// Elements of an innermost loop that is written out, such as the channels of a block; of a longer one,
/// elements of a round.
const WRITTEN_OUT: usize = 16;

/// `row` is the function of rows of blocks, where there is one.
pub(super) fn emit(e: &mut Emitter<'_, '_>, map: &Map, row: Option<usize>, call: KernelCall) {
    let row = row.map(|offset| e.leaf(offset));
    let pointers = Pointers::of(map, call).all(e);
    let KernelCall { begin, end, .. } = call;
    let rank = map.nest.dims.len();
    if rank == 0 {
        // One element; the range is 0..1, or empty.
        return e.each(begin, end, |e, _| element(e, map, &pointers));
    }
    let pointers = advanced(e, map, 0, &pointers, begin);
    match row {
        Some(row) if rank == 1 => return run(e, map, row, [begin, end], &pointers),
        // The items are blocks of one row.
        Some(row) if rank == 2 && map.nest.dims[1] == TRIP => {
            let count = e.builder.ins().isub(end, begin);
            return blocks(e, row, count, &pointers);
        }
        None if rank == 1 => return innermost(e, map, begin, end, &pointers),
        _ => {}
    }
    e.fold(begin, end, 1, &pointers, |e, _, here| {
        level(e, map, row, 1, here);
        stepped(e, map, 0, here, 1)
    });
}

/// All of a map that is one loop.
pub(in crate::kernels) fn over(
    e: &mut Emitter<'_, '_>,
    map: &Map,
    row: Option<usize>,
    pointers: &[Value],
) {
    let row = row.map(|offset| e.leaf(offset));
    let extent = map.nest.dims.first().copied().unwrap_or(1);
    let [begin, end] = [0, extent as i64].map(|n| e.int(n));
    match row {
        Some(row) => run(e, map, row, [begin, end], pointers),
        None => innermost(e, map, begin, end, pointers),
    }
}

/// So many blocks, by the function of rows; none if there are none.
fn blocks(e: &mut Emitter<'_, '_>, row: FuncRef, count: Value, pointers: &[Value]) {
    let some = e.builder.ins().icmp_imm_s(IntCC::SignedGreaterThan, count, 0);
    let none = e.int(0);
    let at = |i: usize| pointers.get(i).copied().unwrap_or(none);
    let arguments = [at(1), at(2), at(0), at(3), count, at(4)];
    e.either(
        some,
        |e| {
            e.builder.ins().call(row, &arguments);
        },
        |_| {},
    );
}

/// A run of elements: whole blocks by the function of rows, then what is left.
fn run(
    e: &mut Emitter<'_, '_>,
    map: &Map,
    row: FuncRef,
    [begin, end]: [Value; 2],
    pointers: &[Value],
) {
    let axis = map.nest.dims.len() - 1;
    let count = e.builder.ins().isub(end, begin);
    let whole = e.builder.ins().sshr_imm_u(count, i64::from(TRIP.trailing_zeros()));
    blocks(e, row, whole, pointers);
    let done = e.mul_imm(whole, TRIP as i64);
    let pointers = advanced(e, map, axis, pointers, done);
    let next = e.add(begin, done);
    rest(e, map, [next, end], &pointers, &[LANES]);
}

/// The loops from `axis` inwards.
fn level(
    e: &mut Emitter<'_, '_>,
    map: &Map,
    row: Option<FuncRef>,
    axis: usize,
    pointers: &[Value],
) {
    let (extent, dims) = (map.nest.dims[axis], &map.nest.dims);
    let last = axis + 1 == dims.len();
    if let Some(row) = row {
        if axis + 2 == dims.len() && dims[axis + 1] == TRIP {
            let count = e.int(extent as i64);
            return blocks(e, row, count, pointers);
        }
        if last {
            let range = [0, extent as i64].map(|n| e.int(n));
            return run(e, map, row, range, pointers);
        }
    }
    let whole = |vectors: &Vectors| extent <= WRITTEN_OUT && extent.is_multiple_of(vectors.lanes);
    if let Some(vectors) = Vectors::of(e, map).filter(|vectors| last && whole(vectors)) {
        let trips = (0..extent).step_by(vectors.lanes);
        return trips.for_each(|trip| vectors.emit(e, pointers, trip));
    }
    let (zero, count) = (e.int(0), e.int(extent as i64));
    if last {
        return innermost(e, map, zero, count, pointers);
    }
    e.fold(zero, count, 1, pointers, |e, _, here| {
        level(e, map, row, axis + 1, here);
        stepped(e, map, axis, here, 1)
    });
}

fn innermost(e: &mut Emitter<'_, '_>, map: &Map, begin: Value, end: Value, pointers: &[Value]) {
    rest(e, map, [begin, end], pointers, &[WRITTEN_OUT, LANES]);
}

/// The innermost loop, so many elements a round as long as there are as many, then one by one.
fn rest(
    e: &mut Emitter<'_, '_>,
    map: &Map,
    [begin, end]: [Value; 2],
    pointers: &[Value],
    rounds: &[usize],
) {
    let axis = map.nest.dims.len() - 1;
    let (mut next, mut here) = (begin, pointers.to_vec());
    if let Some(vectors) = Vectors::of(e, map) {
        let fits = |n: &&usize| **n <= map.nest.dims[axis] && n.is_multiple_of(vectors.lanes);
        for &round in rounds.iter().filter(fits) {
            (next, here) = e.fold(next, end, round as i64, &here, |e, _, here| {
                let trips = (0..round).step_by(vectors.lanes);
                trips.for_each(|trip| vectors.emit(e, here, trip));
                stepped(e, map, axis, here, round as i64)
            });
        }
    }
    e.fold(next, end, 1, &here, |e, _, here| {
        element(e, map, here);
        stepped(e, map, axis, here, 1)
    });
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

/// How several trips of the innermost loop are computed at once: as many as a vector of f32 has lanes, or as
/// a vector has bytes where some operands are bytes.
struct Vectors<'m> {
    map: &'m Map,
    /// Of f32, into which bytes are converted.
    expr: Expr,
    /// Trips at once.
    lanes: usize,
}

/// Bytes of a vector.
const BYTES: usize = 16;

impl<'m> Vectors<'m> {
    /// `None` unless the innermost loop runs over contiguous or constant f32 and bytes, which stand for
    /// numbers, and is long enough. Bytes may be written apart from each other.
    fn of(e: &Emitter<'_, '_>, map: &'m Map) -> Option<Vectors<'m>> {
        let inner: Vec<isize> = map.nest.strides.iter().filter_map(|s| s.last().copied()).collect();
        let is_bytes = map.dtypes.contains(&DType::U8);
        let lanes = if is_bytes { BYTES } else { LANES };
        let fits = map.dtypes.iter().zip(&inner).skip(1).all(|(dtype, stride)| match dtype {
            DType::F32 => matches!(stride, 0 | 1),
            DType::U8 => *stride == 1,
            _ => false,
        });
        let writes = match (map.dtypes.first(), inner.first()) {
            (Some(DType::F32), Some(apart)) => *apart == 1,
            (Some(DType::U8), Some(apart)) => *apart > 0,
            _ => false,
        };
        let is_long = map.nest.dims.last().is_some_and(|n| *n >= lanes);
        let expr = floats(map)?;
        (fits && is_long && writes && is_vectorizable(&expr, e.fma)).then_some(Vectors {
            map,
            expr,
            lanes,
        })
    }

    /// As many elements, so many trips of the innermost loop further.
    fn emit(&self, e: &mut Emitter<'_, '_>, pointers: &[Value], trips: usize) {
        let sources = pointers.iter().zip(&self.map.nest.strides).zip(&self.map.dtypes).skip(1);
        let loaded: Vec<Vec<Value>> = sources
            .map(|((pointer, strides), dtype)| match (dtype, strides.last()) {
                (DType::U8, _) => self.bytes(e, *pointer, trips),
                (_, Some(0)) => {
                    let lane = e.load(register(DType::F32), *pointer, 0);
                    vec![e.builder.ins().splat(F32X4, lane); self.lanes / LANES]
                }
                _ => self.floats(e, *pointer, trips),
            })
            .collect();
        let results: Vec<Value> = (0..self.lanes / LANES)
            .map(|part| {
                let operands = loaded.iter().map(|vectors| vectors[part]);
                self.result(e, pointers[0], operands)
            })
            .collect();
        if self.map.dtypes[0] == DType::U8 {
            return self.store_bytes(e, results, pointers[0], trips);
        }
        for (part, result) in results.into_iter().enumerate() {
            let at = (trips + part * LANES) * DType::F32.size();
            e.store(result, pointers[0], at as i64);
        }
    }

    fn floats(&self, e: &mut Emitter<'_, '_>, from: Value, trips: usize) -> Vec<Value> {
        let at = |part: usize| ((trips + part * LANES) * DType::F32.size()) as i64;
        (0..self.lanes / LANES).map(|part| e.load(F32X4, from, at(part))).collect()
    }

    fn bytes(&self, e: &mut Emitter<'_, '_>, from: Value, trips: usize) -> Vec<Value> {
        let integers = e.load_bytes(from, trips as i64);
        integers.into_iter().map(|lanes| e.builder.ins().fcvt_from_sint(F32X4, lanes)).collect()
    }

    fn store_bytes(&self, e: &mut Emitter<'_, '_>, all: Vec<Value>, to: Value, trips: usize) {
        let integers =
            all.into_iter().map(|floats| e.builder.ins().fcvt_to_sint_sat(I32X4, floats));
        let apart = self.map.nest.strides[0].last().map_or(1, |stride| *stride as i64);
        if let Ok(lanes) = integers.collect::<Vec<_>>().try_into() {
            e.store_bytes(lanes, to, trips as i64 * apart, apart);
        }
    }

    fn result(
        &self,
        e: &mut Emitter<'_, '_>,
        out: Value,
        operands: impl Iterator<Item = Value>,
    ) -> Value {
        let mut all = vec![Element { value: out, dtype: DType::I64 }];
        all.extend(operands.map(|value| Element { value, dtype: DType::F32 }));
        let result = e.expression(&self.expr, &all, DType::F32).value;
        if e.ty(result) == F32X4 { result } else { e.builder.ins().splat(F32X4, result) }
    }
}

/// The expression over f32 of a map whose bytes are converted as they are loaded and stored; `None` for one
/// that uses bytes otherwise.
fn floats(map: &Map) -> Option<Expr> {
    let is_byte = |operand: &usize| map.dtypes.get(*operand) == Some(&DType::U8);
    let result = match (&map.expr, map.dtypes[0]) {
        (Expr::Cast(DType::U8, number), DType::U8) => number,
        (_, DType::U8) => return None,
        (expr, _) => expr,
    };
    let mut casts = 0;
    let mut uses = 0;
    result.visit(&mut |expr| match expr {
        Expr::Operand(operand) if is_byte(operand) => uses += 1,
        Expr::Cast(DType::F32, inner) => {
            casts += usize::from(matches!(&**inner, Expr::Operand(o) if is_byte(o)));
        }
        _ => {}
    });
    (casts == uses).then(|| result.clone().without_casts_of(&is_byte))
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
