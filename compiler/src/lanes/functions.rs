//! exp, log, tanh, erf, the sigmoid and both forms of GELU as steps on f32.
//!
//! Each is a range reduction, a polynomial and what puts its parts together; `scripts/function_coefficients.py`
//! finds the polynomials. NaN stays, and results at infinities, zeros and beyond the range are IEEE 754's, with
//! denormals as zeros. What the errors are, `tests/lanes.rs` measures; `../../docs/src/numbers.md` has them.

use std::f32::consts::{LN_2, LOG2_E};
use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

use super::coefficients as table;
use super::{Program, ROUNDING, Step, Value};
use crate::ir::Unary;

/// A function as steps of one value.
pub(crate) type Formula = fn(&mut Program, Value) -> Value;

/// How a function is computed in steps; `None` for one that machines have as an instruction or two, or that
/// is computed otherwise.
pub(crate) fn formula(function: Unary) -> Option<Formula> {
    match function {
        Unary::Sigmoid => Some(sigmoid),
        Unary::Swish => Some(swish),
        Unary::Tanh => Some(tanh),
        Unary::Gelu => Some(gelu),
        Unary::GeluTanh => Some(gelu_tanh),
        Unary::Erf => Some(erf),
        Unary::Exp => Some(exp),
        Unary::Log => Some(log),
        Unary::Relu
        | Unary::LeakyRelu { .. }
        | Unary::Clip { .. }
        | Unary::HardSigmoid { .. }
        | Unary::HardSwish
        | Unary::Quantized { .. }
        | Unary::Round
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
        | Unary::Sqrt
        | Unary::Reciprocal
        | Unary::Neg
        | Unary::Abs => None,
    }
}

/// ln 2 in two parts: the first has so few bits that its products with exponents are exact.
const LN_2_HIGH: f32 = 0.693_145_75;
const LN_2_LOW: f32 = 1.428_606_8e-6;

/// Bits of a fraction, and what is added to exponents.
const FRACTION: u8 = 23;
const BIAS: i16 = 127;

/// exp(x) before its parts are multiplied: `(mantissa + low) * scale`.
struct Power {
    mantissa: Value,
    /// What the mantissa lost when it was rounded.
    low: Value,
    scale: Value,
}

impl Program {
    fn number(&mut self, value: f32) -> Value {
        self.step(Step::Constant(value.to_bits()))
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.step(Step::Add(a, b))
    }

    fn subtract(&mut self, a: Value, b: Value) -> Value {
        self.step(Step::Subtract(a, b))
    }

    fn multiply(&mut self, a: Value, b: Value) -> Value {
        self.step(Step::Multiply(a, b))
    }

    fn multiply_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.step(Step::MultiplyAdd(a, b, c))
    }

    fn divide(&mut self, a: Value, b: Value) -> Value {
        self.step(Step::Divide(a, b))
    }

    fn times(&mut self, a: Value, factor: f32) -> Value {
        let factor = self.number(factor);
        self.multiply(a, factor)
    }

    /// At least `low`; a NaN stays.
    fn at_least(&mut self, low: f32, x: Value) -> Value {
        let low = self.number(low);
        self.step(Step::Max(low, x))
    }

    /// At most `high`; a NaN stays.
    fn at_most(&mut self, high: f32, x: Value) -> Value {
        let high = self.number(high);
        self.step(Step::Min(high, x))
    }

    fn size(&mut self, x: Value) -> Value {
        let all_but_sign = self.step(Step::Constant(u32::MAX >> 1));
        self.step(Step::And(x, all_but_sign))
    }

    fn negative(&mut self, x: Value) -> Value {
        let sign = self.number(-0.0);
        self.step(Step::Xor(x, sign))
    }

    /// A value that has no sign, with that of another.
    fn with_sign_of(&mut self, size: Value, x: Value) -> Value {
        let sign = self.number(-0.0);
        let sign = self.step(Step::And(x, sign));
        self.step(Step::Xor(size, sign))
    }

    /// `x < bound ? yes : no`
    fn pick_below(&mut self, x: Value, bound: f32, [yes, no]: [Value; 2]) -> Value {
        let b = self.number(bound);
        self.step(Step::Pick { a: x, b, yes, no })
    }

    /// Horner's rule, lowest coefficient first.
    fn polynomial(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let mut all = coefficients.iter().rev();
        let mut sum = self.number(all.next().copied().unwrap_or(0.0));
        for coefficient in all {
            let coefficient = self.number(*coefficient);
            sum = self.multiply_add(sum, x, coefficient);
        }
        sum
    }

    /// The integer nearest x / ln 2 with `bias` added, in the low bits, and what is left of x.
    fn reduced(&mut self, x: Value, bias: i16) -> (Value, Value) {
        let [log2e, rounding] = [LOG2_E, ROUNDING + f32::from(bias)].map(|c| self.number(c));
        let integer = self.multiply_add(x, log2e, rounding);
        let n = self.subtract(integer, rounding);
        let [high, low] = [-LN_2_HIGH, -LN_2_LOW].map(|c| self.number(c));
        let rest = self.multiply_add(n, high, x);
        (integer, self.multiply_add(n, low, rest))
    }

    /// exp(r) - 1 for |r| ≤ ln 2 / 2.
    fn exp_less_one(&mut self, r: Value) -> Value {
        let factor = self.polynomial(r, &table::EXP);
        let square = self.multiply(r, r);
        self.multiply_add(factor, square, r)
    }

    /// The float with this exponent, from the low bits of an integer.
    fn power_of_two(&mut self, integer: Value) -> Value {
        self.step(Step::ShiftLeft(integer, FRACTION))
    }

    /// exp(x + more), with a scale that is 2^shift times as large, for an x that is far from overflow. Where it
    /// is about -(127 + shift) ln 2 the scale vanishes, and it may not be less.
    fn power(&mut self, x: Value, more: Option<Value>, shift: i16) -> Power {
        let (integer, mut r) = self.reduced(x, BIAS + shift);
        if let Some(more) = more {
            r = self.add(r, more);
        }
        let above = self.exp_less_one(r);
        let one = self.number(1.0);
        let mantissa = self.add(one, above);
        let kept = self.subtract(mantissa, one);
        let low = self.subtract(above, kept);
        Power { mantissa, low, scale: self.power_of_two(integer) }
    }

    /// The same with half the mantissa, which then is less than 1: so what is multiplied by the scale first
    /// does not vanish before the whole product does.
    fn halved(&mut self, power: Power) -> Power {
        let [mantissa, low] = [power.mantissa, power.low].map(|part| self.times(part, 0.5));
        Power { mantissa, low, ..power }
    }
}

/// Where exp vanishes with one scale: its exponent is that of zeros.
const VANISHES: f32 = -88.0;

/// exp(x) = 2^n · exp(r) with n the integer nearest x / ln 2. 2^n is made in two halves, so that both ends of
/// the range are in reach.
fn exp(p: &mut Program, x: Value) -> Value {
    let clamped = p.at_least(-104.0, x);
    let clamped = p.at_most(89.0, clamped);
    let (integer, r) = p.reduced(clamped, 2 * BIAS);
    let factor = p.polynomial(r, &table::EXP);
    let one = p.number(1.0);
    let slope = p.multiply_add(factor, r, one);
    let mantissa = p.multiply_add(slope, r, one);
    let half = p.step(Step::ShiftRight(integer, 1));
    let other = p.step(Step::SubtractIntegers(integer, half));
    let [half, other] = [half, other].map(|n| p.power_of_two(n));
    let scaled = p.multiply(mantissa, half);
    p.multiply(scaled, other)
}

/// 1 / (1 + exp(-x)), of t = exp(-|x|): 1 / (1 + t) or t / (1 + t). Where t is small, the latter is
/// t - t² / (1 + t), to which what t lost when it was rounded is added.
fn sigmoid(p: &mut Program, x: Value) -> Value {
    let size = p.size(x);
    let size = p.negative(size);
    let size = p.at_least(VANISHES, size);
    let power = p.power(size, None, 0);
    let t = p.multiply(power.mantissa, power.scale);
    let low = p.multiply(power.low, power.scale);
    let negated = negative_sigmoid(p, x, t);
    let rest = p.multiply_add(t, negated, low);
    let small = p.add(t, rest);
    let other = p.negative(negated);
    p.pick_below(x, -LN_2, [small, other])
}

/// x / (1 + t) with t = exp(-x): see [`times_sigmoid`]. Of minus infinity it is NaN, as minus infinity times 0.
fn swish(p: &mut Program, x: Value) -> Value {
    let size = p.size(x);
    let exponent = p.negative(size);
    times_sigmoid(p, x, exponent, None)
}

/// -1 / (1 + t) or, where x is negative, -t / (1 + t).
fn negative_sigmoid(p: &mut Program, x: Value, t: Value) -> Value {
    let [one, minus] = [1.0, -1.0].map(|c| p.number(c));
    let sum = p.add(one, t);
    let negated = p.negative(t);
    let above = p.pick_below(x, 0.0, [negated, minus]);
    p.divide(above, sum)
}

/// x + x³ · P(x²) where |x| < 0.6, 1 - 2 / (exp(2|x|) + 1) beyond, with the sign of x.
fn tanh(p: &mut Program, x: Value) -> Value {
    let size = p.size(x);
    let square = p.multiply(x, x);
    let factor = p.polynomial(square, &table::TANH);
    let factor = p.multiply(factor, square);
    let near = p.multiply_add(factor, size, size);
    // Beyond, the quotient does not show beside 1.
    let clamped = p.at_most(10.0, size);
    let twice = p.add(clamped, clamped);
    let power = p.power(twice, None, 0);
    let power = p.multiply(power.mantissa, power.scale);
    let [one, two] = [1.0, 2.0].map(|c| p.number(c));
    let sum = p.add(one, power);
    let quotient = p.divide(two, sum);
    let far = p.subtract(one, quotient);
    let result = p.pick_below(size, 0.6, [near, far]);
    p.with_sign_of(result, x)
}

/// x + x · P(x²) where |x| < 0.92, 1 - exp(Q(|x|)) beyond, with the sign of x.
fn erf(p: &mut Program, x: Value) -> Value {
    let size = p.size(x);
    let square = p.multiply(x, x);
    let factor = p.polynomial(square, &table::ERF);
    let near = p.multiply_add(factor, size, size);
    // Beyond, what is subtracted does not show beside 1.
    let clamped = p.at_most(4.0, size);
    let logarithm = p.polynomial(clamped, &table::LOG_ERFC);
    let power = p.power(logarithm, None, 0);
    let power = p.multiply(power.mantissa, power.scale);
    let one = p.number(1.0);
    let far = p.subtract(one, power);
    let result = p.pick_below(size, 0.92, [near, far]);
    p.with_sign_of(result, x)
}

/// log(x) = k ln 2 + log(1 + f) with 1 + f in [√½, √2) and log(1 + f) = f - f²/2 + f³ · P(f).
fn log(p: &mut Program, x: Value) -> Value {
    // Subtracting the bits of √½ puts the boundary between exponents where 1 + f is √2.
    let boundary = p.number(std::f32::consts::FRAC_1_SQRT_2);
    let above = p.step(Step::SubtractIntegers(x, boundary));
    let k = p.step(Step::ShiftRight(above, FRACTION));
    let exponent = p.step(Step::ShiftLeft(k, FRACTION));
    let m = p.step(Step::SubtractIntegers(x, exponent));
    let one = p.number(1.0);
    let f = p.subtract(m, one);
    let k = p.step(Step::FloatOfInteger(k));

    let cubic = p.polynomial(f, &table::LOG);
    let minus_half = p.number(-0.5);
    let factor = p.multiply_add(cubic, f, minus_half);
    let square = p.multiply(f, f);
    let below = p.multiply(square, factor);
    let [high, low] = [LN_2_HIGH, LN_2_LOW].map(|c| p.number(c));
    let below = p.multiply_add(k, low, below);
    let rest = p.add(f, below);
    let finite = p.multiply_add(k, high, rest);

    let result = p.pick_below(x, f32::INFINITY, [finite, x]);
    let [nan, least] = [f32::NAN, f32::NEG_INFINITY].map(|c| p.number(c));
    let undefined = p.pick_below(x, 0.0, [nan, least]);
    p.pick_below(x, f32::MIN_POSITIVE, [undefined, result])
}

/// Where both forms of GELU are x, or 0 of its sign.
const GELU_END: f32 = 13.27;

/// x · Φ(x): x · (½ + x · P(x²)) where |x| < 0.96. Beyond it is 0 or x less exp(-x²/2) · A(1 / (1 + |x|/2)), with
/// |x| Φ(-|x|) exp(x²/2) = A: nearly the same throughout, it needs few terms.
fn gelu(p: &mut Program, x: Value) -> Value {
    let square = p.multiply(x, x);
    let slope = p.polynomial(square, &table::PHI);
    let half = p.number(0.5);
    let phi = p.multiply_add(slope, x, half);
    let near = p.multiply(x, phi);

    let size = p.size(x);
    let clamped = p.at_most(GELU_END, size);
    let tail = gelu_tail(p, clamped);
    let zero = p.number(0.0);
    let line = p.step(Step::Max(zero, x));
    // Minus infinity times 0 is NaN, as in the definition.
    let line = p.multiply_add(x, zero, line);
    let rest = p.multiply_add(tail.scale, tail.low, line);
    let far = p.multiply_add(tail.scale, tail.mantissa, rest);
    let end = p.number(GELU_END);
    let far = p.step(Step::Pick { a: end, b: x, yes: x, no: far });
    p.pick_below(size, 0.96, [near, far])
}

/// -u Φ(-u), for u from 1 to [`GELU_END`].
fn gelu_tail(p: &mut Program, u: Value) -> Power {
    let [half, one] = [0.5, 1.0].map(|c| p.number(c));
    let sum = p.multiply_add(u, half, one);
    let v = p.divide(one, sum);
    let factor = p.polynomial(v, &table::GELU_TAIL);
    let minus_half = p.times(u, -0.5);
    let exponent = p.multiply(u, minus_half);
    let negated = p.negative(exponent);
    let more = p.multiply_add(u, minus_half, negated);
    let power = p.power(exponent, Some(more), 1);
    let power = p.halved(power);
    let scale = p.negative(power.scale);
    Power { scale: p.multiply(factor, scale), ..power }
}

/// x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) = x / (1 + t) with t = exp(-2 √(2/π) (x + 0.044715 x³)).
fn gelu_tanh(p: &mut Program, x: Value) -> Value {
    let size = p.size(x);
    let clamped = p.at_most(10.6, size);
    let (exponent, more) = gelu_curve(p, clamped);
    times_sigmoid(p, x, exponent, Some(more))
}

/// x / (1 + t) or, where x is negative, x · t / (1 + t), of t = exp(exponent + more). Where t is small and x negative,
/// as [`sigmoid`], and 2^8 larger until it is scaled: t may vanish before x · t does.
fn times_sigmoid(p: &mut Program, x: Value, exponent: Value, more: Option<Value>) -> Value {
    const SHIFT: i16 = 8;
    const SHIFTED: f32 = 256.0;
    let exponent = p.at_least(-94.2, exponent);
    let power = p.power(exponent, more, SHIFT + 1);
    let power = p.halved(power);
    let scale = p.times(power.scale, SHIFTED.recip());
    let t = p.multiply(power.mantissa, scale);
    let negated = negative_sigmoid(p, x, t);
    let gate = p.negative(negated);
    let other = p.multiply(x, gate);

    let factor = p.times(x, SHIFTED.recip());
    let factor = p.multiply(factor, power.scale);
    let rest = p.multiply_add(power.mantissa, negated, power.low);
    let rest = p.multiply(factor, rest);
    let small = p.multiply_add(factor, power.mantissa, rest);
    p.pick_below(x, -1.0, [small, other])
}

/// -2 √(2/π) (u + 0.044715 u³), and what it lost when it was rounded: exp makes much of little.
fn gelu_curve(p: &mut Program, u: Value) -> (Value, Value) {
    let linear = -FRAC_2_SQRT_PI * SQRT_2;
    let cubic = linear * 0.044715;
    let [[line, line_low], [cube, cube_low]] = [linear, cubic].map(|c| {
        let high = c as f32;
        [high, (c - f64::from(high)) as f32].map(|part| p.number(part))
    });
    let (square, square_low) = product(p, u, u);
    let (bend, bend_low) = product(p, cube, square);
    let bend_low = p.multiply_add(cube, square_low, bend_low);
    let bend_low = p.multiply_add(cube_low, square, bend_low);
    let (slope, slope_low) = sum(p, line, bend);
    let slope_low = p.add(slope_low, bend_low);
    let slope_low = p.add(slope_low, line_low);
    let (curve, curve_low) = product(p, u, slope);
    (curve, p.multiply_add(u, slope_low, curve_low))
}

/// A product, and what it lost when it was rounded.
fn product(p: &mut Program, a: Value, b: Value) -> (Value, Value) {
    let product = p.multiply(a, b);
    let negated = p.negative(product);
    (product, p.multiply_add(a, b, negated))
}

/// A sum, and what it lost when it was rounded (Knuth, The Art of Computer Programming, volume 2, 4.2.2).
fn sum(p: &mut Program, a: Value, b: Value) -> (Value, Value) {
    let sum = p.add(a, b);
    let of_b = p.subtract(sum, a);
    let of_a = p.subtract(sum, of_b);
    let [low_a, low_b] = [(a, of_a), (b, of_b)].map(|(whole, kept)| p.subtract(whole, kept));
    (sum, p.add(low_a, low_b))
}
