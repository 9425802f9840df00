//! What a tensor has to be: element type and shape, without the elements.

use std::fmt;

use crate::dtype::DType;
use crate::manifest::TensorInfo;

/// Name, element type and shape of a model input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The ONNX value name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Bytes of a dense tensor of this type.
    pub fn bytes(&self) -> usize {
        // Specs of artifacts are checked; no memory is as large as what saturates.
        self.shape.iter().fold(self.dtype.size(), |n, &extent| n.saturating_mul(extent))
    }
}

impl TensorSpec {
    /// The same with so many images as its outermost extent, if it has extents.
    pub fn for_images(&self, images: usize) -> TensorSpec {
        let mut spec = self.clone();
        if let Some(first) = spec.shape.first_mut() {
            *first = images;
        }
        spec
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, TypeText(self.dtype, &self.shape))
    }
}

impl From<&TensorSpec> for TensorInfo {
    fn from(spec: &TensorSpec) -> TensorInfo {
        TensorInfo {
            name: spec.name.clone(),
            dtype: spec.dtype as u32,
            shape: spec.shape.iter().map(|&extent| extent as u64).collect(),
        }
    }
}

/// A tensor's type as dumps write it: `f32[1, 3, 224, 224]`.
pub(crate) struct TypeText<'a>(pub(crate) DType, pub(crate) &'a [usize]);

impl fmt::Display for TypeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.0, self.1)
    }
}
