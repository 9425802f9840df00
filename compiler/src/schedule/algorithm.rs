//! What a schedule asks of the algorithms for convolutions. They are in `kernels::conv`, a folder each,
//! and a schedule knows none by name.

use super::choice::{Choice, Estimate};
use super::problem::ConvProblem;
use crate::ir::{Conv, Window};
use crate::machine::Element;

/// An algorithm that computes convolutions of values in blocks.
pub(crate) trait Algorithm: Sync {
    /// Whether it computes with what a convolution reads stored as these elements.
    fn takes(&self, reads: Element) -> bool {
        reads == Element::F32
    }

    /// What it could do for a convolution of such elements, the best first; nothing where it cannot serve.
    /// Of several ways each differs from the others in its results' bits.
    fn ways(&self, problem: &ConvProblem) -> Vec<Offer>;

    /// Whether a convolution of such elements can be computed like this. The choice is one that it
    /// [reads](Self::reads).
    fn fits(&self, problem: &ConvProblem, choice: &Choice) -> bool;

    /// Its [ways](Self::ways), if it takes the elements.
    fn offers(&self, problem: &ConvProblem) -> Vec<Offer> {
        if self.takes(problem.reads) { self.ways(problem) } else { Vec::new() }
    }

    /// Whether the choice [fits](Self::fits) and it takes the elements.
    fn allows(&self, problem: &ConvProblem, choice: &Choice) -> bool {
        self.takes(problem.reads) && self.fits(problem, choice)
    }

    /// Whether this is the text of a choice of its own, written as it would write it.
    fn reads(&self, choice: &Choice) -> bool;

    /// The border that it reads of the input: rows above, columns left, rows below, columns right.
    fn border(&self, window: &Window) -> [usize; 4];

    /// Whether it makes the result without a border, whatever the result's users read.
    fn makes_flat(&self, problem: &ConvProblem) -> bool;

    /// Whether it makes sums of rows of its outputs along with them, for a squeeze.
    fn makes_totals(&self, problem: &ConvProblem) -> bool;

    /// Whether it makes what a convolution that reads its outputs, and is computed by the same algorithm,
    /// would else make of them.
    fn prepares(&self, conv: &ConvSchedule, next: &ConvSchedule) -> bool;

    /// Whether every CPU with fused multiply-adds can compute it, with the same bits.
    fn has_portable_bits(&self) -> bool;

    /// Whether it computes the definition's products, be it of factors that are rounded.
    fn is_definition(&self) -> bool {
        false
    }
}

/// A way of an algorithm to compute a convolution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offer {
    /// What it is called in reasons: `F(4x4)`.
    pub(crate) name: String,
    /// Cycles of one core, by an estimate.
    pub(crate) cycles: f64,
    /// It must be better than the definition by such a part to be taken.
    pub(crate) gain: f64,
    /// Tiles and items, the best first; the first has these cycles.
    pub(crate) choices: Vec<Choice>,
}

/// How a convolution is computed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConvSchedule {
    /// The layer's key.
    pub(crate) key: String,
    /// With its groups as they are computed.
    pub(crate) conv: Conv,
    /// How many groups of the model's are computed as one.
    pub(crate) joined: usize,
    /// Its extents, with operands and the result where they lie.
    pub(crate) problem: ConvProblem,
    /// What could be taken, the estimate's choice first.
    pub(crate) candidates: Vec<Choice>,
    /// What is taken.
    pub(crate) choice: Choice,
    /// Whether that is what the caller asked for, which need not be a candidate.
    pub(crate) is_asked_for: bool,
    /// What each way would cost.
    pub(crate) estimates: Vec<Estimate>,
    /// Why, where there was a choice of algorithms or the caller chose; empty elsewhere.
    pub(crate) why: String,
    /// Whether the result is made without a border, whatever its users read.
    pub(crate) flat: bool,
    /// Whether sums of rows of the outputs are made along with them.
    pub(crate) totals: bool,
    /// Whether what the next convolution would else make of the outputs is made along with them.
    pub(crate) prepares: bool,
}

impl ConvSchedule {
    /// What the algorithm that is taken costs, by its estimate.
    pub(super) fn estimated_cycles(&self) -> f64 {
        let (name, rounds) = (self.choice.algorithm(), self.choice.rounds());
        let is_taken = |e: &&Estimate| e.choice.algorithm() == name && e.choice.rounds() == rounds;
        self.estimates.iter().find(is_taken).map_or(0.0, |estimate| estimate.cycles)
    }
}

/// The border that a window reads by the definition.
pub(crate) fn padding(window: &Window) -> [usize; 4] {
    let ([top, left], [bottom, right]) = (window.pad_before, window.pad_after);
    [top, left, bottom, right]
}
