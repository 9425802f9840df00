//! LinearAttention and CausalConvWithState, which carry a state from one call to the next.

use super::activation::swish;
use super::attention::{by_head, four};
use super::conv::convolved;
use super::matmul;
use super::recurrent::{MOST_STEPS, three};
use super::window::Along;
use crate::error::Result;
use crate::ir::Unary;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::{bad, unsupported};

/// CausalConvWithState: a convolution of each channel that sees what was before, and keeps its end.
pub(in crate::onnx) fn causal_conv(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, w, b) = (ctx.required(0)?, ctx.required(1)?, ctx.optional(2)?);
    let ([_, channels, length], [m, one, kernel]) = (three(ctx, x)?, three(ctx, w)?);
    if m != channels || one != 1 || kernel == 0 {
        return Err(bad(format!("weights {} for {}", ctx.ty(w), ctx.ty(x))));
    }
    let whole = match ctx.optional(3)? {
        Some(past) => ctx.joined(2, &[past, x])?,
        None => ctx.bordered(x, 2, [kernel - 1, 0], 0.0)?,
    };
    let along = Along { kernel, stride: 1, dilation: 1, pads: [0, 0] };
    let y = convolved(ctx, [whole, w], b, channels, &[along])?;
    let y = match ctx.attributes.string("activation", "none")? {
        "none" => y,
        "silu" | "swish" => swish(ctx, y, 1.0)?,
        other => return Err(bad(format!("attribute `activation` is `{other}`"))),
    };
    ctx.bind(0, y)?;
    let state = part(ctx, whole, 2, length, kernel - 1)?;
    ctx.bind(1, state)
}

/// What LinearAttention reads at each step, `[batch, heads, steps, …]`.
struct Steps {
    query: ValueId,
    key: ValueId,
    value: ValueId,
    decay: Option<ValueId>,
    beta: Option<ValueId>,
}

/// LinearAttention, a step after the other.
pub(in crate::onnx) fn linear_attention(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    // How many steps may be computed at once.
    ctx.attributes.ignore(&["chunk_size"]);
    let queries = usize::try_from(ctx.attributes.int("q_num_heads", 0)?).unwrap_or(0);
    let keys = usize::try_from(ctx.attributes.int("kv_num_heads", 0)?).unwrap_or(0);
    if keys == 0 || queries == 0 || !queries.is_multiple_of(keys) {
        return Err(bad(format!("{queries} heads of queries for {keys} of keys")));
    }
    let steps = steps(ctx, queries, keys)?;
    let [n, _, count, width] = four(ctx, steps.query)?;
    let [.., value_width] = four(ctx, steps.value)?;
    if count > MOST_STEPS || count == 0 {
        return Err(unsupported(format!("a sequence of {count} steps")));
    }
    let scale = match ctx.attributes.float("scale", 0.0)? {
        0.0 => 1.0 / (width as f64).sqrt(),
        scale => f64::from(scale),
    };
    let mut state = match ctx.optional(3)? {
        Some(past) => past,
        None => {
            let zero = ctx.scalar(crate::ir::DType::F32, 0.0);
            ctx.expanded(zero, &[n, keys, width, value_width])?
        }
    };
    let mut outputs = Vec::with_capacity(count);
    for step in 0..count {
        state = steps.remembered(ctx, step, state)?;
        let query = part(ctx, steps.query, 2, step, 1)?;
        let query = ctx.reshape(query, &[n, keys, queries / keys, width])?;
        let found = ctx.emit(matmul::op(false, false), &[query, state])?;
        outputs.push(ctx.reshape(found, &[n, 1, queries * value_width])?);
    }
    let y = ctx.joined(1, &outputs)?;
    let y = ctx.scaled(y, scale)?;
    ctx.bind(0, y)?;
    ctx.bind(1, state)
}

/// The operands by head, and those of the update rule, of which each has its own.
fn steps(ctx: &mut NodeContext<'_, '_>, queries: usize, keys: usize) -> Result<Steps> {
    let [query, key, value] = [ctx.required(0)?, ctx.required(1)?, ctx.required(2)?];
    let (decays, corrects) = match ctx.attributes.string("update_rule", "gated_delta")? {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(bad(format!("attribute `update_rule` is `{other}`"))),
    };
    let (decay, beta) = (ctx.optional(4)?, ctx.optional(5)?);
    if decay.is_some() != decays || beta.is_some() != corrects {
        return Err(bad("operands 4 and 5 are not those of its `update_rule`"));
    }
    let mut heads = |id: ValueId, heads: usize| by_head(ctx, id, heads as i64);
    let (query, key, value) = (heads(query, queries)?, heads(key, keys)?, heads(value, keys)?);
    let decay = decay.map(|decay| heads(decay, keys)).transpose()?;
    let beta = match beta {
        Some(beta) => {
            let [_, _, own] = three(ctx, beta)?;
            Some(by_head(ctx, beta, own.min(keys) as i64)?)
        }
        None => None,
    };
    Ok(Steps { query, key, value, decay, beta })
}

impl Steps {
    /// The state `[n, heads, key, value]` after a step: decayed, and with the key's value in it.
    fn remembered(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        step: usize,
        state: ValueId,
    ) -> Result<ValueId> {
        let key = part(ctx, self.key, 2, step, 1)?;
        let mut value = part(ctx, self.value, 2, step, 1)?;
        let mut state = state;
        if let Some(decay) = self.decay {
            let decay = part(ctx, decay, 2, step, 1)?;
            let decay = ctx.unary(Unary::Exp, decay)?;
            let decay = ctx.transposed(decay, &[0, 1, 3, 2])?;
            state = ctx.mul(state, decay)?;
        }
        if let Some(beta) = self.beta {
            let found = ctx.emit(matmul::op(false, false), &[key, state])?;
            let beta = part(ctx, beta, 2, step, 1)?;
            let difference = ctx.sub(value, found)?;
            value = ctx.mul(difference, beta)?;
        }
        let new = ctx.emit(matmul::op(true, false), &[key, value])?;
        ctx.add(state, new)
    }
}
