//! Plans and code to what an artifact is laid out from.

use std::collections::BTreeMap;
use std::ops::Range;

use cardinal_runtime::manifest::{Choice, Manifest, Property, TensorInfo, Variant, WeightRange};
use cardinal_runtime::{ArtifactParts, Code, Encoding, OtherSection, table::name};

use super::trace::{Trace, VariantTrace};
use crate::codegen::FunctionInfo;
use crate::error::Result;
use crate::ir::Graph;
use crate::onnx::Model;
use crate::options::CompileOptions;
use crate::plan::structure::Structure;
use crate::plan::weights::{OutOfRange, PackedWeights};
use crate::plan::{Constant, Plan, Port, arena};
use crate::record::{self, Reasons};
use crate::schedule::{Bfloat16, Choices, Layer, Schedule, Summary};

/// A compiled model.
#[derive(Debug)]
pub struct Compiled {
    /// Manifest, code and weights. These are packed when the parts are laid out as an artifact.
    pub parts: ArtifactParts<PackedWeights>,
    /// Nodes of the graph after all passes, weights not counted.
    pub nodes: usize,
    /// Weights that stay in f32 although another format is asked for, as their values are beyond it.
    pub out_of_range: Vec<OutOfRange>,
}

/// The compiler's version, as artifacts state it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The code section of a variant.
pub(crate) struct VariantCode {
    pub(crate) bytes: Vec<u8>,
    /// Offset of its entry point.
    pub(crate) entry: u64,
    /// Every function, in order.
    pub(crate) functions: Vec<FunctionInfo>,
    /// Why it computes as it does, where that is known from when it was compiled.
    pub(crate) reasons: Option<Reasons>,
}

/// Puts everything together, with the code of each variant in order.
pub(super) fn assemble(
    model: &Model,
    options: &CompileOptions,
    trace: Trace,
    code: Vec<VariantCode>,
) -> Result<Compiled> {
    let Trace { graph, variants, .. } = trace;
    let nodes = graph.operators().values().sum();
    let layers = variants.iter().flat_map(|variant| variant.schedule.layers(&graph));
    // What is taken instead of the estimates' choices, by layer.
    let choices: BTreeMap<String, String> =
        layers.filter(Layer::is_changed).map(|l| (l.key, l.taken.to_string())).collect();
    let target = variants.first().map(|variant| variant.target.triple()).unwrap_or_default();
    let others = record(&graph, &variants, &code, &options.schedule.choices)?;
    let described = variants.iter().zip(code).map(|(traced, code)| {
        Ok(Code { variant: variant(&graph, traced, code.entry)?, bytes: code.bytes })
    });
    let mut code = described.collect::<Result<Vec<Code>>>()?;
    let plans: Vec<Plan> = variants.into_iter().filter_map(|variant| variant.plan).collect();
    let weights = PackedWeights::new(&plans, options.weights, options.threads);
    if plans.len() > 1 {
        let reading = code.iter_mut().zip(&plans);
        reading.for_each(|(code, plan)| code.variant.reads = reads(plan, weights.loaded_bytes()));
    }
    let out_of_range = weights.out_of_range();
    let first = || plans.first().into_iter();
    let manifest = Manifest {
        model_name: model.graph.name.clone(),
        model_digest: model.digest.to_vec(),
        compiler_version: VERSION.into(),
        target,
        inputs: first().flat_map(|plan| &plan.inputs).map(info).collect(),
        outputs: first().flat_map(|plan| &plan.outputs).map(info).collect(),
        metadata: model.metadata.iter().map(property).collect(),
        winograd: options.schedule.winograd,
        winograd_of_bytes: options.schedule.winograd_of_bytes,
        bfloat16: options.schedule.bfloat16 != Bfloat16::Never,
        weight_runs: weights.runs(),
        weights: options.weights.map_or(Encoding::Plain, Encoding::Narrow).code(),
        choices: choices.iter().map(choice).collect(),
        portable_bits: options.schedule.portable_bits,
    };
    let parts = ArtifactParts { manifest, code, others, weights };
    Ok(Compiled { parts, nodes, out_of_range })
}

/// Text of a name that an artifact is to repeat in errors is no longer than this, in characters.
const LONGEST_REASON: usize = 200;

/// The section that says what became of the model, unless it would be too long.
fn record(
    graph: &Graph,
    variants: &[VariantTrace],
    code: &[VariantCode],
    choices: &Choices,
) -> Result<Vec<OtherSection>> {
    let parts = variants.iter().zip(code).map(|(traced, code)| {
        let (mut schedule, mut plan) =
            (Summary::of(graph, &traced.schedule), traced.plan()?.clone());
        match &code.reasons {
            Some(reasons) => reasons.give(&mut schedule, &mut plan),
            None => record::leave_out_origins(choices, &mut schedule, &mut plan),
        }
        Ok(record::variant(&schedule, &plan, &code.functions))
    });
    let bytes = record::write(graph, parts.collect::<Result<_>>()?);
    let section = |bytes| OtherSection { name: name::RECORD.into(), required: false, bytes };
    Ok(bytes.map(section).into_iter().collect())
}

fn variant(graph: &Graph, traced: &VariantTrace, entry_offset: u64) -> Result<Variant> {
    let (target, plan) = (&traced.target, traced.plan()?);
    let structure = Structure::of(plan);
    let takes_fewer = plan.takes_fewer();
    let in_the_way = Schedule::in_the_way(graph).filter(|_| !takes_fewer).unwrap_or_default();
    Ok(Variant {
        takes_fewer,
        fixed_by: in_the_way.chars().take(LONGEST_REASON).collect(),
        name: target.cpu(),
        cpu_features: target.features().to_vec(),
        entry_offset,
        arena_bytes: plan.arena_bytes as u64,
        worker_bytes: plan.worker_bytes as u64,
        structure: structure.digest.to_vec(),
        outline: structure.outline,
        core: target.core().map(|core| core.to_string()).unwrap_or_default(),
        precision: precision(&traced.schedule).into(),
        // What the manifest says too is filled in where both are written.
        ..Variant::default()
    })
}

/// The parts of so many bytes of weights that a plan's code reads.
fn reads(plan: &Plan, all: usize) -> Vec<WeightRange> {
    let range = |constant: &Constant| constant.offset..constant.offset + constant.ty.bytes();
    let mut ranges: Vec<Range<usize>> = plan.constants.iter().map(range).collect();
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for Range { start, end } in ranges.into_iter().filter(|range| !range.is_empty()) {
        let end = arena::round_up(end).min(all);
        match merged.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => merged.push(start..end),
        }
    }
    let part =
        |range: Range<usize>| WeightRange { offset: range.start as u64, bytes: range.len() as u64 };
    merged.into_iter().map(part).collect()
}

/// The narrowest type that is multiplied; nothing for f32.
fn precision(schedule: &Schedule) -> &'static str {
    match (schedule.multiplies_bytes(), schedule.multiplies_bfloats()) {
        (true, _) => "int8",
        (false, true) => "bf16",
        (false, false) => "",
    }
}

fn info(port: &Port) -> TensorInfo {
    TensorInfo {
        name: port.name.clone(),
        dtype: port.ty.dtype as u32,
        shape: port.ty.shape().iter().map(|n| *n as u64).collect(),
    }
}

fn choice((layer, choice): (&String, &String)) -> Choice {
    Choice { layer: layer.clone(), choice: choice.clone() }
}

fn property((key, value): &(String, String)) -> Property {
    Property { key: key.clone(), value: value.clone() }
}
