//! What `cardinal explain` takes.

use std::path::PathBuf;

use clap::Args;

use super::ModelOptions;
use crate::signing::Trust;

/// `cardinal explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The model, .onnx or .cardinal; `-` reads it from stdin
    ///
    /// Of an artifact it is not known what passes did.
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// A node of the ONNX file, a value, a step of the plan as #NUMBER, a function of the code, or an operator
    ///
    /// The end of a name will do where only one ends so. Of an operator, such as split_attention, the first is meant.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Add the functions' machine code, disassembled
    ///
    /// Addresses are those in the code section. The innermost loop of each function is marked.
    ///
    /// Example: --asm
    #[arg(long)]
    pub(crate) asm: bool,
    /// Print one JSON object (cardinal.explain/v1)
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
    /// Whose compiled models to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}
