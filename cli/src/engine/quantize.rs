//! Models that are quantized.

pub(crate) use cardinal_compiler::onnx::quantize::{
    Histogram, Layer, Point, Quantized, Quantizer, Range, Seen,
};
