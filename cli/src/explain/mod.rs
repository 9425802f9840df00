//! What became of one thing of a model on its way from the ONNX file to machine code: the whole way, to which the
//! thing is found from either end.
//!
//! - [`names`] finds what a name means,
//! - [`code`] has the functions of steps, with their innermost loops,
//! - [`text`] and [`json`] show the way.

pub(crate) mod code;
mod json;
mod names;
mod text;

use std::collections::BTreeSet;

use cardinal_compiler::codegen::{Code, Listing};
use cardinal_compiler::ir::{self, Graph, Node, NodeId, Origin};
use cardinal_compiler::passes::Change;
use cardinal_compiler::pipeline::{Keep, PassTrace, Trace};
use cardinal_compiler::plan::{self, Base, Place, Plan};
use cardinal_compiler::schedule::{self, Summary};
use cardinal_runtime::Artifact;

use crate::engine::{self, Model, ModelResult, Pipeline, Record, Settings};
use crate::exit::Outcome;

use code::Function;
use names::Meaning;

/// A model with everything that it became.
pub(crate) struct Compiled<'m> {
    /// The graph before all passes; of an artifact that is not known.
    imported: Option<&'m Graph>,
    passes: Vec<PassTrace>,
    /// The graph after them.
    graph: Graph,
    schedule: Summary,
    plan: Plan,
    code: Code,
    /// The function of each step.
    functions: Vec<String>,
}

impl<'m> Compiled<'m> {
    /// Compiles for the first CPU of the settings.
    ///
    /// # Errors
    /// Those of the compiler.
    pub(crate) fn new(
        model: &'m Model,
        settings: &Settings,
        assembly: bool,
    ) -> ModelResult<Compiled<'m>> {
        let keep = Keep { changes: true, ..Keep::default() };
        let pipeline = Pipeline::new(model, &settings.compile).keeping(keep);
        let Trace { passes, graph, mut variants } =
            pipeline.plans(&[engine::first_target(settings)?])?;
        let variant = variants.pop();
        let variant = variant
            .ok_or_else(|| Box::new(cardinal_compiler::Error::internal("there is no variant")))?;
        let plan = variant.plan()?.clone();
        let code = variant.code(Listing { clif: false, assembly })?;
        let functions = plan::step_functions(&plan);
        let schedule = Summary::of(&graph, &variant.schedule);
        let imported = Some(&model.graph);
        Ok(Compiled { imported, passes, graph, schedule, plan, code, functions })
    }

    /// What an artifact says of the variant at a position.
    ///
    /// # Errors
    /// Where it does not say it.
    pub(crate) fn recorded(
        artifact: &Artifact,
        position: usize,
        assembly: bool,
    ) -> ModelResult<Compiled<'static>> {
        let record = Record::read(artifact, position)?;
        let code = record.code(artifact, position, assembly)?;
        let Record { graph, schedule, plan, .. } = record;
        let functions = plan::step_functions(&plan);
        let passes = Vec::new();
        Ok(Compiled { imported: None, passes, graph, schedule, plan, code, functions })
    }
}

/// The way of one thing.
pub(crate) struct Story {
    /// What was asked for, and what it is.
    name: String,
    kind: &'static str,
    onnx: Vec<OnnxNode>,
    /// None where passes are not known.
    rewrites: Option<Vec<Rewrite>>,
    fused: Vec<Fused>,
    steps: Vec<StepStory>,
    functions: Vec<Function>,
}

/// A node of the file, and what the importer made of it.
struct OnnxNode {
    name: String,
    /// Values with their operators, where they are known.
    imported: Option<Vec<String>>,
}

/// An edit of a pass.
struct Rewrite {
    pass: &'static str,
    summary: &'static str,
    at: String,
    removed: Vec<String>,
    made: Vec<String>,
}

/// A node after all passes, and what was chosen for it.
struct Fused {
    name: String,
    text: String,
    schedule: String,
}

/// A step of the plan.
struct StepStory {
    number: usize,
    headline: String,
    why: String,
    arguments: Vec<Argument>,
    function: String,
}

/// Where an argument of a step is.
struct Argument {
    role: String,
    name: String,
    /// `arena`, `weights`, `input`, `output` or `worker`.
    memory: &'static str,
    /// From the beginning of that.
    offset: usize,
    /// Its size, where it is one thing of the plan's.
    bytes: Option<usize>,
    /// The first and last step that a buffer lives in.
    lives: Option<[usize; 2]>,
}

impl Story {
    /// Finds the thing of this name, and its way.
    ///
    /// # Errors
    /// [`Failure::Usage`](crate::exit::Failure::Usage) for what is nothing, or could be several things.
    pub(crate) fn of(compiled: &Compiled<'_>, name: &str) -> Outcome<Story> {
        let meaning = Meaning::of(compiled, name)?;
        let Meaning { kind, origins, fused, steps, functions, .. } = &meaning;
        let functions = match functions.is_empty() {
            true => code::of_steps(compiled, steps),
            false => code::with_callees(compiled, functions),
        };
        Ok(Story {
            name: meaning.name.clone(),
            kind,
            onnx: origins.iter().map(|origin| onnx_node(compiled.imported, origin)).collect(),
            rewrites: compiled.imported.map(|_| rewrites(&compiled.passes, origins)),
            fused: fused.iter().map(|id| fused_node(compiled, *id)).collect(),
            steps: steps.iter().filter_map(|number| step(compiled, *number)).collect(),
            functions,
        })
    }
}

fn onnx_node(imported: Option<&Graph>, origin: &Origin) -> OnnxNode {
    let made = |graph: &Graph| {
        let nodes = graph.nodes().map(|id| graph.node(id));
        nodes.filter(|node| node.from.contains(origin)).map(brief).collect()
    };
    OnnxNode { name: origin.to_string(), imported: imported.map(made) }
}

/// A node's operator and value.
fn brief(node: &Node) -> String {
    format!("{} %{}", node.op.mnemonic(), node.name)
}

/// The edits that replaced something which came from these ONNX nodes.
fn rewrites(passes: &[PassTrace], origins: &BTreeSet<Origin>) -> Vec<Rewrite> {
    let touches = |node: &Node| node.from.iter().any(|origin| origins.contains(origin));
    let all = passes.iter().flat_map(|pass| {
        let touched = |change: &&Change| change.removed.iter().chain(&change.made).any(touches);
        pass.changes.iter().filter(touched).map(|change| (pass.pass, change))
    });
    let rewrite = |(pass, change): (&cardinal_compiler::passes::Pass, &Change)| Rewrite {
        pass: pass.name,
        summary: pass.summary,
        at: change.at.clone(),
        removed: change.removed.iter().map(brief).collect(),
        made: change.made.iter().map(brief).collect(),
    };
    all.map(rewrite).collect()
}

fn fused_node(compiled: &Compiled<'_>, id: NodeId) -> Fused {
    let graph = &compiled.graph;
    let name = graph.node(id).name.clone();
    let schedule = compiled.schedule.node(&name).map(schedule::text::node);
    let text = ir::text::print_node(graph, id);
    Fused { name, text, schedule: schedule.unwrap_or_default() }
}

fn step(compiled: &Compiled<'_>, number: usize) -> Option<StepStory> {
    let plan = &compiled.plan;
    let step = plan.steps.get(number)?;
    let arguments = step.arguments();
    let arguments = arguments.map(|(role, place)| argument(plan, role.to_string(), place));
    Some(StepStory {
        number,
        headline: plan::text::headline(plan, step),
        why: step.why.clone(),
        arguments: arguments.collect(),
        function: compiled.functions.get(number)?.clone(),
    })
}

fn argument(plan: &Plan, role: String, place: Place) -> Argument {
    let (name, memory, begin, bytes) = match place.base {
        Base::Input(i) => (port(&plan.inputs, i), "input", 0, None),
        Base::Output(i) => (port(&plan.outputs, i), "output", 0, None),
        Base::Constant(i) => {
            let constant = &plan.constants[i];
            (constant.name.clone(), "weights", constant.offset, Some(constant.ty.bytes()))
        }
        Base::Buffer(i) => {
            let buffer = &plan.buffers[i];
            (buffer.name.clone(), "arena", buffer.offset, Some(buffer.bytes))
        }
        Base::Worker => (String::new(), "worker", 0, Some(plan.worker_bytes)),
    };
    let lives = match place.base {
        Base::Buffer(i) => Some([plan.buffers[i].first, plan.buffers[i].last]),
        Base::Input(_) | Base::Output(_) | Base::Constant(_) | Base::Worker => None,
    };
    Argument { role, name, memory, offset: begin + place.offset, bytes, lives }
}

fn port(ports: &[plan::Port], i: usize) -> String {
    ports.get(i).map(|port| port.name.clone()).unwrap_or_default()
}
