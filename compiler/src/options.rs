//! What the caller decides: everything the output depends on besides the model, and with how many
//! threads it is made.

use std::num::NonZeroUsize;

use crate::limits::INFERENCE_BYTES;
pub use crate::onnx::ImportOptions;
pub use crate::plan::weights::Precision;
use crate::schedule::Preferences;

/// How to compile a model.
#[derive(Debug, Clone)]
pub struct CompileOptions {
    /// What is wanted of the schedule.
    pub schedule: Preferences,
    /// Run both sides of every rewrite in the interpreter and stop when they differ.
    pub check_rewrites: bool,
    /// How weights are stored. Code does not depend on it.
    pub weights: Precision,
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
            weights: Precision::default(),
            threads: NonZeroUsize::MIN,
            memory: INFERENCE_BYTES,
        }
    }
}
