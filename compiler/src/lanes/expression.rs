//! Expressions of elements as programs.

use super::{Program, ROUNDING, Step, Value, formula};
use crate::ir::expr::{Expr, Number};
use crate::ir::{Binary, DType, Unary};

impl Program {
    /// What an expression computes, of f32 and of bytes that it converts, for operands of these types, the
    /// destination first; `None` for what has no steps.
    pub(crate) fn of(expr: &Expr, dtypes: &[DType]) -> Option<Program> {
        let mut program = Program::default();
        let result = match (expr, dtypes.first()?) {
            (Expr::Cast(DType::U8, byte), DType::U8) => program.byte(byte, dtypes)?,
            (expr, DType::F32) => program.expression(expr, dtypes)?,
            (_, DType::F64 | DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::Bool) => {
                return None;
            }
        };
        Some(program.ending(result))
    }

    fn constant(&mut self, value: f32) -> Value {
        self.step(Step::Constant(value.to_bits()))
    }

    fn expression(&mut self, expr: &Expr, dtypes: &[DType]) -> Option<Value> {
        let is = |operand: usize, dtype| dtypes.get(operand) == Some(&dtype);
        match expr {
            Expr::Constant(Number(value)) => Some(self.constant(*value as f32)),
            Expr::Operand(operand) if is(*operand, DType::F32) => {
                Some(self.step(Step::Operand(*operand)))
            }
            Expr::Cast(DType::F32, inner) => match **inner {
                Expr::Operand(operand) if is(operand, DType::U8) => {
                    Some(self.step(Step::Operand(operand)))
                }
                _ => None,
            },
            Expr::Unary(function, a) => {
                let a_is_stored = matches!(**a, Expr::Operand(_));
                let a = self.expression(a, dtypes)?;
                self.unary(*function, a, a_is_stored)
            }
            Expr::Binary(function, a, b) => {
                let [a, b] = [a, b].map(|x| self.expression(x, dtypes));
                self.binary(*function, a?, b?)
            }
            Expr::Operand(_) | Expr::Select(..) | Expr::Cast(..) => None,
        }
    }

    /// A function of what may be an element of memory as it is, denormal or not.
    fn unary(&mut self, function: Unary, a: Value, a_is_stored: bool) -> Option<Value> {
        if let Some(formula) = formula(function) {
            return Some(formula(self, a));
        }
        match function {
            Unary::Relu => {
                let zero = self.constant(0.0);
                let result = self.step(Step::Max(zero, a));
                let one = self.constant(1.0);
                Some(if a_is_stored { self.step(Step::Multiply(result, one)) } else { result })
            }
            Unary::Quantized { scale, lowest, highest } => {
                self.quantized(a, scale, [lowest, highest])
            }
            Unary::Clip { low, high } => {
                let result = self.between(a, [low, high]);
                let one = self.constant(1.0);
                Some(if a_is_stored { self.step(Step::Multiply(result, one)) } else { result })
            }
            Unary::HardSigmoid { alpha, beta } => Some(self.hard_sigmoid(a, alpha, beta)),
            Unary::HardSwish => {
                let gate = self.hard_sigmoid(a, 1.0 / 6.0, 0.5);
                Some(self.step(Step::Multiply(a, gate)))
            }
            Unary::Sqrt => Some(self.step(Step::SquareRoot(a))),
            Unary::Reciprocal => {
                let one = self.constant(1.0);
                Some(self.step(Step::Divide(one, a)))
            }
            // Cranelift computes these as fast as memory; those above have returned.
            Unary::LeakyRelu { .. }
            | Unary::Sigmoid
            | Unary::Swish
            | Unary::Round
            | Unary::Tanh
            | Unary::Gelu
            | Unary::GeluTanh
            | Unary::Erf
            | Unary::Exp
            | Unary::Log
            | Unary::Sin
            | Unary::Cos
            | Unary::Tan
            | Unary::Asin
            | Unary::Acos
            | Unary::Atan
            | Unary::Sinh
            | Unary::Cosh
            | Unary::Asinh
            | Unary::Acosh
            | Unary::Atanh
            | Unary::Neg
            | Unary::Abs => None,
        }
    }

    fn binary(&mut self, function: Binary, a: Value, b: Value) -> Option<Value> {
        let step = match function {
            Binary::Add => Step::Add(a, b),
            Binary::Sub => Step::Subtract(a, b),
            Binary::Mul => Step::Multiply(a, b),
            Binary::Div => Step::Divide(a, b),
            Binary::Pow | Binary::Min | Binary::Max | Binary::Equal => return None,
        };
        Some(self.step(step))
    }

    /// The nearest multiple of a scale, between these; `None` where they are too many for rounding by an addition.
    fn quantized(&mut self, a: Value, scale: f32, ends: [f32; 2]) -> Option<Value> {
        const MOST: f32 = ROUNDING / 4.0;
        if ends.iter().any(|end| end.abs() > MOST) {
            return None;
        }
        let unit = (scale != 1.0).then(|| self.constant(scale));
        let steps = unit.map_or(a, |unit| self.step(Step::Divide(a, unit)));
        let clipped = self.clipped(steps, ends);
        let rounding = self.constant(ROUNDING);
        let shifted = self.step(Step::Add(clipped, rounding));
        let whole = self.step(Step::Subtract(shifted, rounding));
        Some(unit.map_or(whole, |unit| self.step(Step::Multiply(whole, unit))))
    }

    /// From the lowest to the highest; a NaN stays.
    fn between(&mut self, a: Value, [low, high]: [f32; 2]) -> Value {
        let [low, high] = [low, high].map(|end| self.constant(end));
        let clipped = self.step(Step::Max(low, a));
        self.step(Step::Min(high, clipped))
    }

    fn hard_sigmoid(&mut self, a: Value, alpha: f32, beta: f32) -> Value {
        let [alpha, beta] = [alpha, beta].map(|number| self.constant(number));
        let line = self.step(Step::MultiplyAdd(alpha, a, beta));
        self.between(line, [0.0, 1.0])
    }

    /// From the lowest to the highest, which a NaN becomes the lowest of.
    fn clipped(&mut self, a: Value, [lowest, highest]: [f32; 2]) -> Value {
        let [lowest, highest] = [lowest, highest].map(|end| self.constant(end));
        let clipped = self.step(Step::Max(a, lowest));
        self.step(Step::Min(clipped, highest))
    }

    /// A number that is whole and from 0 to 255, as what is stored as a byte here must be: conversions that
    /// truncate and stop at the ends are made elsewhere. The result is an integer.
    fn byte(&mut self, number: &Expr, dtypes: &[DType]) -> Option<Value> {
        let (rounded, added) = match number {
            Expr::Binary(Binary::Sub, rounded, less) => match **less {
                Expr::Constant(Number(less)) => (&**rounded, -less as f32),
                _ => return None,
            },
            rounded => (rounded, 0.0),
        };
        let Expr::Unary(Unary::Quantized { scale: 1.0, lowest, highest }, number) = rounded else {
            return None;
        };
        let is_byte = lowest + added >= 0.0 && highest + added <= 255.0 && added >= 0.0;
        let is_whole = [*lowest, *highest, added].iter().all(|x| x.fract() == 0.0);
        if !is_byte || !is_whole {
            return None;
        }
        let number = self.expression(number, dtypes)?;
        let clipped = self.clipped(number, [*lowest, *highest]);
        let rounding = self.constant(ROUNDING);
        let shifted = self.step(Step::Add(clipped, rounding));
        let less = (added as i32).wrapping_sub(ROUNDING.to_bits().cast_signed());
        let less = self.step(Step::Constant(less.cast_unsigned()));
        Some(self.step(Step::AddIntegers(shifted, less)))
    }
}
