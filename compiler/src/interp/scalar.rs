//! Functions of single elements.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::ir::{Binary, DType, Unary};

/// The larger; a NaN is larger than everything.
pub(super) fn larger(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

/// The smaller; a NaN is smaller than everything.
pub(super) fn smaller(a: f64, b: f64) -> f64 {
    if a <= b || a.is_nan() { a } else { b }
}

/// A function of a float.
pub(super) fn real(function: Unary, x: f64) -> f64 {
    match function {
        Unary::Relu => larger(x, 0.0),
        Unary::LeakyRelu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * x
            } else {
                x
            }
        }
        Unary::Clip { low, high } => smaller(larger(x, low.into()), high.into()),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::HardSigmoid { alpha, beta } => unit(f64::from(alpha) * x + f64::from(beta)),
        Unary::HardSwish => x * unit(x / 6.0 + 0.5),
        Unary::Tanh => x.tanh(),
        Unary::Gelu => x / 2.0 * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
        Unary::GeluTanh => {
            // sqrt(2 / pi) is 2 / sqrt(pi) / sqrt(2).
            let sqrt_2_over_pi = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
            x / 2.0 * (1.0 + (sqrt_2_over_pi * (x + 0.044715 * x * x * x)).tanh())
        }
        Unary::Erf => libm::erf(x),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
    }
}

/// `max(0, min(1, x))`
fn unit(x: f64) -> f64 {
    larger(smaller(x, 1.0), 0.0)
}

/// A function of an integer, for those that have one.
pub(super) fn integer(function: Unary, x: i64) -> Option<i64> {
    match function {
        Unary::Relu => Some(x.max(0)),
        Unary::Clip { low, high } => Some(x.max(low as i64).min(high as i64)),
        Unary::Neg => Some(x.wrapping_neg()),
        Unary::Abs => Some(x.wrapping_abs()),
        Unary::LeakyRelu { .. }
        | Unary::Sigmoid
        | Unary::HardSigmoid { .. }
        | Unary::HardSwish
        | Unary::Tanh
        | Unary::Gelu
        | Unary::GeluTanh
        | Unary::Erf
        | Unary::Exp
        | Unary::Log
        | Unary::Sqrt
        | Unary::Reciprocal => None,
    }
}

/// A function of two floats; `equal` gives 1 or 0.
pub(super) fn real2(function: Binary, a: f64, b: f64) -> f64 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        Binary::Min => smaller(a, b),
        Binary::Max => larger(a, b),
        Binary::Equal => f64::from(u8::from(a == b)),
    }
}

/// A function of two integers; `equal` gives 1 or 0.
pub(super) fn integer2(function: Binary, a: i64, b: i64) -> i64 {
    match function {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div => {
            if b == 0 {
                0
            } else {
                a.wrapping_div(b)
            }
        }
        Binary::Pow => power(a, b),
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Equal => i64::from(a == b),
    }
}

/// `a` to the power of `b`, which for a negative `b` is `1 / a^-b`, truncated.
fn power(mut a: i64, b: i64) -> i64 {
    if b < 0 {
        return match a {
            1 => 1,
            -1 => {
                if b % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        };
    }
    let (mut left, mut product) = (b, 1i64);
    while left > 0 {
        if left % 2 == 1 {
            product = product.wrapping_mul(a);
        }
        a = a.wrapping_mul(a);
        left /= 2;
    }
    product
}

/// An integer in the range of its type.
pub(super) fn wrap(dtype: DType, x: i64) -> i64 {
    match dtype {
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::I8 => i64::from(x as i8),
        DType::Bool => i64::from(x != 0),
        DType::I64 | DType::F32 | DType::F64 => x,
    }
}

/// A float as an integer of the type: truncated, to the nearest that it has; 0 for NaN.
pub(super) fn truncate(dtype: DType, x: f64) -> i64 {
    match dtype {
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::I8 => i64::from(x as i8),
        DType::Bool => i64::from(x != 0.0),
        DType::I64 | DType::F32 | DType::F64 => x as i64,
    }
}

/// The smallest and the largest integer of the type.
pub(super) fn limits(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::Bool => (0, 1),
        DType::I64 | DType::F32 | DType::F64 => (i64::MIN, i64::MAX),
    }
}
