//! The translation of every operator, by family. Each function takes one ONNX node.

pub(super) mod batch_norm;
pub(super) mod compile_time;
pub(super) mod conv;
pub(super) mod convert;
pub(super) mod elementwise;
pub(super) mod gather;
pub(super) mod generate;
pub(super) mod integers;
pub(super) mod join;
pub(super) mod matmul;
pub(super) mod pad;
pub(super) mod pool;
pub(super) mod quantize;
pub(super) mod quantized;
pub(super) mod reduce;
pub(super) mod resize;
mod sampling;
pub(super) mod sequence;
pub(super) mod shape;
pub(super) mod slice;
pub(super) mod softmax;
mod window;
