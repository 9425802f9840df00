//! Split-Attention: its layers, and the weighted sum.

use super::expression::Definition;
use super::things::{Part, Splits, Thing};
use super::{Check, Goal, Site, Validation, must, same};
use crate::ir::expr::Expr;
use crate::ir::{Binary, Excite, Op, SplitAttention, Unary};
use crate::kernels::gemm::pack::{Bias, Filled, Rows};
use crate::kernels::gemm::{CHANNEL_BLOCK, RowMajorGemm};
use crate::machine::BLOCK;
use crate::plan::Role;
use crate::plan::weights::InBlocks;
use crate::schedule::byte_values::MOST_SPLITS;

impl Validation<'_> {
    /// A dense layer of the attention.
    pub(super) fn dense(
        &mut self,
        site: &Site<'_>,
        gemm: &RowMajorGemm,
        op: &SplitAttention,
    ) -> Check {
        let splits = self.splits(site.thing.node)?;
        let is_inner = site.thing.part == Part::Inner;
        let (n, group) = (site.index[0], site.index[1]);
        let row = match (is_inner, site.index) {
            (true, [_, _, row]) => *row,
            (false, [_, _, split, channel]) => split * splits.places + channel,
            _ => return Err("a dense layer makes no such value".into()),
        };
        self.row(site, gemm, group, row)?;
        let reads_squeezed = is_inner || op.excite == Excite::Direct;
        let depth = if reads_squeezed { splits.places } else { splits.width };
        same("depth", gemm.depth(), depth)?;
        self.dense_weights(site, gemm, &splits, [!is_inner, reads_squeezed])?;
        let (part, there) = match reads_squeezed {
            true => (Part::Squeezed, splits.c),
            false => (Part::Inner, splits.width),
        };
        for r in self.some(depth) {
            let goal = match r < there {
                true => Goal::Element(Thing::of(site.thing.node, part), vec![n, group, r]),
                false => Goal::Filler,
            };
            self.contracted(site, gemm, r, goal)?;
        }
        let gate = op.gate();
        let functions: &[Unary] = match (&op.excite, &gate, site.thing.part) {
            (Excite::Inner { activation, .. }, _, Part::Inner) => activation,
            (_, Some(gate), Part::Weights) => gate,
            (_, None, Part::Logits) => &op.rounding.excited,
            (_, _, part) => return Err(format!("a dense layer makes {part:?}")),
        };
        same("store", &gemm.then, &Expr::Operand(0).each(functions))
    }

    /// The matrix and the bias of a layer, with rows and columns filled up or not.
    fn dense_weights(
        &self,
        site: &Site<'_>,
        gemm: &RowMajorGemm,
        splits: &Splits,
        [of_splits, reads_squeezed]: [bool; 2],
    ) -> Check {
        let Splits { k, r, c, places, width, .. } = *splits;
        let id = site.thing.node;
        let layout = self.schedule.layout(id);
        let is_filled = layout.is_some_and(|l| !l.is_full() || c.is_multiple_of(BLOCK));
        let [fill_rows, fill_columns] = [of_splits && is_filled, reads_squeezed && is_filled];
        let (each, height) = if of_splits { (c, r * places) } else { (width, width) };
        let [matrix, bias] = match of_splits {
            true => [SplitAttention::W2, SplitAttention::B2],
            false => [SplitAttention::W1, SplitAttention::B1],
        };
        let is_packed = match fill_rows || fill_columns {
            true => {
                let packing = Filled { groups: k, rows: each, fill_rows, fill_columns };
                self.is_matrix(site, gemm, matrix, packing)?
            }
            false => self.is_matrix(site, gemm, matrix, Rows(k, height))?,
        };
        must(is_packed, "weights are not its own")?;
        let bias = self.graph.operand(id, bias);
        same("bias", gemm.bias, bias.is_some())?;
        let Some(bias) = bias else { return Ok(()) };
        let place = self.place_of(site, Role::Bias)?;
        let is_packed = match fill_rows && height.is_multiple_of(CHANNEL_BLOCK) {
            true => self.is_packed(place, bias, InBlocks(k * r))?,
            false => self.is_packed(place, bias, Bias(k))?,
        };
        must(is_packed, "the bias is not its own")
    }

    /// The sum of weighted splits, of which the first are summed already, or what is squeezed.
    pub(super) fn attention_definition(&self, site: &Site<'_>) -> Check<Definition> {
        let id = site.thing.node;
        let Op::SplitAttention(op) = &self.graph.node(id).op else {
            return Err("it is no Split-Attention".into());
        };
        let Splits { r, c, .. } = self.splits(id)?;
        let until = match site.thing.part {
            Part::Whole => r,
            Part::Weighed(until) => until,
            Part::Squeezed if Part::squeezed(op) == Part::Means => {
                return Ok(rounded(site, Part::Means, &op.rounding.squeezed));
            }
            Part::Weights if Part::softmax(op) == Part::Shares => {
                return Ok(rounded(site, Part::Shares, &op.rounding.weights));
            }
            Part::Squeezed | Part::Means => {
                let by = Expr::number(r as f64);
                let mean = (Thing::of(id, Part::Mean), site.index.to_vec());
                let expr = Expr::Operand(1).binary(Binary::Mul, by);
                return Ok(Definition { expr, operands: vec![mean] });
            }
            part => return Err(format!("a map makes {part:?}")),
        };
        let first = until.saturating_sub(1) / MOST_SPLITS * MOST_SPLITS;
        let u = self.operand(id, SplitAttention::U)?;
        let [n, channel] = [site.index[0], site.index[1]];
        let (group, within) = (channel / c, channel % c);
        let mut operands = Vec::new();
        let mut sum = None;
        if first > 0 {
            operands.push((Thing::of(id, Part::Weighed(first)), site.index.to_vec()));
            sum = Some(Expr::Operand(1));
        }
        for split in first..until {
            let mut of = site.index.to_vec();
            of[1] = (group * r + split) * c + within;
            operands.push((Thing::whole(u), of));
            operands.push((Thing::of(id, Part::Weights), vec![n, group, split, within]));
            let [x, weight] = [operands.len() - 1, operands.len()].map(Expr::Operand);
            let term = x.binary(Binary::Mul, weight).each(&op.rounding.products);
            sum = Some(match sum {
                Some(sum) => sum.binary(Binary::Add, term),
                None => term,
            });
        }
        let mut definition = Definition { expr: sum.unwrap_or(Expr::number(0.0)), operands };
        if until == r {
            self.then(site, &mut definition, &op.epilogue.steps)?;
        }
        Ok(definition)
    }
}

/// What is applied to the same element of another part.
fn rounded(site: &Site<'_>, part: Part, functions: &[Unary]) -> Definition {
    let operand = (Thing::of(site.thing.node, part), site.index.to_vec());
    Definition { expr: Expr::Operand(1).each(functions), operands: vec![operand] }
}
