//! Operators that work element by element.

use super::layout::{Strides, broadcast_strides, walk};
use super::{Data, Operands, Tensor};
use crate::error::{Error, Result};
use crate::ir::{Binary, DType, TensorType, Unary};

pub(super) fn unary(f: Unary, x: &Tensor) -> Result<Data> {
    Ok(match &x.data {
        Data::Float(v) => Data::Float(v.iter().map(|x| float_unary(f, *x)).collect()),
        Data::Int(v) => Data::Int(v.iter().map(|x| int_unary(f, *x)).collect()),
    })
}

/// The larger; a NaN on either side is the result.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The smaller; a NaN on either side is the result.
pub(super) fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn clip(x: f64, low: f64, high: f64) -> f64 {
    min(max(x, low), high)
}

fn float_unary(f: Unary, x: f64) -> f64 {
    match f {
        Unary::Relu => max(x, 0.0),
        Unary::LeakyRelu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * x
            } else {
                x
            }
        }
        Unary::Clip { low, high } => clip(x, f64::from(low), f64::from(high)),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::HardSigmoid { alpha, beta } => {
            clip(f64::from(alpha) * x + f64::from(beta), 0.0, 1.0)
        }
        Unary::HardSwish => x * clip(x / 6.0 + 0.5, 0.0, 1.0),
        Unary::Tanh => x.tanh(),
        Unary::Gelu => x / 2.0 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Unary::GeluTanh => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            x / 2.0 * (1.0 + (root * (x + 0.044715 * x * x * x)).tanh())
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

fn int_unary(f: Unary, x: i64) -> i64 {
    match f {
        Unary::Relu => x.max(0),
        Unary::Clip { low, high } => x.max(low as i64).min(high as i64),
        Unary::Neg => x.wrapping_neg(),
        Unary::Abs => x.wrapping_abs(),
        _ => x,
    }
}

pub(super) fn binary(f: Binary, a: &Tensor, b: &Tensor, ty: &TensorType) -> Result<Data> {
    let shape = ty.shape();
    let at = [broadcast_strides(&a.shape, &shape), broadcast_strides(&b.shape, &shape)];
    match (&a.data, &b.data) {
        (Data::Float(a), Data::Float(b)) if f == Binary::Equal => {
            Ok(Data::Int(paired(&shape, &at, |i, j| i64::from(a[i] == b[j]))))
        }
        (Data::Float(a), Data::Float(b)) => {
            Ok(Data::Float(paired(&shape, &at, |i, j| float_binary(f, a[i], b[j]))))
        }
        (Data::Int(a), Data::Int(b)) => {
            Ok(Data::Int(paired(&shape, &at, |i, j| int_binary(f, a[i], b[j]))))
        }
        _ => Err(Error::internal("operands of different kinds")),
    }
}

fn paired<T>(shape: &[usize], at: &[Strides; 2], f: impl Fn(usize, usize) -> T) -> Vec<T> {
    let mut out = Vec::new();
    walk(shape, at, |[i, j]| out.push(f(i, j)));
    out
}

fn float_binary(f: Binary, a: f64, b: f64) -> f64 {
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        Binary::Min => min(a, b),
        Binary::Max => max(a, b),
        Binary::Equal => f64::from(u8::from(a == b)),
    }
}

fn int_binary(f: Binary, a: i64, b: i64) -> i64 {
    match f {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div if b == 0 => 0,
        Binary::Div => a.wrapping_div(b),
        Binary::Pow => (a as f64).powf(b as f64) as i64,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Equal => i64::from(a == b),
    }
}

pub(super) fn choose(own: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let (condition, a, b) = (own.get(0)?, own.get(1)?, own.get(2)?);
    let shape = ty.shape();
    let at = [condition, a, b].map(|t| broadcast_strides(&t.shape, &shape));
    let Data::Int(c) = &condition.data else { return Err(Error::internal("expected bools")) };
    Ok(match (&a.data, &b.data) {
        (Data::Float(a), Data::Float(b)) => {
            let mut out = Vec::new();
            walk(&shape, &at, |[i, j, k]| out.push(if c[i] != 0 { a[j] } else { b[k] }));
            Data::Float(out)
        }
        (Data::Int(a), Data::Int(b)) => {
            let mut out = Vec::new();
            walk(&shape, &at, |[i, j, k]| out.push(if c[i] != 0 { a[j] } else { b[k] }));
            Data::Int(out)
        }
        _ => return Err(Error::internal("operands of different kinds")),
    })
}

/// Float to integer truncates and saturates; to bool is `x != 0`; f64 to f32 rounds.
pub(super) fn cast(x: &Tensor, to: DType) -> Result<Data> {
    let to_int = |x: f64| match to {
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::I8 => i64::from(x as i8),
        DType::Bool => i64::from(x != 0.0),
        DType::I64 | DType::F32 | DType::F64 => x as i64,
    };
    Ok(match (&x.data, to.is_float()) {
        (Data::Float(v), true) if to == DType::F32 && x.dtype == DType::F64 => {
            Data::Float(v.iter().map(|x| f64::from(*x as f32)).collect())
        }
        (Data::Float(v), true) => Data::Float(v.clone()),
        (Data::Float(v), false) => Data::Int(v.iter().map(|x| to_int(*x)).collect()),
        (Data::Int(v), true) => Data::Float(v.iter().map(|x| *x as f64).collect()),
        (Data::Int(v), false) => Data::Int(v.clone()),
    })
}

pub(super) fn batch_norm(epsilon: f64, own: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = own.floats(0)?;
    let [scale, bias, mean, var] = [own.floats(1)?, own.floats(2)?, own.floats(3)?, own.floats(4)?];
    let shape = ty.shape();
    let inner: usize = shape[2..].iter().product();
    let normalize = |(i, x): (usize, &f64)| {
        let c = i / inner.max(1) % shape[1];
        (x - mean[c]) / (var[c] + epsilon).sqrt() * scale[c] + bias[c]
    };
    Ok(Data::Float(x.iter().enumerate().map(normalize).collect()))
}
