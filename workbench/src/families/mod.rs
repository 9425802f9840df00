//! The table of kernel cases. A row is an operator as a graph, the sizes at which it is proved, and
//! the layers of real networks at which it is timed.
//!
//! Cases are graphs and not kernels, because what is laid out, packed and cut is the planner's work:
//! a case runs the kernels that a model with this operator would run.

mod bytes;
mod rows;
mod tails;
mod texts;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::error::Result;
use cardinal_compiler::ir::{Graph, text};
use cardinal_compiler::kernels;
use cardinal_compiler::plan::Plan;
use cardinal_compiler::schedule::{Bfloat16, Choice, Chosen, Layer, Preferences, Schedule};

pub use bytes::{STEP, STEP_OF_SUMS};
pub use rows::FAMILIES;

/// One operator, at any size.
pub struct Family {
    /// `conv 3x3`, …
    pub name: &'static str,
    /// What is computed.
    pub operator: Operator,
    /// How its convolutions are computed.
    pub way: Way,
    /// Sizes that leave every kind of rest.
    pub tails: fn() -> Vec<Extents>,
    /// Named layers.
    pub layers: &'static [(&'static str, Extents)],
}

/// How convolutions are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By their definition.
    Exact,
    /// As the planner's estimates have it.
    Estimated,
    /// As estimated, of values that are rounded to multiples of [`STEP`]: as bytes, where the machine can.
    Bytes,
    /// By the algorithm whose choices begin with this word, wherever it can.
    By(&'static str),
    /// The same, of values that are rounded, and outputs to multiples of [`STEP_OF_SUMS`].
    BytesBy(&'static str),
    /// By an algorithm with products of bfloat16, where the machine can.
    RoundedBy(&'static str),
}

impl Way {
    /// Of what outputs are multiples, where values are rounded.
    pub fn step(self) -> Option<f32> {
        match self {
            Way::Bytes => Some(STEP),
            Way::BytesBy(_) => Some(STEP_OF_SUMS),
            Way::Exact | Way::Estimated | Way::By(_) | Way::RoundedBy(_) => None,
        }
    }
}

/// What a row computes.
#[derive(Debug, Clone, Copy)]
pub enum Operator {
    /// A convolution.
    Conv(Taps),
    /// A convolution to 16 channels and a pool over its result, which so lies in blocks.
    Pool(&'static str, Taps),
    /// Split-Attention with this radix, after a convolution. The channels made are those of the
    /// result; groups are its cardinality.
    Attention(usize),
    /// Any graph, and its multiply-adds.
    Other(fn(&Extents) -> String, fn(&Extents) -> usize),
}

/// A square window.
#[derive(Debug, Clone, Copy)]
pub struct Taps {
    /// Extent.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Distance between the elements of a window.
    pub dilation: usize,
    /// Zeros on each side.
    pub pad: usize,
}

/// How big a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extents {
    /// Images.
    pub images: usize,
    /// Channels read.
    pub read: usize,
    /// Channels made.
    pub made: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// What follows the sums of a convolution.
    pub end: End,
}

/// What follows the sums of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing, not even a bias.
    Bare,
    /// A bias and relu.
    Relu,
    /// A bias, a residual and relu.
    Residual,
}

impl Extents {
    /// One image with a bias and relu.
    pub const fn of([read, made, groups]: [usize; 3], size: [usize; 2]) -> Extents {
        Extents { images: 1, read, made, groups, size, end: End::Relu }
    }

    /// One group over a square.
    pub const fn square(read: usize, made: usize, side: usize) -> Extents {
        Extents::of([read, made, 1], [side, side])
    }

    /// The same with another end.
    pub const fn then(self, end: End) -> Extents {
        Extents { end, ..self }
    }

    /// The same with so many images.
    pub const fn times(self, images: usize) -> Extents {
        Extents { images, ..self }
    }
}

impl std::fmt::Display for Extents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Extents { images, read, made, groups, size: [h, w], end } = self;
        write!(f, "{images}x{read}x{h}x{w} to {made}, groups {groups}, {end:?}")
    }
}

impl Taps {
    /// Output extents for these of the input.
    fn output(self, size: [usize; 2]) -> [usize; 2] {
        let extent = self.dilation * (self.kernel - 1) + 1;
        size.map(|n| (n + 2 * self.pad - extent) / self.stride + 1)
    }

    fn text(self) -> String {
        let Taps { kernel, stride, dilation, pad } = self;
        format!("{kernel}x{kernel} stride {stride} dilation {dilation} pad {pad}")
    }
}

impl Family {
    /// The plan of a graph of this row.
    ///
    /// # Errors
    /// Those of [`kernels::lower`].
    pub fn plan(&self, graph: &Graph, target: &Target) -> Result<Plan> {
        kernels::lower(graph, &self.schedule(graph, target))
    }

    /// The schedule of a graph of this row.
    pub fn schedule(&self, graph: &Graph, target: &Target) -> Schedule {
        let winograd = self.way != Way::Exact;
        let winograd_of_bytes = matches!(self.way, Way::BytesBy(_));
        let rounds = matches!(self.way, Way::RoundedBy(_));
        let mut preferences = Preferences {
            winograd,
            winograd_of_bytes,
            bfloat16: if rounds { Bfloat16::WhereFaster } else { Bfloat16::Never },
            ..Preferences::default()
        };
        if let Way::By(algorithm) | Way::BytesBy(algorithm) | Way::RoundedBy(algorithm) = self.way {
            let insisted = |layer: Layer| {
                let is_rounded = |choice: &Choice| choice.as_str().ends_with(" in bf16");
                let is_of_it = |c: &Choice| c.algorithm() == algorithm && is_rounded(c) == rounds;
                let choice = layer.candidates.into_iter().find(is_of_it)?;
                Some((layer.key, Chosen { choice, because: String::new() }))
            };
            let estimated = kernels::schedule(graph, &target.machine(), &preferences);
            let layers = estimated.layers(graph).into_iter();
            preferences.choices = layers.filter_map(insisted).collect();
        }
        kernels::schedule(graph, &target.machine(), &preferences)
    }

    /// The graph.
    ///
    /// # Errors
    /// If its text is none.
    pub fn graph(&self, e: &Extents) -> Result<Graph> {
        let graph = text::parse(&self.text(e))?;
        Ok(match self.way.step() {
            Some(step) => bytes::rounded(&graph, step),
            None => graph,
        })
    }

    /// The graph's text, before values are rounded.
    fn text(&self, e: &Extents) -> String {
        let body = match self.operator {
            Operator::Conv(taps) => texts::conv(e, taps),
            Operator::Pool(kind, taps) => texts::pool(e, kind, taps),
            Operator::Attention(radix) => texts::attention(e, radix),
            Operator::Other(text, _) => text(e),
        };
        format!("graph @case {{\n{body}\n}}\n")
    }

    /// Multiply-adds of the operator as it is defined, over channels that are there.
    pub fn multiply_adds(&self, e: &Extents) -> usize {
        match self.operator {
            Operator::Conv(taps) => {
                let [h, w] = taps.output(e.size);
                e.images * e.made * h * w * (e.read / e.groups) * taps.kernel * taps.kernel
            }
            Operator::Pool(..) | Operator::Attention(_) => 0,
            Operator::Other(_, work) => work(e),
        }
    }
}
