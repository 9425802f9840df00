//! Row-major matrix products: dense layers, and convolutions whose values do not lie in blocks.

pub mod dense;
mod emit;
pub(super) mod lower;
pub(super) mod pack;
mod tiles;

use cranelift_codegen::ir::Function;
use dense::DenseSums;
use tiles::Tiles;

use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::expr::Expr;
use crate::kernels::conv::micro_kernel::can_finish;
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Loop, Walk};

/// Channels in a block of packed weights, where these are not [wide](RowMajorGemm::wide).
pub const CHANNEL_BLOCK: usize = 8;

/// Blocks of a stripe of wide blocks: items are machine-independent, tiles are not.
pub const STRIPE: usize = 4;

/// `out[b, m, y, x] = expr(bias[m] + Σ_r w[b, m, r] · in[b, y, x, r])`.
///
/// Weights are packed `[w blocks][m/8][r…][8]` (zeros beyond m), the bias is padded to a
/// multiple of 8 and laid out `[w blocks][m/8][8]`; operands `x{i}` of `then`, i ≥ 1, are laid out as
/// out, and `x0` is the sum. Items are (b, m block, y).
///
/// Weights may be i8, of which those of a channel are multiples of a scale: then the scales of its eight
/// channels lie in front of each block, as f32, and are multiplied with sums.
///
/// Where neighbouring channels are neighbours in out and pixels are many, blocks are *wide*: of 16 channels, computed
/// in the [register tiles](crate::kernels::conv::micro_kernel) of convolutions. Items then are (b, chunk of rows,
/// stripe), and a stripe is up to [`STRIPE`] blocks. A last block that is not full is computed in scratch memory, and copied.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowMajorGemm {
    /// Outer loops that share nothing (images, groups, matrices of a batch), outermost first. Weights
    /// move by whole packed matrices.
    pub outer: Vec<Loop>,
    /// Output channels.
    pub channels: Loop,
    /// Rows of output pixels.
    pub rows: Loop,
    /// Pixels of a row.
    pub columns: Loop,
    /// The contracted axes, outermost first.
    pub reduce: Vec<Loop>,
    /// Pixels computed together: a register tile is this many pixels by 8 channels. Wide ones have the tile that the
    /// machine's registers hold.
    pub tile: usize,
    /// Whether blocks have 16 channels.
    pub wide: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether weights are i8.
    pub bytes: bool,
    /// Epilogue.
    pub then: Expr,
}

impl RowMajorGemm {
    /// Blocks of output channels.
    pub fn blocks(&self) -> usize {
        self.channels.count.div_ceil(self.block())
    }

    /// Channels of a block.
    pub(super) fn block(&self) -> usize {
        if self.wide { BLOCK } else { CHANNEL_BLOCK }
    }

    /// Items of a matrix.
    fn stripes(&self) -> usize {
        if self.wide { self.blocks().div_ceil(STRIPE) } else { self.blocks() }
    }

    /// Rows of a chunk: as many as stay in a second-level cache while all stripes go by, in whole tiles of most sizes;
    /// fewer where there were too few items for many threads.
    fn chunk(&self) -> usize {
        const FEWEST_ITEMS: usize = 15;
        const SMALL: [usize; 3] = [84, 48, 24];
        let most = self.cached_rows();
        let is_enough = |rows: &usize| {
            let chunks = self.columns.count.div_ceil(*rows);
            self.matrices().saturating_mul(chunks * self.stripes()) >= FEWEST_ITEMS
        };
        let sizes = [most].into_iter().chain(SMALL.into_iter().filter(|rows| *rows < most));
        let least = sizes.clone().min().unwrap_or(most);
        sizes.into_iter().find(is_enough).unwrap_or(least)
    }

    /// Rows that stay in a second-level cache: all, or whole tiles of most sizes.
    fn cached_rows(&self) -> usize {
        const CACHED: usize = 64 << 10;
        const TILES: usize = 84;
        match self.columns.count.saturating_mul(self.depth()) <= 3 * CACHED {
            true => self.columns.count.max(1),
            false => (CACHED / self.depth().max(1) / TILES).max(1) * TILES,
        }
    }

    /// Chunks of a matrix.
    fn chunks(&self) -> usize {
        if self.wide { self.columns.count.div_ceil(self.chunk()) } else { 1 }
    }

    /// Channels of a last block that is not full.
    fn rest(&self) -> usize {
        self.channels.count % self.block()
    }

    /// Whether a wide one is all that its code takes for granted.
    fn is_tiled(&self) -> bool {
        let is_plain = self.rows.count == 1 && self.channels.output == 1 && self.reduce.len() <= 1;
        let finishes = can_finish(&self.then) && (self.rest() == 0 || self.operands() == 0);
        // What is farther away than instructions say.
        const FARTHEST: usize = 1 << 24;
        let distances =
            [self.columns.input, self.columns.output, self.depth().saturating_mul(BLOCK)];
        let reads = self.reduce.iter().map(|each| each.count.saturating_mul(each.input));
        is_plain
            && !self.bytes
            && finishes
            && distances.into_iter().chain(reads).all(|n| n <= FARTHEST)
    }

    /// Multiply-adds per output element.
    pub fn depth(&self) -> usize {
        self.reduce.iter().map(|r| r.count).product()
    }

    /// Bytes of the weights of a block for one contracted element.
    fn line_bytes(&self) -> usize {
        if self.bytes { CHANNEL_BLOCK } else { self.block() * F32_BYTES }
    }

    /// Bytes of a block, its scales included.
    fn block_bytes(&self) -> usize {
        let scales = if self.bytes { CHANNEL_BLOCK * F32_BYTES } else { 0 };
        self.depth().saturating_mul(self.line_bytes()).saturating_add(scales)
    }

    /// What makes the sums of a block of channels of a dense layer that is deep enough for parts: for f32 if
    /// these are half a page apart.
    fn dense_sums(&self) -> Option<DenseSums> {
        let deep = if self.bytes { 32 } else { 256 };
        let [Loop { count: depth, input, .. }] = self.reduce[..] else { return None };
        let (bytes, bias) = (self.bytes, self.bias && !self.bytes);
        let sums = DenseSums { depth, input, bytes, bias };
        (self.columns.count == 1 && depth >= deep && sums.is_near()).then_some(sums)
    }

    /// Loops of one trip go.
    fn drop_single_trips(&mut self) {
        self.outer.retain(|outer| outer.count != 1);
        self.reduce.retain(|reduce| reduce.count != 1);
    }

    /// Trips of all outer loops.
    fn matrices(&self) -> usize {
        self.outer.iter().map(|o| o.count).product()
    }

    /// The last operand of the epilogue.
    fn operands(&self) -> usize {
        let mut last = 0;
        self.then.visit(&mut |expr| {
            if let Expr::Operand(i) = expr {
                last = last.max(*i);
            }
        });
        last
    }
}

impl Kernel for RowMajorGemm {
    const NAME: &'static str = "row_major_gemm";

    fn arguments(&self) -> Vec<Role> {
        let mut roles = vec![Role::Out, Role::In, Role::Weights];
        roles.extend(self.bias.then_some(Role::Bias));
        roles.extend((1..=self.operands()).map(Role::Operand));
        roles.extend((self.scratch() > 0).then_some(Role::Scratch));
        roles
    }

    fn items(&self) -> usize {
        self.matrices() * self.chunks() * self.stripes() * self.rows.count
    }

    fn of_first(&self, there: usize, of: usize) -> Option<RowMajorGemm> {
        let mut first = self.clone();
        let images = first.outer.first_mut()?;
        *images = images.of_first(there, of)?;
        Some(first)
    }

    fn multiply_adds(&self) -> usize {
        let pixels = self.rows.count * self.columns.count;
        self.matrices() * self.channels.count * pixels * self.depth()
    }

    fn scratch(&self) -> usize {
        if self.wide && self.rest() > 0 { tiles::SCRATCH } else { 0 }
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let outer = |of: fn(&Loop) -> (usize, usize)| self.outer.iter().map(of);
        let matrices = |bytes: usize, elements: usize| {
            let apart = |each: &Loop| (each.count, each.weights.saturating_mul(elements));
            Walk::dense(bytes, [elements]).by(self.outer.iter().map(apart))
        };
        let around = [self.channels, self.rows, self.columns];
        let read = around[1..].iter().chain(&self.reduce).map(Loop::read);
        let written = outer(Loop::written).chain(around.iter().map(Loop::written));
        let out = Walk::floats([]).by(written);
        let weight = if self.bytes { 1 } else { F32_BYTES };
        let packed = self.blocks().saturating_mul(self.block_bytes()) / weight;
        let mut walks = vec![
            (Role::In, Walk::floats([]).by(outer(Loop::read).chain(read))),
            (Role::Weights, matrices(weight, packed)),
            (Role::Bias, matrices(F32_BYTES, self.blocks() * self.block())),
            (Role::Scratch, Walk::floats([self.scratch()])),
        ];
        walks.extend((1..=self.operands()).map(|operand| (Role::Operand(operand), out.clone())));
        walks.push((Role::Out, out));
        (self.tile > 0 && (!self.wide || self.is_tiled())).then_some(walks)
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("outer", &mut self.outer)?;
        v.field("channels", &mut self.channels)?;
        v.field("rows", &mut self.rows)?;
        v.field("columns", &mut self.columns)?;
        v.field("reduce", &mut self.reduce)?;
        v.field("tile", &mut self.tile)?;
        v.field("bias", &mut self.bias)?;
        v.field_unless("false", "wide", &mut self.wide)?;
        v.field_unless("false", "bytes", &mut self.bytes)?;
        v.field("store", &mut self.then)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        if self.wide {
            let tiles = Tiles::place(self, linker)?;
            return linker.kernel(|e, call| tiles.emit(e, self, call));
        }
        let dense_sums = self.dense_sums().map(|leaf| linker.leaf(leaf)).transpose()?;
        linker.kernel(|e, call| emit::emit(e, self, dense_sums, call))
    }

    /// The mid-end hoists loads over the multiply-adds until the sums spill.
    fn optimize(&self) -> bool {
        false
    }
}
