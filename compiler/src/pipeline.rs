//! The whole pipeline: an imported model to an artifact, and what happened on the way.
//!
//! ```text
//! Model --passes--> Graph --plans--> a Plan for each target --code--> Code --assemble--> Compiled
//! ```
//!
//! This is the only way through the compiler. What compiles, relinks, inspects, times or tunes goes as
//! far along it as it needs, and finds in the [`Trace`] what it asked to [`Keep`].

mod assemble;
mod trace;

use std::collections::BTreeMap;

pub use assemble::Compiled;
pub(crate) use assemble::{VERSION, VariantCode};
pub use trace::{Keep, PassTrace, Trace, VariantTrace};

use crate::codegen::{self, Code, Listing, Target};
use crate::error::{Error, Problem, Result};
use crate::ir::{Graph, verify};
use crate::onnx::Model;
use crate::options::CompileOptions;
use crate::passes::{self, Run};
use crate::plan::{self, Layer, Machine};

/// Compiles a model for one or more CPUs of one kind of machine, whatever their order. All read one
/// weights section, and each has the kernels that it would have alone, and so gives the same bits.
///
/// The result depends on the model, the targets, the options and the version of the compiler alone.
///
/// # Errors
/// What the model asks for and generated code cannot do, as [`crate::error::Problem`] describes;
/// [`Problem::Target`] for no target, and for targets of different triples.
pub fn compile(model: &Model, targets: &[Target], options: &CompileOptions) -> Result<Compiled> {
    Pipeline::new(model, options).compile(targets)
}

impl Model {
    /// Compiles the model with default options, as [`compile`] describes.
    ///
    /// # Errors
    /// Those of [`compile`].
    pub fn compile(&self, targets: &[Target]) -> Result<Compiled> {
        compile(self, targets, &CompileOptions::default())
    }
}

/// A model before its way through the compiler.
#[derive(Debug, Clone, Copy)]
pub struct Pipeline<'m> {
    model: &'m Model,
    options: &'m CompileOptions,
    keep: Keep,
}

impl<'m> Pipeline<'m> {
    /// The way of this model with these options. Nothing but results is kept.
    pub fn new(model: &'m Model, options: &'m CompileOptions) -> Pipeline<'m> {
        Pipeline { model, options, keep: Keep::default() }
    }

    /// The same way, on which this is kept too.
    pub fn keeping(self, keep: Keep) -> Pipeline<'m> {
        Pipeline { keep, ..self }
    }

    /// The model, as it was imported.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Runs the passes, all of them or up to and with `until`.
    ///
    /// # Errors
    /// Those of [`passes::run_with`].
    pub fn passes(&self, until: Option<&str>) -> Result<Trace> {
        let Keep { graphs, changes } = self.keep;
        let run = Run { until, check_rewrites: self.options.check_rewrites, changes };
        let mut graph = self.model.graph.clone();
        let mut passes = Vec::new();
        passes::run_with(&mut graph, run, &mut |done| {
            let after = graphs.then(|| done.graph.clone());
            let (near_misses, changes) = (done.near_misses, done.changes);
            passes.push(PassTrace { pass: done.pass, after, changes, near_misses });
        })?;
        Ok(Trace { passes, graph, choices: BTreeMap::new(), variants: Vec::new() })
    }

    /// Runs all passes, and plans for each target.
    ///
    /// # Errors
    /// Those of [`compile`], but for what only generating code finds.
    pub fn plans(&self, targets: &[Target]) -> Result<Trace> {
        let targets = in_order(targets)?;
        let mut trace = self.passes(None)?;
        verify(&trace.graph)?;
        let machines: Vec<_> = targets.iter().map(|t| t.machine_for(self.options)).collect();
        let plans = plan::lower_all(&trace.graph, &machines)?;
        trace.choices =
            machines.iter().flat_map(|machine| changed(&trace.graph, machine)).collect();
        let variants = targets.into_iter().zip(plans);
        trace.variants = variants.map(|(target, plan)| VariantTrace { target, plan }).collect();
        Ok(trace)
    }

    /// The convolutions that a target's plan has in blocks, with what each can be computed as, in the
    /// order of the plan.
    ///
    /// # Errors
    /// Those of the passes.
    pub fn layers(&self, target: &Target) -> Result<Vec<Layer>> {
        let trace = self.passes(None)?;
        Ok(layers(&trace.graph, &target.machine_for(self.options)))
    }

    /// Goes the whole way, as [`compile`] describes.
    ///
    /// # Errors
    /// Those of [`compile`].
    pub fn compile(&self, targets: &[Target]) -> Result<Compiled> {
        let trace = self.plans(targets)?;
        let code = trace.variants.iter().map(|variant| {
            let Code { bytes, entry, .. } = variant.code(Listing::default())?;
            Ok(VariantCode { bytes, entry: entry as u64 })
        });
        let code = code.collect::<Result<_>>()?;
        Ok(self.assemble(trace, code))
    }

    /// Puts everything together, with the code of each variant in order.
    pub(crate) fn assemble(&self, trace: Trace, code: Vec<VariantCode>) -> Compiled {
        assemble::assemble(self.model, self.options, trace, code)
    }
}

impl VariantTrace {
    /// Generates this variant's code, with the texts that are asked for.
    ///
    /// # Errors
    /// Those of [`codegen::generate`].
    pub fn code(&self, listing: Listing) -> Result<Code> {
        codegen::generate(&self.plan, &self.target, listing)
    }
}

/// The targets without repetitions, in the order of an artifact's variants: none asks for less than
/// one before it.
fn in_order(targets: &[Target]) -> Result<Vec<Target>> {
    let mut targets = targets.to_vec();
    targets.sort_by_cached_key(|t| (t.features().len(), t.features().to_vec()));
    targets.dedup();
    let Some(first) = targets.first() else {
        return Err(Problem::Target("there is none to compile for".into()).into());
    };
    match targets.iter().find(|target| target.triple() != first.triple()) {
        Some(other) => {
            let what = format!("{} and {} in one artifact", first.triple(), other.triple());
            Err(Error::from(Problem::Target(what)).with_remedy("compile once for each"))
        }
        None => Ok(targets),
    }
}

fn layers(graph: &Graph, machine: &Machine) -> Vec<Layer> {
    plan::layers(graph, machine)
}

/// What a machine's choices change, by layer.
fn changed(graph: &Graph, machine: &Machine) -> Vec<(String, String)> {
    if machine.choices.is_empty() {
        return Vec::new();
    }
    let changed = layers(graph, machine).into_iter().filter(Layer::is_changed);
    changed.map(|layer| (layer.key, layer.taken.to_string())).collect()
}
