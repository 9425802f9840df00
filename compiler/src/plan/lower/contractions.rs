//! Convolutions and matrix products.

use super::weights::Packing;
use super::{Lowering, broadcast, computable, dense, four};
use crate::error::{Error, Result};
use crate::ir::{Conv, DType, Epilogue, NodeId, Op, TensorType, Window};
use crate::plan::Place;
use crate::plan::expr::Expr;
use crate::plan::kernel::{CHANNEL_BLOCK, Contract, Kernel, Nest, Outer, Pixels, Span};

/// Most pixels that a tile of a contraction spans: with 8 channels, 12 vectors of sums.
const TILE: usize = 6;

impl Lowering<'_, '_> {
    pub(super) fn conv(&mut self, id: NodeId, conv: &Conv) -> Result<()> {
        let graph = self.graph;
        let (x, w) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let [n, c, h, width] = four(graph.ty(x))?;
        let [m, cg, kh, kw] = four(graph.ty(w))?;
        let [_, _, oh, ow] = four(graph.ty(id))?;
        let group = m / conv.groups;
        let weights = self.packed(w, Packing::Rows(conv.groups, group))?;
        let bias = match graph.operand(id, 2) {
            Some(b) => Some(self.packed(b, Packing::Bias(conv.groups))?),
            None => None,
        };
        let (input, [h, width]) = self.padded(x, &conv.window, [n, c, h, width])?;
        let Window { stride, dilation, .. } = conv.window;
        let flat = conv.window.kernel == [1, 1] && stride == [1, 1];
        let (rows, columns) = if flat {
            let one = Pixels { count: 1, input: 0, output: 0 };
            (one, Pixels { count: oh * ow, input: 1, output: 1 })
        } else {
            let rows = Pixels { count: oh, input: width * stride[0], output: ow };
            (rows, Pixels { count: ow, input: stride[1], output: 1 })
        };
        let mut sources = Vec::new();
        let then = self.apply(id, Expr::Operand(0), &conv.epilogue, &mut sources)?;
        let contract = Contract {
            outer: vec![
                Outer { count: n, input: c * h * width, weights: 0, output: m * oh * ow },
                Outer {
                    count: conv.groups,
                    input: cg * h * width,
                    weights: 1,
                    output: group * oh * ow,
                },
            ],
            channels: Span { count: group, stride: oh * ow },
            rows,
            columns,
            reduce: vec![
                Span { count: cg, stride: h * width },
                Span { count: kh, stride: width * dilation[0] },
                Span { count: kw, stride: dilation[1] },
            ],
            tile: tile(columns.count),
            bias: bias.is_some(),
            then,
        };
        self.contract(id, contract, input, weights, bias, &sources)
    }

    pub(super) fn contract(
        &mut self,
        id: NodeId,
        mut contract: Contract,
        input: Place,
        weights: Place,
        bias: Option<Place>,
        sources: &[NodeId],
    ) -> Result<()> {
        contract.outer.retain(|o| o.count != 1);
        contract.reduce.retain(|r| r.count != 1);
        let mut args = vec![input, weights];
        args.extend(bias);
        for &source in sources {
            args.push(self.place(source)?);
        }
        args.insert(0, self.make(id));
        self.step(Kernel::Contract(contract), args);
        Ok(())
    }

    /// The input with its zero border made explicit, so that kernels read without bounds checks.
    pub(super) fn padded(
        &mut self,
        x: NodeId,
        window: &Window,
        dims: [usize; 4],
    ) -> Result<(Place, [usize; 2])> {
        let place = self.place(x)?;
        let [n, c, h, w] = dims;
        let (top, left) = (window.pad_before[0], window.pad_before[1]);
        let height = h + top + window.pad_after[0];
        let width = w + left + window.pad_after[1];
        if [height, width] == [h, w] {
            return Ok((place, [h, w]));
        }
        let outer = TensorType::new(DType::F32, &[n, c, height, width]);
        computable(&outer)?;
        let out = self.scratch(outer.bytes());
        self.border(self.graph.ty(x), &outer, &[0, 0, top, left], 0.0, out, place);
        Ok((out, [height, width]))
    }

    pub(super) fn matmul(&mut self, id: NodeId, ta: bool, tb: bool, then: &Epilogue) -> Result<()> {
        let graph = self.graph;
        let (a, b) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let (sa, sb, so) = (graph.ty(a).shape(), graph.ty(b).shape(), graph.ty(id).shape());
        let rank = so.len();
        let (rows, n) = (so[rank - 2], so[rank - 1]);
        let depth = sb[sb.len() - if tb { 1 } else { 2 }];
        let (row, step) = if ta { (1, rows) } else { (depth, 1) };
        let matrices: usize = sb[..sb.len() - 2].iter().product();
        let weights = match graph.node(b).op {
            Op::Weight(_) if tb => self.packed(b, Packing::Rows(matrices, n))?,
            Op::Weight(_) => self.packed(b, Packing::Columns(matrices))?,
            _ => self.pack_at_run_time(b, tb, matrices, n, depth)?,
        };
        let bias = match graph.operand(id, 2) {
            Some(_) if matrices > 1 => {
                return Err(Error::internal("a bias on a batch of different matrices"));
            }
            Some(c) => Some(self.packed(c, Packing::Bias(1))?),
            None => None,
        };
        let batch = &so[..rank - 2];
        let (over_a, over_b) =
            (broadcast(&sa[..sa.len() - 2], batch), broadcast(&sb[..sb.len() - 2], batch));
        let over_out = dense(batch);
        let outer = (0..batch.len())
            .map(|i| Outer {
                count: batch[i],
                input: over_a[i] as usize * rows * depth,
                weights: over_b[i] as usize,
                output: over_out[i] as usize * rows * n,
            })
            .collect();
        let mut sources = Vec::new();
        let then = self.apply(id, Expr::Operand(0), then, &mut sources)?;
        let contract = Contract {
            outer,
            channels: Span { count: n, stride: 1 },
            rows: Pixels { count: 1, input: 0, output: 0 },
            columns: Pixels { count: rows, input: row, output: n },
            reduce: vec![Span { count: depth, stride: step }],
            tile: tile(rows),
            bias: bias.is_some(),
            then,
        };
        let input = self.place(a)?;
        self.contract(id, contract, input, weights, bias, &sources)
    }

    /// `[n/8][depth][8]` per matrix, from a right-hand operand that is only known at run time.
    pub(super) fn pack_at_run_time(
        &mut self,
        b: NodeId,
        turned: bool,
        matrices: usize,
        n: usize,
        depth: usize,
    ) -> Result<Place> {
        let from = self.place(b)?;
        let blocks = n.div_ceil(CHANNEL_BLOCK);
        let ty = TensorType::new(DType::F32, &[matrices, blocks, depth, CHANNEL_BLOCK]);
        let out = self.scratch(ty.bytes());
        if !n.is_multiple_of(CHANNEL_BLOCK) {
            self.fill(&ty, out, 0.0);
        }
        let (along_n, along_k) = if turned { (depth, 1) } else { (1, n) };
        let (whole, rest) = (n / CHANNEL_BLOCK, n % CHANNEL_BLOCK);
        let parts = [(0, whole, CHANNEL_BLOCK), (whole, 1, rest)];
        let natural = dense(&ty.shape());
        for (first, count, lanes) in parts {
            if count == 0 || lanes == 0 {
                continue;
            }
            let strides = [n * depth, along_n * CHANNEL_BLOCK, along_k, along_n];
            let strides = strides.map(|s| s as isize).to_vec();
            let at = |place: Place, elements: usize| Place {
                base: place.base,
                offset: place.offset + elements * 4,
            };
            let (to, from) =
                (at(out, first * natural[1] as usize), at(from, first * along_n * CHANNEL_BLOCK));
            let dims = [matrices, count, depth, lanes];
            self.copy(Nest::collapsed(&dims, &[natural.clone(), strides]), DType::F32, to, from);
        }
        Ok(out)
    }
}

/// Pixels per tile for rows of `count`: as few tiles as fit, then as even as can be.
fn tile(count: usize) -> usize {
    count.div_ceil(count.div_ceil(TILE).max(1)).max(1)
}
