//! MaxUnpool: maxima back at their places.

use super::window::{extents, given_pads, positive, spatial};
use crate::error::Result;
use crate::interp::Data;
use crate::ir::{DType, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// MaxUnpool: zeros but for x, whose elements lie at these places of all in order. Of several for one place the last
/// counts. Known places outside are refused; nothing is put at others that are.
///
/// Places are counted in the result that follows from the window, as ONNX's tests count them, also where a larger
/// `output_shape` is given: then what is more lies behind, along each axis.
pub(in crate::onnx) fn max_unpool(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, places) = (ctx.required(0)?, ctx.required(1)?);
    let shape = ctx.shape(x);
    if ctx.shape(places) != shape || ctx.dtype(places) != DType::I64 {
        return Err(bad(format!("places {} for {}", ctx.ty(places), ctx.ty(x))));
    }
    let inferred = inferred(ctx, &shape)?;
    let wanted = wanted(ctx, &inferred)?;
    let count = inferred.iter().try_fold(1usize, |count, extent| count.checked_mul(*extent));
    let count = count.ok_or_else(|| bad(format!("a result {inferred:?}")))?;
    check_known(ctx, places, count)?;
    let elements = ctx.ty(x).elements();
    let places = ctx.reshape(places, &[elements])?;
    let x = ctx.reshape(x, &[elements])?;
    let y = ctx.emit(Op::Scatter { extent: count }, &[x, places])?;
    let mut y = ctx.reshape(y, &inferred)?;
    for (axis, (from, to)) in inferred.iter().zip(&wanted).enumerate() {
        y = ctx.bordered(y, axis, [0, to - from], 0.0)?;
    }
    ctx.bind(0, y)
}

/// The shape of what a pool with the node's window makes x of.
fn inferred(ctx: &NodeContext<'_, '_>, shape: &[usize]) -> Result<Vec<usize>> {
    let spatial = spatial(shape)?;
    let dims = spatial.len();
    let kernel = ctx.attributes.ints("kernel_shape")?;
    let kernel = kernel.ok_or_else(|| bad("attribute `kernel_shape` is missing"))?;
    let kernel = extents("kernel_shape", kernel, dims)?;
    let strides = positive(ctx, "strides", dims)?;
    let pads = given_pads(ctx, dims)?;
    let mut inferred = shape[..2].to_vec();
    for (axis, &extent) in spatial.iter().enumerate() {
        let reach = extent.checked_sub(1).and_then(|last| last.checked_mul(strides[axis]));
        let reach = reach.and_then(|reach| reach.checked_add(kernel[axis]));
        let kept = reach.and_then(|reach| reach.checked_sub(pads[axis][0] + pads[axis][1]));
        let what =
            || bad(format!("{extent} maxima along an axis, by its kernel, strides and pads"));
        inferred.push(kept.filter(|extent| *extent > 0).ok_or_else(what)?);
    }
    Ok(inferred)
}

/// The shape that operand 2 states, which must be known; the inferred one where it does not.
fn wanted(ctx: &mut NodeContext<'_, '_>, inferred: &[usize]) -> Result<Vec<usize>> {
    let Some(stated) = ctx.constant_ints(2)? else {
        return Ok(inferred.to_vec());
    };
    let wanted: Option<Vec<usize>> = stated.iter().map(|n| usize::try_from(*n).ok()).collect();
    let fits = |wanted: &Vec<usize>| {
        let is_larger = wanted.iter().zip(inferred).skip(2).all(|(wanted, least)| wanted >= least);
        wanted.len() == inferred.len() && wanted[..2] == inferred[..2] && is_larger
    };
    wanted.filter(fits).ok_or_else(|| {
        let what = format!("a result {stated:?}, where {inferred:?} follows from the window");
        bad(what).with_remedy("state an output_shape that is as large along each axis, or none")
    })
}

/// Refuses places that are known to be outside of so many elements.
fn check_known(ctx: &mut NodeContext<'_, '_>, places: ValueId, count: usize) -> Result<()> {
    let known = ctx.known(places)?;
    let Some(Data::Int(all)) = known.as_deref().map(|tensor| &tensor.data) else {
        return Ok(());
    };
    let is_inside = |place: &&i64| usize::try_from(**place).is_ok_and(|place| place < count);
    match all.iter().find(|place| !is_inside(place)) {
        Some(place) => Err(bad(format!("place {place} of {count} elements"))),
        None => Ok(()),
    }
}
