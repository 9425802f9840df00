//! The sums around Strassen's products, a row of pixels at a time.

use iced_x86::Register;

use super::{Assembler, BIAS, ELEMENT, FROM, Isa, OTHER, SECOND, TILES, TO};
use crate::error::Result;
use crate::kernels::conv::strassen::{Halves, Sums};
use crate::machine::BLOCK;
use crate::schedule::epilogue::FusedStep;

/// Pixels that are fetched ahead.
const AHEAD: usize = 8;

/// Bytes of a pixel.
const PIXEL: usize = BLOCK * ELEMENT;

/// The code of a leaf function: `fn(from, next, to, bias, pixels, other)`.
pub(crate) fn sums(isa: &Isa, spec: &Sums) -> Result<Vec<u8>> {
    let mut a = Assembler::new(isa);
    let vectors = 0..isa.vectors.per_block();
    let lanes = isa.vectors.lanes();
    match spec {
        Sums::Inputs { from, to } => {
            let pixel = a.here();
            for vector in vectors {
                inputs(&mut a, vector * lanes * ELEMENT, *from, *to);
            }
            a.advance(FROM, PIXEL as i64);
            a.advance(TO, PIXEL as i64);
            a.loop_back(TILES, pixel);
        }
        Sums::Products { product, to, residual, bias, steps, next } => {
            let (product, to, other, next) = (*product, *to, *residual, *next);
            let outputs = Outputs { product, to, other, steps, next };
            outputs.start(&mut a, *bias);
            let pixel = a.here();
            outputs.fetch(&mut a);
            for vector in vectors {
                outputs.of(&mut a, vector, bias.is_some());
            }
            a.advance(FROM, PIXEL as i64);
            a.advance(TO, PIXEL as i64);
            if steps.contains(&FusedStep::AddResidual) {
                a.advance(OTHER, PIXEL as i64);
            }
            if next.is_some() {
                a.advance(SECOND, PIXEL as i64);
            }
            a.loop_back(TILES, pixel);
        }
    }
    a.finish("sums")
}

/// s1 to s4 of a vector.
fn inputs(a: &mut Assembler<'_>, lane: usize, from: Halves, to: Halves) {
    let quarters = [0, 1, 2, 3];
    for (register, [pixels, channels]) in quarters.into_iter().zip(QUARTERS) {
        a.load(register, FROM, from.at(pixels, channels) * ELEMENT + lane);
    }
    sums_of(a, quarters, TO, |sum| to.at(sum % 2, sum / 2) * ELEMENT + lane);
}

/// Halves of pixels and of channels, in the order of registers.
const QUARTERS: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// Stores s1 to s4 of quarters in registers.
fn sums_of(
    a: &mut Assembler<'_>,
    [x11, x12, x21, x22]: [usize; 4],
    to: Register,
    at: impl Fn(usize) -> usize,
) {
    let [first, second] = [4, 5];
    a.add(first, x21, x22);
    a.store(to, at(0), first);
    a.subtract(first, first, x11);
    a.store(to, at(1), first);
    a.subtract(second, x11, x21);
    a.store(to, at(2), second);
    a.subtract(first, x12, first);
    a.store(to, at(3), first);
}

/// Registers of what stays the same for all pixels.
const ZERO: usize = 7;
const BIASES: usize = 8;

struct Outputs<'s> {
    product: usize,
    to: Halves,
    other: Halves,
    steps: &'s [FusedStep],
    next: Option<Halves>,
}

impl Outputs<'_> {
    fn start(&self, a: &mut Assembler<'_>, bias: Option<usize>) {
        if self.steps.contains(&FusedStep::Relu) {
            a.zero(ZERO);
        }
        let (vectors, lanes) = (a.isa.vectors.per_block(), a.isa.vectors.lanes());
        for (half, vector) in (0..2).flat_map(|half| (0..vectors).map(move |v| (half, v))) {
            if let Some(distance) = bias {
                let at = half * distance + vector * lanes;
                a.load(BIASES + half * vectors + vector, BIAS, at * ELEMENT);
            }
        }
    }

    /// Fetches what is written some pixels later.
    fn fetch(&self, a: &mut Assembler<'_>) {
        for [pixels, channels] in QUARTERS {
            a.fetch_to_write(TO, self.to.at(pixels, channels) * ELEMENT + AHEAD * PIXEL);
        }
        if let Some(next) = self.next {
            for [pixels, channels] in QUARTERS {
                a.fetch_to_write(SECOND, next.at(pixels, channels) * ELEMENT + AHEAD * PIXEL);
            }
        }
    }

    /// The four outputs of a vector.
    fn of(&self, a: &mut Assembler<'_>, vector: usize, bias: bool) {
        let (vectors, lane) = (a.isa.vectors.per_block(), vector * a.isa.vectors.lanes() * ELEMENT);
        let product = |number: usize| (number - 1) * self.product * ELEMENT + lane;
        let [y11, y12, y21, y22] = [0, 1, 2, 3];
        a.load(y11, FROM, product(1));
        a.load(y12, FROM, product(6));
        a.add(y12, y12, y11);
        a.load(y22, FROM, product(7));
        a.add(y22, y22, y12);
        a.copy_vector(y21, y22);
        a.add_memory(y11, FROM, product(2));
        a.add_memory(y21, FROM, product(4));
        let p5 = 4;
        a.load(p5, FROM, product(5));
        a.add(y22, y22, p5);
        a.add(y12, y12, p5);
        a.add_memory(y12, FROM, product(3));
        let quarters = [y11, y12, y21, y22];
        for (y, [pixels, channels]) in quarters.into_iter().zip(QUARTERS) {
            if bias {
                a.add(y, y, BIASES + channels * vectors + vector);
            }
            for step in self.steps {
                match step {
                    FusedStep::AddResidual => {
                        a.add_memory(y, OTHER, self.other.at(pixels, channels) * ELEMENT + lane);
                    }
                    FusedStep::Relu => a.max(y, ZERO),
                }
            }
            a.store(TO, self.to.at(pixels, channels) * ELEMENT + lane, y);
        }
        if let Some(next) = self.next {
            sums_of(a, quarters, SECOND, |sum| next.at(sum % 2, sum / 2) * ELEMENT + lane);
        }
    }
}
