//! The kernels of Winograd's filtering, and the transforms that they call.

use super::grid::{Class, Elements, Grid, Run};
use super::points::Points;
use crate::kernels::conv::micro_kernel::{MicroKernel, Variants};
use crate::machine::{BLOCK, Element};
use crate::plan::Loop;
use crate::schedule::byte_scale::ByteScale;
use crate::schedule::epilogue::FusedStep;

/// One of the two transforms of activations, for a row of tiles: `fn(from, scratch, to, bias, tiles,
/// other)`, the scratch being a tile long. Strides are in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transform {
    /// `Bᵀ d B`: a window of pixels to its elements.
    Input {
        /// Those of the filters.
        points: Points,
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
        /// What pixels stand for that are bytes, whose elements are i16; f32 otherwise.
        bytes: Option<ByteScale>,
        /// Whether elements of f32 are rounded to bfloat16.
        rounds: bool,
    },
    /// `Aᵀ M A`: elements to a tile of pixels, of which only so many are written.
    Output {
        /// Those of the filters.
        points: Points,
        /// Rows and columns of outputs of a tile, at most m.
        tile: [usize; 2],
        /// Pixels from one of a tile to the next.
        dilation: usize,
        /// Rows and columns that are written.
        size: [usize; 2],
        /// Where its elements are.
        elements: Elements,
        /// Distance between rows of a tile in the output and in the residual.
        rows: [usize; 2],
        /// Whether a bias is added.
        bias: bool,
        /// What is applied then.
        steps: Vec<FusedStep>,
        /// Whether what is written is added up too, at `other`.
        totals: bool,
        /// What pixels stand for that are bytes; f32 otherwise.
        made: Option<ByteScale>,
    },
}

/// The input transform of a whole value, to `[element][block][item's images][tile][16]`
/// with tiles as [`Grid`] has them. What is beyond planes is zero, and not read. Bytes are transformed to i16,
/// exactly, as the points are integers. Items are (block, image, row of tiles).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WinogradInput {
    /// How planes are cut into tiles.
    pub grid: Grid,
    /// Height and width of planes, multiples of the dilation.
    pub size: [usize; 2],
    /// Images.
    pub images: Loop,
    /// Blocks of channels.
    pub blocks: Loop,
    /// Distance between rows of pixels.
    pub row: usize,
    /// What pixels stand for that are bytes; f32 otherwise.
    pub bytes: Option<ByteScale>,
    /// Whether elements of f32 are rounded to bfloat16.
    pub rounds: bool,
}

/// Products in the transformed domain and the output transform. Weights are
/// `[group][block][element][…][16]`, totals `[image][block][row of tiles][16]`, and there are either
/// totals or a residual; where bytes are made, neither. Items are (group, tile of blocks, images, rows of tiles).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WinogradOutput {
    /// How planes are cut into tiles.
    pub grid: Grid,
    /// Images. An item has as many as lie together; where that is not 1, it has all of their rows.
    pub images: Loop,
    /// Groups of channels.
    pub groups: Loop,
    /// Blocks of output channels of a group.
    pub blocks: usize,
    /// Rows of tiles of an item in each image; divides the rows of tiles.
    pub chunk: usize,
    /// Height and width of the output, multiples of the dilation.
    pub size: [usize; 2],
    /// Distance between elements in the transformed input.
    pub element: usize,
    /// Distance between rows of pixels in the output and in the residual.
    pub rows: [usize; 2],
    /// Distance between blocks in the output and in the residual.
    pub block: [usize; 2],
    /// Whether there is a bias.
    pub bias: bool,
    /// What is applied to each output.
    pub steps: Vec<FusedStep>,
    /// Whether the sum of the outputs of each row of tiles is written too. Rows are what items are made
    /// of, so that sums do not depend on the items.
    pub totals: bool,
    /// What outputs stand for that are bytes; f32 otherwise.
    pub made: Option<ByteScale>,
    /// A whole tile of the products, of i16 where pixels were bytes.
    pub micro: MicroKernel,
}

impl WinogradInput {
    /// The transforms that it calls, of tiles in a row.
    pub fn transforms(&self) -> Transforms<Transform> {
        let Grid { outputs, dilation, .. } = self.grid;
        let points = Points { outputs, whole: self.bytes.is_some() };
        let element = self.element();
        Transforms::of(&self.grid, self.size, false, |last, [rows, columns]| Transform::Input {
            points,
            tile: [rows.outputs, columns.outputs],
            beyond: [rows.beyond, columns.beyond],
            dilation,
            row: self.row * dilation,
            elements: self.grid.between(element, last),
            bytes: self.bytes,
            rounds: self.rounds,
        })
    }

    /// What pixels are stored as, and what they are transformed to.
    pub fn stored(&self) -> [Element; 2] {
        stored(self.bytes.is_some(), self.rounds)
    }

    /// Distance between elements in the output.
    pub fn element(&self) -> usize {
        let [rows, columns] = self.grid.tiles;
        spread(self.images.count * self.blocks.count * rows * columns)
    }
}

/// What pixels are stored as, bytes or not, and what they are transformed to.
pub(super) fn stored(are_bytes: bool, rounds: bool) -> [Element; 2] {
    match (are_bytes, rounds) {
        (true, _) => [Element::U8, Element::I16],
        (false, true) => [Element::F32, Element::Bf16],
        (false, false) => [Element::F32; 2],
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

/// Something for each class of elements and each of its micro-kernels, by rows and then by columns.
pub(super) type ElementProducts<T> = [[(Class, Variants<T>); 2]; 2];

impl WinogradOutput {
    /// Whether tiles, items and the distance between the weights of blocks are those of one convolution.
    pub(super) fn is_whole(&self) -> bool {
        let WinogradOutput { grid, micro, chunk, .. } = self;
        let is_tiled = micro.pixels > 0 && micro.blocks > 0;
        let is_cut = is_tiled && grid.is_of(self.size) && grid.allows(*chunk);
        let adds = self.totals || self.steps.contains(&FusedStep::AddResidual);
        is_cut
            && (self.made.is_none() || !adds)
            && micro.element != Element::U8
            && self.images.count.is_multiple_of(grid.together)
            && micro.is_packed(grid.elements())
            && micro.output_block == self.columns() * BLOCK
    }

    /// Tiles of blocks in a group.
    pub fn block_tiles(&self) -> usize {
        self.blocks.div_ceil(self.micro.blocks.max(1))
    }

    /// What outputs are stored as.
    pub fn stored(&self) -> Element {
        if self.made.is_some() { Element::U8 } else { Element::F32 }
    }

    /// Most tiles of an element in an item.
    pub fn columns(&self) -> usize {
        self.grid.together * self.chunk * self.grid.tiles[1]
    }

    /// Distance between elements of the products, `[element][block][tile][16]`.
    pub fn product(&self) -> usize {
        spread(self.micro.blocks * self.columns())
    }

    /// The elements that it computes, by how many tiles have them, with the micro-kernels that it calls
    /// for each.
    pub(super) fn variants(&self) -> ElementProducts<MicroKernel> {
        self.grid.classes(self.chunk).map(|row| {
            row.map(|class| {
                let columns = self.tiles(class);
                let mut micro = self.micro.clone();
                if micro.prefetch.tiles > 0 {
                    micro.prefetch.tiles = columns.div_ceil(micro.pixels);
                }
                (class, micro.variants(columns, self.blocks))
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
        let points = Points { outputs, whole: self.micro.element == Element::I16 };
        Transforms::of(&self.grid, self.size, true, |last, [rows, columns]| Transform::Output {
            points,
            tile: [rows.outputs, columns.outputs],
            dilation,
            size: [rows.written(), columns.written()],
            elements: self.grid.between(self.product(), last),
            rows: self.rows.map(|row| row * dilation),
            bias: self.bias,
            steps: self.steps.clone(),
            totals: self.totals,
            made: self.made,
        })
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
