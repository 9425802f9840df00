//! Sums that become bytes in registers.

use crate::asm::{Address, Assembler, Vector};
use crate::schedule::byte_scale::ByteScale;

/// Registers that it takes.
pub(in crate::kernels::conv) const ROUNDING: usize = 4;

/// Rounds sums to the multiples that bytes stand for, with constants in the registers from one on.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels::conv) struct Rounding {
    first: usize,
    made: ByteScale,
    /// Whether sums are in steps of the scale already.
    in_steps: bool,
}

impl Rounding {
    /// Loads the constants.
    pub(in crate::kernels::conv) fn load(
        a: &mut Assembler,
        first: usize,
        made: ByteScale,
        in_steps: bool,
    ) -> Rounding {
        let rounding = Rounding { first, made, in_steps };
        let [steps, lowest, highest, zero] = rounding.constants();
        if !in_steps {
            a.splat(steps, made.scale.recip());
        }
        a.splat(lowest, made.lowest as f32);
        a.splat(highest, made.highest as f32);
        a.splat(zero, f32::from_bits((-made.lowest).cast_unsigned()));
        rounding
    }

    /// What sums are multiplied by and clipped to, and the byte of 0.
    fn constants(self) -> [Vector; ROUNDING] {
        std::array::from_fn(|i| Vector(self.first + i))
    }

    /// Stores the numbers of the multiples that are nearest to the lanes of a sum, which is overwritten.
    pub(in crate::kernels::conv) fn store(self, a: &mut Assembler, to: Address, sum: Vector) {
        let [steps, lowest, highest, zero] = self.constants();
        if !self.in_steps {
            a.multiply(sum, sum, steps);
        }
        a.max(sum, sum, lowest);
        a.min(sum, sum, highest);
        a.integers_of_floats(sum, sum);
        if self.made.lowest != 0 {
            a.add_integers(sum, sum, zero);
        }
        a.store_bytes(to, sum);
    }
}
