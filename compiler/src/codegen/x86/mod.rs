//! The leaf functions of kernels, for the vector widths that Cranelift does not have: written in the
//! portable instructions of [`asm`](crate::asm), which encodes them.

mod strassen;
mod tile;
mod winograd;

pub use strassen::sums;
pub use tile::micro_kernel;
pub use winograd::transform;

use crate::asm::Register;

/// Bytes of an element.
const ELEMENT: usize = 4;

// The parameters that every function made here has. The second is the weights or the scratch memory.
const FROM: Register = Register::From;
const SECOND: Register = Register::Second;
const TO: Register = Register::To;
const BIAS: Register = Register::Bias;
const TILES: Register = Register::Tiles;
const OTHER: Register = Register::Other;
