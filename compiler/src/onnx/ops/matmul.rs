//! MatMul and Gemm.

use crate::error::Result;
use crate::ir::{Binary, Epilogue, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};

/// A product of two matrices, or of batches of them.
pub(super) type Multiply<'f> =
    &'f dyn Fn(&mut NodeContext<'_, '_>, ValueId, ValueId) -> Result<ValueId>;

/// MatMul.
pub(in crate::onnx) fn matmul(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (a, b) = (ctx.required(0)?, ctx.required(1)?);
    let y = product(ctx, a, b)?;
    ctx.bind(0, y)
}

/// The product as MatMul has it.
pub(super) fn product(ctx: &mut NodeContext<'_, '_>, a: ValueId, b: ValueId) -> Result<ValueId> {
    product_by(ctx, a, b, &|ctx, a, b| ctx.emit(op(false, false), &[a, b]))
}

/// The product as MatMul has it, of matrices by `multiply`: an operand of one axis is a row on the left and
/// a column on the right.
pub(super) fn product_by(
    ctx: &mut NodeContext<'_, '_>,
    a: ValueId,
    b: ValueId,
    multiply: Multiply<'_>,
) -> Result<ValueId> {
    let (left, right) = (ctx.shape(a), ctx.shape(b));
    let a = if let [n] = left[..] { ctx.reshape(a, &[1, n])? } else { a };
    let b = if let [n] = right[..] { ctx.reshape(b, &[n, 1])? } else { b };
    let y = multiply(ctx, a, b)?;
    let mut shape = ctx.shape(y);
    if right.len() == 1 {
        shape.pop();
    }
    if left.len() == 1 {
        // The last axis, or the one before b's columns.
        let columns = usize::from(right.len() > 1);
        shape.remove(shape.len() - 1 - columns);
    }
    ctx.reshape(y, &shape)
}

/// The graph's operator for products.
pub(super) fn op(transpose_a: bool, transpose_b: bool) -> Op {
    Op::MatMul { transpose_a, transpose_b, epilogue: Epilogue::none() }
}

/// Gemm.
pub(in crate::onnx) fn gemm(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let y = whole_gemm(ctx)?;
    ctx.bind(0, y)
}

/// What Gemm makes of the node's operands.
pub(super) fn whole_gemm(ctx: &mut NodeContext<'_, '_>) -> Result<ValueId> {
    let (a, b, c) = (ctx.required(0)?, ctx.required(1)?, ctx.optional(2)?);
    let beta = ctx.attributes.float("beta", 1.0)?;
    let c = if beta == 0.0 { None } else { c };
    general(ctx, [a, b], c, beta)
}

/// `alpha * a · b + beta * c`, with the node's other attributes.
pub(super) fn general(
    ctx: &mut NodeContext<'_, '_>,
    [a, b]: [ValueId; 2],
    c: Option<ValueId>,
    beta: f32,
) -> Result<ValueId> {
    if ctx.ty(a).rank() != 2 || ctx.ty(b).rank() != 2 {
        return Err(bad(format!("{} times {}: not two matrices", ctx.ty(a), ctx.ty(b))));
    }
    let alpha = ctx.attributes.float("alpha", 1.0)?;
    let transpose_a = ctx.attributes.flag("transA", false)?;
    let transpose_b = ctx.attributes.flag("transB", false)?;
    let op = op(transpose_a, transpose_b);
    let columns = ctx.shape(b)[usize::from(!transpose_b)];
    if let Some(bias) = c.filter(|c| alpha == 1.0 && beta == 1.0 && ctx.shape(*c) == [columns]) {
        let rows = if transpose_a { a } else { unflattened(ctx, a) };
        let y = ctx.emit(op, &[rows, b, bias])?;
        let count = ctx.ty(y).elements() / columns.max(1);
        return ctx.reshape(y, &[count, columns]);
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
    Ok(y)
}

/// The rows of a matrix as they were before a reshape made a matrix of them, so that what follows the reshape back,
/// which ONNX Runtime's optimizer and others write around Gemm, follows the product itself.
fn unflattened(ctx: &NodeContext<'_, '_>, a: ValueId) -> ValueId {
    let Some((Op::Reshape, [(_, rows)])) = ctx.computed(a) else {
        return a;
    };
    let (whole, flat) = (ctx.shape(*rows), ctx.shape(a));
    if whole.len() > 2 && whole.last() == flat.last() { *rows } else { a }
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
