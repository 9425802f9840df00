//! RotaryEmbedding.

use super::attention::{by_head, four};
use crate::error::Result;
use crate::ir::Op;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::bad;

/// RotaryEmbedding: pairs of elements rotated by angles of their position.
pub(in crate::onnx) fn rotary(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let rank = ctx.ty(x).rank();
    let heads = ctx.attributes.int("num_heads", 0)?;
    // As [n, length, heads, width].
    let whole = by_head(ctx, x, heads)?;
    let whole = ctx.transposed(whole, &[0, 2, 1, 3])?;
    let [n, length, count, width] = four(ctx, whole)?;
    let rotated = match ctx.attributes.int("rotary_embedding_dim", 0)? {
        0 => width,
        some => some.try_into().unwrap_or(usize::MAX),
    };
    if rotated > width || !rotated.is_multiple_of(2) {
        return Err(bad(format!("attribute `rotary_embedding_dim` is {rotated} of {width}")));
    }
    let interleaved = ctx.attributes.flag("interleaved", false)?;
    let angles =
        [angles(ctx, 1, [n, length, rotated / 2])?, angles(ctx, 2, [n, length, rotated / 2])?];
    let pairs = part(ctx, whole, 3, 0, rotated)?;
    let pairs = turned(ctx, pairs, [n, length, count, rotated], angles, interleaved)?;
    let y = match width - rotated {
        0 => pairs,
        rest => {
            let rest = part(ctx, whole, 3, rotated, rest)?;
            ctx.joined(3, &[pairs, rest])?
        }
    };
    let y = match rank {
        3 => ctx.reshape(y, &[n, length, count * width])?,
        _ => ctx.transposed(y, &[0, 2, 1, 3])?,
    };
    ctx.bind(0, y)
}

/// The cosines or sines for each position, `[n, length, 1, half]`.
fn angles(
    ctx: &mut NodeContext<'_, '_>,
    operand: usize,
    [n, length, half]: [usize; 3],
) -> Result<ValueId> {
    let cache = ctx.required(operand)?;
    let cache = match ctx.optional(3)? {
        Some(positions) => {
            let extent = ctx.shape(cache).first().copied().unwrap_or(0);
            let positions = super::indices::counted(ctx, positions, extent)?;
            ctx.emit(Op::Gather { axis: 0 }, &[cache, positions])?
        }
        None => cache,
    };
    if ctx.shape(cache) != [n, length, half] {
        return Err(bad(format!("{} for {n} times {length} positions of {half}", ctx.ty(cache))));
    }
    ctx.reshape(cache, &[n, length, 1, half])
}

/// `(a cos - b sin, a sin + b cos)` of each pair, which lie side by side or a half apart.
fn turned(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    shape: [usize; 4],
    [cos, sin]: [ValueId; 2],
    interleaved: bool,
) -> Result<ValueId> {
    let [n, length, heads, width] = shape;
    let (pairs, axis) = match interleaved {
        true => ([n, length, heads, width / 2, 2], 4),
        false => ([n, length, heads, 2, width / 2], 3),
    };
    let (x, half) = (ctx.reshape(x, &pairs)?, [n, length, heads, width / 2]);
    let (a, b) = (part(ctx, x, axis, 0, 1)?, part(ctx, x, axis, 1, 1)?);
    let (a, b) = (ctx.reshape(a, &half)?, ctx.reshape(b, &half)?);
    let products = [ctx.mul(a, cos)?, ctx.mul(b, sin)?, ctx.mul(a, sin)?, ctx.mul(b, cos)?];
    let first = ctx.sub(products[0], products[1])?;
    let second = ctx.add(products[2], products[3])?;
    let mut one = pairs;
    one[axis] = 1;
    let (first, second) = (ctx.reshape(first, &one)?, ctx.reshape(second, &one)?);
    let y = ctx.joined(axis, &[first, second])?;
    ctx.reshape(y, &shape)
}
