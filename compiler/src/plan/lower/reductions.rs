//! Reductions, softmax, pooling and indexing.

use super::blocked::InBlocks;
use super::{Lowering, around, dense, four};
use crate::error::Result;
use crate::ir::{NodeId, Pool, Reduce, ReduceKind};
use crate::plan::kernel::{ArgMax, BlockMean, Gather, Kernel, Nest, Pooling, Reduction, Softmax};
use crate::plan::tile::BLOCK;

impl Lowering<'_, '_> {
    pub(super) fn softmax(&mut self, id: NodeId, axis: usize, log: bool) -> Result<()> {
        let [outer, extent, inner] = around(&self.graph.ty(id).shape(), axis);
        let from = self.place(self.operand(id, 0)?)?;
        let out = self.make(id);
        self.step(Kernel::Softmax(Softmax { outer, extent, inner, log }), vec![out, from]);
        Ok(())
    }

    pub(super) fn pool(&mut self, id: NodeId, pool: &Pool) -> Result<()> {
        let x = self.operand(id, 0)?;
        let [n, c, h, w] = four(self.graph.ty(x))?;
        let [_, _, oh, ow] = four(self.graph.ty(id))?;
        let from = self.place(x)?;
        let out = self.make(id);
        let pooling = Pooling {
            kind: pool.kind,
            planes: n * c,
            input: [h, w],
            output: [oh, ow],
            window: pool.window,
        };
        self.step(Kernel::Pool(pooling), vec![out, from]);
        Ok(())
    }

    pub(super) fn reduce(&mut self, id: NodeId, reduce: &Reduce) -> Result<()> {
        let x = self.operand(id, 0)?;
        if let Some(from) = self.planes_of_blocks(x).filter(|_| is_mean_of_planes(reduce)) {
            let (l, out) = (from.layout, self.make(id));
            let [h, w] = l.size;
            let strides = [
                vec![(l.blocks() * BLOCK) as isize, BLOCK as isize],
                vec![l.image as isize, l.block() as isize],
            ];
            let mean = BlockMean {
                kept: Nest::collapsed(&[l.images, l.blocks()], &strides),
                reduced: Nest {
                    dims: vec![h, w],
                    strides: vec![vec![l.row() as isize, BLOCK as isize]],
                },
                scale: 1.0 / (h * w) as f64,
            };
            self.step(Kernel::BlockMean(mean), vec![out, from.at]);
            return Ok(());
        }
        let ty = self.graph.ty(x);
        let (shape, natural) = (ty.shape(), dense(&ty.shape()));
        let split = |reduced: bool| -> (Vec<usize>, Vec<isize>) {
            let axes = (0..shape.len()).filter(|a| reduce.axes.contains(a) == reduced);
            axes.map(|a| (shape[a], natural[a])).unzip()
        };
        let (kept, kept_strides) = split(false);
        let (over, over_strides) = split(true);
        let from = self.place(x)?;
        let out = self.make(id);
        let reduction = Reduction {
            kind: reduce.kind,
            dtype: ty.dtype,
            kept: Nest::collapsed(&kept, &[dense(&kept), kept_strides]),
            reduced: Nest::collapsed(&over, &[over_strides]),
        };
        self.step(Kernel::Reduce(reduction), vec![out, from]);
        Ok(())
    }

    /// The value as it lies in blocks, if it does and has no row-major copy, and no channel is made up.
    fn planes_of_blocks(&self, x: NodeId) -> Option<InBlocks> {
        let made = self.blocked.get(&x).filter(|_| !self.places.contains_key(&x))?;
        made.iter().find(|value| value.layout.is_full()).copied()
    }

    pub(super) fn gather(&mut self, id: NodeId, axis: usize) -> Result<()> {
        let graph = self.graph;
        let (x, index) = (self.operand(id, 0)?, self.operand(id, 1)?);
        let [outer, extent, inner] = around(&graph.ty(x).shape(), axis);
        let gather = Gather {
            outer,
            extent,
            inner,
            count: graph.ty(index).elements(),
            index: graph.ty(index).dtype,
            dtype: graph.ty(x).dtype,
        };
        let (from, index) = (self.place(x)?, self.place(index)?);
        let out = self.make(id);
        self.step(Kernel::Gather(gather), vec![out, from, index]);
        Ok(())
    }

    pub(super) fn argmax(&mut self, id: NodeId, axis: usize, last: bool) -> Result<()> {
        let x = self.operand(id, 0)?;
        let dtype = self.graph.ty(x).dtype;
        let [outer, extent, inner] = around(&self.graph.ty(x).shape(), axis);
        let from = self.place(x)?;
        let out = self.make(id);
        self.step(Kernel::ArgMax(ArgMax { outer, extent, inner, last, dtype }), vec![out, from]);
        Ok(())
    }
}

/// Whether it is over height and width.
fn is_mean_of_planes(reduce: &Reduce) -> bool {
    reduce.kind == ReduceKind::Mean && reduce.axes == [2, 3]
}
