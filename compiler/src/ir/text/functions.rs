//! Elementwise functions by mnemonic, and their parameters by name.

use crate::ir::function::Unary;

/// The parameters of a function, by name.
pub(crate) fn parameters(function: &mut Unary) -> Vec<(&'static str, &mut f32)> {
    match function {
        Unary::LeakyRelu { alpha } => vec![("alpha", alpha)],
        Unary::Clip { low, high } => vec![("low", low), ("high", high)],
        Unary::HardSigmoid { alpha, beta } => vec![("alpha", alpha), ("beta", beta)],
        Unary::Relu
        | Unary::Sigmoid
        | Unary::HardSwish
        | Unary::Tanh
        | Unary::Gelu
        | Unary::GeluTanh
        | Unary::Erf
        | Unary::Exp
        | Unary::Log
        | Unary::Sqrt
        | Unary::Reciprocal
        | Unary::Neg
        | Unary::Abs => Vec::new(),
    }
}

/// The function with this mnemonic, its parameters still to be read.
pub(crate) fn blank_unary(mnemonic: &str) -> Option<Unary> {
    UNARY.into_iter().find(|f| f.mnemonic() == mnemonic)
}

/// Every function of one operand, its parameters still to be read.
pub(super) const UNARY: [Unary; 16] = [
    Unary::Relu,
    Unary::LeakyRelu { alpha: 0.0 },
    Unary::Clip { low: 0.0, high: 0.0 },
    Unary::Sigmoid,
    Unary::HardSigmoid { alpha: 0.0, beta: 0.0 },
    Unary::HardSwish,
    Unary::Tanh,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::Erf,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Reciprocal,
    Unary::Neg,
    Unary::Abs,
];
