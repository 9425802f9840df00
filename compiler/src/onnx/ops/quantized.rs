//! Operators of quantized values: the operator of floats, between what dequantizes its operands and what
//! quantizes its result.

use super::quantize::{Along, dequantize, placed, quantize};
use super::{conv, elementwise, join, matmul, pool, reduce, softmax};
use crate::error::Result;
use crate::ir::{Binary, DType, Op, PoolKind, ReduceKind, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};

/// One scale for all.
const WHOLE: Along = Along::Axis(usize::MAX);

/// Makes `y` the node's output, on the grid whose scale and zero point are operands `scale` and the one
/// after it; of the type of operand `like` where there is no zero point.
fn give(ctx: &mut NodeContext<'_, '_>, y: ValueId, scale: usize, like: usize) -> Result<()> {
    let to = match ctx.optional(scale + 1)? {
        Some(zero) => ctx.dtype(zero),
        None => ctx.dtype(ctx.required(like)?),
    };
    let y = quantize(ctx, y, [scale, scale + 1], to, WHOLE)?;
    ctx.bind(0, y)
}

/// QLinearConv. Its bias has the scale of the products.
pub(in crate::onnx) fn conv(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = dequantize(ctx, 0, WHOLE)?;
    let w = dequantize(ctx, 3, Along::Axis(0))?;
    let bias = bias(ctx, 8, 1.0)?;
    let y = conv::convolution(ctx, x, w, bias)?;
    give(ctx, y, 6, 0)
}

/// The bias in a slot, of i32 on a grid that has `factor` times the scales of operands 0 and 3.
fn bias(ctx: &mut NodeContext<'_, '_>, slot: usize, factor: f32) -> Result<Option<ValueId>> {
    let Some(bias) = ctx.optional(slot)? else {
        return Ok(None);
    };
    if ctx.dtype(bias) != DType::I32 {
        return Err(bad(format!("the bias is {}, not i32", ctx.dtype(bias))));
    }
    let (a, b) = (ctx.required(1)?, ctx.required(4)?);
    let a = ctx.reshape(a, &[])?;
    let mut scale = ctx.binary(Binary::Mul, a, b)?;
    if factor != 1.0 {
        let factor = ctx.scalar(DType::F32, f64::from(factor));
        scale = ctx.binary(Binary::Mul, factor, scale)?;
    }
    let shape = ctx.shape(bias);
    let last = Along::Axis(shape.len().saturating_sub(1));
    let scale = placed(ctx, scale, &shape, last)?;
    let zero = ctx.scalar(DType::I32, 0.0);
    Ok(Some(ctx.emit(Op::Dequantize, &[bias, scale, zero])?))
}

/// QLinearMatMul; scales may be one for each row on the left, and for each column on the right.
pub(in crate::onnx) fn matmul(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (a, b) = (ctx.required(0)?, ctx.required(3)?);
    let row = Along::Axis(ctx.ty(a).rank().saturating_sub(2));
    let column = Along::Axis(ctx.ty(b).rank().saturating_sub(1));
    let a = dequantize(ctx, 0, row)?;
    let b = dequantize(ctx, 3, column)?;
    let y = matmul::product(ctx, a, b)?;
    give(ctx, y, 6, 0)
}

/// QGemm; its result is of floats where it has no scale.
pub(in crate::onnx) fn gemm(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let column = if ctx.attributes.flag("transB", false)? { 0 } else { 1 };
    let a = dequantize(ctx, 0, WHOLE)?;
    let b = dequantize(ctx, 3, Along::Axis(column))?;
    let c = bias(ctx, 6, ctx.attributes.float("alpha", 1.0)?)?;
    let y = matmul::general(ctx, [a, b], c, 1.0)?;
    match ctx.optional(7)? {
        Some(_) => give(ctx, y, 7, 0),
        None => {
            ctx.ignore(8);
            ctx.bind(0, y)
        }
    }
}

/// QLinearAdd and QLinearMul.
pub(in crate::onnx) fn binary(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let function = if ctx.operator() == "QLinearAdd" { Binary::Add } else { Binary::Mul };
    let (a, b) = (dequantize(ctx, 0, WHOLE)?, dequantize(ctx, 3, WHOLE)?);
    let y = ctx.binary(function, a, b)?;
    give(ctx, y, 6, 0)
}

/// QLinearSigmoid and QLinearLeakyRelu.
pub(in crate::onnx) fn unary(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = dequantize(ctx, 0, WHOLE)?;
    let function = match ctx.operator() {
        "QLinearSigmoid" => Unary::Sigmoid,
        _ => elementwise::leaky_relu(ctx)?,
    };
    let y = ctx.unary(function, x)?;
    give(ctx, y, 3, 0)
}

/// QLinearSoftmax, which says as which operator set it means its axis.
pub(in crate::onnx) fn softmax(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = dequantize(ctx, 0, WHOLE)?;
    let opset = ctx.attributes.optional_int("opset")?;
    let opset = opset.ok_or_else(|| bad("attribute `opset` is missing"))?;
    let y = softmax::normalized(ctx, x, false, opset)?;
    give(ctx, y, 3, 0)
}

/// QLinearConcat: scale and zero point of the result, then each part with its own.
pub(in crate::onnx) fn concat(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    if !(ctx.inputs() - 2).is_multiple_of(3) {
        return Err(bad(format!("{} operands, which are no parts of three", ctx.inputs())));
    }
    let parts = (2..ctx.inputs()).step_by(3).map(|first| dequantize(ctx, first, WHOLE));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let y = join::joined(ctx, &parts)?;
    give(ctx, y, 0, 2)
}

/// QLinearAveragePool.
pub(in crate::onnx) fn average_pool(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    check_channels_first(ctx)?;
    let count_padding = ctx.attributes.flag("count_include_pad", false)?;
    let x = dequantize(ctx, 0, WHOLE)?;
    let y = pool::pooled(ctx, x, PoolKind::Average { count_padding })?;
    give(ctx, y, 3, 0)
}

/// QLinearGlobalAveragePool.
pub(in crate::onnx) fn global_average_pool(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    check_channels_first(ctx)?;
    let x = dequantize(ctx, 0, WHOLE)?;
    let y = reduce::over_planes(ctx, x, ReduceKind::Mean)?;
    give(ctx, y, 3, 0)
}

fn check_channels_first(ctx: &NodeContext<'_, '_>) -> Result<()> {
    match ctx.attributes.flag("channels_last", false)? {
        false => Ok(()),
        true => Err(unsupported("channels as the last axis")
            .with_remedy("use the model as quantized, before ONNX Runtime optimised it")),
    }
}

/// QLinearReduceMean.
pub(in crate::onnx) fn reduce_mean(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = dequantize(ctx, 0, WHOLE)?;
    let axes = ctx.attributes.ints("axes")?.unwrap_or_default();
    let y = reduce::reduced(ctx, x, ReduceKind::Mean, axes)?;
    give(ctx, y, 3, 0)
}
