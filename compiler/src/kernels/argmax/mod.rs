//! Index of the largest element; a NaN is larger than every number, and one is like another.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{Function, InstBuilder, Value};

use super::pointers::Pointers;
use crate::codegen::emitter::{Emitter, register};
use crate::codegen::{KernelCall, Linker};
use crate::error::Result;
use crate::ir::{DType, NodeId};
use crate::kernels::lowering::{Lowering, around};
use crate::plan::Walk;
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::loops::of_first;

/// Index of the largest of `extent` elements that lie `inner` apart. Items are (outer, inner)
/// pairs; a NaN wins over every number, the first or the last as of equal elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArgMax {
    /// Trips outside the axis.
    pub outer: usize,
    /// Extent of the axis.
    pub extent: usize,
    /// Trips inside the axis.
    pub inner: usize,
    /// Of equal elements take the last.
    pub last: bool,
    /// Element type of the input.
    pub dtype: DType,
}

impl Kernel for ArgMax {
    const NAME: &'static str = "argmax";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.outer * self.inner
    }

    fn of_first(&self, there: usize, of: usize) -> Option<ArgMax> {
        Some(ArgMax { outer: of_first(self.outer, there, of)?, ..*self })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let ArgMax { outer, extent, inner, last: _, dtype } = *self;
        let read = Walk::dense(dtype.size(), [outer, extent, inner]);
        Some(vec![(Role::Out, Walk::dense(DType::I64.size(), [outer, inner])), (Role::In, read)])
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("outer", &mut self.outer)?;
        v.field("extent", &mut self.extent)?;
        v.field("inner", &mut self.inner)?;
        v.field("last", &mut self.last)?;
        v.field("type", &mut self.dtype)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit(e, self, call))
    }
}

/// Index of the operand's largest element along an axis.
pub(super) fn lower(l: &mut Lowering<'_, '_>, id: NodeId, axis: usize, last: bool) -> Result<()> {
    let x = l.operand(id, 0)?;
    let dtype = l.ty(x).dtype;
    let [outer, extent, inner] = around(&l.ty(x).shape(), axis);
    let from = l.place(x)?;
    let out = l.make(id);
    l.step(ArgMax { outer, extent, inner, last, dtype }, [(Role::Out, out), (Role::In, from)])
}

fn emit(e: &mut Emitter<'_, '_>, spec: &ArgMax, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, input] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    let size = spec.dtype.size() as i64;
    e.each(call.begin, call.end, |e, item| {
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
        let mut nan = e.builder.ins().fcmp(FloatCC::Unordered, x, x);
        if !spec.last {
            let first = e.builder.ins().fcmp(FloatCC::Ordered, best, best);
            nan = e.builder.ins().band(nan, first);
        }
        return e.builder.ins().bor(larger, nan);
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
