//! Row-major products: convolutions, matrix products, dense layers.

use super::expression::Definition;
use super::moved::repeated;
use super::things::{Part, Thing};
use super::{Check, Goal, Site, Validation, flat, must, position, same};
use crate::ir::expr::Expr;
use crate::ir::{Conv, Op, Step};
use crate::kernels::gemm::pack::{Bias, Blocks, Columns, InBytes, Rows, Wide};
use crate::kernels::gemm::{CHANNEL_BLOCK, RowMajorGemm};
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::weights::Packing;
use crate::plan::{Base, Role};

/// Pixels of a tile at most.
const WIDEST: usize = 6;

impl Validation<'_> {
    pub(super) fn product(&mut self, site: &Site<'_>, gemm: &RowMajorGemm) -> Check {
        let count = gemm.columns.count.max(1);
        same("tile", gemm.tile, count.div_ceil(count.div_ceil(WIDEST)))?;
        match (&self.graph.node(site.thing.node).op, site.thing.part) {
            (Op::Conv(conv), Part::Whole) => self.row_major_conv(site, gemm, &conv.clone()),
            (Op::MatMul { transpose_a, transpose_b, epilogue }, Part::Whole) => {
                let (turned, steps) = ([*transpose_a, *transpose_b], epilogue.steps.clone());
                self.matmul(site, gemm, turned, &steps)
            }
            (Op::SplitAttention(op), _) => self.dense(site, gemm, &op.clone()),
            (_, part) => Err(format!("a product makes {part:?} of an operator that is none")),
        }
    }

    fn row_major_conv(&mut self, site: &Site<'_>, gemm: &RowMajorGemm, conv: &Conv) -> Check {
        let id = site.thing.node;
        let (x, w) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let [m, c, kh, kw] = self.four(w)?;
        let [_, _, height, width] = self.four(x)?;
        let (made, window) = (m / conv.groups.max(1), &conv.window);
        let [n, channel, y, x_at] = [0, 1, 2, 3].map(|axis| site.index[axis]);
        self.row(site, gemm, channel / made, channel % made)?;
        must(self.is_matrix(site, gemm, 1, Rows(conv.groups, made))?, "weights are not its own")?;
        self.bias(site, gemm.bias, Bias(conv.groups))?;
        same("depth", gemm.depth(), c * kh * kw)?;
        // The middle of the window, which is in the plane where its ends are not.
        let middle = flat(&[self.any(c), kh / 2, kw / 2], &[c, kh, kw]);
        for r in self.some(gemm.depth()).into_iter().chain([middle]) {
            let [of, ky, kx] =
                <[usize; 3]>::try_from(position(r, &[c, kh, kw])).unwrap_or_default();
            let along = |at: usize, k: usize, axis: usize, extent: usize| {
                let at = at * window.stride[axis] + k * window.dilation[axis];
                at.checked_sub(window.pad_before[axis]).filter(|at| *at < extent)
            };
            let inside = along(y, ky, 0, height).zip(along(x_at, kx, 1, width));
            let goal = inside.map_or(Goal::Number(0.0), |(y, x_at)| {
                Goal::Element(Thing::whole(x), vec![n, channel / made * c + of, y, x_at])
            });
            self.contracted(site, gemm, r, goal)?;
        }
        self.stored(site, gemm, &conv.epilogue.steps)
    }

    fn matmul(
        &mut self,
        site: &Site<'_>,
        gemm: &RowMajorGemm,
        turned: [bool; 2],
        steps: &[Step],
    ) -> Check {
        let id = site.thing.node;
        let (a, b) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let [of_a, of_b] = [a, b].map(|x| self.graph.ty(x).shape());
        let (batch, [row, column]) = site.index.split_at(site.index.len() - 2) else {
            return Err("a product of less than two axes".into());
        };
        let outer = |shape: &[usize]| shape[..shape.len() - 2].to_vec();
        let (batch_a, batch_b) = (repeated(batch, &outer(&of_a)), repeated(batch, &outer(&of_b)));
        let matrix = flat(&batch_b, &outer(&of_b));
        let depth = of_b[of_b.len() - if turned[1] { 1 } else { 2 }];
        self.row(site, gemm, matrix, *column)?;
        same("depth", gemm.depth(), depth)?;
        match gemm.wide {
            true => self.bias(site, gemm.bias, Wide(Bias(1)))?,
            false => self.bias(site, gemm.bias, Bias(1))?,
        }
        let weights = self.place_of(site, Role::Weights)?;
        let matrices: usize = outer(&of_b).iter().product();
        let columns = *self.graph.ty(id).shape().last().unwrap_or(&0);
        if let Base::Constant(_) = weights {
            let is_packed = match turned[1] {
                true => self.is_matrix(site, gemm, 1, Rows(matrices, columns))?,
                false => self.is_matrix(site, gemm, 1, Columns(matrices))?,
            };
            must(is_packed, "weights are not its own")?;
        } else {
            same("bytes", gemm.bytes, false)?;
        }
        let block = if gemm.wide { BLOCK } else { CHANNEL_BLOCK };
        let element = |batch: &[usize], at: [usize; 2], turned: bool| {
            let at = if turned { [at[1], at[0]] } else { at };
            batch.iter().copied().chain(at).collect::<Vec<usize>>()
        };
        if let (Base::Buffer(_), true) = (weights, !gemm.channels.count.is_multiple_of(block)) {
            // What fills the last block up.
            let end = (matrix + 1) * gemm.blocks() * depth * block - 1;
            let goal = Goal::Number(0.0);
            self.read(site.run, Role::Weights, (end * F32_BYTES) as i64, goal, None)?;
        }
        for r in self.some(depth) {
            let goal = Goal::Element(Thing::whole(a), element(&batch_a, [*row, r], turned[0]));
            self.contracted(site, gemm, r, goal)?;
            if let Base::Buffer(_) = weights {
                let goal =
                    Goal::Element(Thing::whole(b), element(&batch_b, [r, *column], turned[1]));
                let at = matrix * gemm.blocks() + column / block;
                let at = (at * depth + r) * block + column % block;
                self.read(site.run, Role::Weights, (at * F32_BYTES) as i64, goal, None)?;
            }
        }
        self.stored(site, gemm, steps)
    }

    /// The row of the packed matrices that a product is with.
    pub(super) fn row(
        &self,
        site: &Site<'_>,
        gemm: &RowMajorGemm,
        matrix: usize,
        row: usize,
    ) -> Check {
        let outer = gemm.outer.iter().zip(site.trips);
        same("matrix", outer.map(|(each, trip)| each.weights * trip).sum(), matrix)?;
        same("row", site.trips[gemm.outer.len()], row)
    }

    /// What a product multiplies with an element of its row of weights.
    pub(super) fn contracted(
        &mut self,
        site: &Site<'_>,
        gemm: &RowMajorGemm,
        r: usize,
        goal: Goal,
    ) -> Check {
        let counts: Vec<usize> = gemm.reduce.iter().map(|each| each.count).collect();
        let (outer, rest) = site.trips.split_at(gemm.outer.len());
        let around = gemm.outer.iter().zip(outer);
        let around = around.chain([&gemm.rows, &gemm.columns].into_iter().zip(&rest[1..]));
        let within = position(r, &counts);
        let at = around.chain(gemm.reduce.iter().zip(&within));
        let elements: usize = at.map(|(each, trip)| each.input * trip).sum();
        self.read(site.run, Role::In, (elements * F32_BYTES) as i64, goal, None)
    }

    /// What is done to a sum.
    fn stored(&mut self, site: &Site<'_>, gemm: &RowMajorGemm, steps: &[Step]) -> Check {
        let mut definition = Definition { expr: Expr::Operand(0), operands: Vec::new() };
        self.then(site, &mut definition, steps)?;
        same("store", &gemm.then, &definition.expr)?;
        let around = gemm.outer.iter().chain([&gemm.channels, &gemm.rows, &gemm.columns]);
        let elements: usize = around.zip(site.trips).map(|(each, trip)| each.output * trip).sum();
        for (i, (thing, index)) in definition.operands.into_iter().enumerate() {
            let (role, byte) = (Role::Operand(i + 1), (elements * F32_BYTES) as i64);
            self.read(site.run, role, byte, Goal::Element(thing, index), None)?;
        }
        Ok(())
    }

    /// A bias is added where there is one, and it is the operator's.
    pub(super) fn bias(&self, site: &Site<'_>, is_added: bool, packing: impl Packing) -> Check {
        let bias = self.graph.operand(site.thing.node, 2);
        same("bias", is_added, bias.is_some())?;
        let Some(bias) = bias else { return Ok(()) };
        let place = self.place_of(site, Role::Bias)?;
        must(self.is_packed(place, bias, packing)?, "the bias is not its own")
    }

    /// Whether a product's weights are the operand in a slot, packed like this, and as bytes if scheduled so.
    pub(super) fn is_matrix(
        &self,
        site: &Site<'_>,
        gemm: &RowMajorGemm,
        slot: usize,
        packing: impl Blocks,
    ) -> Check<bool> {
        let id = site.thing.node;
        same("bytes", gemm.bytes, self.schedule.has_byte_weights(id, slot))?;
        let (place, weight) = (self.place_of(site, Role::Weights)?, self.operand(id, slot)?);
        match (gemm.bytes, gemm.wide) {
            (true, _) => self.is_packed(place, weight, InBytes(packing)),
            (false, true) => self.is_packed(place, weight, Wide(packing)),
            (false, false) => self.is_packed(place, weight, packing),
        }
    }

    /// What an argument points into, at its start.
    pub(super) fn place_of(&self, site: &Site<'_>, role: Role) -> Check<Base> {
        let place = self.plan.steps[site.run.step].place(role);
        let place = place.ok_or_else(|| format!("it has no argument {role}"))?;
        let is_constant = matches!(place.base, Base::Constant(_));
        must(
            !is_constant || (place.offset, place.image) == (0, 0),
            "a constant is read from within",
        )?;
        Ok(place.base)
    }

    /// The extents of a value of four axes.
    pub(super) fn four(&self, id: crate::ir::NodeId) -> Check<[usize; 4]> {
        <[usize; 4]>::try_from(self.graph.ty(id).shape()).map_err(|_| "it has not four axes".into())
    }
}
