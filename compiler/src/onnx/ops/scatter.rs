//! Operators that put elements at places: where these are known when the model is compiled, as gathers from what was
//! there with what is new behind it; otherwise by the graph's operator for that.

use super::indices::{counted, distances};
use crate::error::Result;
use crate::interp::Data;
use crate::ir::{Binary, DType, Op};
use crate::onnx::builder::ValueId;
use crate::onnx::context::{NodeContext, axis};
use crate::onnx::refusal::{bad, unsupported};

/// How often one place may be updated where updates add up: each time takes a gather of its own.
const MOST_ROUNDS: usize = 256;

/// What is put where: rows of `updates` at rows of `data`.
struct Scatter {
    /// `[rows, …]`
    data: ValueId,
    /// `[n, …]`
    updates: ValueId,
    /// The row of data for each row of updates.
    targets: Vec<usize>,
}

impl Scatter {
    /// The data with its updates; of several for one place the last, or all of them combined.
    fn result(&self, ctx: &mut NodeContext<'_, '_>, combine: Option<Binary>) -> Result<ValueId> {
        match combine {
            None => self.replaced(ctx),
            Some(f) => self.combined(ctx, f),
        }
    }

    fn replaced(&self, ctx: &mut NodeContext<'_, '_>) -> Result<ValueId> {
        let rows = ctx.shape(self.data)[0];
        let mut from: Vec<i64> = (0..rows as i64).collect();
        for (update, &target) in self.targets.iter().enumerate() {
            from[target] = (rows + update) as i64;
        }
        let all = ctx.joined(0, &[self.data, self.updates])?;
        ctx.picked(all, 0, from)
    }

    /// One gather for the first update of each place, one for the second and so on; places without one get
    /// a row of what changes nothing.
    fn combined(&self, ctx: &mut NodeContext<'_, '_>, f: Binary) -> Result<ValueId> {
        let (rows, updates) = (ctx.shape(self.data)[0], self.targets.len());
        let mut rounds: Vec<Vec<i64>> = Vec::new();
        let mut updated = vec![0; rows];
        for (update, &target) in self.targets.iter().enumerate() {
            let round = updated[target];
            updated[target] += 1;
            if round == MOST_ROUNDS {
                return Err(unsupported(format!("more than {MOST_ROUNDS} updates of one place")));
            }
            if round == rounds.len() {
                rounds.push(vec![updates as i64; rows]);
            }
            rounds[round][target] = update as i64;
        }
        let neutral = neutral(ctx, f)?;
        let neutral = ctx.number(self.data, neutral);
        let row = [&[1], &ctx.shape(self.data)[1..]].concat();
        let neutral = ctx.expanded(neutral, &row)?;
        let all = ctx.joined(0, &[self.updates, neutral])?;
        let mut y = self.data;
        for from in rounds {
            let update = ctx.picked(all, 0, from)?;
            y = ctx.binary(f, y, update)?;
        }
        Ok(y)
    }
}

/// What changes nothing that it is combined with; for sums it is -0, as 0 would change a -0.
fn neutral(ctx: &NodeContext<'_, '_>, f: Binary) -> Result<f64> {
    let dtype = ctx.dtype(ctx.required(0)?);
    match f {
        Binary::Add => Ok(-0.0),
        Binary::Mul => Ok(1.0),
        Binary::Max if dtype.is_float() => Ok(f64::NEG_INFINITY),
        Binary::Min if dtype.is_float() => Ok(f64::INFINITY),
        _ => Err(unsupported(format!("the largest or smallest of updates of {dtype}"))),
    }
}

/// How updates of one place combine.
fn reduction(ctx: &NodeContext<'_, '_>) -> Result<Option<Binary>> {
    Ok(match ctx.attributes.string("reduction", "none")? {
        "none" => None,
        "add" => Some(Binary::Add),
        "mul" => Some(Binary::Mul),
        "max" if ctx.since >= 18 => Some(Binary::Max),
        "min" if ctx.since >= 18 => Some(Binary::Min),
        other => return Err(bad(format!("attribute `reduction` is `{other}`"))),
    })
}

/// Operand 1, indices, which must be known at compile time where updates combine; and whether they are.
fn indices(ctx: &mut NodeContext<'_, '_>, combine: Option<Binary>) -> Result<(ValueId, bool)> {
    let index = super::indices::integers(ctx, 1)?;
    let is_known = ctx.known(index)?.is_some();
    if !is_known && combine.is_some() {
        ctx.constant(1)?;
    }
    Ok((index, is_known))
}

/// The data `[rows, …]` with updates `[n, …]` at rows that are computed when the model runs; the last of several.
/// What is below 0 is no row, and its update is left out.
fn put(ctx: &mut NodeContext<'_, '_>, [data, updates, rows]: [ValueId; 3]) -> Result<ValueId> {
    let (extent, count) = (ctx.shape(data)[0], ctx.shape(updates)[0]);
    let rows = ctx.reshape(rows, &[count])?;
    ctx.emit(Op::Scatter { extent }, &[updates, rows, data])
}

/// `places`, or `nowhere` for an index counted from the front that is outside of an axis.
fn if_inside(
    ctx: &mut NodeContext<'_, '_>,
    [index, places]: [ValueId; 2],
    extent: usize,
    nowhere: f64,
) -> Result<ValueId> {
    let near = ctx.with_number(Binary::Min, index, extent as f64 - 1.0)?;
    let near = ctx.with_number(Binary::Max, near, 0.0)?;
    let is_inside = ctx.is_equal(near, index)?;
    let nowhere = ctx.number(places, nowhere);
    ctx.choose(is_inside, places, nowhere)
}

/// Known indices as numbers.
fn numbers(ctx: &mut NodeContext<'_, '_>, id: ValueId) -> Result<Vec<usize>> {
    match ctx.known(id)?.as_deref().map(|tensor| &tensor.data) {
        Some(Data::Int(all)) => Ok(all.iter().map(|n| *n as usize).collect()),
        Some(Data::Float(_)) | None => Err(unsupported("so many indices")),
    }
}

/// ScatterElements, and Scatter, which it was called before: an index for each update, along one axis.
pub(in crate::onnx) fn scatter_elements(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let combine = reduction(ctx)?;
    let (x, (index, is_known)) = (ctx.required(0)?, indices(ctx, combine)?);
    let updates = ctx.required(2)?;
    let (shape, wanted) = (ctx.shape(x), ctx.shape(index));
    let along = axis(ctx.attributes.int("axis", 0)?, shape.len())?;
    let fits = |(axis, (n, most)): (usize, (&usize, &usize))| axis == along || n <= most;
    let fit = wanted.len() == shape.len() && wanted.iter().zip(&shape).enumerate().all(fits);
    if !fit || ctx.shape(updates) != wanted {
        let (index, updates) = (ctx.ty(index), ctx.ty(updates));
        return Err(bad(format!("indices {index} and updates {updates} for {shape:?}")));
    }
    let index = counted(ctx, index, shape[along])?;
    let (distances, own) = (distances(&shape), distances(&wanted));
    let target = |(position, index): (usize, usize)| {
        let place = |axis: usize| match axis == along {
            true => index * distances[axis],
            false => position / own[axis] % wanted[axis] * distances[axis],
        };
        (0..shape.len()).map(place).sum()
    };
    let data = ctx.reshape(x, &[ctx.ty(x).elements()])?;
    let updates = ctx.reshape(updates, &[ctx.ty(updates).elements()])?;
    let y = if is_known {
        let targets = numbers(ctx, index)?.into_iter().enumerate().map(target).collect();
        Scatter { data, updates, targets }.result(ctx, combine)?
    } else {
        let places = super::indices::places_along(ctx, &shape, along, index)?;
        let places = if_inside(ctx, [index, places], shape[along], -1.0)?;
        put(ctx, [data, updates, places])?
    };
    let y = ctx.reshape(y, &shape)?;
    ctx.bind(0, y)
}

/// ScatterND: slices at tuples of indices.
pub(in crate::onnx) fn scatter_nd(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let combine = reduction(ctx)?;
    let (x, (index, is_known)) = (ctx.required(0)?, indices(ctx, combine)?);
    let updates = ctx.required(2)?;
    let (shape, tuples) = (ctx.shape(x), ctx.shape(index));
    let refuse = || bad(format!("indices {tuples:?} for {shape:?}"));
    let (length, lead) = tuples.split_last().ok_or_else(refuse)?;
    let slice = shape.get(*length..).ok_or_else(refuse)?;
    if ctx.shape(updates) != [lead, slice].concat() {
        return Err(bad(format!("updates {} for indices {tuples:?}", ctx.ty(updates))));
    }
    let (inner, count) = (&shape[..*length], lead.iter().product());
    let index = ctx.cast(index, DType::I64)?;
    let index = ctx.reshape(index, &[count, *length])?;
    let data = ctx.reshape(x, &[&[inner.iter().product()], slice].concat())?;
    let updates = ctx.reshape(updates, &[&[count], slice].concat())?;
    let y = if is_known {
        let targets = known_rows(ctx, index, inner)?;
        Scatter { data, updates, targets }.result(ctx, combine)?
    } else {
        let rows = rows_of_tuples(ctx, index, inner)?;
        put(ctx, [data, updates, rows])?
    };
    let y = ctx.reshape(y, &shape)?;
    ctx.bind(0, y)
}

/// The rows, of all along axes of this shape, that known tuples `[n, length]` name.
fn known_rows(
    ctx: &mut NodeContext<'_, '_>,
    tuples: ValueId,
    shape: &[usize],
) -> Result<Vec<usize>> {
    let mut rows = vec![0; ctx.shape(tuples)[0]];
    for (position, distance) in distances(shape).into_iter().enumerate() {
        let part = super::slice::part(ctx, tuples, 1, position, 1)?;
        let part = counted(ctx, part, shape[position])?;
        let places = numbers(ctx, part)?;
        rows.iter_mut().zip(places).for_each(|(row, place)| *row += place * distance);
    }
    Ok(rows)
}

/// The same of tuples that are computed when the model runs, `[n, 1]`; below 0 where one is outside.
fn rows_of_tuples(
    ctx: &mut NodeContext<'_, '_>,
    tuples: ValueId,
    shape: &[usize],
) -> Result<ValueId> {
    let mut rows = ctx.ints(&[1, 1], vec![0]);
    let all: usize = shape.iter().product();
    for (position, distance) in distances(shape).into_iter().enumerate() {
        let part = super::slice::part(ctx, tuples, 1, position, 1)?;
        let part = counted(ctx, part, shape[position])?;
        let places = ctx.scaled(part, distance as f64)?;
        // So far below 0 that the other indices do not make up for it.
        let places = if_inside(ctx, [part, places], shape[position], -(all as f64))?;
        rows = ctx.add(rows, places)?;
    }
    let count = ctx.shape(tuples)[0];
    ctx.expanded(rows, &[count, 1])
}

/// TensorScatter: into a cache, for each sample from an index on along an axis.
pub(in crate::onnx) fn tensor_scatter(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (cache, update) = (ctx.required(0)?, ctx.required(1)?);
    let (shape, new) = (ctx.shape(cache), ctx.shape(update));
    let along = axis(ctx.attributes.int("axis", -2)?, shape.len())?;
    let alike = |axis: usize| axis == along || shape[axis] == new[axis];
    if along == 0 || new.len() != shape.len() || !(0..shape.len()).all(alike) {
        return Err(bad(format!("an update {} for {}", ctx.ty(update), ctx.ty(cache))));
    }
    let circular = match ctx.attributes.string("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => return Err(bad(format!("attribute `mode` is `{other}`"))),
    };
    let starts = ctx.constant_ints(2)?.unwrap_or_else(|| vec![0; shape[0]]);
    let (length, steps) = (shape[along], new[along]);
    // Rows of a batch, an axis for all between, and the axis of the sequence.
    let middle: usize = shape[1..along].iter().product();
    let mut targets = Vec::new();
    for batch in 0..shape[0] {
        let start = starts.get(batch).and_then(|start| usize::try_from(*start).ok());
        let start = start.filter(|start| circular || start + steps <= length);
        let start = start.ok_or_else(|| bad(format!("writing at {starts:?} of {length}")))?;
        for row in batch * middle..(batch + 1) * middle {
            targets.extend((0..steps).map(|step| row * length + (start + step) % length));
        }
    }
    let rows = shape[0] * middle;
    let slice = &shape[along + 1..];
    let data = ctx.reshape(cache, &[&[rows * length], slice].concat())?;
    let updates = ctx.reshape(update, &[&[rows * steps], slice].concat())?;
    let y = Scatter { data, updates, targets }.replaced(ctx)?;
    let y = ctx.reshape(y, &shape)?;
    ctx.bind(0, y)
}
