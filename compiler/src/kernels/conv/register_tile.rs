//! Register tiles: which sizes fit the registers, and what each costs by an estimate.

use std::fmt;

use super::cost;
use crate::machine::{Factor, Machine, Vectors};

/// A tile has at most so many blocks.
pub(in crate::kernels) const WIDEST: usize = 4;

/// The size of a register tile, whose sums stay in registers over a whole contraction. As text `14x2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kernels) struct RegisterTile {
    /// Pixels.
    pub(in crate::kernels) pixels: usize,
    /// Blocks of output channels.
    pub(in crate::kernels) blocks: usize,
}

impl RegisterTile {
    /// The smallest tile.
    pub(in crate::kernels) const ONE: RegisterTile = RegisterTile { pixels: 1, blocks: 1 };

    /// Every tile of rows of so many pixels and groups of so many blocks, with its cycles for each of
    /// the contracted words of such factors, `sum` to a sum, of a whole row and a whole group; the cheapest
    /// first. Of equal ones the larger: fewer loops.
    pub(in crate::kernels) fn ranked(
        machine: Machine,
        factor: Factor,
        columns: usize,
        blocks: usize,
        sum: usize,
    ) -> Vec<(f64, RegisterTile)> {
        RegisterTile::ranked_for(machine, factor, &[(1, columns)], blocks, sum)
    }

    /// The same for several rows, each so often and of so many pixels.
    pub(in crate::kernels) fn ranked_for(
        machine: Machine,
        factor: Factor,
        rows: &[(usize, usize)],
        blocks: usize,
        sum: usize,
    ) -> Vec<(f64, RegisterTile)> {
        let longest = rows.iter().map(|(_, columns)| *columns).max().unwrap_or(0);
        let of_width = |b: usize| {
            let pixels = 1..=machine.vectors.most_pixels(factor, b).min(longest);
            pixels.map(move |pixels| RegisterTile { pixels, blocks: b })
        };
        // A tile is a rest of many others.
        let each: [Vec<f64>; WIDEST] = std::array::from_fn(|narrower| {
            let b = narrower + 1;
            let pixels = 0..=machine.vectors.most_pixels(factor, b).min(longest);
            pixels.map(|p| cost::tile(machine, factor, [p, b], sum)).collect()
        });
        let cost = |tile: RegisterTile| {
            let row = |(n, columns): &(usize, usize)| {
                *n as f64 * tile.cost([*columns, blocks], |p, b| each[b - 1][p])
            };
            rows.iter().map(row).sum::<f64>()
        };
        let all = (1..=blocks.min(WIDEST)).flat_map(of_width);
        let mut all: Vec<_> = all.map(|tile| (cost(tile), tile)).collect();
        let area = |tile: RegisterTile| tile.pixels * tile.blocks;
        all.sort_by(|(a, x), (b, y)| a.total_cmp(b).then(area(*y).cmp(&area(*x))));
        all
    }

    /// Whether registers hold such a tile, and rows and groups are as long.
    pub(in crate::kernels) fn fits(
        self,
        vectors: Vectors,
        factor: Factor,
        columns: usize,
        blocks: usize,
    ) -> bool {
        (1..=blocks.min(WIDEST)).contains(&self.blocks)
            && (1..=vectors.most_pixels(factor, self.blocks).min(columns)).contains(&self.pixels)
    }

    /// Cycles for each contracted element, of a whole row and a whole group, given those of tiles.
    fn cost(self, [columns, blocks]: [usize; 2], tile: impl Fn(usize, usize) -> f64) -> f64 {
        let RegisterTile { pixels: p, blocks: b } = self;
        let [whole_p, rest_p] = [columns / p, columns % p];
        let [whole_b, rest_b] = [blocks / b, blocks % b];
        let row = |b: usize| whole_p as f64 * tile(p, b) + tile(rest_p, b);
        whole_b as f64 * row(b) + if rest_b > 0 { row(rest_b) } else { 0.0 }
    }
}

impl fmt::Display for RegisterTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.pixels, self.blocks)
    }
}

impl RegisterTile {
    /// The tile of such a text, which is not empty.
    pub(in crate::kernels) fn read(word: &str) -> Option<RegisterTile> {
        let (pixels, blocks) = word.split_once('x')?;
        let tile = RegisterTile { pixels: pixels.parse().ok()?, blocks: blocks.parse().ok()? };
        (tile.pixels > 0 && tile.blocks > 0).then_some(tile)
    }
}
