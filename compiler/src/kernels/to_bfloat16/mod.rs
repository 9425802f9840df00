//! Copies of values in blocks as bfloat16, for convolutions that multiply these.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Function, InstBuilder, Value};

use super::lowering::{InBlocks, Lowering, four};
use super::pointers::Pointers;
use crate::asm::{self, Assembler, Register, Vector};
use crate::codegen::emitter::Emitter;
use crate::codegen::{KernelCall, Leaf, LeafCode, Linker};
use crate::error::Result;
use crate::ir::{NodeId, Window};
use crate::machine::{BLOCK, Element, F32_BYTES, Vectors};
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Nest, Place, Walk};
use crate::schedule::blocked::Blocked;

/// `out[…][16] = in[…][16]`, f32 as the nearest bfloat16. Items are the trips of the outermost loop.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToBfloat16 {
    /// Loops over blocks: out, in, in elements. In the innermost, blocks lie one after the other.
    pub nest: Nest,
}

/// Blocks of bfloat16 and of f32, one after the other: `fn(in, _, out, _, blocks, _)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounded;

impl Leaf for Rounded {
    fn name(&self) -> String {
        "to_bfloat16".into()
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        Ok(LeafCode::Assembled(self.assembled(vectors)))
    }
}

impl Rounded {
    /// Its code.
    pub fn assembled(&self, vectors: Vectors) -> asm::Function {
        let mut a = Assembler::new("to_bfloat16", vectors);
        let block = a.here();
        for part in 0..vectors.per_block() {
            let lane = part * vectors.lanes();
            a.load(Vector(part), Register::From.at(lane * F32_BYTES));
            a.store_bfloats(Register::To.at(lane * Element::Bf16.bytes()), Vector(part));
        }
        a.add_immediate(Register::From, (BLOCK * F32_BYTES) as i64);
        a.add_immediate(Register::To, (BLOCK * Element::Bf16.bytes()) as i64);
        a.loop_back(Register::Tiles, block);
        a.finish()
    }
}

impl Kernel for ToBfloat16 {
    const NAME: &'static str = "to_bfloat16";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.nest.dims.first().copied().unwrap_or(1)
    }

    fn of_first(&self, there: usize, of: usize) -> Option<ToBfloat16> {
        Some(ToBfloat16 { nest: self.nest.of_first(there, of)? })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let Nest { dims, strides } = &self.nest;
        let are_near = strides.iter().all(|strides| strides.last() == Some(&(BLOCK as isize)));
        let walk = |bytes: usize, operand: usize| {
            Some(Walk::nest(bytes, dims, strides.get(operand)?)?.by([(BLOCK, 1)]))
        };
        let walks = [(Role::Out, walk(Element::Bf16.bytes(), 0)?), (Role::In, walk(F32_BYTES, 1)?)];
        (are_near && strides.len() == walks.len()).then(|| walks.into())
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("loops", &mut self.nest.dims)?;
        v.field("strides", &mut self.nest.strides)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        let rounded = linker.leaf(Rounded)?;
        linker.kernel(|e, call| emit(e, self, rounded, call))
    }
}

fn emit(e: &mut Emitter<'_, '_>, spec: &ToBfloat16, rounded: usize, call: KernelCall) {
    let pointers = Pointers::of(spec, call);
    let [out, from] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    let out = moved(e, spec, [out, from], 0, call.begin);
    let items = e.builder.ins().isub(call.end, call.begin);
    level(e, spec, rounded, (0, items), out);
}

/// Both addresses, so many trips of a loop further.
fn moved(
    e: &mut Emitter<'_, '_>,
    spec: &ToBfloat16,
    at: [Value; 2],
    axis: usize,
    trips: Value,
) -> [Value; 2] {
    let sizes = [Element::Bf16.bytes(), F32_BYTES];
    std::array::from_fn(|i| {
        let by = spec.nest.strides[i][axis] as i64 * sizes[i] as i64;
        let by = e.mul_imm(trips, by);
        e.add(at[i], by)
    })
}

/// The loops from one inwards, which has so many trips.
fn level(
    e: &mut Emitter<'_, '_>,
    spec: &ToBfloat16,
    rounded: usize,
    (axis, trips): (usize, Value),
    at: [Value; 2],
) {
    let none = e.int(0);
    if axis + 1 == spec.nest.dims.len() {
        let rounded = e.leaf(rounded);
        let [out, from] = at;
        let some = e.builder.ins().icmp_imm_s(IntCC::SignedGreaterThan, trips, 0);
        return e.either(
            some,
            |e| {
                e.builder.ins().call(rounded, &[from, none, out, none, trips, none]);
            },
            |_| {},
        );
    }
    e.fold(none, trips, 1, &at, |e, _, here| {
        let here = [here[0], here[1]];
        let inner = e.int(spec.nest.dims[axis + 1] as i64);
        level(e, spec, rounded, (axis + 1, inner), here);
        let one = e.int(1);
        moved(e, spec, here, axis, one).to_vec()
    });
}

impl Lowering<'_, '_> {
    /// The value as bfloat16 in blocks, with channels where `like` has them and a border that fits: a copy that
    /// there is, or else one with this border.
    pub(in crate::kernels) fn in_bfloats(
        &mut self,
        id: NodeId,
        like: &Blocked,
        fits: impl Fn(&Blocked) -> bool,
        halo: [usize; 4],
    ) -> Result<InBlocks> {
        let is_alike =
            |layout: &Blocked| (layout.segments, layout.channels) == (like.segments, like.channels);
        let copies = self.beside::<Copies>(id).cloned().unwrap_or_default();
        let found = copies.0.iter().find(|copy| is_alike(&copy.layout) && fits(&copy.layout));
        if let Some(found) = found {
            return Ok(*found);
        }
        let floats = Blocked { element: Element::F32, ..*like };
        let from = self.in_layout(id, is_alike, floats.with_halo([0; 4]))?;
        let layout = Blocked { element: Element::Bf16, ..floats.with_halo(halo) };
        let made = self.make_blocked(layout);
        self.step(
            ToBfloat16 { nest: blocks(&layout, &from.layout) },
            [(Role::Out, made.at), (Role::In, from.at)],
        )?;
        self.clear_border(made)?;
        self.put_beside(id, Copies([&copies.0[..], &[made]].concat()));
        Ok(made)
    }

    /// A value `[n, c, h, w]` as bfloat16, row-major, with the window's padding, and zeros behind rows so that they are
    /// whole blocks and what reads a window by pairs stays within them; and the extents of these planes.
    pub(in crate::kernels) fn rows_in_bfloats(
        &mut self,
        x: NodeId,
        window: &Window,
    ) -> Result<(Place, [usize; 2])> {
        let [n, c, _, w] = four(self.ty(x))?;
        let [_, left] = window.pad_before;
        let [below, right] = window.pad_after;
        let read = left + w + right + window.kernel[1] % Element::Bf16.of_word();
        let right = read.next_multiple_of(BLOCK) - left - w;
        let padded = Window { pad_after: [below, right], ..*window };
        let (from, [height, width]) = self.padded(x, &padded, four(self.ty(x))?)?;
        let elements = n * c * height * width;
        let out = self.scratch(elements * Element::Bf16.bytes());
        let strides = vec![vec![BLOCK as isize]; 2];
        let nest = Nest::collapsed(&[elements / BLOCK], &strides);
        self.step(ToBfloat16 { nest }, [(Role::Out, out), (Role::In, from)])?;
        Ok((out, [height, width]))
    }
}

/// Loops over the blocks of two layouts, the innermost over blocks one after the other.
fn blocks(out: &Blocked, from: &Blocked) -> Nest {
    let dims = [out.images, out.blocks(), out.size[0], out.size[1]];
    let strides = [out, from]
        .map(|l| [l.image, l.block(), l.row(), BLOCK].map(|distance| distance as isize).to_vec());
    let mut nest = Nest::collapsed(&dims, &strides);
    if nest.strides.iter().any(|strides| strides.last() != Some(&(BLOCK as isize))) {
        nest.dims.push(1);
        nest.strides.iter_mut().for_each(|strides| strides.push(BLOCK as isize));
    }
    nest
}

/// The copies of a value as bfloat16.
#[derive(Debug, Clone, Default)]
struct Copies(Vec<InBlocks>);
