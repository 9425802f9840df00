//! Slices picked by an index tensor; indices are clamped to the axis.

use cranelift_codegen::ir::Value;

use crate::codegen::emitter::{Element, Emitter, register};
use crate::plan::kernel::Gather;

pub(super) fn emit(e: &mut Emitter<'_, '_>, spec: &Gather, args: Value, items: [Value; 2]) {
    let (out, input, index) = (e.pointer(args, 0), e.pointer(args, 1), e.pointer(args, 2));
    let size = spec.dtype.size() as i64;
    let slice = spec.inner as i64 * size;
    let [begin, end] = items;
    e.each(begin, end, |e, item| {
        let (outer, j) = e.divide(item, spec.count);
        let by = e.mul_imm(j, spec.index.size() as i64);
        let at = e.add(index, by);
        let value = e.load(register(spec.index), at, 0);
        let picked = e.widen(Element { value, dtype: spec.index });
        let (low, high) = (e.int(0), e.int(spec.extent as i64 - 1));
        let picked = e.min(high, picked);
        let picked = e.max(low, picked);
        let plane = e.mul_imm(outer, spec.extent as i64);
        let from = e.add(plane, picked);
        let by = e.mul_imm(from, slice);
        let from = e.add(input, by);
        let by = e.mul_imm(item, slice);
        let to = e.add(out, by);
        e.repeat(spec.inner, &[to, from], |e, state| {
            let value = e.load(register(spec.dtype), state[1], 0);
            e.store(value, state[0], 0);
            vec![e.add_imm(state[0], size), e.add_imm(state[1], size)]
        });
    });
}
