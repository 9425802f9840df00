//! Sliding-window pooling of values in blocks of 16 channels.

mod emit;

use cranelift_codegen::ir::Function;

use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::{NodeId, Pool, PoolKind, Window};
use crate::kernels::lowering::Lowering;
use crate::machine::{BLOCK, Element};
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Loop, Walk};
use crate::schedule::byte_scale::ByteScale;

/// Sliding-window pooling over values in blocks. Items are (image, block, output row).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockPool {
    /// What is taken of each window.
    pub kind: PoolKind,
    /// The window.
    pub window: Window,
    /// Height and width of the input, its border not counted: padding is never read.
    pub input: [usize; 2],
    /// Width of the output.
    pub columns: usize,
    /// Images.
    pub images: Loop,
    /// Blocks of an image.
    pub blocks: Loop,
    /// Rows of the output, and the distance between rows in the input.
    pub rows: Loop,
    /// What the elements of the input stand for, where they are bytes. Maxima are bytes too then, which
    /// stand for the same; means are f32.
    pub bytes: Option<ByteScale>,
}

impl BlockPool {
    /// What is read.
    fn read(&self) -> Element {
        if self.bytes.is_some() { Element::U8 } else { Element::F32 }
    }

    /// What is made.
    fn made(&self) -> Element {
        match self.kind {
            PoolKind::Max => self.read(),
            PoolKind::Average { .. } => Element::F32,
        }
    }
}

impl Kernel for BlockPool {
    const NAME: &'static str = "block_pool";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.images.count * self.blocks.count * self.rows.count
    }

    fn of_first(&self, there: usize, of: usize) -> Option<BlockPool> {
        Some(BlockPool { images: self.images.of_first(there, of)?, ..*self })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let BlockPool { kind: _, window, input, columns, images, blocks, rows, bytes: _ } = *self;
        let [out, read] = [Loop::written, Loop::read].map(|of| [of(&images), of(&blocks)]);
        let made = [rows.written(), (columns, BLOCK)];
        let plane = [(input[0], rows.input), (input[1], BLOCK)];
        let walks = vec![
            (Role::Out, Walk::blocks_of(self.made(), out).by(made)),
            (Role::In, Walk::blocks_of(self.read(), read).by(plane)),
        ];
        window.goes(input, [rows.count, columns]).then_some(walks)
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("kind", &mut self.kind)?;
        v.field("window", &mut self.window)?;
        v.field("input", &mut self.input)?;
        v.field("columns", &mut self.columns)?;
        v.field("images", &mut self.images)?;
        v.field("blocks", &mut self.blocks)?;
        v.field("rows", &mut self.rows)?;
        v.field_unless("none", "bytes", &mut self.bytes)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit::emit(e, self, call))
    }
}

/// A pool whose operand and result lie in blocks.
pub(super) fn lower(l: &mut Lowering<'_, '_>, id: NodeId, pool: &Pool) -> Result<()> {
    let layout = l.layout(id)?;
    let x = l.operand(id, 0)?;
    let size = l.plane(x);
    let like = layout.with_size(size);
    let from = match pool.kind {
        PoolKind::Max => l.in_blocks_like(x, &like),
        PoolKind::Average { .. } => l.in_blocks_as_made(x, &like),
    }?;
    let (read, out) = (from.layout, l.new_blocked(id, layout));
    let made = layout;
    let kernel = BlockPool {
        kind: pool.kind,
        window: pool.window,
        input: size,
        columns: made.size[1],
        images: Loop::over(made.images, read.image, made.image),
        blocks: Loop::over(made.blocks(), read.block(), made.block()),
        rows: Loop::over(made.size[0], read.row(), made.row()),
        bytes: read.bytes,
    };
    l.step(kernel, [(Role::Out, out.at), (Role::In, from.at)])?;
    l.made_in_blocks(id, out)
}
