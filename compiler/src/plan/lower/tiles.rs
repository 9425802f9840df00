//! Convolutions as tile contractions.

use super::blocked::InBlocks;
use super::weights::{Packing, TilePacking};
use super::{Lowering, four};
use crate::error::{Error, Result};
use crate::ir::{Binary, Conv, Epilogue, NodeId, Step, Unary, Window};
use crate::plan::choice::Choice;
use crate::plan::cut::{Cut, ProductCut, joined_rows};
use crate::plan::kernel::{Kernel, Span};
use crate::plan::layout::{Blocked, narrow_groups};
use crate::plan::tile::{Around, BLOCK, MicroKernel, Tile, TileStep};
use crate::plan::winograd::{Grid, WinogradInput, WinogradOutput};
use crate::plan::{Base, Place};

/// Weights of a group that are more bytes are fetched ahead of their use, even if all of them stay in a
/// second-level cache.
const FETCHED: usize = 256 << 10;

/// Products of a part of a sum: rounding errors grow with them.
const LONGEST_SUM: usize = 512;

/// Sums of the rows of tiles of a value in blocks, `[image][block][row][16]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) place: Place,
    pub(super) of: Place,
    /// Rows of tiles in a plane.
    pub(super) rows: usize,
}

/// What a convolution reads: where, and its strides.
pub(super) struct Source {
    pub(super) at: Place,
    pub(super) image: usize,
    /// Of a group of channels.
    group: usize,
    pub(super) row: usize,
    pub(super) pixel: usize,
    pub(super) reduce: Vec<Span>,
    /// Segments, for a value in blocks.
    pub(super) segments: Option<usize>,
    flat: bool,
}

impl Lowering<'_, '_> {
    pub(super) fn tiled_conv(&mut self, id: NodeId, conv: &Conv) -> Result<()> {
        let decision = self.decisions.get(&id);
        let decision = decision.ok_or_else(|| Error::internal("a convolution is undecided"))?;
        self.why.clone_from(&decision.why);
        // Everything below is about groups as they are computed.
        let conv = &self.groups.computed(id, conv);
        match decision.choice {
            Choice::Direct { cut, pixels_first } => self.direct_conv(id, conv, cut, pixels_first),
            Choice::Winograd { outputs, cut, rows, images } => {
                let item = ProductCut { together: images, chunk: rows, cut };
                self.winograd_conv(id, conv, outputs, item)
            }
            Choice::Strassen { cut, pixels_first, row } => {
                self.strassen_conv(id, conv, (cut, pixels_first, row))
            }
        }
    }

    /// A convolution by its definition.
    pub(super) fn direct_conv(
        &mut self,
        id: NodeId,
        conv: &Conv,
        cut: Cut,
        pixels_first: bool,
    ) -> Result<()> {
        let graph = self.graph;
        let layout = self.layout(id)?;
        let (x, w) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let narrow = narrow_groups(graph, id, conv);
        // Narrow groups are computed a block at a time.
        let groups = if narrow.is_some() { layout.blocks() } else { conv.groups };
        let source = self.source(x, conv, groups, narrow)?;
        let (steps, done, other) = tile_steps(&conv.epilogue);
        let other = match other {
            Some(slot) => Some(self.in_blocks_like(self.operand(id, slot)?, &layout)?),
            None => None,
        };
        let blocks = layout.blocks() / groups;
        let (rows, columns) = rows(&source, &layout, other.as_ref(), &conv.window);
        let Cut { pixels, blocks: tile_blocks } = cut;
        let parts = Tile::parts_for(&source.reduce, LONGEST_SUM);
        let weights_block = source.reduce.iter().map(|r| r.count).product::<usize>() * BLOCK;
        // Few weights that are run through again and again do not come from afar.
        let (passes, next) = match pixels_first && blocks * weights_block * 4 <= FETCHED {
            true => (0, 0),
            false => (columns.div_ceil(pixels), tile_blocks * weights_block),
        };
        let micro = MicroKernel {
            pixels,
            blocks: tile_blocks,
            weights_block,
            input_pixel: source.pixel,
            output_pixel: BLOCK,
            output_block: layout.block(),
            other_block: other.map_or(0, |o| o.layout.block()),
            reduce: source.reduce,
            narrow: narrow.unwrap_or(0),
            passes: [passes, 0],
            next,
            bias: graph.operand(id, 2).is_some(),
            onto: false,
            steps,
        };
        let packing = match narrow {
            Some(_) => Packing::Narrow,
            None => Packing::Tiles(TilePacking {
                groups,
                joined: self.groups.together(id),
                out_segments: layout.segments,
                in_segments: source.segments,
            }),
        };
        let weights = self.packed(w, packing)?;
        let bias = match graph.operand(id, 2) {
            Some(bias) => Some(self.packed(bias, Packing::Blocks(layout.segments))?),
            None => None,
        };
        let other_layout = other.map(|o| o.layout);
        let tile = Tile {
            images: Around {
                count: layout.images,
                input: source.image,
                output: layout.image,
                other: other_layout.map_or(0, |l| l.image),
            },
            groups: Around {
                count: groups,
                input: source.group,
                output: blocks * layout.block(),
                other: other_layout.map_or(0, |l| blocks * l.block()),
            },
            blocks,
            rows,
            columns,
            pixels_first,
            parts,
            micro,
        };
        let out = self.new_blocked(id, layout);
        let mut args = vec![out.at, source.at, weights];
        args.extend(bias);
        args.extend(other.map(|o| o.at));
        self.step(Kernel::Tile(tile), args);
        self.apply_rest(id, out, &conv.epilogue, done)?;
        self.clear_border(out);
        self.blocked.insert(id, vec![out]);
        Ok(())
    }

    /// A 3×3 convolution in Winograd's transformed domain, with tiles of `outputs`².
    fn winograd_conv(
        &mut self,
        id: NodeId,
        conv: &Conv,
        outputs: usize,
        item: ProductCut,
    ) -> Result<()> {
        let graph = self.graph;
        let layout = self.layout(id)?;
        let (x, w) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let dilation = conv.window.dilation[0];
        let ProductCut { together, chunk, cut: Cut { pixels, blocks: tile_blocks } } = item;
        let grid = Grid::new(outputs, dilation, layout.size, together);
        let from = self.in_blocks(x, conv.groups, [0; 4])?;
        let (steps, done, other) = tile_steps(&conv.epilogue);
        let other = match other {
            Some(slot) => Some(self.in_blocks_like(self.operand(id, slot)?, &layout)?),
            None => None,
        };
        let source = from.layout;
        let input = WinogradInput {
            grid: grid.clone(),
            size: layout.size,
            images: Span { count: source.images, stride: source.image },
            blocks: Span { count: source.blocks(), stride: source.block() },
            row: source.row(),
        };
        let (element, elements, tiles) = (input.element(), grid.elements(), grid.tiles);
        let transformed = self.scratch(elements * element * 4);
        let worker = Place { base: Base::Worker, offset: 0 };
        self.worker_elements = self.worker_elements.max(input.scratch());
        self.step(Kernel::WinogradInput(input), vec![transformed, from.at, worker]);

        let blocks = layout.blocks() / conv.groups;
        let read_blocks = source.blocks() / conv.groups;
        let plane = tiles[0] * tiles[1] * BLOCK;
        // Elements of a block lie together for all images.
        let stride = source.images * plane;
        let columns = together * chunk * tiles[1];
        let depth = read_blocks * BLOCK * BLOCK;
        let micro = MicroKernel {
            pixels,
            blocks: tile_blocks,
            weights_block: elements * depth,
            input_pixel: BLOCK,
            output_pixel: BLOCK,
            output_block: columns * BLOCK,
            other_block: 0,
            reduce: contracted(vec![Span { count: read_blocks, stride }]),
            narrow: 0,
            passes: [columns.div_ceil(pixels), 0],
            next: depth,
            bias: false,
            onto: false,
            steps: Vec::new(),
        };
        let packing = TilePacking {
            groups: conv.groups,
            joined: self.groups.together(id),
            out_segments: layout.segments,
            in_segments: Some(source.segments),
        };
        let weights = self.packed(w, Packing::Winograd(packing, outputs))?;
        let bias = match graph.operand(id, 2) {
            Some(bias) => Some(self.packed(bias, Packing::Blocks(layout.segments))?),
            None => None,
        };
        let like = other.map(|o| o.layout);
        let kernel = WinogradOutput {
            grid,
            images: Around {
                count: layout.images,
                input: plane,
                output: layout.image,
                other: like.map_or(0, |l| l.image),
            },
            groups: Around {
                count: conv.groups,
                input: read_blocks * stride,
                output: blocks * layout.block(),
                other: like.map_or(0, |l| blocks * l.block()),
            },
            blocks,
            chunk,
            size: layout.size,
            element,
            rows: [layout.row(), like.map_or(0, |l| l.row())],
            block: [layout.block(), like.map_or(0, |l| l.block())],
            bias: bias.is_some(),
            totals: other.is_none() && done == conv.epilogue.steps.len() && self.is_squeezed(id),
            steps,
            micro,
        };
        self.worker_elements = self.worker_elements.max(kernel.scratch());
        let out = self.new_blocked(id, layout);
        let mut args = vec![out.at, transformed, weights, worker];
        args.extend(bias);
        args.extend(other.map(|o| o.at));
        if kernel.totals {
            let place = self.scratch(layout.images * kernel.totals_image() * 4);
            let rows = kernel.grid.tiles[0];
            self.totals.insert(id, Totals { place, of: out.at, rows });
            args.push(place);
        }
        self.step(Kernel::WinogradOutput(kernel), args);
        self.apply_rest(id, out, &conv.epilogue, done)?;
        self.clear_border(out);
        self.blocked.insert(id, vec![out]);
        Ok(())
    }

    /// The operand in blocks, or row-major where it has fewer channels than a block.
    pub(super) fn source(
        &mut self,
        x: NodeId,
        conv: &Conv,
        groups: usize,
        narrow: Option<usize>,
    ) -> Result<Source> {
        let [n, c, h, w] = four(self.graph.ty(x))?;
        let window = &conv.window;
        let ([kh, kw], stride, dilation) = (window.kernel, window.stride, window.dilation);
        let group = c / groups;
        if !self.blocked.contains_key(&x) && group < BLOCK {
            let (at, [h, w]) = self.padded(x, window, [n, c, h, w])?;
            let mut reduce = vec![
                Span { count: group, stride: h * w },
                Span { count: kh, stride: w * dilation[0] },
                Span { count: kw, stride: dilation[1] },
            ];
            reduce.retain(|r| r.count != 1);
            if reduce.last().is_none_or(|r| r.count > BLOCK) {
                reduce.push(Span { count: 1, stride: 0 });
            }
            return Ok(Source {
                at,
                image: c * h * w,
                group: group * h * w,
                row: w * stride[0],
                pixel: stride[1],
                reduce,
                segments: None,
                flat: true,
            });
        }
        let ([top, left], [bottom, right]) = (window.pad_before, window.pad_after);
        let from = self.in_blocks(x, groups, [top, left, bottom, right])?;
        Ok(source_of(from, window, groups, narrow))
    }
}

/// What a window reads of a value in blocks.
pub(super) fn source_of(
    from: InBlocks,
    window: &Window,
    groups: usize,
    narrow: Option<usize>,
) -> Source {
    let ([kh, kw], stride, dilation) = (window.kernel, window.stride, window.dilation);
    let [top, left] = window.pad_before;
    let layout = from.layout;
    let blocks = layout.blocks() / groups;
    let mut reduce = contracted(vec![
        Span { count: blocks, stride: layout.block() },
        Span { count: kh, stride: layout.row() * dilation[0] },
        Span { count: kw, stride: BLOCK * dilation[1] },
    ]);
    if let (Some(channels), Some(last)) = (narrow, reduce.last_mut()) {
        *last = Span { count: channels, stride: 0 };
    }
    Source {
        at: from.back(top * layout.row() + left * BLOCK),
        image: layout.image,
        group: blocks * layout.block(),
        row: layout.row() * stride[0],
        pixel: BLOCK * stride[1],
        reduce,
        segments: Some(layout.segments),
        flat: layout.is_flat(),
    }
}

/// Loops over blocks of the input, then over the channels of a block.
fn contracted(mut reduce: Vec<Span>) -> Vec<Span> {
    reduce.retain(|r| r.count != 1);
    reduce.push(Span { count: BLOCK, stride: 1 });
    reduce
}

/// The steps of an epilogue that a tile applies, how many they are, and the slot of the other
/// operand.
pub(in crate::plan) fn tile_steps(then: &Epilogue) -> (Vec<TileStep>, usize, Option<usize>) {
    let mut steps = Vec::new();
    let mut other = None;
    for step in &then.steps {
        match step {
            Step::Binary(Binary::Add, slot) if other.is_none() => {
                other = Some(*slot);
                steps.push(TileStep::AddOther);
            }
            Step::Unary(Unary::Relu) => steps.push(TileStep::Relu),
            Step::Unary(_) | Step::Binary(..) => break,
        }
    }
    let done = steps.len();
    (steps, done, other)
}

/// Where neither side has a border a 1×1 convolution need not know where image rows end.
pub(super) fn is_flat(
    source: &Source,
    layout: &Blocked,
    other: Option<&InBlocks>,
    window: &Window,
) -> bool {
    source.flat && window.is_point() && layout.is_flat() && other.is_none_or(|o| o.layout.is_flat())
}

/// Rows of pixels, and their length; where rows need not end, several are one row of tiles.
fn rows(
    source: &Source,
    layout: &Blocked,
    other: Option<&InBlocks>,
    window: &Window,
) -> (Around, usize) {
    let [h, w] = layout.size;
    let joined = if is_flat(source, layout, other, window) { joined_rows([h, w]) } else { 1 };
    let around = Around {
        count: h / joined,
        input: joined * source.row,
        output: joined * layout.row(),
        other: other.map_or(0, |o| joined * o.layout.row()),
    };
    (around, joined * w)
}
