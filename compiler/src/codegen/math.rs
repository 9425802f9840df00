//! exp, log, tanh, erf and pow as straight-line code.
//!
//! They compute in f64 on one element and round once, so results are within 1 ulp of f32, and
//! short polynomials suffice: nothing here needs more than about 1e-9. Coefficients are computed
//! below, from series or by interpolation, not copied. Special values follow IEEE 754: NaN stays,
//! exp(-inf) = 0, log(0) = -inf, log(x < 0) = NaN.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F32, F64, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

use super::emitter::Emitter;

/// Promotes f32 scalars, applies `f`, and demotes the result; f64 scalars pass as they are.
pub(crate) fn in_f64(
    e: &mut Emitter<'_, '_>,
    operands: &[Value],
    f: impl FnOnce(&mut Emitter<'_, '_>, &[Value]) -> Value,
) -> Value {
    let wide: Vec<Value> = operands.iter().map(|v| promote(e, *v)).collect();
    let narrow = operands.first().is_some_and(|v| e.ty(*v) == F32);
    let result = f(e, &wide);
    if narrow { e.builder.ins().fdemote(F32, result) } else { result }
}

fn promote(e: &mut Emitter<'_, '_>, v: Value) -> Value {
    if e.ty(v) == F32 { e.builder.ins().fpromote(F64, v) } else { v }
}

pub(super) fn c(e: &mut Emitter<'_, '_>, value: f64) -> Value {
    e.float(F64, value)
}

/// Horner's rule, lowest coefficient first.
pub(super) fn polynomial(e: &mut Emitter<'_, '_>, x: Value, coefficients: &[f64]) -> Value {
    let mut coefficients = coefficients.iter().rev();
    let mut sum = c(e, coefficients.next().copied().unwrap_or(0.0));
    for a in coefficients {
        let a = c(e, *a);
        sum = e.multiply_add(sum, x, a);
    }
    sum
}

pub(super) fn choose(
    e: &mut Emitter<'_, '_>,
    cc: FloatCC,
    a: Value,
    b: Value,
    yes: Value,
    no: Value,
) -> Value {
    let condition = e.builder.ins().fcmp(cc, a, b);
    e.builder.ins().select(condition, yes, no)
}

pub(super) fn bits(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    e.builder.ins().bitcast(I64, MemFlagsData::new(), x)
}

fn from_bits(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    e.builder.ins().bitcast(F64, MemFlagsData::new(), x)
}

/// exp(x) = 2^n · exp(r) with n the integer nearest x / ln 2 and |r| ≤ ln 2 / 2; Taylor's series
/// to r^11. Arguments beyond ±700 are clamped: the result overflows or vanishes
/// in f32 long before.
pub(crate) fn exp(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let (low, high) = (c(e, -700.0), c(e, 700.0));
    let clamped = e.float_max(low, x);
    let clamped = e.float_min(high, clamped);
    // Adding 1.5 · 2^52 rounds to an integer and leaves it in the low bits.
    let (log2e, magic) = (c(e, std::f64::consts::LOG2_E), c(e, 6_755_399_441_055_744.0));
    let scaled = e.builder.ins().fmul(clamped, log2e);
    let shifted = e.builder.ins().fadd(scaled, magic);
    let n = e.builder.ins().fsub(shifted, magic);
    let ln2 = c(e, -std::f64::consts::LN_2);
    let r = e.multiply_add(n, ln2, clamped);
    let mut factorial = 1.0;
    let series: Vec<f64> = (0..12)
        .map(|k| {
            factorial *= f64::from(k.max(1));
            1.0 / factorial
        })
        .collect();
    let mantissa = polynomial(e, r, &series);
    let integer = bits(e, shifted);
    let exponent = e.builder.ins().ishl_imm_u(integer, 52);
    let one = e.int(1023 << 52);
    let power = e.add(exponent, one);
    let power = from_bits(e, power);
    e.builder.ins().fmul(mantissa, power)
}

/// log(x) = k ln 2 + log(m) with m in [√½, √2), log(m) = 2 artanh((m − 1) / (m + 1)) by its series.
pub(crate) fn log(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let raw = bits(e, x);
    // Subtracting the bits of √½ puts the boundary between exponents where m is √2.
    let boundary = std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64;
    let above = e.add_imm(raw, -boundary);
    let k = e.builder.ins().sshr_imm_u(above, 52);
    let exponent = e.builder.ins().ishl_imm_u(k, 52);
    let mantissa = e.builder.ins().isub(raw, exponent);
    let m = from_bits(e, mantissa);
    let one = c(e, 1.0);
    let (below, sum) = (e.builder.ins().fsub(m, one), e.builder.ins().fadd(m, one));
    let s = e.builder.ins().fdiv(below, sum);
    let square = e.builder.ins().fmul(s, s);
    let series: Vec<f64> = (0..9).map(|i| 2.0 / f64::from(2 * i + 1)).collect();
    let factor = polynomial(e, square, &series);
    let log_m = e.builder.ins().fmul(s, factor);
    let k = e.builder.ins().fcvt_from_sint(F64, k);
    let ln2 = c(e, std::f64::consts::LN_2);
    let finite = e.multiply_add(k, ln2, log_m);
    let (zero, infinity) = (c(e, 0.0), c(e, f64::INFINITY));
    let (minus, nan) = (c(e, f64::NEG_INFINITY), c(e, f64::NAN));
    let result = choose(e, FloatCC::Equal, x, infinity, infinity, finite);
    let result = choose(e, FloatCC::Equal, x, zero, minus, result);
    choose(e, FloatCC::UnorderedOrLessThan, x, zero, nan, result)
}

/// 1 / (1 + exp(−x))
pub(crate) fn sigmoid(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let negated = e.builder.ins().fneg(x);
    let power = exp(e, negated);
    let one = c(e, 1.0);
    let sum = e.builder.ins().fadd(one, power);
    e.builder.ins().fdiv(one, sum)
}

/// x / (1 + exp(−x)); NaN of minus infinity, as minus infinity times 0.
pub(crate) fn swish(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let gate = sigmoid(e, x);
    let finite = e.builder.ins().fmul(x, gate);
    let (minus, nan) = (c(e, f64::NEG_INFINITY), c(e, f64::NAN));
    choose(e, FloatCC::Equal, x, minus, nan, finite)
}

/// tanh(x) = (exp(2x) − 1) / (exp(2x) + 1); x itself where x³/3 is below f32's precision.
pub(crate) fn tanh(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    // Beyond ±40 the quotient is ±1 to the last bit, and exp stays finite.
    let (low, high) = (c(e, -40.0), c(e, 40.0));
    let clamped = e.float_max(low, x);
    let clamped = e.float_min(high, clamped);
    let twice = e.builder.ins().fadd(clamped, clamped);
    let power = exp(e, twice);
    let one = c(e, 1.0);
    let (above, below) = (e.builder.ins().fsub(power, one), e.builder.ins().fadd(power, one));
    let quotient = e.builder.ins().fdiv(above, below);
    let (size, tiny) = (e.builder.ins().fabs(x), c(e, 1e-5));
    choose(e, FloatCC::LessThan, size, tiny, x, quotient)
}

/// Where erf is ±1 in f32.
const ERF_END: f64 = 4.0;

/// erf(x) = x · P(x²) for |x| < 4, with P interpolated at Chebyshev points of x² in [0, 16].
pub(crate) fn erf(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let (low, high) = (c(e, -ERF_END), c(e, ERF_END));
    let clamped = e.float_max(low, x);
    let clamped = e.float_min(high, clamped);
    let square = e.builder.ins().fmul(clamped, clamped);
    let half = ERF_END * ERF_END / 2.0;
    let (scale, minus_one) = (c(e, 1.0 / half), c(e, -1.0));
    let t = e.multiply_add(square, scale, minus_one);
    let factor = chebyshev(e, t, &erf_coefficients());
    let inside = e.builder.ins().fmul(clamped, factor);
    // Not nearly 1 but 1, by which what gelu multiplies may be as large as it likes.
    let one = c(e, 1.0);
    let outside = e.builder.ins().fcopysign(one, x);
    let size = e.builder.ins().fabs(x);
    choose(e, FloatCC::GreaterThanOrEqual, size, high, outside, inside)
}

/// Clenshaw's recurrence for a Chebyshev series at t in [−1, 1].
pub(super) fn chebyshev(e: &mut Emitter<'_, '_>, t: Value, coefficients: &[f64]) -> Value {
    let twice = e.builder.ins().fadd(t, t);
    let (mut b1, mut b2) = (c(e, 0.0), c(e, 0.0));
    for a in coefficients.iter().skip(1).rev() {
        let a = c(e, *a);
        let difference = e.builder.ins().fsub(a, b2);
        b2 = b1;
        b1 = e.multiply_add(twice, b1, difference);
    }
    let a = c(e, coefficients.first().copied().unwrap_or(0.0));
    let difference = e.builder.ins().fsub(a, b2);
    e.multiply_add(t, b1, difference)
}

/// The Chebyshev coefficients of erf(√z) / √z over z in [0, 16].
fn erf_coefficients() -> Vec<f64> {
    series_at_chebyshev_points(28, ERF_END * ERF_END, erf_ratio)
}

/// The first `n` Chebyshev coefficients of f over [0, end], interpolated at as many points.
pub(super) fn series_at_chebyshev_points(n: usize, end: f64, f: impl Fn(f64) -> f64) -> Vec<f64> {
    let half = end / 2.0;
    let angle = |j: usize| std::f64::consts::PI * (j as f64 + 0.5) / n as f64;
    let samples: Vec<f64> = (0..n).map(|j| f(half * (angle(j).cos() + 1.0))).collect();
    (0..n)
        .map(|k| {
            let sum: f64 =
                samples.iter().enumerate().map(|(j, f)| f * (k as f64 * angle(j)).cos()).sum();
            sum * if k == 0 { 1.0 } else { 2.0 } / n as f64
        })
        .collect()
}

/// erf(√z) / √z = 2/√π · exp(−z) · Σ (2z)^n / (2n+1)!!, a series of positive terms.
fn erf_ratio(z: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..120 {
        term *= 2.0 * z / f64::from(2 * n + 1);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-z).exp() * sum
}

/// x/2 · (1 + erf(x/√2))
pub(crate) fn gelu(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let root = c(e, std::f64::consts::FRAC_1_SQRT_2);
    let scaled = e.builder.ins().fmul(x, root);
    let inner = erf(e, scaled);
    gate(e, x, inner)
}

/// x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))
pub(crate) fn gelu_tanh(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let square = e.builder.ins().fmul(x, x);
    let (cubic, one) = (c(e, 0.044715), c(e, 1.0));
    let factor = e.multiply_add(square, cubic, one);
    let curve = e.builder.ins().fmul(x, factor);
    let root = c(e, (2.0 / std::f64::consts::PI).sqrt());
    let scaled = e.builder.ins().fmul(curve, root);
    let inner = tanh(e, scaled);
    gate(e, x, inner)
}

fn gate(e: &mut Emitter<'_, '_>, x: Value, inner: Value) -> Value {
    let (one, half) = (c(e, 1.0), c(e, 0.5));
    let sum = e.builder.ins().fadd(one, inner);
    let scaled = e.builder.ins().fmul(x, half);
    e.builder.ins().fmul(scaled, sum)
}

/// |a|^b = exp(b log |a|), with the sign of a where b is odd. Other powers of a negative a are defined
/// for whole b only, unless they are limits: a is infinite.
pub(crate) fn pow(e: &mut Emitter<'_, '_>, a: Value, b: Value) -> Value {
    let size = e.builder.ins().fabs(a);
    let logarithm = log(e, size);
    let exponent = e.builder.ins().fmul(b, logarithm);
    let magnitude = exp(e, exponent);
    // 1 to any power is 1, and any number to the power of 0, NaN included.
    let (zero, one) = (c(e, 0.0), c(e, 1.0));
    let magnitude = choose(e, FloatCC::Equal, size, one, one, magnitude);
    let magnitude = choose(e, FloatCC::Equal, b, zero, one, magnitude);

    let (whole, odd) = parity(e, b);
    let sign = bits(e, a);
    let sign = e.builder.ins().band(sign, odd);
    let signed = bits(e, magnitude);
    let signed = e.builder.ins().bxor(signed, sign);
    let signed = from_bits(e, signed);

    let (nan, infinite) = (c(e, f64::NAN), c(e, f64::NEG_INFINITY));
    let negative = e.builder.ins().select(whole, signed, nan);
    let result = choose(e, FloatCC::LessThan, a, zero, negative, signed);
    choose(e, FloatCC::Equal, a, infinite, signed, result)
}

/// Whether b is whole, infinities included, and, in the bit of the sign, whether it is odd.
fn parity(e: &mut Emitter<'_, '_>, b: Value) -> (Value, Value) {
    // All from here on are even.
    let most = (f64::MANTISSA_DIGITS as f64).exp2();
    let (low, high) = (c(e, -most), c(e, most));
    let clamped = e.float_max(low, b);
    let clamped = e.float_min(high, clamped);
    let integer = e.builder.ins().fcvt_to_sint_sat(I64, clamped);
    let back = e.builder.ins().fcvt_from_sint(F64, integer);
    let whole = e.builder.ins().fcmp(FloatCC::Equal, back, clamped);
    let odd = e.builder.ins().ishl_imm_u(integer, 63);
    let even = e.int(0);
    (whole, e.builder.ins().select(whole, odd, even))
}
