//! Loads and runs models compiled by Cardinal. Knows nothing of ONNX or of the compiler.

#[allow(unsafe_code)]
pub mod abi;
mod dtype;
pub mod manifest;

pub use dtype::DType;
