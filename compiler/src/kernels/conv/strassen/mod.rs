//! Strassen's products of matrices cut in halves (Strassen 1969, "Gaussian Elimination is not
//! Optimal"), in the form with the fewest sums, which is Winograd's: 7 products of quarters instead
//! of 8, for 4 sums of inputs and 7 of products.
//!
//! A convolution is such a product for each tap: pixels by input channels, times input channels by
//! output channels. All three are cut in halves, pixels between rows of the output:
//!
//! ```text
//! X = | a b |   pixels 1        W = | e f |   inputs 1
//!     | c d |   pixels 2            | g h |   inputs 2
//!       inputs 1, 2                   outputs 1, 2
//!
//! s1 = c + d     s2 = s1 - a    s3 = a - c     s4 = b - s2
//!
//! p1 = a e                      p2 = b g       p3 = s4 h
//! p4 = d (g - h + f - e)        p5 = s1 (f - e)
//! p6 = s2 (h - f + e)           p7 = s3 (h - f)
//!
//! Y = | p1 + p2               p1 + p6 + p5 + p3 |
//!     | p1 + p6 + p7 + p4     p1 + p6 + p7 + p5 |
//! ```
//!
//! What is done to X and W is linear and does not mix pixels but with those of the other half, so the
//! sums serve windows of any size. Rounding errors are about 2.7 times those of the definition.

mod emit;
mod kernel;
mod lower;
mod offer;
pub(in crate::kernels) mod pack;
mod spec;
mod sums;

pub use spec::{Factor, Halves, NextSums, StrassenInput, StrassenOutput, Sums};

use super::direct::{order, read_order};
use super::register_tile::RegisterTile;
use super::{ConvAlgorithm, read_by};
use crate::error::{Error, Result};
use crate::ir::{NodeId, Window};
use crate::kernels::lowering::Lowering;
use crate::plan::kernel::Row;
use crate::schedule::algorithm::{Algorithm, Offer, padding};
use crate::schedule::problem::ConvProblem;
use crate::schedule::{Choice, ConvSchedule};
use offer::InHalves;

/// Products of a part of a sum at most. Fewer than of other convolutions, since errors of a product come
/// to be those of several outputs.
const LONGEST_SUM: usize = 256;

/// Strassen's products of halves.
pub(super) struct Strassen;

/// A choice of this algorithm, as text `strassen 6x1 by pixels row 28`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    /// A register tile of the products.
    tile: RegisterTile,
    /// As for the definition, of half the pixels and half the blocks.
    pixels_first: bool,
    /// Pixels of a row of tiles.
    row: usize,
}

impl Way {
    fn read(choice: &Choice) -> Option<Way> {
        let words: Vec<&str> = choice.as_str().split(' ').collect();
        let ["strassen", tile, "by", order, "row", row] = words[..] else { return None };
        let (tile, pixels_first) = (RegisterTile::read(tile)?, read_order(order)?);
        let way = Way { tile, pixels_first, row: row.parse().ok()? };
        // What is written differently is not what was written: `06x2`.
        (way.choice() == *choice).then_some(way)
    }

    fn choice(self) -> Choice {
        let Way { tile, pixels_first, row } = self;
        Choice::new(format!("strassen {tile} by {} row {row}", order(pixels_first)))
    }
}

impl Algorithm for Strassen {
    fn ways(&self, problem: &ConvProblem) -> Vec<Offer> {
        let Some(halves) = InHalves::of(problem) else { return Vec::new() };
        vec![Offer {
            name: "Strassen".into(),
            cycles: halves.cycles(),
            gain: halves.gain(),
            choices: halves.choices(),
        }]
    }

    fn fits(&self, problem: &ConvProblem, choice: &Choice) -> bool {
        let fits = |way: Way| InHalves::of(problem).is_some_and(|h| h.fits(way.row, way.tile));
        Way::read(choice).is_some_and(fits)
    }

    fn reads(&self, choice: &Choice) -> bool {
        Way::read(choice).is_some()
    }

    fn border(&self, window: &Window) -> [usize; 4] {
        padding(window)
    }

    fn makes_flat(&self, problem: &ConvProblem) -> bool {
        InHalves::of(problem).is_some_and(|halves| halves.flat)
    }

    fn makes_totals(&self, _: &ConvProblem) -> bool {
        false
    }

    /// The sums of halves, where both are halves of all pixels.
    fn prepares(&self, conv: &ConvSchedule, next: &ConvSchedule) -> bool {
        conv.flat && next.flat && next.problem.window.is_point()
    }

    fn has_portable_bits(&self) -> bool {
        false
    }
}

impl ConvAlgorithm for Strassen {
    fn lower(&self, l: &mut Lowering<'_, '_>, id: NodeId, conv: &ConvSchedule) -> Result<()> {
        let way = read_by(Way::read, conv)?;
        let sizes = [way.row, way.tile.pixels, way.tile.blocks];
        match sizes.contains(&0) {
            true => Err(Error::internal("products of no pixels or channels")),
            false => lower::lower(l, id, conv, way),
        }
    }

    fn kernels(&self) -> &'static [Row] {
        const {
            &[
                Row::of::<StrassenInput>("sums of halves of pixels and channels"),
                Row::of::<StrassenOutput>("products of halves, and their sums"),
            ]
        }
    }
}
