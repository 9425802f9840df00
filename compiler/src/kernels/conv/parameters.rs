//! The parameters of every leaf function of convolutions, by their registers.

use crate::asm::Register;

/// What is read.
pub(super) const FROM: Register = Register::From;
/// Weights, scratch memory, or a second output.
pub(super) const SECOND: Register = Register::Second;
/// What is written.
pub(super) const TO: Register = Register::To;
pub(super) const BIAS: Register = Register::Bias;
/// How many tiles, or pixels.
pub(super) const TILES: Register = Register::Tiles;
/// The residual operand, or totals.
pub(super) const OTHER: Register = Register::Other;
