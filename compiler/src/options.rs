//! What the caller decides: everything the output depends on besides the model, and with how many
//! threads it is made.

use std::num::NonZeroUsize;

use crate::limits::INFERENCE_BYTES;
pub use crate::onnx::ImportOptions;
use crate::schedule::Preferences;
pub use cardinal_runtime::Narrow;

/// How to compile a model.
#[derive(Debug, Clone)]
pub struct CompileOptions {
    /// What is wanted of the schedule.
    pub schedule: Preferences,
    /// Run both sides of every rewrite in the interpreter and stop when they differ.
    pub check_rewrites: bool,
    /// The format that weights are stored in, rounded to nearest even, in about half the bytes; as code reads them
    /// where there is none. The runtime makes them f32 again when it loads the artifact, so code does not depend
    /// on it. What stays as it is: weights of less than 4 KiB in the model, what is not f32, and weights whose values
    /// may be beyond the format.
    pub weights: Option<Narrow>,
    /// Threads that pack weights; the output does not depend on it. 1 by default: how many a machine
    /// has is for the caller to say.
    pub threads: NonZeroUsize,
    /// Bytes that an inference may take besides weights; a model that takes more is refused. 64 GiB by
    /// default. The output does not depend on it.
    pub memory: usize,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            schedule: Preferences::default(),
            check_rewrites: false,
            weights: None,
            threads: NonZeroUsize::MIN,
            memory: INFERENCE_BYTES,
        }
    }
}
