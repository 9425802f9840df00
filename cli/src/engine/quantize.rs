//! Models that are quantized.

pub(crate) use cardinal_compiler::onnx::quantize::{
    Grid, Layer, Point, Quantized, Quantizer, Seen,
};
