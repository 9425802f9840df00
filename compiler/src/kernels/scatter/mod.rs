//! Slices put at places that an index tensor names. Nothing is written for places outside of the axis.

use cranelift_codegen::ir::Function;

use super::copies::{clear, copy};
use super::pointers::Pointers;
use crate::codegen::emitter::{Element, Emitter, register};
use crate::codegen::{KernelCall, Linker};
use crate::error::Result;
use crate::ir::{DType, NodeId};
use crate::kernels::lowering::{Lowering, around};
use crate::plan::Walk;
use crate::plan::kernel::{Fields, Kernel, Role};

/// `out = x1`, or 0, and then for each j in order `out[index[j], i] = in[j, i]`, if there is such a row. One item, as
/// which of several slices for one row is the last shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scatter {
    /// Extent of the axis.
    pub extent: usize,
    /// Elements inside the axis.
    pub inner: usize,
    /// How many indices.
    pub count: usize,
    /// Whether there are data to put slices into.
    pub copies: bool,
    /// Element type of the indices.
    pub index: DType,
    /// Element type of the data.
    pub dtype: DType,
}

impl Kernel for Scatter {
    const NAME: &'static str = "scatter";

    fn arguments(&self) -> Vec<Role> {
        let all = [Role::Out, Role::In, Role::Index, Role::Operand(1)];
        all[..if self.copies { 4 } else { 3 }].to_vec()
    }

    fn items(&self) -> usize {
        usize::from(self.extent * self.inner > 0)
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let Scatter { extent, inner, count, copies: _, index, dtype } = *self;
        Some(vec![
            (Role::Out, Walk::dense(dtype.size(), [extent, inner])),
            (Role::In, Walk::dense(dtype.size(), [count, inner])),
            (Role::Index, Walk::dense(index.size(), [count])),
            (Role::Operand(1), Walk::dense(dtype.size(), [extent, inner])),
        ])
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("extent", &mut self.extent)?;
        v.field("inner", &mut self.inner)?;
        v.field("count", &mut self.count)?;
        v.field("copies", &mut self.copies)?;
        v.field("index", &mut self.index)?;
        v.field("type", &mut self.dtype)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit(e, self, call))
    }
}

/// Slices of the first operand at places along the first axis, which the second names, in a copy of the third.
pub(super) fn lower(l: &mut Lowering<'_, '_>, id: NodeId, extent: usize) -> Result<()> {
    let (x, index, data) = (l.operand(id, 0)?, l.operand(id, 1)?, l.model.operand(id, 2));
    let [_, count, inner] = around(&l.ty(x).shape(), 0);
    let (dtype, index_type) = (l.ty(x).dtype, l.ty(index).dtype);
    let copies = data.is_some();
    let scatter = Scatter { extent, inner, count, copies, index: index_type, dtype };
    let mut places = vec![(Role::In, l.place(x)?), (Role::Index, l.place(index)?)];
    if let Some(data) = data {
        places.push((Role::Operand(1), l.place(data)?));
    }
    places.insert(0, (Role::Out, l.make(id)));
    l.step(scatter, places)
}

fn emit(e: &mut Emitter<'_, '_>, spec: &Scatter, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, input, index] = [Role::Out, Role::In, Role::Index].map(|role| pointers.load(e, role));
    let data = spec.copies.then(|| pointers.load(e, Role::Operand(1)));
    let slice = (spec.inner * spec.dtype.size()) as i64;
    // Once, if it is called at all.
    e.each(call.begin, call.end, |e, _| {
        match data {
            Some(data) => copy(e, spec.extent * slice as usize, [out, data]),
            None => clear(e, spec.extent * slice as usize, out),
        }
        e.repeat(spec.count, &[index, input], |e, state| {
            let (index, update) = (state[0], state[1]);
            let value = e.load(register(spec.index), index, 0);
            let place = e.widen(Element { value, dtype: spec.index });
            let (low, high) = (e.int(0), e.int(spec.extent as i64 - 1));
            let inside = e.min(high, place);
            let inside = e.max(low, inside);
            let by = e.mul_imm(inside, slice);
            let to = e.add(out, by);
            // For a place that is not, what is there already.
            let from = e.select_equal([place, inside], [update, to]);
            copy(e, slice as usize, [to, from]);
            vec![e.add_imm(index, spec.index.size() as i64), e.add_imm(update, slice)]
        });
    });
}
