//! Means of whole planes of values in blocks of 16 channels.

use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{Function, InstBuilder, Value};

use super::pointers::Pointers;
use crate::codegen::emitter::{Emitter, LANES};
use crate::codegen::{KernelCall, Linker};
use crate::error::Result;
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Nest, Walk};

const ELEMENT: i64 = F32_BYTES as i64;
/// Vectors of a block.
const PER_BLOCK: usize = BLOCK / LANES;

/// `out[kept][16] = scale · Σ over the reduced of in[kept + reduced][16]`. Items are trips of the
/// kept loops.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlockMean {
    /// Loops over what is kept: out, in.
    pub kept: Nest,
    /// Loops over what is summed: in only.
    pub reduced: Nest,
    /// What the sum is multiplied by.
    pub scale: f64,
}

impl Kernel for BlockMean {
    const NAME: &'static str = "block_mean";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.kept.trips()
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let walk = |nest: &Nest, operand: usize| {
            Walk::nest(F32_BYTES, &nest.dims, nest.strides.get(operand)?)
        };
        let [out, read] = [0, 1].map(|operand| Some(walk(&self.kept, operand)?.by([(BLOCK, 1)])));
        Some(vec![(Role::Out, out?), (Role::In, read?.and(&walk(&self.reduced, 0)?))])
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("kept", &mut self.kept.dims)?;
        v.field("kept_strides", &mut self.kept.strides)?;
        v.field("reduced", &mut self.reduced.dims)?;
        v.field("reduced_strides", &mut self.reduced.strides)?;
        v.field("scale", &mut self.scale)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit(e, self, call))
    }
}

fn emit(e: &mut Emitter<'_, '_>, spec: &BlockMean, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, input] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    e.each(call.begin, call.end, |e, item| {
        let (mut rest, mut from, mut to) = (item, input, out);
        for (axis, count) in spec.kept.dims.iter().enumerate().rev() {
            let (next, index) = e.divide(rest, *count);
            rest = next;
            let by = e.mul_imm(index, spec.kept.strides[0][axis] as i64 * ELEMENT);
            to = e.add(to, by);
            let by = e.mul_imm(index, spec.kept.strides[1][axis] as i64 * ELEMENT);
            from = e.add(from, by);
        }
        let zero = e.float(F32X4, 0.0);
        let mut state = vec![zero; PER_BLOCK];
        state.push(from);
        let sums = level(e, spec, 0, &state);
        let scale = e.float(F32X4, spec.scale);
        for (vector, sum) in sums[..PER_BLOCK].iter().enumerate() {
            let scaled = e.builder.ins().fmul(*sum, scale);
            e.store(scaled, to, (vector * LANES) as i64 * ELEMENT);
        }
    });
}

/// Adds what the loops from `axis` inwards reach. Each level has sums of its own, so that a plane
/// is summed by rows: the error grows with the longest axis and not with the area.
fn level(e: &mut Emitter<'_, '_>, spec: &BlockMean, axis: usize, state: &[Value]) -> Vec<Value> {
    let from = state[PER_BLOCK];
    if axis == spec.reduced.dims.len() {
        let mut next: Vec<Value> = Vec::with_capacity(state.len());
        for (vector, sum) in state[..PER_BLOCK].iter().enumerate() {
            let x = e.load(F32X4, from, (vector * LANES) as i64 * ELEMENT);
            next.push(e.builder.ins().fadd(*sum, x));
        }
        next.push(from);
        return next;
    }
    let by = spec.reduced.strides[0][axis] as i64 * ELEMENT;
    let innermost = axis + 1 == spec.reduced.dims.len();
    e.repeat(spec.reduced.dims[axis], state, |e, state| {
        let mut next = if innermost {
            level(e, spec, axis + 1, state)
        } else {
            let zero = e.float(F32X4, 0.0);
            let mut fresh = vec![zero; PER_BLOCK];
            fresh.push(state[PER_BLOCK]);
            let part = level(e, spec, axis + 1, &fresh);
            let pairs = state[..PER_BLOCK].iter().zip(&part);
            let mut sums: Vec<Value> = pairs.map(|(a, b)| e.builder.ins().fadd(*a, *b)).collect();
            sums.push(state[PER_BLOCK]);
            sums
        };
        next[PER_BLOCK] = e.add_imm(state[PER_BLOCK], by);
        next
    })
}
