//! Compiles ONNX models of the ResNeSt family to native code. See `ARCHITECTURE.md`.
//!
//! From a file to results, with nothing written in between:
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use cardinal_compiler::{Model, Target};
//! use cardinal_runtime::{DType, Program, Session, Tensor, cpu};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/digits/mnist_resnest.onnx");
//! let model = Model::read(std::fs::read(path)?)?;
//! let target = Target::new(&cpu::host_triple(), &cpu::host_features())?.for_core(cpu::host_core());
//! let program = Program::load(model.compile(&[target])?.parts.to_artifact()?)?;
//! let mut session = Session::new(program, NonZeroUsize::MIN)?;
//! let logits = session.run(&[Tensor::zeros(DType::F32, &[1, 1, 28, 28])?])?;
//! # assert_eq!(logits[0].shape(), [1, 10]);
//! # Ok(())
//! # }
//! ```
//!
//! [`onnx::import`] and [`compile`] take options; a [`Pipeline`] goes the same way stage by stage, and
//! keeps a [`Trace`] of it.

pub mod asm;
pub mod codegen;
pub mod error;
pub mod interp;
pub mod ir;
pub mod kernels;
mod lanes;
mod limits;
pub mod machine;
pub mod object;
pub mod onnx;
pub mod options;
pub mod passes;
pub mod peak;
pub mod pipeline;
pub mod plan;
pub mod record;
pub mod relink;
pub mod schedule;

pub use codegen::Target;
pub use error::Error;
pub use onnx::Model;
pub use options::{CompileOptions, ImportOptions};
pub use pipeline::{Compiled, Pipeline, Trace, compile};
