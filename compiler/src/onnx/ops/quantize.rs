//! QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, and what other operators of quantized
//! values need of them.

use crate::error::Result;
use crate::ir::{Binary, DType, Op, Reduce, ReduceKind, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::{bad, unsupported};
use crate::onnx::stored::element_type;

/// Where the numbers of a scale or zero point belong along the value that they are of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Along {
    /// One for all, or one for each index of an axis.
    Axis(usize),
    /// One for so many indices of an axis, the last maybe for fewer, and of every other axis one each.
    Blocks(usize, usize),
}

/// QuantizeLinear.
pub(in crate::onnx) fn quantize_linear(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    // It concerns float8, which is refused.
    ctx.attributes.ignore(&["saturate"]);
    let x = ctx.required(0)?;
    let x = if ctx.dtype(x) == DType::I32 { ctx.cast(x, DType::F32)? } else { x };
    float_attribute(ctx, "precision")?;
    let wanted = match ctx.attributes.int("output_dtype", 0)? {
        0 => None,
        code => Some(stored_as(code)?),
    };
    let to = match ctx.optional(2)? {
        Some(zero) if wanted.is_some_and(|to| to != ctx.dtype(zero)) => {
            return Err(bad("attribute `output_dtype` is not the type of the zero point"));
        }
        Some(zero) => ctx.dtype(zero),
        None => wanted.unwrap_or(DType::U8),
    };
    let along = along(ctx, x)?;
    let y = quantize(ctx, x, [1, 2], to, along)?;
    ctx.bind(0, y)
}

/// DequantizeLinear.
pub(in crate::onnx) fn dequantize_linear(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    float_attribute(ctx, "output_dtype")?;
    let x = ctx.integers(0)?;
    let along = along(ctx, x)?;
    let y = dequantize(ctx, 0, along)?;
    ctx.bind(0, y)
}

/// Refuses an attribute that asks for computing in another type than float32.
fn float_attribute(ctx: &NodeContext<'_, '_>, name: &str) -> Result<()> {
    match ctx.attributes.int(name, 0)? {
        0 => Ok(()),
        code if stored_as(code)? == DType::F32 => Ok(()),
        _ => Err(unsupported(format!("attribute `{name}` that is not float32"))),
    }
}

fn stored_as(code: i64) -> Result<DType> {
    let code = i32::try_from(code).map_err(|_| bad(format!("unknown element type {code}")))?;
    element_type(code).map_err(|(what, remedy)| unsupported(what).with_remedy(remedy))
}

/// The attributes `axis` and `block_size`.
fn along(ctx: &NodeContext<'_, '_>, x: ValueId) -> Result<Along> {
    let rank = ctx.ty(x).rank();
    let given = ctx.attributes.int("axis", 1)?;
    let size = ctx.attributes.int("block_size", 0)?;
    let size =
        usize::try_from(size).map_err(|_| bad(format!("attribute `block_size` is {size}")))?;
    if size == 0 {
        // With one scale for all, the axis need not be there.
        return Ok(Along::Axis(axis(given, rank).unwrap_or(rank)));
    }
    Ok(Along::Blocks(axis(given, rank)?, size))
}

/// x on the grid whose scale and zero point are these operands of the node, as integers of type `to`.
pub(super) fn quantize(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    [scale, zero]: [usize; 2],
    to: DType,
    along: Along,
) -> Result<ValueId> {
    let shape = ctx.shape(x);
    let scale = ctx.required(scale)?;
    let zero = ctx.optional(zero)?;
    let scale = placed(ctx, scale, &shape, along)?;
    let zero = zero_point(ctx, zero, to, &shape, along)?;
    ctx.emit(Op::Quantize, &[x, scale, zero])
}

/// The floats that operand `first` stands for, whose scale and zero point are the two after it.
pub(super) fn dequantize(
    ctx: &mut NodeContext<'_, '_>,
    first: usize,
    along: Along,
) -> Result<ValueId> {
    let x = ctx.integers(first)?;
    let shape = ctx.shape(x);
    let scale = ctx.required(first + 1)?;
    let zero = ctx.optional_integers(first + 2)?;
    let scale = placed(ctx, scale, &shape, along)?;
    let zero = zero_point(ctx, zero, ctx.dtype(x), &shape, along)?;
    ctx.emit(Op::Dequantize, &[x, scale, zero])
}

/// A zero point as [`placed`] has it, 0 of this type where there is none.
fn zero_point(
    ctx: &mut NodeContext<'_, '_>,
    zero: Option<ValueId>,
    dtype: DType,
    shape: &[usize],
    along: Along,
) -> Result<ValueId> {
    match zero {
        Some(zero) => placed(ctx, zero, shape, along),
        None => Ok(ctx.scalar(dtype, 0.0)),
    }
}

/// A scale or zero point under a shape that broadcasts to `shape`, that of the value that it is of.
pub(super) fn placed(
    ctx: &mut NodeContext<'_, '_>,
    id: ValueId,
    shape: &[usize],
    along: Along,
) -> Result<ValueId> {
    let own = ctx.shape(id);
    let refuse = || bad(format!("a scale or zero point of shape {own:?} for {shape:?}"));
    match along {
        Along::Blocks(axis, size) => {
            let mut blocks = shape.to_vec();
            blocks[axis] = shape[axis].div_ceil(size);
            if own != blocks {
                return Err(refuse());
            }
            let index = (0..shape[axis]).map(|i| (i / size) as i64).collect();
            let index = ctx.ints(&[shape[axis]], index);
            ctx.emit(Op::Gather { axis }, &[id, index])
        }
        Along::Axis(_) if ctx.ty(id).elements() == 1 => ctx.reshape(id, &[]),
        Along::Axis(axis) if own.len() == 1 && shape.get(axis) == own.first() => {
            let mut extents = vec![1; shape.len() - axis];
            extents[0] = own[0];
            ctx.reshape(id, &extents)
        }
        // Products have scales with the axes of their operands.
        Along::Axis(_) if own.len() == shape.len() && own.len() > 1 => Ok(id),
        Along::Axis(_) => Err(refuse()),
    }
}

/// DynamicQuantizeLinear: the grid of 256 steps that reaches from the least element to the largest, and to
/// 0. Where all elements are 0, ONNX divides by a scale of 0; as in ONNX Runtime it is 1.
pub(in crate::onnx) fn dynamic_quantize_linear(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let flat = ctx.reshape(x, &[ctx.ty(x).elements()])?;
    let none = ctx.scalar(DType::F32, 0.0);
    let low = extreme(ctx, flat, ReduceKind::Min)?;
    let low = ctx.binary(Binary::Min, low, none)?;
    let high = extreme(ctx, flat, ReduceKind::Max)?;
    let high = ctx.binary(Binary::Max, high, none)?;
    let range = ctx.binary(Binary::Sub, high, low)?;
    let steps = ctx.scalar(DType::F32, 255.0);
    let scale = ctx.binary(Binary::Div, range, steps)?;
    let one = ctx.scalar(DType::F32, 1.0);
    let is_point = ctx.binary(Binary::Equal, range, none)?;
    let scale = ctx.emit(Op::Where, &[is_point, one, scale])?;
    let below = ctx.binary(Binary::Div, low, scale)?;
    let below = ctx.unary(Unary::Neg, below)?;
    let zero = ctx.unary(Unary::Round, below)?;
    let zero = ctx.cast(zero, DType::U8)?;
    let y = ctx.emit(Op::Quantize, &[x, scale, zero])?;
    ctx.bind(0, y)?;
    ctx.bind(1, scale)?;
    ctx.bind(2, zero)
}

fn extreme(ctx: &mut NodeContext<'_, '_>, x: ValueId, kind: ReduceKind) -> Result<ValueId> {
    ctx.emit(Op::Reduce(Reduce { kind, axes: vec![0], keep: false }), &[x])
}
