//! MatMul and Gemm.

use crate::error::Result;
use crate::ir::{Binary, Epilogue, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};

/// MatMul; an operand of one axis is a row on the left and a column on the right.
pub(in crate::onnx) fn matmul(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (a, b) = (ctx.required(0)?, ctx.required(1)?);
    let (left, right) = (ctx.shape(a), ctx.shape(b));
    let a = if let [n] = left[..] { ctx.reshape(a, &[1, n])? } else { a };
    let b = if let [n] = right[..] { ctx.reshape(b, &[n, 1])? } else { b };
    let mut y = ctx.emit(product(false, false), &[a, b])?;
    let mut shape = ctx.shape(y);
    if right.len() == 1 {
        shape.pop();
    }
    if left.len() == 1 {
        // The last axis, or the one before b's columns.
        let columns = usize::from(right.len() > 1);
        shape.remove(shape.len() - 1 - columns);
    }
    y = ctx.reshape(y, &shape)?;
    ctx.bind(0, y)
}

fn product(transpose_a: bool, transpose_b: bool) -> Op {
    Op::MatMul { transpose_a, transpose_b, epilogue: Epilogue::none() }
}

/// Gemm: `alpha * a · b + beta * c`.
pub(in crate::onnx) fn gemm(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (a, b, c) = (ctx.required(0)?, ctx.required(1)?, ctx.optional(2)?);
    if ctx.ty(a).rank() != 2 || ctx.ty(b).rank() != 2 {
        return Err(bad(format!("{} times {}: not two matrices", ctx.ty(a), ctx.ty(b))));
    }
    let alpha = ctx.attributes.float("alpha", 1.0)?;
    let beta = ctx.attributes.float("beta", 1.0)?;
    let transpose_a = ctx.attributes.flag("transA", false)?;
    let op = product(transpose_a, ctx.attributes.flag("transB", false)?);
    let columns = ctx.shape(b)[usize::from(!ctx.attributes.flag("transB", false)?)];
    let c = if beta == 0.0 { None } else { c };
    if let Some(bias) = c.filter(|c| alpha == 1.0 && beta == 1.0 && ctx.shape(*c) == [columns]) {
        let y = ctx.emit(op, &[a, b, bias])?;
        return ctx.bind(0, y);
    }
    let y = ctx.emit(op, &[a, b])?;
    let shape = ctx.shape(y);
    let mut y = scaled(ctx, y, alpha)?;
    if let Some(c) = c {
        let c = scaled(ctx, c, beta)?;
        y = ctx.binary(Binary::Add, y, c)?;
    }
    if ctx.shape(y) != shape {
        return Err(bad("its operand 2 does not broadcast to the product"));
    }
    ctx.bind(0, y)
}

fn scaled(ctx: &mut NodeContext<'_, '_>, x: ValueId, factor: f32) -> Result<ValueId> {
    if factor == 1.0 {
        return Ok(x);
    }
    if !ctx.dtype(x).is_float() {
        return Err(unsupported("alpha or beta of a product of integers"));
    }
    let factor = ctx.scalar(ctx.dtype(x), f64::from(factor));
    ctx.binary(Binary::Mul, x, factor)
}
