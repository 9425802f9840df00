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
pub use grid::{Class, Elements, Grid, Run, Section};

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
        /// Rows, then columns, of a window that are beyond the plane, before and behind: zeros that are
        /// not in memory.
        beyond: [[usize; 2]; 2],
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
        /// Whether what is written is added up too, at `other`.
        totals: bool,
    },
}

/// The input transform of a whole value. Arguments: out `[element][block][item's images][tile][16]`
/// with tiles as [`Grid`] has them, in, scratch. What is beyond planes is zero, and not read. Items are
/// (block, image, row of tiles).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WinogradInput {
    /// How planes are cut into tiles.
    pub grid: Grid,
    /// Height and width of planes, multiples of the dilation.
    pub size: [usize; 2],
    /// Images: count, stride in the input.
    pub images: Span,
    /// Blocks of channels: count, stride in the input.
    pub blocks: Span,
    /// Distance between rows of pixels.
    pub row: usize,
}

/// Products in the transformed domain and the output transform. Arguments: out, transformed input,
/// weights `[group][block][element][…][16]`, scratch, bias if `bias`, the other operand if a step reads
/// one, or else totals `[image][block][row of tiles][16]` if `totals`. Items are (group, tile of blocks,
/// images, rows of tiles).
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
    /// Whether the sum of the outputs of each row of tiles is written too. Rows are what items are made
    /// of, so that sums do not depend on the items.
    pub totals: bool,
    /// A whole tile of the products.
    pub micro: MicroKernel,
}

impl WinogradInput {
    /// Independent items.
    pub fn items(&self) -> usize {
        self.images.count * self.blocks.count * self.grid.tiles[0]
    }

    /// The transforms that it calls, of tiles in a row.
    pub fn transforms(&self) -> Transforms<Transform> {
        let Grid { outputs, dilation, .. } = self.grid;
        let element = self.element();
        Transforms::of(&self.grid, self.size, false, |last, [rows, columns]| Transform::Input {
            outputs,
            tile: [rows.outputs, columns.outputs],
            beyond: [rows.beyond, columns.beyond],
            dilation,
            row: self.row * dilation,
            elements: self.grid.between(element, last),
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

/// Transforms of the tiles of a plane, by runs of rows and runs of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transforms<T> {
    /// Runs of rows of tiles, with the transforms of each run of columns.
    pub rows: Vec<(Run, Vec<T>)>,
    /// Runs of columns of tiles.
    pub columns: Vec<Run>,
}

impl<T> Transforms<T> {
    /// What `of` makes of each pair of runs and whether these are the last ones; with `alike`, runs differ
    /// only in what of them is inside the plane.
    fn of(
        grid: &Grid,
        size: [usize; 2],
        alike: bool,
        of: impl Fn([bool; 2], [&Run; 2]) -> T,
    ) -> Transforms<T> {
        let [rows, columns] = [0, 1].map(|axis| {
            let runs = grid.runs(axis, size[axis]);
            if alike { joined(runs) } else { runs }
        });
        let ends =
            |run: &Run, axis: usize| (run.first + run.count) * grid.dilation == grid.tiles[axis];
        let row = |run: Run| {
            let each = |column| of([ends(&run, 0), ends(column, 1)], [&run, column]);
            (run, columns.iter().map(each).collect())
        };
        Transforms { rows: rows.into_iter().map(row).collect(), columns }
    }

    /// What `f` makes of each.
    pub fn each<U>(&self, mut f: impl FnMut(&T) -> U) -> Transforms<U> {
        let rows = self.rows.iter().map(|(run, row)| (*run, row.iter().map(&mut f).collect()));
        Transforms { rows: rows.collect(), columns: self.columns.clone() }
    }

    /// What `f` makes of each.
    ///
    /// # Errors
    /// The first of `f`'s.
    pub fn try_each<U, E>(
        &self,
        mut f: impl FnMut(&T) -> std::result::Result<U, E>,
    ) -> std::result::Result<Transforms<U>, E> {
        let mut rows = Vec::with_capacity(self.rows.len());
        for (run, row) in &self.rows {
            let row: std::result::Result<Vec<U>, E> = row.iter().map(&mut f).collect();
            rows.push((*run, row?));
        }
        Ok(Transforms { rows, columns: self.columns.clone() })
    }
}

/// Runs that have as many outputs inside the plane, as one.
fn joined(runs: Vec<Run>) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    for run in runs {
        match all.last_mut() {
            Some(last) if [last.outputs, last.written()] == [run.outputs, run.written()] => {
                last.count += run.count;
            }
            _ => all.push(run),
        }
    }
    all
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

    /// The output transforms that it calls, of tiles in a row.
    pub fn transforms(&self) -> Transforms<Transform> {
        let Grid { outputs, dilation, .. } = self.grid;
        Transforms::of(&self.grid, self.size, true, |last, [rows, columns]| Transform::Output {
            outputs,
            tile: [rows.outputs, columns.outputs],
            dilation,
            size: [rows.written(), columns.written()],
            elements: self.grid.between(self.product(), last),
            rows: self.rows.map(|row| row * dilation),
            bias: self.bias,
            steps: self.steps.clone(),
            totals: self.totals,
        })
    }

    /// The argument's number of the other operand or of the totals, if there are such.
    pub fn last(&self) -> usize {
        4 + usize::from(self.bias)
    }

    /// Distance between the totals of images.
    pub fn totals_image(&self) -> usize {
        self.groups.count * self.blocks * self.totals_block()
    }

    /// Distance between the totals of blocks.
    pub fn totals_block(&self) -> usize {
        self.grid.tiles[0] * BLOCK
    }
}
