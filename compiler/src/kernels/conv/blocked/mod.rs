//! A convolution of values in blocks, as products of register tiles.

pub(super) mod emit;

use cranelift_codegen::ir::Function;

use super::micro_kernel::{MicroKernel, Prefetch, Variants};
use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::expr::Expr;
use crate::machine::{BLOCK, Element};
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Loop, Walk};

/// A convolution of values in blocks. Items are (group, block tile, image, row), or with `pixels_first`
/// (image, row, group, block tile), outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockedConv {
    /// Images.
    pub images: Loop,
    /// Groups of channels, each with weights of its own.
    pub groups: Loop,
    /// Blocks of output channels of a group; a tile has up to `micro.blocks` of them.
    pub blocks: usize,
    /// Rows of pixels.
    pub rows: Loop,
    /// Pixels of a row; a tile has up to `micro.pixels` of them.
    pub columns: usize,
    /// Run through the weights for each row, rather than through the rows for each weight.
    pub pixels_first: bool,
    /// How many parts the outermost of the contracted loops is summed in, one after the other for a
    /// whole row; between them totals are kept in the output, if its elements hold sums. The weights of a
    /// part stay in the cache while pixels go by, and rounding errors grow with the length of a part.
    pub k_splits: usize,
    /// A whole tile, over all parts.
    pub micro: MicroKernel,
}

/// For each run of parts of a contraction that are alike: how many, and something for each of their
/// micro-kernels.
pub(super) type Splits<T> = [(usize, Variants<T>)];

impl BlockedConv {
    /// Whether tiles and parts are of a size, and parts go into the contraction.
    pub(super) fn is_tiled(&self) -> bool {
        let BlockedConv { micro, k_splits, .. } = self;
        let outermost = micro.reduce.first().map_or(1, |r| r.count);
        let is_tiled = micro.pixels > 0 && micro.blocks > 0;
        is_tiled && *k_splits > 0 && outermost.is_multiple_of(*k_splits)
    }

    /// Tiles of blocks in a group.
    pub fn block_tiles(&self) -> usize {
        self.blocks.div_ceil(self.micro.blocks.max(1))
    }

    /// The number of parts for these loops: as few as make a part no longer than so many products.
    pub fn k_splits_for(reduce: &[Loop], longest: usize) -> usize {
        // A part is of whole loops around the unrolled one.
        let [outermost, inner @ ..] = reduce else { return 1 };
        let inner: usize = inner.iter().map(|r| r.count).product();
        let divides = |parts: &usize| outermost.count.is_multiple_of(*parts);
        let short = |parts: &usize| outermost.count / parts * inner <= longest;
        let most = if reduce.len() > 1 { outermost.count } else { 1 };
        (1..=most).filter(divides).find(short).unwrap_or(1)
    }

    /// The micro-kernels that it calls: the first part starts from the bias, the last applies the epilogue.
    pub fn micro_kernels(&self) -> Vec<(usize, Variants<MicroKernel>)> {
        let mut micro = self.micro.clone();
        if let Some(outermost) = micro.reduce.first_mut() {
            outermost.count /= self.k_splits;
        }
        let part = micro.lines() * BLOCK;
        let whole = micro.prefetch.distance;
        micro.prefetch.distance = whole.saturating_sub((self.k_splits - 1) * part);
        let last = MicroKernel { bias: false, accumulate: true, ..micro.clone() };
        let without_end = |micro: &MicroKernel| {
            let distance = if micro.prefetch.tiles > 0 { part } else { 0 };
            let prefetch = Prefetch { distance, ..micro.prefetch };
            let (steps, finish) = (Vec::new(), Expr::default());
            MicroKernel { steps, finish, prefetch, ..micro.clone() }
        };
        let parts = match self.k_splits {
            1 => vec![(1, micro)],
            n => vec![(1, without_end(&micro)), (n - 2, without_end(&last)), (1, last)],
        };
        let there = parts.into_iter().filter(|(n, _)| *n > 0);
        there.map(|(n, micro)| (n, micro.variants(self.columns, self.blocks))).collect()
    }

    /// Places the micro-kernels; their offsets.
    pub(super) fn place_micro_kernels(
        &self,
        linker: &mut Linker,
    ) -> Result<Vec<(usize, Variants<usize>)>> {
        let place = |(n, variants)| Ok((n, placed(linker, variants)?));
        self.micro_kernels().into_iter().map(place).collect()
    }

    /// Visits every attribute.
    pub(super) fn all_fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("images", &mut self.images)?;
        v.field("groups", &mut self.groups)?;
        v.field("blocks", &mut self.blocks)?;
        v.field("rows", &mut self.rows)?;
        v.field("columns", &mut self.columns)?;
        v.field("pixels_first", &mut self.pixels_first)?;
        v.field("k_splits", &mut self.k_splits)?;
        self.micro.fields(v)
    }
}

/// Places micro-kernels; the offsets of those that there are.
pub(super) fn placed(
    linker: &mut Linker,
    variants: Variants<MicroKernel>,
) -> Result<Variants<usize>> {
    let mut offsets = [[None; 2]; 2];
    for (row, specs) in offsets.iter_mut().zip(variants) {
        for (offset, spec) in row.iter_mut().zip(specs) {
            *offset = spec.map(|spec| linker.leaf(spec)).transpose()?;
        }
    }
    Ok(offsets)
}

impl Kernel for BlockedConv {
    const NAME: &'static str = "blocked_conv";

    fn arguments(&self) -> Vec<Role> {
        let mut roles = vec![Role::Out, Role::In, Role::Weights];
        roles.extend(self.micro.bias.then_some(Role::Bias));
        roles.extend(self.micro.reads_residual().then_some(Role::Residual));
        roles
    }

    fn items(&self) -> usize {
        self.images.count * self.groups.count * self.block_tiles() * self.rows.count
    }

    fn of_first(&self, there: usize, of: usize) -> Option<BlockedConv> {
        Some(BlockedConv { images: self.images.of_first(there, of)?, ..self.clone() })
    }

    fn counts(&self) -> Option<usize> {
        (!self.pixels_first && self.images.count > 1).then_some(self.images.count)
    }

    fn multiply_adds(&self) -> usize {
        let pixels = self.images.count * self.rows.count * self.columns;
        self.groups.count * self.blocks * BLOCK * pixels * self.micro.multiply_adds()
    }

    fn multiplies(&self) -> Element {
        self.micro.element
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let BlockedConv { images, groups, blocks, rows, columns, micro, .. } = self;
        let around = [images, groups, rows];
        let all = groups.count.saturating_mul(*blocks);
        let tiles = |block: usize| [(*blocks, block), (*columns, micro.output_pixel)];
        let out = Walk::blocks_of(micro.made(), around.map(Loop::written));
        let residual = Walk::blocks_of(micro.added(), around.map(Loop::added));
        let walks = vec![
            (Role::Out, out.by(tiles(micro.output_block))),
            (Role::In, micro.read_by(around.map(Loop::read), *columns)),
            (Role::Weights, Walk::floats([all, micro.lines(), BLOCK])),
            (Role::Bias, Walk::floats([all, BLOCK])),
            (Role::Residual, residual.by(tiles(micro.residual_block))),
        ];
        (self.is_tiled() && micro.is_packed(1)).then_some(walks)
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        self.all_fields(v)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        let splits = self.place_micro_kernels(linker)?;
        linker.kernel(|e, call| emit::emit(e, self, &splits, call))
    }
}
