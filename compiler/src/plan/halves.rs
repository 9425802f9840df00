//! What Strassen's products would do for a convolution.

use super::cost::{CALL, Direct, Traffic};
use super::cut::{Cut, joined_rows};
use super::geometry::Site;
use super::lower::tile_steps;
use super::strassen;
use super::tile::{BLOCK, Vectors};
use crate::ir::Window;

/// What Strassen's products would do.
pub(super) struct InHalves {
    pub(super) estimate: strassen::Estimate,
    /// Whether rows do not matter. The result then has no border, whatever its users read.
    pub(super) flat: bool,
    vectors: Vectors,
    /// Pixels of a row of tiles, at most.
    longest: usize,
    /// Whether rows may be shorter.
    divisible: bool,
    /// Blocks of half the output channels.
    blocks: usize,
    /// Elements that a sum runs over.
    depth: usize,
}

impl InHalves {
    /// The cheaper way by the estimates, if there is one: with halves of all pixels, where rows do not
    /// matter, or of the rows.
    pub(super) fn of(site: &Site<'_>, narrow: Option<usize>) -> Option<InHalves> {
        let ways = [true, false].map(|flat| InHalves::with(site, narrow, flat));
        let cost = |halves: &InHalves| halves.estimate.strassen;
        ways.into_iter().flatten().min_by(|a, b| cost(a).total_cmp(&cost(b)))
    }

    fn with(site: &Site<'_>, narrow: Option<usize>, flat: bool) -> Option<InHalves> {
        let Site { conv, machine, layout, .. } = *site;
        let assembled = matches!(machine.vectors, Vectors::Avx2 | Vectors::Avx512);
        let x = site.operand(0)?;
        let row_major = !site.layouts.contains_key(&x) && site.graph.ty(x).shape()[1] < BLOCK;
        let source = site.source(1)?;
        let [h, w] = layout.size;
        let even = |n: usize| n.is_multiple_of(2);
        // Pixels that a window in steps reads are copied, and so is a result that wants a border.
        let (_, _, other) = tile_steps(&conv.epilogue);
        let sampled = conv.window.is_sample();
        let window = if sampled { Window::POINT } else { conv.window };
        let read_flat = (sampled || site.reads_flat(0)) && other.is_none_or(|s| site.reads_flat(s));
        let possible = match flat {
            true => window.is_point() && read_flat && h * w > 1,
            false => even(h) && !site.is_flat(),
        };
        let halved = even(source.blocks()) && even(layout.blocks()) && possible;
        if !assembled || row_major || narrow.is_some() || conv.groups != 1 || !halved {
            return None;
        }
        // Distances between elements are immediate.
        const MOST_ELEMENTS: usize = 1 << 26;
        if layout.elements().max(source.elements()).saturating_mul(2) > MOST_ELEMENTS {
            return None;
        }
        let taps: usize = conv.window.kernel.iter().product();
        let pitch = if sampled { w * BLOCK } else { source.row() };
        let read = strassen::half_read(&window, flat, layout.size, pitch);
        let copied = [(sampled, source.blocks()), (flat && !layout.is_flat(), layout.blocks())];
        let copied = copied.into_iter().filter(|(is, _)| *is).map(|(_, blocks)| blocks);
        let extents = strassen::Extents {
            pixels: layout.images * h * w,
            read: layout.images * read,
            copied: layout.images * h * w * BLOCK * copied.sum::<usize>(),
            channels: [source.blocks(), layout.blocks()].map(|n| n * BLOCK),
        };
        let joined = if site.is_flat() { joined_rows(layout.size) } else { 1 };
        let direct = Direct {
            vectors: machine.vectors,
            groups: 1,
            channels: extents.channels,
            taps,
            rows: layout.images * h / joined,
            columns: joined * w,
        };
        let mut halves = InHalves {
            estimate: strassen::Estimate { direct: direct.cycles(), strassen: 0.0 },
            flat,
            vectors: machine.vectors,
            longest: if flat { (h * w).div_ceil(2) } else { w },
            // Halves of an odd number of pixels overlap, so they belong to one item.
            divisible: flat && even(h * w),
            blocks: layout.blocks() / 2,
            depth: source.blocks() / 2 * BLOCK * taps,
        };
        // The input and its sums go by, unless the weights do.
        let (each, (_, cut)) = halves.best();
        let weights = halves.weights();
        let tiles = halves.blocks.div_ceil(cut.blocks);
        let passes = if weights <= machine.vectors.cached_weights() { 0 } else { tiles };
        let [weights, passing] = [weights, 4 * extents.read * extents.channels[0] * 4];
        let traffic = Traffic::of(machine.vectors, weights as f64, passing as f64, passes);
        let compute = each * extents.pixels as f64 / 2.0;
        halves.estimate.strassen = traffic.beside(compute) + extents.sums(machine.vectors);
        Some(halves)
    }

    /// Whether it is worth the larger weights. Where rows do not matter, the sums often are made with the
    /// value, for less than they are counted here.
    pub(super) fn is_worthwhile(&self) -> bool {
        let at_least = if self.flat { 0.02 } else { 0.03 };
        self.estimate.strassen < self.estimate.direct * (1.0 - at_least)
    }

    /// Bytes of the weights.
    pub(super) fn weights(&self) -> usize {
        strassen::PRODUCTS * self.blocks * self.depth * BLOCK * 4
    }

    /// The cheapest row of tiles and tile, with its cycles for each pixel of a half.
    pub(super) fn best(&self) -> (f64, (usize, Cut)) {
        self.ranked().first().copied().unwrap_or((f64::INFINITY, (self.longest, Cut::UNIT)))
    }

    /// Rows of tiles with the best tile of each width, and their cycles for each pixel of a half, the
    /// cheapest first.
    pub(super) fn ranked(&self) -> Vec<(f64, (usize, Cut))> {
        let mut all = Vec::new();
        for row in (1..=self.longest).filter(|row| self.longest.is_multiple_of(*row)) {
            for (cost, cut) in Cut::ranked(self.vectors, row, self.blocks, self.depth) {
                if self.fits(row, cut) {
                    all.push((self.cost(cost, row, cut), (row, cut)));
                }
            }
        }
        all.sort_by(|(a, x), (b, y)| a.total_cmp(b).then(y.0.cmp(&x.0)));
        let mut distinct: Vec<(f64, (usize, Cut))> = Vec::new();
        for (cost, (row, cut)) in all {
            let is_alike = |(_, (r, c)): &(f64, (usize, Cut))| *r == row && c.blocks == cut.blocks;
            if !distinct.iter().any(is_alike) {
                distinct.push((cost, (row, cut)));
            }
        }
        distinct
    }

    /// Whether these can be a row and a tile, and leave a thread's scratch memory small.
    pub(super) fn fits(&self, row: usize, cut: Cut) -> bool {
        const MOST_BYTES: usize = 1 << 20;
        let divides = row > 0 && self.longest.is_multiple_of(row);
        divides
            && (self.divisible || row == self.longest)
            && cut.fits(self.vectors, row, self.blocks)
            && (row == 1 || self.bytes(row, cut) <= MOST_BYTES)
    }

    /// Bytes of the products of an item.
    fn bytes(&self, row: usize, cut: Cut) -> usize {
        strassen::PRODUCTS * strassen::product(cut.blocks, row) * 4
    }

    /// Cycles for each pixel, given those of a contracted element of a row.
    fn cost(&self, cost: f64, row: usize, cut: Cut) -> f64 {
        // Of a line that products miss the first-level cache by.
        const MISS: f64 = 2.0;
        const CACHED: usize = 16 << 10;
        let calls = CALL * self.blocks.div_ceil(cut.blocks) as f64;
        let products = strassen::PRODUCTS as f64 * (cost * self.depth as f64 + calls);
        // Each row runs through the weights, which the first-level cache does not hold.
        let is_one = self.flat && row == self.longest;
        let near = if is_one { 0.0 } else { self.weights() as f64 };
        let products = Traffic { near, ..Traffic::default() }.beside(products);
        let missed = if self.bytes(row, cut) > CACHED { MISS } else { 0.0 };
        let lines = (strassen::PRODUCTS * self.blocks) as f64;
        products / row as f64 + missed * lines
    }
}
