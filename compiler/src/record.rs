//! What an artifact says of how it was compiled: the graph after all passes, and for each CPU the schedule, the plan
//! and where each function lies in the code. It is a section of its own, so that what was deployed can be looked at
//! as its model could be.
//!
//! The section is a protobuf message in deflate's raw form. Texts hold no hashes of packed weights, which would
//! have to be packed for them: whoever asks for them gets those of the artifact's own weights.
//!
//! An artifact may come from anywhere. No more than [`MAX_BYTES`] are inflated, every text goes through its parser,
//! the graph through its verifier, and the plan must have the structure that the code's own section states.

use std::collections::BTreeSet;

use bytes::Bytes;
use cardinal_runtime::Artifact;
use cardinal_runtime::manifest::Variant;
use cardinal_runtime::table::name;
use cardinal_runtime::text::is_visible;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use prost::Message;

use crate::asm;
use crate::codegen::{Code, FunctionInfo, Target};
use crate::error::{Difference, Error, Problem, Result};
use crate::ir::{self, Graph, Weight};
use crate::kernels;
use crate::machine::Core;
use crate::plan::structure::Structure;
use crate::plan::weights::Packed;
use crate::plan::{self, Plan};
use crate::schedule::{self, Choices, Summary};

/// No record is longer than this, inflated: what would be is not written.
pub const MAX_BYTES: usize = 16 << 20;

/// No code has more functions than this: whoever looks for those that one calls looks at all.
const MAX_FUNCTIONS: usize = 1 << 14;

/// Deflate's level: higher ones take longer for a few percent.
const LEVEL: u8 = 3;

/// What became of a model on its way to the code for one CPU.
#[derive(Debug, Clone)]
pub struct Record {
    /// The graph after all passes. Of most weights the hash is known alone.
    pub graph: Graph,
    /// The CPU.
    pub target: Target,
    /// What was chosen.
    pub schedule: Summary,
    /// The plan. Nothing is known of its constants' contents, not even hashes; see
    /// [`with_hashes`](Record::with_hashes).
    pub plan: Plan,
    /// Every function of the code, in order, without texts. Empty where a record has none.
    pub functions: Vec<FunctionInfo>,
}

/// The section's message.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    /// The graph's text.
    #[prost(string, tag = "1")]
    graph: String,
    /// In the order of the artifact's variants.
    #[prost(message, repeated, tag = "2")]
    variants: Vec<StoredVariant>,
}

/// What is stored of a variant.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredVariant {
    #[prost(string, tag = "1")]
    schedule: String,
    #[prost(string, tag = "2")]
    plan: String,
    #[prost(message, repeated, tag = "3")]
    functions: Vec<StoredFunction>,
}

/// Where a function lies.
#[derive(Clone, PartialEq, Message)]
struct StoredFunction {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    length: u64,
    /// Offsets of the functions that it calls.
    #[prost(uint64, repeated, tag = "4")]
    calls: Vec<u64>,
}

/// What is written of a variant.
pub(crate) fn variant(
    schedule: &Summary,
    plan: &Plan,
    functions: &[FunctionInfo],
) -> StoredVariant {
    let function = |f: &FunctionInfo| StoredFunction {
        name: f.name.clone(),
        offset: f.offset as u64,
        length: f.length as u64,
        calls: f.calls.iter().map(|offset| *offset as u64).collect(),
    };
    // Some without those that they call would be refused.
    let known = if functions.len() <= MAX_FUNCTIONS { functions } else { &[] };
    StoredVariant {
        schedule: schedule::text::print(schedule),
        plan: plan::text::print_without_hashes(plan),
        functions: known.iter().map(function).collect(),
    }
}

/// The section of a graph and its variants, unless it would be too long.
pub(crate) fn write(graph: &Graph, variants: Vec<StoredVariant>) -> Option<Vec<u8>> {
    let stored = Stored { graph: ir::text::print(graph), variants };
    let bytes = stored.encode_to_vec();
    (bytes.len() <= MAX_BYTES).then(|| compress_to_vec(&bytes, LEVEL))
}

/// The functions of a variant's code, by its position; none where the artifact does not say.
pub(crate) fn functions(artifact: &Artifact, position: usize) -> Vec<FunctionInfo> {
    let stored = stored(artifact).ok().and_then(|mut all| {
        (position < all.variants.len()).then(|| all.variants.swap_remove(position))
    });
    stored
        .and_then(|variant| read_functions(&variant.functions, artifact.code(position)).ok())
        .unwrap_or_default()
}

/// Leaves out of reasons why something was chosen, such as times measured or the name of a file: the same choices
/// give the same bytes, wherever they come from.
pub(crate) fn leave_out_origins(choices: &Choices, schedule: &mut Summary, plan: &mut Plan) {
    let given = choices.values().map(|chosen| &chosen.because).filter(|text| !text.is_empty());
    let given: BTreeSet<String> = given.map(|because| schedule::tuned_because(because)).collect();
    let convs = schedule.nodes.iter_mut().filter_map(|node| node.conv.as_mut());
    let steps = plan.steps.iter_mut().map(|step| &mut step.why);
    for why in convs.map(|conv| &mut conv.why).chain(steps) {
        if let Some(text) = given.iter().find(|text| why.contains(text.as_str())) {
            *why = why.replacen(text.as_str(), "tuned", 1);
        }
    }
}

/// Why a variant computes as it does, as its artifact says.
pub(crate) struct Reasons {
    /// Of convolutions, in the order of the schedule.
    schedule: Vec<String>,
    /// Of steps.
    plan: Vec<String>,
}

impl Reasons {
    /// Those of a variant, by its position; none where the artifact does not say.
    pub(crate) fn of(artifact: &Artifact, position: usize) -> Option<Reasons> {
        let Record { mut schedule, plan, .. } = Record::read(artifact, position).ok()?;
        let convs = schedule.nodes.iter_mut().filter_map(|node| node.conv.as_mut());
        let schedule = convs.map(|conv| std::mem::take(&mut conv.why)).collect();
        let plan = plan.steps.into_iter().map(|step| step.why).collect();
        Some(Reasons { schedule, plan })
    }

    /// Puts them where the same is computed in the same order, whatever values are called.
    pub(crate) fn give(&self, schedule: &mut Summary, plan: &mut Plan) {
        let convs = schedule.nodes.iter_mut().filter_map(|node| node.conv.as_mut());
        convs.zip(&self.schedule).for_each(|(conv, why)| conv.why.clone_from(why));
        plan.steps.iter_mut().zip(&self.plan).for_each(|(step, why)| step.why.clone_from(why));
    }
}

fn stored(artifact: &Artifact) -> Result<Stored> {
    let section = artifact.section(name::RECORD).ok_or_else(|| {
        let what = Problem::Record("is not in it".into());
        Error::from(what).with_remedy("compile the model again, or look at the .onnx")
    })?;
    let bytes = decompress_to_vec_with_limit(section, MAX_BYTES)
        .map_err(|error| bad(format!("cannot be inflated: {error}")))?;
    Stored::decode(&*bytes).map_err(|error| bad(format!("cannot be decoded: {error}")))
}

fn bad(what: impl Into<String>) -> Error {
    Error::from(Problem::Record(what.into()))
        .with_remedy("compile the model again, with this version")
}

impl Record {
    /// What an artifact says of the variant at a position.
    ///
    /// # Errors
    /// [`Problem::Record`] where it says nothing, or something that is not about its code.
    pub fn read(artifact: &Artifact, position: usize) -> Result<Record> {
        let Stored { graph, mut variants } = stored(artifact)?;
        let about = artifact.variants().get(position).filter(|_| position < variants.len());
        let about = about.ok_or_else(|| bad("lacks the code's CPU"))?;
        let StoredVariant { schedule, plan, functions } = variants.swap_remove(position);
        let wrong = |part: &str| {
            let part = part.to_owned();
            move |error: Error| bad(format!("has a bad {part}: {error}"))
        };
        let graph = ir::text::parse(&graph).map_err(wrong("graph"))?;
        ir::verify(&graph).map_err(wrong("graph"))?;
        let plan = plan::text::parse(&plan, &kernels::registry()).map_err(wrong("plan"))?;
        if Structure::of(&plan).digest[..] != about.structure {
            return Err(bad("has the plan of other code"));
        }
        // A plan that holds to the rules can be shown and counted: nothing in it divides by zero.
        plan::check::check(&plan).map_err(wrong("plan"))?;
        Ok(Record {
            graph,
            target: target(about)?,
            schedule: schedule::text::parse(&schedule).map_err(wrong("schedule"))?,
            plan,
            functions: read_functions(&functions, artifact.code(position))?,
        })
    }

    /// The same with the hash of each constant of the artifact that this is of, as the plan's text has it.
    ///
    /// # Errors
    /// [`Problem::Record`] for constants that are not in its weights, [`Problem::Memory`] for weights that are
    /// stored in 16 bits and do not fit into memory.
    pub fn with_hashes(mut self, artifact: &Artifact) -> Result<Record> {
        let weights = artifact.loaded_weights().map_err(|_| Error::memory("the weights"))?;
        // Constants share no byte, so none is hashed again and again.
        let sizes = self.plan.constants.iter().map(|constant| constant.ty.bytes());
        if sizes.fold(0, usize::saturating_add) > weights.len() {
            return Err(bad("has more constants than the artifact has weights"));
        }
        for constant in &mut self.plan.constants {
            let bytes = part(&weights, constant.offset, constant.ty.bytes());
            let bytes = bytes.ok_or_else(|| bad("has constants that are not in the weights"))?;
            constant.data = Packed::absent(Weight::from_bytes(bytes).hash());
        }
        Ok(self)
    }

    /// The variant's code, taken apart if asked for.
    ///
    /// # Errors
    /// [`Problem::Record`] where functions are not stated, and [`Problem::Target`] for a disassembly of another
    /// architecture than x86-64.
    pub fn code(&self, artifact: &Artifact, position: usize, assembly: bool) -> Result<Code> {
        if self.functions.is_empty() {
            return Err(bad("does not say where functions are"));
        }
        if assembly && !self.target.triple().starts_with("x86_64") {
            let what = format!("code for {} is taken apart where it is made", self.target.triple());
            return Err(Error::from(Problem::Target(what)).with_remedy("look at the .onnx"));
        }
        let code = artifact.code(position);
        let with_text = |known: &FunctionInfo| {
            let bytes = code.get(known.offset..known.offset + known.length);
            let text = bytes.filter(|_| assembly);
            let assembly = text.map(|bytes| asm::x86::disassemble(bytes, known.offset));
            FunctionInfo { assembly, ..known.clone() }
        };
        let entry = artifact.variants().get(position).map_or(0, |v| v.entry_offset as usize);
        let functions = self.functions.iter().map(with_text).collect();
        Ok(Code { bytes: code.to_vec(), entry, functions })
    }
}

fn part(bytes: &Bytes, offset: usize, length: usize) -> Option<Bytes> {
    let end = offset.checked_add(length).filter(|end| *end <= bytes.len())?;
    Some(bytes.slice(offset..end))
}

/// Functions that follow each other in this code.
fn read_functions(stored: &[StoredFunction], code: &[u8]) -> Result<Vec<FunctionInfo>> {
    if stored.len() > MAX_FUNCTIONS {
        return Err(bad("has more functions than code has"));
    }
    let offsets: Vec<u64> = stored.iter().map(|function| function.offset).collect();
    let mut free = 0;
    let function = |stored: &StoredFunction| {
        if !stored.name.chars().all(is_visible) {
            return Err(bad("has functions whose names cannot be shown"));
        }
        if stored.calls.len() > offsets.len() {
            return Err(bad("has functions that call more than there are"));
        }
        let (offset, length) = (stored.offset as usize, stored.length as usize);
        let end = offset.checked_add(length).filter(|end| *end <= code.len() && free <= offset);
        free = end.ok_or_else(|| bad("has functions that are not in the code"))?;
        Ok(FunctionInfo {
            name: stored.name.clone(),
            offset,
            length,
            calls: calls(stored, &offsets)?,
            clif: None,
            assembly: None,
        })
    };
    stored.iter().map(function).collect()
}

/// The offsets of the functions that one calls, in order. `offsets` are those of all, as far as they are in order:
/// of others the record is refused.
fn calls(stored: &StoredFunction, offsets: &[u64]) -> Result<Vec<usize>> {
    if stored.calls.iter().any(|offset| offsets.binary_search(offset).is_err()) {
        return Err(bad("has functions that call what is none"));
    }
    let mut calls: Vec<usize> = stored.calls.iter().map(|offset| *offset as usize).collect();
    calls.sort_unstable();
    calls.dedup();
    Ok(calls)
}

/// The target of a variant, as it states it.
///
/// # Errors
/// [`Difference::Cpu`] for features and cores that this version does not know.
pub(crate) fn target(variant: &Variant) -> Result<Target> {
    let target = Target::new(&variant.target, &variant.cpu_features)?;
    let target = target.for_core(Some(&variant.core));
    let core = target.core().map_or("", Core::name);
    match target.features() == variant.cpu_features && core == variant.core {
        true => Ok(target),
        false => Err(Difference::Cpu(variant.name.clone()).into()),
    }
}
