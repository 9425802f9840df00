//! Other weights for an artifact whose code fits them.
//!
//! Code depends on a plan's structure and never on the contents of its constants. So the new model is
//! planned as the old one was, and where the structures are equal, the old code is what compiling
//! would give: only the weights are packed anew.

use std::num::NonZeroUsize;

use cardinal_runtime::manifest::{Choice, Manifest};
use cardinal_runtime::{Artifact, DType, Encoding, Narrow, TensorSpec};

use crate::codegen::Target;
use crate::error::Result;
use crate::ir::TensorType;
use crate::kernels::conv::read_choice;
use crate::onnx::Model;
use crate::options::{CompileOptions, ImportOptions};
use crate::pipeline::{Compiled, Pipeline, VERSION, VariantCode, VariantTrace};
use crate::plan::structure::Structure;
use crate::plan::{Plan, Port, text};
use crate::record::{self, Reasons};
use crate::schedule::{BadChoice, Bfloat16, Choices, Chosen, Preferences};

pub use crate::error::Difference;

/// How to read the model of new weights for an artifact: with the artifact's shapes.
pub fn import_options(artifact: &Artifact) -> ImportOptions {
    let shapes = artifact.inputs().iter().map(|spec| (spec.name.clone(), spec.shape.clone()));
    ImportOptions { batch: None, shapes: shapes.collect() }
}

/// The artifact's code with the weights, digest and metadata of `model`: what compiling the model as
/// the artifact's was would give, without generating code. `threads` pack the weights.
///
/// # Errors
/// [`OtherGraph`](crate::error::Problem::OtherGraph) where the code is not the model's, and what can be wrong with a model.
pub fn relink(model: &Model, artifact: &Artifact, threads: NonZeroUsize) -> Result<Compiled> {
    let manifest = artifact.manifest();
    check_version(manifest)?;
    let schedule = Preferences {
        winograd: manifest.winograd,
        winograd_of_bytes: manifest.winograd_of_bytes,
        bfloat16: if manifest.bfloat16 { Bfloat16::WhereFaster } else { Bfloat16::Never },
        portable_bits: manifest.portable_bits,
        choices: choices(artifact)?,
    };
    let weights = narrow(manifest)?;
    // What an inference takes was allowed when the artifact was compiled, or its plan is another.
    let (check_rewrites, memory) = (false, usize::MAX);
    let options = CompileOptions { schedule, check_rewrites, weights, threads, memory };
    let pipeline = Pipeline::new(model, &options);
    let trace = pipeline.plans(&targets(artifact)?)?;
    let code = trace.variants.iter().map(|variant| fitting_code(variant, artifact));
    let code = code.collect::<Result<_>>()?;
    pipeline.assemble(trace, code)
}

/// The format that the artifact's weights were asked to be stored in.
fn narrow(manifest: &Manifest) -> Result<Option<Narrow>> {
    match Encoding::from_code(manifest.weights) {
        Some(Encoding::Narrow(narrow)) => Ok(Some(narrow)),
        // Older compilers do not say more than that there are runs.
        Some(Encoding::Plain) => Ok((!manifest.weight_runs.is_empty()).then_some(Narrow::F16)),
        None => Err(Difference::Encoding(manifest.weights).into()),
    }
}

/// The artifact's code for a target, where it is the plan's.
fn fitting_code(traced: &VariantTrace, artifact: &Artifact) -> Result<VariantCode> {
    let (target, plan) = (&traced.target, traced.plan()?);
    let mut variants = artifact.variants().iter().enumerate();
    let variant = variants.find(|(_, variant)| variant.name == target.cpu());
    let (i, variant) = variant.ok_or_else(|| Difference::Cpu(target.cpu()))?;
    if variant.structure.is_empty() {
        return Err(Difference::Unstated(target.cpu()).into());
    }
    check_ports(plan, artifact)?;
    let structure = Structure::of(plan);
    if structure.digest[..] != variant.structure {
        return Err(difference(plan, target.cpu(), &structure.outline, &variant.outline).into());
    }
    let (bytes, entry) = (artifact.code(i).to_vec(), variant.entry_offset);
    let (functions, reasons) = (record::functions(artifact, i), Reasons::of(artifact, i));
    Ok(VariantCode { bytes, entry, functions, reasons })
}

/// Where two structures differ, by their outlines: that of `plan` and the artifact's.
fn difference(plan: &Plan, cpu: String, model: &[u32], artifact: &[u32]) -> Difference {
    let other = model.iter().zip(artifact).position(|(model, artifact)| model != artifact);
    match other.and_then(|at| Some((at, plan.steps.get(at)?))) {
        Some((at, step)) => Difference::Step { cpu, at: at + 1, step: text::headline(plan, step) },
        None if model.len() == artifact.len() => Difference::Memory(cpu),
        None => Difference::Steps { cpu, model: model.len(), artifact: artifact.len() },
    }
}

fn check_version(manifest: &Manifest) -> Result<()> {
    if manifest.compiler_version != VERSION {
        let artifact = manifest.compiler_version.clone();
        return Err(Difference::Version { artifact, this: VERSION.into() }.into());
    }
    Ok(())
}

/// The targets of the artifact's variants.
fn targets(artifact: &Artifact) -> Result<Vec<Target>> {
    artifact.variants().iter().map(record::target).collect()
}

/// What the artifact takes instead of the estimates' choices. Times that they were taken for are not in it.
///
/// # Errors
/// [`OtherGraph`](crate::error::Problem::OtherGraph) for choices of another version.
pub fn choices(artifact: &Artifact) -> Result<Choices> {
    let chosen = |made: &Choice| {
        let unknown = |bad: BadChoice| Difference::Choice(bad.to_string());
        let choice = read_choice(&made.choice).map_err(unknown)?;
        Ok((made.layer.clone(), Chosen { choice, because: String::new() }))
    };
    Ok(artifact
        .manifest()
        .choices
        .iter()
        .map(chosen)
        .collect::<std::result::Result<_, Difference>>()?)
}

fn check_ports(plan: &Plan, artifact: &Artifact) -> Result<()> {
    check_list(&plan.inputs, artifact.inputs(), "input")?;
    check_list(&plan.outputs, artifact.outputs(), "output")
}

fn check_list(ports: &[Port], specs: &[TensorSpec], role: &str) -> Result<()> {
    for i in 0..ports.len().max(specs.len()) {
        let model = ports.get(i).map(|p| described(role, &p.name, p.ty.dtype, &p.ty.shape()));
        let artifact = specs.get(i).map(|s| described(role, &s.name, s.dtype, &s.shape));
        if model != artifact {
            let [model, artifact] = [model, artifact].map(|d| d.unwrap_or("no such".into()));
            return Err(Difference::Port { model, artifact }.into());
        }
    }
    Ok(())
}

fn described(role: &str, name: &str, dtype: DType, shape: &[usize]) -> String {
    format!("{role} `{name}` {}", TensorType::new(dtype, shape))
}
