//! How products in the transformed domain are cut into items and register tiles, and what each way
//! costs by an estimate.

use super::grid::{Class, Grid};
use crate::kernels::conv::cost::{CALL, Traffic, unevenness};
use crate::kernels::conv::register_tile::{RegisterTile, WIDEST};
use crate::machine::{BLOCK, F32_BYTES, Factor, Machine};

/// What the products in the transformed domain are of, with tiles of so many outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Products {
    pub(super) machine: Machine,
    pub(super) images: usize,
    /// Height and width of the output.
    pub(super) size: [usize; 2],
    pub(super) dilation: usize,
    /// m.
    pub(super) outputs: usize,
    /// Groups.
    pub(super) groups: usize,
    /// Blocks of output channels of a group.
    pub(super) blocks: usize,
    /// Input channels of a group.
    pub(super) depth: usize,
    /// What is multiplied.
    pub(super) factor: Factor,
    /// Bytes of it, of a channel.
    pub(super) bytes: usize,
}

/// How the products are cut into items and tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    /// Images of an item; where it is not 1, an item has all of their rows.
    pub(super) together: usize,
    /// Rows of tiles of an item in each image.
    pub(super) chunk: usize,
    /// A register tile of the products.
    pub(super) tile: RegisterTile,
}

impl Products {
    /// The cheapest way whose products stay in a second-level cache, with its cycles for a row of tiles
    /// of a group. The more tiles share a pass over the weights the better.
    pub(super) fn best(&self) -> (f64, Item) {
        let most_bytes = self.machine.costs().cached_products;
        let mut best = (f64::INFINITY, Item { together: 1, chunk: 1, tile: RegisterTile::ONE });
        for (together, chunk) in self.items() {
            let ranked = self.tiles(together, chunk);
            let is_least = self.items().next() == Some((together, chunk));
            let items = ranked.into_iter().map(|(cost, tile)| {
                let item = Item { together, chunk, tile };
                (self.cost(cost, item), item)
            });
            let fitting = items.filter(|(_, item)| is_least || self.bytes(*item) <= most_bytes);
            let Some(least) = fitting.min_by(|(a, _), (b, _)| a.total_cmp(b)) else { break };
            if least.0 < best.0 {
                best = least;
            }
        }
        best
    }

    /// Cycles of a group's products.
    pub(super) fn cycles(&self) -> f64 {
        let (row, Item { tile, .. }) = self.best();
        let grid = self.grid(1);
        let bytes =
            |products: usize, of: usize| (products * of) as f64 * (self.depth * self.bytes) as f64;
        let weights = bytes(grid.elements(), self.blocks * BLOCK);
        let transformed = bytes(grid.products(), self.images);
        let tiles = self.blocks.div_ceil(tile.blocks);
        let compute = row * (self.images * grid.tiles[0]) as f64;
        Traffic::of(self.machine, weights, transformed, tiles).beside(compute)
    }

    /// The same with both transforms.
    pub(super) fn cycles_with_transforms(&self) -> f64 {
        let channels = self.depth + self.blocks * BLOCK;
        let elements = self.images * self.grid(1).products() * channels;
        let vectors = elements as f64 / self.machine.vectors.lanes() as f64;
        let costs = self.machine.costs();
        let each = match self.factor {
            Factor::F32 | Factor::U8(_) | Factor::Bf16 => costs.transformed,
            Factor::I16(_) => costs.transformed_halves,
        };
        self.cycles() + each * vectors
    }

    /// Every way that [`fits`](Self::fits) to cut into items, each with the best tile of every width, the
    /// cheapest first.
    pub(super) fn ranked(&self) -> Vec<Item> {
        let mut all = Vec::new();
        for (together, chunk) in self.items() {
            let ranked = self.tiles(together, chunk);
            for blocks in 1..=WIDEST {
                let Some(&(cost, tile)) = ranked.iter().find(|(_, tile)| tile.blocks == blocks)
                else {
                    continue;
                };
                let item = Item { together, chunk, tile };
                if self.fits(item) {
                    all.push((self.cost(cost, item), item));
                }
            }
        }
        all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        all.into_iter().map(|(_, item)| item).collect()
    }

    /// Whether this cuts images and rows evenly, and leaves a thread's scratch memory small.
    pub(super) fn fits(&self, item: Item) -> bool {
        const MOST_BYTES: usize = 1 << 20;
        let Item { together, chunk, tile } = item;
        let divides = |part: usize, whole: usize| part > 0 && whole.is_multiple_of(part);
        divides(together, self.images)
            && self.grid(together).allows(chunk)
            && tile.fits(
                self.machine.vectors,
                self.factor,
                self.columns(together, chunk),
                self.blocks,
            )
            && (together * chunk == 1 || self.bytes(item) <= MOST_BYTES)
    }

    /// Images and rows of an item, few first.
    fn items(&self) -> impl Iterator<Item = (usize, usize)> {
        let divisors = |n: usize| (1..=n).filter(move |d| n.is_multiple_of(*d));
        let grid = self.grid(1);
        let rows = grid.tiles[0];
        let whole = divisors(self.images).filter(|n| *n > 1).map(move |together| (together, rows));
        let parts = divisors(rows).filter(move |rows| grid.allows(*rows));
        parts.map(|chunk| (1, chunk)).chain(whole)
    }

    /// Words that a sum runs over.
    fn words(&self) -> usize {
        self.depth * self.bytes / F32_BYTES
    }

    /// Planes in tiles, so many in an item.
    fn grid(&self, together: usize) -> Grid {
        Grid::new(self.outputs, self.dilation, self.size, together)
    }

    /// Every tile of the products of such items, with the cycles for each contracted channel.
    fn tiles(&self, together: usize, chunk: usize) -> Vec<(f64, RegisterTile)> {
        let classes = self.grid(together).classes(chunk);
        let row = |class: &Class| {
            (class.elements.iter().product(), together * class.tiles.iter().product::<usize>())
        };
        let rows: Vec<(usize, usize)> = classes.iter().flatten().map(row).collect();
        RegisterTile::ranked_for(self.machine, self.factor, &rows, self.blocks, self.words())
    }

    /// Tiles of outputs of an item.
    fn columns(&self, together: usize, chunk: usize) -> usize {
        together * chunk * self.grid(together).tiles[1]
    }

    /// Bytes of the products of an item.
    fn bytes(&self, item: Item) -> usize {
        let Item { together, chunk, tile } = item;
        let elements = self.grid(together).elements();
        elements * self.columns(together, chunk) * tile.blocks * BLOCK * F32_BYTES
    }

    /// Cycles for a row of tiles, given those of a contracted channel: weights are read again for each
    /// item.
    fn cost(&self, cost: f64, item: Item) -> f64 {
        let (costs, elements) = (self.machine.costs(), self.grid(item.together).elements());
        let near = (elements * self.depth * self.blocks * BLOCK * self.bytes) as f64;
        let calls = CALL * (elements * self.blocks.div_ceil(item.tile.blocks)) as f64;
        let products = cost * self.words() as f64;
        let products = match costs.hides_weights {
            true => Traffic::near(self.machine, near).beside(products),
            false => products + near / costs.near,
        };
        let Item { together, chunk, tile } = item;
        let rows = self.images / together * self.grid(1).tiles[0].div_ceil(chunk);
        let uneven = unevenness(self.groups * rows * self.blocks.div_ceil(tile.blocks));
        uneven * (products + calls) / (together * chunk) as f64
    }
}
