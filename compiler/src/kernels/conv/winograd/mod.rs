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
//!
//! Bytes are transformed to i16 with points that are integers, so without rounding, and filters to i16 in steps
//! as small as sums in i32 allow. So what is rounded is less than what bytes of weights have been rounded by.

mod emit;
mod grid;
mod kernel;
mod lower;
pub(in crate::kernels) mod pack;
pub mod points;
mod products;
mod spec;
mod transform;

pub use grid::{Class, Elements, Grid, Run, Section};
pub use spec::{Transform, Transforms, WinogradInput, WinogradOutput};

use super::direct;
use super::register_tile::RegisterTile;
use super::{ConvAlgorithm, read_by};
use crate::asm;
use crate::error::Result;
use crate::ir::{NodeId, Window};
use crate::kernels::lowering::Lowering;
use crate::machine::{BLOCK, Element, Factor};
use crate::plan::kernel::Row;
use crate::schedule::algorithm::{Algorithm, Offer};
use crate::schedule::byte_scale::ByteScale;
use crate::schedule::problem::ConvProblem;
use crate::schedule::{Choice, ConvSchedule};
use points::Points;
use products::{Item, Products};

/// Winograd's filtering.
pub(super) struct Winograd {
    /// Whether factors of products are rounded to bfloat16: both transforms are computed in f32 all the same.
    pub(super) rounds: bool,
}

/// Outputs of the tiles that there are.
pub const SIZES: [usize; 3] = [2, 3, 4];

/// A choice of this algorithm, as text `F(4x4) 7x2 rows 7 images 1`, or that and ` in bf16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    rounds: bool,
    /// m of F(m×m, 3×3).
    outputs: usize,
    item: Item,
}

impl Way {
    fn read(choice: &Choice) -> Option<Way> {
        let (text, rounds) = choice.unrounded();
        let words: Vec<&str> = text.split(' ').collect();
        let [name, tile, "rows", rows, "images", images] = words[..] else { return None };
        let outputs = SIZES.into_iter().find(|m| name == algorithm(*m))?;
        let (chunk, together) = (rows.parse().ok()?, images.parse().ok()?);
        let item = Item { together, chunk, tile: RegisterTile::read(tile)? };
        let way = Way { rounds, outputs, item };
        // What is written differently is not what was written: `06x2`.
        (way.choice() == *choice).then_some(way)
    }

    fn choice(self) -> Choice {
        let (name, Item { together, chunk, tile }) = (algorithm(self.outputs), self.item);
        Choice::new(format!("{name} {tile} rows {chunk} images {together}")).rounded(self.rounds)
    }
}

fn algorithm(outputs: usize) -> String {
    format!("F({outputs}x{outputs})")
}

/// The products of a convolution that the transforms can serve, with tiles of each size.
fn products(problem: &ConvProblem, outputs: usize, rounds: bool) -> Option<Products> {
    let ConvProblem { made, window, .. } = problem;
    let dilation = window.dilation[0];
    let around = [dilation; 2];
    let padded = Window {
        kernel: [3, 3],
        pad_before: around,
        pad_after: around,
        dilation: around,
        ..Window::POINT
    };
    // Phases of one size only.
    let phases = made.size.iter().all(|n| n.is_multiple_of(dilation));
    let groups = problem.groups;
    let is_thin = problem.channels < BLOCK && groups == 1;
    let source = problem.source.filter(|_| problem.narrow.is_none() && !is_thin)?;
    // Distances between elements are immediate.
    const MOST_ELEMENTS: usize = 1 << 26;
    let [h, w] = made.size;
    let planes = [made.images, source.blocks() * BLOCK, h + 4, w + 4];
    let is_near = planes.into_iter().fold(1, usize::saturating_mul) <= MOST_ELEMENTS;
    let serves = asm::is_encoded(problem.machine.vectors) && *window == padded && phases && is_near;
    let (factor, element) = factor(problem, rounds)?;
    let depth = source.blocks() / groups * BLOCK;
    let is_exact = element != Element::I16 || has_fine_steps(outputs, depth);
    (serves && is_exact).then(|| Products {
        machine: problem.machine,
        images: made.images,
        size: made.size,
        dilation,
        outputs,
        groups,
        blocks: made.blocks() / groups,
        depth,
        factor,
        bytes: element.bytes(),
    })
}

/// Whether filters of bytes are rounded in steps of which their elements have at least so many, where sums over
/// so many channels stay an i32: then that changes less than the weights have been rounded by.
fn has_fine_steps(outputs: usize, channels: usize) -> bool {
    /// As F(4×4) has with 512 channels.
    const STEPS: f64 = 180.0;
    let bytes = ByteScale { scale: 1.0, lowest: 0, highest: u8::MAX.into() };
    let largest = Points::of_integers(outputs).largest(bytes).into_iter().fold(0.0, f64::max);
    f64::from(i32::MAX) / (largest * channels as f64) >= STEPS
}

/// What products are of, and their elements: i16 where bytes are transformed; `None` where results cannot be
/// made of them.
fn factor(problem: &ConvProblem, rounds: bool) -> Option<(Factor, Element)> {
    if rounds {
        let can = problem.machine.bfloats && problem.reads == Element::F32;
        return can.then_some((Factor::Bf16, Element::Bf16));
    }
    let adds = problem.fused.residual.is_some();
    let adds_bytes = adds && (problem.residual_bytes.is_some() || problem.made.bytes.is_some());
    match problem.factor() {
        Factor::F32 => Some((Factor::F32, Element::F32)),
        Factor::U8(dots) if !adds_bytes => Some((Factor::I16(dots), Element::I16)),
        Factor::U8(_) | Factor::I16(_) | Factor::Bf16 => None,
    }
}

impl Algorithm for Winograd {
    fn takes(&self, reads: Element) -> bool {
        match reads {
            Element::F32 => true,
            Element::U8 => !self.rounds,
            Element::I16 | Element::Bf16 => false,
        }
    }

    fn ways(&self, problem: &ConvProblem) -> Vec<Offer> {
        let offer = |outputs: usize| {
            let products = products(problem, outputs, self.rounds)?;
            let best = std::iter::once(products.best().1);
            let items = best.chain(products.ranked());
            let rounds = self.rounds;
            let name = algorithm(outputs) + if rounds { " in bf16" } else { "" };
            Some(Offer {
                name,
                cycles: problem.groups as f64 * products.cycles_with_transforms(),
                gain: 0.0,
                choices: items.map(|item| Way { rounds, outputs, item }.choice()).collect(),
            })
        };
        let mut offers: Vec<Offer> = SIZES.into_iter().rev().filter_map(offer).collect();
        // Large tiles first, but for the fastest where that is better than the definition.
        let least = offers.iter().map(|offer| offer.cycles).fold(f64::INFINITY, f64::min);
        if least < direct::cost::cycles(problem)
            && let Some(at) = offers.iter().position(|offer| offer.cycles == least)
        {
            let best = offers.remove(at);
            offers.insert(0, best);
        }
        offers
    }

    fn fits(&self, problem: &ConvProblem, choice: &Choice) -> bool {
        let fits = |way: Way| Some(products(problem, way.outputs, way.rounds)?.fits(way.item));
        Way::read(choice).and_then(fits).unwrap_or(false)
    }

    fn reads(&self, choice: &Choice) -> bool {
        Way::read(choice).is_some_and(|way| way.rounds == self.rounds)
    }

    /// What is beyond planes is known to be zero.
    fn border(&self, _: &Window) -> [usize; 4] {
        [0; 4]
    }

    fn makes_flat(&self, _: &ConvProblem) -> bool {
        false
    }

    fn makes_totals(&self, problem: &ConvProblem) -> bool {
        problem.fused.residual.is_none() && problem.made.bytes.is_none()
    }

    fn prepares(&self, _: &ConvSchedule, _: &ConvSchedule) -> bool {
        false
    }

    fn has_portable_bits(&self) -> bool {
        false
    }
}

impl ConvAlgorithm for Winograd {
    fn lower(&self, l: &mut Lowering<'_, '_>, id: NodeId, conv: &ConvSchedule) -> Result<()> {
        lower::lower(l, id, conv, read_by(Way::read, conv)?)
    }

    fn kernels(&self) -> &'static [Row] {
        const KERNELS: &[Row] = &[
            Row::of::<WinogradInput>("pixels to Winograd's transformed domain"),
            Row::of::<WinogradOutput>("products in Winograd's domain, and back to pixels"),
        ];
        if self.rounds { &[] } else { KERNELS }
    }
}
