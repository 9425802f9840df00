//! How functions are emitted: a row for each, which says how on floats, and how on integers.
//!
//! [`Unary`] and [`Binary`] say what a function means and for which integers it is defined; a test holds
//! these rows against theirs. A function that the machine computes is emitted alike for f32, f64 and
//! vectors of four f32. One that goes through exp, log or erf is computed in steps on lanes of f32
//! (`src/lanes/functions.rs`); of f64, and where products are not added with one rounding, it is computed in f64,
//! an element at a time.

mod floats;
mod integers;

use cranelift_codegen::ir::{InstBuilder, Value};

use super::emitter::{Element, Emitter};
use super::{math, trigonometry};
use crate::error::Error;
use crate::ir::expr::Expr;
use crate::ir::{Binary, DType, Unary};
use crate::lanes::formula;

/// How a function is emitted.
struct Row<F, I> {
    floats: Floats<F>,
    /// `None` for a function that is not defined for integers.
    integers: Option<I>,
}

/// How a function is emitted on floats.
enum Floats<F> {
    /// On a register, which may be a vector.
    Lanes(F),
    /// On a register of one element.
    Single(F),
    /// On f64, which f32 is converted to; so on no vector.
    Wide(F),
}

type OnFloat = Box<dyn Fn(&mut Emitter<'_, '_>, Value) -> Value>;
type OnInteger = Box<dyn Fn(&mut Emitter<'_, '_>, Element) -> Value>;
type OnFloats = fn(&mut Emitter<'_, '_>, Value, Value) -> Value;
type OnIntegers = fn(&mut Emitter<'_, '_>, Element, Value) -> Value;

fn lanes<I>(f: impl Fn(&mut Emitter<'_, '_>, Value) -> Value + 'static) -> Row<OnFloat, I> {
    Row { floats: Floats::Lanes(Box::new(f)), integers: None }
}

fn wide<I>(f: impl Fn(&mut Emitter<'_, '_>, Value) -> Value + 'static) -> Row<OnFloat, I> {
    Row { floats: Floats::Wide(Box::new(f)), integers: None }
}

impl Row<OnFloat, OnInteger> {
    fn integers(self, f: impl Fn(&mut Emitter<'_, '_>, Element) -> Value + 'static) -> Self {
        Row { integers: Some(Box::new(f)), ..self }
    }
}

fn unary_row(function: Unary) -> Row<OnFloat, OnInteger> {
    match function {
        Unary::Relu => lanes(floats::relu).integers(integers::relu),
        Unary::LeakyRelu { alpha } => lanes(move |e, x| floats::leaky_relu(e, x, alpha)),
        Unary::Clip { low, high } => lanes(move |e, x| floats::clip(e, x, low, high))
            .integers(move |e, x| integers::clip(e, x, low, high)),
        Unary::Sigmoid => wide(math::sigmoid),
        Unary::Swish => wide(math::swish),
        Unary::HardSigmoid { alpha, beta } => {
            lanes(move |e, x| floats::hard_sigmoid(e, x, f64::from(alpha), f64::from(beta)))
        }
        Unary::HardSwish => lanes(floats::hard_swish),
        Unary::Quantized { scale, lowest, highest } => {
            lanes(move |e, x| floats::quantized(e, x, scale, [lowest, highest]))
        }
        Unary::Round => wide(floats::round),
        Unary::Tanh => wide(math::tanh),
        Unary::Gelu => wide(math::gelu),
        Unary::GeluTanh => wide(math::gelu_tanh),
        Unary::Erf => wide(math::erf),
        Unary::Exp => wide(math::exp),
        Unary::Log => wide(math::log),
        Unary::Sin => wide(trigonometry::sin),
        Unary::Cos => wide(trigonometry::cos),
        Unary::Tan => wide(trigonometry::tan),
        Unary::Asin => wide(trigonometry::asin),
        Unary::Acos => wide(trigonometry::acos),
        Unary::Atan => wide(trigonometry::atan),
        Unary::Sinh => wide(trigonometry::sinh),
        Unary::Cosh => wide(trigonometry::cosh),
        Unary::Asinh => wide(trigonometry::asinh),
        Unary::Acosh => wide(trigonometry::acosh),
        Unary::Atanh => wide(trigonometry::atanh),
        Unary::Sqrt => lanes(|e, x| e.builder.ins().sqrt(x)),
        Unary::Reciprocal => lanes(floats::reciprocal),
        Unary::Neg => {
            lanes(|e, x| e.builder.ins().fneg(x)).integers(|e, x| e.builder.ins().ineg(x.value))
        }
        Unary::Abs => lanes(|e, x| e.builder.ins().fabs(x)).integers(integers::abs),
    }
}

fn binary_row(function: Binary) -> Row<OnFloats, OnIntegers> {
    use Floats::{Lanes, Single, Wide};
    let row =
        |floats: Floats<OnFloats>, integers: OnIntegers| Row { floats, integers: Some(integers) };
    match function {
        Binary::Add => row(Lanes(|e, a, b| e.builder.ins().fadd(a, b)), integers::add),
        Binary::Sub => row(Lanes(|e, a, b| e.builder.ins().fsub(a, b)), integers::subtract),
        Binary::Mul => row(Lanes(|e, a, b| e.builder.ins().fmul(a, b)), integers::multiply),
        Binary::Div => row(Lanes(|e, a, b| e.builder.ins().fdiv(a, b)), integers::divide),
        Binary::Pow => row(Wide(math::pow), integers::power),
        Binary::Min => row(Lanes(|e, a, b| e.extreme(a, b, false)), integers::smaller),
        Binary::Max => row(Lanes(|e, a, b| e.extreme(a, b, true)), integers::larger),
        // Comparing vectors gives masks, not bools.
        Binary::Equal => row(Single(floats::equal), integers::equal),
    }
}

/// `function(a)`
pub(super) fn unary(e: &mut Emitter<'_, '_>, function: Unary, a: Element) -> Element {
    let row = unary_row(function);
    let formula = formula(function).filter(|_| a.dtype == DType::F32 && e.fma);
    if let Some(formula) = formula {
        return Element { value: e.formula(formula, a.value), ..a };
    }
    let value = match (a.dtype.is_float(), row.floats, row.integers) {
        (true, Floats::Lanes(emit) | Floats::Single(emit), _) => emit(e, a.value),
        (true, Floats::Wide(emit), _) => math::in_f64(e, &[a.value], |e, v| emit(e, v[0])),
        (false, _, Some(emit)) => emit(e, a),
        (false, _, None) => refuse(e, function.mnemonic(), a),
    };
    Element { value, dtype: function.result(a.dtype) }
}

/// `function(a, b)` for a `b` of the type of `a`.
pub(super) fn binary(e: &mut Emitter<'_, '_>, function: Binary, a: Element, b: Value) -> Element {
    let row = binary_row(function);
    let value = match (a.dtype.is_float(), row.floats, row.integers) {
        (true, Floats::Lanes(emit) | Floats::Single(emit), _) => emit(e, a.value, b),
        (true, Floats::Wide(emit), _) => math::in_f64(e, &[a.value, b], |e, v| emit(e, v[0], v[1])),
        (false, _, Some(emit)) => emit(e, a, b),
        (false, _, None) => refuse(e, function.mnemonic(), a),
    };
    Element { value, dtype: function.result(a.dtype) }
}

/// Marks what is emitted as not to be used: plans made of verified graphs have no such function.
fn refuse(e: &mut Emitter<'_, '_>, function: &str, a: Element) -> Value {
    let error = || Error::internal(format!("`{function}` is not emitted for {}", a.dtype));
    e.refused.get_or_insert_with(error);
    a.value
}

/// Whether every function of the expression has a form on f32 vectors, where there are fused multiply-adds or
/// not.
pub(crate) fn is_vectorizable(expr: &Expr, fma: bool) -> bool {
    let mut all = true;
    expr.visit(&mut |e| {
        all &= match e {
            Expr::Operand(_) | Expr::Constant(_) => true,
            Expr::Unary(f, _) => {
                let in_lanes = || matches!(unary_row(*f).floats, Floats::Lanes(_));
                fma && formula(*f).is_some() || in_lanes()
            }
            Expr::Binary(f, ..) => matches!(binary_row(*f).floats, Floats::Lanes(_)),
            Expr::Select(..) | Expr::Cast(..) => false,
        }
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has no row does not compile; this is about what is in the rows.
    #[test]
    fn functions_are_emitted_for_all_integers_that_they_are_defined_for() {
        for function in Unary::ALL {
            let emitted = unary_row(function).integers.is_some();
            assert_eq!(emitted, function.is_defined_for(DType::I32), "{function:?}");
        }
        for function in Binary::ALL {
            let emitted = binary_row(function).integers.is_some();
            assert_eq!(emitted, function.is_defined_for(DType::I32), "{function:?}");
        }
    }
}
