//! Rows of elementwise loops whose functions take many steps.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::ir::expr::Expr;
use cardinal_compiler::ir::{Binary, DType, Unary};
use cardinal_compiler::kernels::map::Map;
use cardinal_compiler::plan::Nest;

use super::random::Random;
use super::{Argument, BLOCK, Case, Place, Value};

/// A function of f64.
type Of = fn(f64) -> f64;

/// Functions and their definitions.
const FUNCTIONS: [(Unary, Of); 10] = [
    (Unary::Exp, f64::exp),
    (Unary::Log, f64::ln),
    (Unary::Tanh, f64::tanh),
    (Unary::Erf, erf),
    (Unary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
    (Unary::Swish, |x| x / (1.0 + (-x).exp())),
    (Unary::Gelu, |x| x / 2.0 * (1.0 + erf(x * FRAC_1_SQRT_2))),
    (Unary::GeluTanh, |x| {
        x / 2.0 * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
    }),
    (Unary::Sqrt, f64::sqrt),
    (Unary::Reciprocal, f64::recip),
];

/// The series of erf, which converges everywhere.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    FRAC_2_SQRT_PI * sum
}

/// `outer(scale · x1) op x2` or, where there is no second operand, without it.
pub(crate) fn of_functions(random: &mut Random, vectors: Vectors) -> Case {
    let (function, definition) = random.one_of(&FUNCTIONS);
    // One that takes many steps, so that there is a row.
    let (gate, gated) = random.one_of(&FUNCTIONS[..8]);
    let scale = random.one_of(&[0.5, 2.0, 4.0]);
    let is_positive = matches!(function, Unary::Log | Unary::Sqrt | Unary::Reciprocal);
    let gate_is_positive = matches!(gate, Unary::Log);
    let spread = random.is();
    let blocks = random.between(1, 5);
    let x = |operand| Expr::Operand(operand).binary(Binary::Mul, Expr::number(scale));
    let expr = x(1).unary(function).binary(Binary::Add, x(2).unary(gate));
    let strides = vec![vec![1], vec![1], vec![isize::from(!spread)]];
    let map = Map {
        nest: Nest { dims: vec![blocks * BLOCK], strides },
        dtypes: vec![DType::F32; 3],
        expr,
    };
    let mut places = ["output", "first", "second"].map(Place::new);
    for at in 0..blocks * BLOCK {
        let other = if spread { 0 } else { at };
        let a = number(&mut places[1], at, is_positive, random);
        let b = number(&mut places[2], other, gate_is_positive, random);
        let [a, b] = [(definition, a), (gated, b)].map(|(of, x)| Value::computed(of(x * scale)));
        places[0].write(at, a + b);
    }
    Case {
        spec: format!("{map:?}"),
        function: map.assembled_row(vectors).unwrap(),
        arguments: [
            Argument::Place(1),
            Argument::Place(2),
            Argument::Place(0),
            Argument::Nothing,
            Argument::Count(blocks),
            Argument::Nothing,
        ],
        places: places.into(),
    }
}

/// An element, which is away from zero and positive where it must be.
fn number(place: &mut Place, at: usize, is_positive: bool, random: &mut Random) -> f64 {
    let made = random.float();
    let made = if is_positive { made.abs() + 0.0625 } else { made };
    f64::from(*place.before.entry(at as i64).or_insert(made))
}
