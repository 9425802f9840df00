//! Images that are read between their elements, at positions that may be computed when the model runs.
//!
//! Whatever a position is, what is read lies inside of the image: places are brought to its ends before they are
//! numbers of elements, and numbers outside of all elements are brought to the ends of these by the gather. A
//! position that is no number reads the first element.

use super::elementwise::floor;
use crate::error::Result;
use crate::ir::{DType, Op, Unary};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// How images go on beyond their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    Zeros,
    Edge,
    Reflection,
}

/// Images as rows of channels, to be sampled.
pub(super) struct Images {
    /// `[images * spatial, c]`
    rows: ValueId,
    spatial: Vec<usize>,
    border: Border,
    /// Whether the middles of the outermost elements are its ends, and not their outer edges.
    aligned: bool,
    /// Where the image of each point starts, as a number of elements that broadcasts to the points.
    starts: ValueId,
}

/// Places of elements along each axis, and the weight of what is there; both broadcast to the points.
pub(super) type Corner = (Vec<ValueId>, Option<ValueId>);

impl Images {
    /// x `[n, c, …]`, each image of which is `parts` images of as many channels less, to be read with these starts.
    pub(super) fn new(
        ctx: &mut NodeContext<'_, '_>,
        x: ValueId,
        parts: usize,
        (border, aligned): (Border, bool),
        starts: ValueId,
    ) -> Result<Images> {
        let [n, c, ref spatial @ ..] = ctx.shape(x)[..] else {
            return Err(bad(format!("{} is no image", ctx.ty(x))));
        };
        let (images, channels, inner) = (n * parts, c / parts, spatial.iter().product());
        let rows = ctx.reshape(x, &[images, channels, inner])?;
        let rows = ctx.transposed(rows, &[0, 2, 1])?;
        let rows = ctx.reshape(rows, &[images * inner, channels])?;
        Ok(Images { rows, spatial: spatial.to_vec(), border, aligned, starts })
    }

    /// How many channels each row has.
    pub(super) fn channels(&self, ctx: &NodeContext<'_, '_>) -> usize {
        ctx.shape(self.rows)[1]
    }

    /// What the corners hold, times their weights, added up: the points' axes and then channels.
    pub(super) fn sum(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        corners: Vec<Corner>,
    ) -> Result<ValueId> {
        let mut sum = None;
        for (places, weight) in corners {
            let value = self.at(ctx, &places, weight)?;
            sum = Some(match sum {
                Some(sum) => ctx.add(sum, value)?,
                None => value,
            });
        }
        sum.ok_or_else(|| bad("a sum of nothing"))
    }

    /// A grid's number from -1 to 1 as a place along an axis.
    pub(super) fn position(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        x: ValueId,
        axis: usize,
    ) -> Result<ValueId> {
        let extent = self.spatial[axis] as f64;
        let x = ctx.shifted(x, 1.0)?;
        match self.aligned {
            true => ctx.scaled(x, (extent - 1.0) / 2.0),
            false => {
                let x = ctx.scaled(x, extent / 2.0)?;
                ctx.shifted(x, -0.5)
            }
        }
    }

    /// A place brought inside of an axis, as the border says; those outside of it where it is of zeros.
    fn inside(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        place: ValueId,
        axis: usize,
    ) -> Result<(ValueId, Option<ValueId>)> {
        let last = (self.spatial[axis] - 1) as f32;
        let place = match self.border {
            Border::Reflection => self.reflected(ctx, place, axis)?,
            Border::Zeros | Border::Edge => place,
        };
        let inside = ctx.unary(Unary::Clip { low: 0.0, high: last }, place)?;
        let is_inside = match self.border {
            Border::Zeros => Some(ctx.is_equal(inside, place)?),
            Border::Edge | Border::Reflection => None,
        };
        Ok((inside, is_inside))
    }

    /// A place reflected at the ends of an axis, which are half an element outside unless corners are aligned.
    fn reflected(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        place: ValueId,
        axis: usize,
    ) -> Result<ValueId> {
        let extent = self.spatial[axis] as f64;
        let (low, span) = if self.aligned { (0.0, extent - 1.0) } else { (-0.5, extent) };
        if span == 0.0 {
            return Ok(ctx.number(place, 0.0));
        }
        // As far as it is from the nearest even multiple of the span.
        let x = ctx.shifted(place, -low)?;
        let periods = ctx.scaled(x, 0.5 / span)?;
        let nearest = ctx.unary(Unary::Round, periods)?;
        let nearest = ctx.scaled(nearest, 2.0 * span)?;
        let x = ctx.sub(x, nearest)?;
        let x = ctx.unary(Unary::Abs, x)?;
        ctx.shifted(x, low)
    }

    /// What is at whole places of each axis, times a weight.
    pub(super) fn at(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        places: &[ValueId],
        weight: Option<ValueId>,
    ) -> Result<ValueId> {
        let (mut row, mut weight) = (self.starts, weight);
        let mut distance: usize = self.spatial.iter().product();
        for (axis, &place) in places.iter().enumerate() {
            distance /= self.spatial[axis];
            let (place, is_inside) = self.inside(ctx, place, axis)?;
            if let Some(is_inside) = is_inside {
                let own = ctx.cast(is_inside, DType::F32)?;
                weight = Some(weighted(ctx, weight, own)?);
            }
            let place = ctx.cast(place, DType::I64)?;
            let place = ctx.scaled(place, distance as f64)?;
            row = ctx.add(row, place)?;
        }
        let value = ctx.emit(Op::Gather { axis: 0 }, &[self.rows, row])?;
        match weight {
            Some(weight) => {
                let shape = [&ctx.shape(weight)[..], &[1]].concat();
                let weight = ctx.reshape(weight, &shape)?;
                ctx.mul(value, weight)
            }
            None => Ok(value),
        }
    }

    /// The elements around positions with their weights.
    pub(super) fn linear(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        positions: &[ValueId],
    ) -> Result<Vec<Corner>> {
        let mut corners: Vec<Corner> = vec![(Vec::new(), None)];
        for (axis, &position) in positions.iter().enumerate() {
            let around = self.around(ctx, position, axis)?;
            corners = crossed(ctx, corners, &around)?;
        }
        Ok(corners)
    }

    /// The elements on both sides of positions along an axis, with their weights. Where the border has no end,
    /// positions are brought inside before.
    pub(super) fn around(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        position: ValueId,
        axis: usize,
    ) -> Result<[(ValueId, ValueId); 2]> {
        let position = match self.border {
            Border::Zeros => position,
            Border::Edge | Border::Reflection => self.inside(ctx, position, axis)?.0,
        };
        let below = floor(ctx, position)?;
        let above = ctx.shifted(below, 1.0)?;
        let upper = ctx.sub(position, below)?;
        let one = ctx.number(upper, 1.0);
        let lower = ctx.sub(one, upper)?;
        Ok([(below, lower), (above, upper)])
    }

    /// Four elements around positions along each axis, by cubic weights.
    pub(super) fn cubic(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        positions: &[ValueId],
    ) -> Result<Vec<Corner>> {
        let mut corners: Vec<Corner> = vec![(Vec::new(), None)];
        for &position in positions {
            let below = floor(ctx, position)?;
            let fraction = ctx.sub(position, below)?;
            let mut along = Vec::with_capacity(4);
            for offset in [-1.0, 0.0, 1.0, 2.0] {
                let place = ctx.shifted(below, offset)?;
                let distance = ctx.shifted(fraction, -offset)?;
                let distance = ctx.unary(Unary::Abs, distance)?;
                let is_near = offset == 0.0 || offset == 1.0;
                along.push((place, cubic_weight(ctx, distance, is_near)?));
            }
            corners = crossed(ctx, corners, &along)?;
        }
        Ok(corners)
    }
}

/// The weight at a distance up to 1, or from 1 to 2, with the coefficient -0.75.
fn cubic_weight(ctx: &mut NodeContext<'_, '_>, x: ValueId, is_near: bool) -> Result<ValueId> {
    const A: f64 = -0.75;
    let factors = match is_near {
        true => [A + 2.0, -(A + 3.0), 0.0, 1.0],
        false => [A, -5.0 * A, 8.0 * A, -4.0 * A],
    };
    let mut y = ctx.number(x, factors[0]);
    for factor in &factors[1..] {
        y = ctx.mul(y, x)?;
        y = ctx.shifted(y, *factor)?;
    }
    Ok(y)
}

/// A weight times the one that there may be already.
fn weighted(
    ctx: &mut NodeContext<'_, '_>,
    weight: Option<ValueId>,
    own: ValueId,
) -> Result<ValueId> {
    weight.map_or(Ok(own), |weight| ctx.mul(weight, own))
}

/// Each corner with each of the places along another axis.
pub(super) fn crossed(
    ctx: &mut NodeContext<'_, '_>,
    corners: Vec<Corner>,
    along: &[(ValueId, ValueId)],
) -> Result<Vec<Corner>> {
    let mut all = Vec::with_capacity(corners.len() * along.len());
    for (places, weight) in corners {
        for &(place, own) in along {
            let weight = weighted(ctx, weight, own)?;
            all.push(([&places[..], &[place]].concat(), Some(weight)));
        }
    }
    Ok(all)
}

/// The element nearest to each position, of two the even one.
pub(super) fn nearest(ctx: &mut NodeContext<'_, '_>, positions: &[ValueId]) -> Result<Vec<Corner>> {
    let places = positions.iter().map(|&position| ctx.unary(Unary::Round, position));
    Ok(vec![(places.collect::<Result<_>>()?, None)])
}
