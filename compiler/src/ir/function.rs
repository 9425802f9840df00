//! The elementwise functions, a row each.
//!
//! A row says what a function is called in texts, which parameters it has, what it means on floats
//! (computed in f64), and what it means on integers, if it is defined for them. All else that is known
//! about functions follows from their rows, or is in the one table of how they are emitted
//! (`codegen/functions/mod.rs`), for which the compiler demands a row for each of these.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::types::DType;

/// What may be true of a function besides its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    /// `f(a, b)` is `f(b, a)`.
    Commutes,
    /// The result is bool, as which the meanings give 1 or 0; bools may be compared too.
    Compares,
    /// The result may be an operand as it is, which was not computed with.
    Chooses,
}

/// Makes an enum, and what is looked up for each of its variants, of a table of functions:
///
/// ```text
/// Variant { parameters } "name in texts" [facts] floats MEANING, integers MEANING;
/// ```
///
/// Parameters are f32 in the variant, and f64 in meanings. A function without a meaning on integers is
/// not defined for them. That meaning is of i64, into which operands of every integer type fit, and is
/// wrapped to `ty`, the operands' type, by whoever asks for it.
macro_rules! functions {
    (@optional) => { None };
    (@optional $meaning:expr) => { Some($meaning) };
    (@zero $x:ident) => { 0 };
    (
        $(#[$about:meta])*
        $table:ident($($x:ident),+) of $ty:ident {
            $(
                $(#[$doc:meta])*
                $name:ident $({ $($(#[$parameter_doc:meta])* $parameter:ident),+ })?
                $mnemonic:literal $([$($fact:ident),+])?
                floats $floats:expr $(, integers $integers:expr)?;
            )+
        }
    ) => {
        $(#[$about])*
        pub enum $table {
            $(
                $(#[$doc])*
                $name $({ $($(#[$parameter_doc])* $parameter: f32),+ })?,
            )+
        }

        impl $table {
            /// Every function, with parameters of 0.
            pub const ALL: [$table; [$($mnemonic),+].len()] =
                [$($table::$name $({ $($parameter: 0.0),+ })?),+];

            /// The function's name in texts; its parameters follow it there.
            pub fn mnemonic(self) -> &'static str {
                match self {
                    $($table::$name { .. } => $mnemonic,)+
                }
            }

            /// The function with this name, its parameters still to be read.
            pub fn from_mnemonic(mnemonic: &str) -> Option<$table> {
                $table::ALL.into_iter().find(|function| function.mnemonic() == mnemonic)
            }

            /// The parameters, by name, in the order they are written in.
            pub fn parameters(&mut self) -> Vec<(&'static str, &mut f32)> {
                match self {
                    $($table::$name $({ $($parameter),+ })? => {
                        vec![$($((stringify!($parameter), $parameter)),+)?]
                    })+
                }
            }

            fn facts(self) -> &'static [Fact] {
                match self {
                    $($table::$name { .. } => &[$($(Fact::$fact),+)?],)+
                }
            }

            /// The function of floats.
            pub fn of_floats(self, $($x: f64),+) -> f64 {
                match self {
                    $($table::$name $({ $($parameter),+ })? => {
                        $($(let $parameter = f64::from($parameter);)+)?
                        $floats
                    })+
                }
            }

            /// The function of integers of a type, to be wrapped to it; `None` where it has none.
            #[allow(unused_variables, reason = "few meanings need the type or parameters")]
            pub fn of_integers(self, $ty: DType, $($x: i64),+) -> Option<i64> {
                match self {
                    $($table::$name $({ $($parameter),+ })? => {
                        $($(let $parameter = f64::from($parameter);)+)?
                        functions!(@optional $($integers)?)
                    })+
                }
            }

            /// Whether the result may be an operand as it is.
            pub fn chooses(self) -> bool {
                self.facts().contains(&Fact::Chooses)
            }

            /// Whether the function is defined for operands of this element type.
            pub fn is_defined_for(self, dtype: DType) -> bool {
                match dtype {
                    DType::F32 | DType::F64 => true,
                    DType::Bool => self.facts().contains(&Fact::Compares),
                    DType::I64 | DType::I32 | DType::U8 | DType::I8 => {
                        self.of_integers(dtype, $(functions!(@zero $x)),+).is_some()
                    }
                }
            }

            /// The element type of the result, for operands of this one.
            pub fn result(self, dtype: DType) -> DType {
                if self.facts().contains(&Fact::Compares) { DType::Bool } else { dtype }
            }
        }
    };
}

functions! {
    /// Elementwise functions of one operand.
    #[derive(Debug, Clone, Copy)]
    Unary(x) of ty {
        /// `max(x, 0)`
        Relu "relu" [Chooses]
            floats larger(x, 0.0),
            integers x.max(0);
        /// `x < 0 ? alpha * x : x`
        LeakyRelu {
            /// Slope below zero.
            alpha
        } "leaky_relu" [Chooses]
            floats if x < 0.0 { alpha * x } else { x };
        /// `min(max(x, low), high)`; an absent bound is infinite. For integers, bounds are converted to
        /// their type as a cast does.
        Clip {
            /// Lower bound.
            low,
            /// Upper bound.
            high
        } "clip" [Chooses]
            floats smaller(larger(x, low), high),
            integers x.max(truncate(ty, low)).min(truncate(ty, high));
        /// `1 / (1 + exp(-x))`
        Sigmoid "sigmoid"
            floats 1.0 / (1.0 + (-x).exp());
        /// `x / (1 + exp(-x))`, SiLU
        Swish "swish"
            floats x / (1.0 + (-x).exp());
        /// `max(0, min(1, alpha * x + beta))`
        HardSigmoid {
            /// Slope.
            alpha,
            /// Value at zero.
            beta
        } "hard_sigmoid"
            floats unit(alpha * x + beta);
        /// `x * max(0, min(1, x / 6 + 0.5))`
        HardSwish "hard_swish"
            floats x * unit(x / 6.0 + 0.5);
        /// The nearest multiple of `scale` between `lowest` and `highest` times it; of two the even multiple. This
        /// is ONNX's QuantizeLinear with the DequantizeLinear after it: `lowest` and `highest` are the ends of the
        /// integers less the zero point. The quotient is an f32, since a last bit of it decides between
        /// neighbours. A NaN is the lowest, and 0 has no sign.
        Quantized {
            /// Distance between neighbours.
            scale,
            /// The lowest multiple, a whole number.
            lowest,
            /// The highest multiple, a whole number.
            highest
        } "quantized"
            floats within(f64::from((x / scale) as f32), lowest, highest).round_ties_even()
                * scale
                + 0.0;
        /// The nearest whole number; of two the even one.
        Round "round"
            floats x.round_ties_even();
        /// Hyperbolic tangent.
        Tanh "tanh"
            floats x.tanh();
        /// `x / 2 * (1 + erf(x / sqrt 2))`, without its cancellation far below 0
        Gelu "gelu"
            floats x / 2.0 * libm::erfc(-x * FRAC_1_SQRT_2);
        /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`, likewise
        GeluTanh "gelu_tanh"
            floats x / (1.0 + (-2.0 * SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)).exp());
        /// Error function.
        Erf "erf"
            floats libm::erf(x);
        /// Exponential.
        Exp "exp"
            floats x.exp();
        /// Natural logarithm.
        Log "log"
            floats x.ln();
        /// Sine of an angle in radians.
        Sin "sin"
            floats x.sin();
        /// Cosine.
        Cos "cos"
            floats x.cos();
        /// Tangent.
        Tan "tan"
            floats x.tan();
        /// Arc sine.
        Asin "asin"
            floats x.asin();
        /// Arc cosine.
        Acos "acos"
            floats x.acos();
        /// Arc tangent.
        Atan "atan"
            floats x.atan();
        /// Hyperbolic sine.
        Sinh "sinh"
            floats x.sinh();
        /// Hyperbolic cosine.
        Cosh "cosh"
            floats x.cosh();
        /// Inverse hyperbolic sine.
        Asinh "asinh"
            floats x.asinh();
        /// Inverse hyperbolic cosine.
        Acosh "acosh"
            floats x.acosh();
        /// Inverse hyperbolic tangent.
        Atanh "atanh"
            floats x.atanh();
        /// Square root.
        Sqrt "sqrt"
            floats x.sqrt();
        /// `1 / x`
        Reciprocal "reciprocal"
            floats 1.0 / x;
        /// `-x`; integers wrap, those without a sign too.
        Neg "neg"
            floats -x,
            integers x.wrapping_neg();
        /// `|x|`; the least integer of a type stays, since it has no counterpart.
        Abs "abs"
            floats x.abs(),
            integers x.wrapping_abs();
    }
}

functions! {
    /// Elementwise functions of two operands of one element type. Integers wrap.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    Binary(a, b) of ty {
        /// `a + b`
        Add "add" [Commutes]
            floats a + b,
            integers a.wrapping_add(b);
        /// `a - b`
        Sub "sub"
            floats a - b,
            integers a.wrapping_sub(b);
        /// `a * b`
        Mul "mul" [Commutes]
            floats a * b,
            integers a.wrapping_mul(b);
        /// `a / b`; integers truncate towards zero, and division by zero gives 0.
        Div "div"
            floats a / b,
            integers if b == 0 { 0 } else { a.wrapping_div(b) };
        /// `a` to the power of `b`. Of integers it is a product, and truncates towards zero where `b` is
        /// negative: then it is 0, even for an `a` of 0, unless `a` is 1 or -1.
        Pow "pow"
            floats a.powf(b),
            integers power(a, b);
        /// The smaller.
        Min "min" [Commutes, Chooses]
            floats smaller(a, b),
            integers a.min(b);
        /// The larger.
        Max "max" [Commutes, Chooses]
            floats larger(a, b),
            integers a.max(b);
        /// `a == b`, as bool.
        Equal "equal" [Commutes, Compares]
            floats f64::from(u8::from(a == b)),
            integers i64::from(a == b);
    }
}

impl Eq for Unary {}

/// Parameters are compared by their bits, so that a NaN equals itself: functions are looked up.
impl PartialEq for Unary {
    fn eq(&self, other: &Unary) -> bool {
        let (mut a, mut b) = (*self, *other);
        let pairs = a.parameters().into_iter().zip(b.parameters());
        let mut same = pairs.map(|((_, a), (_, b))| a.to_bits() == b.to_bits());
        self.mnemonic() == other.mnemonic() && same.all(|same| same)
    }
}

impl Unary {
    /// Whether the function of 0 is finite: whether it may be applied where channels are made up, which
    /// are 0 and meet weights of 0.
    pub fn keeps_zero_finite(self) -> bool {
        self.of_floats(0.0).is_finite()
    }
}

impl Binary {
    /// Whether `f(a, b)` is `f(b, a)`.
    pub fn commutes(self) -> bool {
        self.facts().contains(&Fact::Commutes)
    }

    /// Whether the result is bool, whatever is compared.
    pub fn compares(self) -> bool {
        self.facts().contains(&Fact::Compares)
    }

    /// Whether the function is finite where one operand is 0, or both are, and the other is finite.
    pub fn keeps_zero_finite(self) -> bool {
        // Poles and roots are at 0 and told by signs, so that these stand for all others.
        let others = [0.0, 1.0, -1.0];
        others
            .iter()
            .all(|x| self.of_floats(*x, 0.0).is_finite() && self.of_floats(0.0, *x).is_finite())
    }
}

/// The square root of 2 / pi, which is 2 / sqrt(pi) / sqrt(2).
const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// The larger; a NaN is larger than everything.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

/// The smaller; a NaN is smaller than everything.
pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    if a <= b || a.is_nan() { a } else { b }
}

/// `max(0, min(1, x))`
fn unit(x: f64) -> f64 {
    larger(smaller(x, 1.0), 0.0)
}

/// x, or the end of the range that it is beyond; a NaN is below it.
fn within(x: f64, low: f64, high: f64) -> f64 {
    let x = if x >= low { x } else { low };
    if x <= high { x } else { high }
}

/// `a` to the power of `b`, which for a negative `b` is `1 / a^-b`, truncated.
fn power(mut a: i64, b: i64) -> i64 {
    if b < 0 {
        return match a {
            1 => 1,
            -1 if b % 2 == 0 => 1,
            -1 => -1,
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

/// A float as an integer of the type: truncated, to the nearest that it has; 0 for NaN.
pub(crate) fn truncate(dtype: DType, x: f64) -> i64 {
    match dtype {
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::I8 => i64::from(x as i8),
        DType::Bool => i64::from(x != 0.0),
        DType::I64 | DType::F32 | DType::F64 => x as i64,
    }
}
