//! The sums around Strassen's products, a row of pixels at a time.

use super::{Halves, Sums};
use crate::asm::{Address, Assembler, Function, Register, Vector};
use crate::codegen::{Leaf, LeafCode};
use crate::error::Result;
use crate::kernels::conv::parameters::{BIAS, FROM, OTHER, SECOND, TILES, TO};
use crate::machine::{BLOCK, F32_BYTES as ELEMENT, Vectors};
use crate::schedule::epilogue::FusedStep;

/// Pixels that are fetched ahead.
const AHEAD: usize = 8;

/// Bytes of a pixel.
const PIXEL: usize = BLOCK * ELEMENT;

impl Leaf for Sums {
    fn name(&self) -> String {
        "sums".into()
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        Ok(LeafCode::Assembled(self.assembled(vectors)))
    }
}

impl Sums {
    /// Their code, for a row of pixels: `fn(from, next, to, bias, pixels, residual)`.
    pub fn assembled(&self, vectors: Vectors) -> Function {
        let mut a = Assembler::new("sums", vectors);
        match self {
            Sums::Inputs { from, to } => {
                let pixel = a.here();
                for vector in 0..vectors.per_block() {
                    inputs(&mut a, vector * vectors.lanes() * ELEMENT, *from, *to);
                }
                next_pixel(&mut a, [FROM, TO]);
                a.loop_back(TILES, pixel);
            }
            Sums::Products { product, to, residual, bias, steps, next } => {
                let (product, to, residual, next) = (*product, *to, *residual, *next);
                let outputs = Outputs { product, to, residual, steps, next };
                outputs.start(&mut a, *bias);
                let pixel = a.here();
                outputs.fetch(&mut a);
                for vector in 0..vectors.per_block() {
                    outputs.of(&mut a, vector, bias.is_some());
                }
                let residual = steps.contains(&FusedStep::AddResidual).then_some(OTHER);
                let next = next.map(|_| SECOND);
                next_pixel(&mut a, [FROM, TO].into_iter().chain(residual).chain(next));
                a.loop_back(TILES, pixel);
            }
        }
        a.finish()
    }
}

fn next_pixel(a: &mut Assembler, pointers: impl IntoIterator<Item = Register>) {
    for pointer in pointers {
        a.add_immediate(pointer, PIXEL as i64);
    }
}

/// s1 to s4 of a vector.
fn inputs(a: &mut Assembler, lane: usize, from: Halves, to: Halves) {
    let quarters = [0, 1, 2, 3].map(Vector);
    for (register, [pixels, channels]) in quarters.into_iter().zip(QUARTERS) {
        a.load(register, FROM.at(from.at(pixels, channels) * ELEMENT + lane));
    }
    sums_of(a, quarters, |sum| TO.at(to.at(sum % 2, sum / 2) * ELEMENT + lane));
}

/// Halves of pixels and of channels, in the order of registers.
const QUARTERS: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// Stores s1 to s4 of quarters in registers.
fn sums_of(a: &mut Assembler, [x11, x12, x21, x22]: [Vector; 4], to: impl Fn(usize) -> Address) {
    let [first, second] = [4, 5].map(Vector);
    a.add(first, x21, x22);
    a.store(to(0), first);
    a.subtract(first, first, x11);
    a.store(to(1), first);
    a.subtract(second, x11, x21);
    a.store(to(2), second);
    a.subtract(first, x12, first);
    a.store(to(3), first);
}

/// Registers of what stays the same for all pixels.
const ZERO: Vector = Vector(7);
const BIASES: usize = 8;

struct Outputs<'s> {
    product: usize,
    to: Halves,
    residual: Halves,
    steps: &'s [FusedStep],
    next: Option<Halves>,
}

impl Outputs<'_> {
    fn start(&self, a: &mut Assembler, bias: Option<usize>) {
        if self.steps.contains(&FusedStep::Relu) {
            a.zero(ZERO);
        }
        let (vectors, lanes) = (a.vectors().per_block(), a.vectors().lanes());
        for (half, vector) in (0..2).flat_map(|half| (0..vectors).map(move |v| (half, v))) {
            if let Some(distance) = bias {
                let at = half * distance + vector * lanes;
                a.load(Vector(BIASES + half * vectors + vector), BIAS.at(at * ELEMENT));
            }
        }
    }

    /// Fetches what is written some pixels later.
    fn fetch(&self, a: &mut Assembler) {
        for [pixels, channels] in QUARTERS {
            a.prefetch_write(TO.at(self.to.at(pixels, channels) * ELEMENT + AHEAD * PIXEL));
        }
        if let Some(next) = self.next {
            for [pixels, channels] in QUARTERS {
                a.prefetch_write(SECOND.at(next.at(pixels, channels) * ELEMENT + AHEAD * PIXEL));
            }
        }
    }

    /// The four outputs of a vector.
    fn of(&self, a: &mut Assembler, vector: usize, bias: bool) {
        let (vectors, lane) = (a.vectors().per_block(), vector * a.vectors().lanes() * ELEMENT);
        let quarters = [0, 1, 2, 3].map(Vector);
        self.add_products(a, quarters, lane);
        for (y, [pixels, channels]) in quarters.into_iter().zip(QUARTERS) {
            if bias {
                a.add(y, y, Vector(BIASES + channels * vectors + vector));
            }
            for step in self.steps {
                match step {
                    FusedStep::AddResidual => {
                        let at = self.residual.at(pixels, channels) * ELEMENT + lane;
                        a.add_memory(y, OTHER.at(at));
                    }
                    FusedStep::Relu => a.max(y, ZERO, y),
                }
            }
            a.store(TO.at(self.to.at(pixels, channels) * ELEMENT + lane), y);
        }
        if let Some(next) = self.next {
            sums_of(a, quarters, |sum| SECOND.at(next.at(sum % 2, sum / 2) * ELEMENT + lane));
        }
    }

    /// The sums of products.
    fn add_products(&self, a: &mut Assembler, [y11, y12, y21, y22]: [Vector; 4], lane: usize) {
        let product = |number: usize| FROM.at((number - 1) * self.product * ELEMENT + lane);
        a.load(y11, product(1));
        a.load(y12, product(6));
        a.add(y12, y12, y11);
        a.load(y22, product(7));
        a.add(y22, y22, y12);
        a.copy_vector(y21, y22);
        a.add_memory(y11, product(2));
        a.add_memory(y21, product(4));
        let p5 = Vector(4);
        a.load(p5, product(5));
        a.add(y22, y22, p5);
        a.add(y12, y12, p5);
        a.add_memory(y12, product(3));
    }
}
