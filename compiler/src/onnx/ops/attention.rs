//! Attention of operator sets 23 and on.

use super::matmul;
use crate::error::Result;
use crate::ir::{Binary, DType, Op, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// Queries, keys and values as `[n, heads, length, width]`.
struct Heads {
    query: ValueId,
    key: ValueId,
    value: ValueId,
    /// Of the operands, which are the result's too: 3 where heads lie in the last axis.
    rank: usize,
    /// How many keys there were before these.
    past: usize,
}

/// Attention.
pub(in crate::onnx) fn attention(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let heads = heads(ctx)?;
    ctx.bind(1, heads.key)?;
    ctx.bind(2, heads.value)?;
    let shared = shared_heads(ctx, &heads)?;
    let scores = scores(ctx, &heads, shared)?;
    let mode = ctx.attributes.int("qk_matmul_output_mode", 0)?;
    let capped = capped(ctx, scores)?;
    let biased = biased(ctx, &heads, capped)?;
    // It is computed in f32, whatever is asked for.
    ctx.attributes.ignore(&["softmax_precision"]);
    let weights = weights(ctx, biased)?;
    let watched = match mode {
        0 => scores,
        1 => capped,
        2 => biased,
        3 => weights,
        other => return Err(bad(format!("attribute `qk_matmul_output_mode` is {other}"))),
    };
    ctx.bind(3, watched)?;
    let value = repeated(ctx, heads.value, shared)?;
    let y = matmul::product(ctx, weights, value)?;
    let y = if heads.rank == 3 { packed(ctx, y)? } else { y };
    ctx.bind(0, y)
}

fn heads(ctx: &mut NodeContext<'_, '_>) -> Result<Heads> {
    let [query, key, value] = [ctx.required(0)?, ctx.required(1)?, ctx.required(2)?];
    let rank = ctx.ty(query).rank();
    let [queries, keys] = ["q_num_heads", "kv_num_heads"].map(|name| ctx.attributes.int(name, 0));
    let (queries, keys) = (queries?, keys?);
    let query = by_head(ctx, query, queries)?;
    let (mut key, mut value) = (by_head(ctx, key, keys)?, by_head(ctx, value, keys)?);
    let mut past = 0;
    match (ctx.optional(4)?, ctx.optional(5)?) {
        (None, None) => {}
        (Some(past_key), Some(past_value)) => {
            past = ctx.shape(past_key).get(2).copied().unwrap_or(0);
            key = ctx.joined(2, &[past_key, key])?;
            value = ctx.joined(2, &[past_value, value])?;
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err(bad("a past key without a past value, or the other way round"));
        }
    }
    Ok(Heads { query, key, value, rank, past })
}

/// `[n, length, heads * width]` as `[n, heads, length, width]`, which x may be already.
pub(super) fn by_head(ctx: &mut NodeContext<'_, '_>, x: ValueId, heads: i64) -> Result<ValueId> {
    match ctx.shape(x)[..] {
        [_, _, _, _] => Ok(x),
        [n, length, all] => {
            let heads = usize::try_from(heads).ok().filter(|h| *h > 0 && all.is_multiple_of(*h));
            let heads = heads.ok_or_else(|| bad(format!("{} of no known heads", ctx.ty(x))))?;
            let x = ctx.reshape(x, &[n, length, heads, all / heads])?;
            ctx.transposed(x, &[0, 2, 1, 3])
        }
        _ => Err(bad(format!("{} has neither 3 nor 4 axes", ctx.ty(x)))),
    }
}

/// `[n, heads, length, width]` as `[n, length, heads * width]`.
fn packed(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let [n, heads, length, width] = four(ctx, x)?;
    let x = ctx.transposed(x, &[0, 2, 1, 3])?;
    ctx.reshape(x, &[n, length, heads * width])
}

/// The extents of four axes.
pub(super) fn four(ctx: &NodeContext<'_, '_>, x: ValueId) -> Result<[usize; 4]> {
    let shape = <[usize; 4]>::try_from(ctx.shape(x));
    shape.map_err(|_| bad(format!("{} has not 4 axes", ctx.ty(x))))
}

/// How many heads of queries share one of keys.
fn shared_heads(ctx: &NodeContext<'_, '_>, heads: &Heads) -> Result<usize> {
    let ([_, queries, ..], [_, keys, ..]) = (four(ctx, heads.query)?, four(ctx, heads.key)?);
    match keys > 0 && queries.is_multiple_of(keys) {
        true => Ok(queries / keys),
        false => Err(bad(format!("{queries} heads of queries for {keys} of keys"))),
    }
}

/// x with each head so many times in a row.
fn repeated(ctx: &mut NodeContext<'_, '_>, x: ValueId, times: usize) -> Result<ValueId> {
    if times == 1 {
        return Ok(x);
    }
    let [n, heads, length, width] = four(ctx, x)?;
    let x = ctx.reshape(x, &[n, heads, 1, length, width])?;
    let x = ctx.expanded(x, &[n, heads, times, length, width])?;
    ctx.reshape(x, &[n, heads * times, length, width])
}

/// `scale * query · keyᵀ`, of which both take the root of the scale.
fn scores(ctx: &mut NodeContext<'_, '_>, heads: &Heads, shared: usize) -> Result<ValueId> {
    let [.., width] = four(ctx, heads.query)?;
    let scale = ctx.attributes.optional_float("scale")?;
    let scale = scale.map_or(1.0 / (width as f64).sqrt(), f64::from);
    let key = repeated(ctx, heads.key, shared)?;
    let root = scale.abs().sqrt();
    let query = ctx.scaled(heads.query, root.copysign(scale))?;
    let key = ctx.scaled(key, root)?;
    ctx.emit(matmul::op(false, true), &[query, key])
}

/// `softcap * tanh(x / softcap)`, if there is one.
fn capped(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let cap = f64::from(ctx.attributes.float("softcap", 0.0)?);
    if cap == 0.0 {
        return Ok(x);
    }
    let x = ctx.with_number(Binary::Div, x, cap)?;
    let x = ctx.unary(Unary::Tanh, x)?;
    ctx.scaled(x, cap)
}

/// Scores with minus infinity for keys that a query may not see, and with what the mask adds.
fn biased(ctx: &mut NodeContext<'_, '_>, heads: &Heads, scores: ValueId) -> Result<ValueId> {
    let (shape, mut y) = (ctx.shape(scores), scores);
    let keys = shape[3];
    if let Some(mask) = ctx.optional(3)? {
        y = match ctx.dtype(mask) {
            DType::Bool => {
                let mask = filled(ctx, mask, keys, 0.0)?;
                only(ctx, mask, y)?
            }
            _ => {
                let mask = filled(ctx, mask, keys, f64::NEG_INFINITY)?;
                ctx.add(y, mask)?
            }
        };
    }
    for visible in visible(ctx, heads, [shape[2], keys])? {
        y = only(ctx, visible, y)?;
    }
    match ctx.shape(y) == shape {
        true => Ok(y),
        false => Err(bad("its mask does not broadcast to the scores")),
    }
}

/// x where this holds, and minus infinity elsewhere.
fn only(ctx: &mut NodeContext<'_, '_>, holds: ValueId, x: ValueId) -> Result<ValueId> {
    let never = ctx.number(x, f64::NEG_INFINITY);
    ctx.choose(holds, x, never)
}

/// A mask that may be of fewer keys than there are.
fn filled(
    ctx: &mut NodeContext<'_, '_>,
    mask: ValueId,
    keys: usize,
    value: f64,
) -> Result<ValueId> {
    let shape = ctx.shape(mask);
    match shape.last() {
        Some(&own) if own != 1 && own < keys => {
            ctx.bordered(mask, shape.len() - 1, [0, keys - own], value)
        }
        _ => Ok(mask),
    }
}

/// Which keys queries see by their positions: by causality, within a window, and where there are any.
fn visible(
    ctx: &mut NodeContext<'_, '_>,
    heads: &Heads,
    [queries, keys]: [usize; 2],
) -> Result<Vec<ValueId>> {
    let causal = ctx.attributes.flag("is_causal", false)?;
    let left = ctx.attributes.int("left_window_size", -1)?;
    let right = ctx.attributes.int("right_window_size", -1)?;
    let lengths = if ctx.since >= 24 { ctx.optional(6)? } else { None };
    let key = ctx.counting(keys, 3, 4);
    let mut visible = Vec::new();
    // The place of the first query among the keys.
    let mut offset = ctx.ints(&[1; 4], vec![heads.past as i64]);
    if let Some(lengths) = lengths {
        let samples = ctx.ty(lengths).elements();
        let lengths = ctx.cast(lengths, DType::I64)?;
        let lengths = ctx.reshape(lengths, &[samples, 1, 1, 1])?;
        let last = ctx.shifted(lengths, -1.0)?;
        visible.push(ctx.is_at_most(key, last)?);
        if heads.past == 0 {
            offset = ctx.shifted(lengths, -(queries as f64))?;
        }
    }
    let own = ctx.counting(queries, 2, 4);
    let query = ctx.add(own, offset)?;
    let last = match (causal, right) {
        (true, _) => Some(0),
        (false, -1) => None,
        (false, right) => Some(right),
    };
    if let Some(last) = last {
        let last = ctx.shifted(query, last as f64)?;
        visible.push(ctx.is_at_most(key, last)?);
    }
    if left != -1 {
        let first = ctx.shifted(query, -(left as f64))?;
        visible.push(ctx.is_at_most(first, key)?);
    }
    Ok(visible)
}

/// The softmax of each row, and 0 for one that sees no key.
fn weights(ctx: &mut NodeContext<'_, '_>, scores: ValueId) -> Result<ValueId> {
    let weights = ctx.emit(Op::Softmax { axis: 3, log: false }, &[scores])?;
    let masks = ctx.optional(3)?.is_some() || ctx.optional(6)?.is_some();
    let windows = ctx.attributes.int("left_window_size", -1)? != -1
        || ctx.attributes.int("right_window_size", -1)? != -1;
    if !masks && !windows && !ctx.attributes.flag("is_causal", false)? {
        return Ok(weights);
    }
    let largest = ctx.over(crate::ir::ReduceKind::Max, scores, &[3])?;
    let sees_none = ctx.with_number(Binary::Equal, largest, f64::NEG_INFINITY)?;
    let zero = ctx.number(weights, 0.0);
    ctx.choose(sees_none, zero, weights)
}
