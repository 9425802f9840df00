//! How weights are stored.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::ir::{DType, NodeId, TensorType, Weight};
use crate::plan::kernel::CHANNEL_BLOCK;
use crate::plan::tile::BLOCK;
use crate::plan::{Constant, arena, pack};

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
    /// A convolution's weights for a tile contraction.
    Tiles(TilePacking),
    /// The same where groups are parts of a block.
    Narrow,
    /// The same of 3×3 filters in Winograd's transformed domain, with tiles of so many outputs.
    Winograd(TilePacking, usize),
    /// A bias vector in blocks of 16: so many segments, each filled up to whole blocks.
    Blocks(usize),
    /// A matrix of so many groups, whose rows are segments of so many, with rows and columns of
    /// each filled up to whole blocks, and then as `Rows`.
    Filled { groups: usize, rows: usize, fill_rows: bool, fill_columns: bool },
}

/// How a convolution's weights are packed for tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TilePacking {
    /// Groups of channels.
    pub(super) groups: usize,
    /// Segments of all output channels.
    pub(super) out_segments: usize,
    /// Segments of all input channels; `None` for a row-major input.
    pub(super) in_segments: Option<usize>,
    /// Blocks of output channels of a tile.
    pub(super) tile: usize,
}

/// The weights section while plans are made: what is stored, and where.
///
/// A constant is known by the weight it comes from and by its packing, never by its contents. So two
/// weights that happen to be equal are stored twice, and where constants lie depends on the plans
/// alone: an artifact's weights can be replaced by others.
#[derive(Default)]
pub(super) struct Section {
    stored: BTreeMap<(NodeId, Packing), Constant>,
    /// Its length so far.
    pub(super) bytes: usize,
}

impl Section {
    /// The constant, which `make` packs if no plan has stored it yet.
    pub(super) fn store(
        &mut self,
        id: NodeId,
        packing: Packing,
        make: impl FnOnce() -> Result<Constant>,
    ) -> Result<Constant> {
        if let Some(constant) = self.stored.get(&(id, packing)) {
            return Ok(constant.clone());
        }
        let offset = arena::round_up(self.bytes);
        let constant = Constant { offset, ..make()? };
        self.bytes = offset + constant.ty.bytes();
        self.stored.insert((id, packing), constant.clone());
        Ok(constant)
    }
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
        Packing::Tiles(tiles) | Packing::Winograd(tiles, _) => {
            let order = pack::TileOrder {
                groups: tiles.groups,
                out_segments: (tiles.out_segments / tiles.groups).max(1),
                in_segments: tiles.in_segments.map(|s| (s / tiles.groups).max(1)),
                tile: tiles.tile,
            };
            let shape = <[usize; 4]>::try_from(shape)
                .map_err(|_| Error::internal("a convolution's weight has four axes"))?;
            let packed = match packing {
                Packing::Winograd(_, outputs) => pack::winograd(&values()?, shape, &order, outputs),
                _ => pack::tiles(&values()?, shape, &order),
            };
            Ok((TensorType::new(DType::F32, &[packed.len()]), Weight::from_f32(&packed)))
        }
        Packing::Narrow => {
            let packed = pack::narrow(&values()?, shape[0], shape[1]);
            Ok((TensorType::new(DType::F32, &[packed.len()]), Weight::from_f32(&packed)))
        }
        Packing::Blocks(segments) => {
            let packed = pack::filled(&values()?, segments);
            Ok((TensorType::new(DType::F32, &[packed.len()]), Weight::from_f32(&packed)))
        }
        Packing::Filled { groups, rows, fill_rows, fill_columns } => {
            let mut matrix = values()?;
            let (height, mut width) = (shape[0], shape[1]);
            if fill_columns {
                matrix = pack::filled(&matrix, height);
                width = width.next_multiple_of(BLOCK);
            }
            let mut filled_rows = height;
            if fill_rows {
                let segments = height / rows;
                filled_rows = segments * rows.next_multiple_of(BLOCK);
                matrix = pack::filled_rows(&matrix, segments, width);
            }
            let m = filled_rows / groups;
            let packed = pack::rows(&matrix, groups, m, width);
            let dims = [groups, m.div_ceil(CHANNEL_BLOCK), width, CHANNEL_BLOCK];
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
