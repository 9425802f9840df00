//! What a compiled model says about itself.

use cardinal_runtime::manifest::{Manifest, Variant};
use cardinal_runtime::{Artifact, Encoding, best, cpu, text};
use serde_json::{Value, json};

use crate::columns::{WIDTH, wrapped};
#[cfg(feature = "compiler")]
use crate::exit::Failure;
use crate::exit::Outcome;
use crate::output;
use crate::program::spec;
use crate::tensors::Spec;

/// Columns of what a line is about.
const LABEL: usize = 16;

/// The schema of JSON.
const SCHEMA: &str = "cardinal.artifact/v2";

/// An artifact as lines of (what, value). Those from `variant` on are of one variant.
pub(crate) fn lines(artifact: &Artifact) -> Vec<(String, String)> {
    let about = artifact.manifest();
    let line = |what: &str, value: String| (what.to_owned(), value);
    let mut lines = vec![
        line("model", about.model_name.clone()),
        line("digest", hex(&about.model_digest)),
        line("compiler", about.compiler_version.clone()),
        line("target", about.target.clone()),
        line("winograd", winograd(about).into()),
        line("bfloat16", if about.bfloat16 { "allowed" } else { "off" }.into()),
        line("portable bits", if about.portable_bits { "yes" } else { "no" }.into()),
        line("tuned layers", about.choices.len().to_string()),
        line("weights", stored(artifact)),
        line("weight bytes", artifact.weights().len().to_string()),
        line("loaded weights", format!("{} bytes", artifact.loaded_weight_bytes())),
    ];
    let here = runs_here(artifact);
    lines.push(line(
        "runs here",
        match here {
            Some(i) => artifact.variants()[i].name.clone(),
            None => "nothing: it is for other machines".into(),
        },
    ));
    for (i, variant) in artifact.variants().iter().enumerate() {
        let mark = if here == Some(i) { " (runs here)" } else { "" };
        lines.push(line("variant", format!("{}{mark}", variant.name)));
        lines.push(line("cpu features", variant.cpu_features.join(" ")));
        lines.push(line("precision", variant.precision().into()));
        lines.push(line("batch", batch(artifact, variant)));
        lines.push(line("code bytes", artifact.code(i).len().to_string()));
        lines.push(line("arena bytes", variant.arena_bytes.to_string()));
        lines.push(line("worker bytes", variant.worker_bytes.to_string()));
        lines.push(line("structure", hex(&variant.structure)));
    }
    lines.extend(artifact.inputs().iter().map(|s| line("input", spec(s).to_string())));
    lines.extend(artifact.outputs().iter().map(|s| line("output", spec(s).to_string())));
    lines.extend(about.metadata.iter().map(|p| line("metadata", format!("{}={}", p.key, p.value))));
    lines
}

/// What the compiler was allowed.
fn winograd(about: &Manifest) -> &'static str {
    match (about.winograd, about.winograd_of_bytes) {
        (false, _) => "off",
        (true, false) => "allowed",
        (true, true) => "allowed, of bytes too",
    }
}

/// How many images an inference takes.
fn batch(artifact: &Artifact, variant: &Variant) -> String {
    let most = most(artifact);
    match (variant.takes_fewer, variant.fixed_by.as_str()) {
        (true, _) => format!("1 to {most}"),
        (false, "") => format!("{most}"),
        (false, by) => format!("{most}, not fewer: {by}"),
    }
}

/// The most images that an inference takes.
fn most(artifact: &Artifact) -> usize {
    let first = artifact.inputs().first().and_then(|spec| spec.shape.first().copied());
    first.unwrap_or(1)
}

/// How the weights are stored.
fn stored(artifact: &Artifact) -> String {
    match artifact.stored_in(Encoding::Half) {
        0 => "f32".into(),
        halves => format!("f16, {halves} bytes of them"),
    }
}

/// The position of the variant that this machine would run.
pub(crate) fn runs_here(artifact: &Artifact) -> Option<usize> {
    if !cpu::matches_host(&artifact.manifest().target) {
        return None;
    }
    best(artifact.variants(), &cpu::host_features(), cpu::host_core())
}

/// The position of the variant that is shown: the one for the CPU asked for, or else the one that would run
/// here, or else the last.
///
/// # Errors
/// [`Failure::Usage`] for a CPU that there is no code for.
#[cfg(feature = "compiler")]
pub(crate) fn variant(artifact: &Artifact, cpus: &[String]) -> Outcome<usize> {
    let variants = artifact.variants();
    let last = variants.len().saturating_sub(1);
    let Some(cpu) = cpus.first() else { return Ok(runs_here(artifact).unwrap_or(last)) };
    variants.iter().position(|variant| variant.name == *cpu).ok_or_else(|| {
        let names: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
        Failure::usage(format!("the artifact has no code for `{cpu}`"))
            .with_help(format!("it has code for {}", names.join(", ")))
    })
}

/// Prints lines of (what, value).
///
/// # Errors
/// Those of writing to stdout.
pub(crate) fn print(lines: &[(String, String)]) -> Outcome {
    output::print(|out| {
        lines.iter().try_for_each(|(what, value)| {
            let (first, rest) = (format!("{what:<LABEL$} "), " ".repeat(LABEL + 1));
            let room = WIDTH - rest.len();
            write!(out, "{}", wrapped(&text::line(value), room, &first, &rest))
        })
    })
}

/// One object of the schema cardinal.artifact/v2: what [`lines`] say, with numbers that are numbers.
pub(crate) fn to_json(artifact: &Artifact) -> Value {
    let about = artifact.manifest();
    let (here, variants) = (runs_here(artifact), artifact.variants());
    let here = here.and_then(|here| variants.get(here));
    let halves = artifact.stored_in(Encoding::Half);
    let each = variants.iter().enumerate();
    let metadata = about.metadata.iter();
    json!({
        "schema": SCHEMA,
        "model": about.model_name,
        "digest": hex(&about.model_digest),
        "compiler": about.compiler_version,
        "target": about.target,
        "winograd": about.winograd,
        "winograd_of_bytes": about.winograd && about.winograd_of_bytes,
        "bfloat16": about.bfloat16,
        "portable_bits": about.portable_bits,
        "tuned_layers": about.choices.len(),
        "weights": if halves == 0 { "f32" } else { "f16" },
        "weight_bytes": artifact.weights().len(),
        "half_weight_bytes": halves,
        "loaded_weight_bytes": artifact.loaded_weight_bytes(),
        "runs_here": here.map(|variant| &variant.name),
        "precision": here.or(variants.last()).map(Variant::precision),
        "variants": Value::from_iter(each.map(|(at, variant)| of_variant(artifact, at, variant))),
        "inputs": Value::from_iter(artifact.inputs().iter().map(|input| tensor(&spec(input)))),
        "outputs": Value::from_iter(artifact.outputs().iter().map(|output| tensor(&spec(output)))),
        "metadata": Value::from_iter(metadata.map(|p| json!({"key": p.key, "value": p.value}))),
    })
}

fn of_variant(artifact: &Artifact, at: usize, variant: &Variant) -> Value {
    json!({
        "name": variant.name,
        "cpu_features": variant.cpu_features,
        "precision": variant.precision(),
        "batch": most(artifact),
        "takes_fewer": variant.takes_fewer,
        "fixed_by": Some(&variant.fixed_by).filter(|by| !by.is_empty()),
        "code_bytes": artifact.code(at).len(),
        "arena_bytes": variant.arena_bytes,
        "worker_bytes": variant.worker_bytes,
        "structure": hex(&variant.structure),
    })
}

fn tensor(Spec { name, dtype, shape }: &Spec) -> Value {
    json!({"name": name, "dtype": dtype.name(), "shape": shape})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
