//! Means of whole planes of values in blocks of 16 channels.

use std::array::from_fn;

use cranelift_codegen::ir::types::{F32X4, I32, I32X4};
use cranelift_codegen::ir::{Function, InstBuilder, Value};

use super::pointers::Pointers;
use crate::codegen::emitter::{Emitter, LANES};
use crate::codegen::{KernelCall, Linker};
use crate::error::Result;
use crate::machine::{BLOCK, Element, F32_BYTES};
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Nest, Walk};
use crate::schedule::byte_scale::ByteScale;

const ELEMENT: i64 = F32_BYTES as i64;
/// Vectors of a block.
const PER_BLOCK: usize = BLOCK / LANES;

/// `out[kept][16] = scale · Σ over the reduced of in[kept + reduced][16]`. Items are trips of the
/// kept loops. Bytes are summed in i32, exactly.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlockMean {
    /// Loops over what is kept: out, in.
    pub kept: Nest,
    /// Loops over what is summed: in only.
    pub reduced: Nest,
    /// What the sum is multiplied by.
    pub scale: f64,
    /// What the elements of the input stand for, where they are bytes.
    pub bytes: Option<ByteScale>,
}

impl Kernel for BlockMean {
    const NAME: &'static str = "block_mean";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.kept.trips()
    }

    fn of_first(&self, there: usize, of: usize) -> Option<BlockMean> {
        Some(BlockMean { kept: self.kept.of_first(there, of)?, ..self.clone() })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let walk = |nest: &Nest, operand: usize| {
            let bytes = if operand == 0 { F32_BYTES } else { self.element() };
            Some(Walk::nest(bytes, &nest.dims, nest.strides.get(operand)?)?.by([(BLOCK, 1)]))
        };
        let [out, read] = [0, 1].map(|operand| walk(&self.kept, operand));
        // The channels of a block are walked already.
        let summed = |nest: &Nest| Walk::nest(self.element(), &nest.dims, nest.strides.first()?);
        Some(vec![(Role::Out, out?), (Role::In, read?.and(&summed(&self.reduced)?))])
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("kept", &mut self.kept.dims)?;
        v.field("kept_strides", &mut self.kept.strides)?;
        v.field("reduced", &mut self.reduced.dims)?;
        v.field("reduced_strides", &mut self.reduced.strides)?;
        v.field("scale", &mut self.scale)?;
        v.field_unless("none", "bytes", &mut self.bytes)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit(e, self, call))
    }
}

impl BlockMean {
    /// Bytes of an element of the input.
    fn element(&self) -> usize {
        if self.bytes.is_some() { Element::U8.bytes() } else { F32_BYTES }
    }

    /// The elements that are summed.
    fn count(&self) -> usize {
        self.reduced.dims.iter().product()
    }

    /// A sum of nothing.
    fn nothing(&self, e: &mut Emitter<'_, '_>) -> Value {
        match self.bytes {
            None => e.float(F32X4, 0.0),
            Some(_) => e.zeros(I32X4),
        }
    }

    /// With one more.
    fn sum(&self, e: &mut Emitter<'_, '_>, a: Value, b: Value) -> Value {
        match self.bytes {
            None => e.builder.ins().fadd(a, b),
            Some(_) => e.builder.ins().iadd(a, b),
        }
    }

    /// The vectors of the block at an address.
    fn block(&self, e: &mut Emitter<'_, '_>, from: Value) -> [Value; PER_BLOCK] {
        match self.bytes {
            None => from_fn(|vector| e.load(F32X4, from, (vector * LANES) as i64 * ELEMENT)),
            Some(_) => e.load_bytes(from, 0),
        }
    }

    /// A sum as what it stands for, scaled.
    fn scaled(&self, e: &mut Emitter<'_, '_>, sum: Value) -> Value {
        let (mut sum, mut scale) = (sum, self.scale);
        if let Some(bytes) = self.bytes {
            let offset = i64::from(bytes.lowest) * self.count() as i64;
            let offset = e.builder.ins().iconst(I32, offset & i64::from(u32::MAX));
            let offset = e.builder.ins().splat(I32X4, offset);
            sum = e.builder.ins().iadd(sum, offset);
            sum = e.builder.ins().fcvt_from_sint(F32X4, sum);
            scale *= f64::from(bytes.scale);
        }
        let scale = e.float(F32X4, scale);
        e.builder.ins().fmul(sum, scale)
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
            let by = e.mul_imm(index, spec.kept.strides[1][axis] as i64 * spec.element() as i64);
            from = e.add(from, by);
        }
        let zero = spec.nothing(e);
        let mut state = vec![zero; PER_BLOCK];
        state.push(from);
        let sums = level(e, spec, 0, &state);
        for (vector, sum) in sums[..PER_BLOCK].iter().enumerate() {
            let scaled = spec.scaled(e, *sum);
            e.store(scaled, to, (vector * LANES) as i64 * ELEMENT);
        }
    });
}

/// Adds what the loops from `axis` inwards reach. Each level has sums of its own, so that a plane
/// is summed by rows: the error grows with the longest axis and not with the area.
fn level(e: &mut Emitter<'_, '_>, spec: &BlockMean, axis: usize, state: &[Value]) -> Vec<Value> {
    let from = state[PER_BLOCK];
    if axis == spec.reduced.dims.len() {
        let block = spec.block(e, from);
        let pairs = state[..PER_BLOCK].iter().zip(block);
        let mut next: Vec<Value> = pairs.map(|(sum, x)| spec.sum(e, *sum, x)).collect();
        next.push(from);
        return next;
    }
    let by = spec.reduced.strides[0][axis] as i64 * spec.element() as i64;
    let innermost = axis + 1 == spec.reduced.dims.len();
    e.repeat(spec.reduced.dims[axis], state, |e, state| {
        let mut next = if innermost {
            level(e, spec, axis + 1, state)
        } else {
            let zero = spec.nothing(e);
            let mut fresh = vec![zero; PER_BLOCK];
            fresh.push(state[PER_BLOCK]);
            let part = level(e, spec, axis + 1, &fresh);
            let pairs = state[..PER_BLOCK].iter().zip(&part);
            let mut sums: Vec<Value> = pairs.map(|(a, b)| spec.sum(e, *a, *b)).collect();
            sums.push(state[PER_BLOCK]);
            sums
        };
        next[PER_BLOCK] = e.add_imm(state[PER_BLOCK], by);
        next
    })
}
