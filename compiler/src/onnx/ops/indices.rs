//! Operators that pick elements by tensors of indices: as gathers from what lies flat, by computed places.

use super::gather::from_the_front;
use crate::error::Result;
use crate::interp::Data;
use crate::ir::{Binary, DType, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::bad;

/// Operand `index`, which must hold indices.
pub(super) fn integers(ctx: &mut NodeContext<'_, '_>, index: usize) -> Result<ValueId> {
    let x = ctx.required(index)?;
    match ctx.dtype(x) {
        DType::I64 | DType::I32 => Ok(x),
        _ => Err(bad(format!("operand {index} is {}, not i64 or i32", ctx.ty(x)))),
    }
}

/// Indices counted from the front, as i64. Known ones outside of the extent are refused.
pub(super) fn counted(
    ctx: &mut NodeContext<'_, '_>,
    index: ValueId,
    extent: usize,
) -> Result<ValueId> {
    let index = ctx.cast(index, DType::I64)?;
    let known = ctx.known(index)?;
    let Some(Data::Int(all)) = known.as_deref().map(|tensor| &tensor.data) else {
        return from_the_front(ctx, index, extent);
    };
    let counted = all.iter().map(|&i| axis(i, extent).map(|i| i as i64));
    let counted = counted.collect::<Result<Vec<_>>>();
    let counted = counted.map_err(|_| bad(format!("an index is outside of {extent} elements")))?;
    let shape = ctx.shape(index);
    Ok(ctx.ints(&shape, counted))
}

/// How many elements lie from one to the next of each axis.
pub(super) fn distances(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// The elements of x at these places of all in order.
fn at(ctx: &mut NodeContext<'_, '_>, x: ValueId, places: ValueId) -> Result<ValueId> {
    let flat = ctx.reshape(x, &[ctx.ty(x).elements()])?;
    ctx.emit(Op::Gather { axis: 0 }, &[flat, places])
}

/// GatherElements: an index for each element of the result, along one axis.
pub(in crate::onnx) fn gather_elements(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, index) = (ctx.required(0)?, integers(ctx, 1)?);
    let along = axis(ctx.attributes.int("axis", 0)?, ctx.ty(x).rank())?;
    let y = elements_along(ctx, x, along, index)?;
    ctx.bind(0, y)
}

/// For each index the element of x that it names along an axis; its places along others are its own.
pub(super) fn elements_along(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    along: usize,
    index: ValueId,
) -> Result<ValueId> {
    let (shape, wanted) = (ctx.shape(x), ctx.shape(index));
    let fits = |(axis, (n, most)): (usize, (&usize, &usize))| axis == along || n <= most;
    if wanted.len() != shape.len() || !wanted.iter().zip(&shape).enumerate().all(fits) {
        return Err(bad(format!("indices {} for {}", ctx.ty(index), ctx.ty(x))));
    }
    let counted = counted(ctx, index, shape[along])?;
    let places = places_along(ctx, &shape, along, counted)?;
    at(ctx, x, places)
}

/// Where, of all elements of this shape in order, those are that indices counted from the front name along an axis;
/// their places along others are their own.
pub(super) fn places_along(
    ctx: &mut NodeContext<'_, '_>,
    shape: &[usize],
    along: usize,
    counted: ValueId,
) -> Result<ValueId> {
    let (distances, wanted) = (distances(shape), ctx.shape(counted));
    let mut places = ctx.scaled(counted, distances[along] as f64)?;
    for axis in (0..shape.len()).filter(|axis| *axis != along && wanted[*axis] > 1) {
        let own = ctx.counting(wanted[axis], axis, shape.len());
        let own = ctx.scaled(own, distances[axis] as f64)?;
        places = ctx.add(places, own)?;
    }
    Ok(places)
}

/// GatherND: slices by tuples of indices, which the last axis holds.
pub(in crate::onnx) fn gather_nd(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, index) = (ctx.required(0)?, integers(ctx, 1)?);
    let (shape, tuples) = (ctx.shape(x), ctx.shape(index));
    let batches = ctx.attributes.int("batch_dims", 0)?;
    let refuse = || bad(format!("indices {tuples:?} for {shape:?}, {batches} axes of them alike"));
    let shared = usize::try_from(batches).map_err(|_| refuse())?;
    let [lead @ .., length] = &tuples[..] else {
        return Err(refuse());
    };
    let end = shared.saturating_add(*length);
    let alike = shape.get(..shared).filter(|part| lead.get(..shared) == Some(part));
    let (Some(alike), Some(slice)) = (alike, shape.get(end..)) else {
        return Err(refuse());
    };
    let rows: usize = alike.iter().product();
    let per_row = lead[shared..].iter().product();
    let index = ctx.reshape(index, &[rows, per_row, *length])?;
    let inner = &shape[shared..end];
    let mut places = place_of_tuples(ctx, index, inner)?;
    let row: usize = inner.iter().product();
    let starts = ctx.counting(rows, 0, 2);
    let starts = ctx.scaled(starts, row as f64)?;
    places = ctx.add(places, starts)?;
    let x = ctx.reshape(x, &[&[rows * row], slice].concat())?;
    let y = ctx.emit(Op::Gather { axis: 0 }, &[x, places])?;
    let y = ctx.reshape(y, &[lead, slice].concat())?;
    ctx.bind(0, y)
}

/// Where tuples `[rows, n, length]` of indices point, of all elements of this shape in order: `[rows, n]`.
fn place_of_tuples(
    ctx: &mut NodeContext<'_, '_>,
    index: ValueId,
    shape: &[usize],
) -> Result<ValueId> {
    let [rows, n, length] = ctx.shape(index)[..] else {
        return Err(bad(format!("{} holds no tuples", ctx.ty(index))));
    };
    let mut places = ctx.ints(&[1, 1], vec![0]);
    let distances = distances(shape);
    for position in 0..length {
        let part = super::slice::part(ctx, index, 2, position, 1)?;
        let part = ctx.reshape(part, &[rows, n])?;
        let part = counted(ctx, part, shape[position])?;
        let part = ctx.scaled(part, distances[position] as f64)?;
        places = ctx.add(places, part)?;
    }
    ctx.expanded(places, &[rows, n])
}

/// OneHot: `values[1]` at the place along a new axis that an index names, `values[0]` elsewhere.
pub(in crate::onnx) fn one_hot(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (index, values) = (ctx.required(0)?, ctx.required(2)?);
    let depth = ctx.constant_scalar(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    if !(1.0..=f64::from(1 << 24)).contains(&depth) {
        return Err(bad(format!("a depth of {depth}")));
    }
    let count = depth as usize;
    if ctx.ty(values).elements() != 2 {
        return Err(bad(format!("its values are {}, not two", ctx.ty(values))));
    }
    let mut shape = ctx.shape(index);
    let along = axis(ctx.attributes.int("axis", -1)?, shape.len() + 1)?;
    shape.insert(along, 1);
    let index = ctx.cast(index, DType::I64)?;
    let index = ctx.reshape(index, &shape)?;
    let index = from_the_front(ctx, index, count)?;
    let places = ctx.counting(count, along, shape.len());
    let is_on = ctx.is_equal(places, index)?;
    let values = ctx.reshape(values, &[2])?;
    let [off, on] = [0, 1].map(|at| super::slice::part(ctx, values, 0, at, 1));
    let y = ctx.choose(is_on, on?, off?)?;
    ctx.bind(0, y)
}

/// Compress: slices along an axis, or elements of all, that a known condition is true for.
pub(in crate::onnx) fn compress(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let condition = ctx.constant_ints(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let (x, along) = match ctx.attributes.optional_int("axis")? {
        Some(along) => (x, axis(along, ctx.ty(x).rank())?),
        None => (ctx.reshape(x, &[ctx.ty(x).elements()])?, 0),
    };
    let extent = ctx.shape(x)[along];
    if condition.len() > extent {
        return Err(bad(format!("{} conditions for {extent} elements", condition.len())));
    }
    let chosen = condition.iter().zip(0..).filter(|(holds, _)| **holds != 0);
    let chosen = chosen.map(|(_, place)| place).collect();
    let y = ctx.picked(x, along, chosen)?;
    ctx.bind(0, y)
}

/// ReverseSequence: of each line, so many elements backwards.
pub(in crate::onnx) fn reverse_sequence(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let (time, batch) = (ctx.attributes.int("time_axis", 0)?, ctx.attributes.int("batch_axis", 1)?);
    let shape = ctx.shape(x);
    let (time, batch) = (axis(time, shape.len())?, axis(batch, shape.len())?);
    let lengths = ctx.constant_ints(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let (steps, lines) = (shape[time] as i64, shape[batch]);
    let fit = lengths.iter().all(|length| (0..=steps).contains(length));
    if time == batch || lengths.len() != lines || !fit {
        return Err(bad(format!("lengths {lengths:?} of {lines} lines of {steps} elements")));
    }
    let mut last = vec![1; shape.len()];
    last[batch] = lines;
    let last = ctx.ints(&last, lengths.iter().map(|length| length - 1).collect());
    let own = ctx.counting(shape[time], time, shape.len());
    let backwards = ctx.sub(last, own)?;
    let zero = ctx.number(own, 0.0);
    let is_inside = ctx.is_at_most(zero, backwards)?;
    let places = ctx.choose(is_inside, backwards, own)?;
    let places = ctx.expanded(places, &shape)?;
    let y = elements_along(ctx, x, time, places)?;
    ctx.bind(0, y)
}

/// TopK: the largest or the smallest, one after the other. Each is taken out of what is left.
pub(in crate::onnx) fn top_k(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let along = axis(ctx.attributes.int("axis", -1)?, shape.len())?;
    // Sorted ones are right in any case.
    ctx.attributes.ignore(&["sorted"]);
    let k = match ctx.since {
        ..10 => ctx.attributes.optional_int("k")?,
        _ => ctx.constant_ints(1)?.and_then(|k| k.first().copied()),
    };
    let extent = shape[along];
    let k = k.and_then(|k| usize::try_from(k).ok()).filter(|k| *k <= extent);
    let k = k.ok_or_else(|| bad(format!("operand 1 is not a number of at most {extent}")))?;
    if k > MOST_TAKEN {
        let what = format!("the {k} largest elements; up to {MOST_TAKEN} are");
        return Err(crate::onnx::refusal::unsupported(what));
    }
    let largest = ctx.attributes.flag("largest", true)?;
    let order = if largest { x } else { super::reduce::reversed(ctx, x)? };
    let places = places_in_order(ctx, order, along, k)?;
    let values = elements_along(ctx, x, along, places)?;
    ctx.bind(0, values)?;
    ctx.bind(1, places)
}

/// Each element takes a few operators.
const MOST_TAKEN: usize = 512;

/// Where the `k` largest elements along an axis are, the largest first.
fn places_in_order(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    along: usize,
    k: usize,
) -> Result<ValueId> {
    let shape = ctx.shape(x);
    let one = [&shape[..along], &[1], &shape[along + 1..]].concat();
    let mut left = x;
    let own = ctx.counting(shape[along], along, shape.len());
    let mut places = ctx.expanded(own, &shape)?;
    let mut found = Vec::with_capacity(k);
    for taken in 0..k {
        let largest = ctx.emit(Op::ArgMax { axis: along, keep: true, last: false }, &[left])?;
        found.push(elements_along(ctx, places, along, largest)?);
        let rest = shape[along] - taken - 1;
        if taken + 1 == k {
            break;
        }
        // What lies behind the one that is taken moves up.
        let own = ctx.counting(rest, along, shape.len());
        let moves = ctx.is_at_most(largest, own)?;
        let moves = ctx.cast(moves, DType::I64)?;
        let from = ctx.add(own, moves)?;
        left = elements_along(ctx, left, along, from)?;
        places = elements_along(ctx, places, along, from)?;
    }
    match found.is_empty() {
        true => ctx.emit_typed(Op::Expand, own, &[&one[..along], &[0], &one[along + 1..]].concat()),
        false => ctx.joined(along, &found),
    }
}

/// CumSum and CumProd: each element with those before it along an axis, by distances that double.
pub(in crate::onnx) fn cumulative(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let along = ctx.constant_scalar(1)?.ok_or_else(|| bad("operand 1 is missing"))?;
    let along = axis(along as i64, ctx.ty(x).rank())?;
    let (f, neutral) = match ctx.operator() {
        "CumSum" => (Binary::Add, 0.0),
        _ => (Binary::Mul, 1.0),
    };
    let reverse = ctx.attributes.flag("reverse", false)?;
    let extent = ctx.shape(x)[along];
    let mut y = x;
    if ctx.attributes.flag("exclusive", false)? {
        y = moved(ctx, y, along, extent.min(1), reverse, neutral)?;
    }
    let mut distance = 1;
    while distance < extent {
        let other = moved(ctx, y, along, distance, reverse, neutral)?;
        y = ctx.binary(f, y, other)?;
        distance *= 2;
    }
    ctx.bind(0, y)
}

/// x moved so far along an axis, what comes in filled with a value; towards the front if `reverse`.
fn moved(
    ctx: &mut NodeContext<'_, '_>,
    x: ValueId,
    along: usize,
    distance: usize,
    reverse: bool,
    value: f64,
) -> Result<ValueId> {
    let kept = ctx.shape(x)[along] - distance;
    let (start, border) = if reverse { (distance, [0, distance]) } else { (0, [distance, 0]) };
    let rest = super::slice::part(ctx, x, along, start, kept)?;
    ctx.bordered(rest, along, border, value)
}

/// Trilu: the upper or lower triangle of matrices, and 0 elsewhere.
pub(in crate::onnx) fn triangle(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shift = ctx.constant_scalar(1)?.unwrap_or(0.0);
    let upper = ctx.attributes.flag("upper", true)?;
    let [.., rows, columns] = ctx.shape(x)[..] else {
        return Err(bad(format!("{} is no matrix", ctx.ty(x))));
    };
    let row = ctx.counting(rows, 0, 2);
    let row = ctx.shifted(row, shift.clamp(-1e15, 1e15))?;
    let column = ctx.counting(columns, 1, 2);
    let inside = match upper {
        true => ctx.is_at_most(row, column)?,
        false => ctx.is_at_most(column, row)?,
    };
    let zero = ctx.number(x, 0.0);
    let y = ctx.choose(inside, x, zero)?;
    ctx.bind(0, y)
}
