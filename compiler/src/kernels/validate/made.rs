//! What a step makes of an element, by its kernel.

use super::{Check, Site, Validation};
use crate::kernels::argmax::ArgMax;
use crate::kernels::block_mean::BlockMean;
use crate::kernels::block_pool::BlockPool;
use crate::kernels::conv::blocked::BlockedConv;
use crate::kernels::conv::strassen::StrassenOutput;
use crate::kernels::conv::winograd::WinogradOutput;
use crate::kernels::gather::Gather;
use crate::kernels::gemm::RowMajorGemm;
use crate::kernels::map::Map;
use crate::kernels::pool::Pooling;
use crate::kernels::reduce::Reduction;
use crate::kernels::scatter::Scatter;
use crate::kernels::softmax::Softmax;
use crate::plan::Role;

impl Validation<'_> {
    /// A step makes an element as its operator says.
    pub(super) fn made(&mut self, site: Site<'_>, role: Role) -> Check {
        let kernel = self.plan.steps[site.run.step].kernel.clone();
        if let Some(map) = kernel.get::<Map>() {
            return self.mapped(&site, map);
        }
        if let Some(gemm) = kernel.get::<RowMajorGemm>() {
            return self.product(&site, gemm);
        }
        if let Some(conv) = kernel.get::<BlockedConv>() {
            return self.in_blocks_by_definition(&site, conv);
        }
        if let Some(output) = kernel.get::<WinogradOutput>() {
            return self.by_winograd(&site, role, output);
        }
        if let Some(output) = kernel.get::<StrassenOutput>() {
            return self.by_strassen(&site, output);
        }
        if let Some(mean) = kernel.get::<BlockMean>() {
            return self.mean_of_planes(&site, mean);
        }
        if let Some(pool) = kernel.get::<BlockPool>() {
            return self.pool_of_blocks(&site, pool);
        }
        if let Some(pool) = kernel.get::<Pooling>() {
            return self.pool_of_planes(&site, pool);
        }
        if let Some(reduction) = kernel.get::<Reduction>() {
            return self.reduction(&site, reduction);
        }
        if let Some(softmax) = kernel.get::<Softmax>() {
            return self.softmax(&site, softmax);
        }
        if let Some(argmax) = kernel.get::<ArgMax>() {
            return self.argmax(&site, argmax);
        }
        if let Some(scatter) = kernel.get::<Scatter>() {
            return self.scatter(&site, scatter);
        }
        match kernel.get::<Gather>() {
            Some(gather) => self.gather(&site, gather),
            None => Err(format!("{} makes no value", kernel.name())),
        }
    }
}
