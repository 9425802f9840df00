//! Operators of constants, as compiled code computes them: what is folded has the bits of what runs.
//!
//! Compiled code rounds every result to its element type, and takes denormals of f32 for zeros of their
//! sign (`runtime/src/float_mode.rs`), operands and results alike. Only what moves elements or changes
//! their sign leaves them as they are.

use super::{Data, Tensor, evaluate};
use crate::error::Result;
use crate::ir::{DType, Op, TensorType, Unary};

/// As [`evaluate`], of operands and with a result as compiled code has them.
///
/// # Errors
/// Those of [`evaluate`].
pub fn fold(op: &Op, operands: &[(usize, &Tensor)], ty: &TensorType) -> Result<Tensor> {
    let same = |(_, x): &(usize, &Tensor)| x.dtype == ty.dtype;
    let converts_nothing = matches!(op, Op::Cast { .. }) && operands.iter().all(same);
    if converts_nothing || keeps_denormals(op) {
        return evaluate(op, operands, ty);
    }
    let flushed: Vec<(usize, Tensor)> =
        operands.iter().map(|(slot, x)| (*slot, as_computed(x))).collect();
    let operands: Vec<(usize, &Tensor)> = flushed.iter().map(|(slot, x)| (*slot, x)).collect();
    Ok(as_computed(&evaluate(op, &operands, ty)?))
}

/// Whether the operator gives elements of its operands, at most with another sign.
fn keeps_denormals(op: &Op) -> bool {
    match op {
        Op::Unary(Unary::Neg | Unary::Abs, then) => then.is_empty(),
        Op::Input
        | Op::Weight(_)
        | Op::Where
        | Op::Reshape
        | Op::Expand
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Gather { .. }
        | Op::Scatter { .. }
        | Op::Pad { .. }
        | Op::Identity => true,
        Op::Unary(..)
        | Op::Binary(..)
        | Op::Conv(_)
        | Op::BatchNorm { .. }
        | Op::MatMul { .. }
        | Op::Cast { .. }
        | Op::Quantize
        | Op::Dequantize
        | Op::Softmax { .. }
        | Op::Pool(_)
        | Op::SplitAttention(_)
        | Op::Reduce(_)
        | Op::ArgMax { .. } => false,
    }
}

/// Floats as compiled code has them in its registers.
fn as_computed(x: &Tensor) -> Tensor {
    let register = |x: &f64| {
        let rounded = *x as f32;
        f64::from(if rounded.is_subnormal() { 0f32.copysign(rounded) } else { rounded })
    };
    let data = match (&x.data, x.dtype) {
        (Data::Float(all), DType::F32) => Data::Float(all.iter().map(register).collect()),
        (data, _) => data.clone(),
    };
    Tensor { data, ..x.clone() }
}
