//! How many images a run is for: as many as the model was compiled for, or fewer, where its code takes any
//! number up to that.

use crate::dtype::DType;
use crate::error::{Role, RunError};
use crate::manifest::Variant;
use crate::spec::TensorSpec;

/// The images of a run while its tensors are looked at, of which the first says how many there are.
pub(crate) struct Batch<'v> {
    variant: &'v Variant,
    /// As many as the model was compiled for.
    most: usize,
    /// As many as the tensors before have, where the code takes any number.
    there: Option<usize>,
}

impl<'v> Batch<'v> {
    /// For code with such inputs.
    pub(crate) fn new(variant: &'v Variant, inputs: &[TensorSpec]) -> Batch<'v> {
        let first = inputs.first().and_then(|spec| spec.shape.first().copied());
        Batch { variant, most: first.unwrap_or(1), there: None }
    }

    /// How many images there are, once all tensors are checked.
    pub(crate) fn images(&self) -> usize {
        self.there.unwrap_or(self.most)
    }

    /// Checks a tensor's element type and shape.
    pub(crate) fn check(
        &mut self,
        role: Role,
        spec: &TensorSpec,
        dtype: DType,
        shape: &[usize],
    ) -> Result<(), RunError> {
        let mismatch = |expected: TensorSpec| RunError::Mismatch {
            role,
            expected,
            dtype,
            shape: shape.to_vec(),
        };
        let (Some((images, image)), Some((_, own))) =
            (shape.split_first(), spec.shape.split_first())
        else {
            let is_same = dtype == spec.dtype && shape == spec.shape;
            return if is_same { Ok(()) } else { Err(mismatch(spec.clone())) };
        };
        if dtype != spec.dtype || image != own {
            return Err(mismatch(self.expected(spec)));
        }
        match self.count(role, spec, *images)? {
            true => Ok(()),
            false => Err(mismatch(self.expected(spec))),
        }
    }

    /// Checks the size of a tensor in bytes.
    pub(crate) fn check_bytes(
        &mut self,
        role: Role,
        spec: &TensorSpec,
        bytes: usize,
    ) -> Result<(), RunError> {
        let whole = spec.shape.first().map_or(0, |n| spec.bytes().checked_div(*n).unwrap_or(0));
        let is_of_images = whole > 0 && bytes.is_multiple_of(whole);
        let is_right = match is_of_images {
            true => self.count(role, spec, bytes / whole)?,
            false => bytes == spec.bytes(),
        };
        match is_right {
            true => Ok(()),
            false => Err(RunError::Bytes { role, expected: self.expected(spec), given: bytes }),
        }
    }

    /// Whether a tensor has the images that it must have, if only their number may be wrong.
    fn count(&mut self, role: Role, spec: &TensorSpec, given: usize) -> Result<bool, RunError> {
        let own = spec.shape.first().copied().unwrap_or(1);
        if !self.variant.takes_fewer {
            let by = &self.variant.fixed_by;
            let is_short = given < own && own == self.most && !by.is_empty();
            return match is_short {
                true => {
                    Err(RunError::Fixed { role, expected: spec.clone(), given, by: by.clone() })
                }
                false => Ok(given == own),
            };
        }
        if let Some(there) = self.there {
            return Ok(given == there);
        }
        if !(1..=self.most).contains(&given) {
            return Err(RunError::Images { role, expected: spec.clone(), given });
        }
        self.there = Some(given);
        Ok(true)
    }

    /// The type that a tensor must have, with the images that there are.
    fn expected(&self, spec: &TensorSpec) -> TensorSpec {
        match self.there {
            Some(there) => spec.for_images(there),
            None => spec.clone(),
        }
    }
}
