//! Elementwise functions, and the epilogues that are made of them.

/// Elementwise functions of one operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`
    Relu,
    /// `x < 0 ? alpha * x : x`
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// `min(max(x, low), high)`; an absent bound is infinite.
    Clip {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `max(0, min(1, alpha * x + beta))`
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x * max(0, min(1, x / 6 + 0.5))`
    HardSwish,
    /// Hyperbolic tangent.
    Tanh,
    /// `x / 2 * (1 + erf(x / sqrt 2))`
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`
    GeluTanh,
    /// Error function.
    Erf,
    /// Exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / x`
    Reciprocal,
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
}

/// Elementwise functions of two operands of one element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`; integers truncate towards zero, and division by zero gives 0.
    Div,
    /// `a` to the power of `b`.
    Pow,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// `a == b`, as bool.
    Equal,
}

/// What is applied to each element of a result before it is stored, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Epilogue {
    /// The steps, first to last.
    pub steps: Vec<Step>,
}

/// One step of an epilogue.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Replace the element by a function of it.
    Unary(Unary),
    /// Replace the element `x` by `function(x, operand)`; the operand, in the given slot of the
    /// node, has the result's shape and type.
    Binary(Binary, usize),
}

impl Epilogue {
    /// No steps.
    pub fn none() -> Epilogue {
        Epilogue::default()
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Unary {
    /// The function's name in dumps; its parameters follow it there.
    pub fn mnemonic(self) -> &'static str {
        match self {
            Unary::Relu => "relu",
            Unary::LeakyRelu { .. } => "leaky_relu",
            Unary::Clip { .. } => "clip",
            Unary::Sigmoid => "sigmoid",
            Unary::HardSigmoid { .. } => "hard_sigmoid",
            Unary::HardSwish => "hard_swish",
            Unary::Tanh => "tanh",
            Unary::Gelu => "gelu",
            Unary::GeluTanh => "gelu_tanh",
            Unary::Erf => "erf",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Reciprocal => "reciprocal",
            Unary::Neg => "neg",
            Unary::Abs => "abs",
        }
    }
}

impl Binary {
    /// Every function of two operands.
    pub const ALL: [Binary; 8] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Pow,
        Binary::Min,
        Binary::Max,
        Binary::Equal,
    ];

    /// The function's name in dumps.
    pub fn mnemonic(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Pow => "pow",
            Binary::Min => "min",
            Binary::Max => "max",
            Binary::Equal => "equal",
        }
    }

    /// Whether `f(a, b) == f(b, a)`.
    pub fn commutes(self) -> bool {
        match self {
            Binary::Add | Binary::Mul | Binary::Min | Binary::Max | Binary::Equal => true,
            Binary::Sub | Binary::Div | Binary::Pow => false,
        }
    }
}
