//! Operators that ONNX Runtime's optimizer joins of others, as these others again.

use super::{activation, conv, matmul};
use crate::error::{Error, Result};
use crate::ir::Unary;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{AS_EXPORTED, bad, unsupported};

/// FusedConv: `activation(conv(x, w) + b + z)`.
pub(in crate::onnx) fn conv(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, w, b) = (ctx.required(0)?, ctx.required(1)?, ctx.optional(2)?);
    let mut y = conv::convolution(ctx, x, w, b)?;
    if let Some(z) = ctx.optional(3)? {
        if ctx.ty(z) != ctx.ty(y) {
            return Err(bad(format!("{} is added to {}", ctx.ty(z), ctx.ty(y))));
        }
        y = ctx.add(y, z)?;
    }
    let given = ctx.attributes.floats("activation_params")?.unwrap_or_default();
    let y = activated(ctx, y, [given.first().copied(), given.get(1).copied(), None])?;
    ctx.bind(0, y)
}

/// FusedGemm: `activation(alpha * a · b + beta * c)`.
pub(in crate::onnx) fn gemm(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let y = matmul::whole_gemm(ctx)?;
    let alpha = ctx.attributes.optional_float("activation_alpha")?;
    let beta = ctx.attributes.optional_float("activation_beta")?;
    let gamma = ctx.attributes.optional_float("activation_gamma")?;
    let y = activated(ctx, y, [alpha, beta, gamma])?;
    ctx.bind(0, y)
}

/// x, or what the function that attribute `activation` names makes of it; `given` are its alpha, beta and gamma, or
/// its parameters in order.
fn activated(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    given: [Option<f32>; 3],
) -> Result<ValueId> {
    let [first, second, gamma] = given;
    let function = match ctx.attributes.string("activation", "")? {
        "" => return Ok(x),
        "Relu" => Unary::Relu,
        "Sigmoid" => Unary::Sigmoid,
        "Tanh" => Unary::Tanh,
        "LeakyRelu" => Unary::LeakyRelu { alpha: first.unwrap_or(0.01) },
        "HardSigmoid" => {
            Unary::HardSigmoid { alpha: first.unwrap_or(0.2), beta: second.unwrap_or(0.5) }
        }
        "Clip" => Unary::Clip {
            low: first.unwrap_or(f32::NEG_INFINITY),
            high: second.unwrap_or(f32::INFINITY),
        },
        "Celu" => return activation::celu(ctx, x, first.unwrap_or(1.0)),
        "Elu" => return activation::elu(ctx, x, first.unwrap_or(1.0)),
        "Selu" => {
            let (alpha, factor) = activation::SELU;
            return activation::selu(ctx, x, first.unwrap_or(alpha), gamma.unwrap_or(factor));
        }
        "Softplus" => return activation::softplus(ctx, x),
        "Softsign" => return activation::softsign(ctx, x),
        "ThresholdedRelu" => return activation::above_threshold(ctx, x, first.unwrap_or(1.0)),
        other => {
            return Err(unsupported(format!("the activation `{other}`")).with_remedy(AS_EXPORTED));
        }
    };
    ctx.unary(function, x)
}

/// FusedMatMul and TransposeMatMul: `alpha * a · b` of matrices whose axes may be in another order.
pub(in crate::onnx) fn matmul(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (a, transpose_a) = matrices(ctx, 0, ["transBatchA", "transA"])?;
    let (b, transpose_b) = matrices(ctx, 1, ["transBatchB", "transB"])?;
    let op = matmul::op(transpose_a, transpose_b);
    let multiply = |ctx: &mut NodeContext<'_, '_>, a, b| ctx.emit(op.clone(), &[a, b]);
    let alpha = f64::from(ctx.attributes.float("alpha", 1.0)?);
    let cost = |id| (!ctx.is_constant(id), ctx.ty(id).elements());
    // Products have more elements than the smaller of their operands, mostly.
    let (a, b) = match cost(a) <= cost(b) {
        true => (ctx.scaled(a, alpha)?, b),
        false => (a, ctx.scaled(b, alpha)?),
    };
    let y = matmul::product_by(ctx, a, b, &multiply)?;
    ctx.bind(0, y)
}

/// An operand whose batches come first, and whether its matrices are transposed. Its rows may come before its
/// batches instead, as `[rows, ..., columns]`. What has a single axis is no matrix.
fn matrices(
    ctx: &mut NodeContext<'_, '_>,
    index: usize,
    [rows_first, transposed]: [&str; 2],
) -> Result<(ValueId, bool)> {
    let x = ctx.required(index)?;
    let rows_first = ctx.attributes.flag(rows_first, false)?;
    let transposed = ctx.attributes.flag(transposed, false)?;
    let rank = ctx.ty(x).rank();
    if rank < 2 {
        return Ok((x, false));
    }
    if !rows_first {
        return Ok((x, transposed));
    }
    let perm: Vec<usize> = (1..rank - 1).chain([0, rank - 1]).collect();
    Ok((ctx.transposed(x, &perm)?, transposed))
}

/// BiasGelu, FastGelu, Gelu and QuickGelu.
pub(in crate::onnx) fn gelu(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let y = match ctx.operator() {
        "Gelu" => ctx.unary(Unary::Gelu, x)?,
        "BiasGelu" => {
            let bias = ctx.required(1)?;
            let sum = shifted(ctx, x, bias)?;
            ctx.unary(Unary::Gelu, sum)?
        }
        "FastGelu" => {
            let sum = match ctx.optional(1)? {
                Some(bias) => shifted(ctx, x, bias)?,
                None => x,
            };
            ctx.unary(Unary::GeluTanh, sum)?
        }
        "QuickGelu" => {
            let alpha = ctx.attributes.float("alpha", 1.702)?;
            activation::swish(ctx, x, alpha)?
        }
        other => return Err(Error::internal(format!("{other} is no GELU"))),
    };
    ctx.bind(0, y)
}

/// `x + bias`, a bias for each index of the last axis.
fn shifted(ctx: &mut NodeContext<'_, '_>, x: ValueId, bias: ValueId) -> Result<ValueId> {
    if ctx.ty(bias).rank() != 1 || ctx.shape(bias).last() != ctx.shape(x).last() {
        return Err(bad(format!("{} is no bias of {}", ctx.ty(bias), ctx.ty(x))));
    }
    ctx.add(x, bias)
}
