//! What `cardinal inspect` is told.

use std::path::PathBuf;

use clap::Args;

use super::{Format, ModelOptions, Stage, TuningOptions};
use crate::signing::Trust;

/// `cardinal inspect`
#[derive(Debug, Clone, Args)]
pub(crate) struct InspectArgs {
    /// The model, .onnx or .cardinal; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Which stage to show [default: fused]
    ///
    /// Example: --stage plan
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["after", "passes"])]
    pub(crate) stage: Option<Stage>,
    /// How to show it
    ///
    /// json is for import, fused, schedule and plan; dot for import, fused and plan; svg for import, fused
    /// and what --after shows.
    ///
    /// html is one page of all stages but clif and asm, for a browser, without a network: --stage, --after and
    /// --passes say what of it is open first, and near misses are on it with or without --why. svg is for
    /// print: the network, in which blocks are folded, beside its first Split-Attention.
    ///
    /// Example: --format html
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Print JSON: the same as --format json
    ///
    /// Example: --stage plan --json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Draw this alone, as svg, or open the page at it: a value, an ONNX node, or the first of an operator
    ///
    /// A Split-Attention is drawn as in Figure 2 of the ResNeSt paper, anything else in its block.
    ///
    /// Example: --format svg --node split_attention
    #[arg(long, value_name = "NAME", conflicts_with = "diff")]
    pub(crate) node: Option<String>,
    /// Show the graph after this pass; --passes lists their names
    ///
    /// Example: --after fold_batch_norm
    #[arg(long, value_name = "PASS")]
    pub(crate) after: Option<String>,
    /// Show what this pass changed, as a unified diff of the graph's text
    ///
    /// Example: --diff split_attention
    #[arg(long, value_name = "PASS", conflicts_with_all = ["stage", "after", "passes"])]
    pub(crate) diff: Option<String>,
    /// Show how this other model, .onnx or .cardinal, differs: a unified diff of --stage, or of the stages fused,
    /// schedule and plan, and of what artifacts say of themselves
    ///
    /// Options of compiling are those of both.
    ///
    /// Example: --against yesterday.cardinal --stage plan
    #[arg(long, value_name = "OTHER", conflicts_with_all = ["after", "diff", "passes", "why", "node"])]
    pub(crate) against: Option<PathBuf>,
    /// Add what nearly matched a pass, and why it did not
    ///
    /// Example: --why
    #[arg(long)]
    pub(crate) why: bool,
    /// List the passes with the number of nodes before and after each, and the operators that the
    /// graph has at both ends
    ///
    /// Example: --passes
    #[arg(long, conflicts_with_all = ["after", "why"])]
    pub(crate) passes: bool,
    /// Plan as `compile --tune` would, with what it has found so far: nothing is measured
    ///
    /// For the stages plan, clif and asm. Steps that something was found for say so, with the times.
    ///
    /// Example: --stage plan --tuned
    #[arg(id = "tune", long = "tuned", requires = "stage")]
    pub(crate) tuned: bool,
    /// Show the code of one step alone: by its value, its number as #12, or its function
    ///
    /// For the stages clif and asm, with the functions that it calls.
    ///
    /// Example: --stage asm --step layer1.0/conv2/act0/Relu_output_0
    #[arg(long, value_name = "NAME", requires = "stage")]
    pub(crate) step: Option<String>,
    /// Machine to plan and generate code for, as a target triple [default: this one]
    ///
    /// Example: --stage asm --target aarch64-unknown-linux-gnu
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<String>,
    /// Where what was found is.
    #[command(flatten)]
    pub(crate) tuning: TuningOptions,
    /// Whose compiled models to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

impl InspectArgs {
    /// The same with the format that is asked for, however it is.
    pub(crate) fn settled(&self) -> InspectArgs {
        let format = if self.json { Format::Json } else { self.format };
        InspectArgs { format, ..self.clone() }
    }
}
