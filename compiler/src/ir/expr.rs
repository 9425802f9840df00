//! Scalar expressions: what a kernel does to each element before storing it.

use crate::ir::{Binary, DType, Unary};

/// A number in an expression, equal to what has the same bits: a NaN equals itself, and 0 is not -0. So
/// equal expressions have the same code, and what is found by its expression is found.
#[derive(Debug, Clone, Copy)]
pub struct Number(pub f64);

impl Eq for Number {}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// An expression over the operands of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// `x{i}`: an operand's element, or `x0` in a contraction: the sum.
    Operand(usize),
    /// A number, of the type that its context asks for.
    Constant(Number),
    /// A function of one expression.
    Unary(Unary, Box<Expr>),
    /// A function of two expressions of one type.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `condition ? a : b`.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Conversion to another element type.
    Cast(DType, Box<Expr>),
}

impl Default for Expr {
    fn default() -> Expr {
        Expr::Operand(0)
    }
}

impl Expr {
    /// A number.
    pub fn number(value: f64) -> Expr {
        Expr::Constant(Number(value))
    }

    /// `function(self)`.
    pub fn unary(self, function: Unary) -> Expr {
        Expr::Unary(function, Box::new(self))
    }

    /// With these functions applied, first to last.
    pub(crate) fn each(self, functions: &[Unary]) -> Expr {
        functions.iter().fold(self, |x, function| x.unary(*function))
    }

    /// `function(self, other)`.
    pub fn binary(self, function: Binary, other: Expr) -> Expr {
        Expr::Binary(function, Box::new(self), Box::new(other))
    }

    /// The same of what `of` makes of each operand.
    pub(crate) fn of_operands(self, of: &dyn Fn(usize) -> Expr) -> Expr {
        let inner = |expr: Box<Expr>| Box::new(expr.of_operands(of));
        match self {
            Expr::Operand(operand) => of(operand),
            Expr::Constant(number) => Expr::Constant(number),
            Expr::Unary(function, a) => Expr::Unary(function, inner(a)),
            Expr::Binary(function, a, b) => Expr::Binary(function, inner(a), inner(b)),
            Expr::Select(c, a, b) => Expr::Select(inner(c), inner(a), inner(b)),
            Expr::Cast(to, a) => Expr::Cast(to, inner(a)),
        }
    }

    /// The same with such operands in place of their conversions to f32.
    pub(crate) fn without_casts_of(self, such: &dyn Fn(&usize) -> bool) -> Expr {
        let inner = |expr: Box<Expr>| Box::new(expr.without_casts_of(such));
        match self {
            Expr::Cast(DType::F32, a) if matches!(&*a, Expr::Operand(o) if such(o)) => *a,
            Expr::Cast(to, a) => Expr::Cast(to, inner(a)),
            Expr::Unary(function, a) => Expr::Unary(function, inner(a)),
            Expr::Binary(function, a, b) => Expr::Binary(function, inner(a), inner(b)),
            Expr::Select(c, a, b) => Expr::Select(inner(c), inner(a), inner(b)),
            Expr::Operand(_) | Expr::Constant(_) => self,
        }
    }

    /// Calls `visit` on this and every expression below it.
    pub fn visit(&self, visit: &mut dyn FnMut(&Expr)) {
        visit(self);
        match self {
            Expr::Operand(_) | Expr::Constant(_) => {}
            Expr::Unary(_, a) | Expr::Cast(_, a) => a.visit(visit),
            Expr::Binary(_, a, b) => {
                a.visit(visit);
                b.visit(visit);
            }
            Expr::Select(c, a, b) => {
                c.visit(visit);
                a.visit(visit);
                b.visit(visit);
            }
        }
    }
}
