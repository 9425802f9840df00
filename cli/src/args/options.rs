//! Options that several commands share, and the values that options take.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use cardinal_runtime::Narrow;
use clap::{Args, ValueEnum};

use crate::serving::parse_size;

/// How to read and compile an `.onnx`, for every command that takes one.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model options")]
pub(crate) struct ModelOptions {
    /// Samples in one inference, at most
    ///
    /// What goes sample by sample takes any number up to that. A model that fixes another batch gets this one, if
    /// it can be followed through the graph, and is run both ways before. By default that of --input, or 1. Of
    /// several numbers the largest is what code is made for.
    ///
    /// Example: --batch 8
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) batch: Vec<NonZeroUsize>,
    /// Whole shape of one input; can be repeated
    ///
    /// For models whose inputs leave other dimensions open than the batch.
    ///
    /// Example: --shape pixels=1x3x224x224
    #[arg(long, value_name = "NAME=SHAPE", value_parser = parse_shape)]
    pub(crate) shape: Vec<(String, Vec<usize>)>,
    /// CPU to generate code for; can be repeated, or a list
    ///
    /// native (this machine, the default), x86-64, x86-64-v3 (AVX2), x86-64-v4 (AVX-512), …, or a
    /// micro-architecture, for which ways to compute are chosen besides: znver2 to znver5,
    /// skylake-avx512, icelake-server, sapphirerapids. With several, one artifact has code for each,
    /// and the best that a machine has runs there. Weights are stored once where they are packed
    /// alike.
    ///
    /// Example: --cpu x86-64,x86-64-v3,x86-64-v4
    #[arg(long, value_name = "CPU", value_delimiter = ',')]
    pub(crate) cpu: Vec<String>,
    /// Compute every convolution directly, without Winograd's transform or Strassen's products
    ///
    /// Slower, but weights are stored as they are, and results are nearer to the exact ones: either
    /// way's rounding errors are up to about three times those of a direct convolution.
    ///
    /// Example: --no-winograd
    #[arg(long)]
    pub(crate) no_winograd: bool,
    /// Compute 3×3 convolutions of 8 bits in Winograd's domain too, where that is faster
    ///
    /// Files of `cardinal quantize` allow it themselves. Results of others change by no more than rounding
    /// weights to 8 bits did.
    ///
    /// Example: --int8-winograd
    #[arg(long, conflicts_with_all = ["no_winograd", "portable_bits"])]
    pub(crate) int8_winograd: bool,
    /// What products are computed in
    ///
    /// bf16 rounds what convolutions multiply to bfloat16, where the CPU multiplies that and it is faster:
    /// to three digits. Sums stay f32, and so does what lies between layers. CPUs without AVX512-BF16 are
    /// refused; with auto they compute in f32.
    ///
    /// Example: --precision auto
    #[arg(long, value_enum, default_value_t)]
    pub(crate) precision: Arithmetic,
    /// Give the same bits on every CPU with fused multiply-add: AVX2, AVX-512 and aarch64
    ///
    /// What changes bits is chosen for all of them alike, so every convolution is computed directly,
    /// which is slower. A CPU without fused multiply-add is refused.
    ///
    /// Example: --portable-bits
    #[arg(long)]
    pub(crate) portable_bits: bool,
    /// The .onnx that has the weights of a graph's text, which holds their hashes alone
    ///
    /// For a MODEL that is a text as `inspect` prints it, perhaps edited: of the stages import and fused, or after a
    /// pass. Weights are found by their hashes, whichever pass made them; rand(SEED) needs none.
    ///
    /// Example: --weights-from resnest50.onnx
    #[arg(long = "weights-from", value_name = "MODEL.onnx")]
    pub(crate) weights_from: Option<PathBuf>,
    /// Compute convolutions as this text of `inspect --stage schedule` says, perhaps edited
    ///
    /// Of its lines, `by` counts. Convolutions of equal shapes are computed alike.
    ///
    /// Example: --schedule edited.txt
    #[arg(long, value_name = "FILE")]
    pub(crate) schedule: Option<PathBuf>,
    /// Memory that an inference may take besides the weights [default: 64GiB]
    ///
    /// A model that would take more is refused before any of it is asked for, and the operator that
    /// takes the most is named. Units are B, kB, MB, GB and KiB, MiB, GiB.
    ///
    /// Example: --max-memory 8GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_memory: Option<usize>,
}

/// Kinds of compiled output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    /// A .cardinal file, for `cardinal run` and the runtime library
    Artifact,
    /// An object file, with a C header beside it
    Obj,
    /// A shared library, with a C header beside it
    Shared,
    /// A self-contained executable
    Exe,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stored {
    /// As they are read, shared by processes that run the same file
    F32,
    /// In half precision, in about half the bytes: 11 bits of digits, up to 65504
    F16,
    /// In bfloat16, in about half the bytes: 8 bits of digits, and the range of f32
    Bf16,
}

impl Stored {
    /// The format, where it is not how they are read.
    pub(crate) fn narrow(self) -> Option<Narrow> {
        match self {
            Stored::F32 => None,
            Stored::F16 => Some(Narrow::F16),
            Stored::Bf16 => Some(Narrow::Bf16),
        }
    }
}

/// What convolutions multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Arithmetic {
    /// f32
    #[default]
    F32,
    /// bfloat16 where that is faster
    Bf16,
    /// The same on CPUs that multiply it, f32 on others
    Auto,
}

/// Stages of compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// The graph as imported
    Import,
    /// The graph after all passes
    Fused,
    /// What was chosen for each operator, and why
    Schedule,
    /// Kernels, buffers, arena
    Plan,
    /// Cranelift's intermediate code
    Clif,
    /// Machine code, disassembled
    Asm,
}

/// Formats of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text that reads back
    Text,
    /// JSON
    Json,
    /// Graphviz
    Dot,
    /// A drawing
    Svg,
    /// A page
    Html,
}

/// `NAME=1x3x224x224`. Names may hold equals signs; shapes do not.
fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, shape) = text.rsplit_once('=').ok_or("expected NAME=1x3x224x224")?;
    let extent = |word: &str| match word.parse::<usize>() {
        Ok(extent) if extent > 0 => Ok(extent),
        _ => Err(format!("`{word}` is no extent; expected NAME=1x3x224x224")),
    };
    let shape = shape.split('x').map(extent).collect::<Result<_, _>>()?;
    Ok((name.to_owned(), shape))
}

impl ModelOptions {
    /// Samples in one inference, at most.
    pub(crate) fn most_samples(&self) -> Option<usize> {
        self.batch.iter().max().map(|most| most.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_strict() {
        assert_eq!(parse_shape("a=b=1x2"), Ok(("a=b".into(), vec![1, 2])));
        for bad in ["1x2", "a=", "a=1x", "a=0x2", "a=-1", "a=1,2"] {
            assert!(parse_shape(bad).is_err(), "{bad}");
        }
    }
}
