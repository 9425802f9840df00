//! Weights in the order in which kernels read them.
//!
//! A plan says for each constant which weight it is of and how that is packed; [`Packed`] is both, and
//! so are its type and its size, without packing anything. The bytes are made when the weights section
//! is written ([`PackedWeights`]), each constant in *stripes*: parts that are written independently, so
//! by any number of threads.

mod halves;
mod matrix;
mod places;
mod section;
mod share;
mod strassen;
mod tiles;
mod vector;
mod winograd;

use bytes::Bytes;

use super::kernel::CHANNEL_BLOCK;
use crate::error::{Error, Result};
use crate::ir::{DType, TensorType, Weight};
use matrix::Matrix;
use places::Places;
use strassen::Strassen;
use tiles::{Narrow, Tiles};
use vector::{Plain, Vector};
use winograd::Winograd;

pub use halves::BeyondHalf;
pub use section::PackedWeights;

/// How a weight is laid out in the weights section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::plan) enum Packing {
    /// As in the model.
    Plain,
    /// `[matrices][m][depth]` as `[matrices][m/8][depth][8]`, zeros beyond `m`: so many matrices with
    /// so many rows each.
    ///
    /// A convolution's weight `[m, c/groups, kh, kw]` is `groups` matrices of `m/groups` rows; one row
    /// is contiguous, so the contracted axes need no reordering.
    Rows(usize, usize),
    /// `[matrices][depth][m]` as `[matrices][m/8][depth][8]`, zeros beyond `m`: the right-hand operand
    /// of a matrix product. So many matrices.
    Columns(usize),
    /// A bias vector for so many groups, each padded to whole channel blocks.
    Bias(usize),
    /// A convolution's weights for a tile contraction.
    Tiles(TilePacking),
    /// The same where groups are parts of a block.
    Narrow,
    /// The same of 3×3 filters in Winograd's transformed domain, with tiles of so many outputs.
    Winograd(TilePacking, usize),
    /// The same for Strassen's products of halves.
    Strassen(TilePacking),
    /// A bias vector in blocks of 16: so many segments, each filled up to whole blocks.
    Blocks(usize),
    /// A matrix of so many groups, whose rows are segments of so many, with rows and columns of
    /// each filled up to whole blocks, and then as `Rows`.
    Filled { groups: usize, rows: usize, fill_rows: bool, fill_columns: bool },
}

/// How a convolution's weights are packed for tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::plan) struct TilePacking {
    /// Groups of channels, as they are computed.
    pub(in crate::plan) groups: usize,
    /// How many of the weight's groups each of them is, with zeros between one and another.
    pub(in crate::plan) joined: usize,
    /// Segments of all output channels, each filled up to whole blocks.
    pub(in crate::plan) out_segments: usize,
    /// Segments of all input channels; `None` for a row-major input.
    pub(in crate::plan) in_segments: Option<usize>,
}

/// How the elements of one weight become its packed form.
trait Order: Sync {
    /// Sizes in bytes of the stripes, which follow each other.
    fn stripes(&self) -> Vec<usize>;

    /// Writes all of a stripe, from the whole weight.
    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]);

    /// No packed element's magnitude is more than this times the largest of the weight.
    fn gain(&self) -> f64 {
        1.0
    }
}

/// An element of a packed weight: four little-endian bytes, at any address. Nearly all packing moves
/// them and never looks inside.
type Word = [u8; 4];

fn float(word: Word) -> f64 {
    f64::from(f32::from_le_bytes(word))
}

/// The contents of a constant: a weight and how it is packed. Packs when it is asked for bytes, and
/// is cheap to clone. Two are equal when their packed hashes are.
#[derive(Debug, Clone)]
pub struct Packed {
    weight: Weight,
    /// The weight's type.
    ty: TensorType,
    packing: Packing,
}

impl Packed {
    /// A weight to be packed.
    ///
    /// # Errors
    /// [`Problem::Internal`](crate::error::Problem::Internal) for a weight of which only the hash is
    /// known, and for a type that the packing is not for.
    pub(in crate::plan) fn new(
        weight: &Weight,
        ty: &TensorType,
        packing: Packing,
    ) -> Result<Packed> {
        if !weight.is_known(ty) {
            return Err(Error::internal("the weight's contents are not known, only its hash"));
        }
        if packing != Packing::Plain && ty.dtype != DType::F32 {
            return Err(Error::internal("only weights of float32 are packed"));
        }
        let axes = match packing {
            Packing::Tiles(_) | Packing::Winograd(..) | Packing::Strassen(_) => ty.axes.len() == 4,
            Packing::Narrow | Packing::Columns(_) | Packing::Filled { .. } => ty.axes.len() >= 2,
            Packing::Plain | Packing::Rows(..) | Packing::Bias(_) | Packing::Blocks(_) => true,
        };
        match axes {
            true => Ok(Packed { weight: weight.clone(), ty: ty.clone(), packing }),
            false => Err(Error::internal(format!("no weight of type {ty} is packed like this"))),
        }
    }

    /// Contents of which only the hash is known, as read from a dump.
    pub fn absent(hash: u64) -> Packed {
        let ty = TensorType::new(DType::U8, &[]);
        Packed { weight: Weight::absent(hash), ty, packing: Packing::Plain }
    }

    /// Element type and extents as stored.
    pub(in crate::plan) fn stored_type(&self) -> TensorType {
        let dims = match self.packing {
            Packing::Plain => return self.ty.clone(),
            Packing::Bias(_) => {
                let [matrices, blocks, _] = self.matrix().extents();
                vec![matrices, blocks, CHANNEL_BLOCK]
            }
            Packing::Rows(..) | Packing::Columns(_) | Packing::Filled { .. } => {
                let [matrices, blocks, width] = self.matrix().extents();
                vec![matrices, blocks, width, CHANNEL_BLOCK]
            }
            Packing::Tiles(_)
            | Packing::Narrow
            | Packing::Winograd(..)
            | Packing::Strassen(_)
            | Packing::Blocks(_) => {
                let bytes: usize = self.order().stripes().iter().sum();
                vec![bytes / size_of::<Word>()]
            }
        };
        TensorType::new(DType::F32, &dims)
    }

    /// The packed elements as dense little-endian bytes; `None` when only the hash is known.
    pub fn bytes(&self) -> Option<Bytes> {
        let from = self.weight.bytes(&self.ty)?;
        if self.packing == Packing::Plain {
            return Some(from);
        }
        let order = self.order();
        let stripes = order.stripes();
        let mut packed = vec![0; stripes.iter().sum()];
        let mut rest = &mut packed[..];
        for (stripe, bytes) in stripes.into_iter().enumerate() {
            let (to, after) = rest.split_at_mut(bytes);
            order.fill(&from, stripe, to);
            rest = after;
        }
        Some(packed.into())
    }

    /// The first eight bytes of the BLAKE3 of the packed elements, which packs them.
    pub fn hash(&self) -> u64 {
        self.bytes().map_or(self.weight.hash(), |bytes| Weight::from_bytes(bytes).hash())
    }

    fn order(&self) -> Box<dyn Order> {
        let shape = self.ty.shape();
        match self.packing {
            Packing::Plain => Box::new(Plain { bytes: self.ty.bytes() }),
            Packing::Rows(..) | Packing::Columns(_) | Packing::Bias(_) | Packing::Filled { .. } => {
                Box::new(self.matrix())
            }
            Packing::Tiles(packing) => Box::new(Tiles::new(&shape, packing)),
            Packing::Narrow => Box::new(Narrow::new(&shape)),
            Packing::Winograd(packing, outputs) => {
                Box::new(Winograd::new(&shape, packing, outputs))
            }
            Packing::Strassen(packing) => Box::new(Strassen::new(&shape, packing)),
            Packing::Blocks(segments) => {
                Box::new(Vector { places: Places::in_blocks(self.ty.elements(), segments) })
            }
        }
    }

    /// How a weight that is packed as matrices is.
    fn matrix(&self) -> Matrix {
        let shape = self.ty.shape();
        match self.packing {
            Packing::Rows(matrices, m) => {
                let depth = self.ty.elements() / (matrices * m).max(1);
                Matrix::of_rows(matrices, m, depth)
            }
            Packing::Columns(matrices) => {
                let (depth, m) = (shape[shape.len() - 2], shape[shape.len() - 1]);
                Matrix::of_columns(matrices, m, depth)
            }
            Packing::Bias(groups) => Matrix::of_rows(groups, self.ty.elements() / groups.max(1), 1),
            Packing::Filled { groups, rows, fill_rows, fill_columns } => {
                let (height, width) = (shape[0], shape[1]);
                let filled = |n: usize, segments: usize, fill: bool| match fill {
                    true => Places::in_blocks(n, segments),
                    false => Places::all(n),
                };
                let rows = filled(height, height / rows.max(1), fill_rows);
                Matrix::new(groups, width, rows, filled(width, 1, fill_columns))
            }
            Packing::Plain
            | Packing::Tiles(_)
            | Packing::Narrow
            | Packing::Winograd(..)
            | Packing::Strassen(_)
            | Packing::Blocks(_) => Matrix::of_rows(1, self.ty.elements(), 1),
        }
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Packed) -> bool {
        let alike = (self.packing, &self.ty) == (other.packing, &other.ty);
        // Mostly enough, and then nothing is packed.
        (alike && self.weight == other.weight) || self.hash() == other.hash()
    }
}
