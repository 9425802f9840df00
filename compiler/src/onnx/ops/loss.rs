//! NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss, as models have them that were exported with
//! their loss.

use crate::error::Result;
use crate::ir::{Op, ReduceKind, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::indices::integers;
use crate::onnx::refusal::bad;

/// NegativeLogLikelihoodLoss.
pub(in crate::onnx) fn negative_log_likelihood(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let y = loss(ctx, x)?;
    ctx.bind(0, y)
}

/// SoftmaxCrossEntropyLoss: that of the logarithm of the softmax, which is another output.
pub(in crate::onnx) fn softmax_cross_entropy(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let logs = ctx.emit(Op::Softmax { axis: 1, log: true }, &[x])?;
    let y = loss(ctx, logs)?;
    ctx.bind(0, y)?;
    ctx.bind(1, logs)
}

/// What x `[n, c, …]` has for the classes in operand 1 `[n, …]`, negative, times their weights.
fn loss(ctx: &mut NodeContext<'_, '_>, x: ValueId) -> Result<ValueId> {
    let (target, weights) = (integers(ctx, 1)?, ctx.optional(2)?);
    let shape = ctx.shape(x);
    let [n, classes, ref inner @ ..] = shape[..] else {
        return Err(bad(format!("{} has no classes", ctx.ty(x))));
    };
    if ctx.shape(target) != [&[n], inner].concat() {
        return Err(bad(format!("classes {} for {}", ctx.ty(target), ctx.ty(x))));
    }
    let inner: usize = inner.iter().product();
    let target_shape = ctx.shape(target);
    let target = ctx.reshape(target, &[n, inner])?;
    let (target, counts) = counted(ctx, target)?;
    let at = places(ctx, target, [n, classes, inner])?;
    let flat = ctx.reshape(x, &[n * classes * inner])?;
    let found = ctx.emit(Op::Gather { axis: 0 }, &[flat, at])?;
    let weight = weight(ctx, x, target, weights, counts)?;
    let loss = match weight {
        Some(weight) => ctx.mul(found, weight)?,
        None => found,
    };
    let loss = ctx.unary(Unary::Neg, loss)?;
    // What is left out may be infinite.
    let loss = match counts {
        Some(counts) => {
            let zero = ctx.number(loss, 0.0);
            ctx.choose(counts, loss, zero)?
        }
        None => loss,
    };
    combined(ctx, loss, weight, &target_shape)
}

/// The classes with 0 in place of the one that is to be left out, and which are not.
fn counted(ctx: &mut NodeContext<'_, '_>, target: ValueId) -> Result<(ValueId, Option<ValueId>)> {
    let Some(ignored) = ctx.attributes.optional_int("ignore_index")? else {
        return Ok((target, None));
    };
    let ignored = ctx.ints(&[], vec![ignored]);
    let ignored = ctx.cast(ignored, ctx.dtype(target))?;
    let is_ignored = ctx.is_equal(target, ignored)?;
    let zero = ctx.number(target, 0.0);
    let target = ctx.choose(is_ignored, zero, target)?;
    Ok((target, Some(ctx.not(is_ignored)?)))
}

/// Where the elements of x are that these classes name, of all in order.
fn places(
    ctx: &mut NodeContext<'_, '_>,
    target: ValueId,
    [n, classes, inner]: [usize; 3],
) -> Result<ValueId> {
    let scaled = ctx.scaled(target, inner as f64)?;
    let starts = (0..n * inner).map(|i| (i / inner * classes * inner + i % inner) as i64).collect();
    let starts = ctx.ints(&[n, inner], starts);
    ctx.add(scaled, starts)
}

/// The weight of each element; `None` where all are 1.
fn weight(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    target: ValueId,
    weights: Option<ValueId>,
    counts: Option<ValueId>,
) -> Result<Option<ValueId>> {
    let counted = match counts {
        Some(counts) => Some(ctx.cast(counts, ctx.dtype(x))?),
        None => None,
    };
    let Some(weights) = weights else {
        return Ok(counted);
    };
    if ctx.shape(weights) != [ctx.shape(x)[1]] {
        return Err(bad(format!("weights {} for {}", ctx.ty(weights), ctx.ty(x))));
    }
    let own = ctx.emit(Op::Gather { axis: 0 }, &[weights, target])?;
    let own = match counted {
        Some(counted) => ctx.mul(own, counted)?,
        None => own,
    };
    Ok(Some(own))
}

/// Losses as they are, their sum, or their mean by weight.
fn combined(
    ctx: &mut NodeContext<'_, '_>,
    loss: ValueId,
    weight: Option<ValueId>,
    shape: &[usize],
) -> Result<ValueId> {
    let total = |ctx: &mut NodeContext<'_, '_>, kind, x| {
        let y = ctx.over(kind, x, &[0, 1])?;
        ctx.reshape(y, &[])
    };
    match ctx.attributes.string("reduction", "mean")? {
        "none" => ctx.reshape(loss, shape),
        "sum" => total(ctx, ReduceKind::Sum, loss),
        "mean" => match weight {
            None => total(ctx, ReduceKind::Mean, loss),
            Some(weight) => {
                let sum = total(ctx, ReduceKind::Sum, loss)?;
                let weight = total(ctx, ReduceKind::Sum, weight)?;
                ctx.div(sum, weight)
            }
        },
        other => Err(bad(format!("attribute `reduction` is `{other}`"))),
    }
}
