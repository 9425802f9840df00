//! Loads and runs models compiled by Cardinal. Knows nothing of ONNX or of the compiler.
//!
//! ```text
//! file or bytes --Artifact--> Program (executable code) --Session (arena, threads)--> tensors
//! ```
//!
//! [`Artifact`] checks every byte of what it opens, so a damaged or malformed file is an error and
//! never a crash. The checks say that a file is *intact*, not that it is *honest*: an artifact holds
//! machine code, so running one from a stranger is running the stranger's program.
//!
//! What is absent: no kernel and no operator lives here, nothing reads the environment, and nothing
//! prints.

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("Cardinal's artifacts are for 64-bit little-endian machines");

pub mod abi;
#[allow(unsafe_code)] // Maps files.
mod artifact;
mod batch;
mod code;
pub mod cpu;
mod digest;
mod dtype;
mod encoding;
mod error;
mod expand;
#[allow(unsafe_code)] // Reads and writes the floating-point control register.
mod float_mode;
mod format;
mod kept;
pub mod manifest;
#[allow(unsafe_code)] // Synchronises the instruction cache where the architecture needs it.
mod memory;
#[allow(unsafe_code)] // Calls kernels through C function pointers, from several threads.
mod pool;
#[allow(unsafe_code)] // Turns an address in the code section into the entry point.
mod program;
#[allow(unsafe_code)] // Calls the entry point.
mod session;
mod spec;
pub mod table;
#[allow(unsafe_code)] // Declares the 64-byte storage block to be plain data.
mod tensor;
pub mod text;
#[allow(unsafe_code)] // Calls kernels through C function pointers.
mod trace;
mod validate;
mod variant;
mod write;

pub use artifact::Artifact;
pub use code::Code;
pub use dtype::DType;
pub use encoding::{Encoding, Narrow};
pub use error::{
    CodeError, EncodingError, LoadError, ManifestError, Part, Role, RunError, TableError,
    TensorError,
};
pub use format::{
    FORMAT_VERSION, MAGIC, MAX_BYTES, MAX_CHOICE_BYTES, MAX_MANIFEST_BYTES, MAX_SECTIONS,
    MAX_TABLE_BYTES, MAX_VARIANTS, PAGE,
};
pub use pool::{MAX_THREADS, Pool};
pub use program::Program;
pub use session::Session;
pub use spec::TensorSpec;
pub use table::RESERVED_SECTIONS;
pub use tensor::Tensor;
pub use trace::{Span, StepTrace};
pub use variant::best;
pub use write::{ArtifactParts, OtherSection, Pieces, Weights};
