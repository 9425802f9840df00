//! What a compiled model says about itself.

use cardinal_runtime::manifest::{Manifest, Property, Variant};
use cardinal_runtime::{Artifact, best, cpu, text};
use serde_json::Value;

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
    match artifact.narrow() {
        None => "f32".into(),
        Some((narrow, bytes)) => format!("{}, {bytes} bytes of them", narrow.name()),
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
    let (weights, narrow_bytes) =
        artifact.narrow().map_or(("f32", 0), |(narrow, bytes)| (narrow.name(), bytes));
    let each = variants.iter().enumerate();
    let metadata = about.metadata.iter();
    let property = |p: &Property| object([("key", text(&p.key)), ("value", text(&p.value))]);
    object([
        ("schema", text(SCHEMA)),
        ("model", text(&about.model_name)),
        ("digest", hex(&about.model_digest).into()),
        ("compiler", text(&about.compiler_version)),
        ("target", text(&about.target)),
        ("winograd", about.winograd.into()),
        ("winograd_of_bytes", (about.winograd && about.winograd_of_bytes).into()),
        ("bfloat16", about.bfloat16.into()),
        ("portable_bits", about.portable_bits.into()),
        ("tuned_layers", about.choices.len().into()),
        ("weights", text(weights)),
        ("weight_bytes", artifact.weights().len().into()),
        ("half_weight_bytes", narrow_bytes.into()),
        ("loaded_weight_bytes", artifact.loaded_weight_bytes().into()),
        ("runs_here", here.map_or(Value::Null, |variant| text(&variant.name))),
        ("precision", here.or(variants.last()).map_or(Value::Null, |v| text(v.precision()))),
        ("variants", each.map(|(at, variant)| of_variant(artifact, at, variant)).collect()),
        ("inputs", artifact.inputs().iter().map(|input| tensor(&spec(input))).collect()),
        ("outputs", artifact.outputs().iter().map(|output| tensor(&spec(output))).collect()),
        ("metadata", metadata.map(property).collect()),
    ])
}

fn of_variant(artifact: &Artifact, at: usize, variant: &Variant) -> Value {
    let fixed_by = Some(&variant.fixed_by).filter(|by| !by.is_empty());
    object([
        ("name", text(&variant.name)),
        ("cpu_features", variant.cpu_features.iter().map(|feature| text(feature)).collect()),
        ("precision", text(variant.precision())),
        ("batch", most(artifact).into()),
        ("takes_fewer", variant.takes_fewer.into()),
        ("fixed_by", fixed_by.map_or(Value::Null, |by| text(by))),
        ("code_bytes", artifact.code(at).len().into()),
        ("arena_bytes", variant.arena_bytes.into()),
        ("worker_bytes", variant.worker_bytes.into()),
        ("structure", hex(&variant.structure).into()),
    ])
}

fn tensor(Spec { name, dtype, shape }: &Spec) -> Value {
    let shape = shape.iter().map(|extent| Value::from(*extent)).collect();
    object([("name", text(name)), ("dtype", text(dtype.name())), ("shape", shape)])
}

fn text(text: &str) -> Value {
    text.into()
}

/// An object; as a function, it takes less room in executables than as a macro.
fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
