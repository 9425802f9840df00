//! What an executable tests itself with.

use cardinal_runtime::DType;
use prost::Message;

use crate::tensors::Array;
use crate::verdict::Tolerance;

/// An inference on random inputs, and what came out. The inputs follow from the seed.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// Seed of the inputs: floats uniform in [-1, 1), integers 0 or 1.
    #[prost(uint64, tag = "1")]
    pub seed: u64,
    /// The outputs, in the model's order.
    #[prost(message, repeated, tag = "2")]
    pub outputs: Vec<Output>,
    /// How much may come out otherwise than is stored, of the largest magnitude of an output, besides
    /// what always may.
    #[prost(double, tag = "3")]
    pub rtol: f64,
}

/// A dense row-major tensor of little-endian elements.
#[derive(Clone, PartialEq, Message)]
pub struct Output {
    /// A [`DType`] code.
    #[prost(uint32, tag = "1")]
    pub dtype: u32,
    /// Extents, outermost first.
    #[prost(uint64, repeated, tag = "2")]
    pub shape: Vec<u64>,
    /// The elements.
    #[prost(bytes = "vec", tag = "3")]
    pub bytes: Vec<u8>,
}

impl Sample {
    /// The sample that a seed and the outputs for it make.
    #[cfg(feature = "compiler")]
    pub(crate) fn new(seed: u64, outputs: &[Array], rtol: f64) -> Sample {
        Sample { seed, outputs: outputs.iter().map(Output::from).collect(), rtol }
    }

    /// How much may come out otherwise than is stored.
    pub(super) fn tolerance(&self) -> Tolerance {
        let Tolerance { rtol, atol } = Tolerance::DEFAULT;
        Tolerance { rtol: rtol + self.rtol, atol }
    }

    /// The outputs; `None` where they are no tensors.
    pub(super) fn expected(&self) -> Option<Vec<Array>> {
        self.outputs.iter().map(Output::to_array).collect()
    }
}

impl From<&Array> for Output {
    fn from(array: &Array) -> Output {
        Output {
            dtype: array.dtype as u32,
            shape: array.shape.iter().map(|&extent| extent as u64).collect(),
            bytes: array.bytes.clone(),
        }
    }
}

impl Output {
    fn to_array(&self) -> Option<Array> {
        let dtype = DType::from_code(self.dtype)?;
        let shape: Option<Vec<usize>> = self.shape.iter().map(|&n| n.try_into().ok()).collect();
        let shape = shape?;
        let size = shape.iter().try_fold(dtype.size(), |n, &extent| n.checked_mul(extent))?;
        (size == self.bytes.len()).then(|| Array { dtype, shape, bytes: self.bytes.clone() })
    }
}
