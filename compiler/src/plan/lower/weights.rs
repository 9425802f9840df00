//! How weights are stored.

use crate::error::{Error, Result};
use crate::ir::{DType, TensorType, Weight};
use crate::plan::kernel::CHANNEL_BLOCK;
use crate::plan::pack;

/// How a weight is laid out in the weights section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Packing {
    /// As in the model.
    Plain,
    /// `pack::rows` of so many matrices with so many rows each.
    Rows(usize, usize),
    /// `pack::columns` of so many matrices.
    Columns(usize),
    /// A bias vector for so many groups, each padded to whole channel blocks.
    Bias(usize),
}

/// The weight as the packing stores it.
pub(super) fn pack_weight(
    ty: &TensorType,
    weight: &Weight,
    packing: Packing,
) -> Result<(TensorType, Weight)> {
    let values = || {
        weight
            .to_f32(ty)
            .ok_or_else(|| Error::internal("the weight's contents are not known, only its hash"))
    };
    let shape = ty.shape();
    match packing {
        Packing::Plain => {
            let bytes = weight.bytes(ty);
            let bytes =
                bytes.ok_or_else(|| Error::internal("only the hash of a weight is known"))?;
            Ok((ty.clone(), Weight::from_bytes(bytes)))
        }
        Packing::Rows(matrices, m) => {
            let depth = ty.elements() / (matrices * m).max(1);
            let packed = pack::rows(&values()?, matrices, m, depth);
            let dims = [matrices, m.div_ceil(CHANNEL_BLOCK), depth, CHANNEL_BLOCK];
            Ok((TensorType::new(DType::F32, &dims), Weight::from_f32(&packed)))
        }
        Packing::Columns(matrices) => {
            let (depth, m) = (shape[shape.len() - 2], shape[shape.len() - 1]);
            let packed = pack::columns(&values()?, matrices, m, depth);
            let dims = [matrices, m.div_ceil(CHANNEL_BLOCK), depth, CHANNEL_BLOCK];
            Ok((TensorType::new(DType::F32, &dims), Weight::from_f32(&packed)))
        }
        Packing::Bias(groups) => {
            let m = ty.elements() / groups.max(1);
            let packed = pack::rows(&values()?, groups, m, 1);
            let dims = [groups, m.div_ceil(CHANNEL_BLOCK), CHANNEL_BLOCK];
            Ok((TensorType::new(DType::F32, &dims), Weight::from_f32(&packed)))
        }
    }
}
