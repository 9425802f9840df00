//! Weights in the order in which kernels read them.
//!
//! A plan says for each constant which weight it is of and how that is packed; [`Packed`] is both, and
//! so are its type and its size, without packing anything. The bytes are made when the weights section
//! is written ([`PackedWeights`]), each constant in *stripes*: parts that are written independently, so
//! by any number of threads. Packings are in `kernels`, beside the kernels that read them.

mod narrow;
mod packed_weights;
mod places;
mod section_layout;
mod share;
mod vector;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::ir::{DType, TensorType, Weight};

pub use narrow::OutOfRange;
pub use packed_weights::PackedWeights;
pub(crate) use places::Places;
pub(crate) use section_layout::SectionLayout;
pub(crate) use vector::{InBlocks, Plain};

/// How a weight is laid out in the weights section. Two are the same when their `Debug` texts are.
pub(crate) trait Packing: fmt::Debug + Send + Sync + 'static {
    /// Whether weights of such a type can be packed like this.
    fn accepts(&self, ty: &TensorType) -> bool;

    /// The type of the elements as stored: the weight's, unless they are made of others.
    fn dtype(&self, ty: &TensorType) -> DType {
        ty.dtype
    }

    /// Extents as stored: one run of all elements, unless it says otherwise.
    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        let bytes: usize = self.order(ty).stripes().into_iter().sum();
        vec![bytes / self.dtype(ty).size()]
    }

    /// The order of elements of a weight of such a type.
    fn order(&self, ty: &TensorType) -> Box<dyn Order>;

    /// What it is known by among all packings.
    fn key(&self) -> String {
        format!("{self:?}")
    }
}

/// How the elements of one weight become its packed form.
pub(crate) trait Order: Sync {
    /// Sizes in bytes of the stripes, which follow each other.
    fn stripes(&self) -> Vec<usize>;

    /// Writes all of a stripe, from the whole weight.
    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]);

    /// No packed element's magnitude is more than this times the largest of the weight.
    fn gain(&self) -> f64 {
        1.0
    }
}

/// An element of a weight as orders move it: four little-endian bytes, at any address. Nearly all packing moves them and never looks inside.
pub(crate) type Word = [u8; 4];

/// The element as a number.
pub(crate) fn float(word: Word) -> f64 {
    f64::from(f32::from_le_bytes(word))
}

/// The contents of a constant: a weight, and how it is packed. Packs when it is asked
/// for bytes, and is cheap to clone. Two are equal when their packed hashes are.
#[derive(Debug, Clone)]
pub struct Packed {
    weight: Weight,
    /// The weight's type.
    ty: TensorType,
    packing: Arc<dyn Packing>,
}

impl Packed {
    /// A weight to be packed.
    ///
    /// # Errors
    /// [`Problem::Internal`](crate::error::Problem::Internal) for a weight of which only the hash is
    /// known, and for a type that the packing is not for.
    pub(crate) fn new(weight: &Weight, ty: &TensorType, packing: impl Packing) -> Result<Packed> {
        if !weight.is_known(ty) {
            return Err(Error::internal("the weight's contents are not known, only its hash"));
        }
        if !packing.accepts(ty) {
            return Err(Error::internal(format!("no weight of type {ty} is packed like this")));
        }
        let packing = Arc::new(packing);
        Ok(Packed { weight: weight.clone(), ty: ty.clone(), packing })
    }

    /// Contents of which only the hash is known, as read from a dump.
    pub fn absent(hash: u64) -> Packed {
        let ty = TensorType::new(DType::U8, &[]);
        let (weight, packing) = (Weight::absent(hash), Arc::new(Plain));
        Packed { weight, ty, packing }
    }

    /// Whether it is this weight, of this type and packed like this.
    pub(crate) fn is_of(&self, weight: &Weight, ty: &TensorType, packing: &dyn Packing) -> bool {
        (&self.weight, &self.ty) == (weight, ty) && self.packing.key() == packing.key()
    }

    /// Whether more is known than a hash.
    pub(crate) fn is_known(&self) -> bool {
        self.weight.is_known(&self.ty)
    }

    /// Element type and extents as stored.
    pub(crate) fn stored_type(&self) -> TensorType {
        TensorType::new(self.packing.dtype(&self.ty), &self.packing.extents(&self.ty))
    }

    /// The packed elements as dense little-endian bytes; `None` when only the hash is known.
    pub fn bytes(&self) -> Option<Bytes> {
        let from = self.weight.bytes(&self.ty)?;
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

    /// The order of elements.
    fn order(&self) -> Box<dyn Order> {
        self.packing.order(&self.ty)
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Packed) -> bool {
        let alike = (self.packing.key(), &self.ty) == (other.packing.key(), &other.ty);
        // Mostly enough, and then nothing is packed.
        (alike && self.weight == other.weight) || self.hash() == other.hash()
    }
}
