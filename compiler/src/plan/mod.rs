//! The plan: a list of kernel calls on places in memory. Nothing below this knows graphs.
//!
//! - [`layers`] lists what can be chosen for convolutions; [`choice`] and [`cut`] say how,
//! - [`lower`](lower::lower) turns a graph into steps over named buffers,
//! - [`arena`] gives each buffer its place,
//! - [`PackedWeights`] packs constants, which plans only describe, into theirs,
//! - [`structure`] says what code depends on, so that weights can be replaced,
//! - [`check`] proves, sharing no code with either, that no step reads what is not there and that
//!   no two live buffers overlap.

pub mod arena;
mod batch;
pub mod check;
pub mod choice;
mod cost;
pub mod cut;
mod decide;
pub mod expr;

pub mod dot;
mod fields;
mod geometry;
mod groups;
mod halves;
pub mod json;
pub mod kernel;
mod layout;
mod lower;
mod pack;
pub mod strassen;
pub mod structure;
pub mod text;
pub mod tile;
pub mod tuning;
pub mod winograd;

pub use decide::{Layer, layers};
pub use lower::{Machine, lower, lower_all};
pub use pack::{BeyondHalf, Packed, PackedWeights};

use crate::ir::{Origin, TensorType};
use kernel::Kernel;

/// A whole inference, laid out in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// Model inputs, in order.
    pub inputs: Vec<Port>,
    /// Model outputs, in order.
    pub outputs: Vec<Port>,
    /// Read-only data, in the order of the weights section.
    pub constants: Vec<Constant>,
    /// Scratch buffers.
    pub buffers: Vec<Buffer>,
    /// Kernel calls, in order.
    pub steps: Vec<Step>,
    /// Bytes of scratch memory.
    pub arena_bytes: usize,
    /// Bytes of scratch memory for each thread besides.
    pub worker_bytes: usize,
    /// Bytes of the weights section.
    pub weight_bytes: usize,
}

/// A model input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The ONNX value's name.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
}

/// Read-only data in the weights section, often repacked for the kernel that reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// The value it came from.
    pub name: String,
    /// Element type and extents as stored.
    pub ty: TensorType,
    /// The contents, packed when they are asked for.
    pub data: Packed,
    /// Byte offset in the weights section.
    pub offset: usize,
}

/// A range of the arena that holds one value for a part of the inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// The value it holds.
    pub name: String,
    /// Size in bytes.
    pub bytes: usize,
    /// Byte offset in the arena.
    pub offset: usize,
    /// First step that writes it.
    pub first: usize,
    /// Last step that touches it.
    pub last: usize,
}

/// One kernel call.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The value it makes.
    pub name: String,
    /// What it computes.
    pub kernel: Kernel,
    /// The destination, then the sources.
    pub args: Vec<Place>,
    /// Why it is computed like this, where there was a choice; empty elsewhere.
    pub why: String,
    /// The ONNX nodes it came from.
    pub from: Vec<Origin>,
}

/// An address that the call frame resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What it points into.
    pub base: Base,
    /// Bytes from the start of it.
    pub offset: usize,
}

/// What a place points into, by position in the plan's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// A model input.
    Input(usize),
    /// A model output.
    Output(usize),
    /// A constant.
    Constant(usize),
    /// A scratch buffer.
    Buffer(usize),
    /// The scratch memory of the first thread; those of the others follow.
    Worker,
}
