//! DeformConv: convolutions whose taps are moved, by distances that are computed when the model runs.

use super::conv::geometry;
use super::images::{Border, Images};
use super::matmul;
use super::window::Along;
use crate::error::Result;
use crate::ir::Unary;
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::ops::slice::part;
use crate::onnx::refusal::{bad, unsupported};

/// Most numbers that are stored for the places of taps along an axis.
const MOST: usize = 1 << 24;

/// What is convolved by what.
struct Deformed {
    axes: Vec<Along>,
    /// Extents of x after batch and channels.
    input: Vec<usize>,
    /// Extents of the result after batch and channels.
    output: Vec<usize>,
    batch: usize,
    channels: usize,
    groups: usize,
    /// Groups of channels that are moved alike.
    offset_groups: usize,
    /// Groups of channels so small that each is of one group and of one that is moved alike.
    parts: usize,
}

/// DeformConv in one to three dimensions: what the taps see is gathered, a row for each pixel of the result, and
/// multiplied by the weights as a matrix.
pub(in crate::onnx) fn deform_conv(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let (x, w, offset) = (ctx.required(0)?, ctx.required(1)?, ctx.required(2)?);
    let (bias, mask) = (ctx.optional(3)?, ctx.optional(4)?);
    if !ctx.attributes.string("auto_pad", "")?.is_empty() {
        return Err(bad("attribute `auto_pad`, which DeformConv does not have"));
    }
    let deformed = Deformed::new(ctx, x, w)?;
    let values = deformed.values(ctx, x, offset, mask)?;
    let mut y = deformed.product(ctx, values, w)?;
    if let Some(bias) = bias {
        let channels = ctx.shape(w)[0];
        if ctx.shape(bias) != [channels] {
            return Err(bad(format!("a bias {} of {channels} channels", ctx.ty(bias))));
        }
        let mut shape = vec![1; ctx.ty(y).rank()];
        shape[1] = channels;
        let bias = ctx.reshape(bias, &shape)?;
        y = ctx.add(y, bias)?;
    }
    ctx.bind(0, y)
}

impl Deformed {
    fn new(ctx: &NodeContext<'_, '_>, x: ValueId, w: ValueId) -> Result<Deformed> {
        let (groups, axes) = geometry(ctx, x, w)?;
        let (shape, weights) = (ctx.shape(x), ctx.shape(w));
        let channels = shape[1];
        let offset_group = ctx.attributes.int("offset_group", 1)?;
        let offset_groups = usize::try_from(offset_group).ok().filter(|g| *g > 0);
        let offset_groups = offset_groups.filter(|groups| channels.is_multiple_of(*groups));
        let offset_groups = offset_groups.ok_or_else(|| {
            bad(format!("attribute `offset_group` is {offset_group}, of {channels} channels"))
        })?;
        if weights[1] * groups != channels {
            let (w, x) = (ctx.ty(w), ctx.ty(x));
            return Err(bad(format!("weights {w} of {groups} groups for {x}")));
        }
        let input = shape[2..].to_vec();
        let output = axes.iter().zip(&input).map(|(axis, input)| {
            let room = (input + axis.pads[0] + axis.pads[1]).checked_sub(axis.extent());
            let room = room.ok_or_else(|| bad("the kernel is larger than the padded input"))?;
            Ok(room / axis.stride + 1)
        });
        let output = output.collect::<Result<Vec<_>>>()?;
        let parts = least_common_multiple(groups, offset_groups);
        Ok(Deformed {
            axes,
            input,
            output,
            batch: shape[0],
            channels,
            groups,
            offset_groups,
            parts,
        })
    }

    fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    fn points(&self) -> usize {
        self.output.iter().product()
    }

    /// What is read of x for each group, pixel of the result, part of the group, and tap: `[n, groups, points,
    /// parts of a group, taps, channels of a part]`.
    fn values(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        x: ValueId,
        offset: ValueId,
        mask: Option<ValueId>,
    ) -> Result<ValueId> {
        let offset = self.by_tap(ctx, offset, self.axes.len())?;
        let mut positions = Vec::with_capacity(self.axes.len());
        for axis in 0..self.axes.len() {
            let by = part(ctx, offset, 5, axis, 1)?;
            let sum = self.moved(ctx, by, axis)?;
            // Further outside all is 0 too.
            let high = self.input[axis] as f32;
            positions.push(ctx.unary(Unary::Clip { low: -1.0, high }, sum)?);
        }
        let inner: usize = self.input.iter().product();
        let start = |image: usize| (image * inner) as i64;
        let per_group = self.parts / self.groups;
        let starts = (0..self.batch * self.parts).map(start).collect();
        let starts = ctx.ints(&[self.batch, self.groups, 1, per_group, 1], starts);
        let images = Images::new(ctx, x, self.parts, (Border::Zeros, true), starts)?;
        let mut corners = images.linear(ctx, &positions)?;
        if let Some(mask) = mask {
            let mask = self.by_tap(ctx, mask, 1)?;
            let mask = ctx.reshape(mask, &self.each())?;
            for (_, weight) in &mut corners {
                *weight = Some(weight.map_or(Ok(mask), |weight| ctx.mul(weight, mask))?);
            }
        }
        images.sum(ctx, corners)
    }

    /// The extents of one number for each point that is read: `[n, groups, points, parts of a group, taps]`.
    fn each(&self) -> [usize; 5] {
        let per_group = self.parts / self.groups;
        [self.batch, self.groups, self.points(), per_group, self.taps()]
    }

    /// An operand of `count` numbers for each tap, `[n, offset groups * taps * count, …]`, in the order of
    /// [`Self::each`] with these numbers behind.
    fn by_tap(&self, ctx: &mut NodeContext<'_, '_>, x: ValueId, count: usize) -> Result<ValueId> {
        let [n, groups, points, per_group, taps] = self.each();
        let wanted = [&[n, self.offset_groups * taps * count], &self.output[..]].concat();
        if ctx.shape(x) != wanted {
            return Err(bad(format!("{} where {wanted:?} is due", ctx.ty(x))));
        }
        let mut y = ctx.reshape(x, &[n, self.offset_groups, taps * count, points])?;
        if self.parts != self.offset_groups {
            let own = (0..self.parts).map(|part| (part * self.offset_groups / self.parts) as i64);
            y = ctx.picked(y, 1, own.collect())?;
        }
        let y = ctx.reshape(y, &[n, groups, per_group, taps, count, points])?;
        ctx.transposed(y, &[0, 1, 5, 2, 3, 4])
    }

    /// Where taps are along an axis that are moved by so much, as [`Self::each`].
    fn moved(&self, ctx: &mut NodeContext<'_, '_>, by: ValueId, axis: usize) -> Result<ValueId> {
        let [n, groups, _, per_group, _] = self.each();
        let Along { kernel, stride, dilation, pads } = self.axes[axis];
        let extent = self.output[axis];
        if extent.saturating_mul(kernel) > MOST {
            return Err(unsupported(format!("{extent} places of {kernel} taps along an axis")));
        }
        let place = |i: usize| (i / kernel * stride + i % kernel * dilation) as f64;
        let places = (0..extent * kernel).map(|i| place(i) - pads[0] as f64).collect();
        let own = ctx.floats(&[1, extent, 1, kernel, 1], places);
        let count = |axes: &[usize]| axes.iter().product::<usize>();
        let kernels: Vec<usize> = self.axes.iter().map(|axis| axis.kernel).collect();
        let ahead = n * groups * count(&self.output[..axis]);
        let between = count(&self.output[axis + 1..]) * per_group * count(&kernels[..axis]);
        let by = ctx.reshape(by, &[ahead, extent, between, kernel, count(&kernels[axis + 1..])])?;
        let sum = ctx.add(own, by)?;
        ctx.reshape(sum, &self.each())
    }

    /// The products of weights and what was read, `[n, m, …]`.
    fn product(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        values: ValueId,
        w: ValueId,
    ) -> Result<ValueId> {
        let [n, groups, points, per_group, taps] = self.each();
        let (m, channels) = (ctx.shape(w)[0], self.channels / self.parts);
        let depth = per_group * taps * channels;
        let values = ctx.reshape(values, &[n, groups, points, depth])?;
        let w = ctx.reshape(w, &[groups, m / groups, per_group, channels, taps])?;
        let w = ctx.transposed(w, &[0, 1, 2, 4, 3])?;
        let w = ctx.reshape(w, &[1, groups, m / groups, depth])?;
        let y = ctx.emit(matmul::op(false, true), &[w, values])?;
        ctx.reshape(y, &[&[n, m], &self.output[..]].concat())
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
