//! Split-Attention.

use super::elementwise::{check_dtype, check_per_channel, check_same_dtype};
use super::window::image;
use super::{Operands, bad};
use crate::error::Result;
use crate::ir::attention::{Excite, SplitAttention, Weigh};
use crate::ir::types::{Axis, TensorType};

pub(super) fn split_attention(op: &SplitAttention, given: &Operands<'_>) -> Result<TensorType> {
    let u = given.required(SplitAttention::U, "u")?;
    check_dtype(u.dtype.is_float(), "split_attention", u.dtype)?;
    let ([n, channels], [h, w]) = image(u)?;
    let (k, r) = (op.cardinality, op.radix);
    let Some(splits) = k.checked_mul(r).filter(|n| *n > 0) else {
        return bad(format!("cardinality {k} and radix {r} make no splits"));
    };
    if !channels.size().is_multiple_of(splits) {
        return bad(format!("u has {} channels, not a multiple of {k}x{r}", channels.size()));
    }
    match (op.weigh, r) {
        (Weigh::Softmax, 1) => return bad("a softmax over a radix of 1"),
        (Weigh::Gate(_), 2..) => return bad(format!("a gate for a radix of {r}")),
        (Weigh::Softmax | Weigh::Gate(_), _) => {}
    }
    let c = channels.size() / splits;
    let width = match &op.excite {
        Excite::Inner { width, .. } => {
            let Some(rows) = k.checked_mul(*width).filter(|n| *n > 0) else {
                return bad(format!("an inner layer {width} wide in {k} groups"));
            };
            dense(given, [SplitAttention::W1, SplitAttention::B1], ["w1", "b1"], rows, c)?;
            *width
        }
        Excite::Direct => {
            for (slot, name) in [(SplitAttention::W1, "w1"), (SplitAttention::B1, "b1")] {
                if given.optional(slot).is_some() {
                    return bad(format!("{name} is given, but there is no inner layer"));
                }
            }
            c
        }
    };
    dense(given, [SplitAttention::W2, SplitAttention::B2], ["w2", "b2"], k * r * c, width)?;
    let out = Axis::cardinality_major([k, 1, c]);
    Ok(TensorType { dtype: u.dtype, axes: vec![n.clone(), out, Axis::plain(h), Axis::plain(w)] })
}

/// Checks the weights `[rows, columns]` and the bias `[rows]` of a dense layer.
fn dense(
    given: &Operands<'_>,
    [weight, bias]: [usize; 2],
    [weight_name, bias_name]: [&str; 2],
    rows: usize,
    columns: usize,
) -> Result<()> {
    let u = given.required(SplitAttention::U, "u")?;
    let matrix = given.required(weight, weight_name)?;
    check_same_dtype(("u", u), (weight_name, matrix))?;
    if matrix.shape() != [rows, columns] {
        return bad(format!("{weight_name} is {matrix}, not [{rows}, {columns}]"));
    }
    match given.optional(bias) {
        Some(bias) => check_per_channel(bias_name, bias, rows, u),
        None => Ok(()),
    }
}
