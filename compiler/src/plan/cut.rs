//! How a convolution is cut into tiles and items, and what each cut costs by an estimate. Arithmetic
//! on extents alone.

use super::cost::{self, CALL, Traffic};
use super::tile::{BLOCK, Vectors};
use super::winograd::{Class, Grid};

/// A tile has at most so many blocks.
const WIDEST: usize = 4;

/// Pixels that a row of tiles has at most, where rows can be joined.
const LONGEST_ROW: usize = 256;

/// The size of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// Pixels.
    pub pixels: usize,
    /// Blocks of output channels.
    pub blocks: usize,
}

impl Cut {
    /// The smallest tile.
    pub(super) const UNIT: Cut = Cut { pixels: 1, blocks: 1 };

    /// Every cut of rows of so many pixels and groups of so many blocks, with its cycles for each of
    /// `depth` contracted elements, of a whole row and a whole group; the cheapest first. Of equal ones the
    /// larger: fewer loops.
    pub(super) fn ranked(
        vectors: Vectors,
        columns: usize,
        blocks: usize,
        depth: usize,
    ) -> Vec<(f64, Cut)> {
        Cut::ranked_for(vectors, &[(1, columns)], blocks, depth)
    }

    /// The same for several rows, each so often and of so many pixels.
    fn ranked_for(
        vectors: Vectors,
        rows: &[(usize, usize)],
        blocks: usize,
        depth: usize,
    ) -> Vec<(f64, Cut)> {
        let longest = rows.iter().map(|(_, columns)| *columns).max().unwrap_or(0);
        let of_width = |b: usize| {
            let pixels = 1..=vectors.most_pixels(b).min(longest);
            pixels.map(move |pixels| Cut { pixels, blocks: b })
        };
        let cost = |cut: Cut| {
            let row = |(n, columns): &(usize, usize)| {
                *n as f64 * cut.cost(vectors, [*columns, blocks], depth)
            };
            rows.iter().map(row).sum::<f64>()
        };
        let all = (1..=blocks.min(WIDEST)).flat_map(of_width);
        let mut all: Vec<_> = all.map(|cut| (cost(cut), cut)).collect();
        let area = |cut: Cut| cut.pixels * cut.blocks;
        all.sort_by(|(a, x), (b, y)| a.total_cmp(b).then(area(*y).cmp(&area(*x))));
        all
    }

    /// Whether registers hold such a tile, and rows and groups are as long.
    pub(super) fn fits(self, vectors: Vectors, columns: usize, blocks: usize) -> bool {
        (1..=blocks.min(WIDEST)).contains(&self.blocks)
            && (1..=vectors.most_pixels(self.blocks).min(columns)).contains(&self.pixels)
    }

    /// Cycles for each contracted element, of a whole row and a whole group.
    fn cost(self, vectors: Vectors, [columns, blocks]: [usize; 2], depth: usize) -> f64 {
        let tile = |p: usize, b: usize| cost::tile(vectors, p, b, depth);
        let Cut { pixels: p, blocks: b } = self;
        let [whole_p, rest_p] = [columns / p, columns % p];
        let [whole_b, rest_b] = [blocks / b, blocks % b];
        let row = |b: usize| whole_p as f64 * tile(p, b) + tile(rest_p, b);
        whole_b as f64 * row(b) + if rest_b > 0 { row(rest_b) } else { 0.0 }
    }
}

/// How many rows of an image are one row of tiles, where nothing lies between them.
pub(super) fn joined_rows([h, w]: [usize; 2]) -> usize {
    let fits = |m: &usize| h.is_multiple_of(*m) && m * w <= LONGEST_ROW;
    (1..=h).rev().find(fits).unwrap_or(1)
}

/// What Winograd's products are of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Products {
    pub(super) vectors: Vectors,
    pub(super) images: usize,
    /// Height and width of the output.
    pub(super) size: [usize; 2],
    pub(super) dilation: usize,
    /// m.
    pub(super) outputs: usize,
    /// Blocks of output channels of a group.
    pub(super) blocks: usize,
    /// Input channels of a group.
    pub(super) depth: usize,
}

/// How Winograd's products are cut into items and tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProductCut {
    /// Images of an item; where it is not 1, an item has all of their rows.
    pub(super) together: usize,
    /// Rows of tiles of an item in each image.
    pub(super) chunk: usize,
    /// A tile of the products.
    pub(super) cut: Cut,
}

impl Products {
    /// The cheapest cut whose products stay in a second-level cache, with its cycles for a row of tiles
    /// of a group. The more tiles share a pass over the weights the better.
    pub(super) fn best(&self) -> (f64, ProductCut) {
        let most_bytes = self.vectors.cached_products();
        let mut best = (f64::INFINITY, ProductCut { together: 1, chunk: 1, cut: Cut::UNIT });
        for (together, chunk) in self.items() {
            let ranked = self.cuts(together, chunk);
            let small = |cut: Cut| self.bytes(ProductCut { together, chunk, cut }) <= most_bytes;
            let least = self.items().next();
            let fits = |(_, cut): &&(f64, Cut)| least == Some((together, chunk)) || small(*cut);
            let Some(&(cost, cut)) = ranked.iter().find(fits) else { break };
            let item = ProductCut { together, chunk, cut };
            let cost = self.cost(cost, item);
            if cost < best.0 {
                best = (cost, item);
            }
        }
        best
    }

    /// Cycles of a group's products.
    pub(super) fn cycles(&self) -> f64 {
        let (row, ProductCut { cut, .. }) = self.best();
        let grid = self.grid(1);
        let bytes = |products: usize, of: usize| (products * of) as f64 * (self.depth * 4) as f64;
        let weights = bytes(grid.elements(), self.blocks * BLOCK);
        let transformed = bytes(grid.products(), self.images);
        let tiles = self.blocks.div_ceil(cut.blocks);
        let compute = row * (self.images * grid.tiles[0]) as f64;
        Traffic::of(self.vectors, weights, transformed, tiles).beside(compute)
    }

    /// Every cut that [`fits`](Self::fits) into items, each with the best tile of every width, the
    /// cheapest first.
    pub(super) fn ranked(&self) -> Vec<ProductCut> {
        let mut all = Vec::new();
        for (together, chunk) in self.items() {
            let ranked = self.cuts(together, chunk);
            for blocks in 1..=WIDEST {
                let Some(&(cost, cut)) = ranked.iter().find(|(_, cut)| cut.blocks == blocks) else {
                    continue;
                };
                let item = ProductCut { together, chunk, cut };
                if self.fits(item) {
                    all.push((self.cost(cost, item), item));
                }
            }
        }
        all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        all.into_iter().map(|(_, item)| item).collect()
    }

    /// Whether this cuts images and rows evenly, and leaves a thread's scratch memory small.
    pub(super) fn fits(&self, item: ProductCut) -> bool {
        const MOST_BYTES: usize = 1 << 20;
        let ProductCut { together, chunk, cut } = item;
        let divides = |part: usize, whole: usize| part > 0 && whole.is_multiple_of(part);
        divides(together, self.images)
            && self.grid(together).allows(chunk)
            && cut.fits(self.vectors, self.columns(together, chunk), self.blocks)
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

    /// Planes in tiles, so many in an item.
    fn grid(&self, together: usize) -> Grid {
        Grid::new(self.outputs, self.dilation, self.size, together)
    }

    /// Every tile of the products of such items, with the cycles for each contracted channel.
    fn cuts(&self, together: usize, chunk: usize) -> Vec<(f64, Cut)> {
        let classes = self.grid(together).classes(chunk);
        let row = |class: &Class| {
            (class.elements.iter().product(), together * class.tiles.iter().product::<usize>())
        };
        let rows: Vec<(usize, usize)> = classes.iter().flatten().map(row).collect();
        Cut::ranked_for(self.vectors, &rows, self.blocks, self.depth)
    }

    /// Tiles of outputs of an item.
    fn columns(&self, together: usize, chunk: usize) -> usize {
        together * chunk * self.grid(together).tiles[1]
    }

    /// Bytes of the products of an item.
    fn bytes(&self, item: ProductCut) -> usize {
        let ProductCut { together, chunk, cut } = item;
        let elements = self.grid(together).elements();
        elements * self.columns(together, chunk) * cut.blocks * BLOCK * 4
    }

    /// Cycles for a row of tiles, given those of a contracted channel: weights are read again for each
    /// item.
    fn cost(&self, cost: f64, item: ProductCut) -> f64 {
        let elements = self.grid(item.together).elements();
        let reads = elements * self.depth * self.blocks * BLOCK / 8;
        let calls = CALL * (elements * self.blocks.div_ceil(item.cut.blocks)) as f64;
        (cost * self.depth as f64 + reads as f64 + calls) / (item.together * item.chunk) as f64
    }
}
