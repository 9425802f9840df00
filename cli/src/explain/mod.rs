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
use cardinal_compiler::pipeline::{Keep, Trace, VariantTrace};
use cardinal_compiler::plan::{self, Base, Place, Plan};
use cardinal_compiler::schedule;

use crate::engine::{self, Model, ModelResult, Pipeline, Settings};
use crate::exit::Outcome;

use code::Function;
use names::Meaning;

/// A model with everything that it became.
pub(crate) struct Compiled<'m> {
    imported: &'m Graph,
    trace: Trace,
    variant: VariantTrace,
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
        let mut trace = pipeline.plans(&[engine::first_target(settings)?])?;
        let variant = trace.variants.pop();
        let variant = variant
            .ok_or_else(|| Box::new(cardinal_compiler::Error::internal("there is no variant")))?;
        let plan = variant.plan()?.clone();
        let code = variant.code(Listing { clif: false, assembly })?;
        let functions = plan::step_functions(&plan);
        Ok(Compiled { imported: &model.graph, trace, variant, plan, code, functions })
    }
}

/// The way of one thing.
pub(crate) struct Story {
    /// What was asked for, and what it is.
    name: String,
    kind: &'static str,
    onnx: Vec<OnnxNode>,
    rewrites: Vec<Rewrite>,
    fused: Vec<Fused>,
    steps: Vec<StepStory>,
    functions: Vec<Function>,
}

/// A node of the file, and what the importer made of it.
struct OnnxNode {
    name: String,
    /// Values with their operators.
    imported: Vec<String>,
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
            rewrites: rewrites(&compiled.trace, origins),
            fused: fused.iter().map(|id| fused_node(compiled, *id)).collect(),
            steps: steps.iter().filter_map(|number| step(compiled, *number)).collect(),
            functions,
        })
    }
}

fn onnx_node(imported: &Graph, origin: &Origin) -> OnnxNode {
    let made = imported.nodes().map(|id| imported.node(id));
    let made = made.filter(|node| node.from.contains(origin)).map(brief);
    OnnxNode { name: origin.to_string(), imported: made.collect() }
}

/// A node's operator and value.
fn brief(node: &Node) -> String {
    format!("{} %{}", node.op.mnemonic(), node.name)
}

/// The edits that replaced something which came from these ONNX nodes.
fn rewrites(trace: &Trace, origins: &BTreeSet<Origin>) -> Vec<Rewrite> {
    let touches = |node: &Node| node.from.iter().any(|origin| origins.contains(origin));
    let all = trace.passes.iter().flat_map(|pass| {
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
    let graph = &compiled.trace.graph;
    Fused {
        name: graph.node(id).name.clone(),
        text: ir::text::print_node(graph, id),
        schedule: schedule::text::node(graph, &compiled.variant.schedule, id),
    }
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
