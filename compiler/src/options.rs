//! What the caller decides: everything the output depends on besides the model, and with how many
//! threads it is made.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::plan::choice::Choices;

/// How to read a model.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Extent of the batch axis where the model leaves it open; 1 when absent. A model that fixes
    /// another batch is refused.
    pub batch: Option<usize>,
    /// Whole shapes of inputs, by input name.
    pub shapes: BTreeMap<String, Vec<usize>>,
}

/// How the weights of an artifact are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// As code reads them, in place.
    #[default]
    F32,
    /// Most of them in IEEE half precision, rounded to nearest even, in about half the bytes; the
    /// runtime makes them f32 again when it loads the artifact. What stays as it is: weights of less than
    /// 4 KiB in the model, what is not f32, and weights whose values may be beyond half precision.
    F16,
}

/// How to compile a model.
#[derive(Debug, Clone)]
pub struct CompileOptions {
    /// Use Winograd's transforms and Strassen's products where they are faster than direct convolution.
    pub winograd: bool,
    /// What to take for convolutions instead of the estimates' choices: what a layer cannot be is as
    /// good as absent.
    pub choices: Choices,
    /// Run both sides of every rewrite in the interpreter and stop when they differ.
    pub check_rewrites: bool,
    /// How weights are stored. Code does not depend on it.
    pub weights: Precision,
    /// Threads that pack weights; the output does not depend on it. 1 by default: how many a machine
    /// has is for the caller to say.
    pub threads: NonZeroUsize,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            winograd: true,
            choices: Choices::new(),
            check_rewrites: false,
            weights: Precision::default(),
            threads: NonZeroUsize::MIN,
        }
    }
}
