//! The compiler, for what the command line is asked: settings, targets, and what comes out.

pub(crate) mod quantize;
mod relink;
mod rounding;
mod running;
mod stages;
mod text;
mod tuning;

use std::io;

use bytes::Bytes;
use cardinal_compiler::codegen::Target;
use cardinal_compiler::error::{Error as ModelError, Problem};
use cardinal_compiler::ir::{Graph, Op, TensorType, Unary, rebatch};
use cardinal_compiler::onnx::{ExternalData, NoExternalData};
use cardinal_compiler::options::CompileOptions;
pub(crate) use cardinal_compiler::options::ImportOptions;
use cardinal_compiler::plan::weights::{OutOfRange, PackedWeights};
use cardinal_compiler::schedule::Bfloat16;
use cardinal_compiler::{interp, object, onnx};
use cardinal_runtime::{Artifact, ArtifactParts, LoadError, Weights as _, cpu};

pub(crate) use cardinal_compiler::object::Object;
pub(crate) use cardinal_compiler::onnx::{KnownOperator, Model, operators};
pub(crate) use cardinal_compiler::pipeline::Pipeline;
pub(crate) use cardinal_compiler::plan::Plan;
pub(crate) use cardinal_compiler::record::Record;
pub(crate) use relink::relink;
pub(crate) use rounding::Alone;
pub(crate) use running::Running;
pub(crate) use stages::{Rewrite, after, passed, rewrites, spec, values};
pub(crate) use text::{import_text, read_schedule};
pub(crate) use tuning::{
    Choice, Choices, Chosen, Cpu, Estimate, Layer, Timing, Winner, cpus, layer_times, layers,
    read_choice,
};

use crate::output::Room;
use crate::tensors::Array;

/// What the compiler gives, or why it refuses the model.
pub(crate) type ModelResult<T> = Result<T, Box<ModelError>>;

/// What the compiler is asked for besides the model.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How to read the model.
    pub(crate) import: ImportOptions,
    /// Target triple; this machine's when absent.
    pub(crate) target: Option<String>,
    /// CPUs; none, and `native`, stand for this machine's.
    pub(crate) cpus: Vec<String>,
    /// How to compile it.
    pub(crate) compile: CompileOptions,
}

impl Settings {
    /// To read a model; what is compiled of it is for others to say.
    pub(crate) fn to_import(import: ImportOptions) -> Settings {
        Settings { import, target: None, cpus: Vec::new(), compile: CompileOptions::default() }
    }
}

/// Reads an ONNX model.
pub(crate) fn import(
    bytes: Bytes,
    external: &dyn ExternalData,
    options: &ImportOptions,
) -> ModelResult<Model> {
    Ok(onnx::import(bytes, external, options)?)
}

/// Reads an ONNX model that has its weights in it.
pub(crate) fn import_whole(bytes: Bytes, options: &ImportOptions) -> ModelResult<Model> {
    import(bytes, &NoExternalData, options)
}

/// Whether an import failed only because the options do not fit the model.
pub(crate) fn is_bad_option(error: &ModelError) -> bool {
    matches!(error.problem, Problem::BadOption(_) | Problem::FixedBatch { .. })
}

/// The batch that a model fixes and the one that was asked for, if an import failed because of that.
pub(crate) fn fixed_batch(error: &ModelError) -> Option<[usize; 2]> {
    match error.problem {
        Problem::FixedBatch { batch, asked, .. } => Some([batch, asked]),
        _ => None,
    }
}

/// The same model for so many images at once, though it fixes another number of them.
pub(crate) fn rebatched(model: &Model, images: usize) -> ModelResult<Model> {
    Ok(Model { graph: rebatch(&model.graph, images)?, ..model.clone() })
}

/// Settings to compare two ways to the same results by: for this machine, in f32, by the definition of operators.
pub(crate) fn for_comparison(settings: &CompileOptions) -> Settings {
    let mut by_definition = Settings::to_import(ImportOptions::default());
    by_definition.compile.memory = settings.memory;
    by_definition.compile.schedule.winograd = false;
    by_definition
}

/// The input of which an import lacked a dimension, if it failed because of that.
pub(crate) fn input_of_unknown_shape(error: &ModelError) -> Option<&str> {
    match &error.problem {
        Problem::UnknownDimension { input, .. } => Some(input),
        _ => None,
    }
}

/// A compiled model, before its weights are packed.
pub(crate) struct Compiled {
    parts: ArtifactParts<PackedWeights>,
    /// Nodes of the graph after all passes.
    pub(crate) nodes: usize,
    /// The CPUs that there is code for.
    pub(crate) cpus: Vec<String>,
    /// Size of all code in bytes.
    pub(crate) code_bytes: usize,
    /// Size of the weights in bytes, as stored.
    pub(crate) weight_bytes: usize,
    /// Their size as code reads them.
    pub(crate) loaded_weight_bytes: usize,
    /// Those that stay in f32 although another format is asked for, as their values are beyond it.
    pub(crate) out_of_range: Vec<OutOfRange>,
    /// Scratch memory of an inference in bytes, the most of all CPUs'.
    pub(crate) arena_bytes: usize,
    /// What stands in the way of fewer samples than the model is compiled for, where something does.
    pub(crate) fixed_by: Option<String>,
}

impl Compiled {
    /// Packs the weights and lays everything out in memory, ready to be written or loaded.
    pub(crate) fn to_artifact(&self) -> ModelResult<Artifact> {
        let artifact = self.parts.clone().to_artifact();
        Ok(artifact.map_err(|error| match error {
            // Nothing is read or written here.
            LoadError::Io { .. } => ModelError::memory("the artifact"),
            other => ModelError::internal(other.to_string()),
        })?)
    }

    /// Packs the weights into a file that holds the same bytes, and is never in memory as a whole.
    pub(crate) fn write_to(&self, file: &mut dyn Room) -> io::Result<()> {
        self.parts.clone().write_to(file).map_err(|error| match error {
            LoadError::Io { source, .. } => source,
            other => io::Error::other(other),
        })
    }

    /// A line for each weight that stays in f32 although another format is asked for.
    pub(crate) fn out_of_range_lines(&self) -> impl Iterator<Item = String> {
        self.out_of_range.iter().map(|OutOfRange { name, magnitude, narrow }| {
            let words = narrow.words();
            format!("{name} stays in f32: with values of up to {magnitude:e} it may exceed {words}")
        })
    }
}

/// Compiles an imported model.
pub(crate) fn compile(model: &Model, settings: &Settings) -> ModelResult<Compiled> {
    let targets = targets(settings)?;
    Ok(described(Pipeline::new(model, &settings.compile).compile(&targets)?))
}

/// The same settings with nothing rounded that the model does not round: weights and products in f32.
pub(crate) fn in_f32(settings: &Settings) -> Settings {
    // What is proved of rewrites need not be proved again.
    let (weights, check_rewrites) = (None, false);
    let mut compile = CompileOptions { weights, check_rewrites, ..settings.compile.clone() };
    compile.schedule.bfloat16 = Bfloat16::Never;
    Settings { compile, ..settings.clone() }
}

/// Whether values of a graph are rounded to multiples of a scale.
pub(crate) fn rounds_values(graph: &Graph) -> bool {
    let rounds = |op: &Op| matches!(op, Op::Quantize | Op::Unary(Unary::Quantized { .. }, _));
    graph.nodes().any(|id| rounds(&graph.node(id).op))
}

/// Whether these settings may round what the model does not.
pub(crate) fn may_round(settings: &Settings) -> bool {
    let compile = &settings.compile;
    compile.weights.is_some() || compile.schedule.bfloat16 != Bfloat16::Never
}

/// What there is to say of a compiled model.
fn described(compiled: cardinal_compiler::Compiled) -> Compiled {
    let cardinal_compiler::Compiled { parts, nodes, out_of_range } = compiled;
    let variants = || parts.code.iter().map(|code| &code.variant);
    Compiled {
        nodes,
        cpus: variants().map(|variant| variant.name.clone()).collect(),
        code_bytes: parts.code.iter().map(|code| code.bytes.len()).sum(),
        weight_bytes: parts.weights.length(),
        loaded_weight_bytes: parts.weights.loaded_bytes(),
        out_of_range,
        arena_bytes: variants().map(|v| v.arena_bytes).max().unwrap_or(0) as usize,
        fixed_by: variants().map(|v| v.fixed_by.clone()).find(|by| !by.is_empty()),
        parts,
    }
}

/// The CPUs that the settings ask for: this machine's where they are silent.
fn targets(settings: &Settings) -> ModelResult<Vec<Target>> {
    match settings.cpus.as_slice() {
        [] => Ok(vec![target(settings, None)?]),
        cpus => cpus.iter().map(|cpu| target(settings, Some(cpu))).collect(),
    }
}

/// The first CPU that the settings ask for: what is shown or tuned for one is for this one.
pub(crate) fn first_target(settings: &Settings) -> ModelResult<Target> {
    target(settings, settings.cpus.first().map(String::as_str))
}

/// An object file of a compiled model, whose symbols begin with the stem of the file that it is for.
pub(crate) fn object(artifact: &Artifact, stem: &str) -> ModelResult<Object> {
    Ok(object::build(artifact, &object::Name::from_stem(stem))?)
}

/// The machine that the settings ask for: this one where they are silent. Another triple without
/// a CPU means the least that its architecture guarantees.
fn target(settings: &Settings, name: Option<&str>) -> ModelResult<Target> {
    let host = cpu::host_triple();
    let triple = settings.target.as_deref().unwrap_or(&host);
    let native = || Ok(Target::new(triple, &cpu::host_features())?.for_core(cpu::host_core()));
    Ok(match name {
        None if cpu::matches_host(triple) => native(),
        None => Target::named(triple, "generic"),
        Some("native") if cpu::matches_host(triple) => native(),
        Some("native") => Err(ModelError::from(Problem::Target(format!(
            "`--cpu native` is this machine's CPU, and the target is {triple}"
        )))),
        Some(name) => Target::named(triple, name),
    }?)
}

/// Runs a graph in the reference interpreter.
pub(crate) fn interpret(graph: &Graph, inputs: &[Array]) -> ModelResult<Vec<Array>> {
    let inputs = inputs.iter().map(tensor).collect::<ModelResult<Vec<_>>>()?;
    Ok(interp::run(graph, &inputs)?.iter().map(array).collect())
}

fn tensor(array: &Array) -> ModelResult<interp::Tensor> {
    interp::Tensor::from_bytes(&TensorType::new(array.dtype, &array.shape), &array.bytes)
        .ok_or_else(|| Box::new(ModelError::internal("a tensor's bytes do not fit its shape")))
}

fn array(tensor: &interp::Tensor) -> Array {
    Array { dtype: tensor.dtype, shape: tensor.shape.clone(), bytes: tensor.to_bytes().to_vec() }
}
