//! What a compiled model says about itself.

use cardinal_runtime::Artifact;
use serde_json::json;

use crate::exit::Outcome;
use crate::output;
use crate::program::spec;

/// The schema of JSON.
const SCHEMA: &str = "cardinal.artifact/v1";

/// The model, its code and its tensors, as lines of (what, value).
pub(crate) fn lines(artifact: &Artifact) -> Vec<(String, String)> {
    let about = artifact.manifest();
    let line = |what: &str, value: String| (what.to_owned(), value);
    let mut lines = vec![
        line("model", about.model_name.clone()),
        line("digest", about.model_digest.iter().map(|b| format!("{b:02x}")).collect()),
        line("compiler", about.compiler_version.clone()),
        line("target", about.target.clone()),
        line("cpu features", about.cpu_features.join(" ")),
        line("code bytes", artifact.code().len().to_string()),
        line("weight bytes", artifact.weights().len().to_string()),
        line("arena bytes", about.arena_bytes.to_string()),
    ];
    lines.extend(artifact.inputs().iter().map(|s| line("input", spec(s).to_string())));
    lines.extend(artifact.outputs().iter().map(|s| line("output", spec(s).to_string())));
    lines.extend(about.metadata.iter().map(|p| line("metadata", format!("{}={}", p.key, p.value))));
    lines
}

/// Prints lines of (what, value) as text or as one JSON object.
///
/// # Errors
/// Those of writing to stdout.
pub(crate) fn print(lines: &[(String, String)], json: bool) -> Outcome {
    if json {
        let pairs: Vec<_> = lines.iter().map(|(what, value)| json!([what, value])).collect();
        return output::print_json(&json!({"schema": SCHEMA, "about": pairs}));
    }
    output::print(|out| {
        lines.iter().try_for_each(|(what, value)| writeln!(out, "{what:<16} {value}"))
    })
}
