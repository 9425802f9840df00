//! Slices picked by an index tensor; indices are clamped to the axis.

use cranelift_codegen::ir::Function;

use super::copies::copy;
use super::pointers::Pointers;
use crate::codegen::emitter::{Element, Emitter, register};
use crate::codegen::{KernelCall, Linker};
use crate::error::Result;
use crate::ir::{DType, NodeId};
use crate::kernels::lowering::{Lowering, around};
use crate::plan::Walk;
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::loops::of_first;

/// `out[o, j, i] = in[o, clamp(index[j]), i]`. Items are (o, j) pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gather {
    /// Trips outside the axis.
    pub outer: usize,
    /// Extent of the axis in the input.
    pub extent: usize,
    /// Elements inside the axis.
    pub inner: usize,
    /// How many indices.
    pub count: usize,
    /// Element type of the indices.
    pub index: DType,
    /// Element type of the data.
    pub dtype: DType,
}

impl Kernel for Gather {
    const NAME: &'static str = "gather";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In, Role::Index]
    }

    fn items(&self) -> usize {
        self.outer * self.count
    }

    fn of_first(&self, there: usize, of: usize) -> Option<Gather> {
        Some(Gather { outer: of_first(self.outer, there, of)?, ..*self })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let Gather { outer, extent, inner, count, index, dtype } = *self;
        Some(vec![
            (Role::Out, Walk::dense(dtype.size(), [outer, count, inner])),
            (Role::In, Walk::dense(dtype.size(), [outer, extent, inner])),
            (Role::Index, Walk::dense(index.size(), [count])),
        ])
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("outer", &mut self.outer)?;
        v.field("extent", &mut self.extent)?;
        v.field("inner", &mut self.inner)?;
        v.field("count", &mut self.count)?;
        v.field("index", &mut self.index)?;
        v.field("type", &mut self.dtype)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit(e, self, call))
    }
}

/// Slices of the first operand along an axis, picked by the second.
pub(super) fn lower(l: &mut Lowering<'_, '_>, id: NodeId, axis: usize) -> Result<()> {
    let (x, index) = (l.operand(id, 0)?, l.operand(id, 1)?);
    let [outer, extent, inner] = around(&l.ty(x).shape(), axis);
    let gather = Gather {
        outer,
        extent,
        inner,
        count: l.ty(index).elements(),
        index: l.ty(index).dtype,
        dtype: l.ty(x).dtype,
    };
    let (from, index) = (l.place(x)?, l.place(index)?);
    let out = l.make(id);
    l.step(gather, [(Role::Out, out), (Role::In, from), (Role::Index, index)])
}

fn emit(e: &mut Emitter<'_, '_>, spec: &Gather, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, input, index] = [Role::Out, Role::In, Role::Index].map(|role| pointers.load(e, role));
    let slice = (spec.inner * spec.dtype.size()) as i64;
    e.each(call.begin, call.end, |e, item| {
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
        copy(e, slice as usize, [to, from]);
    });
}
