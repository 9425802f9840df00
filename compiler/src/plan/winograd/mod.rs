//! Winograd's minimal filtering F(m×m, 3×3) (Lavin and Gray 2016, "Fast Algorithms for Convolutional
//! Neural Networks"; Toom-Cook's construction): a tile of m×m outputs costs (m+2)² products a
//! channel pair instead of 9m².
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//! ```
//!
//! Where tiles of m×m outputs do not fit a plane, those of its last row and column are of fewer: F(r×m),
//! F(m×r) and F(r×r), with the first r+2 of the elements along an axis. So 14×14 outputs take 22² products,
//! not the 24² of 4×4 tiles of 4×4. See [`points`] for the elements and [`Grid`] for where they lie.
//!
//! A convolution with dilation d falls into d×d *phases*: outputs whose coordinates are alike modulo d
//! read such inputs only, and they are convolved without dilation. Tiles are then of neighbours in a
//! phase, d pixels apart; rows and columns of tiles take turns in phases,
//!
//! ```text
//! row of tiles (tile, phase)    at pixel row  tile · m · d + phase
//! column       (phase, tile)    at pixel      tile · m · d + phase
//! ```

mod estimate;
mod grid;
pub mod points;

pub use estimate::{Estimate, SIZES};
pub use grid::{Class, Elements, Grid, Section};

use super::kernel::Span;
use super::tile::{Around, BLOCK, MicroKernel, TileStep, Variants};

/// One of the two transforms of activations, for a row of tiles: `fn(from, scratch, to, bias, tiles,
/// other)`, the scratch being a tile long. Strides are in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transform {
    /// `Bᵀ d B`: a window of pixels to its elements.
    Input {
        /// m of the filters.
        outputs: usize,
        /// Rows and columns of outputs of a tile, at most m.
        tile: [usize; 2],
        /// Pixels from one of a window to the next.
        dilation: usize,
        /// Distance between rows of a window.
        row: usize,
        /// Where its elements go.
        elements: Elements,
    },
    /// `Aᵀ M A`: elements to a tile of pixels, of which only so many are written.
    Output {
        /// m of the filters.
        outputs: usize,
        /// Rows and columns of outputs of a tile, at most m.
        tile: [usize; 2],
        /// Pixels from one of a tile to the next.
        dilation: usize,
        /// Rows and columns that are written.
        size: [usize; 2],
        /// Where its elements are.
        elements: Elements,
        /// Distance between rows of a tile in the output and in the other operand.
        rows: [usize; 2],
        /// Whether a bias is added.
        bias: bool,
        /// What is applied then.
        steps: Vec<TileStep>,
    },
}

/// The input transform of a whole value. Arguments: out `[element][block][item's images][tile][16]`
/// with tiles as [`Grid`] has them, in, scratch. Items are (block, image, row of tiles).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WinogradInput {
    /// How planes are cut into tiles.
    pub grid: Grid,
    /// Images: count, stride in the input.
    pub images: Span,
    /// Blocks of channels: count, stride in the input.
    pub blocks: Span,
    /// Distance between rows of pixels.
    pub row: usize,
}

/// Products in the transformed domain and the output transform. Arguments: out, transformed input,
/// weights `[group][block][element][…][16]`, scratch, bias if `bias`, the other operand if a step reads
/// one. Items are (group, tile of blocks, images, rows of tiles).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WinogradOutput {
    /// How planes are cut into tiles.
    pub grid: Grid,
    /// Images: strides in the transformed input, the output, the other operand. An item has as many as
    /// lie together; where that is not 1, it has all of their rows.
    pub images: Around,
    /// Groups: strides in the transformed input, the output, the other operand.
    pub groups: Around,
    /// Blocks of output channels of a group.
    pub blocks: usize,
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
        self.images.count * self.blocks.count * self.grid.tiles[0]
    }

    /// The transforms that it calls, of a row of tiles each: of whole tiles, then of the last column;
    /// the same of the last row. `None` where there are none.
    pub fn transforms(&self) -> Variants<Transform> {
        let Grid { outputs, dilation, .. } = self.grid;
        [false, true].map(|bottom| {
            [false, true].map(|right| {
                let tile = sized(&self.grid, [bottom, right])?;
                Some(Transform::Input {
                    outputs,
                    tile,
                    dilation,
                    row: self.row * dilation,
                    elements: self.grid.between(self.element(), [bottom, right]),
                })
            })
        })
    }

    /// Scratch elements of a thread: a tile half transformed.
    pub fn scratch(&self) -> usize {
        self.grid.elements() * BLOCK
    }

    /// Distance between elements in the output.
    pub fn element(&self) -> usize {
        let [rows, columns] = self.grid.tiles;
        spread(self.images.count * self.blocks.count * rows * columns)
    }
}

/// A distance of at least so many blocks. A tile's elements are far apart, and would meet in few
/// sets of the caches if that were by an even number of lines.
fn spread(blocks: usize) -> usize {
    (blocks | 1) * BLOCK
}

/// Outputs of the tiles of the last row (or the others) and the last column (or the others), where these
/// have transforms of their own.
fn sized(grid: &Grid, last: [bool; 2]) -> Option<[usize; 2]> {
    let (cut, whole) = (grid.is_cut(), grid.whole());
    let along = |axis: usize| match last[axis] {
        true => cut[axis].then_some(grid.last[axis]),
        false => (whole[axis] > 0).then_some(grid.outputs),
    };
    Some([along(0)?, along(1)?])
}

/// Functions for the products of all elements, by rows of them and then by columns.
pub type Products<T> = [[(Class, Variants<T>); 2]; 2];

impl WinogradOutput {
    /// Tiles of blocks in a group.
    pub fn block_tiles(&self) -> usize {
        self.blocks.div_ceil(self.micro.blocks)
    }

    /// Most tiles of an element in an item.
    pub fn columns(&self) -> usize {
        self.grid.together * self.chunk * self.grid.tiles[1]
    }

    /// Independent items.
    pub fn items(&self) -> usize {
        let chunks = self.grid.tiles[0] / self.chunk;
        self.images.count / self.grid.together * self.groups.count * self.block_tiles() * chunks
    }

    /// Distance between elements of the products, `[element][block][tile][16]`.
    pub fn product(&self) -> usize {
        spread(self.micro.blocks * self.columns())
    }

    /// Scratch elements of a thread: the products of an item, then those of a tile half transformed.
    pub fn scratch(&self) -> usize {
        self.grid.elements() * (self.product() + BLOCK)
    }

    /// The elements that it computes, by how many tiles have them, with the micro-kernels that it calls
    /// for each.
    pub fn variants(&self) -> Products<MicroKernel> {
        self.grid.classes(self.chunk).map(|row| {
            row.map(|class| {
                let columns = self.tiles(class);
                let mut micro = self.micro.clone();
                if micro.passes[0] > 0 {
                    micro.passes[0] = columns.div_ceil(micro.pixels);
                }
                (class, super::tile::variants(&micro, columns, self.blocks))
            })
        })
    }

    /// Tiles of an item that have these elements.
    pub fn tiles(&self, class: Class) -> usize {
        self.grid.together * class.tiles[0] * class.tiles[1]
    }

    /// The output transforms that it calls: of whole tiles, then of those of the last column; the same
    /// of the last row; `None` where there are none.
    pub fn transforms(&self) -> Variants<Transform> {
        let Grid { outputs, dilation, .. } = self.grid;
        let written = |axis: usize, last: bool| {
            let size = self.size[axis] / dilation;
            let (whole, rest) = (size / outputs > 0, size % outputs);
            if last { (rest > 0).then_some(rest) } else { whole.then_some(outputs) }
        };
        [false, true].map(|bottom| {
            [false, true].map(|right| {
                let size = [written(0, bottom)?, written(1, right)?];
                let cut = self.grid.is_cut();
                let tile = [0, 1].map(|axis| if cut[axis] { size[axis] } else { outputs });
                Some(Transform::Output {
                    outputs,
                    tile,
                    dilation,
                    size,
                    elements: self.grid.between(self.product(), [bottom, right]),
                    rows: self.rows.map(|row| row * dilation),
                    bias: self.bias,
                    steps: self.steps.clone(),
                })
            })
        })
    }
}
