//! Row-major products in register tiles: the micro-kernel of convolutions, whose pixels are rows of a matrix.
//!
//! ```text
//!              a stripe of up to 4 blocks × 16 channels
//!            ┌───────┬───────┬───────┬───┐
//!   rows     │ tile  │ tile  │       ┊   │  as many pixels and blocks as registers hold sums of; the last
//!            ├───────┼───────┤       ┊   │  block, if it is not full, by way of scratch memory
//!            │       │       │       ┊   │
//! ```

use std::collections::{BTreeMap, BTreeSet};

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use super::{RowMajorGemm, STRIPE};
use crate::codegen::emitter::Emitter;
use crate::codegen::{KernelCall, Linker};
use crate::error::Result;
use crate::kernels::conv::micro_kernel::{MicroKernel, contracted};
use crate::kernels::conv::register_tile::RegisterTile;
use crate::kernels::pointers::Pointers;
use crate::machine::{BLOCK, F32_BYTES, Factor, Machine, Vectors};
use crate::plan::{Loop, Role};

/// Pixels of a tile at most.
const MOST_PIXELS: usize = 32;

/// Elements of scratch memory for a tile of a block that is not full.
pub(super) const SCRATCH: usize = MOST_PIXELS * BLOCK;

/// Contracted elements that are unrolled, at most.
const UNROLLED: usize = 16;

/// The tiles of a product, with the functions for them.
pub(super) struct Tiles<F> {
    size: RegisterTile,
    /// By pixels and blocks.
    whole: BTreeMap<(usize, usize), F>,
    /// By pixels, for the block that is not full, whose sums go to scratch memory.
    part: BTreeMap<usize, F>,
}

/// Where an item is: byte addresses.
#[derive(Clone, Copy)]
struct Here {
    input: Value,
    weights: Value,
    out: Value,
    bias: Value,
    operand: Value,
}

impl Here {
    /// So many blocks further.
    fn by_blocks(self, e: &mut Emitter<'_, '_>, spec: &RowMajorGemm, blocks: usize) -> Here {
        let by = |bytes: usize| (blocks * bytes) as i64;
        let block = by(BLOCK * F32_BYTES);
        Here {
            weights: e.add_imm(self.weights, by(spec.block_bytes())),
            out: e.add_imm(self.out, block),
            bias: e.add_imm(self.bias, block),
            operand: e.add_imm(self.operand, block),
            ..self
        }
    }

    /// So many pixels further.
    fn by_pixels(self, e: &mut Emitter<'_, '_>, spec: &RowMajorGemm, pixels: usize) -> Here {
        let by = |distance: usize| (pixels * distance * F32_BYTES) as i64;
        Here {
            input: e.add_imm(self.input, by(spec.columns.input)),
            out: e.add_imm(self.out, by(spec.columns.output)),
            operand: e.add_imm(self.operand, by(spec.columns.output)),
            ..self
        }
    }
}

impl Tiles<usize> {
    /// Places the micro-kernels that the product takes.
    pub(super) fn place(spec: &RowMajorGemm, linker: &mut Linker) -> Result<Tiles<usize>> {
        let size = tile(spec, linker.vectors());
        let (micro, mut tiles) =
            (micro_kernel(spec), Tiles { size, whole: BTreeMap::new(), part: BTreeMap::new() });
        let scattered = MicroKernel { output_pixel: BLOCK, ..micro.clone() };
        for pixels in heights(spec, size.pixels) {
            for blocks in widths(spec, size.blocks) {
                let leaf = linker.leaf(micro.sized(pixels, blocks))?;
                tiles.whole.insert((pixels, blocks), leaf);
            }
            if spec.rest() > 0 {
                tiles.part.insert(pixels, linker.leaf(scattered.sized(pixels, 1))?);
            }
        }
        Ok(tiles)
    }

    pub(super) fn emit(&self, e: &mut Emitter<'_, '_>, spec: &RowMajorGemm, call: KernelCall) {
        let pointers = Pointers::of(spec, call);
        let [out, input, weights] =
            [Role::Out, Role::In, Role::Weights].map(|role| pointers.load(e, role));
        let [bias, operand] = [Role::Bias, Role::Operand(1)].map(|role| pointers.load(e, role));
        let scratch = pointers.scratch(e, spec);
        let base = Here { input, weights, out, bias, operand };
        let functions = Functions { spec, tiles: self.imported(e), scratch };
        e.each(call.begin, call.end, |e, item| functions.item(e, base, item));
    }

    fn imported(&self, e: &mut Emitter<'_, '_>) -> Tiles<FuncRef> {
        Tiles {
            size: self.size,
            whole: self.whole.iter().map(|(size, offset)| (*size, e.leaf(*offset))).collect(),
            part: self.part.iter().map(|(pixels, offset)| (*pixels, e.leaf(*offset))).collect(),
        }
    }
}

/// The functions of tiles, imported.
struct Functions<'s> {
    spec: &'s RowMajorGemm,
    tiles: Tiles<FuncRef>,
    scratch: Value,
}

impl Functions<'_> {
    /// A stripe of a chunk of rows.
    fn item(&self, e: &mut Emitter<'_, '_>, base: Here, item: Value) {
        let spec = self.spec;
        let (rest, stripe) = e.divide(item, spec.stripes());
        let (mut rest, chunk) = e.divide(rest, spec.chunks());
        let (mut here, mut matrix) = (base, e.int(0));
        for outer in spec.outer.iter().rev() {
            let (next, index) = e.divide(rest, outer.count);
            rest = next;
            here.input = e.moved(here.input, index, outer.input);
            here.out = e.moved(here.out, index, outer.output);
            here.operand = e.moved(here.operand, index, outer.output);
            matrix = e.moved_by(matrix, index, outer.weights);
        }
        let of_matrix = e.mul_imm(matrix, spec.blocks() as i64);
        let within = e.mul_imm(stripe, STRIPE as i64);
        let block = e.add(of_matrix, within);
        here.weights = e.moved_by(here.weights, block, spec.block_bytes());
        here.bias = e.moved(here.bias, block, BLOCK);
        let rows = spec.chunk();
        here.input = e.moved(here.input, chunk, rows * spec.columns.input);
        for place in [&mut here.out, &mut here.operand] {
            *place = e.moved(*place, within, BLOCK);
            *place = e.moved(*place, chunk, rows * spec.columns.output);
        }
        let (before, last) = (spec.columns.count / rows, spec.columns.count % rows);
        either_end(e, chunk, [before, last], |e, is_last| {
            self.stripe(e, stripe, here, if is_last { last } else { rows });
        });
    }

    /// A stripe: one of whole blocks, or the last.
    fn stripe(&self, e: &mut Emitter<'_, '_>, stripe: Value, here: Here, rows: usize) {
        let full = self.spec.channels.count / BLOCK;
        let (before, last) = (full / STRIPE, full % STRIPE);
        let left = last + usize::from(self.spec.rest() > 0);
        either_end(e, stripe, [before, left], |e, is_last| {
            let blocks = if is_last { last } else { STRIPE };
            self.blocks(e, blocks, here, rows);
            if is_last && self.spec.rest() > 0 {
                let here = here.by_blocks(e, self.spec, last);
                self.rest(e, here, rows);
            }
        });
    }

    /// So many whole blocks, as many at a time as a tile has.
    fn blocks(&self, e: &mut Emitter<'_, '_>, blocks: usize, here: Here, rows: usize) {
        let (mut here, mut left) = (here, blocks);
        while left > 0 {
            let wide = left.min(self.tiles.size.blocks);
            self.columns(e, wide, here, rows);
            here = here.by_blocks(e, self.spec, wide);
            left -= wide;
        }
    }

    /// All pixels of some blocks: whole tiles, then what is left.
    fn columns(&self, e: &mut Emitter<'_, '_>, blocks: usize, here: Here, rows: usize) {
        let mut here = here;
        for (tiles, pixels) in self.tiles.heights(rows) {
            if let Some(function) = self.tiles.whole.get(&(pixels, blocks)) {
                run(e, *function, here, tiles);
            }
            here = here.by_pixels(e, self.spec, tiles * pixels);
        }
    }

    /// The block that is not full.
    fn rest(&self, e: &mut Emitter<'_, '_>, here: Here, rows: usize) {
        let (spec, mut at) = (self.spec, vec![here.input, here.out]);
        for (tiles, pixels) in self.tiles.heights(rows) {
            let Some(&function) = self.tiles.part.get(&pixels) else { continue };
            at = e.repeat(tiles, &at, |e, at| {
                let here = Here { input: at[0], out: at[1], ..here };
                run(e, function, Here { out: self.scratch, ..here }, 1);
                copy(e, spec, [self.scratch, here.out], pixels);
                let next = here.by_pixels(e, spec, pixels);
                vec![next.input, next.out]
            });
        }
    }
}

impl<F> Tiles<F> {
    /// How so many rows fall into tiles: how many, and of how many pixels.
    fn heights(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<F> {
        let RegisterTile { pixels, .. } = self.size;
        [(rows / pixels, pixels), (1, rows % pixels)].into_iter().filter(|(n, p)| n * p > 0)
    }
}

/// What is done for one of so many alike, by its number, or for one that is smaller and comes last.
fn either_end(
    e: &mut Emitter<'_, '_>,
    number: Value,
    [before, last]: [usize; 2],
    each: impl Fn(&mut Emitter<'_, '_>, bool),
) {
    match [before, last] {
        [_, 0] => each(e, false),
        [0, _] => each(e, true),
        _ => {
            let end = e.int(before as i64);
            let is_last = e.builder.ins().icmp(IntCC::Equal, number, end);
            e.either(is_last, |e| each(e, true), |e| each(e, false));
        }
    }
}

/// So many tiles, one after the other.
fn run(e: &mut Emitter<'_, '_>, function: FuncRef, here: Here, tiles: usize) {
    let count = e.int(tiles as i64);
    let Here { input, weights, out, bias, operand } = here;
    e.builder.ins().call(function, &[input, weights, out, bias, count, operand]);
}

/// Copies what a tile has of the block that is not full.
fn copy(e: &mut Emitter<'_, '_>, spec: &RowMajorGemm, [from, to]: [Value; 2], pixels: usize) {
    e.repeat(pixels, &[from, to], |e, state| {
        for channel in 0..spec.rest() {
            let at = (channel * F32_BYTES) as i64;
            let sum = e.load(F32, state[0], at);
            e.store(sum, state[1], at);
        }
        let by = [BLOCK, spec.columns.output].map(|distance| (distance * F32_BYTES) as i64);
        vec![e.add_imm(state[0], by[0]), e.add_imm(state[1], by[1])]
    });
}

/// The tile that is estimated to be the fastest.
fn tile(spec: &RowMajorGemm, vectors: Vectors) -> RegisterTile {
    let machine = Machine { vectors, core: None, dots: None, bfloats: false };
    let (rows, blocks) = (spec.chunk().min(spec.columns.count), spec.blocks().min(STRIPE));
    let ranked = RegisterTile::ranked(machine, Factor::F32, rows, blocks, spec.depth());
    let fits = |tile: &RegisterTile| tile.pixels <= most_pixels(spec);
    ranked.into_iter().map(|(_, tile)| tile).find(fits).unwrap_or(RegisterTile::ONE)
}

/// Pixels that are a multiple of a page apart share few lines of the first-level cache, where each is read again for
/// its next elements.
fn most_pixels(spec: &RowMajorGemm) -> usize {
    const HALF_PAGE: usize = 2048;
    const WAYS: usize = 8;
    let apart = spec.columns.input * F32_BYTES;
    if apart > 0 && apart.is_multiple_of(HALF_PAGE) { WAYS } else { MOST_PIXELS }
}

/// How many pixels the tiles of a product have: whole ones, and what is left of chunks.
fn heights(spec: &RowMajorGemm, most: usize) -> BTreeSet<usize> {
    let chunks = [spec.chunk().min(spec.columns.count), spec.columns.count % spec.chunk()];
    let of_chunk = |rows: usize| [most.min(rows), rows % most];
    chunks.into_iter().flat_map(of_chunk).filter(|pixels| *pixels > 0).collect()
}

/// How many blocks the tiles of a product have: whole ones, and what is left of stripes.
fn widths(spec: &RowMajorGemm, most: usize) -> BTreeSet<usize> {
    let full = spec.channels.count / BLOCK;
    let stripes = [(full >= STRIPE).then_some(STRIPE), Some(full % STRIPE)];
    let of_stripe = |blocks: usize| [most.min(blocks), blocks % most];
    stripes.into_iter().flatten().flat_map(of_stripe).filter(|blocks| *blocks > 0).collect()
}

/// The register tile, of a size that is left open.
fn micro_kernel(spec: &RowMajorGemm) -> MicroKernel {
    let depth = spec.depth();
    let step = spec.reduce.last().map_or(0, |each| each.input);
    let unrolled = (1..=UNROLLED).rev().find(|n| depth.is_multiple_of(*n)).unwrap_or(1);
    let around = Loop::reading(depth / unrolled, unrolled * step);
    let mut reduce = contracted(vec![around], unrolled);
    if let Some(last) = reduce.last_mut() {
        last.input = step;
    }
    MicroKernel {
        weights_block: depth * BLOCK,
        input_pixel: spec.columns.input,
        output_pixel: spec.columns.output,
        output_block: BLOCK,
        residual_block: BLOCK,
        reduce,
        bias: spec.bias,
        finish: spec.then.clone(),
        ..MicroKernel::default()
    }
}
