//! The whole pipeline: an imported model to an artifact.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use cardinal_runtime::ArtifactParts;
use cardinal_runtime::manifest::{Choice, Manifest, Property, TensorInfo, Variant};

use crate::codegen::{Code, Listing, Target};
use crate::error::{Error, Problem, Result};
use crate::ir::{Graph, verify};
use crate::kernels;
use crate::onnx::Model;
use crate::options::{CompileOptions, Precision};
use crate::passes::{self, Run};
use crate::plan::structure::Structure;
use crate::plan::weights::{BeyondHalf, PackedWeights};
use crate::plan::{self, Plan, Port};
use crate::schedule::{Layer, Preferences, Schedule};

/// A compiled model.
#[derive(Debug)]
pub struct Compiled {
    /// Manifest, code and weights. These are packed when the parts are laid out as an artifact.
    pub parts: ArtifactParts<PackedWeights>,
    /// Nodes of the graph after all passes, weights not counted.
    pub nodes: usize,
    /// Weights that stay in f32 although half precision is asked for, as their values are beyond it.
    pub beyond_half: Vec<BeyondHalf>,
}

/// Compiles a model for one or more CPUs of one kind of machine, whatever their order. All read one
/// weights section, and each has the kernels that it would have alone, and so gives the same bits.
///
/// The result depends on the model, the targets, the options and the version of the compiler alone.
///
/// # Errors
/// What the model asks for and generated code cannot do, as [`crate::error::Problem`] describes;
/// [`Problem::Target`] for no target, and for targets of different triples.
pub fn compile(model: &Model, targets: &[Target], options: &CompileOptions) -> Result<Compiled> {
    let lowered = Lowered::new(model, targets, options)?;
    let code = lowered.each().map(|(target, plan)| code(target, plan)).collect::<Result<_>>()?;
    Ok(lowered.with_code(code))
}

fn code(target: &Target, plan: &Plan) -> Result<VariantCode> {
    let Code { bytes, entry, .. } = plan::generate(plan, target, Listing::default())?;
    Ok(VariantCode { bytes, entry: entry as u64 })
}

/// The code section of a variant.
pub(crate) struct VariantCode {
    pub(crate) bytes: Vec<u8>,
    /// Offset of its entry point.
    pub(crate) entry: u64,
}

/// A model planned for each target, before there is code.
pub(crate) struct Lowered<'m> {
    model: &'m Model,
    winograd: bool,
    weights: Precision,
    threads: NonZeroUsize,
    nodes: usize,
    /// The targets, the one that asks for the least first.
    targets: Vec<Target>,
    plans: Vec<Plan>,
    /// What is taken instead of the estimates' choices, by layer.
    changed: BTreeMap<String, String>,
}

impl<'m> Lowered<'m> {
    /// Imported model to plans.
    pub(crate) fn new(
        model: &'m Model,
        targets: &[Target],
        options: &CompileOptions,
    ) -> Result<Lowered<'m>> {
        let targets = in_order(targets)?;
        check_portable(&targets, &options.schedule)?;
        let mut graph = model.graph.clone();
        let run = Run { until: None, check_rewrites: options.check_rewrites };
        passes::run_with(&mut graph, run, &mut |_, _| {})?;
        verify(&graph)?;
        let schedule = |t: &Target| kernels::schedule(&graph, &t.machine(), &options.schedule);
        let schedules: Vec<Schedule> = targets.iter().map(schedule).collect();
        let plans = kernels::lower_all(&graph, &schedules)?;
        let changed = schedules.iter().flat_map(|schedule| changed(&graph, schedule)).collect();
        let nodes = computing_nodes(&graph);
        let CompileOptions { weights, threads, .. } = *options;
        let winograd = options.schedule.winograd;
        Ok(Lowered { model, winograd, weights, threads, nodes, targets, plans, changed })
    }

    /// Each target with its plan.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Target, &Plan)> {
        self.targets.iter().zip(&self.plans)
    }

    /// Puts everything together, with the code of each variant in order.
    pub(crate) fn with_code(self, code: Vec<VariantCode>) -> Compiled {
        let described = self.each().zip(&code);
        let variants = described.map(|((target, plan), code)| variant(target, plan, code.entry));
        let weights = PackedWeights::new(&self.plans, self.weights, self.threads);
        let beyond_half = weights.beyond_half();
        let first = || self.plans.first().into_iter();
        let manifest = Manifest {
            model_name: self.model.graph.name.clone(),
            model_digest: self.model.digest.to_vec(),
            compiler_version: VERSION.into(),
            target: self.targets.first().map(Target::triple).unwrap_or_default(),
            variants: variants.collect(),
            inputs: first().flat_map(|plan| &plan.inputs).map(info).collect(),
            outputs: first().flat_map(|plan| &plan.outputs).map(info).collect(),
            weights: None,
            metadata: self.model.metadata.iter().map(property).collect(),
            winograd: self.winograd,
            weight_runs: weights.runs(),
            choices: self.changed.iter().map(choice).collect(),
        };
        let code = code.into_iter().map(|code| code.bytes).collect();
        let parts = ArtifactParts { manifest, code, weights };
        Compiled { parts, nodes: self.nodes, beyond_half }
    }
}

/// The compiler's version, as artifacts state it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Refuses CPUs that cannot give the bits of those with fused multiply-adds, where these are asked for.
fn check_portable(targets: &[Target], schedule: &Preferences) -> Result<()> {
    let without = targets.iter().find(|target| !target.has_fma());
    let Some(target) = without.filter(|_| schedule.portable_bits) else { return Ok(()) };
    let what = format!("{} has no fused multiply-add, which portable bits need", target.cpu());
    Err(Error::from(Problem::Target(what)).with_remedy("compile for x86-64-v3 or aarch64"))
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

fn variant(target: &Target, plan: &Plan, entry_offset: u64) -> Variant {
    let structure = Structure::of(plan);
    Variant {
        name: target.cpu(),
        cpu_features: target.features().to_vec(),
        code: None,
        entry_offset,
        arena_bytes: plan.arena_bytes as u64,
        worker_bytes: plan.worker_bytes as u64,
        structure: structure.digest.to_vec(),
        outline: structure.outline,
    }
}

/// Nodes that compute something.
pub fn computing_nodes(graph: &Graph) -> usize {
    let computes = |id: &crate::ir::NodeId| {
        !matches!(graph.node(*id).op, crate::ir::Op::Input | crate::ir::Op::Weight(_))
    };
    graph.nodes().filter(computes).count()
}

fn info(port: &Port) -> TensorInfo {
    TensorInfo {
        name: port.name.clone(),
        dtype: port.ty.dtype as u32,
        shape: port.ty.shape().iter().map(|n| *n as u64).collect(),
    }
}

/// What the caller's choices change.
fn changed(graph: &Graph, schedule: &Schedule) -> Vec<(String, String)> {
    let changed = schedule.layers(graph).into_iter().filter(Layer::is_changed);
    changed.map(|layer| (layer.key, layer.taken.to_string())).collect()
}

fn choice((layer, choice): (&String, &String)) -> Choice {
    Choice { layer: layer.clone(), choice: choice.clone() }
}

fn property((key, value): &(String, String)) -> Property {
    Property { key: key.clone(), value: value.clone() }
}
