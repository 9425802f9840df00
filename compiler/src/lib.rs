//! Compiles ONNX models of the ResNeSt family to native code. See `ARCHITECTURE.md`.

pub mod asm;
pub mod codegen;
mod compile;
pub mod error;
pub mod interp;
pub mod ir;
pub mod object;
pub mod onnx;
pub mod options;
pub mod passes;
pub mod plan;
pub mod relink;

pub use compile::{Compiled, compile, computing_nodes};
