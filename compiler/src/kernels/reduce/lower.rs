//! Reductions: row-major ones, and means of planes that lie in blocks.

use super::Reduction;
use crate::error::Result;
use crate::ir::expr::Expr;
use crate::ir::{Epilogue, NodeId, Reduce, ReduceKind};
use crate::kernels::block_mean::BlockMean;
use crate::kernels::lowering::{InBlocks, Lowering, dense};
use crate::kernels::map::lower::elementwise;
use crate::machine::BLOCK;
use crate::plan::{Nest, Role};

/// A reduction of the operand.
pub(in crate::kernels) fn lower(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    reduce: &Reduce,
) -> Result<()> {
    let x = l.operand(id, 0)?;
    if let Some(from) = l.as_made_in_blocks(x).filter(|_| is_mean_of_planes(reduce)) {
        return mean_of_planes(l, id, from);
    }
    if l.is_empty(x) {
        let nothing = Expr::number(of_nothing(reduce.kind));
        return elementwise(l, id, [], nothing, &Epilogue::none());
    }
    let ty = l.ty(x).clone();
    let (shape, natural) = (ty.shape(), dense(&ty.shape()));
    let split = |reduced: bool| -> (Vec<usize>, Vec<isize>) {
        let axes = (0..shape.len()).filter(|a| reduce.axes.contains(a) == reduced);
        axes.map(|a| (shape[a], natural[a])).unzip()
    };
    let (kept, kept_strides) = split(false);
    let (over, over_strides) = split(true);
    let from = l.place(x)?;
    let out = l.make(id);
    let reduction = Reduction {
        kind: reduce.kind,
        dtype: ty.dtype,
        kept: Nest::collapsed(&kept, &[dense(&kept), kept_strides]),
        reduced: Nest::collapsed(&over, &[over_strides]),
    };
    l.step(reduction, [(Role::Out, out), (Role::In, from)])
}

/// What no elements are reduced to: what changes nothing when it is combined with another. Integers get the
/// one of their type that is nearest.
fn of_nothing(kind: ReduceKind) -> f64 {
    match kind {
        ReduceKind::Sum | ReduceKind::Mean => 0.0,
        ReduceKind::Max => f64::NEG_INFINITY,
        ReduceKind::Min => f64::INFINITY,
    }
}

/// Whether it is over height and width.
fn is_mean_of_planes(reduce: &Reduce) -> bool {
    reduce.kind == ReduceKind::Mean && reduce.axes == [2, 3]
}

fn mean_of_planes(l: &mut Lowering<'_, '_>, id: NodeId, from: InBlocks) -> Result<()> {
    let (layout, out) = (from.layout, l.make(id));
    let [h, w] = layout.size;
    let strides = [
        vec![(layout.blocks() * BLOCK) as isize, BLOCK as isize],
        vec![layout.image as isize, layout.block() as isize],
    ];
    let mean = BlockMean {
        kept: Nest::collapsed(&[layout.images, layout.blocks()], &strides),
        reduced: Nest {
            dims: vec![h, w],
            strides: vec![vec![layout.row() as isize, BLOCK as isize]],
        },
        scale: 1.0 / (h * w) as f64,
        bytes: layout.bytes,
    };
    l.step(mean, [(Role::Out, out), (Role::In, from.at)])
}
