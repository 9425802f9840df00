//! The operators of the graph IR.
//!
//! Every operator has exactly one result. What ONNX spells in several ways is one operator here:
//! GlobalAveragePool is a [`Reduce`], Flatten and Squeeze are [`Op::Reshape`], Split is one
//! [`Op::Slice`] per part, Gemm is a [`Op::MatMul`] and an addition, nearest Resize is a
//! [`Op::Gather`] per axis. Attributes are static: whatever ONNX computes from shapes has been
//! evaluated by the time a node exists.

use super::attention::SplitAttention;
use super::epilogue::Epilogue;
use super::function::{Binary, Unary};
use super::types::DType;
use super::weight::Weight;

/// What a node computes. The comment of each variant gives its operands by slot.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A model input; no operands.
    Input,
    /// A constant; no operands.
    Weight(Weight),
    /// Convolution. x `[n, c, h, w]`, w `[m, c/groups, kh, kw]`, optional bias `[m]`; result
    /// `[n, m, h', w']`. Epilogue operands follow in slots 3 and up.
    Conv(Conv),
    /// `(x - mean) / sqrt(var + epsilon) * scale + bias` along axis 1.
    /// x `[n, c, …]`, then scale, bias, mean, var, each `[c]`.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// Batched matrix product `a · b` of the last two axes, leading axes broadcast; both operands
    /// have rank 2 or more. Optional bias `[n]` added to each row, then epilogue operands from
    /// slot 3.
    MatMul {
        /// Use `a` transposed in its last two axes.
        transpose_a: bool,
        /// Use `b` transposed in its last two axes.
        transpose_b: bool,
        /// Applied to each element of the result.
        epilogue: Epilogue,
    },
    /// An elementwise function of x, then an epilogue (operands from slot 1).
    Unary(Unary, Epilogue),
    /// An elementwise function of a and b, broadcast as in NumPy, then an epilogue (operands from
    /// slot 2).
    Binary(Binary, Epilogue),
    /// `condition ? a : b`, elementwise, broadcast; the condition is bool.
    Where,
    /// Conversion to another element type: float to integer truncates, to bool is `x != 0`.
    Cast {
        /// The new element type.
        to: DType,
    },
    /// ONNX's QuantizeLinear: x f32, scale f32 and a zero point, both of which broadcast to x. The result
    /// has the type of the zero point, u8 or i8: `round(x / scale) + zero`, the quotient an f32 and of two
    /// integers the even one, or the end of the type that it is beyond. A NaN is the lowest.
    Quantize,
    /// ONNX's DequantizeLinear: x u8, i8 or i32, scale f32 and a zero point of x's type, both of which
    /// broadcast to x. The result is f32: `(x - zero) * scale`, the difference wrapped to i32.
    Dequantize,
    /// Softmax (or its logarithm) over one axis.
    Softmax {
        /// The axis that sums to one.
        axis: usize,
        /// LogSoftmax.
        log: bool,
    },
    /// Sliding-window maximum or mean over the last two of four axes.
    Pool(Pool),
    /// Reduction over axes.
    Reduce(Reduce),
    /// Split-Attention; operands as [`SplitAttention`] gives them.
    SplitAttention(SplitAttention),
    /// The same elements in the same order under another shape, which is the node's type.
    Reshape,
    /// NumPy broadcasting to the node's type.
    Expand,
    /// Axes permuted: result axis `i` is operand axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// Any number of operands joined along one axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Every `step`-th element from `start`, along each axis, as many as the node's type says.
    Slice {
        /// First element of each axis.
        starts: Vec<usize>,
        /// Distance between elements of each axis; may be negative, never 0.
        steps: Vec<isize>,
    },
    /// Whole slices of x along `axis` picked by an integer tensor (slot 1): the result's shape has
    /// the index's axes in place of `axis`. Indices outside the axis are clamped to it; the import
    /// refuses constant ones and counts negative ones from the end.
    Gather {
        /// The axis of x.
        axis: usize,
    },
    /// Slices of x along its first axis, put at places that an integer tensor of one axis (slot 1) names: into a
    /// copy of the data in slot 2, or into zeros where there is none. Of several for one place it is the last; one
    /// for a place outside of the axis is left out.
    Scatter {
        /// How long the first axis of the result is.
        extent: usize,
    },
    /// A border of one value around x.
    Pad {
        /// Elements before each axis.
        before: Vec<usize>,
        /// Elements after each axis.
        after: Vec<usize>,
        /// What they hold.
        value: f64,
    },
    /// Index (i64) of the largest element along an axis.
    ArgMax {
        /// The axis.
        axis: usize,
        /// Keep the axis, with extent 1.
        keep: bool,
        /// Of equal elements take the last instead of the first.
        last: bool,
    },
    /// x itself.
    Identity,
}

/// Attributes of a convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// How many groups of channels do not see each other.
    pub groups: usize,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Applied to each element of the result.
    pub epilogue: Epilogue,
}

/// A sliding window over height and width, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Rows above and columns left of the input.
    pub pad_before: [usize; 2],
    /// Rows below and columns right of the input.
    pub pad_after: [usize; 2],
}

impl Default for Window {
    fn default() -> Window {
        Window::POINT
    }
}

impl Window {
    /// A 1×1 window of stride 1.
    pub const POINT: Window = Window {
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pad_before: [0, 0],
        pad_after: [0, 0],
    };

    /// Whether each output reads the input at its own place, and nothing else. Dilation means nothing
    /// then.
    pub fn is_point(&self) -> bool {
        Window { dilation: Window::POINT.dilation, ..*self } == Window::POINT
    }

    /// Whether each output reads one pixel of the input, in steps, and never padding.
    pub fn is_sample(&self) -> bool {
        Window { stride: Window::POINT.stride, ..*self }.is_point() && !self.is_point()
    }

    /// Extent of the dilated kernel along `axis` (0 height, 1 width); `None` when the kernel or
    /// the dilation is 0, or the extent overflows.
    pub fn extent(&self, axis: usize) -> Option<usize> {
        let dilation = Some(self.dilation[axis]).filter(|n| *n > 0)?;
        self.kernel[axis].checked_sub(1)?.checked_mul(dilation)?.checked_add(1)
    }

    /// Whether it has these positions over an input of this height and width, the last of which may hang over
    /// its end.
    pub fn goes(&self, input: [usize; 2], positions: [usize; 2]) -> bool {
        let along = |axis: usize| {
            let has = |ceil| self.positions(axis, input[axis], ceil) == Some(positions[axis]);
            has(false) || has(true)
        };
        along(0) && along(1)
    }

    /// Number of window positions along `axis` over `input` elements; `None` when the padded input
    /// is smaller than the kernel, and for a window that makes no sense (a 0, an overflow). With
    /// `ceil` the last window may hang over the end, unless it would start in the padding after the
    /// input (ONNX AveragePool-19, MaxPool-12).
    pub fn positions(&self, axis: usize, input: usize, ceil: bool) -> Option<usize> {
        let end = input.checked_add(self.pad_before[axis])?;
        let padded = end.checked_add(self.pad_after[axis])?;
        let room = padded.checked_sub(self.extent(axis)?)?;
        let stride = Some(self.stride[axis]).filter(|n| *n > 0)?;
        if !ceil {
            return (room / stride).checked_add(1);
        }
        let last = room.div_ceil(stride);
        let late = last.checked_mul(stride).is_none_or(|start| start >= end);
        if late { Some(last).filter(|n| *n > 0) } else { last.checked_add(1) }
    }
}

/// Sliding-window pooling; x `[n, c, h, w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool {
    /// What is taken of each window.
    pub kind: PoolKind,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Round the number of positions up.
    pub ceil: bool,
}

/// What a pool takes of each window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// The largest element; padding never wins.
    #[default]
    Max,
    /// The mean.
    Average {
        /// Divide by all window positions inside the padded input, not only those inside the input.
        count_padding: bool,
    },
}

/// A reduction over axes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// How elements combine.
    pub kind: ReduceKind,
    /// Reduced axes, ascending, at least one.
    pub axes: Vec<usize>,
    /// Keep reduced axes, with extent 1.
    pub keep: bool,
}

/// How a reduction combines elements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum.
    #[default]
    Sum,
    /// Mean.
    Mean,
    /// Largest.
    Max,
    /// Smallest.
    Min,
}

impl Op {
    /// The operator's name in dumps.
    pub fn mnemonic(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Weight(_) => "weight",
            Op::Conv(c) if c.groups > 1 => "group_conv",
            Op::Conv(_) => "conv",
            Op::BatchNorm { .. } => "batch_norm",
            Op::MatMul { .. } => "matmul",
            Op::Unary(f, _) => f.mnemonic(),
            Op::Binary(f, _) => f.mnemonic(),
            Op::Where => "where",
            Op::Cast { .. } => "cast",
            Op::Quantize => "quantize",
            Op::Dequantize => "dequantize",
            Op::Softmax { log: false, .. } => "softmax",
            Op::Softmax { log: true, .. } => "log_softmax",
            Op::Pool(Pool { kind: PoolKind::Max, .. }) => "max_pool",
            Op::Pool(Pool { kind: PoolKind::Average { .. }, .. }) => "average_pool",
            Op::Reduce(r) => r.kind.mnemonic(),
            Op::SplitAttention(_) => "split_attention",
            Op::Reshape => "reshape",
            Op::Expand => "expand",
            Op::Transpose { .. } => "transpose",
            Op::Concat { .. } => "concat",
            Op::Slice { .. } => "slice",
            Op::Gather { .. } => "gather",
            Op::Scatter { .. } => "scatter",
            Op::Pad { .. } => "pad",
            Op::ArgMax { .. } => "argmax",
            Op::Identity => "identity",
        }
    }

    /// The epilogue, for operators that have one.
    pub fn epilogue(&self) -> Option<&Epilogue> {
        match self {
            Op::Conv(c) => Some(&c.epilogue),
            Op::SplitAttention(a) => Some(&a.epilogue),
            Op::MatMul { epilogue, .. } | Op::Unary(_, epilogue) | Op::Binary(_, epilogue) => {
                Some(epilogue)
            }
            Op::Input
            | Op::Weight(_)
            | Op::BatchNorm { .. }
            | Op::Where
            | Op::Cast { .. }
            | Op::Quantize
            | Op::Dequantize
            | Op::Softmax { .. }
            | Op::Pool(_)
            | Op::Reduce(_)
            | Op::Reshape
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Gather { .. }
            | Op::Scatter { .. }
            | Op::Pad { .. }
            | Op::ArgMax { .. }
            | Op::Identity => None,
        }
    }

    /// The epilogue, to be changed.
    pub fn epilogue_mut(&mut self) -> Option<&mut Epilogue> {
        match self {
            Op::Conv(c) => Some(&mut c.epilogue),
            Op::SplitAttention(a) => Some(&mut a.epilogue),
            Op::MatMul { epilogue, .. } | Op::Unary(_, epilogue) | Op::Binary(_, epilogue) => {
                Some(epilogue)
            }
            _ => None,
        }
    }

    /// How many slots the operator has apart from its epilogue's: the first ones, which must be
    /// filled, and all; `None` for any number.
    pub fn own_slots(&self) -> (usize, Option<usize>) {
        match self {
            Op::Input | Op::Weight(_) => (0, Some(0)),
            Op::Conv(_) | Op::MatMul { .. } => (2, Some(3)),
            Op::BatchNorm { .. } => (5, Some(5)),
            // Which of w1 and the biases there are depends on the excite; `infer` checks that.
            Op::SplitAttention(_) => (1, Some(5)),
            Op::Binary(..) | Op::Gather { .. } => (2, Some(2)),
            Op::Where | Op::Quantize | Op::Dequantize => (3, Some(3)),
            Op::Scatter { .. } => (2, Some(3)),
            Op::Concat { .. } => (1, None),
            Op::Unary(..)
            | Op::Cast { .. }
            | Op::Softmax { .. }
            | Op::Pool(_)
            | Op::Reduce(_)
            | Op::Reshape
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::ArgMax { .. }
            | Op::Identity => (1, Some(1)),
        }
    }

    /// First slot that epilogue operands may use: the number of the operator's own operands,
    /// optional ones included. `None` for operators without an epilogue.
    pub fn epilogue_slot(&self) -> Option<usize> {
        match self {
            Op::Conv(_) | Op::MatMul { .. } => Some(3),
            Op::SplitAttention(_) => Some(5),
            Op::Unary(..) => Some(1),
            Op::Binary(..) => Some(2),
            _ => None,
        }
    }
}

impl ReduceKind {
    /// Every kind.
    pub const ALL: [ReduceKind; 4] =
        [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min];

    /// The operator's name in dumps.
    pub fn mnemonic(self) -> &'static str {
        match self {
            ReduceKind::Sum => "reduce_sum",
            ReduceKind::Mean => "reduce_mean",
            ReduceKind::Max => "reduce_max",
            ReduceKind::Min => "reduce_min",
        }
    }
}
