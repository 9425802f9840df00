//! The one module that calls the compiler and the runtime.

use std::num::NonZeroUsize;

use bytes::Bytes;
use cardinal_compiler::error::{Error as ModelError, Problem};
use cardinal_compiler::ir::{Graph, TensorType};
use cardinal_compiler::onnx::ExternalData;
use cardinal_compiler::options::ImportOptions;
use cardinal_compiler::{interp, ir, onnx};

pub(crate) use cardinal_compiler::onnx::Model;

use crate::args::{Format, Stage};
use crate::exit::{Failure, Outcome};
use crate::tensors::{Array, Spec};

/// What the compiler gives, or why it refuses the model.
pub(crate) type ModelResult<T> = Result<T, Box<ModelError>>;

/// What the compiler is asked for besides the model.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "nothing generates code yet")]
pub(crate) struct Settings {
    /// How to read the model.
    pub(crate) import: ImportOptions,
    /// Target triple; this machine's when absent.
    pub(crate) target: Option<String>,
    /// CPU; this machine's when absent or `native`.
    pub(crate) cpu: Option<String>,
    /// Whether Winograd convolutions may be used.
    pub(crate) winograd: bool,
    /// Threads of the compiler.
    pub(crate) threads: NonZeroUsize,
}

/// How many threads this machine runs at once.
pub(crate) fn available_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Reads an ONNX model.
pub(crate) fn import(
    bytes: Bytes,
    external: &dyn ExternalData,
    options: &ImportOptions,
) -> ModelResult<Model> {
    Ok(onnx::import(bytes, external, options)?)
}

/// Whether an import failed only because the options do not fit the model.
pub(crate) fn is_bad_option(error: &ModelError) -> bool {
    matches!(error.problem, Problem::BadOption(_))
}

/// A pass of the compiler: its name, and what it does in a line.
#[derive(Debug, Clone)]
pub(crate) struct PassInfo {
    /// As `--after` takes it.
    pub(crate) name: String,
    /// What it does.
    pub(crate) summary: String,
}

/// Every pass, in order.
pub(crate) fn passes() -> Vec<PassInfo> {
    Vec::new()
}

/// A place where a pass matched, but a check failed.
#[derive(Debug, Clone)]
pub(crate) struct NearMiss {
    /// The pass.
    pub(crate) pass: String,
    /// The ONNX node.
    pub(crate) node: String,
    /// The check.
    pub(crate) because: String,
}

/// Runs the passes, all or up to and with `until`; `observe` sees the graph after each.
pub(crate) fn optimise(
    graph: &mut Graph,
    until: Option<&str>,
    observe: &mut dyn FnMut(&str, &Graph),
) -> ModelResult<Vec<NearMiss>> {
    let _ = (graph, until, observe);
    Err(ModelError::internal("the passes are not here yet").into())
}

/// A compiled model, ready to be written or loaded.
pub(crate) struct Compiled {
    /// The artifact.
    pub(crate) artifact: Bytes,
    /// Nodes of the graph after all passes.
    pub(crate) nodes: usize,
    /// Size of the code in bytes.
    pub(crate) code_bytes: usize,
    /// Size of the weights in bytes.
    pub(crate) weight_bytes: usize,
    /// Scratch memory of an inference in bytes.
    pub(crate) arena_bytes: usize,
}

/// Compiles an imported model.
pub(crate) fn compile(model: &Model, settings: &Settings) -> ModelResult<Compiled> {
    let _ = (model, settings);
    Err(ModelError::internal("the code generator is not here yet").into())
}

/// A graph in one of the formats that graphs have.
pub(crate) fn dump_graph(graph: &Graph, format: Format) -> Option<String> {
    match format {
        Format::Text => Some(ir::text::print(graph)),
        Format::Json => Some(ir::json::to_json(graph).to_string()),
        Format::Dot => Some(ir::dot::to_dot(graph)),
        Format::Svg | Format::Html => None,
    }
}

/// One of the stages after the graph; `None` when the stage does not have the format.
pub(crate) fn dump_lowered(
    model: &Model,
    settings: &Settings,
    stage: Stage,
    format: Format,
) -> ModelResult<Option<String>> {
    let _ = (model, settings, stage, format);
    Err(ModelError::internal("the later stages are not here yet").into())
}

/// Runs a graph in the reference interpreter.
pub(crate) fn interpret(graph: &Graph, inputs: &[Array]) -> ModelResult<Vec<Array>> {
    let tensor = |array: &Array| {
        interp::Tensor::from_bytes(&TensorType::new(array.dtype, &array.shape), &array.bytes)
            .ok_or_else(|| ModelError::internal("a tensor's bytes do not fit its shape"))
    };
    let inputs = inputs
        .iter()
        .map(tensor)
        .collect::<Result<Vec<_>, ModelError>>()?;
    let array = |tensor: &interp::Tensor| Array {
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        bytes: tensor.to_bytes().to_vec(),
    };
    Ok(interp::run(graph, &inputs)?.iter().map(array).collect())
}

/// A loaded model.
pub(crate) struct Program {
    inputs: Vec<Spec>,
    outputs: Vec<Spec>,
    metadata: Vec<(String, String)>,
}

impl Program {
    /// Loads an artifact; `file` is its name for messages.
    ///
    /// # Errors
    /// [`Failure::BadModel`] when it is damaged or for another machine.
    pub(crate) fn load(artifact: Bytes, file: &str) -> Outcome<Program> {
        let _ = artifact;
        Err(Failure::BadModel {
            file: file.to_owned(),
            message: "the runtime is not here yet".into(),
            help: None,
        })
    }

    /// What it takes, in order.
    pub(crate) fn inputs(&self) -> &[Spec] {
        &self.inputs
    }

    /// What it gives, in order.
    pub(crate) fn outputs(&self) -> &[Spec] {
        &self.outputs
    }

    /// The ONNX file's `metadata_props`.
    pub(crate) fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }
}

/// A program with its threads and scratch memory.
pub(crate) struct Session {
    outputs: Vec<Spec>,
}

/// Inputs in the form that the runtime takes.
pub(crate) struct Prepared;

impl Session {
    /// Threads and memory for one inference at a time.
    pub(crate) fn new(program: &Program, threads: NonZeroUsize) -> Outcome<Session> {
        let _ = threads;
        Ok(Session {
            outputs: program.outputs.clone(),
        })
    }

    /// Runs the model once.
    pub(crate) fn run(&mut self, inputs: &[Array]) -> Outcome<Vec<Array>> {
        let _ = (inputs, &self.outputs);
        Err(Failure::Failed("the runtime is not here yet".into()))
    }

    /// Converts inputs once, for [`run_prepared`](Self::run_prepared).
    pub(crate) fn prepare(&self, inputs: &[Array]) -> Outcome<Prepared> {
        let _ = inputs;
        Ok(Prepared)
    }

    /// Runs the model and drops its results.
    pub(crate) fn run_prepared(&mut self, inputs: &Prepared) -> Outcome {
        let _ = inputs;
        self.run(&[]).map(drop)
    }
}

/// What an artifact says about itself, as lines of (what, value).
pub(crate) fn describe(artifact: Bytes, file: &str) -> Outcome<Vec<(String, String)>> {
    let program = Program::load(artifact, file)?;
    let line = |what: &str, spec: &Spec| (what.to_owned(), spec.to_string());
    let mut lines: Vec<_> = program.inputs().iter().map(|s| line("input", s)).collect();
    lines.extend(program.outputs().iter().map(|s| line("output", s)));
    lines.extend(
        program
            .metadata()
            .iter()
            .map(|(k, v)| (format!("metadata {k}"), v.clone())),
    );
    Ok(lines)
}
