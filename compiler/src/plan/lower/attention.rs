//! Split-Attention: squeeze, two dense layers, softmax, and one pass over u that weighs and sums.

use super::weights::Packing;
use super::{Lowering, dense, four};
use crate::error::Result;
use crate::ir::{
    Binary, DType, Excite, NodeId, ReduceKind, SplitAttention, TensorType, Unary, Weigh,
};
use crate::plan::Place;
use crate::plan::expr::Expr;
use crate::plan::kernel::{Contract, Kernel, Map, Nest, Outer, Pixels, Reduction, Softmax, Span};

/// Most splits that one pass over u sums: a pass holds two pointers for each.
const SPLITS: usize = 8;

/// Extents.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    n: usize,
    k: usize,
    r: usize,
    c: usize,
    plane: usize,
}

impl Lowering<'_> {
    pub(super) fn split_attention(&mut self, id: NodeId, op: &SplitAttention) -> Result<()> {
        let u = self.operand(id, SplitAttention::U)?;
        let [n, channels, h, w] = four(self.graph.ty(u))?;
        let (k, r) = (op.cardinality, op.radix);
        let sizes = Sizes { n, k, r, c: channels / (k * r), plane: h * w };
        let squeezed = self.squeeze(u, sizes)?;
        let (inner, width) = match &op.excite {
            Excite::Direct => (squeezed, sizes.c),
            Excite::Inner { width, activation } => {
                let slots = [SplitAttention::W1, SplitAttention::B1];
                let inner =
                    self.dense(id, slots, squeezed, sizes, [*width, sizes.c], activation)?;
                (inner, *width)
            }
        };
        let gate: &[Unary] = match &op.weigh {
            Weigh::Gate(function) => std::slice::from_ref(function),
            Weigh::Softmax => &[],
        };
        let slots = [SplitAttention::W2, SplitAttention::B2];
        let mut attention = self.dense(id, slots, inner, sizes, [r * sizes.c, width], gate)?;
        if op.weigh == Weigh::Softmax {
            let logits = attention;
            attention = self.scratch_of(n * k * r * sizes.c);
            let softmax = Softmax { outer: n * k, extent: r, inner: sizes.c, log: false };
            self.step(Kernel::Softmax(softmax), vec![attention, logits]);
        }
        self.weigh(id, op, sizes, u, attention)
    }

    fn scratch_of(&mut self, elements: usize) -> Place {
        self.scratch(TensorType::new(DType::F32, &[elements]).bytes())
    }

    /// `z[n, k, c]`: the mean over splits and plane, times the number of splits.
    fn squeeze(&mut self, u: NodeId, sizes: Sizes) -> Result<Place> {
        let Sizes { n, k, r, c, plane } = sizes;
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
        let from = self.place(u)?;
        let mean = self.scratch_of(n * k * c);
        self.step(Kernel::Reduce(reduction), vec![mean, from]);
        if r == 1 {
            return Ok(mean);
        }
        let sum = self.scratch_of(n * k * c);
        let nest = Nest::collapsed(&[n * k * c], &[vec![1], vec![1]]);
        let expr = Expr::Operand(1).binary(Binary::Mul, Expr::Constant(r as f64));
        let map = Map { nest, dtypes: vec![DType::F32; 2], expr };
        self.step(Kernel::Map(map), vec![sum, mean]);
        Ok(sum)
    }

    /// A dense layer of so many rows and columns for each image and cardinal group.
    fn dense(
        &mut self,
        id: NodeId,
        [weight, bias]: [usize; 2],
        input: Place,
        Sizes { n, k, .. }: Sizes,
        [rows, columns]: [usize; 2],
        activation: &[Unary],
    ) -> Result<Place> {
        let weights = self.packed(self.operand(id, weight)?, Packing::Rows(k, rows))?;
        let bias = match self.graph.operand(id, bias) {
            Some(bias) => Some(self.packed(bias, Packing::Bias(k))?),
            None => None,
        };
        let out = self.scratch_of(n * k * rows);
        let one = Pixels { count: 1, input: 0, output: 0 };
        let mut outer = vec![
            Outer { count: n, input: k * columns, weights: 0, output: k * rows },
            Outer { count: k, input: columns, weights: 1, output: rows },
        ];
        outer.retain(|o| o.count != 1);
        let mut reduce = vec![Span { count: columns, stride: 1 }];
        reduce.retain(|r| r.count != 1);
        let contract = Contract {
            outer,
            channels: Span { count: rows, stride: 1 },
            rows: one,
            columns: one,
            reduce,
            tile: 1,
            bias: bias.is_some(),
            then: activation.iter().fold(Expr::Operand(0), |x, f| x.unary(*f)),
        };
        let args = [out, input, weights].into_iter().chain(bias).collect();
        self.step(Kernel::Contract(contract), args);
        Ok(out)
    }

    /// `y = Σ over r of a · u`, then the epilogue.
    fn weigh(
        &mut self,
        id: NodeId,
        op: &SplitAttention,
        sizes: Sizes,
        u: NodeId,
        attention: Place,
    ) -> Result<()> {
        let Sizes { n, k, r, c, plane } = sizes;
        let dims = [n, k, c, plane];
        let [u_strides, a_strides] = [plane, 1].map(|p| dense(&[n, k, r, c, p]));
        let u_strides = [0, 1, 3, 4].map(|axis| u_strides[axis]).to_vec();
        let a_strides = vec![a_strides[0], a_strides[1], a_strides[3], 0];
        let u = self.place(u)?;
        let out = self.make(id);
        for first in (0..r).step_by(SPLITS) {
            let end = r.min(first + SPLITS);
            let mut args = vec![out];
            let mut strides = vec![dense(&dims)];
            let mut sum = None;
            if first > 0 {
                args.push(out);
                strides.push(dense(&dims));
                sum = Some(Expr::Operand(1));
            }
            for split in first..end {
                let at = |from: Place, p: usize| Place {
                    base: from.base,
                    offset: from.offset + split * c * p * DType::F32.size(),
                };
                args.extend([at(u, plane), at(attention, 1)]);
                strides.extend([u_strides.clone(), a_strides.clone()]);
                let [x, a] = [args.len() - 2, args.len() - 1].map(Expr::Operand);
                let term = x.binary(Binary::Mul, a);
                sum = Some(match sum {
                    Some(sum) => sum.binary(Binary::Add, term),
                    None => term,
                });
            }
            let mut expr = sum.unwrap_or(Expr::Constant(0.0));
            if end == r {
                // Operands of the epilogue follow those of the sum.
                let mut sources = vec![id; args.len() - 1];
                expr = self.apply(id, expr, &op.epilogue, &mut sources)?;
                for &source in sources.iter().skip(args.len() - 1) {
                    strides.push(dense(&dims));
                    args.push(self.place(source)?);
                }
            }
            let dtypes = vec![DType::F32; args.len()];
            let nest = Nest::collapsed(&dims, &strides);
            self.step(Kernel::Map(Map { nest, dtypes, expr }), args);
        }
        Ok(())
    }
}
