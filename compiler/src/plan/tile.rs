//! The tile contraction over blocked activations, and the machine that it is cut for.
//!
//! Activations of convolutional layers lie as `[n][c/16][h][w][16]`: a *block* is 16 channels of
//! one pixel. One specification serves 1×1 convolutions, direct k×k ones and the products in
//! Winograd's transformed domain: for a tile of pixels and blocks,
//!
//! ```text
//! out[pixel][block][16] = steps(bias[block][16] + Σ_r in[pixel + r] · w[r][block][16])
//! ```

/// Channels of a block.
pub const BLOCK: usize = 16;

/// A vector instruction set, as far as plans depend on it: how much of a tile fits its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// 16 registers of 4 lanes, without Winograd: x86-64 before AVX2, through Cranelift.
    Sse,
    /// 32 registers of 4 lanes: aarch64, through Cranelift.
    Neon,
    /// 16 registers of 8 lanes.
    Avx2,
    /// 32 registers of 16 lanes.
    Avx512,
}

impl Vectors {
    /// The name in keys of layers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Vectors::Sse => "sse",
            Vectors::Neon => "neon",
            Vectors::Avx2 => "avx2",
            Vectors::Avx512 => "avx512",
        }
    }

    /// f32 lanes of a register.
    pub fn lanes(self) -> usize {
        match self {
            Vectors::Sse | Vectors::Neon => 4,
            Vectors::Avx2 => 8,
            Vectors::Avx512 => 16,
        }
    }

    /// Registers of a block.
    pub fn per_block(self) -> usize {
        BLOCK / self.lanes()
    }

    /// Vector registers.
    pub fn registers(self) -> usize {
        match self {
            Vectors::Sse | Vectors::Avx2 => 16,
            Vectors::Neon | Vectors::Avx512 => 32,
        }
    }

    /// Weights of a group up to so many bytes stay in a second-level cache while rows of pixels go by:
    /// CPUs with larger vectors have larger caches.
    pub fn cached_weights(self) -> usize {
        match self {
            Vectors::Sse | Vectors::Neon | Vectors::Avx2 => 256 << 10,
            Vectors::Avx512 => 768 << 10,
        }
    }

    /// What only passes, again and again, has more of it.
    pub fn cached_passing(self) -> usize {
        match self {
            Vectors::Sse | Vectors::Neon | Vectors::Avx2 => 1 << 20,
            Vectors::Avx512 => 3 << 19,
        }
    }

    /// Winograd's products of up to so many bytes stay there until they are transformed back.
    pub fn cached_products(self) -> usize {
        match self {
            Vectors::Sse | Vectors::Neon | Vectors::Avx2 => 256 << 10,
            Vectors::Avx512 => 512 << 10,
        }
    }

    /// The registers for groups of so many channels, if they are narrower than a block: an element
    /// is broadcast to a group of eight as fast as to a register of eight lanes.
    pub fn for_groups_of(self, narrow: usize) -> Vectors {
        match (self, narrow) {
            (Vectors::Avx512, 8) => Vectors::Avx2,
            (vectors, _) => vectors,
        }
    }

    /// Most pixels of a tile so many blocks wide: beside the sums, registers hold one row of
    /// weights and a broadcast element.
    pub fn most_pixels(self, blocks: usize) -> usize {
        let row = self.per_block() * blocks;
        self.registers().saturating_sub(row + 1) / row
    }
}

/// A loop over the contracted elements: trip count, and stride in the input in elements.
pub use super::kernel::Span;

/// The innermost function: computes tiles of one row of pixels, one after the other.
///
/// Called as `(in, weights, out, bias, tiles, other)`. Strides are in elements. Weights of a block
/// lie in the order they are read, `[reduce…][16]`, whatever the tile: so CPUs with other registers
/// share them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MicroKernel {
    /// Pixels of a tile.
    pub pixels: usize,
    /// Blocks of output channels of a tile.
    pub blocks: usize,
    /// Distance between blocks in the weights.
    pub weights_block: usize,
    /// Distance between pixels in the input.
    pub input_pixel: usize,
    /// Distance between pixels in the output, and in the other operand.
    pub output_pixel: usize,
    /// Distance between blocks in the output.
    pub output_block: usize,
    /// Distance between blocks in the other operand.
    pub other_block: usize,
    /// The contracted loops, outermost first; the last is unrolled.
    pub reduce: Vec<Span>,
    /// Channels of a group that is narrower than a block, 1, 4 or 8; 0 where groups are whole blocks.
    /// A lane then contracts the channels of its own group, and the last of the loops runs over
    /// them.
    pub narrow: usize,
    /// How often these weights are run through, once a tile, and how many tiles came before those of
    /// this function. Meanwhile it fetches those of the next call, its share in each pass. 0 passes
    /// where that is not worth it.
    pub passes: [usize; 2],
    /// Distance from these weights to those of the next call.
    pub next: usize,
    /// Whether sums start from a bias.
    pub bias: bool,
    /// Whether sums are added to what the output holds.
    pub onto: bool,
    /// What is applied to the sums, first to last.
    pub steps: Vec<TileStep>,
}

/// One step of a tile's epilogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileStep {
    /// Add the other operand.
    AddOther,
    /// `max(x, 0)`; a NaN stays.
    Relu,
}

impl MicroKernel {
    /// Multiply-adds of an output element.
    pub fn depth(&self) -> usize {
        self.reduce.iter().map(|r| r.count).product()
    }

    /// The same for tiles of another size.
    pub fn sized(&self, pixels: usize, blocks: usize) -> MicroKernel {
        let weights_block = if blocks > 1 { self.weights_block } else { 0 };
        MicroKernel { pixels, blocks, weights_block, ..self.clone() }
    }
}

/// Trip count and strides of a loop around tiles, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Around {
    /// Trips.
    pub count: usize,
    /// Stride in the input.
    pub input: usize,
    /// Stride in the output.
    pub output: usize,
    /// Stride in the other operand.
    pub other: usize,
}

/// A convolution as tile contractions. Arguments: out, in, weights, bias if `micro.bias`, the other
/// operand if a step reads one. Items are (group, block tile, image, row), or with `pixels_first`
/// (image, row, group, block tile), outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Images.
    pub images: Around,
    /// Groups of channels, each with weights of its own.
    pub groups: Around,
    /// Blocks of output channels of a group; a tile has up to `micro.blocks` of them.
    pub blocks: usize,
    /// Rows of pixels.
    pub rows: Around,
    /// Pixels of a row; a tile has up to `micro.pixels` of them.
    pub columns: usize,
    /// Run through the weights for each row, rather than through the rows for each weight.
    pub pixels_first: bool,
    /// How many parts the outermost of the contracted loops is summed in, one after the other for a
    /// whole row; between them totals are kept in the output. The weights of a part stay in the
    /// cache while pixels go by, and rounding errors grow with the length of a part.
    pub parts: usize,
    /// A whole tile, over all parts.
    pub micro: MicroKernel,
}

/// The micro-kernels for one part of a contraction, by blocks and pixels: of whole tiles, then of
/// what is left; `None` where nothing is.
pub type Variants<T> = [[Option<T>; 2]; 2];

impl Tile {
    /// Tiles of blocks in a group.
    pub fn block_tiles(&self) -> usize {
        self.blocks.div_ceil(self.micro.blocks)
    }

    /// Independent items.
    pub fn items(&self) -> usize {
        self.images.count * self.groups.count * self.block_tiles() * self.rows.count
    }

    /// The number of parts for these loops: as few as make a part no longer than so many products.
    pub fn parts_for(reduce: &[Span], longest: usize) -> usize {
        // A part is of whole loops around the unrolled one.
        let [outermost, inner @ ..] = reduce else { return 1 };
        let inner: usize = inner.iter().map(|r| r.count).product();
        let divides = |parts: &usize| outermost.count.is_multiple_of(*parts);
        let short = |parts: &usize| outermost.count / parts * inner <= longest;
        let most = if reduce.len() > 1 { outermost.count } else { 1 };
        (1..=most).filter(divides).find(short).unwrap_or(1)
    }

    /// The micro-kernels that it calls, and for how many parts in a row: the first part starts from
    /// the bias, the last applies the epilogue.
    pub fn passes(&self) -> Vec<(usize, Variants<MicroKernel>)> {
        let mut micro = self.micro.clone();
        if let Some(outermost) = micro.reduce.first_mut() {
            outermost.count /= self.parts;
        }
        let part = micro.depth() * BLOCK;
        micro.next = micro.next.saturating_sub((self.parts - 1) * part);
        let onto = MicroKernel { bias: false, onto: true, ..micro.clone() };
        let and_nothing = |micro: &MicroKernel| {
            let next = if micro.passes[0] > 0 { part } else { 0 };
            MicroKernel { steps: Vec::new(), next, ..micro.clone() }
        };
        let passes = match self.parts {
            1 => vec![(1, micro)],
            parts => vec![(1, and_nothing(&micro)), (parts - 2, and_nothing(&onto)), (1, onto)],
        };
        let variants = |micro| variants(&micro, self.columns, self.blocks);
        passes.into_iter().filter(|(n, _)| *n > 0).map(|(n, micro)| (n, variants(micro))).collect()
    }
}

/// The micro-kernels for rows of so many pixels and groups of so many blocks.
pub(super) fn variants(
    micro: &MicroKernel,
    columns: usize,
    blocks: usize,
) -> Variants<MicroKernel> {
    let sizes = |count: usize, size: usize| {
        let (whole, rest) = (count / size, count % size);
        [(whole > 0).then_some(size), (rest > 0).then_some(rest)]
    };
    let (pixels, blocks) = (sizes(columns, micro.pixels), sizes(blocks, micro.blocks));
    let rest = MicroKernel { passes: [micro.passes[0], columns / micro.pixels], ..micro.clone() };
    blocks.map(|b| {
        [(micro, pixels[0]), (&rest, pixels[1])].map(|(kernel, p)| Some(kernel.sized(p?, b?)))
    })
}
