//! Reductions. f32 sums over contiguous elements run in sixteen partial sums, others in f64.

use cranelift_codegen::ir::types::{F32X4, F64};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::Reduction;
use crate::codegen::KernelCall;
use crate::codegen::emitter::{Element, Emitter, LANES, register};
use crate::ir::expr::Expr;
use crate::ir::{Binary, DType, ReduceKind};
use crate::kernels::pointers::Pointers;
use crate::plan::Role;

/// Independent vectors of partial sums, to hide the latency of additions.
const PARTIALS: usize = 4;

pub(super) fn emit(e: &mut Emitter<'_, '_>, spec: &Reduction, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, input] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    let size = spec.dtype.size() as i64;
    e.each(call.begin, call.end, |e, item| {
        let mut rest = item;
        let mut from = input;
        for (axis, count) in spec.kept.dims.iter().enumerate().rev() {
            let (next, index) = e.divide(rest, *count);
            rest = next;
            let by = e.mul_imm(index, spec.kept.strides[1][axis] as i64 * size);
            from = e.add(from, by);
        }
        let result =
            if sums_vectors(spec) { vector_sum(e, spec, from) } else { fold(e, spec, from) };
        let by = e.mul_imm(item, size);
        let to = e.add(out, by);
        e.store(result, to, 0);
    });
}

fn sums_vectors(spec: &Reduction) -> bool {
    spec.dtype == DType::F32
        && matches!(spec.kind, ReduceKind::Sum | ReduceKind::Mean)
        && spec.reduced.strides[0] == [1]
        && spec.reduced.dims[0] >= PARTIALS * LANES
}

fn vector_sum(e: &mut Emitter<'_, '_>, spec: &Reduction, from: Value) -> Value {
    let count = spec.reduced.dims[0];
    let group = PARTIALS * LANES;
    let zero = e.float(F32X4, 0.0);
    let mut state = vec![zero; PARTIALS];
    state.push(from);
    let state = e.repeat(count / group, &state, |e, state| {
        let pointer = state[PARTIALS];
        let mut next = Vec::with_capacity(state.len());
        for (i, sum) in state[..PARTIALS].iter().enumerate() {
            let values = e.load(F32X4, pointer, (i * LANES * 4) as i64);
            next.push(e.builder.ins().fadd(*sum, values));
        }
        next.push(e.add_imm(pointer, (group * 4) as i64));
        next
    });
    let mut total = e.float(F64, 0.0);
    for partial in &state[..PARTIALS] {
        for lane in 0..LANES {
            let value = e.builder.ins().extractlane(*partial, lane as u8);
            let wide = e.builder.ins().fpromote(F64, value);
            total = e.builder.ins().fadd(total, wide);
        }
    }
    for i in 0..count % group {
        let value = e.load(register(DType::F32), state[PARTIALS], (i * 4) as i64);
        let wide = e.builder.ins().fpromote(F64, value);
        total = e.builder.ins().fadd(total, wide);
    }
    finish(e, spec, Element { value: total, dtype: DType::F64 })
}

/// Sums in f64 (integers in i64), extremes in the element type.
fn fold(e: &mut Emitter<'_, '_>, spec: &Reduction, from: Value) -> Value {
    let extreme = matches!(spec.kind, ReduceKind::Max | ReduceKind::Min);
    let wide = match (extreme, spec.dtype.is_float()) {
        (true, _) => spec.dtype,
        (false, true) => DType::F64,
        (false, false) => DType::I64,
    };
    let start = if extreme {
        e.load(register(spec.dtype), from, 0)
    } else if wide == DType::F64 {
        e.float(F64, 0.0)
    } else {
        e.int(0)
    };
    let total = level(e, spec, wide, 0, from, start);
    finish(e, spec, Element { value: total, dtype: wide })
}

fn level(
    e: &mut Emitter<'_, '_>,
    spec: &Reduction,
    wide: DType,
    axis: usize,
    from: Value,
    total: Value,
) -> Value {
    if axis == spec.reduced.dims.len() {
        let value = e.load(register(spec.dtype), from, 0);
        let value = e.cast(Element { value, dtype: spec.dtype }, wide);
        return combine(e, spec.kind, Element { value: total, dtype: wide }, value);
    }
    let by = spec.reduced.strides[0][axis] as i64 * spec.dtype.size() as i64;
    let state = e.repeat(spec.reduced.dims[axis], &[total, from], |e, state| {
        let total = level(e, spec, wide, axis + 1, state[1], state[0]);
        vec![total, e.add_imm(state[1], by)]
    });
    state[0]
}

fn combine(e: &mut Emitter<'_, '_>, kind: ReduceKind, total: Element, value: Element) -> Value {
    let function = match kind {
        ReduceKind::Sum | ReduceKind::Mean => Binary::Add,
        ReduceKind::Max => Binary::Max,
        ReduceKind::Min => Binary::Min,
    };
    let expr = Expr::Operand(0).binary(function, Expr::Operand(1));
    e.expression(&expr, &[total, value], total.dtype).value
}

fn finish(e: &mut Emitter<'_, '_>, spec: &Reduction, total: Element) -> Value {
    let count = spec.reduced.trips();
    let total = if spec.kind == ReduceKind::Mean {
        let mean = Expr::Operand(0).binary(Binary::Div, Expr::number(count as f64));
        e.expression(&mean, &[total], total.dtype)
    } else {
        total
    };
    e.cast(total, spec.dtype).value
}
