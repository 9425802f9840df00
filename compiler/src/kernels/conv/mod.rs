//! Convolutions of values in blocks of 16 channels: a folder for each algorithm, and what they share.
//!
//! - [`direct`] by the definition, [`winograd`] by Winograd's minimal filtering, [`strassen`] by
//!   Strassen's products of halves; each has its offers to the schedule, its kernels, its lowering and its
//!   packing of weights,
//! - [`blocked`] is the kernel of the definition, and [`micro_kernel`] the register tile that all are made
//!   of,
//! - [`register_tile`] and [`cost`] have the sizes of tiles and the estimates,
//! - [`source`] says how a window reads a value, [`pack`] how channels are packed, [`rounding`] how sums
//!   become bytes.
//!
//! A new algorithm is a folder like these and a row of [`ALL`].

pub mod blocked;
mod cost;
mod direct;
pub mod micro_kernel;
pub(in crate::kernels) mod pack;
pub(in crate::kernels) mod pack_bfloats;
mod parameters;
pub(in crate::kernels) mod register_tile;
mod rounding;
mod source;
pub mod strassen;
pub mod winograd;

use super::lowering::{InBlocks, Lowering};
use crate::error::{Error, Result};
use crate::ir::NodeId;
use crate::plan::kernel::Row;
use crate::plan::weights::InBlocks as PackedBlocks;
use crate::plan::{Place, Role};
use crate::schedule::algorithm::Algorithm;
use crate::schedule::blocked::Blocked;
use crate::schedule::{Algorithms, BadChoice, Choice, ConvSchedule};

/// An algorithm with its lowering.
pub(crate) trait ConvAlgorithm: Algorithm {
    /// Writes a convolution down as scheduled, whose choice is one of this algorithm's.
    fn lower(&self, l: &mut Lowering<'_, '_>, id: NodeId, conv: &ConvSchedule) -> Result<()>;

    /// Kernels of its own. It may use those of others too.
    fn kernels(&self) -> &'static [Row];
}

/// Every algorithm, the definition first. Of what tuning tries, the first ones' choices come first, and there is an
/// end to it: so those with the fastest products do.
const ALL: &[&dyn ConvAlgorithm] = &[
    &direct::Direct { rounds: false },
    &direct::Direct { rounds: true },
    &winograd::Winograd { rounds: true },
    &winograd::Winograd { rounds: false },
    &strassen::Strassen,
];

/// The same, as schedules see them.
pub(crate) const ALGORITHMS: Algorithms = {
    const SEEN: [&dyn Algorithm; ALL.len()] = {
        let mut all: [&dyn Algorithm; ALL.len()] = [ALL[0]; ALL.len()];
        let mut row = 1;
        while row < ALL.len() {
            all[row] = ALL[row];
            row += 1;
        }
        all
    };
    Algorithms(&SEEN)
};

/// What there is to know of an algorithm where it is not used.
#[derive(Debug, Clone, Copy)]
pub struct AlgorithmInfo {
    /// Kernels of its own. It may use those of others too.
    pub kernels: &'static [Row],
    /// Whether every CPU with fused multiply-adds can compute it, with the same bits.
    pub has_portable_bits: bool,
}

impl AlgorithmInfo {
    /// Whether a kernel is one of its own.
    pub fn has(&self, kernel: &str) -> bool {
        self.kernels.iter().any(|row| row.name == kernel)
    }

    fn of(algorithm: &dyn ConvAlgorithm) -> AlgorithmInfo {
        AlgorithmInfo {
            kernels: algorithm.kernels(),
            has_portable_bits: algorithm.has_portable_bits(),
        }
    }
}

/// Every algorithm, the definition first.
pub fn algorithms() -> impl Iterator<Item = AlgorithmInfo> {
    ALL.iter().copied().map(AlgorithmInfo::of)
}

/// The algorithm that a choice is one of.
pub fn algorithm_of(choice: &Choice) -> Option<AlgorithmInfo> {
    reader(choice).map(AlgorithmInfo::of)
}

fn reader(choice: &Choice) -> Option<&'static dyn ConvAlgorithm> {
    ALL.iter().copied().find(|algorithm| algorithm.reads(choice))
}

/// Kernels of all algorithms.
pub(super) fn kernels() -> impl Iterator<Item = &'static Row> {
    ALL.iter().flat_map(|algorithm| algorithm.kernels())
}

/// The choice of this text.
///
/// # Errors
/// [`BadChoice`] for a text that no algorithm would have written.
pub fn read_choice(text: &str) -> Result<Choice, BadChoice> {
    let choice = Choice::new(text);
    match reader(&choice) {
        Some(_) => Ok(choice),
        None => Err(BadChoice(text.into())),
    }
}

/// A convolution whose result lies in blocks.
pub(super) fn lower(l: &mut Lowering<'_, '_>, id: NodeId) -> Result<()> {
    let conv = l.conv(id)?;
    l.because(&conv.why);
    let algorithm = reader(&conv.choice);
    let algorithm = algorithm.ok_or_else(|| Error::internal("a choice of no algorithm"))?;
    algorithm.lower(l, id, conv)
}

/// The choice of a convolution as its algorithm reads it: what is scheduled is never left out.
fn read_by<W>(read: impl Fn(&Choice) -> Option<W>, conv: &ConvSchedule) -> Result<W> {
    read(&conv.choice).ok_or_else(|| Error::internal("a choice of another algorithm"))
}

/// What every algorithm reads besides the input and the weights.
struct Extras {
    bias: Option<Place>,
    residual: Option<InBlocks>,
}

impl Extras {
    /// The residual operand of a convolution, whose result lies like this, in blocks; without a border
    /// if it is read as one run of pixels.
    fn residual(
        l: &mut Lowering<'_, '_>,
        id: NodeId,
        conv: &ConvSchedule,
        layout: &Blocked,
        flat: bool,
    ) -> Result<Option<InBlocks>> {
        let Some(slot) = conv.problem.fused.residual else { return Ok(None) };
        let operand = l.operand(id, slot)?;
        let like = layout.stored(conv.problem.residual_bytes);
        match flat {
            true => l.in_blocks_flat_like(operand, &like),
            false => l.in_blocks_like(operand, &like),
        }
        .map(Some)
    }

    /// With the bias packed.
    fn with_bias(
        l: &mut Lowering<'_, '_>,
        id: NodeId,
        layout: &Blocked,
        residual: Option<InBlocks>,
    ) -> Result<Extras> {
        let bias = l.packed_operand(id, 2, PackedBlocks(layout.segments))?;
        Ok(Extras { bias, residual })
    }

    /// Their places with their roles.
    fn arguments(&self) -> impl Iterator<Item = (Role, Place)> {
        let bias = self.bias.map(|bias| (Role::Bias, bias));
        let residual = self.residual.map(|residual| (Role::Residual, residual.at));
        [bias, residual].into_iter().flatten()
    }

    /// A distance in the residual operand, 0 where there is none.
    fn distance(&self, of: impl Fn(&Blocked) -> usize) -> usize {
        self.residual.as_ref().map_or(0, |residual| of(&residual.layout))
    }
}

/// A place for the sums: the result's, where they are stored as it lies.
fn result(l: &mut Lowering<'_, '_>, id: NodeId, conv: &ConvSchedule) -> Result<InBlocks> {
    let made = conv.problem.made;
    Ok(match made == l.layout(id)? {
        true => l.new_blocked(id, made),
        false => l.make_blocked(made),
    })
}

/// The end of every convolution: what is left of its epilogue, and the border of its result.
fn finish(l: &mut Lowering<'_, '_>, id: NodeId, conv: &ConvSchedule, sums: InBlocks) -> Result<()> {
    with_rest(l, id, conv, sums, conv.problem.fused.left)
}

/// The same where so many steps are left.
fn with_rest(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    conv: &ConvSchedule,
    sums: InBlocks,
    left: usize,
) -> Result<()> {
    let layout = l.layout(id)?;
    let out = if sums.layout == layout { sums } else { l.new_blocked(id, layout) };
    l.apply_rest(id, [sums, out], &conv.conv.epilogue, left)?;
    l.made_in_blocks(id, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back() {
        for text in [
            "direct 14x2 by weights",
            "direct 1x1 by pixels",
            "direct 14x2 by weights in bf16",
            "F(3x3) 7x2 rows 7 images 1 in bf16",
            "F(4x4) 7x2 rows 7 images 1",
            "strassen 6x1 by weights row 98",
        ] {
            assert_eq!(read_choice(text).map(|c| c.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn nothing_else_is_a_choice() {
        for text in [
            "",
            "direct",
            "direct 14x2",
            "direct 14x2 by rows",
            "direct 014x2 by pixels",
            "direct +1x2 by pixels",
            "direct -1x2 by pixels",
            "direct 14x2  by pixels",
            "direct 14x2 by pixels ",
            "direct 99999999999999999999x2 by pixels",
            "F(5x5) 7x2 rows 7 images 1",
            "F(4x4) 7x2 rows 7",
            "F(4x4) 7 rows 7 images 1",
            "strassen 6x1 by weights",
            "strassen 6x1 by weights row +98",
            "strassen 6x1 by weights row 98 in bf16",
            "direct 14x2 by weights in bf16 in bf16",
        ] {
            assert_eq!(read_choice(text), Err(BadChoice(text.into())));
        }
    }
}
