//! What can be typed. Every flag's long help ends in an example.

mod bisect;
mod completions;
mod doctor;
mod explain;
mod inspect;
mod options;
mod profile;
mod quantize;
mod relink;
mod sampling;
mod score;
mod serve;
mod tolerance;
mod tuning;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use bisect::BisectArgs;
pub(crate) use completions::{CompletionsArgs, Written};
pub(crate) use doctor::DoctorArgs;
pub(crate) use explain::ExplainArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use options::{Arithmetic, Emit, Format, ModelOptions, Stage, Stored};
pub(crate) use profile::{ProfileArgs, ProfileFormat};
pub(crate) use quantize::QuantizeArgs;
pub(crate) use relink::RelinkArgs;
pub(crate) use sampling::SamplingOptions;
pub(crate) use score::ScoreArgs;
pub(crate) use serve::ServeArgs;
pub(crate) use tolerance::ToleranceOptions;
pub(crate) use tuning::TuningOptions;

use crate::image_input::{ImageOptions, Preprocess};
use crate::reporting::Reporting;
use crate::request::{IsaOption, Measurement, RunRequest};
use crate::signing::{Signing, Trust};

/// Compiles ONNX models of the ResNeSt family to native code, and runs them.
#[derive(Debug, Parser)]
#[command(
    name = "cardinal",
    version,
    arg_required_else_help = true,
    after_help = "\
Results go to stdout, everything else to stderr; `-` is stdin or stdout.
Exit codes: 0 done, 1 failed, 2 usage, 3 the model is bad or unsupported,
4 a comparison failed, 5 input/output error.
`cardinal help COMMAND` shows examples of each command."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How it is said what goes wrong.
    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compile a model to a file
    #[command(after_help = "\
Examples:
  cardinal compile resnest50.onnx                         # resnest50.cardinal, for this machine
  cardinal compile resnest50.onnx --cpu x86-64-v3 -o r50.cardinal
  cardinal compile resnest50.onnx --cpu x86-64-v3,x86-64-v4   # the best of them runs
  cardinal compile resnest50.onnx -o resnest50            # an executable that stands alone
  cardinal compile resnest50.onnx --weights f16           # half as large; so is --weights bf16
  cardinal compile resnest50.onnx --batch 8 -o - | ssh host 'cat > r50.cardinal'
  cardinal compile resnest50.onnx -o r50.o                # for C and C++, with a header, r50.h
  cardinal compile resnest50.onnx -o r50.so               # the same, linked by $CC or cc
  cardinal compile resnest50.onnx --tune                  # measured here, not estimated")]
    Compile(CompileArgs),
    /// Give a compiled model other weights
    #[command(after_help = "\
Examples:
  cardinal relink --weights finetuned.onnx resnest50.cardinal -o finetuned.cardinal

The code stays byte for byte; what is written is what compiling the new model as the old
one was would write. A model whose graph is another is refused.")]
    Relink(RelinkArgs),
    /// Round a model's convolutions to 8 bits, with samples of what it will see
    #[command(after_help = "\
Examples:
  cardinal quantize resnest50.onnx --calibrate photos/    # resnest50.int8.onnx
  cardinal quantize resnest50.onnx --calibrate photos/ --test validation/ --agree 99.5
  cardinal quantize resnest50.onnx --calibrate x.npy -o r50.int8.onnx --json

What is written is an ONNX model with QuantizeLinear and DequantizeLinear: activations are
u8, weights of convolutions i8 with a scale for each channel; attention and dense layers
stay in float. The table has a row for each convolution: how many decibels the rounding
errors of its weights and of its input are below these, and the input's range, with what
proposed it.")]
    Quantize(QuantizeArgs),
    /// Run a model on images or tensors
    #[command(after_help = "\
Examples:
  cardinal run resnest50.onnx cat.jpg dog.png --labels imagenet.txt --top 3
  cardinal run resnest50.cardinal --input x.npy --output y.npy
  cardinal run two_inputs.onnx --input a=a.npy --input b=b.npy --output y.npz
  cardinal run digits.onnx digit.png --json | jq .results[0].top[0].label")]
    Run(RunArgs),
    /// Score many images, and write a table with a row for each
    #[command(after_help = "\
Examples:
  cardinal score resnest50.cardinal photos/ -o results.parquet
  cardinal score resnest50.cardinal 'shards/*.tar' --shard 2/8 -o results-2.parquet
  cardinal score resnest50.cardinal train.parquet --image-column picture -o results.jsonl
  find photos -name '*.png' | cardinal score resnest50.cardinal --files-from - -o results.csv

Columns are key, class, score, label (of the best class), top (all that --top asks for) and error;
with --outputs logits they are key, logits and error. A score is the class's probability, as `run`
prints it. Rows are in the order of the inputs; what cannot be read is a row with an error, and
then the exit code is 5. Keys are paths; of tar archives, names up to their first dot.")]
    Score(ScoreArgs),
    /// Serve models to other programs over HTTP
    #[command(after_help = "\
Examples:
  cardinal serve resnest50.cardinal
  cardinal serve resnest50.onnx digits.onnx --port 8080 --labels imagenet.txt
  curl --data-binary @cat.jpg http://127.0.0.1:8000/v2/models/resnest50/classify?top=3
  curl http://127.0.0.1:8000/v2/models/resnest50

The interface is the Open Inference Protocol, version 2, with tensors in JSON or in binary, as
the clients of Triton speak it, and besides POST /v2/models/NAME/classify for the bytes of an
image (PNG, JPEG, WebP, BMP, GIF or TIFF), and GET /metrics. The address is printed once the
models are ready. SIGINT and SIGTERM end it when requests that have begun are answered; a
second one ends it at once.")]
    Serve(ServeArgs),
    /// Show how a model is compiled, stage by stage
    #[command(after_help = "\
Examples:
  cardinal inspect resnest50.onnx                         # the graph after all passes
  cardinal inspect resnest50.onnx --passes                # what each pass did
  cardinal inspect resnest50.onnx --after fold_batch_norm
  cardinal inspect resnest50.onnx --diff split_attention  # before and after
  cardinal inspect resnest50.onnx --why                   # what nearly matched, and why not
  cardinal inspect resnest50.onnx --stage plan --tuned    # with what compile --tune has found
  cardinal inspect resnest50.onnx --format html > resnest50.html   # all of this, to look at
  cardinal inspect resnest50.onnx --format svg > resnest50.svg     # for print: the network, folded
  cardinal inspect resnest50.onnx --format svg --node split_attention > attention.svg
  cardinal inspect resnest50.onnx --stage import --format dot | dot -Tsvg > graph.svg
  cardinal inspect resnest50.cardinal                     # what the artifact says of itself")]
    Inspect(InspectArgs),
    /// Measure how fast a model runs
    #[command(after_help = "\
Examples:
  cardinal bench resnest50.onnx --threads 1
  cardinal bench resnest50.onnx --threads 1 --steps       # where the time goes
  cardinal bench resnest50.cardinal --warmup 10 --iterations 200 --json > latencies.json")]
    Bench(BenchArgs),
    /// Show what becomes of one thing of a model, from the file to machine code
    #[command(after_help = "\
Examples:
  cardinal explain resnest50.onnx /layer1/layer1.0/conv2/Reshape   # a node of the file
  cardinal explain resnest50.onnx layer1.0/conv2/act0/Relu_output_0
  cardinal explain resnest50.onnx '#12' --asm             # a step of the plan, with its code
  cardinal explain resnest50.onnx blocked_conv.2 --json   # a function: who calls it, and for what

It shows the nodes of the file, what passes made of them, the node that is left, what was chosen for
it and why, the steps that compute it, where their arguments lie, and the functions that they call.")]
    Explain(ExplainArgs),
    /// Say whether a model would compile, and what there is to know of it before
    #[command(after_help = "\
Examples:
  cardinal doctor resnest50.onnx
  cardinal doctor detector.onnx --json | jq -r '.operators[] | select(.supported | not).name'

All operators that are not supported are listed, with the nodes that have them and what to do. Times
are estimates, of convolutions alone. Exit code 3 means that it would not compile.")]
    Doctor(DoctorArgs),
    /// Say where the time goes, step by step, beside what this machine can do at most
    #[command(after_help = "\
Examples:
  cardinal profile resnest50.onnx --threads 1
  cardinal profile resnest50.onnx --json > before.json
  cardinal profile resnest50.onnx --against before.json   # each step, with the ratio
  cardinal profile resnest50.onnx --format html > profile.html
  cardinal profile resnest50.onnx --format chrome-trace > trace.json   # for Perfetto

The peak of multiply-adds and the bandwidth of memory are measured before, between and after the
inferences, on as many threads, and the best counts.")]
    Profile(ProfileArgs),
    /// Compare a model's results with expected ones, or with the reference interpreter's
    #[command(after_help = "\
Examples:
  cardinal verify resnest50.onnx                          # random input, reference interpreter
  cardinal verify resnest50.onnx --input x.npy
  cardinal verify resnest50.onnx --layers                 # each operator's error, beside rounding
  cardinal verify resnest50.cardinal --input x.npy --expected y.npy --rtol 1e-4 --atol 0

An element passes when it differs by at most ATOL + RTOL * M, where M is the largest
magnitude in that expected output. NaN and infinities must be in the same places.")]
    Verify(VerifyArgs),
    /// Find where results begin to be wrong, and the nodes that show it
    #[command(after_help = "\
Examples:
  cardinal bisect resnest50.onnx                          # random input, reference interpreter
  cardinal bisect resnest50.onnx --input x.npy --expected y.npy -o wrong.onnx
  cardinal bisect resnest50.int8.onnx --rtol 0.05 --json

What is right is what the model as imported gives in the reference interpreter, in f64. The
first rewrite of a pass after which it gives something else is found by halving, or else the
first value that compiled code gets wrong. The ONNX nodes that it came from are written to a
model of their own, with their inputs. The exit code is 0 where nothing is found, 4 else.
A large network takes minutes: the interpreter runs it once for each step.")]
    Bisect(BisectArgs),
    /// List the operators of ONNX that models may have
    #[command(after_help = "\
Examples:
  cardinal operators
  cardinal operators --json | jq -r .operators[].name

An operator is read in every operator set from the first to the last that its row states, and as
each that is listed after these changed it.")]
    Operators(OperatorsArgs),
    /// Write what completes commands in a shell, or manual pages
    #[command(after_help = "\
Examples:
  cardinal completions bash > ~/.local/share/bash-completion/completions/cardinal
  cardinal completions zsh > ~/.zfunc/_cardinal           # in a folder of $fpath
  cardinal completions fish > ~/.config/fish/completions/cardinal.fish
  cardinal completions man -o ~/.local/share/man/man1     # a page for each command")]
    Completions(CompletionsArgs),
}

/// `cardinal operators`
#[derive(Debug, Args)]
pub(crate) struct OperatorsArgs {
    /// Print JSON, for programs
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cardinal compile`
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// The ONNX model; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Where to write; `-` is stdout [default: MODEL's name with .cardinal, in this folder]
    ///
    /// The extension says what is written, unless --emit does: .cardinal an artifact, .o an object
    /// file, .so a shared library, none an executable. In a folder it is called as by default. Beside .o and .so stands a C header, .h, and
    /// what it declares begins with OUT's stem: resnet-50.o has resnet_50_run.
    ///
    /// Example: -o build/resnest50.cardinal
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// What to write, whatever OUT is called
    ///
    /// Example: --emit artifact
    #[arg(long, value_name = "KIND")]
    pub(crate) emit: Option<Emit>,
    /// Let the executable serve its model over HTTP too, as `OUT serve` and with the options of `cardinal serve`
    ///
    /// It is 1.5 MB larger then. Names of hosts are not resolved in it: --host takes an address.
    ///
    /// Example: --emit exe --with-serve
    #[arg(long)]
    pub(crate) with_serve: bool,
    /// Machine to generate code for, as a target triple [default: this one]
    ///
    /// Example: --target aarch64-unknown-linux-gnu
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<String>,
    /// How to store the weights of an artifact or an executable
    ///
    /// f16 rounds them to half precision and bf16 to bfloat16, which both halve the file. They are f32 again once
    /// loaded, in memory of each process's own, and it runs as fast. The model is run on random inputs with both,
    /// to say what this changes in its outputs. Weights of less than 4 KiB stay as they are, and so do those with
    /// values beyond the format. f16 changes eight times less; bf16 is for weights beyond 65504, and for those that
    /// were saved in bfloat16 and lose nothing then where no pass changes them. What is multiplied is f32 with both:
    /// --precision says that.
    ///
    /// Example: --weights bf16
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    pub(crate) weights: Stored,
    /// Threads of the compiler itself [default: all of this machine]
    ///
    /// They pack the weights; the rest runs on one thread. What is written does not depend on it.
    ///
    /// Example: --threads 2
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// How images are prepared for this model: imagenet, timm:NAME, none, or FILE.json
    ///
    /// What it says goes into the artifact or the executable, whose `run` and `score` do so unless they are
    /// told otherwise, whatever the file is called then. `relink` keeps it.
    ///
    /// Example: --preprocess timm:resnest50d
    #[arg(long, value_name = "HOW", value_parser = Preprocess::parse)]
    pub(crate) preprocess: Option<Preprocess>,
    /// Prove every rewrite on random values before it is made, and stop at a wrong one
    ///
    /// Both sides are run in the reference interpreter, which takes minutes for a large network.
    ///
    /// Example: --check-rewrites
    #[arg(long)]
    pub(crate) check_rewrites: bool,
    /// Measure which way of computing each convolution is the fastest here, and take it
    ///
    /// The candidates run in the whole model, in turns with what the estimates choose, for each of the
    /// CPUs that this machine can run. This takes some tens of seconds for a large network, once: what
    /// is found is kept for this CPU, and layers of the same shapes are not measured again. Results
    /// stay within the same errors; where another algorithm is taken, their last bits change.
    ///
    /// Example: --tune
    #[arg(long)]
    pub(crate) tune: bool,
    /// Print one JSON object (cardinal.compile/v1) with what was made
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
    /// Whether to sign it.
    #[command(flatten)]
    pub(crate) signing: Signing,
    /// How much rounding may change.
    #[command(flatten)]
    pub(crate) sampling: SamplingOptions,
    /// Where and how to tune.
    #[command(flatten)]
    pub(crate) tuning: TuningOptions,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

/// `cardinal run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The model, .onnx or .cardinal; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// What to run it on.
    #[command(flatten)]
    pub(crate) request: RunRequest,
    /// Whose compiled models to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

/// `cardinal bench`
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The model, .onnx or .cardinal; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Threads to run on [default: all of this machine]
    ///
    /// Example: --threads 1
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// What to measure.
    #[command(flatten)]
    pub(crate) measurement: Measurement,
    /// Say how long each step of the plan takes, for an .onnx
    ///
    /// A step's time is its median. GFLOP/s count a multiply-add as two, by the definition of the
    /// convolution: Winograd's and Strassen's ways need fewer, and can exceed what the machine could do.
    /// Names are those of `inspect --stage plan`.
    ///
    /// Example: --threads 1 --steps
    #[arg(long)]
    pub(crate) steps: bool,
    /// Say how many of these images a second `cardinal score` makes, and what decoding takes of it
    ///
    /// Decoding and inference are measured one after the other on all threads, for some seconds.
    ///
    /// Example: --images photos/
    #[arg(long, value_name = "PATH")]
    pub(crate) images: Option<PathBuf>,
    /// Print one JSON object (cardinal.bench/v1) with every latency
    ///
    /// Its precision is the narrowest type that convolutions multiply, f32, bf16 or int8: code for CPUs that do
    /// not multiply bytes computes quantized models in f32.
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
    /// Which code to run.
    #[command(flatten)]
    pub(crate) isa: IsaOption,
    /// Whose compiled models to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How images are made inputs.
    #[command(flatten)]
    pub(crate) image: ImageOptions,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

/// `cardinal verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The model, .onnx or .cardinal; `-` reads it from stdin
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// An input tensor, as for `run` [default: random]
    ///
    /// Example: --input x.npy
    #[arg(short, long, value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// An expected output, X.npy, NAME=X.npy or X.npz [default: the reference interpreter's]
    ///
    /// Example: --expected y.npy
    #[arg(short, long, value_name = "[NAME=]FILE", requires = "input")]
    pub(crate) expected: Vec<String>,
    /// What differences are allowed.
    #[command(flatten)]
    pub(crate) tolerance: ToleranceOptions,
    /// Say for each operator how far its result is from the exact one, beside what rounding alone explains
    ///
    /// Each operator is evaluated in f64 on what its code has read, so an error is its own. For an .onnx; it takes as
    /// long as the reference interpreter three times. An operator that rounding does not explain is a comparison that
    /// failed: exit code 4.
    ///
    /// Example: --layers
    #[arg(long)]
    pub(crate) layers: bool,
    /// Print one JSON object (cardinal.verify/v1)
    ///
    /// Example: --json
    #[arg(long)]
    pub(crate) json: bool,
    /// Seed of the random inputs
    ///
    /// Example: --seed 1
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads to run on [default: all of this machine]
    ///
    /// Example: --threads 1
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Which code to run.
    #[command(flatten)]
    pub(crate) isa: IsaOption,
    /// Whose compiled models to take.
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// How to read and compile it.
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_example() {
        for command in Cli::command().get_subcommands() {
            for flag in command.get_arguments().filter(|a| a.get_long().is_some()) {
                let help = flag.get_long_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example: -"), "{} {flag}", command.get_name());
            }
        }
    }
}
