//! Split-Attention: squeeze, two dense layers, softmax, and one pass over u that weighs and sums.

use super::block_mean::BlockMean;
use super::gemm::pack::{Bias, Filled, Rows};
use super::gemm::{CHANNEL_BLOCK, RowMajorGemm};
use super::lowering::{InBlocks, Lowering, Totals, dense, four};
use super::map::Map;
use super::reduce::Reduction;
use super::softmax::Softmax;
use crate::error::Result;
use crate::ir::expr::Expr;
use crate::ir::{Binary, DType, Excite, NodeId, ReduceKind, SplitAttention, Step, Unary};
use crate::machine::BLOCK;
use crate::plan::weights::InBlocks as PackedBlocks;
use crate::plan::{Loop, Nest, Place, Role};
use crate::schedule::blocked::{Blocked, for_groups};
use crate::schedule::byte_scale::ByteScale;
use crate::schedule::byte_values::MOST_SPLITS;

/// Most splits that one pass over u sums: a pass holds two pointers for each.
const SPLITS: usize = MOST_SPLITS;

/// Extents and strides. Splits lie `[n][k][r][c]` planes, in blocks of channels or row-major.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    n: usize,
    k: usize,
    r: usize,
    /// Channels of a split in the model.
    c: usize,
    /// Numbers of a split in memory: whole blocks where splits begin at blocks.
    places: usize,
    plane: usize,
    /// Whether splits are filled up to whole blocks.
    filled: bool,
}

impl Sizes {
    /// All groups as one, for what is done to each channel by itself where each has one split.
    fn as_one_group(self) -> Sizes {
        Sizes { k: 1, c: self.k * self.c, places: self.k * self.places, ..self }
    }
}

impl Lowering<'_, '_> {
    pub(super) fn split_attention(&mut self, id: NodeId, op: &SplitAttention) -> Result<()> {
        let x = self.operand(id, SplitAttention::U)?;
        let [n, channels, h, w] = four(self.ty(x))?;
        let (k, r) = (op.cardinality, op.radix);
        let c = channels / (k * r);
        let layout = self.schedule.layout(id);
        // Groups run on into each other within blocks.
        let dense = layout.is_some_and(|layout| layout.is_full()) && !c.is_multiple_of(BLOCK);
        let filled = layout.is_some() && !dense;
        let places = if filled { c.next_multiple_of(BLOCK) } else { c };
        let sizes = Sizes { n, k, r, c, places, plane: h * w, filled };
        let planes = if dense { sizes.as_one_group() } else { sizes };
        let (u, squeezed) = if layout.is_some() {
            let splits = if dense { 1 } else { k * r };
            let otherwise = for_groups(self.ty(x), splits, [0; 4]);
            // Sums of bytes over all splits are i32.
            let is_summed = r * h * w <= i32::MAX as usize / usize::from(u8::MAX);
            let made = self.schedule.layout(x).and_then(|layout| layout.bytes);
            let made = made.filter(|_| is_summed);
            let otherwise = otherwise.stored(made);
            let u = self.in_layout(x, |layout| layout.is_of_splits(op), otherwise)?;
            (Splits::Blocks(u), self.blocked_squeeze(x, u, planes)?)
        } else {
            let u = self.place(x)?;
            (Splits::Rows(u), self.squeeze(u, sizes)?)
        };
        let squeezed = self.rounded(&op.rounding.squeezed, squeezed, n * k * places)?;
        let (inner, fill) = match &op.excite {
            Excite::Direct => (squeezed, true),
            Excite::Inner { width, activation } => {
                let slots = [SplitAttention::W1, SplitAttention::B1];
                let rows = Segments { each: *width, count: 1, fill: false };
                let layer = Layer { slots, rows, fill_columns: true, activation };
                let inner = self.dense(id, layer, squeezed, sizes)?;
                (inner, false)
            }
        };
        let gate = op.gate();
        let slots = [SplitAttention::W2, SplitAttention::B2];
        let rows = Segments { each: c, count: r, fill: true };
        let activation = gate.as_ref().unwrap_or(&op.rounding.excited);
        let layer = Layer { slots, rows, fill_columns: fill, activation };
        let mut attention = self.dense(id, layer, inner, sizes)?;
        if gate.is_none() {
            let logits = attention;
            attention = self.scratch_of(n * k * r * places);
            let softmax = Softmax { outer: n * k, extent: r, inner: places, log: false };
            self.step(softmax, [(Role::Out, attention), (Role::In, logits)])?;
            attention = self.rounded(&op.rounding.weights, attention, n * k * r * places)?;
        }
        match u {
            Splits::Rows(u) => self.weigh(id, op, sizes, u, attention),
            Splits::Blocks(u) => self.blocked_weigh(id, op, planes, u, attention),
        }
    }

    /// So many numbers with these functions applied.
    fn rounded(&mut self, functions: &[Unary], from: Place, count: usize) -> Result<Place> {
        if functions.is_empty() {
            return Ok(from);
        }
        let out = self.scratch_of(count);
        let nest = Nest::collapsed(&[count], &[vec![1], vec![1]]);
        let expr = Expr::Operand(1).each(functions);
        self.map(Map { nest, dtypes: vec![DType::F32; 2], expr }, out, vec![from])?;
        Ok(out)
    }

    /// `z[n][k][places]` of splits in blocks: means of what adds up rows of tiles, or of pixels.
    fn blocked_squeeze(&mut self, x: NodeId, u: InBlocks, sizes: Sizes) -> Result<Place> {
        let Sizes { n, k, r, places, plane, .. } = sizes;
        let (l, blocks) = (u.layout, places / BLOCK);
        let totals = self.beside::<Totals>(x).filter(|totals| totals.of == u.at);
        let (from, image, block, summed) = match totals {
            Some(Totals { place, rows, .. }) => {
                let block = rows * BLOCK;
                (*place, l.blocks() * block, block, vec![(*rows, BLOCK)])
            }
            None => (u.at, l.image, l.block(), vec![(l.size[0], l.row()), (l.size[1], BLOCK)]),
        };
        let split = blocks * block;
        let (counts, strides): (Vec<usize>, Vec<isize>) =
            [(r, split)].into_iter().chain(summed).map(|(n, s)| (n, s as isize)).unzip();
        let mean = BlockMean {
            kept: Nest::collapsed(
                &[n, k, blocks],
                &[
                    [k * places, places, BLOCK].map(|s| s as isize).to_vec(),
                    [image, r * split, block].map(|s| s as isize).to_vec(),
                ],
            ),
            reduced: Nest { dims: counts, strides: vec![strides] },
            scale: 1.0 / plane as f64,
            bytes: l.bytes,
        };
        let z = self.scratch_of(n * k * places);
        self.step(mean, [(Role::Out, z), (Role::In, from)])?;
        Ok(z)
    }

    /// `y = Σ over r of a · u` in blocks, then the epilogue.
    fn blocked_weigh(
        &mut self,
        id: NodeId,
        op: &SplitAttention,
        sizes: Sizes,
        u: InBlocks,
        attention: Place,
    ) -> Result<()> {
        let Sizes { n, k, r, places, .. } = sizes;
        let layout = self.layout(id)?;
        let out = self.new_blocked(id, layout);
        let blocks = places / BLOCK;
        let [h, w] = layout.size;
        let dims = [n, k, blocks, h, w, BLOCK];
        let planar = |l: &Blocked, group: usize| {
            [l.image, group * l.block(), l.block(), l.row(), BLOCK, 1].map(|s| s as isize).to_vec()
        };
        let of_a = [k * r * places, r * places, BLOCK, 0, 0, 1].map(|s| s as isize).to_vec();
        let sum = Summed {
            dims: dims.to_vec(),
            out: out.at,
            u: u.at,
            attention,
            strides: [planar(&layout, blocks), planar(&u.layout, r * blocks), of_a],
            split: [blocks * u.layout.block(), places],
            bytes: [layout.bytes, u.layout.bytes],
        };
        let mut others = Vec::new();
        for step in &op.epilogue.steps {
            if let Step::Binary(_, slot) = step {
                let other = self.in_blocks_as_made(self.operand(id, *slot)?, &layout)?;
                let strides = planar(&other.layout, blocks);
                others.push(Other { place: other.at, strides, bytes: other.layout.bytes });
            }
        }
        self.sum_splits(id, op, r, sum, others)?;
        self.made_in_blocks(id, out)
    }

    /// `z[n, k, c]`: the mean over splits and plane, times the number of splits.
    fn squeeze(&mut self, from: Place, sizes: Sizes) -> Result<Place> {
        let Sizes { n, k, r, c, plane, .. } = sizes;
        let whole = dense(&[n, k, r, c, plane]);
        let reduction = Reduction {
            kind: ReduceKind::Mean,
            dtype: DType::F32,
            kept: Nest::collapsed(
                &[n, k, c],
                &[dense(&[n, k, c]), vec![whole[0], whole[1], whole[3]]],
            ),
            reduced: Nest::collapsed(&[r, plane], &[vec![whole[2], whole[4]]]),
        };
        let mean = self.scratch_of(n * k * c);
        self.step(reduction, [(Role::Out, mean), (Role::In, from)])?;
        if r == 1 {
            return Ok(mean);
        }
        let sum = self.scratch_of(n * k * c);
        let nest = Nest::collapsed(&[n * k * c], &[vec![1], vec![1]]);
        let expr = Expr::Operand(1).binary(Binary::Mul, Expr::number(r as f64));
        self.map(Map { nest, dtypes: vec![DType::F32; 2], expr }, sum, vec![mean])?;
        Ok(sum)
    }

    /// A dense layer for each image and cardinal group.
    fn dense(&mut self, id: NodeId, layer: Layer<'_>, input: Place, sizes: Sizes) -> Result<Place> {
        let Sizes { n, k, filled, .. } = sizes;
        let Layer { slots: [weight, bias], rows, activation, .. } = layer;
        let matrix = self.operand(id, weight)?;
        let width = self.ty(matrix).shape()[1];
        let [fill_rows, fill_columns] = [rows.fill, layer.fill_columns].map(|fill| fill && filled);
        let filled = |n: usize, fill: bool| if fill { n.next_multiple_of(BLOCK) } else { n };
        let (height, columns) =
            (rows.count * filled(rows.each, fill_rows), filled(width, fill_columns));
        let weights = match fill_rows || fill_columns {
            true => {
                let filled = Filled { groups: k, rows: rows.each, fill_rows, fill_columns };
                self.matrix((id, weight), filled)
            }
            false => self.matrix((id, weight), Rows(k, height)),
        }?;
        let bias = match fill_rows && height.is_multiple_of(CHANNEL_BLOCK) {
            // One filled segment for each split is as long as a row of the matrix is high.
            true => self.packed_operand(id, bias, PackedBlocks(k * rows.count)),
            false => self.packed_operand(id, bias, Bias(k)),
        }?;
        let out = self.scratch_of(n * k * height);
        let groups = Loop { weights: 1, ..Loop::over(k, columns, height) };
        let mut outer = vec![Loop::over(n, k * columns, k * height), groups];
        outer.retain(|o| o.count != 1);
        let mut reduce = vec![Loop::reading(columns, 1)];
        reduce.retain(|r| r.count != 1);
        let gemm = RowMajorGemm {
            outer,
            channels: Loop::over(height, 0, 1),
            rows: Loop::ONCE,
            columns: Loop::ONCE,
            reduce,
            tile: 1,
            bias: bias.is_some(),
            wide: false,
            bytes: self.schedule.has_byte_weights(id, weight),
            then: Expr::Operand(0).each(activation),
        };
        let args = [(Role::Out, out), (Role::In, input), (Role::Weights, weights)];
        self.step(gemm, args.into_iter().chain(bias.map(|bias| (Role::Bias, bias))))?;
        Ok(out)
    }

    /// `y = Σ over r of a · u`, then the epilogue, row-major.
    fn weigh(
        &mut self,
        id: NodeId,
        op: &SplitAttention,
        sizes: Sizes,
        u: Place,
        attention: Place,
    ) -> Result<()> {
        let Sizes { n, k, r, c, plane, .. } = sizes;
        let dims = [n, k, c, plane];
        let [u_strides, a_strides] = [plane, 1].map(|p| dense(&[n, k, r, c, p]));
        let u_strides = [0, 1, 3, 4].map(|axis| u_strides[axis]).to_vec();
        let a_strides = vec![a_strides[0], a_strides[1], a_strides[3], 0];
        let mut others = Vec::new();
        for step in &op.epilogue.steps {
            if let Step::Binary(_, slot) = step {
                let place = self.place(self.operand(id, *slot)?)?;
                others.push(Other { place, strides: dense(&dims), bytes: None });
            }
        }
        let out = self.make(id);
        let sum = Summed {
            dims: dims.to_vec(),
            out,
            u,
            attention,
            strides: [dense(&dims), u_strides, a_strides],
            split: [c * plane, c],
            bytes: [None; 2],
        };
        self.sum_splits(id, op, r, sum, others)
    }

    /// One pass over u for every few splits.
    fn sum_splits(
        &mut self,
        id: NodeId,
        op: &SplitAttention,
        r: usize,
        sum: Summed,
        others: Vec<Other>,
    ) -> Result<()> {
        let [of_out, strides_of_u, of_a] = &sum.strides;
        let [made, read] = sum.bytes;
        for first in (0..r).step_by(SPLITS) {
            let end = r.min(first + SPLITS);
            let mut args = Vec::new();
            let mut bytes = vec![made];
            let mut strides = vec![of_out.clone()];
            let mut total = None;
            if first > 0 {
                args.push(sum.out);
                bytes.push(made);
                strides.push(of_out.clone());
                total = Some(Expr::Operand(1));
            }
            for split in first..end {
                let at =
                    |from: Place, by: usize, bytes| from.further(split * by * dtype(bytes).size());
                let [of_u, of_attention] = sum.split;
                args.extend([at(sum.u, of_u, read), at(sum.attention, of_attention, None)]);
                bytes.extend([read, None]);
                strides.extend([strides_of_u.clone(), of_a.clone()]);
                let [x, a] = [args.len() - 1, args.len()].map(Expr::Operand);
                let term = x.binary(Binary::Mul, a).each(&op.rounding.products);
                total = Some(match total {
                    Some(total) => total.binary(Binary::Add, term),
                    None => term,
                });
            }
            let mut expr = total.unwrap_or(Expr::number(0.0));
            if end == r {
                // Operands of the epilogue follow those of the sum.
                let mut sources = vec![id; args.len()];
                expr = self.apply(id, expr, &op.epilogue, &mut sources)?;
                for other in &others {
                    strides.push(other.strides.clone());
                    args.push(other.place);
                    bytes.push(other.bytes);
                }
            }
            let number = |i: usize| {
                let operand = Expr::Operand(i);
                bytes[i].map_or(operand.clone(), |bytes| bytes.number(operand))
            };
            let expr = expr.of_operands(&number);
            let expr = made.map_or(expr.clone(), |made| made.byte(expr));
            let dtypes = bytes.into_iter().map(dtype).collect();
            let nest = Nest::collapsed(&sum.dims, &strides);
            self.map(Map { nest, dtypes, expr }, sum.out, args)?;
        }
        Ok(())
    }
}

/// Where u is.
enum Splits {
    Rows(Place),
    Blocks(InBlocks),
}

/// A dense layer: its operands, what it makes, and what is applied then.
struct Layer<'a> {
    /// Slots of the matrix and the bias.
    slots: [usize; 2],
    rows: Segments,
    /// Whether what it reads is filled up to whole blocks where u lies in blocks.
    fill_columns: bool,
    activation: &'a [Unary],
}

/// Rows of a dense layer in one cardinal group: segments of so many.
#[derive(Clone, Copy)]
struct Segments {
    each: usize,
    count: usize,
    /// Whether each segment is filled up to whole blocks where u lies in blocks.
    fill: bool,
}

/// A weighted sum over splits, by its loops.
struct Summed {
    dims: Vec<usize>,
    out: Place,
    u: Place,
    attention: Place,
    /// Of the result, of u, of the weights.
    strides: [Vec<isize>; 3],
    /// Distance between splits in u and in the weights.
    split: [usize; 2],
    /// What bytes of the result and of u stand for, where they are bytes.
    bytes: [Option<ByteScale>; 2],
}

/// An operand of the epilogue.
struct Other {
    place: Place,
    strides: Vec<isize>,
    bytes: Option<ByteScale>,
}

/// What elements are in memory.
fn dtype(bytes: Option<ByteScale>) -> DType {
    if bytes.is_some() { DType::U8 } else { DType::F32 }
}
