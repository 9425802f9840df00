//! Softmax and its logarithm: the maximum, then the sum of exponentials in f64, then the quotients.

mod rows;

use cranelift_codegen::ir::types::{F32, F64};
use cranelift_codegen::ir::{Function, InstBuilder, Value};

use super::pointers::Pointers;
use crate::codegen::emitter::Emitter;
use crate::codegen::{KernelCall, Linker, math};
use crate::error::Result;
use crate::ir::NodeId;
use crate::kernels::lowering::{Lowering, around};
use crate::plan::Walk;
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::loops::of_first;
use rows::Rows;

/// Softmax over `extent` elements that lie `inner` apart. Items are (outer, inner) pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Softmax {
    /// Trips outside the axis.
    pub outer: usize,
    /// Extent of the axis.
    pub extent: usize,
    /// Trips inside the axis.
    pub inner: usize,
    /// LogSoftmax.
    pub log: bool,
}

impl Kernel for Softmax {
    const NAME: &'static str = "softmax";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.outer * self.inner
    }

    fn of_first(&self, there: usize, of: usize) -> Option<Softmax> {
        Some(Softmax { outer: of_first(self.outer, there, of)?, ..*self })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let Softmax { outer, extent, inner, log: _ } = *self;
        let all = Walk::floats([outer, extent, inner]);
        Some(vec![(Role::Out, all.clone()), (Role::In, all)])
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("outer", &mut self.outer)?;
        v.field("extent", &mut self.extent)?;
        v.field("inner", &mut self.inner)?;
        v.field("log", &mut self.log)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        let rows = Rows::of(self, linker)?;
        linker.kernel(|e, call| {
            let pointers = Pointers::of(self, call);
            let places = [Role::Out, Role::In].map(|role| pointers.load(e, role));
            match &rows {
                Some(rows) if e.fma => rows.emit(e, places, call),
                _ => emit(e, self, places, call),
            }
        })
    }
}

/// Softmax of the operand over an axis.
pub(super) fn lower(l: &mut Lowering<'_, '_>, id: NodeId, axis: usize, log: bool) -> Result<()> {
    let [outer, extent, inner] = around(&l.ty(id).shape(), axis);
    let from = l.place(l.operand(id, 0)?)?;
    let out = l.make(id);
    l.step(Softmax { outer, extent, inner, log }, [(Role::Out, out), (Role::In, from)])
}

fn emit(e: &mut Emitter<'_, '_>, spec: &Softmax, [out, input]: [Value; 2], call: KernelCall) {
    e.each(call.begin, call.end, |e, item| {
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
