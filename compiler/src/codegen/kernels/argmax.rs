//! Index of the largest element; the first NaN is larger than every number.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};

use crate::codegen::emitter::{Emitter, register};
use crate::ir::DType;
use crate::plan::kernel::ArgMax;

pub(super) fn emit(e: &mut Emitter<'_, '_>, spec: &ArgMax, args: Value, items: [Value; 2]) {
    let (out, input) = (e.pointer(args, 0), e.pointer(args, 1));
    let size = spec.dtype.size() as i64;
    let [begin, end] = items;
    e.each(begin, end, |e, item| {
        let (outer, inner) = e.divide(item, spec.inner);
        let plane = e.mul_imm(outer, (spec.extent * spec.inner) as i64);
        let first = e.add(plane, inner);
        let by = e.mul_imm(first, size);
        let from = e.add(input, by);
        let best = e.load(register(spec.dtype), from, 0);
        let (zero, extent) = (e.int(0), e.int(spec.extent as i64));
        let state = [best, zero, from];
        let (_, state) = e.fold(zero, extent, 1, &state, |e, i, state| {
            let x = e.load(register(spec.dtype), state[2], 0);
            let wins = beats(e, spec, x, state[0]);
            let best = e.builder.ins().select(wins, x, state[0]);
            let index = e.builder.ins().select(wins, i, state[1]);
            vec![best, index, e.add_imm(state[2], spec.inner as i64 * size)]
        });
        let by = e.mul_imm(item, 8);
        let to = e.add(out, by);
        e.store(state[1], to, 0);
    });
}

fn beats(e: &mut Emitter<'_, '_>, spec: &ArgMax, x: Value, best: Value) -> Value {
    if spec.dtype.is_float() {
        let cc = if spec.last { FloatCC::GreaterThanOrEqual } else { FloatCC::GreaterThan };
        let larger = e.builder.ins().fcmp(cc, x, best);
        let (x_nan, best_nan) = (
            e.builder.ins().fcmp(FloatCC::Unordered, x, x),
            e.builder.ins().fcmp(FloatCC::Ordered, best, best),
        );
        let first_nan = e.builder.ins().band(x_nan, best_nan);
        return e.builder.ins().bor(larger, first_nan);
    }
    let signed = !matches!(spec.dtype, DType::U8 | DType::Bool);
    let cc = match (signed, spec.last) {
        (true, true) => IntCC::SignedGreaterThanOrEqual,
        (true, false) => IntCC::SignedGreaterThan,
        (false, true) => IntCC::UnsignedGreaterThanOrEqual,
        (false, false) => IntCC::UnsignedGreaterThan,
    };
    e.builder.ins().icmp(cc, x, best)
}
