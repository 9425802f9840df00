//! Row-major matrix products: dense layers, and convolutions whose values do not lie in blocks.

pub mod dense;
mod emit;
pub(super) mod lower;
pub(super) mod pack;

use cranelift_codegen::ir::Function;
use dense::DenseSums;

use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::expr::Expr;
use crate::machine::F32_BYTES;
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Loop, Walk};

/// Channels in a block of packed weights.
pub const CHANNEL_BLOCK: usize = 8;

/// `out[b, m, y, x] = expr(bias[m] + Σ_r w[b, m, r] · in[b, y, x, r])`.
///
/// Weights are packed `[w blocks][m/8][r…][8]` (zeros beyond m), the bias is padded to a
/// multiple of 8 and laid out `[w blocks][m/8][8]`; operands `x{i}` of `then`, i ≥ 1, are laid out as
/// out, and `x0` is the sum. Items are (b, m block, y).
///
/// Weights may be i8, of which those of a channel are multiples of a scale: then the scales of its eight
/// channels lie in front of each block, as f32, and are multiplied with sums.
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
    /// Pixels computed together: a register tile is this many pixels by 8 channels.
    pub tile: usize,
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
        self.channels.count.div_ceil(CHANNEL_BLOCK)
    }

    /// Multiply-adds per output element.
    pub fn depth(&self) -> usize {
        self.reduce.iter().map(|r| r.count).product()
    }

    /// Bytes of the weights of a block for one contracted element.
    fn line_bytes(&self) -> usize {
        if self.bytes { CHANNEL_BLOCK } else { CHANNEL_BLOCK * F32_BYTES }
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
        roles
    }

    fn items(&self) -> usize {
        self.matrices() * self.blocks() * self.rows.count
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
            (Role::Bias, matrices(F32_BYTES, self.blocks() * CHANNEL_BLOCK)),
        ];
        walks.extend((1..=self.operands()).map(|operand| (Role::Operand(operand), out.clone())));
        walks.push((Role::Out, out));
        (self.tile > 0).then_some(walks)
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("outer", &mut self.outer)?;
        v.field("channels", &mut self.channels)?;
        v.field("rows", &mut self.rows)?;
        v.field("columns", &mut self.columns)?;
        v.field("reduce", &mut self.reduce)?;
        v.field("tile", &mut self.tile)?;
        v.field("bias", &mut self.bias)?;
        v.field_unless("false", "bytes", &mut self.bytes)?;
        v.field("store", &mut self.then)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        let dense_sums = self.dense_sums().map(|leaf| linker.leaf(leaf)).transpose()?;
        linker.kernel(|e, call| emit::emit(e, self, dense_sums, call))
    }

    /// The mid-end hoists loads over the multiply-adds until the sums spill.
    fn optimize(&self) -> bool {
        false
    }
}
