//! What Strassen's products would do for a convolution, and what that costs by an estimate.

use super::spec::{PRODUCTS, half_read, product};
use super::{LONGEST_SUM, Way};
use crate::asm;
use crate::ir::Window;
use crate::kernels::conv::cost::{CALL, STEP, Traffic, unevenness};
use crate::kernels::conv::register_tile::RegisterTile;
use crate::machine::{BLOCK, Factor, Machine};
use crate::schedule::Choice;
use crate::schedule::blocked::Blocked;
use crate::schedule::problem::ConvProblem;

/// Products in this cut.
pub(super) struct InHalves {
    cycles: f64,
    /// Whether rows do not matter. The result then has no border, whatever its users read.
    pub(super) flat: bool,
    machine: Machine,
    /// Pixels of a row of tiles, at most.
    longest: usize,
    /// Rows of so many, in all images.
    rows: usize,
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
    pub(super) fn of(problem: &ConvProblem) -> Option<InHalves> {
        let ways = [true, false].map(|flat| InHalves::with(problem, flat));
        ways.into_iter().flatten().min_by(|a, b| a.cycles.total_cmp(&b.cycles))
    }

    fn with(problem: &ConvProblem, flat: bool) -> Option<InHalves> {
        let source = source(problem, flat)?;
        let (machine, made) = (problem.machine, problem.made);
        let [h, w] = made.size;
        let mut halves = InHalves {
            cycles: 0.0,
            flat,
            machine,
            longest: if flat { (h * w).div_ceil(2) } else { w },
            rows: made.images * if flat { 1 } else { h / 2 },
            // Halves of an odd number of pixels overlap, so they belong to one item.
            divisible: flat && is_even(h * w),
            blocks: made.blocks() / 2,
            depth: source.blocks() / 2 * BLOCK * problem.taps(),
        };
        let extents = Extents::of(problem, &source, flat);
        // The input and its sums go by, unless the weights do.
        let (each, (_, tile)) = halves.best();
        let weights = halves.weights();
        let tiles = halves.blocks.div_ceil(tile.blocks);
        let times = if weights <= machine.costs().cached_weights { 0 } else { tiles };
        let passing = 4 * extents.read * extents.channels[0] * 4;
        let traffic = Traffic::of(machine, weights as f64, passing as f64, times);
        let compute = each * extents.pixels as f64 / 2.0;
        halves.cycles = traffic.beside(compute) + extents.sums(machine);
        Some(halves)
    }

    /// Cycles by the estimate.
    pub(super) fn cycles(&self) -> f64 {
        self.cycles
    }

    /// How much better it must be for its larger weights. Where rows do not matter, the sums often are
    /// made with the value, for less than they are counted here.
    pub(super) fn gain(&self) -> f64 {
        if self.flat { 0.02 } else { 0.03 }
    }

    /// What is worth trying, the best first: each in the order that weights of this size want, and in the
    /// other.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let is_small = self.weights() <= self.machine.costs().cached_weights;
        let ways = self.ranked().into_iter().take(3).flat_map(|(_, (row, tile))| {
            [is_small, !is_small].map(|pixels_first| Way { tile, pixels_first, row }.choice())
        });
        ways.collect()
    }

    /// Bytes of the weights.
    pub(super) fn weights(&self) -> usize {
        PRODUCTS * self.blocks * self.depth * BLOCK * 4
    }

    /// The cheapest row of tiles and tile, with its cycles for each pixel of a half.
    pub(super) fn best(&self) -> (f64, (usize, RegisterTile)) {
        self.ranked().first().copied().unwrap_or((f64::INFINITY, (self.longest, RegisterTile::ONE)))
    }

    /// Rows of tiles with the best tile of each width, and their cycles for each pixel of a half, the
    /// cheapest first.
    pub(super) fn ranked(&self) -> Vec<(f64, (usize, RegisterTile))> {
        let sum = self.depth.min(LONGEST_SUM);
        let mut all = Vec::new();
        for row in (1..=self.longest).filter(|row| self.longest.is_multiple_of(*row)) {
            for (cost, tile) in
                RegisterTile::ranked(self.machine, Factor::F32, row, self.blocks, sum)
            {
                if self.fits(row, tile) {
                    all.push((self.cost(cost, row, tile), (row, tile)));
                }
            }
        }
        all.sort_by(|(a, x), (b, y)| a.total_cmp(b).then(y.0.cmp(&x.0)));
        let mut distinct: Vec<(f64, (usize, RegisterTile))> = Vec::new();
        for (cost, (row, tile)) in all {
            let is_alike =
                |(_, (r, c)): &(f64, (usize, RegisterTile))| *r == row && c.blocks == tile.blocks;
            if !distinct.iter().any(is_alike) {
                distinct.push((cost, (row, tile)));
            }
        }
        distinct
    }

    /// Whether these can be a row and a tile, and leave a thread's scratch memory small.
    pub(super) fn fits(&self, row: usize, tile: RegisterTile) -> bool {
        const MOST_BYTES: usize = 1 << 20;
        let divides = row > 0 && self.longest.is_multiple_of(row);
        divides
            && (self.divisible || row == self.longest)
            && tile.fits(self.machine.vectors, Factor::F32, row, self.blocks)
            && (row == 1 || self.bytes(row, tile) <= MOST_BYTES)
    }

    /// Bytes of the products of an item.
    fn bytes(&self, row: usize, tile: RegisterTile) -> usize {
        PRODUCTS * product(tile.blocks, row) * 4
    }

    /// Cycles for each pixel, given those of a contracted element of a row.
    fn cost(&self, cost: f64, row: usize, tile: RegisterTile) -> f64 {
        // Of a line that products miss the first-level cache by.
        const MISS: f64 = 2.0;
        const CACHED: usize = 16 << 10;
        let calls = CALL * self.blocks.div_ceil(tile.blocks) as f64;
        let products = PRODUCTS as f64 * (cost * self.depth as f64 + calls);
        // Each row runs through the weights, which the first-level cache does not hold.
        let is_one = self.flat && row == self.longest;
        let near = if is_one { 0.0 } else { self.weights() as f64 };
        let products = Traffic::near(self.machine, near).beside(products);
        let missed = if self.bytes(row, tile) > CACHED { MISS } else { 0.0 };
        let lines = (PRODUCTS * self.blocks) as f64;
        let rows = self.rows * self.longest / row;
        let uneven = unevenness(rows * self.blocks.div_ceil(tile.blocks));
        uneven * (products / row as f64 + missed * lines)
    }
}

fn is_even(n: usize) -> bool {
    n.is_multiple_of(2)
}

/// How the input lies, if all can be cut in halves: pixels anywhere, or between rows.
fn source(problem: &ConvProblem, flat: bool) -> Option<Blocked> {
    let (made, window) = (problem.made, &problem.window);
    let source = problem.source?;
    let [h, w] = made.size;
    // Pixels that a window in steps reads are copied, and so is a result that wants a border.
    let is_point = window.is_point() || window.is_sample();
    let reads_flat = (window.is_sample() || problem.reads_flat) && problem.residual_flat;
    let possible = match flat {
        true => is_point && reads_flat && h * w > 1,
        false => is_even(h) && !problem.is_flat(),
    };
    let halved = is_even(source.blocks()) && is_even(made.blocks()) && possible;
    let is_plain = problem.narrow.is_none() && problem.groups == 1;
    // Distances between elements are immediate.
    const MOST_ELEMENTS: usize = 1 << 26;
    let is_near = made.elements().max(source.elements()).saturating_mul(2) <= MOST_ELEMENTS;
    (asm::is_encoded(problem.machine.vectors) && halved && is_plain && is_near).then_some(source)
}

/// The extents of the sums around products.
struct Extents {
    /// Output pixels of all images.
    pixels: usize,
    /// Pixels that half of them read.
    read: usize,
    /// Elements that are copied besides.
    copied: usize,
    /// Channels on both sides, made up ones too.
    channels: [usize; 2],
}

impl Extents {
    fn of(problem: &ConvProblem, source: &Blocked, flat: bool) -> Extents {
        let made = problem.made;
        let [h, w] = made.size;
        let sampled = problem.window.is_sample();
        let window = if sampled { Window::POINT } else { problem.window };
        let pitch = if sampled { w * BLOCK } else { source.row() };
        let copied = [(sampled, source.blocks()), (flat && !made.is_flat(), made.blocks())];
        let copied = copied.into_iter().filter(|(is, _)| *is).map(|(_, blocks)| blocks);
        Extents {
            pixels: made.images * h * w,
            read: made.images * half_read(&window, flat, made.size, pitch),
            copied: made.images * h * w * BLOCK * copied.sum::<usize>(),
            channels: [source.blocks(), made.blocks()].map(|n| n * BLOCK),
        }
    }

    /// Cycles of the sums, and of a step that makes some of them.
    fn sums(&self, machine: Machine) -> f64 {
        let [input, output] = machine.costs().summed;
        const COPIED: f64 = 2.0;
        let Extents { pixels, read, copied, channels } = *self;
        let [read, copied, pixels, from, to] =
            [read, copied, pixels, channels[0], channels[1]].map(|n| n as f64);
        // Both halves of the pixels are read once.
        let elements = input * 2.0 * read * from + output * pixels * to + COPIED * copied;
        elements / machine.vectors.lanes() as f64 + STEP
    }
}
