//! Convolutions of row-major values, and matrix products.

use super::RowMajorGemm;
use super::pack::{Bias, Columns, InBytes, Rows, Wide};
use crate::error::{Error, Result};
use crate::ir::expr::Expr;
use crate::ir::{Conv, DType, Epilogue, NodeId, Op, TensorType, Window};
use crate::kernels::lowering::{Lowering, broadcast, computable, dense, four};
use crate::kernels::map::lower::elementwise;
use crate::plan::kernel::Kernel as _;
use crate::plan::weights::Packing;
use crate::plan::{Base, Loop, Nest, Place, Role};

/// Most pixels of a register tile: with 8 channels, 12 vectors of sums.
const TILE: usize = 6;

/// Rows of a matrix for which blocks are wide: fewer leave most of a register tile empty.
const FEWEST_ROWS: usize = 4;

/// Rows for which those of dense layers are, whose rows are images: sums of a few images are the same in any batch.
const FEWEST_IMAGES: usize = 16;

/// A convolution by its definition.
pub(in crate::kernels) fn conv(l: &mut Lowering<'_, '_>, id: NodeId, conv: &Conv) -> Result<()> {
    let (x, w) = (l.operand(id, 0)?, l.operand(id, 1)?);
    let [n, c, h, width] = four(l.ty(x))?;
    let [m, cg, kh, kw] = four(l.ty(w))?;
    let [_, _, oh, ow] = four(l.ty(id))?;
    let group = m / conv.groups;
    let weights = l.matrix((id, 1), Rows(conv.groups, group))?;
    let bias = l.packed_operand(id, 2, Bias(conv.groups))?;
    let (input, [h, width]) = l.padded(x, &conv.window, [n, c, h, width])?;
    let Window { stride, dilation, .. } = conv.window;
    let flat = conv.window.kernel == [1, 1] && stride == [1, 1];
    let (rows, columns) = match flat {
        true => (Loop::ONCE, Loop::over(oh * ow, 1, 1)),
        false => (Loop::over(oh, width * stride[0], ow), Loop::over(ow, stride[1], 1)),
    };
    let mut sources = Vec::new();
    let then = l.apply(id, Expr::Operand(0), &conv.epilogue, &mut sources)?;
    let groups = Loop { weights: 1, ..Loop::over(conv.groups, cg * h * width, group * oh * ow) };
    let gemm = RowMajorGemm {
        outer: vec![Loop::over(n, c * h * width, m * oh * ow), groups],
        channels: Loop::over(group, 0, oh * ow),
        rows,
        columns,
        reduce: vec![
            Loop::reading(cg, h * width),
            Loop::reading(kh, width * dilation[0]),
            Loop::reading(kw, dilation[1]),
        ],
        tile: tile(columns.count),
        bias: bias.is_some(),
        wide: false,
        bytes: l.schedule.has_byte_weights(id, 1),
        then,
    };
    l.gemm(id, gemm, [input, weights], bias, &sources)
}

/// A product of matrices, the first transposed if `ta`, the second if `tb`.
pub(in crate::kernels) fn matmul(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    [ta, tb]: [bool; 2],
    then: &Epilogue,
) -> Result<()> {
    let (a, b) = (l.operand(id, 0)?, l.operand(id, 1)?);
    let (sa, sb, so) = (l.ty(a).shape(), l.ty(b).shape(), l.ty(id).shape());
    let rank = so.len();
    let (rows, n) = (so[rank - 2], so[rank - 1]);
    let depth = sb[sb.len() - if tb { 1 } else { 2 }];
    if depth == 0 {
        return sum_of_no_products(l, id, then);
    }
    let (row, step) = if ta { (1, rows) } else { (depth, 1) };
    let matrices: usize = sb[..sb.len() - 2].iter().product();
    // One matrix multiplies all rows that there are.
    let (batch, rows) = match matrices == 1 && !ta {
        true => (&[][..], so[..rank - 1].iter().product()),
        false => (&so[..rank - 2], rows),
    };
    if l.graph.operand(id, 2).is_some() && matrices > 1 {
        return Err(Error::internal("a bias on a batch of different matrices"));
    }
    let over_a = broadcast(if batch.is_empty() { &[] } else { &sa[..sa.len() - 2] }, batch);
    let over_b = broadcast(if batch.is_empty() { &[] } else { &sb[..sb.len() - 2] }, batch);
    let over_out = dense(batch);
    let outer = |i: usize| Loop {
        weights: over_b[i] as usize,
        ..Loop::over(batch[i], over_a[i] as usize * rows * depth, over_out[i] as usize * rows * n)
    };
    let mut sources = Vec::new();
    let then = l.apply(id, Expr::Operand(0), then, &mut sources)?;
    let mut gemm = RowMajorGemm {
        outer: (0..batch.len()).map(outer).collect(),
        channels: Loop::over(n, 0, 1),
        rows: Loop::ONCE,
        columns: Loop::over(rows, row, n),
        reduce: vec![Loop::reading(depth, step)],
        tile: tile(rows),
        wide: rows >= if rank == 2 { FEWEST_IMAGES } else { FEWEST_ROWS },
        bias: l.graph.operand(id, 2).is_some(),
        bytes: l.schedule.has_byte_weights(id, 1),
        then,
    };
    gemm.drop_single_trips();
    gemm.wide &= gemm.is_tiled();
    let weights = match (&l.graph.node(b).op, gemm.wide) {
        (Op::Weight(_), true) if tb => l.packed(b, Wide(Rows(matrices, n)))?,
        (Op::Weight(_), true) => l.packed(b, Wide(Columns(matrices)))?,
        (Op::Weight(_), false) if tb => l.matrix((id, 1), Rows(matrices, n))?,
        (Op::Weight(_), false) => l.matrix((id, 1), Columns(matrices))?,
        _ => l.pack_at_run_time(b, tb, [matrices, n, depth], gemm.block())?,
    };
    let bias = match gemm.wide {
        true => l.packed_operand(id, 2, Wide(Bias(1)))?,
        false => l.packed_operand(id, 2, Bias(1))?,
    };
    let input = l.place(a)?;
    l.gemm(id, gemm, [input, weights], bias, &sources)
}

/// A product over an axis without elements: its bias, or 0.
fn sum_of_no_products(l: &mut Lowering<'_, '_>, id: NodeId, then: &Epilogue) -> Result<()> {
    match l.graph.operand(id, 2) {
        Some(_) => elementwise(l, id, [2], Expr::Operand(1), then),
        None => elementwise(l, id, [], Expr::number(0.0), then),
    }
}

impl Lowering<'_, '_> {
    /// The matrix that a node has for weights in a slot, as bytes if it is scheduled so.
    pub(in crate::kernels) fn matrix(
        &mut self,
        (id, slot): (NodeId, usize),
        packing: impl Packing,
    ) -> Result<Place> {
        let weight = self.operand(id, slot)?;
        match self.schedule.has_byte_weights(id, slot) {
            true => self.packed(weight, InBytes(packing)),
            false => self.packed(weight, packing),
        }
    }

    /// The step of a product, whose result is row-major.
    fn gemm(
        &mut self,
        id: NodeId,
        mut gemm: RowMajorGemm,
        [input, weights]: [Place; 2],
        bias: Option<Place>,
        sources: &[NodeId],
    ) -> Result<()> {
        gemm.drop_single_trips();
        let mut args = vec![(Role::In, input), (Role::Weights, weights)];
        args.extend(bias.map(|bias| (Role::Bias, bias)));
        for (&source, i) in sources.iter().zip(1..) {
            args.push((Role::Operand(i), self.place(source)?));
        }
        args.push((Role::Out, self.make(id)));
        args.extend((gemm.scratch() > 0).then_some((Role::Scratch, Place::of(Base::Worker))));
        self.step(gemm, args)
    }

    /// The input with its zero border made explicit, so that kernels read without bounds checks.
    pub(in crate::kernels) fn padded(
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
        self.border(self.ty(x), &outer, &[0, 0, top, left], 0.0, [out, place])?;
        Ok((out, [height, width]))
    }

    /// `[n/b][depth][b]` per matrix, in blocks of b channels, from a right-hand operand that is only known at run
    /// time.
    fn pack_at_run_time(
        &mut self,
        b: NodeId,
        turned: bool,
        [matrices, n, depth]: [usize; 3],
        block: usize,
    ) -> Result<Place> {
        let from = self.place(b)?;
        let blocks = n.div_ceil(block);
        let ty = TensorType::new(DType::F32, &[matrices, blocks, depth, block]);
        let out = self.scratch(ty.bytes());
        if !n.is_multiple_of(block) {
            self.fill(Nest::collapsed(&[ty.elements()], &[vec![1]]), ty.dtype, out, 0.0)?;
        }
        let (along_n, along_k) = if turned { (depth, 1) } else { (1, n) };
        let (whole, rest) = (n / block, n % block);
        let parts = [(0, whole, block), (whole, 1, rest)];
        let natural = dense(&ty.shape());
        for (first, count, lanes) in parts {
            if count == 0 || lanes == 0 {
                continue;
            }
            let strides = [n * depth, along_n * block, along_k, along_n];
            let strides = strides.map(|s| s as isize).to_vec();
            let at = |place: Place, elements: usize| place.further(elements * ty.dtype.size());
            let (to, from) =
                (at(out, first * natural[1] as usize), at(from, first * along_n * block));
            let dims = [matrices, count, depth, lanes];
            self.copy(Nest::collapsed(&dims, &[natural.clone(), strides]), DType::F32, to, from)?;
        }
        Ok(out)
    }
}

/// Pixels per tile for rows of `count`: as few tiles as fit, then as even as can be.
fn tile(count: usize) -> usize {
    count.div_ceil(count.div_ceil(TILE).max(1)).max(1)
}
