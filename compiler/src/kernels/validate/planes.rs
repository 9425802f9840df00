//! What is taken of windows, planes and lines: pools, means, reductions, softmax, argmax, gathers, scatters.

use super::things::{Part, Splits, Thing};
use super::{Check, Goal, Site, Validation, flat, must, position, same};
use crate::ir::{NodeId, Op, ReduceKind, SplitAttention, Window};
use crate::kernels::argmax::ArgMax;
use crate::kernels::block_mean::BlockMean;
use crate::kernels::block_pool::BlockPool;
use crate::kernels::gather::Gather;
use crate::kernels::pool::Pooling;
use crate::kernels::reduce::Reduction;
use crate::kernels::scatter::Scatter;
use crate::kernels::softmax::Softmax;
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::{Nest, Role};

impl Validation<'_> {
    /// The mean of a plane, or the sum of those of all splits.
    pub(super) fn mean_of_planes(&mut self, site: &Site<'_>, mean: &BlockMean) -> Check {
        let id = site.thing.node;
        let (x, r, [h, w], channels) = match (&self.graph.node(id).op, site.thing.part) {
            (Op::Reduce(reduce), Part::Whole) => {
                must(
                    reduce.kind == ReduceKind::Mean && reduce.axes == [2, 3],
                    "it is no such mean",
                )?;
                let x = self.operand(id, 0)?;
                let [_, _, h, w] = self.four(x)?;
                (x, 1, [h, w], vec![site.index[1]])
            }
            (Op::SplitAttention(op), part) if part == Part::squeezed(op) => {
                let Splits { r, c, plane, .. } = self.splits(id)?;
                let [group, channel] = [site.index[1], site.index[2]];
                let channels = (0..r).map(|split| (group * r + split) * c + channel).collect();
                (self.operand(id, SplitAttention::U)?, r, plane, channels)
            }
            (_, part) => return Err(format!("a mean makes {part:?}")),
        };
        same("scale", mean.scale, 1.0 / (h * w) as f64)?;
        let rows = self.totals(site)?;
        let each = rows.unwrap_or(h * w);
        same("elements", mean.reduced.trips(), r * each)?;
        let size = if mean.bytes.is_some() { 1 } else { F32_BYTES };
        let (kept, lane) = site.trips.split_at(mean.kept.dims.len());
        let from = along(&mean.kept, 1, kept) + lane.first().map_or(0, |lane| *lane as i64);
        for at in self.some(r * each) {
            let byte = from + along(&mean.reduced, 0, &position(at, &mean.reduced.dims));
            let channel = channels[at / each];
            let goal = match rows {
                Some(_) => {
                    let (block, lane) = super::things::block_of(&self.layout(x)?, channel);
                    let of = Thing::of(x, Part::Totals);
                    Goal::Element(of, vec![site.index[0], block, at % each, lane])
                }
                None => {
                    let [y, x_at] = [at % each / w, at % w];
                    Goal::Element(Thing::whole(x), vec![site.index[0], channel, y, x_at])
                }
            };
            self.read(site.run, Role::In, byte * size as i64, goal, mean.bytes)?;
        }
        Ok(())
    }

    /// How many rows of a plane are added up already, where a mean reads such sums.
    fn totals(&self, site: &Site<'_>) -> Check<Option<usize>> {
        let place = self.plan.steps[site.run.step].place(Role::In).ok_or("a mean of nothing")?;
        let byte = place.offset as i64 + self.memory.moved(site.run, place);
        let written = self.memory.written(site.run, place.base, byte);
        match written {
            Some((_, Role::Totals, _)) => {
                let x = self.operand(site.thing.node, SplitAttention::U)?;
                Ok(Some(self.rows_of_tiles(x)?))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn pool_of_blocks(&mut self, site: &Site<'_>, kernel: &BlockPool) -> Check {
        let id = site.thing.node;
        let [_, _, h, w] = self.four(self.operand(id, 0)?)?;
        same("input", kernel.input, [h, w])?;
        let size = if kernel.bytes.is_some() { 1 } else { F32_BYTES };
        let [n, block, y, x, lane] = <[usize; 5]>::try_from(site.trips).unwrap_or_default();
        same("place", [y, x], [site.index[2], site.index[3]])?;
        let from = n * kernel.images.input + block * kernel.blocks.input + lane;
        let at = |y: usize, x: usize| (from + y * kernel.rows.input + x * BLOCK) * size;
        self.taps(site, &kernel.window, kernel.kind == self.kind(id)?, at, kernel.bytes)
    }

    pub(super) fn pool_of_planes(&mut self, site: &Site<'_>, kernel: &Pooling) -> Check {
        let id = site.thing.node;
        let [_, _, h, w] = self.four(self.operand(id, 0)?)?;
        same("input", kernel.input, [h, w])?;
        same("place", &site.trips[1..], &site.index[2..])?;
        let at = |y: usize, x: usize| ((site.trips[0] * h + y) * w + x) * F32_BYTES;
        self.taps(site, &kernel.window, kernel.kind == self.kind(id)?, at, None)
    }

    fn kind(&self, id: NodeId) -> Check<crate::ir::PoolKind> {
        match &self.graph.node(id).op {
            Op::Pool(pool) => Ok(pool.kind),
            _ => Err("it is no pool".into()),
        }
    }

    /// What a window reads that is inside of the plane.
    fn taps(
        &mut self,
        site: &Site<'_>,
        window: &Window,
        is_kind: bool,
        at: impl Fn(usize, usize) -> usize,
        bytes: Option<crate::schedule::byte_scale::ByteScale>,
    ) -> Check {
        let Op::Pool(pool) = &self.graph.node(site.thing.node).op else {
            return Err("it is no pool".into());
        };
        must(is_kind && *window == pool.window, "its window is another")?;
        let x = self.operand(site.thing.node, 0)?;
        let [_, _, h, w] = self.four(x)?;
        let [kh, kw] = window.kernel;
        // The middle of the window, which is in the plane where its ends are not.
        let middle = flat(&[kh / 2, kw / 2], &window.kernel);
        for tap in self.some(kh * kw).into_iter().chain([middle]) {
            let tap = position(tap, &window.kernel);
            let inside = |axis: usize, extent: usize| {
                let at =
                    site.index[2 + axis] * window.stride[axis] + tap[axis] * window.dilation[axis];
                at.checked_sub(window.pad_before[axis]).filter(|at| *at < extent)
            };
            let Some((y, x_at)) = inside(0, h).zip(inside(1, w)) else { continue };
            let goal = Goal::Element(Thing::whole(x), vec![site.index[0], site.index[1], y, x_at]);
            self.read(site.run, Role::In, at(y, x_at) as i64, goal, bytes)?;
        }
        Ok(())
    }

    pub(super) fn reduction(&mut self, site: &Site<'_>, kernel: &Reduction) -> Check {
        let id = site.thing.node;
        let size = kernel.dtype.size() as i64;
        let from = along(&kernel.kept, 1, site.trips);
        let (x, kind, axes, kept) = match (&self.graph.node(id).op, site.thing.part) {
            (Op::Reduce(reduce), Part::Whole) => {
                let is_kept = |axis: &usize| !reduce.keep || !reduce.axes.contains(axis);
                let kept = (0..site.index.len()).filter(is_kept).map(|axis| site.index[axis]);
                let kept: Vec<usize> = kept.collect();
                (self.operand(id, 0)?, reduce.kind, reduce.axes.clone(), kept)
            }
            (Op::SplitAttention(op), part) if part != Part::Whole => {
                let wanted = if op.radix == 1 { Part::squeezed(op) } else { Part::Mean };
                must(part == wanted, "splits are not added up")?;
                return self.mean_of_splits(site, kernel);
            }
            (_, part) => return Err(format!("a reduction makes {part:?}")),
        };
        same("kind", kernel.kind, kind)?;
        same("type", kernel.dtype, self.graph.ty(x).dtype)?;
        let shape = self.ty(x, site.run).shape();
        let over: Vec<usize> = axes.iter().map(|axis| shape[*axis]).collect();
        same("elements", kernel.reduced.trips(), over.iter().product())?;
        for at in self.some(over.iter().product()) {
            let (mut kept, within) = (kept.iter(), position(at, &over));
            let index = (0..shape.len()).map(|axis| match axes.iter().position(|a| *a == axis) {
                Some(i) => within[i],
                None => kept.next().copied().unwrap_or(0),
            });
            let goal = Goal::Element(Thing::whole(x), index.collect());
            let byte = from + along(&kernel.reduced, 0, &position(at, &kernel.reduced.dims));
            self.read(site.run, Role::In, byte * size, goal, None)?;
        }
        Ok(())
    }

    /// The mean over splits and planes that lie row-major.
    fn mean_of_splits(&mut self, site: &Site<'_>, kernel: &Reduction) -> Check {
        let id = site.thing.node;
        let Splits { r, c, plane: [h, w], .. } = self.splits(id)?;
        let u = self.operand(id, SplitAttention::U)?;
        same("kind", kernel.kind, ReduceKind::Mean)?;
        same("type", kernel.dtype, self.graph.ty(u).dtype)?;
        same("elements", kernel.reduced.trips(), r * h * w)?;
        let from = along(&kernel.kept, 1, site.trips);
        let [n, group, channel] = [0, 1, 2].map(|axis| site.index[axis]);
        for at in self.some(r * h * w) {
            let [split, y, x] = [at / (h * w), at / w % h, at % w];
            let index = vec![n, (group * r + split) * c + channel, y, x];
            let byte = from + along(&kernel.reduced, 0, &position(at, &kernel.reduced.dims));
            let goal = Goal::Element(Thing::whole(u), index);
            self.read(site.run, Role::In, byte * F32_BYTES as i64, goal, None)?;
        }
        Ok(())
    }

    pub(super) fn softmax(&mut self, site: &Site<'_>, kernel: &Softmax) -> Check {
        let id = site.thing.node;
        let (from, axis) = match (&self.graph.node(id).op, site.thing.part) {
            (Op::Softmax { axis, log }, Part::Whole) => {
                same("log", kernel.log, *log)?;
                (Thing::whole(self.operand(id, 0)?), *axis)
            }
            (Op::SplitAttention(op), part) if part == Part::softmax(op) => {
                same("log", kernel.log, false)?;
                (Thing::of(id, Part::Logits), 2)
            }
            (_, part) => return Err(format!("a softmax makes {part:?}")),
        };
        let line = [kernel.extent, kernel.inner];
        self.line(site, from, axis, line, F32_BYTES, [site.trips[0], site.trips[2]])
    }

    pub(super) fn argmax(&mut self, site: &Site<'_>, kernel: &ArgMax) -> Check {
        let id = site.thing.node;
        let Op::ArgMax { axis, keep, last } = self.graph.node(id).op else {
            return Err("it is no argmax".into());
        };
        let x = self.operand(id, 0)?;
        same("last", kernel.last, last)?;
        same("type", kernel.dtype, self.graph.ty(x).dtype)?;
        let mut index = site.index.to_vec();
        if !keep {
            index.insert(axis, 0);
        }
        let site = &Site { index: &index, ..*site };
        let line = [kernel.extent, kernel.inner];
        let size = kernel.dtype.size();
        self.line(site, Thing::whole(x), axis, line, size, [site.trips[0], site.trips[1]])
    }

    /// What is read of a line of elements along an axis.
    fn line(
        &mut self,
        site: &Site<'_>,
        from: Thing,
        axis: usize,
        [extent, inner]: [usize; 2],
        size: usize,
        [outer, within]: [usize; 2],
    ) -> Check {
        let shape = match from.part {
            Part::Whole => self.ty(from.node, site.run).shape(),
            _ => self.shape(from)?,
        };
        same("extent", extent, shape[axis])?;
        for at in self.some(extent) {
            let mut index = site.index.to_vec();
            index[axis] = at;
            let byte = ((outer * extent + at) * inner + within) * size;
            self.read(site.run, Role::In, byte as i64, Goal::Element(from, index), None)?;
        }
        Ok(())
    }

    pub(super) fn gather(&mut self, site: &Site<'_>, kernel: &Gather) -> Check {
        let id = site.thing.node;
        let Op::Gather { axis } = self.graph.node(id).op else {
            return Err("it is no gather".into());
        };
        let (x, indices) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let (data, picks) = (self.graph.ty(x).clone(), self.graph.ty(indices).clone());
        same("types", [kernel.dtype, kernel.index], [data.dtype, picks.dtype])?;
        same("extent", kernel.extent, data.shape()[axis])?;
        let (outer, rest) = site.index.split_at(axis);
        let (pick, inner) = rest.split_at(picks.rank());
        let number = flat(pick, &picks.shape());
        let [before, trip, within] = <[usize; 3]>::try_from(site.trips).unwrap_or_default();
        same("index", trip, number)?;
        let goal = Goal::Element(Thing::whole(indices), pick.to_vec());
        self.read(site.run, Role::Index, (number * picks.dtype.size()) as i64, goal, None)?;
        for at in self.some(kernel.extent) {
            let index = outer.iter().copied().chain([at]).chain(inner.iter().copied()).collect();
            let at = (before * kernel.extent + at) * kernel.inner + within;
            let goal = Goal::Element(Thing::whole(x), index);
            self.read(site.run, Role::In, (at * data.dtype.size()) as i64, goal, None)?;
        }
        Ok(())
    }

    /// What may be a slice of the first operand.
    pub(super) fn scatter(&mut self, site: &Site<'_>, kernel: &Scatter) -> Check {
        let id = site.thing.node;
        let Op::Scatter { extent } = self.graph.node(id).op else {
            return Err("it is no scatter".into());
        };
        let (x, indices) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let (ty, picks) = (self.graph.ty(x).clone(), self.graph.ty(indices).clone());
        same("types", [kernel.dtype, kernel.index], [ty.dtype, picks.dtype])?;
        same("extents", [kernel.extent, kernel.count], [extent, picks.elements()])?;
        let data = self.graph.operand(id, 2);
        same("copies", kernel.copies, data.is_some())?;
        let [row, within] = <[usize; 2]>::try_from(site.trips).unwrap_or_default();
        same("row", row, site.index[0])?;
        let byte = |row: usize| ((row * kernel.inner + within) * ty.dtype.size()) as i64;
        if let Some(data) = data {
            let goal = Goal::Element(Thing::whole(data), site.index.to_vec());
            self.read(site.run, Role::Operand(1), byte(row), goal, None)?;
        }
        for at in self.some(kernel.count) {
            let goal = Goal::Element(Thing::whole(indices), vec![at]);
            let place = (at * picks.dtype.size()) as i64;
            self.read(site.run, Role::Index, place, goal, None)?;
            let goal = Goal::Element(Thing::whole(x), [&[at], &site.index[1..]].concat());
            self.read(site.run, Role::In, byte(at), goal, None)?;
        }
        Ok(())
    }
}

/// Elements from an operand's place to what a nest reads in some trips.
fn along(nest: &Nest, operand: usize, trips: &[usize]) -> i64 {
    let strides = nest.strides.get(operand).map_or(&[][..], Vec::as_slice);
    strides.iter().zip(trips).map(|(stride, trip)| *stride as i64 * *trip as i64).sum()
}
