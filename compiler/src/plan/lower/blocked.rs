//! Values in blocks: where they are, how they get there and back, and what is done to each element.

use super::Lowering;
use crate::error::{Error, Result};
use crate::ir::{DType, Epilogue, NodeId, Op, Pool, Step};
use crate::plan::Place;
use crate::plan::expr::Expr;
use crate::plan::kernel::{BlockPool, Kernel, Map, Nest};
use crate::plan::layout::{Blocked, for_groups};
use crate::plan::tile::BLOCK;

/// Bytes of an element.
const ELEMENT: usize = 4;

/// A value in blocks: where its first pixel inside the border is.
#[derive(Debug, Clone, Copy)]
pub(super) struct InBlocks {
    pub(super) at: Place,
    pub(super) layout: Blocked,
}

impl InBlocks {
    /// The place so many elements further.
    pub(super) fn moved(self, elements: usize) -> Place {
        Place { base: self.at.base, offset: self.at.offset + elements * ELEMENT }
    }

    /// The place so many elements before.
    pub(super) fn back(self, elements: usize) -> Place {
        Place { base: self.at.base, offset: self.at.offset - elements * ELEMENT }
    }
}

impl Lowering<'_, '_> {
    /// A buffer for a value that lies in blocks. The border is cleared by
    /// [`clear_border`](Self::clear_border), after whoever fills the rest is a step: a buffer lives
    /// from its first step on.
    pub(super) fn make_blocked(&mut self, layout: Blocked) -> InBlocks {
        let buffer = self.scratch(layout.elements() * ELEMENT);
        let at = Place { base: buffer.base, offset: layout.origin() * ELEMENT };
        InBlocks { at, layout }
    }

    /// A place for a new value in blocks: its images of a batch that is joined later, or a buffer.
    pub(super) fn new_blocked(&mut self, id: NodeId, layout: Blocked) -> InBlocks {
        let joined = self.graph.uses(id).into_iter().find(|(user, _)| {
            let whole = self.layouts.get(user).map(|l| Blocked { images: layout.images, ..*l });
            let is_batch = matches!(self.graph.node(*user).op, Op::Concat { axis: 0 });
            is_batch && whole == Some(layout)
        });
        let Some((batch, _)) = joined else { return self.make_blocked(layout) };
        let whole = self.joined(batch, layout);
        let earlier = self.graph.operands(batch).into_iter().take_while(|(_, o)| *o != id);
        let images: usize = earlier.map(|(_, o)| self.graph.ty(o).axes[0].size()).sum();
        InBlocks { at: whole.moved(images * layout.image), layout }
    }

    /// The whole of a batch whose images have this layout.
    fn joined(&mut self, batch: NodeId, layout: Blocked) -> InBlocks {
        if let Some(made) = self.blocked.get(&batch).and_then(|all| all.first()) {
            return *made;
        }
        let images = self.graph.ty(batch).axes[0].size();
        let whole = self.new_blocked(batch, Blocked { images, ..layout });
        self.blocked.insert(batch, vec![whole]);
        whole
    }

    /// Images of several values, one after the other. Those that were made in place stay.
    pub(super) fn blocked_batch(&mut self, id: NodeId) -> Result<()> {
        let layout = self.layout(id)?;
        let whole = self.joined(id, layout);
        let mut images = 0;
        for (_, operand) in self.graph.operands(id) {
            let count = self.graph.ty(operand).axes[0].size();
            let part = InBlocks {
                at: whole.moved(images * layout.image),
                layout: Blocked { images: count, ..layout },
            };
            images += count;
            let from = self.in_blocks_like(operand, &part.layout)?;
            if from.at != part.at {
                self.blocked_map(part, &[from], Expr::Operand(1));
                self.clear_border(part);
            }
        }
        Ok(())
    }

    /// The value in blocks, with at least this border and groups of channels beginning at blocks.
    pub(super) fn in_blocks(
        &mut self,
        id: NodeId,
        groups: usize,
        halo: [usize; 4],
    ) -> Result<InBlocks> {
        let fits = |layout: &Blocked| {
            layout.serves(groups) && layout.halo.iter().zip(halo).all(|(have, want)| *have >= want)
        };
        self.in_layout(id, fits, for_groups(self.graph.ty(id), groups, halo))
    }

    /// The value in a layout that fits: one that there is, or else a copy in this one, from one that
    /// differs in its border only if there is such.
    pub(super) fn in_layout(
        &mut self,
        id: NodeId,
        fits: impl Fn(&Blocked) -> bool,
        otherwise: Blocked,
    ) -> Result<InBlocks> {
        let found = self.blocked.get(&id).and_then(|all| all.iter().find(|b| fits(&b.layout)));
        if let Some(found) = found {
            return Ok(*found);
        }
        let alike = self
            .blocked
            .get(&id)
            .and_then(|all| all.iter().find(|made| made.layout.is_like(&otherwise)).copied());
        let made = match alike {
            Some(from) => {
                let made = self.make_blocked(otherwise);
                self.blocked_map(made, &[from], Expr::Operand(1));
                self.clear_border(made);
                made
            }
            None => {
                let from = self.place(id)?;
                self.pack_blocks(otherwise, from)
            }
        };
        self.blocked.entry(id).or_default().push(made);
        Ok(made)
    }

    /// The value in blocks whose channels begin at blocks where `like`'s do.
    pub(super) fn in_blocks_like(&mut self, id: NodeId, like: &Blocked) -> Result<InBlocks> {
        self.in_layout(id, |layout| layout.is_like(like), like.with_halo([0; 4]))
    }

    /// Clears the border of a value.
    pub(super) fn clear_border(&mut self, value: InBlocks) {
        let layout = value.layout;
        if layout.is_flat() {
            return;
        }
        let [height, _] = layout.size;
        let [top, left, bottom, right] = layout.halo;
        let corner = value.back(layout.origin());
        let (row, block) = (layout.row(), layout.block());
        let images = layout.images * layout.blocks();
        // In memory order: what is above and left of the first pixel; what lies between the end of
        // one row and the start of the next; what follows the last pixel.
        let first = top * row + left * BLOCK;
        let between = (left + right) * BLOCK;
        let last = right * BLOCK + bottom * row;
        let after_row = first + layout.size[1] * BLOCK;
        let parts = [
            (0, 1, first),
            (after_row, height - 1, between),
            (after_row + (height - 1) * row, 1, last),
        ];
        for (start, count, length) in parts {
            if count == 0 || length == 0 {
                continue;
            }
            let nest =
                Nest::collapsed(&[images, count, length], &[vec![block as isize, row as isize, 1]]);
            let map = Map { nest, dtypes: vec![DType::F32], expr: Expr::Constant(0.0) };
            let to = Place { base: corner.base, offset: corner.offset + start * ELEMENT };
            self.step(Kernel::Map(map), vec![to]);
        }
    }

    /// Copies a row-major value into blocks.
    fn pack_blocks(&mut self, layout: Blocked, from: Place) -> InBlocks {
        let made = self.make_blocked(layout);
        if !layout.is_full() {
            let count = layout.elements();
            let nest = Nest::collapsed(&[count], &[vec![1]]);
            let map = Map { nest, dtypes: vec![DType::F32], expr: Expr::Constant(0.0) };
            self.step(Kernel::Map(map), vec![made.back(layout.origin())]);
        }
        for (nest, blocked, plain) in exchange(&layout) {
            let from = Place { base: from.base, offset: from.offset + plain * ELEMENT };
            self.copy(nest, DType::F32, made.moved(blocked), from);
        }
        if layout.is_full() {
            self.clear_border(made);
        }
        made
    }

    /// Copies a value in blocks to row-major memory.
    pub(super) fn unpack_blocks(&mut self, value: InBlocks, out: Place) {
        for (nest, blocked, plain) in exchange(&value.layout) {
            let to = Place { base: out.base, offset: out.offset + plain * ELEMENT };
            let Nest { dims, strides } = nest;
            let nest = Nest { dims, strides: strides.into_iter().rev().collect() };
            self.copy(nest, DType::F32, to, value.moved(blocked));
        }
    }

    /// `expr` of each element of these values (the first is `x1`), all in blocks.
    pub(super) fn blocked_map(&mut self, out: InBlocks, sources: &[InBlocks], expr: Expr) {
        let layout = out.layout;
        let dims = [layout.images, layout.blocks(), layout.size[0], layout.size[1] * BLOCK];
        let strides = |l: &Blocked| [l.image, l.block(), l.row(), 1].map(|s| s as isize).to_vec();
        let mut all = vec![strides(&layout)];
        let mut args = vec![out.at];
        for source in sources {
            all.push(strides(&source.layout));
            args.push(source.at);
        }
        let nest = Nest::collapsed(&dims, &all);
        let dtypes = vec![DType::F32; args.len()];
        self.step(Kernel::Map(Map { nest, dtypes, expr }), args);
    }

    /// The pixels that a window in steps reads, each once, without a border.
    pub(super) fn sampled(
        &mut self,
        from: InBlocks,
        stride: [usize; 2],
        size: [usize; 2],
    ) -> InBlocks {
        let layout = from.layout.with_size(size).with_halo([0; 4]);
        let made = self.make_blocked(layout);
        let dims = [layout.images, layout.blocks(), size[0], size[1], BLOCK];
        let strides = |l: &Blocked, [y, x]: [usize; 2]| {
            [l.image, l.block(), y * l.row(), x * BLOCK, 1].map(|s| s as isize).to_vec()
        };
        let all = [strides(&layout, [1; 2]), strides(&from.layout, stride)];
        self.copy(Nest::collapsed(&dims, &all), DType::F32, made.at, from.at);
        made
    }

    /// An elementwise operator of values in blocks.
    pub(super) fn blocked_elementwise(
        &mut self,
        id: NodeId,
        own: usize,
        head: Expr,
        then: &Epilogue,
    ) -> Result<()> {
        let layout = self.layout(id)?;
        let mut operands = Vec::new();
        for slot in 0..own {
            operands.push(self.operand(id, slot)?);
        }
        let expr = self.apply(id, head, then, &mut operands)?;
        let mut sources = Vec::new();
        for operand in operands {
            sources.push(self.in_blocks_like(operand, &layout)?);
        }
        let out = self.new_blocked(id, layout);
        self.blocked_map(out, &sources, expr);
        self.clear_border(out);
        self.blocked.insert(id, vec![out]);
        Ok(())
    }

    /// The steps of an epilogue after the first `done`, applied to a value in place.
    pub(super) fn apply_rest(
        &mut self,
        id: NodeId,
        out: InBlocks,
        then: &Epilogue,
        done: usize,
    ) -> Result<()> {
        if done >= then.steps.len() {
            return Ok(());
        }
        let rest = Epilogue { steps: then.steps[done..].to_vec() };
        let mut operands = vec![id];
        let expr = self.apply(id, Expr::Operand(1), &rest, &mut operands)?;
        let mut sources = vec![out];
        for &operand in &operands[1..] {
            sources.push(self.in_blocks_like(operand, &out.layout)?);
        }
        self.blocked_map(out, &sources, expr);
        Ok(())
    }

    pub(super) fn blocked_pool(&mut self, id: NodeId, pool: &Pool) -> Result<()> {
        let layout = self.layout(id)?;
        let x = self.operand(id, 0)?;
        let from = self.in_blocks_like(x, &layout.with_size(self.size_of(x)))?;
        let out = self.new_blocked(id, layout);
        let kernel = BlockPool {
            kind: pool.kind,
            window: pool.window,
            input: from.layout.size,
            output: layout.size,
            images: [layout.images, from.layout.image, layout.image],
            blocks: [layout.blocks(), from.layout.block(), layout.block()],
            rows: [from.layout.row(), layout.row()],
        };
        self.step(Kernel::BlockPool(kernel), vec![out.at, from.at]);
        self.clear_border(out);
        self.blocked.insert(id, vec![out]);
        Ok(())
    }

    pub(super) fn blocked_concat(&mut self, id: NodeId) -> Result<()> {
        let layout = self.layout(id)?;
        let out = self.new_blocked(id, layout);
        let mut block = 0;
        for (_, operand) in self.graph.operands(id) {
            let channels = self.graph.ty(operand).shape()[1];
            let like = Blocked { channels, segments: 1, ..layout };
            let from = self.in_blocks_like(operand, &like)?;
            let part = InBlocks {
                at: out.moved(block * layout.block()),
                layout: Blocked { channels, segments: 1, ..layout },
            };
            self.blocked_map(part, &[from], Expr::Operand(1));
            block += channels / BLOCK;
        }
        self.clear_border(out);
        self.blocked.insert(id, vec![out]);
        Ok(())
    }

    /// Whole blocks of channels are a view.
    pub(super) fn blocked_slice(&mut self, id: NodeId, first: usize) -> Result<()> {
        let layout = self.layout(id)?;
        let x = self.operand(id, 0)?;
        let whole = self.blocked.get(&x).and_then(|all| all.first().copied());
        let whole = whole.ok_or_else(|| Error::internal("a slice of a value not in blocks"))?;
        let view = InBlocks { at: whole.moved(first / BLOCK * layout.block()), layout };
        self.blocked.insert(id, vec![view]);
        Ok(())
    }

    pub(super) fn layout(&self, id: NodeId) -> Result<Blocked> {
        let layout = self.layouts.get(&id).copied();
        layout.ok_or_else(|| Error::internal("a value in blocks has no layout"))
    }

    pub(super) fn size_of(&self, id: NodeId) -> [usize; 2] {
        let shape = self.graph.ty(id).shape();
        [shape[2], shape[3]]
    }
}

/// Loops that pair the elements of a value in blocks with its row-major ones: nests (blocked, then
/// plain strides), and where they begin in both.
fn exchange(layout: &Blocked) -> Vec<(Nest, usize, usize)> {
    let [h, w] = layout.size;
    let (whole, rest) = (layout.channels / BLOCK, layout.channels % BLOCK);
    let image = layout.segments * layout.channels * h * w;
    let mut all = Vec::new();
    for (first, count, lanes) in [(0, whole, BLOCK), (whole, 1, rest)] {
        if count == 0 || lanes == 0 {
            continue;
        }
        let dims = [layout.images, layout.segments, count, lanes, h, w];
        let blocked = [
            layout.image,
            layout.segment_blocks() * layout.block(),
            layout.block(),
            1,
            layout.row(),
            BLOCK,
        ];
        let plain = [image, layout.channels * h * w, BLOCK * h * w, h * w, w, 1];
        let strides = [blocked, plain].map(|s| s.map(|n| n as isize).to_vec());
        let nest = Nest::collapsed(&dims, &strides);
        all.push((nest, first * layout.block(), first * BLOCK * h * w));
    }
    all
}

/// Whether an epilogue is safe where channels are made up: they are 0, and must stay finite.
pub(in crate::plan) fn keeps_zero_finite(then: &Epilogue) -> bool {
    then.steps.iter().all(|step| match step {
        Step::Unary(function) => function.keeps_zero_finite(),
        Step::Binary(function, _) => function.keeps_zero_finite(),
    })
}
