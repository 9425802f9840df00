//! The sums of a block of channels of a dense layer, for one pixel.
//!
//! ```text
//!   depth     part 0 │ part 1 │ part 2 │ part 3   weights, which are read once, come from memory faster in
//!               │        │        │        │      several streams than in one, and a sum's next product
//!               ▼        ▼        ▼        ▼      waits for the one before
//!             sum 0    sum 1    sum 2    sum 3
//!               └────────┴─── + ──┴────────┘
//! ```

use cranelift_codegen::ir::types::{F32, F32X4};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::CHANNEL_BLOCK;
use super::emit::{VECTORS, floats, weights};
use crate::asm::{self, Assembler, Function, Register, Vector};
use crate::codegen::emitter::{Emitter, LANES};
use crate::codegen::{Leaf, LeafCode};
use crate::error::Result;
use crate::machine::{F32_BYTES, Vectors};

/// Parts of the depth.
const PARTS: usize = 4;

/// Elements of each part that are unrolled, at most.
const UNROLLED: usize = 8;

/// Bytes of a line of the caches.
const LINE: usize = 64;

/// `fn(input, weights, sums, bias)`: eight sums of so many products, not scaled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseSums {
    /// Contracted elements.
    pub depth: usize,
    /// Distance between those of the input.
    pub input: usize,
    /// Whether weights are i8.
    pub bytes: bool,
    /// Whether sums begin with a bias.
    pub bias: bool,
}

impl DenseSums {
    /// Whether what it reads and fetches is no farther away than instructions can say.
    pub(super) fn is_near(&self) -> bool {
        const FARTHEST: usize = i32::MAX as usize;
        let fits = |bytes: usize| self.depth.saturating_mul(bytes) <= FARTHEST;
        fits(self.input.saturating_mul(F32_BYTES)) && fits(2 * self.line())
    }

    /// Elements of a part, and those that are left.
    fn parts(&self) -> (usize, usize) {
        (self.depth / PARTS, self.depth % PARTS)
    }

    /// Bytes of the weights for one contracted element.
    fn line(&self) -> usize {
        CHANNEL_BLOCK * if self.bytes { 1 } else { F32_BYTES }
    }

    /// Bytes from an element of the input to the next.
    fn step(&self) -> usize {
        self.input * F32_BYTES
    }

    /// Its code, in vectors of eight lanes.
    pub fn assembled(&self) -> Function {
        let mut a = Assembler::new("dense sums", EIGHT_LANES);
        let sums: [Vector; PARTS] = std::array::from_fn(Vector);
        sums.iter().for_each(|sum| a.zero(*sum));
        if self.bias {
            a.load(sums[0], Register::Bias.at(0));
        }
        let (long, rest) = self.parts();
        let unrolled = (1..=UNROLLED).rev().find(|n| long.is_multiple_of(*n)).unwrap_or(1);
        a.set(Register::Scratch0, long / unrolled);
        let again = a.here();
        for element in 0..unrolled {
            for (part, sum) in sums.into_iter().enumerate() {
                self.product(&mut a, sum, part * long + element);
            }
        }
        a.add_immediate(Register::From, (unrolled * self.step()) as i64);
        a.add_immediate(Register::Second, (unrolled * self.line()) as i64);
        a.loop_back(Register::Scratch0, again);
        for element in 0..rest {
            // Pointers are behind the first part.
            self.product(&mut a, sums[0], (PARTS - 1) * long + element);
        }
        let [first, second, third, fourth] = sums;
        a.add(first, first, third);
        a.add(second, second, fourth);
        a.add(first, first, second);
        a.store(Register::To.at(0), first);
        a.finish()
    }

    /// Adds the products of the element so many behind the pointers.
    fn product(&self, a: &mut Assembler, sum: Vector, element: usize) {
        // Pairs of registers take turns.
        let first = PARTS + 2 * (element % PARTS);
        let [broadcast, weights] = [first, first + 1].map(Vector);
        let at = Register::Second.at(element * self.line());
        if (element * self.line()).is_multiple_of(LINE) {
            // Parts are too short for the hardware to foresee what the next block reads.
            a.prefetch_t0(Register::Second.at((element + self.depth) * self.line()));
        }
        a.broadcast(broadcast, Register::From.at(element * self.step()));
        match self.bytes {
            false => a.load(weights, at),
            true => {
                a.load_signed_bytes(weights, at);
                a.floats_of_integers(weights, weights);
            }
        }
        a.multiply_add(sum, weights, broadcast);
    }

    /// The same through Cranelift.
    fn emit(&self, e: &mut Emitter<'_, '_>, [input, weights, to, bias]: [Value; 4]) {
        let (long, rest) = self.parts();
        let zero = e.float(F32X4, 0.0);
        let mut state = if self.bias { floats(e, bias, 0) } else { Vec::new() };
        state.resize(VECTORS * PARTS, zero);
        state.extend([input, weights]);
        let mut sums = e.repeat(long, &state, |e, state| {
            let (sums, at) = state.split_at(VECTORS * PARTS);
            let mut next = sums.to_vec();
            for (part, sums) in next.chunks_mut(VECTORS).enumerate() {
                self.add(e, sums, at, part * long);
            }
            let by = [self.step(), self.line()];
            next.extend(at.iter().zip(by).map(|(at, by)| e.add_imm(*at, by as i64)));
            next
        });
        let at = sums.split_off(VECTORS * PARTS);
        for element in 0..rest {
            self.add(e, &mut sums[..VECTORS], &at, (PARTS - 1) * long + element);
        }
        while sums.len() > VECTORS {
            let (low, high) = sums.split_at(sums.len() / 2);
            sums = low.iter().zip(high).map(|(a, b)| e.builder.ins().fadd(*a, *b)).collect();
        }
        for (vector, sum) in sums.into_iter().enumerate() {
            e.store(sum, to, (vector * LANES * F32_BYTES) as i64);
        }
    }

    fn add(&self, e: &mut Emitter<'_, '_>, sums: &mut [Value], at: &[Value], element: usize) {
        let read = e.load(F32, at[0], (element * self.step()) as i64);
        let read = e.builder.ins().splat(F32X4, read);
        let weights = weights(e, self.bytes, at[1], (element * self.line()) as i64);
        for (weight, sum) in weights.into_iter().zip(sums) {
            *sum = e.multiply_add(weight, read, *sum);
        }
    }
}

/// A block of channels is one register.
const EIGHT_LANES: Vectors = Vectors::Avx2;

impl Leaf for DenseSums {
    fn name(&self) -> String {
        "dense".into()
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        // Whatever has larger registers has these too.
        if asm::is_encoded(vectors) {
            return Ok(LeafCode::Assembled(self.assembled()));
        }
        Ok(LeafCode::Body(Box::new(|e, args| {
            if let [input, weights, to, bias, ..] = *args {
                self.emit(e, [input, weights, to, bias]);
            }
        })))
    }
}
