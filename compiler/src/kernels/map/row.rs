//! Elementwise loops over bytes in the portable instructions: a row of blocks of 16 channels, a block each
//! trip.
//!
//! ```text
//!   registers   0 …                  what an expression is computed in, a stack
//!               … last               constants, set once
//! ```

use crate::asm::{self, Assembler, Function, Register, Vector};
use crate::codegen::{Leaf, LeafCode};
use crate::error::{Error, Result};
use crate::ir::expr::{Expr, Number};
use crate::ir::{Binary, DType, Unary};
use crate::machine::{BLOCK, Vectors};

/// Where the operands of the expression are, in order.
const SOURCES: [Register; 4] = [Register::From, Register::Second, Register::Bias, Register::Other];

/// A row of blocks: `fn(x1, x2, out, x3, blocks, x4)`. For each block and each of its elements,
/// `out[i] = expr(x1[i], …)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// The type of each operand, destination first.
    pub(super) dtypes: Vec<DType>,
    /// Bytes from one block to the next in each operand.
    pub(super) strides: Vec<i64>,
    /// What is stored.
    pub(super) expr: Expr,
}

impl Row {
    /// Whether the portable instructions can say it, with the same bits as other code: there are registers
    /// for the operands, and instructions for the functions.
    pub(super) fn is_assembled(&self) -> bool {
        // Every machine that has bytes in blocks has as many.
        const DEEPEST: usize = 12;
        let is_stored = match (&self.expr, self.dtypes[0]) {
            (Expr::Cast(DType::U8, number), DType::U8) => {
                Clipped::of(number).is_some_and(|clipped| self.can_compute(clipped.number))
            }
            (expr, DType::F32) => self.can_compute(expr),
            _ => false,
        };
        let registers = depth(&self.expr) + self.constants().len();
        is_stored && self.dtypes.len() <= 1 + SOURCES.len() && registers <= DEEPEST
    }

    fn can_compute(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Constant(_) => true,
            Expr::Operand(operand) => self.dtypes.get(*operand) == Some(&DType::F32),
            Expr::Cast(DType::F32, inner) => self.reads_byte(inner),
            Expr::Unary(Unary::Relu, a) => !matches!(**a, Expr::Operand(_)) && self.can_compute(a),
            Expr::Unary(Unary::Quantized { scale: 1.0, .. }, a) => self.can_compute(a),
            Expr::Binary(Binary::Add | Binary::Sub | Binary::Mul, a, b) => {
                self.can_compute(a) && self.can_compute(b)
            }
            Expr::Unary(..) | Expr::Binary(..) | Expr::Select(..) | Expr::Cast(..) => false,
        }
    }

    fn reads_byte(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::Operand(operand) if self.dtypes.get(*operand) == Some(&DType::U8))
    }

    /// Distinct numbers that are computed with.
    fn constants(&self) -> Vec<Number> {
        let mut all = Vec::new();
        let mut number = &self.expr;
        if let Expr::Cast(DType::U8, byte) = &self.expr
            && let Some(clipped) = Clipped::of(byte)
        {
            all.extend(clipped.constants().map(Number));
            number = clipped.number;
        }
        number.visit(&mut |expr| match expr {
            Expr::Constant(number) => all.push(*number),
            Expr::Unary(Unary::Relu, _) => all.push(Number(0.0)),
            Expr::Unary(Unary::Quantized { lowest, highest, .. }, _) => {
                all.extend([lowest, highest].map(|x| Number(f64::from(*x))));
            }
            _ => {}
        });
        let mut distinct: Vec<Number> = Vec::new();
        for number in all {
            if !distinct.contains(&number) {
                distinct.push(number);
            }
        }
        distinct
    }

    fn assembled(&self, vectors: Vectors) -> Function {
        let constants = self.constants();
        let first = vectors.registers() - constants.len();
        let mut emission = Emission {
            a: Assembler::new("map", vectors),
            row: self,
            constants: constants.into_iter().zip((first..).map(Vector)).collect(),
            part: 0,
        };
        emission.function();
        emission.a.finish()
    }
}

/// What is stored as a byte: a number, rounded to the nearest integer from `lowest` to `highest`, and then
/// `added` to that.
struct Clipped<'e> {
    number: &'e Expr,
    lowest: f64,
    highest: f64,
    added: f64,
}

impl<'e> Clipped<'e> {
    /// Of a number that is whole and from 0 to 255, as what is stored as a byte here must be: conversions
    /// that truncate and stop at the ends are made elsewhere.
    fn of(number: &'e Expr) -> Option<Clipped<'e>> {
        let (rounded, added) = match number {
            Expr::Binary(Binary::Sub, rounded, less) => match **less {
                Expr::Constant(Number(less)) => (&**rounded, -less),
                _ => return None,
            },
            rounded => (rounded, 0.0),
        };
        let Expr::Unary(Unary::Quantized { scale: 1.0, lowest, highest }, number) = rounded else {
            return None;
        };
        let [lowest, highest] = [lowest, highest].map(|x| f64::from(*x));
        let is_byte = lowest + added >= 0.0 && highest + added <= 255.0 && added >= 0.0;
        let is_whole = [lowest, highest, added].iter().all(|x| x.fract() == 0.0);
        (is_byte && is_whole).then_some(Clipped { number, lowest, highest, added })
    }

    /// What registers hold for it: both ends, and what is added, as an integer.
    fn constants(&self) -> impl Iterator<Item = f64> {
        let added = (self.added > 0.0).then_some(integer(self.added));
        [self.lowest, self.highest].into_iter().chain(added)
    }
}

/// The f32 that has the bits of an i32, which is small and not negative.
fn integer(value: f64) -> f64 {
    f64::from(f32::from_bits(value as u32))
}

/// Registers that an expression takes.
fn depth(expr: &Expr) -> usize {
    match expr {
        Expr::Operand(_) | Expr::Constant(_) => 1,
        Expr::Unary(_, a) | Expr::Cast(_, a) => depth(a),
        Expr::Binary(_, a, b) => depth(a).max(1 + depth(b)),
        Expr::Select(c, a, b) => depth(c).max(1 + depth(a)).max(2 + depth(b)),
    }
}

struct Emission<'r> {
    a: Assembler,
    row: &'r Row,
    constants: Vec<(Number, Vector)>,
    /// Which vector of a block is computed.
    part: usize,
}

impl Emission<'_> {
    fn function(&mut self) {
        for (number, register) in self.constants.clone() {
            self.a.splat(register, number.0 as f32);
        }
        let block = self.a.here();
        for part in 0..self.a.vectors().per_block() {
            self.part = part;
            self.store();
        }
        let moved = std::iter::once(Register::To).chain(SOURCES).zip(&self.row.strides);
        for (register, stride) in moved {
            self.a.add_immediate(register, *stride);
        }
        self.a.loop_back(Register::Tiles, block);
    }

    /// Bytes from the start of a block to the vector.
    fn at(&self, dtype: DType) -> usize {
        self.part * self.a.vectors().lanes() * dtype.size()
    }

    fn store(&mut self) {
        let (to, result) = (Register::To.at(self.at(self.row.dtypes[0])), Vector(0));
        match &self.row.expr {
            Expr::Cast(DType::U8, byte) => {
                if let Some(clipped) = Clipped::of(byte) {
                    self.compute(clipped.number, 0);
                    self.round(&clipped, result);
                }
                self.a.store_bytes(to, result);
            }
            number => {
                self.compute(number, 0);
                self.a.store(to, result);
            }
        }
    }

    /// Makes a number the integer that is stored.
    fn round(&mut self, clipped: &Clipped<'_>, number: Vector) {
        let [lowest, highest] = [clipped.lowest, clipped.highest].map(|end| self.constant(end));
        self.a.max(number, number, lowest);
        self.a.min(number, number, highest);
        self.a.integers_of_floats(number, number);
        if clipped.added > 0.0 {
            let added = self.constant(integer(clipped.added));
            self.a.add_integers(number, number, added);
        }
    }

    fn constant(&self, number: f64) -> Vector {
        let known = self.constants.iter().find(|(known, _)| *known == Number(number));
        known.map_or(Vector(0), |(_, register)| *register)
    }

    /// Computes an expression in register `at` and those behind it.
    fn compute(&mut self, expr: &Expr, at: usize) {
        let to = Vector(at);
        match expr {
            Expr::Constant(number) => self.a.copy_vector(to, self.constant(number.0)),
            Expr::Operand(operand) => {
                let from = SOURCES[operand - 1].at(self.at(DType::F32));
                self.a.load(to, from);
            }
            Expr::Cast(_, inner) => {
                if let Expr::Operand(operand) = **inner {
                    let from = SOURCES[operand - 1].at(self.at(DType::U8));
                    self.a.load_bytes(to, from);
                    self.a.floats_of_integers(to, to);
                }
            }
            Expr::Unary(function, a) => {
                self.compute(a, at);
                self.apply(*function, to);
            }
            Expr::Binary(function, a, b) => {
                self.compute(a, at);
                let b = match &**b {
                    Expr::Constant(number) => self.constant(number.0),
                    b => {
                        self.compute(b, at + 1);
                        Vector(at + 1)
                    }
                };
                match function {
                    Binary::Add => self.a.add(to, to, b),
                    Binary::Sub => self.a.subtract(to, to, b),
                    _ => self.a.multiply(to, to, b),
                }
            }
            Expr::Select(..) => {}
        }
    }

    fn apply(&mut self, function: Unary, to: Vector) {
        if let Unary::Quantized { lowest, highest, .. } = function {
            let [lowest, highest] = [lowest, highest].map(|x| self.constant(f64::from(x)));
            self.a.max(to, to, lowest);
            self.a.min(to, to, highest);
            self.a.integers_of_floats(to, to);
            return self.a.floats_of_integers(to, to);
        }
        let zero = self.constant(0.0);
        self.a.max(to, zero, to);
    }
}

impl Leaf for Row {
    fn name(&self) -> String {
        "map".into()
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        match asm::is_encoded(vectors) {
            true => Ok(LeafCode::Assembled(self.assembled(vectors))),
            false => Err(Error::internal("without an assembler, maps are made by Cranelift")),
        }
    }
}

/// Elements of a block.
pub(super) const TRIP: usize = BLOCK;
