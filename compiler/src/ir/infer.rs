//! The type rule of every operator.
//!
//! A result keeps the axis of an operand, factors included, wherever the operator leaves that axis
//! as it is. Attributes are not trusted: an axis out of range, a stride of 0 or a size that
//! overflows is an error like any other.

mod attention;
mod elementwise;
mod epilogue;
mod layout;
mod operands;
mod product;
mod reduce;
mod window;

pub use elementwise::broadcast_shapes;

use super::op::Op;
use super::types::TensorType;
use crate::error::{Problem, Result};
use operands::Operands;

/// The type of `op`'s result, from the types of its operands given as (slot, type) by ascending
/// slot.
///
/// # Errors
/// [`Problem::BadNode`] saying which operand or attribute does not fit. Operators whose result
/// type is an attribute (inputs, weights, reshapes, expands, slices) are refused: their node
/// carries the type.
pub fn infer(op: &Op, operands: &[(usize, &TensorType)]) -> Result<TensorType> {
    let given = Operands::new(op, operands)?;
    let ty = match op {
        Op::Input | Op::Weight(_) | Op::Reshape | Op::Expand | Op::Slice { .. } => {
            return bad(format!("the result type of {} is an attribute of it", op.mnemonic()));
        }
        Op::Conv(conv) => product::conv(conv, &given),
        Op::MatMul { transpose_a, transpose_b, .. } => {
            product::matmul(*transpose_a, *transpose_b, &given)
        }
        Op::BatchNorm { .. } => elementwise::batch_norm(&given),
        Op::Unary(function, _) => elementwise::unary(*function, &given),
        Op::Binary(function, _) => elementwise::binary(*function, &given),
        Op::Where => elementwise::select(&given),
        Op::Cast { to } => elementwise::cast(*to, &given),
        Op::Quantize => elementwise::quantize(&given),
        Op::Dequantize => elementwise::dequantize(&given),
        Op::Softmax { axis, .. } => reduce::softmax(*axis, &given),
        Op::SplitAttention(op) => attention::split_attention(op, &given),
        Op::Reduce(reduce) => reduce::reduce(reduce, &given),
        Op::ArgMax { axis, keep, .. } => reduce::argmax(*axis, *keep, &given),
        Op::Pool(pool) => window::pool(pool, &given),
        Op::Transpose { perm } => layout::transpose(perm, &given),
        Op::Concat { axis } => layout::concat(*axis, &given),
        Op::Gather { axis } => layout::gather(*axis, &given),
        Op::Scatter { extent } => layout::scatter(*extent, &given),
        Op::Pad { before, after, .. } => layout::pad(before, after, &given),
        Op::Identity => given.required(0, "x").cloned(),
    }?;
    check_size(&ty)?;
    epilogue::check(op, &given, &ty)?;
    Ok(ty)
}

/// Refuses a type whose bytes do not fit `isize`. Empty axes count as 1, so that strides fit too.
fn check_size(ty: &TensorType) -> Result<()> {
    let bytes = ty.axes.iter().try_fold(ty.dtype.size(), |n, a| n.checked_mul(a.size().max(1)));
    match bytes {
        Some(n) if isize::try_from(n).is_ok() => Ok(()),
        Some(_) | None => bad(format!("the result {ty} is too large for this machine")),
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T> {
    Err(Problem::BadNode(what.into()).into())
}
