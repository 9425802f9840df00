//! What is computed in each lane of a vector of f32, as straight-line programs: so the functions that no
//! machine has as instructions are written once, and have the same bits wherever they run.
//!
//! ```text
//!   functions   ──► Program ─┬─► assembled ──► the portable instructions, in vectors of any width
//!   expressions              └─► codegen ────► Cranelift, in vectors of four lanes or one element
//! ```
//!
//! Every step is an operation that IEEE 754 rounds once, or one on bits; none depends on how many lanes there
//! are. Machines without fused multiply-adds are out of it: there, functions are computed in f64
//! (`codegen/math.rs`).

mod assembled;
mod coefficients;
mod expression;
mod functions;

pub(crate) use assembled::Registers;
pub(crate) use functions::{Formula, formula};

/// Adding it rounds to the nearest integer, of two the even one, which the low bits then hold.
const ROUNDING: f32 = 12_582_912.0;

/// What a step computes: its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) usize);

/// A step. Values are f32 unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// The operand of this number.
    Operand(usize),
    /// These bits.
    Constant(u32),
    /// `a * b + c`, rounded once.
    MultiplyAdd(Value, Value, Value),
    Add(Value, Value),
    Subtract(Value, Value),
    Multiply(Value, Value),
    Divide(Value, Value),
    SquareRoot(Value),
    /// `a > b ? a : b`, so a NaN in `b` stays.
    Max(Value, Value),
    /// `a < b ? a : b`, so a NaN in `b` stays.
    Min(Value, Value),
    /// `a < b ? yes : no`
    Pick {
        a: Value,
        b: Value,
        yes: Value,
        no: Value,
    },
    /// `a & b`, bit by bit.
    And(Value, Value),
    /// `a ^ b`, bit by bit.
    Xor(Value, Value),
    /// `a + b` of i32, which wraps.
    AddIntegers(Value, Value),
    /// `a - b` of i32, which wraps.
    SubtractIntegers(Value, Value),
    /// `a << by` of i32.
    ShiftLeft(Value, u8),
    /// `a >> by` of i32; the sign fills in.
    ShiftRight(Value, u8),
    /// The nearest f32 of an i32.
    FloatOfInteger(Value),
}

impl Step {
    /// What it is computed of, in order.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Value> + use<> {
        let sources = match *self {
            Step::Operand(_) | Step::Constant(_) => [None; 4],
            Step::SquareRoot(a)
            | Step::ShiftLeft(a, _)
            | Step::ShiftRight(a, _)
            | Step::FloatOfInteger(a) => [Some(a), None, None, None],
            Step::Add(a, b)
            | Step::Subtract(a, b)
            | Step::Multiply(a, b)
            | Step::Divide(a, b)
            | Step::Max(a, b)
            | Step::Min(a, b)
            | Step::And(a, b)
            | Step::Xor(a, b)
            | Step::AddIntegers(a, b)
            | Step::SubtractIntegers(a, b) => [Some(a), Some(b), None, None],
            Step::MultiplyAdd(a, b, c) => [Some(a), Some(b), Some(c), None],
            Step::Pick { a, b, yes, no } => [Some(a), Some(b), Some(yes), Some(no)],
        };
        sources.into_iter().flatten()
    }
}

/// Steps in order, of which each is computed of earlier ones. The last is the result.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
}

impl Program {
    /// A function of one operand.
    pub(crate) fn of_one(formula: Formula) -> Program {
        let mut program = Program::default();
        let x = program.step(Step::Operand(1));
        let result = formula(&mut program, x);
        program.ending(result)
    }

    /// What a step computes. Equal ones are one.
    fn step(&mut self, step: Step) -> Value {
        let known = self.steps.iter().position(|known| *known == step);
        Value(known.unwrap_or_else(|| {
            self.steps.push(step);
            self.steps.len() - 1
        }))
    }

    /// The program that ends with `result`, which others may be behind.
    fn ending(mut self, result: Value) -> Program {
        self.steps.truncate(result.0 + 1);
        self
    }
}
