//! Values in blocks: how they get there and back, and what is done to each element.

use super::Map;
use crate::error::Result;
use crate::ir::expr::Expr;
use crate::ir::{DType, Epilogue, NodeId};
use crate::kernels::lowering::{InBlocks, Lowering, are_in_order};
use crate::machine::{BLOCK, Element, F32_BYTES};
use crate::plan::{Nest, Place};
use crate::schedule::blocked::{Blocked, for_groups};
use crate::schedule::byte_scale::ByteScale;

impl Lowering<'_, '_> {
    /// The value is there but for its border, which is cleared: a buffer lives from its first step on.
    pub(in crate::kernels) fn made_in_blocks(&mut self, id: NodeId, out: InBlocks) -> Result<()> {
        self.clear_border(out)?;
        self.blocked.insert(id, vec![out]);
        Ok(())
    }

    /// The value in blocks of such bytes or of f32, with at least this border and groups of channels beginning at
    /// blocks.
    pub(in crate::kernels) fn in_blocks(
        &mut self,
        id: NodeId,
        bytes: Option<ByteScale>,
        groups: usize,
        halo: [usize; 4],
    ) -> Result<InBlocks> {
        let fits = |layout: &Blocked| {
            layout.serves(groups) && layout.halo.iter().zip(halo).all(|(have, want)| *have >= want)
        };
        self.in_layout(id, fits, for_groups(self.ty(id), groups, halo).stored(bytes))
    }

    /// The value in a layout that fits: one that there is, or else a copy in this one, from one that
    /// differs in its border and its elements only if there is such.
    ///
    /// Operands that are read in blocks come from here, and have the elements of the layout that is asked
    /// for; or [as they lie](Self::as_made_in_blocks). So what asks for f32 need not know of bytes.
    pub(in crate::kernels) fn in_layout(
        &mut self,
        id: NodeId,
        fits: impl Fn(&Blocked) -> bool,
        otherwise: Blocked,
    ) -> Result<InBlocks> {
        let fits = |layout: &Blocked| layout.bytes == otherwise.bytes && fits(layout);
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
                self.blocked_map(made, &[from], Expr::Operand(1))?;
                self.clear_border(made)?;
                made
            }
            None => {
                let from = self.place(id)?;
                self.pack_blocks(otherwise, from)?
            }
        };
        self.blocked.entry(id).or_default().push(made);
        Ok(made)
    }

    /// The value in blocks of `like`'s elements, whose channels begin at blocks where `like`'s do.
    pub(in crate::kernels) fn in_blocks_like(
        &mut self,
        id: NodeId,
        like: &Blocked,
    ) -> Result<InBlocks> {
        self.in_layout(id, |layout| layout.is_like(like), like.with_halo([0; 4]))
    }

    /// The same of what it was made as: for what reads both bytes and f32.
    pub(in crate::kernels) fn in_blocks_as_made(
        &mut self,
        id: NodeId,
        like: &Blocked,
    ) -> Result<InBlocks> {
        let made = self.schedule.layout(id).and_then(|layout| layout.bytes);
        self.in_blocks_like(id, &like.stored(made))
    }

    /// The same without a border.
    pub(in crate::kernels) fn in_blocks_flat_like(
        &mut self,
        id: NodeId,
        like: &Blocked,
    ) -> Result<InBlocks> {
        let fits = |layout: &Blocked| layout.is_like(like) && layout.is_flat();
        self.in_layout(id, fits, like.with_halo([0; 4]))
    }

    /// Clears the border of a value.
    pub(in crate::kernels) fn clear_border(&mut self, value: InBlocks) -> Result<()> {
        let layout = value.layout;
        if layout.is_flat() {
            return Ok(());
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
            // What is no type of maps is cleared byte by byte.
            let each = layout.element.bytes() / dtype(&layout).size();
            let [block, row] = [block, row].map(|distance| (distance * each) as isize);
            let nest = Nest::collapsed(&[images, count, length * each], &[vec![block, row, 1]]);
            self.fill(nest, dtype(&layout), corner.further(layout.bytes_of(start)), layout.zero())?;
        }
        Ok(())
    }

    /// Copies a row-major value into blocks.
    fn pack_blocks(&mut self, layout: Blocked, from: Place) -> Result<InBlocks> {
        let made = self.make_blocked(layout);
        self.pack_into(made, from, Expr::Operand(1))?;
        Ok(made)
    }

    /// Brings what an expression makes of each element of a row-major value into blocks, with what is
    /// around it.
    fn pack_into(&mut self, made: InBlocks, from: Place, expr: Expr) -> Result<()> {
        let layout = made.layout;
        if !layout.is_full() {
            let count = layout.elements();
            let nest = Nest::collapsed(&[count], &[vec![1]]);
            self.fill(nest, dtype(&layout), made.back(layout.origin()), layout.zero())?;
        }
        for (nest, blocked, plain) in exchange(&layout) {
            let from = from.further(plain * F32_BYTES);
            let dtypes = vec![dtype(&layout), DType::F32];
            let expr = written(&layout, expr.clone());
            self.map(Map { nest, dtypes, expr }, made.moved(blocked), vec![from])?;
        }
        if layout.is_full() {
            self.clear_border(made)?;
        }
        Ok(())
    }

    /// Copies a value in blocks to row-major memory.
    pub(in crate::kernels) fn unpack_blocks(&mut self, value: InBlocks, out: Place) -> Result<()> {
        for (nest, blocked, plain) in exchange(&value.layout) {
            let Nest { dims, strides } = nest;
            let nest = Nest { dims, strides: strides.into_iter().rev().collect() };
            let dtypes = vec![DType::F32, dtype(&value.layout)];
            let expr = read(&value.layout, 1);
            self.map(
                Map { nest, dtypes, expr },
                out.further(plain * F32_BYTES),
                vec![value.moved(blocked)],
            )?;
        }
        Ok(())
    }

    /// `expr` of each element of these values (the first is `x1`), all in blocks.
    pub(in crate::kernels) fn blocked_map(
        &mut self,
        out: InBlocks,
        sources: &[InBlocks],
        expr: Expr,
    ) -> Result<()> {
        let layout = out.layout;
        let dims = [layout.images, layout.blocks(), layout.size[0], layout.size[1] * BLOCK];
        let strides = |l: &Blocked| [l.image, l.block(), l.row(), 1].map(|s| s as isize).to_vec();
        let all: Vec<&Blocked> =
            std::iter::once(&out).chain(sources).map(|value| &value.layout).collect();
        let nest = Nest::collapsed(&dims, &all.iter().map(|l| strides(l)).collect::<Vec<_>>());
        let dtypes = all.iter().map(|l| dtype(l)).collect();
        let places = sources.iter().map(|source| source.at).collect();
        let is_copy = expr == Expr::Operand(1) && all.iter().all(|l| l.bytes == layout.bytes);
        let expr = match is_copy {
            true => expr,
            false => written(&layout, expr.of_operands(&|i| read(all[i], i))),
        };
        self.map(Map { nest, dtypes, expr }, out.at, places)
    }

    /// The pixels that a window in steps reads, each once, without a border.
    pub(in crate::kernels) fn sampled(
        &mut self,
        from: InBlocks,
        stride: [usize; 2],
        size: [usize; 2],
    ) -> Result<InBlocks> {
        let layout = from.layout.with_size(size).with_halo([0; 4]);
        let made = self.make_blocked(layout);
        let dims = [layout.images, layout.blocks(), size[0], size[1], BLOCK];
        let strides = |l: &Blocked, [y, x]: [usize; 2]| {
            [l.image, l.block(), y * l.row(), x * BLOCK, 1].map(|s| s as isize).to_vec()
        };
        let all = [strides(&layout, [1; 2]), strides(&from.layout, stride)];
        self.copy(Nest::collapsed(&dims, &all), dtype(&layout), made.at, from.at)?;
        Ok(made)
    }

    /// An elementwise operator of values in blocks.
    pub(in crate::kernels) fn blocked_elementwise(
        &mut self,
        id: NodeId,
        own: usize,
        head: Expr,
        then: &Epilogue,
    ) -> Result<()> {
        let layout = self.layout(id)?;
        let x = self.operand(id, 0)?;
        let becomes_bytes = own == 1 && then.is_empty() && layout.bytes.is_some();
        if becomes_bytes && self.schedule.layout(x).is_none() {
            let (from, out) = (self.place(x)?, self.new_blocked(id, layout));
            self.pack_into(out, from, head)?;
            self.blocked.insert(id, vec![out]);
            return Ok(());
        }
        let mut operands = Vec::new();
        for slot in 0..own {
            operands.push(self.operand(id, slot)?);
        }
        let expr = self.apply(id, head, then, &mut operands)?;
        let mut sources = Vec::new();
        for operand in operands {
            sources.push(self.in_blocks_as_made(operand, &layout)?);
        }
        let out = self.new_blocked(id, layout);
        self.blocked_map(out, &sources, expr)?;
        self.made_in_blocks(id, out)
    }

    /// The last so many steps of an epilogue, applied to a value: in place, or from one place to another.
    pub(in crate::kernels) fn apply_rest(
        &mut self,
        id: NodeId,
        [from, out]: [InBlocks; 2],
        then: &Epilogue,
        left: usize,
    ) -> Result<()> {
        if left == 0 {
            return Ok(());
        }
        let rest = &then.steps[then.steps.len() - left..];
        let rest = Epilogue { steps: rest.to_vec() };
        let mut operands = vec![id];
        let expr = self.apply(id, Expr::Operand(1), &rest, &mut operands)?;
        let mut sources = vec![from];
        for &operand in &operands[1..] {
            sources.push(self.in_blocks_as_made(operand, &out.layout)?);
        }
        self.blocked_map(out, &sources, expr)
    }

    /// A value whose channels come last, brought into blocks: of each pixel a block of channels is copied at a time.
    pub(in crate::kernels) fn channels_to_front(&mut self, id: NodeId) -> Result<()> {
        let layout = self.layout(id)?;
        let from = self.place(self.operand(id, 0)?)?;
        let out = self.new_blocked(id, layout);
        let (dims, [blocked, rows]) = pixels(&layout);
        self.copy(Nest::collapsed(&dims, &[blocked, rows]), DType::F32, out.at, from)?;
        self.made_in_blocks(id, out)
    }

    /// The way back, of a value that lies in full blocks of f32; whether it does.
    pub(in crate::kernels) fn channels_to_back(&mut self, id: NodeId, x: NodeId) -> Result<bool> {
        let from = self.as_made_in_blocks(x).filter(|from| from.layout.bytes.is_none());
        let Some(from) = from else { return Ok(false) };
        let out = self.make(id);
        let (dims, [blocked, rows]) = pixels(&from.layout);
        self.copy(Nest::collapsed(&dims, &[rows, blocked]), DType::F32, out, from.at)?;
        Ok(true)
    }

    pub(in crate::kernels) fn blocked_concat(&mut self, id: NodeId) -> Result<()> {
        let layout = self.layout(id)?;
        let mut parts = Vec::new();
        for (_, operand) in self.graph.operands(id) {
            let like = Blocked { channels: self.ty(operand).shape()[1], segments: 1, ..layout };
            parts.push(self.in_blocks_as_made(operand, &like)?);
        }
        if are_in_order(&parts, &layout) {
            let whole = InBlocks { at: parts[0].at, layout };
            self.blocked.insert(id, vec![whole]);
            return Ok(());
        }
        let out = self.new_blocked(id, layout);
        let mut block = 0;
        for part in parts {
            let channels = part.layout.channels * part.layout.segments;
            let like = Blocked { channels, segments: 1, ..layout };
            let to = InBlocks { at: out.moved(block * layout.block()), layout: like };
            block += channels / BLOCK;
            if to.at != part.at {
                self.blocked_map(to, &[part], Expr::Operand(1))?;
            }
        }
        self.made_in_blocks(id, out)
    }
}

/// The type in which [`Map`] reads and writes elements of such a layout.
fn dtype(layout: &Blocked) -> DType {
    match layout.element {
        Element::F32 => DType::F32,
        // No value lies so.
        Element::U8 | Element::I16 | Element::Bf16 => DType::U8,
    }
}

/// The number that operand `i` of an expression, which lies like this, stands for.
pub(in crate::kernels) fn read(layout: &Blocked, i: usize) -> Expr {
    layout.bytes.map_or(Expr::Operand(i), |bytes| bytes.number(Expr::Operand(i)))
}

/// What is stored of a number in such a layout.
pub(in crate::kernels) fn written(layout: &Blocked, number: Expr) -> Expr {
    match layout.bytes {
        None => number,
        Some(bytes) => bytes.byte(number),
    }
}

/// Loops over the blocks of channels of each pixel, and the strides of full blocks, and of rows of channels.
fn pixels(layout: &Blocked) -> ([usize; 5], [Vec<isize>; 2]) {
    let ([h, w], blocks) = (layout.size, layout.blocks());
    let channels = blocks * BLOCK;
    let blocked = [layout.image, layout.row(), BLOCK, layout.block(), 1];
    let rows = [h * w * channels, w * channels, channels, BLOCK, 1];
    let strides = [blocked, rows].map(|strides| strides.map(|n| n as isize).to_vec());
    ([layout.images, h, w, blocks, BLOCK], strides)
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
