//! Compiles ONNX models of the ResNeSt family to native code. See `ARCHITECTURE.md`.

pub mod codegen;
pub mod error;
pub mod interp;
pub mod ir;
pub mod object;
pub mod onnx;
pub mod options;
pub mod passes;
pub mod pipeline;
pub mod plan;
pub mod relink;

pub use pipeline::{Compiled, compile};
