//! Winograd's minimal filtering F(m×m, 3×3) (Lavin and Gray 2016, "Fast Algorithms for Convolutional
//! Neural Networks"; Toom-Cook's construction): a tile of m×m outputs costs (m+2)² products a
//! channel pair instead of 9m².
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//! ```
//!
//! Points are 0, pairs ±p, and infinity. For F(4×4) the pairs are 0.625 and 1.5: errors are about
//! four times smaller than with the textbook's 1 and 2, at the same cost.
//!
//! A convolution with dilation d falls into d×d *phases*: outputs whose coordinates are alike modulo d
//! read such inputs only, and they are convolved without dilation. Tiles are then of neighbours in a
//! phase, d pixels apart; rows and columns of tiles take turns in phases,
//!
//! ```text
//! row of tiles (tile, phase)    at pixel row  tile · m · d + phase
//! column       (phase, tile)    at pixel      tile · m · d + phase
//! ```

use std::fmt;

use super::kernel::Span;
use super::tile::{Around, BLOCK, MicroKernel, TileStep, Variants, Vectors};
use crate::ir::{Conv, Window};

/// The finite points other than 0, each standing for itself and its negative.
pub fn pairs(outputs: usize) -> &'static [f64] {
    match outputs {
        2 => &[1.0],
        _ => &[0.625, 1.5],
    }
}

/// Rows of `G`, `[outputs + 2][3]`, in the order 0, p, -p, …, infinity.
pub fn filter_matrix(outputs: usize) -> Vec<[f64; 3]> {
    let points: Vec<f64> =
        std::iter::once(0.0).chain(pairs(outputs).iter().flat_map(|p| [*p, -*p])).collect();
    let row = |(j, p): (usize, &f64)| {
        let others = points.iter().enumerate().filter(|(l, _)| *l != j);
        let scale: f64 = others.map(|(_, q)| p - q).product();
        [1.0 / scale, p / scale, p * p / scale]
    };
    points.iter().enumerate().map(row).chain([[0.0, 0.0, 1.0]]).collect()
}

/// `G ⊗ G`, `[(outputs + 2)²][9]`: what each element of a transformed 3×3 filter is of the filter's,
/// both row by row.
pub fn filter_products(outputs: usize) -> Vec<[f64; 9]> {
    let g = filter_matrix(outputs);
    let pairs = g.iter().flat_map(|rows| g.iter().map(move |columns| (rows, columns)));
    pairs.map(|(rows, columns)| std::array::from_fn(|at| rows[at / 3] * columns[at % 3])).collect()
}

/// A 3×3 filter in the transformed domain, row by row.
pub fn transformed(outputs: usize, filter: &[f32]) -> Vec<f64> {
    let element = |factors: &[f64; 9]| {
        factors.iter().zip(filter).fold(0.0, |sum, (a, x)| sum + a * f64::from(*x))
    };
    filter_products(outputs).iter().map(element).collect()
}

/// One of the two transforms of activations, for a row of tiles: `fn(from, scratch, to, bias, tiles,
/// other)`, the scratch being a tile long. Strides are in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transform {
    /// `Bᵀ d B`: a window of pixels to its elements.
    Input {
        /// m.
        outputs: usize,
        /// Pixels from one of a window to the next.
        dilation: usize,
        /// Distance between rows of a window.
        row: usize,
        /// Distance between elements in the transformed domain.
        element: usize,
    },
    /// `Aᵀ M A`: elements to a tile of pixels, of which only so many are written.
    Output {
        /// m.
        outputs: usize,
        /// Pixels from one of a tile to the next.
        dilation: usize,
        /// Rows and columns that are written.
        size: [usize; 2],
        /// Distance between elements in the transformed domain.
        element: usize,
        /// Distance between rows of a tile in the output and in the other operand.
        rows: [usize; 2],
        /// Whether a bias is added.
        bias: bool,
        /// What is applied then.
        steps: Vec<TileStep>,
    },
}

/// The input transform of a whole value. Arguments: out `[element][block][image][tile][16]`, in,
/// scratch. Items are (block, image, row of tiles).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WinogradInput {
    /// m.
    pub outputs: usize,
    /// d.
    pub dilation: usize,
    /// Images: count, stride in the input.
    pub images: Span,
    /// Blocks of channels: count, stride in the input.
    pub blocks: Span,
    /// Rows and columns of tiles, of all phases.
    pub tiles: [usize; 2],
    /// Distance between rows of pixels.
    pub row: usize,
}

/// Products in the transformed domain and the output transform. Arguments: out, transformed input,
/// weights `[group][block][element][…][16]`, scratch, bias if `bias`, the other operand if a step reads
/// one. Items are (group, tile of blocks, images, rows of tiles).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WinogradOutput {
    /// m.
    pub outputs: usize,
    /// d.
    pub dilation: usize,
    /// Images: strides in the transformed input, the output, the other operand.
    pub images: Around,
    /// Groups: strides in the transformed input, the output, the other operand.
    pub groups: Around,
    /// Blocks of output channels of a group.
    pub blocks: usize,
    /// Rows and columns of tiles, of all phases.
    pub tiles: [usize; 2],
    /// Images of an item; divides the images. Where it is not 1, an item has all of their rows.
    pub together: usize,
    /// Rows of tiles of an item in each image; divides the rows of tiles.
    pub chunk: usize,
    /// Height and width of the output, multiples of the dilation.
    pub size: [usize; 2],
    /// Distance between elements in the transformed input.
    pub element: usize,
    /// Distance between rows of pixels in the output and in the other operand.
    pub rows: [usize; 2],
    /// Distance between blocks in the output and in the other operand.
    pub block: [usize; 2],
    /// Whether there is a bias.
    pub bias: bool,
    /// What is applied to each output.
    pub steps: Vec<TileStep>,
    /// A whole tile of the products.
    pub micro: MicroKernel,
}

impl WinogradInput {
    /// Independent items.
    pub fn items(&self) -> usize {
        self.images.count * self.blocks.count * self.tiles[0]
    }

    /// The transform of a row of tiles.
    pub fn transform(&self) -> Transform {
        Transform::Input {
            outputs: self.outputs,
            dilation: self.dilation,
            row: self.row * self.dilation,
            element: self.element(),
        }
    }

    /// Scratch elements of a thread: a tile half transformed.
    pub fn scratch(&self) -> usize {
        (self.outputs + 2) * (self.outputs + 2) * BLOCK
    }

    /// Distance between elements in the output.
    pub fn element(&self) -> usize {
        spread(self.images.count * self.blocks.count * self.tiles[0] * self.tiles[1])
    }
}

/// A distance of at least so many blocks. A tile's elements are far apart, and would meet in few
/// sets of the caches if that were by an even number of lines.
fn spread(blocks: usize) -> usize {
    (blocks | 1) * BLOCK
}

impl WinogradOutput {
    /// Tiles of blocks in a group.
    pub fn block_tiles(&self) -> usize {
        self.blocks.div_ceil(self.micro.blocks)
    }

    /// Elements of a tile in the transformed domain.
    pub fn elements(&self) -> usize {
        (self.outputs + 2) * (self.outputs + 2)
    }

    /// Tiles of an item.
    pub fn columns(&self) -> usize {
        self.together * self.chunk * self.tiles[1]
    }

    /// Independent items.
    pub fn items(&self) -> usize {
        let chunks = self.tiles[0] / self.chunk;
        self.images.count / self.together * self.groups.count * self.block_tiles() * chunks
    }

    /// Distance between elements of the products, `[element][block][tile][16]`.
    pub fn product(&self) -> usize {
        spread(self.micro.blocks * self.columns())
    }

    /// Scratch elements of a thread: the products of an item, then those of a tile half transformed.
    pub fn scratch(&self) -> usize {
        self.elements() * (self.product() + BLOCK)
    }

    /// The micro-kernels that it calls.
    pub fn variants(&self) -> Variants<MicroKernel> {
        super::tile::variants(&self.micro, self.columns(), self.blocks)
    }

    /// The output transforms that it calls: of whole tiles, then of those cut off at the right, at
    /// the bottom, at both; `None` where there are none.
    pub fn transforms(&self) -> Variants<Transform> {
        let sizes = |axis: usize| {
            let size = self.size[axis] / self.dilation;
            let (whole, rest) = (size / self.outputs > 0, size % self.outputs);
            [whole.then_some(self.outputs), (rest > 0).then_some(rest)]
        };
        let [rows, columns] = [sizes(0), sizes(1)];
        rows.map(|h| {
            columns.map(|w| {
                Some(Transform::Output {
                    outputs: self.outputs,
                    dilation: self.dilation,
                    size: [h?, w?],
                    element: self.product(),
                    rows: self.rows.map(|row| row * self.dilation),
                    bias: self.bias,
                    steps: self.steps.clone(),
                })
            })
        })
    }
}

/// What a convolution costs in cycles of one core, by an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    direct: f64,
    /// With tiles of 2×2 and of 4×4 outputs.
    winograd: [f64; 2],
}

impl Estimate {
    /// The estimate for a 3×3 convolution that Winograd's transforms could serve; `None` for any
    /// other. `read` and `made` are channels of a group, filled up to blocks.
    pub fn of(
        vectors: Vectors,
        conv: &Conv,
        [read, made]: [usize; 2],
        [h, w]: [usize; 2],
        images: usize,
    ) -> Option<Estimate> {
        let dilation = conv.window.dilation[0];
        let around = [dilation; 2];
        let padded = Window {
            kernel: [3, 3],
            pad_before: around,
            pad_after: around,
            dilation: around,
            ..Window::POINT
        };
        let assembled = matches!(vectors, Vectors::Avx2 | Vectors::Avx512);
        // Phases of one size only.
        let phases = [h, w].iter().all(|n| n.is_multiple_of(dilation));
        if conv.window != padded || !phases || !assembled || read < 16 || made < 16 {
            return None;
        }
        let lanes = vectors.lanes() as f64;
        let products = |pixels: f64, elements: f64| {
            products(vectors, conv.groups, [read, made], pixels, elements)
        };
        let [groups, read, made, images] = [conv.groups, read, made, images].map(|n| n as f64);
        let cost = |outputs: usize| {
            let [rows, columns] = tiles(outputs, dilation, [h, w]);
            let tiles = images * (rows * columns) as f64;
            let elements = ((outputs + 2) * (outputs + 2)) as f64;
            // Both transforms move each element through registers about four times.
            let transforms = 4.0 * tiles * elements * groups * (read + made) / lanes;
            products(tiles, elements) + transforms
        };
        let direct = products(images * (h * w) as f64, 9.0);
        Some(Estimate { direct, winograd: [cost(2), cost(4)] })
    }

    /// Cycles of the fastest way.
    pub(super) fn least(&self) -> f64 {
        self.winograd.into_iter().fold(self.direct, f64::min)
    }

    /// The size of the fastest tiles; `None` where direct convolution is faster.
    pub fn outputs(&self) -> Option<usize> {
        let [two, four] = self.winograd;
        let (cost, outputs) = if four < two { (four, 4) } else { (two, 2) };
        (cost < self.direct).then_some(outputs)
    }
}

/// Cycles that products of all channels with each other take in each group, at so many pixels with so
/// many elements of a filter each. `read` and `made` are channels of a group, filled up to blocks.
pub(super) fn products(
    vectors: Vectors,
    groups: usize,
    [read, made]: [usize; 2],
    pixels: f64,
    elements: f64,
) -> f64 {
    let lanes = vectors.lanes() as f64;
    let [groups, read, made] = [groups, read, made].map(|n| n as f64);
    // Two multiply-adds a cycle; weights come from beyond the caches once an inference.
    const BYTES_PER_CYCLE: f64 = 8.0;
    let compute = groups * pixels * elements * read * made / (2.0 * lanes);
    compute.max(groups * elements * read * made * 4.0 / BYTES_PER_CYCLE)
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [two, four, direct] =
            [self.winograd[0], self.winograd[1], self.direct].map(|c| (c / 1e3).round());
        write!(f, "estimated kilocycles: F(4x4) {four}, F(2x2) {two}, direct {direct}")
    }
}

/// Rows and columns of tiles of a plane of this size, which is a multiple of the dilation.
pub fn tiles(outputs: usize, dilation: usize, size: [usize; 2]) -> [usize; 2] {
    size.map(|n| dilation * (n / dilation).div_ceil(outputs))
}

/// The border that a convolution with tiles of this size reads: rows above, columns left, rows
/// below, columns right.
pub fn border(outputs: usize, dilation: usize, size: [usize; 2]) -> [usize; 4] {
    let [rows, columns] = tiles(outputs, dilation, size);
    let [below, right] = [rows * outputs - size[0], columns * outputs - size[1]];
    [dilation, dilation, below + dilation, right + dilation]
}
