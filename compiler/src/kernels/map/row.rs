//! Elementwise loops in the portable instructions: a row of blocks of 16 elements, a block each trip.

use crate::asm::{self, Address, Assembler, Function, Register, Vector};
use crate::codegen::{Leaf, LeafCode};
use crate::error::{Error, Result};
use crate::ir::DType;
use crate::ir::expr::Expr;
use crate::lanes::{Program, Registers};
use crate::machine::{BLOCK, Vectors};

/// Where the operands of the expression are, in order.
const SOURCES: [Register; 4] = [Register::From, Register::Second, Register::Bias, Register::Other];

/// A row of blocks: `fn(x1, x2, out, x3, blocks, x4)`. For each block and each of its elements,
/// `out[i] = expr(x1[i], …)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// The type of each operand, destination first.
    pub(super) dtypes: Vec<DType>,
    /// Which operands are one element for all of a block.
    pub(super) spread: Vec<bool>,
    /// Bytes from one block to the next in each operand.
    pub(super) strides: Vec<i64>,
    /// What is stored.
    pub(super) expr: Expr,
}

impl Row {
    /// Whether the portable instructions can say it, with the same bits as other code: there are registers
    /// for the operands, and instructions for the functions.
    pub(super) fn is_assembled(&self) -> bool {
        // Every machine that has an assembler has as many.
        const REGISTERS: usize = 16;
        let is_spread = |(spread, dtype): (&bool, &DType)| !spread || *dtype == DType::F32;
        let program = Program::of(&self.expr, &self.dtypes);
        self.dtypes.len() <= 1 + SOURCES.len()
            && self.spread.iter().zip(&self.dtypes).all(is_spread)
            && self.spread.first() == Some(&false)
            && program.is_some_and(|program| Registers::of(&program, REGISTERS).is_some())
    }

    /// Its code; `None` if the portable instructions cannot say it.
    pub(super) fn assembled(&self, vectors: Vectors) -> Option<Function> {
        let program = Program::of(&self.expr, &self.dtypes)?;
        let registers = Registers::of(&program, vectors.registers())?;
        let mut a = Assembler::new("map", vectors);
        registers.set(&mut a);
        let block = a.here();
        for part in 0..vectors.per_block() {
            let lane = part * vectors.lanes();
            let mut load = |a: &mut Assembler, operand, to| self.load(a, operand, lane, to);
            let result = registers.compute(&mut a, &mut load)?;
            let to = self.at(0, Register::To, lane);
            if self.dtypes[0] == DType::U8 {
                a.store_bytes(to, result);
            } else {
                a.store(to, result);
            }
        }
        for (register, stride) in std::iter::once(Register::To).chain(SOURCES).zip(&self.strides) {
            a.add_immediate(register, *stride);
        }
        a.loop_back(Register::Tiles, block);
        Some(a.finish())
    }

    /// Where an operand's element for this lane of a block is.
    fn at(&self, operand: usize, register: Register, lane: usize) -> Address {
        let lane = if self.spread[operand] { 0 } else { lane };
        register.at(lane * self.dtypes[operand].size())
    }

    fn load(&self, a: &mut Assembler, operand: usize, lane: usize, to: Vector) {
        let from = self.at(operand, SOURCES[operand - 1], lane);
        if self.spread[operand] {
            return a.broadcast(to, from);
        }
        if self.dtypes[operand] == DType::U8 {
            a.load_bytes(to, from);
            return a.floats_of_integers(to, to);
        }
        a.load(to, from);
    }
}

impl Leaf for Row {
    fn name(&self) -> String {
        "map".into()
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        let assembled = if asm::is_encoded(vectors) { self.assembled(vectors) } else { None };
        let none = || Error::internal("without an assembler, maps are made by Cranelift");
        assembled.map(LeafCode::Assembled).ok_or_else(none)
    }
}

/// Elements of a block.
pub(super) const TRIP: usize = BLOCK;
