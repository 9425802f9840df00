//! The code of the transforms.

use super::spec::Transform;
use crate::codegen::{Leaf, LeafCode, x86};
use crate::error::{Error, Result};
use crate::machine::Vectors;

impl Leaf for Transform {
    fn name(&self) -> String {
        "transform".into()
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        let isa = x86::isa(vectors).ok_or_else(|| Error::internal("a transform needs AVX2"))?;
        x86::transform(isa, self).map(LeafCode::Assembled)
    }
}
