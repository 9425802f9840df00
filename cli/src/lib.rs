//! The `cardinal` command, and the command line of the executables that it makes. What is printed
//! where, and which exit code means what, is in `exit.rs` and `render.rs`.
//!
//! An executable is a prebuilt runner with a compiled model behind it. The runner is this crate
//! without its feature `compiler`: `infer.rs` and `measure.rs` are the same functions in both.

mod about;
mod classify;
mod columns;
mod compare;
mod csv;
mod ending;
pub mod executable;
mod exit;
#[doc(hidden)]
pub mod fuzzing;
mod image_input;
mod infer;
mod limits;
mod mapped;
mod measure;
mod names;
mod output;
mod own_pages;
mod program;
mod random;
mod render;
mod reporting;
mod request;
mod staging;
mod stdio;
mod tensors;
mod verdict;

#[cfg(feature = "compiler")]
mod args;
#[cfg(feature = "compiler")]
mod bisect;
#[cfg(feature = "compiler")]
mod commands;
#[cfg(feature = "compiler")]
mod doctor;
#[cfg(feature = "compiler")]
mod engine;
#[cfg(feature = "compiler")]
mod explain;
#[cfg(feature = "compiler")]
mod inputs;
#[cfg(feature = "compiler")]
mod layers;
#[cfg(feature = "library")]
pub mod library;
#[cfg(feature = "compiler")]
mod loading;
#[cfg(feature = "compiler")]
mod max_error;
#[cfg(feature = "compiler")]
mod model_file;
#[cfg(feature = "compiler")]
mod page;
#[cfg(feature = "compiler")]
mod profile;
#[cfg(feature = "compiler")]
mod quantize;
#[cfg(feature = "compiler")]
mod samples;
#[cfg(feature = "compiler")]
mod score;
#[cfg(feature = "serving")]
mod serve;
#[cfg(any(feature = "compiler", feature = "serving"))]
mod serving;
#[cfg(feature = "compiler")]
mod signing;
#[cfg(feature = "compiler")]
mod trial;
#[cfg(feature = "compiler")]
mod tune;

#[cfg(feature = "compiler")]
pub use commands::cardinal;
