//! Sines and their kin as straight-line code, in f64 on one element as in [`super::math`].
//!
//! Angles are reduced in integers. An f32 is `m · 2^e` with a whole m of 24 bits, so that the fraction of a
//! turn that it is depends on some 90 bits of 1 / 2π alone, from the e-th on: they are cut out of a table, and
//! their product with m, of which all above 64 bits are whole turns, is exact to 2^-63 of a turn, however
//! large the angle is.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::F64;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::emitter::Emitter;
use super::math::{bits, c, chebyshev, choose, exp, log, polynomial, series_at_chebyshev_points};

/// 1 / 2π in binary, behind 64 bits before the point.
const TURNS: [u64; 5] =
    [0, 0x28be_60db_9391_054a, 0x7f09_d5f4_7d4d_3770, 0x36d8_a566_4f10_e410, 0x7f94_58ea_f7ae_f158];

/// sin(x)
pub(crate) fn sin(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let turn = turn(e, x);
    let far = sin_of_turn(e, turn);
    let (size, small) = (e.builder.ins().fabs(x), c(e, 1e-4));
    let near = choose(e, FloatCC::LessThan, size, small, x, far);
    finite(e, x, near)
}

/// cos(x), the sine a quarter of a turn further
pub(crate) fn cos(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let turn = turn(e, x);
    let further = e.add_imm(turn, 1 << 62);
    let y = sin_of_turn(e, further);
    finite(e, x, y)
}

/// sin(x) / cos(x)
pub(crate) fn tan(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let (above, below) = (sin(e, x), cos(e, x));
    e.builder.ins().fdiv(above, below)
}

/// y where x is finite, and NaN elsewhere.
fn finite(e: &mut Emitter<'_, '_>, x: Value, y: Value) -> Value {
    let (size, infinity, nan) = (e.builder.ins().fabs(x), c(e, f64::INFINITY), c(e, f64::NAN));
    choose(e, FloatCC::LessThan, size, infinity, y, nan)
}

/// The fraction of a turn that x, an f32, is as an angle: of 2^64 a turn.
fn turn(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let raw = bits(e, x);
    let exponent = e.builder.ins().ushr_imm_u(raw, 52);
    let exponent = e.builder.ins().band_imm_u(exponent, 0x7ff);
    // x is m · 2^(exponent - 1046), and the table begins 64 bits before the point.
    let start = e.add_imm(exponent, 64 - 1046);
    let (least, most) = (e.int(0), e.int(168));
    let start = e.builder.ins().smax(start, least);
    let start = e.builder.ins().smin(start, most);
    let fraction = e.builder.ins().band_imm_u(raw, (1 << 52) - 1);
    let one = e.int(1 << 52);
    let mantissa = e.builder.ins().bor(fraction, one);
    let mantissa = e.builder.ins().ushr_imm_u(mantissa, 29);

    let (high, low) = window(e, start);
    let upper = e.builder.ins().imul(mantissa, high);
    let low = e.builder.ins().ushr_imm_u(low, 32);
    let lower = e.builder.ins().imul(mantissa, low);
    let lower = e.builder.ins().ushr_imm_u(lower, 32);
    let turn = e.add(upper, lower);
    let negated = e.builder.ins().ineg(turn);
    let zero = e.int(0);
    let negative = e.builder.ins().icmp(IntCC::SignedLessThan, raw, zero);
    e.builder.ins().select(negative, negated, turn)
}

/// The 128 bits of the table from this one on.
fn window(e: &mut Emitter<'_, '_>, start: Value) -> (Value, Value) {
    let word = e.builder.ins().ushr_imm_u(start, 6);
    let shift = e.builder.ins().band_imm_u(start, 63);
    let words = [0, 1, 2].map(|offset| {
        let mut chosen = e.int(TURNS[offset] as i64);
        for first in 1..=2 {
            let this = e.int(TURNS[first + offset] as i64);
            let number = e.int(first as i64);
            let is_this = e.builder.ins().icmp(IntCC::Equal, word, number);
            chosen = e.builder.ins().select(is_this, this, chosen);
        }
        chosen
    });
    let sixty_three = e.int(63);
    let back = e.builder.ins().isub(sixty_three, shift);
    let pair = |e: &mut Emitter<'_, '_>, first: Value, second: Value| {
        let upper = e.builder.ins().ishl(first, shift);
        let lower = e.builder.ins().ushr_imm_u(second, 1);
        let lower = e.builder.ins().ushr(lower, back);
        e.builder.ins().bor(upper, lower)
    };
    (pair(e, words[0], words[1]), pair(e, words[1], words[2]))
}

/// The sine of a fraction of a turn, by Taylor's series on the quarters around 0.
fn sin_of_turn(e: &mut Emitter<'_, '_>, turn: Value) -> Value {
    // Beyond a quarter it is the sine of what is left to half a turn.
    let half = e.int(i64::MIN);
    let rest = e.builder.ins().isub(half, turn);
    let size = e.builder.ins().iabs(turn);
    let quarter = e.int(1 << 62);
    let beyond = e.builder.ins().icmp(IntCC::UnsignedGreaterThan, size, quarter);
    let turn = e.builder.ins().select(beyond, rest, turn);
    let turn = e.builder.ins().fcvt_from_sint(F64, turn);
    let scale = c(e, std::f64::consts::TAU * (-64f64).exp2());
    let angle = e.builder.ins().fmul(turn, scale);
    let mut factor = 1.0;
    let series: Vec<f64> = (0..10)
        .map(|k| {
            let term = factor;
            factor /= -f64::from((2 * k + 2) * (2 * k + 3));
            term
        })
        .collect();
    odd(e, angle, &series)
}

/// `x · P(x²)`
fn odd(e: &mut Emitter<'_, '_>, x: Value, series: &[f64]) -> Value {
    let square = e.builder.ins().fmul(x, x);
    let factor = polynomial(e, square, series);
    e.builder.ins().fmul(x, factor)
}

/// atan(x) = x · P(x²) up to 1, with P interpolated at Chebyshev points, and π/2 − atan(1/x) beyond.
pub(crate) fn atan(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let (size, one) = (e.builder.ins().fabs(x), c(e, 1.0));
    let inverse = e.builder.ins().fdiv(one, size);
    let small = choose(e, FloatCC::GreaterThan, size, one, inverse, size);
    let square = e.builder.ins().fmul(small, small);
    let (two, minus_one) = (c(e, 2.0), c(e, -1.0));
    let t = e.multiply_add(square, two, minus_one);
    let ratio = |z: f64| if z == 0.0 { 1.0 } else { z.sqrt().atan() / z.sqrt() };
    let factor = chebyshev(e, t, &series_at_chebyshev_points(24, 1.0, ratio));
    let angle = e.builder.ins().fmul(small, factor);
    let quarter = c(e, std::f64::consts::FRAC_PI_2);
    let rest = e.builder.ins().fsub(quarter, angle);
    let angle = choose(e, FloatCC::GreaterThan, size, one, rest, angle);
    e.builder.ins().fcopysign(angle, x)
}

/// asin(x) = atan(x / √((1 − x)(1 + x)))
pub(crate) fn asin(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let one = c(e, 1.0);
    let (below, above) = (e.builder.ins().fsub(one, x), e.builder.ins().fadd(one, x));
    let product = e.builder.ins().fmul(below, above);
    let root = e.builder.ins().sqrt(product);
    let ratio = e.builder.ins().fdiv(x, root);
    atan(e, ratio)
}

/// acos(x) = 2 atan(√((1 − x) / (1 + x)))
pub(crate) fn acos(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let one = c(e, 1.0);
    let (below, above) = (e.builder.ins().fsub(one, x), e.builder.ins().fadd(one, x));
    let ratio = e.builder.ins().fdiv(below, above);
    let root = e.builder.ins().sqrt(ratio);
    let half = atan(e, root);
    e.builder.ins().fadd(half, half)
}

/// sinh(x) = (exp(x) − exp(−x)) / 2, below 1 by Taylor's series
pub(crate) fn sinh(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let (above, below, half) = powers(e, x);
    let difference = e.builder.ins().fsub(above, below);
    let far = e.builder.ins().fmul(difference, half);
    let mut factor = 1.0;
    let series: Vec<f64> = (0..9)
        .map(|k| {
            let term = factor;
            factor /= f64::from((2 * k + 2) * (2 * k + 3));
            term
        })
        .collect();
    let near = odd(e, x, &series);
    let (size, one) = (e.builder.ins().fabs(x), c(e, 1.0));
    choose(e, FloatCC::LessThan, size, one, near, far)
}

/// cosh(x) = (exp(x) + exp(−x)) / 2
pub(crate) fn cosh(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let (above, below, half) = powers(e, x);
    let sum = e.builder.ins().fadd(above, below);
    e.builder.ins().fmul(sum, half)
}

/// exp(x), exp(−x), and a half.
fn powers(e: &mut Emitter<'_, '_>, x: Value) -> (Value, Value, Value) {
    let negated = e.builder.ins().fneg(x);
    (exp(e, x), exp(e, negated), c(e, 0.5))
}

/// asinh(x) = ±log(|x| + √(x² + 1)); x itself where x³/6 is below f32's precision
pub(crate) fn asinh(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let (size, one) = (e.builder.ins().fabs(x), c(e, 1.0));
    let square = e.builder.ins().fmul(x, x);
    let above = e.builder.ins().fadd(square, one);
    let root = e.builder.ins().sqrt(above);
    let sum = e.builder.ins().fadd(size, root);
    let logarithm = log(e, sum);
    let far = e.builder.ins().fcopysign(logarithm, x);
    let small = c(e, 1e-4);
    choose(e, FloatCC::LessThan, size, small, x, far)
}

/// acosh(x) = log(x + √(x − 1) √(x + 1))
pub(crate) fn acosh(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let one = c(e, 1.0);
    let (below, above) = (e.builder.ins().fsub(x, one), e.builder.ins().fadd(x, one));
    let (below, above) = (e.builder.ins().sqrt(below), e.builder.ins().sqrt(above));
    let product = e.builder.ins().fmul(below, above);
    let sum = e.builder.ins().fadd(x, product);
    log(e, sum)
}

/// atanh(x) = log((1 + x) / (1 − x)) / 2; x itself where x³/3 is below f32's precision
pub(crate) fn atanh(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let one = c(e, 1.0);
    let (above, below) = (e.builder.ins().fadd(one, x), e.builder.ins().fsub(one, x));
    let ratio = e.builder.ins().fdiv(above, below);
    let logarithm = log(e, ratio);
    let half = c(e, 0.5);
    let far = e.builder.ins().fmul(logarithm, half);
    let (size, small) = (e.builder.ins().fabs(x), c(e, 1e-4));
    choose(e, FloatCC::LessThan, size, small, x, far)
}
