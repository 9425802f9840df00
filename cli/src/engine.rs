//! The one module that calls the compiler.

mod relink;
mod tuning;

use std::collections::BTreeMap;

use bytes::Bytes;
use cardinal_compiler::codegen::{Listing, Target};
use cardinal_compiler::error::{Error as ModelError, Problem};
use cardinal_compiler::ir::TensorType;
use cardinal_compiler::onnx::ExternalData;
use cardinal_compiler::options::{CompileOptions, ImportOptions};
use cardinal_compiler::plan::weights::BeyondHalf;
use cardinal_compiler::{interp, ir, kernels, object, onnx, passes, plan};
use cardinal_runtime::Artifact;

pub(crate) use cardinal_compiler::ir::Graph;
pub(crate) use cardinal_compiler::object::Object;
pub(crate) use cardinal_compiler::onnx::Model;
pub(crate) use relink::relink;
pub(crate) use tuning::{
    Choice, Choices, Chosen, Cpu, Layer, Timing, Winner, cpus, layer_times, layers, read_choice,
};

use crate::args::{Format, Stage};
use crate::program::Program;
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
    let info =
        |pass: &passes::Pass| PassInfo { name: pass.name.into(), summary: pass.summary.into() };
    passes::TABLE.iter().map(info).collect()
}

/// A place where a pass matched, but a check failed.
#[derive(Debug, Clone)]
pub(crate) struct NearMiss {
    /// The pass.
    pub(crate) pass: String,
    /// The ONNX node at which the pattern is anchored.
    pub(crate) node: String,
    /// Every ONNX node that the pattern took in.
    pub(crate) from: Vec<String>,
    /// The check.
    pub(crate) because: String,
}

/// Runs the passes, all or up to and with `until`; `observe` sees the graph after each.
pub(crate) fn optimise(
    graph: &mut Graph,
    until: Option<&str>,
    observe: &mut dyn FnMut(&str, &Graph),
) -> ModelResult<Vec<NearMiss>> {
    let misses = passes::run(graph, until, &mut |pass, graph| observe(pass.name, graph))?;
    let near_miss = |miss: passes::NearMiss| NearMiss {
        pass: miss.pass.into(),
        node: miss.node.map_or(miss.value, |node| node.to_string()),
        from: miss.from.iter().map(ToString::to_string).collect(),
        because: miss.because,
    };
    Ok(misses.into_iter().map(near_miss).collect())
}

/// How many nodes of each operator a graph has, inputs and weights not counted.
pub(crate) fn operators(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for id in graph.nodes() {
        let op = &graph.node(id).op;
        if !matches!(op, ir::Op::Input | ir::Op::Weight(_)) {
            *counts.entry(op.mnemonic()).or_insert(0) += 1;
        }
    }
    counts
}

/// A compiled model, ready to be written or loaded.
pub(crate) struct Compiled {
    /// The artifact.
    pub(crate) artifact: Artifact,
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
    /// Those that stay in f32 although half precision is asked for, as their values are beyond it.
    pub(crate) beyond_half: Vec<BeyondHalf>,
    /// Scratch memory of an inference in bytes, the most of all CPUs'.
    pub(crate) arena_bytes: usize,
}

impl Compiled {
    /// A line for each weight that stays in f32 although half precision is asked for.
    pub(crate) fn beyond_half_lines(&self) -> impl Iterator<Item = String> {
        self.beyond_half.iter().map(|BeyondHalf { name, magnitude }| {
            format!("{name} stays in f32: with values of up to {magnitude:e} it may exceed half precision")
        })
    }
}

/// Compiles an imported model.
pub(crate) fn compile(model: &Model, settings: &Settings) -> ModelResult<Compiled> {
    let targets = targets(settings)?;
    assemble(cardinal_compiler::compile(model, &targets, &settings.compile)?)
}

/// Packs the weights and lays everything out.
fn assemble(compiled: cardinal_compiler::Compiled) -> ModelResult<Compiled> {
    let (nodes, beyond_half) = (compiled.nodes, compiled.beyond_half);
    let artifact = compiled.parts.to_artifact();
    let artifact = artifact.map_err(|error| ModelError::internal(error.to_string()))?;
    let variants = artifact.variants();
    Ok(Compiled {
        nodes,
        cpus: variants.iter().map(|variant| variant.name.clone()).collect(),
        code_bytes: (0..variants.len()).map(|i| artifact.code(i).len()).sum(),
        weight_bytes: artifact.weights().len(),
        loaded_weight_bytes: artifact.loaded_weight_bytes(),
        beyond_half,
        arena_bytes: variants.iter().map(|v| v.arena_bytes).max().unwrap_or(0) as usize,
        artifact,
    })
}

/// The CPUs that the settings ask for: this machine's where they are silent.
fn targets(settings: &Settings) -> ModelResult<Vec<Target>> {
    match settings.cpus.as_slice() {
        [] => Ok(vec![target(settings, None)?]),
        cpus => cpus.iter().map(|cpu| target(settings, Some(cpu))).collect(),
    }
}

/// An object file of a compiled model, whose symbols begin with the stem of the file that it is for.
pub(crate) fn object(compiled: &Compiled, stem: &str) -> ModelResult<Object> {
    Ok(object::build(&compiled.artifact, &object::Name::from_stem(stem))?)
}

/// The machine that the settings ask for: this one where they are silent. Another triple without
/// a CPU means the least that its architecture guarantees.
fn target(settings: &Settings, cpu: Option<&str>) -> ModelResult<Target> {
    let host = cardinal_runtime::cpu::host_triple();
    let triple = settings.target.as_deref().unwrap_or(&host);
    let native = Target::new(triple, &cardinal_runtime::cpu::host_features());
    Ok(match cpu {
        None if cardinal_runtime::cpu::matches_host(triple) => native,
        None => Target::named(triple, "generic"),
        Some("native") if cardinal_runtime::cpu::matches_host(triple) => native,
        Some("native") => Err(ModelError::from(Problem::Target(format!(
            "`--cpu native` is this machine's CPU, and the target is {triple}"
        )))),
        Some(cpu) => Target::named(triple, cpu),
    }?)
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

/// One of the stages after the graph, for the first CPU of the settings; `None` when the stage does
/// not have the format.
pub(crate) fn dump_lowered(
    model: &Model,
    settings: &Settings,
    stage: Stage,
    format: Format,
) -> ModelResult<Option<String>> {
    let target = target(settings, settings.cpus.first().map(String::as_str))?;
    let plan = lowered(model, settings, &target)?;
    let listing = match (stage, format) {
        (Stage::Plan, Format::Text) => return Ok(Some(plan::text::print(&plan))),
        (Stage::Plan, Format::Json) => return Ok(Some(plan::json::to_json(&plan).to_string())),
        (Stage::Plan, Format::Dot) => return Ok(Some(plan::dot::to_dot(&plan))),
        (Stage::Clif, Format::Text) => Listing { clif: true, assembly: false },
        (Stage::Asm, Format::Text) => Listing { clif: false, assembly: true },
        _ => return Ok(None),
    };
    let code = plan::generate(&plan, &target, listing)?;
    Ok(Some(code.listing()))
}

/// A step of a compiled model's plan.
#[derive(Debug, Clone)]
pub(crate) struct StepInfo {
    /// The value it makes.
    pub(crate) name: String,
    /// Its kernel.
    pub(crate) kernel: &'static str,
    /// Multiply-adds by the definition of what it computes.
    pub(crate) multiply_adds: usize,
}

/// The steps that a model was compiled to with these settings, in the variant that runs, in order.
pub(crate) fn steps(
    model: &Model,
    settings: &Settings,
    program: &Program,
) -> ModelResult<Vec<StepInfo>> {
    let mut targets = targets(settings)?.into_iter();
    let target = targets.find(|target| target.cpu() == program.isa());
    let target = target.ok_or_else(|| ModelError::internal("no target is what runs"))?;
    let plan = lowered(model, settings, &target)?;
    let info = |step: &plan::Step| StepInfo {
        name: step.name.clone(),
        kernel: step.kernel.name(),
        multiply_adds: step.kernel.multiply_adds(),
    };
    Ok(plan.steps.iter().map(info).collect())
}

fn lowered(model: &Model, settings: &Settings, target: &Target) -> ModelResult<plan::Plan> {
    let graph = optimised(model)?;
    let schedule = kernels::schedule(&graph, &target.machine(), &settings.compile.schedule);
    Ok(kernels::lower(&graph, &schedule)?)
}

fn optimised(model: &Model) -> ModelResult<Graph> {
    let mut graph = model.graph.clone();
    passes::run(&mut graph, None, &mut |_, _| {})?;
    Ok(graph)
}

/// Runs a graph in the reference interpreter.
pub(crate) fn interpret(graph: &Graph, inputs: &[Array]) -> ModelResult<Vec<Array>> {
    let tensor = |array: &Array| {
        interp::Tensor::from_bytes(&TensorType::new(array.dtype, &array.shape), &array.bytes)
            .ok_or_else(|| Box::new(ModelError::internal("a tensor's bytes do not fit its shape")))
    };
    let inputs = inputs.iter().map(tensor).collect::<ModelResult<Vec<_>>>()?;
    let array = |tensor: &interp::Tensor| Array {
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        bytes: tensor.to_bytes().to_vec(),
    };
    Ok(interp::run(graph, &inputs)?.iter().map(array).collect())
}
