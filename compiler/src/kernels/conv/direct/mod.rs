//! Convolutions by their definition.

pub(super) mod cost;
mod lower;

use super::blocked::BlockedConv;
use super::register_tile::RegisterTile;
use super::rounding::ROUNDING;
use super::{ConvAlgorithm, micro_kernel, read_by};
use crate::error::Result;
use crate::ir::{NodeId, Window};
use crate::kernels::lowering::Lowering;
use crate::kernels::to_bfloat16::ToBfloat16;
use crate::machine::{BLOCK, Element, F32_BYTES};
use crate::plan::kernel::Row;
use crate::schedule::algorithm::{Algorithm, Offer, padding};
use crate::schedule::problem::ConvProblem;
use crate::schedule::{Choice, ConvSchedule};

/// Products of a part of a sum at most: rounding errors grow with them.
const LONGEST_SUM: usize = 512;

/// How much faster it must be to round what is read row-major, which is an image: its error is in all that follows.
const OF_IMAGES: f64 = 0.3;

/// The definition, in register tiles.
pub(super) struct Direct {
    /// Whether factors of products are rounded to bfloat16: the input in a copy, weights as they are packed.
    pub(super) rounds: bool,
}

/// A choice of the definition, as text `direct 14x2 by weights`, or `direct 14x2 by weights in bf16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    rounds: bool,
    tile: RegisterTile,
    /// Run through the weights for each row of pixels, rather than through the rows for each
    /// weight.
    pixels_first: bool,
}

impl Way {
    fn read(choice: &Choice) -> Option<Way> {
        let (text, rounds) = choice.unrounded();
        let words: Vec<&str> = text.split(' ').collect();
        let ["direct", tile, "by", order] = words[..] else { return None };
        let way = Way { rounds, tile: RegisterTile::read(tile)?, pixels_first: read_order(order)? };
        // What is written differently is not what was written: `06x2`.
        (way.choice() == *choice).then_some(way)
    }

    fn choice(self) -> Choice {
        let text = format!("direct {} by {}", self.tile, order(self.pixels_first));
        Choice::new(text).rounded(self.rounds)
    }
}

/// The order of loops in texts.
pub(super) fn order(pixels_first: bool) -> &'static str {
    if pixels_first { "pixels" } else { "weights" }
}

/// The same, read.
pub(super) fn read_order(word: &str) -> Option<bool> {
    ["weights", "pixels"].iter().position(|known| *known == word).map(|at| at == 1)
}

/// Tiles, the cheapest first.
fn tiles(problem: &ConvProblem) -> Vec<RegisterTile> {
    let [_, columns] = problem.rows();
    let sum = problem.words().min(LONGEST_SUM);
    let (machine, factor) = (problem.machine, problem.factor());
    let ranked = RegisterTile::ranked(machine, factor, columns, problem.blocks(), sum);
    let all = ranked.into_iter().map(|(_, tile)| tile);
    let tiles: Vec<RegisterTile> = all.filter(|tile| leaves_spare(problem, *tile)).collect();
    if tiles.is_empty() { vec![RegisterTile::ONE] } else { tiles }
}

/// Whether beside the sums there are registers for how words are found and multiplied, and bytes made.
fn leaves_spare(problem: &ConvProblem, tile: RegisterTile) -> bool {
    let (vectors, per_block) = (problem.machine.vectors, problem.machine.vectors.per_block());
    let narrow = problem.narrow.unwrap_or(0);
    let row = tile.blocks * per_block;
    let orders = micro_kernel::orders(problem.reads, narrow, vectors) * per_block;
    // A row of weights and an element, and later what rounds.
    let passing = match problem.reads {
        Element::F32 | Element::Bf16 => row + 1,
        Element::U8 | Element::I16 => ROUNDING.max(row + 1),
    };
    tile.pixels * row + orders + problem.factor().registers() + passing <= vectors.registers()
}

/// A tile in the order that weights of this size want, and in the other.
fn in_order(problem: &ConvProblem, tile: RegisterTile) -> [Choice; 2] {
    let bytes = |extents: [usize; 3]| extents.into_iter().fold(F32_BYTES, usize::saturating_mul);
    let ([rows, columns], costs) = (problem.rows(), problem.machine.costs());
    let weights = bytes([problem.blocks(), BLOCK, problem.words()]);
    let pixels = bytes([rows, columns, problem.words() / problem.taps().max(1)]);
    // What goes by while the other stays: all weights for each row, or all pixels for each tile.
    let by_pixels = weights.saturating_mul(rows);
    let by_weights = pixels.saturating_mul(problem.blocks().div_ceil(tile.blocks));
    let is_small = weights <= costs.cached_weights;
    // Groups read pixels of their own.
    let pixels_first =
        problem.tile_groups() == 1 && (is_small || rows > 1 && by_pixels <= by_weights);
    let rounds = problem.reads == Element::Bf16;
    [pixels_first, !pixels_first].map(|pixels_first| Way { rounds, tile, pixels_first }.choice())
}

impl Direct {
    /// The convolution as tiles compute it.
    fn computed(&self, problem: &ConvProblem) -> Option<ConvProblem> {
        if self.rounds { problem.in_bfloats() } else { Some(problem.clone()) }
    }
}

impl Algorithm for Direct {
    fn takes(&self, reads: Element) -> bool {
        match reads {
            Element::F32 => true,
            Element::U8 => !self.rounds,
            Element::I16 | Element::Bf16 => false,
        }
    }

    fn ways(&self, problem: &ConvProblem) -> Vec<Offer> {
        let Some(problem) = &self.computed(problem) else { return Vec::new() };
        // For each width the best tile and the best of at most half its pixels, in both orders.
        let mut kept: Vec<RegisterTile> = Vec::new();
        for tile in tiles(problem) {
            let of_width: Vec<_> = kept.iter().filter(|k| k.blocks == tile.blocks).collect();
            let is_new = match of_width[..] {
                [] => true,
                [best] => 2 * tile.pixels <= best.pixels,
                _ => false,
            };
            if is_new {
                kept.push(tile);
            }
        }
        let choices = kept.into_iter().flat_map(|tile| in_order(problem, tile)).collect();
        let (name, copy) = match self.rounds {
            true => ("direct in bf16", cost::copy(problem)),
            false => ("direct", 0.0),
        };
        let cycles = cost::cycles(problem) + copy;
        let gain = if self.rounds && problem.is_row_major() { OF_IMAGES } else { 0.0 };
        vec![Offer { name: name.into(), cycles, gain, choices }]
    }

    fn fits(&self, problem: &ConvProblem, choice: &Choice) -> bool {
        let Some(problem) = &self.computed(problem) else { return false };
        let [_, columns] = problem.rows();
        Way::read(choice).is_some_and(|way| {
            let (vectors, factor) = (problem.machine.vectors, problem.factor());
            let fits = way.tile.fits(vectors, factor, columns, problem.blocks());
            fits && leaves_spare(problem, way.tile)
        })
    }

    fn reads(&self, choice: &Choice) -> bool {
        Way::read(choice).is_some_and(|way| way.rounds == self.rounds)
    }

    fn border(&self, window: &Window) -> [usize; 4] {
        padding(window)
    }

    fn makes_flat(&self, _: &ConvProblem) -> bool {
        false
    }

    fn makes_totals(&self, _: &ConvProblem) -> bool {
        false
    }

    fn prepares(&self, _: &ConvSchedule, _: &ConvSchedule) -> bool {
        false
    }

    fn has_portable_bits(&self) -> bool {
        !self.rounds
    }

    fn is_definition(&self) -> bool {
        true
    }
}

impl ConvAlgorithm for Direct {
    fn lower(&self, l: &mut Lowering<'_, '_>, id: NodeId, conv: &ConvSchedule) -> Result<()> {
        lower::lower(l, id, conv, read_by(Way::read, conv)?)
    }

    fn kernels(&self) -> &'static [Row] {
        const DEFINITION: &[Row] =
            &[Row::of::<BlockedConv>("convolutions of values in blocks, by the definition")];
        const COPIES: &[Row] = &[Row::of::<ToBfloat16>("copies of values in blocks as bfloat16")];
        if self.rounds { COPIES } else { DEFINITION }
    }
}
