//! Softmax and its logarithm: the maximum, then the sum of exponentials in f64, then the quotients.

use cranelift_codegen::ir::types::{F32, F64};
use cranelift_codegen::ir::{InstBuilder, Value};

use crate::codegen::emitter::Emitter;
use crate::codegen::math;
use crate::plan::kernel::Softmax;

pub(super) fn emit(e: &mut Emitter<'_, '_>, spec: &Softmax, args: Value, items: [Value; 2]) {
    let (out, input) = (e.pointer(args, 0), e.pointer(args, 1));
    let [begin, end] = items;
    e.each(begin, end, |e, item| {
        let (outer, inner) = e.divide(item, spec.inner);
        let by_outer = e.mul_imm(outer, (spec.extent * spec.inner * 4) as i64);
        let by_inner = e.mul_imm(inner, 4);
        let offset = e.add(by_outer, by_inner);
        let (from, to) = (e.add(input, offset), e.add(out, offset));
        let first = e.load(F32, from, 0);
        let largest = scan(e, spec, from, first, |e, largest, x| e.extreme(largest, x, true));
        let largest = e.builder.ins().fpromote(F64, largest);
        let zero = e.float(F64, 0.0);
        let total = scan(e, spec, from, zero, |e, total, x| {
            let x = shifted(e, x, largest);
            let power = math::exp(e, x);
            e.builder.ins().fadd(total, power)
        });
        write(e, spec, from, to, largest, total);
    });
}

/// Folds over the elements of one softmax.
fn scan(
    e: &mut Emitter<'_, '_>,
    spec: &Softmax,
    from: Value,
    start: Value,
    combine: impl FnOnce(&mut Emitter<'_, '_>, Value, Value) -> Value,
) -> Value {
    let state = e.repeat(spec.extent, &[start, from], |e, state| {
        let x = e.load(F32, state[1], 0);
        let next = combine(e, state[0], x);
        vec![next, e.add_imm(state[1], (spec.inner * 4) as i64)]
    });
    state[0]
}

fn shifted(e: &mut Emitter<'_, '_>, x: Value, largest: Value) -> Value {
    let x = e.builder.ins().fpromote(F64, x);
    e.builder.ins().fsub(x, largest)
}

fn write(
    e: &mut Emitter<'_, '_>,
    spec: &Softmax,
    from: Value,
    to: Value,
    largest: Value,
    total: Value,
) {
    let logarithm = spec.log.then(|| math::log(e, total));
    e.repeat(spec.extent, &[from, to], |e, state| {
        let x = e.load(F32, state[0], 0);
        let x = shifted(e, x, largest);
        let result = match logarithm {
            Some(logarithm) => e.builder.ins().fsub(x, logarithm),
            None => {
                let power = math::exp(e, x);
                e.builder.ins().fdiv(power, total)
            }
        };
        let result = e.builder.ins().fdemote(F32, result);
        e.store(result, state[1], 0);
        let by = (spec.inner * 4) as i64;
        vec![e.add_imm(state[0], by), e.add_imm(state[1], by)]
    });
}
