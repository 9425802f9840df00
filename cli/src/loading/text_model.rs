//! Models that are texts: a graph as `inspect` prints it, perhaps edited by hand, with weights by their hashes from a
//! model beside it.

use std::path::Path;

use crate::args::ModelOptions;
use crate::engine::{self, Model, Settings};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;

/// The longest text that is read: its tokens take some ten times as much memory.
const MOST_BYTES: usize = 64 << 20;

/// The word that a graph's text begins with, after blanks and comments.
const FIRST_WORD: &str = "graph";

/// Whether a file is a graph's text.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b";"));
    first.is_some_and(|line| line.starts_with(FIRST_WORD.as_bytes()))
}

/// Refuses texts where nothing is compiled but an ONNX file as it is.
///
/// # Errors
/// [`Failure::Usage`].
pub(crate) fn refuse_all_texts(file: &ModelFile, options: &ModelOptions) -> Outcome {
    match options.schedule.is_some() || options.weights_from.is_some() {
        true => Err(Failure::usage("--schedule and --weights-from are for what compiles a model")),
        false => refuse_text(file),
    }
}

/// Refuses a graph's text where an ONNX file itself is needed.
///
/// # Errors
/// [`Failure::Usage`].
pub(crate) fn refuse_text(file: &ModelFile) -> Outcome {
    match is_text(&file.bytes) {
        true => Err(Failure::usage(format!("`{}` is a graph's text", file.name()))
            .with_help("give the .onnx that it is of")),
        false => Ok(()),
    }
}

/// Reads a graph's text, and its weights from the file's `weights`.
///
/// # Errors
/// [`Failure::Model`] for what does not parse, is no graph or lacks weights, and what is wrong with the other
/// model.
pub(super) fn import(file: &ModelFile, settings: &engine::ImportOptions) -> Outcome<Model> {
    if settings.batch.is_some() || !settings.shapes.is_empty() {
        return Err(Failure::usage("a graph's text has its batch and its shapes")
            .with_help("change them in the text, or give the .onnx with --batch and --shape"));
    }
    if file.bytes.len() > MOST_BYTES {
        return Err(Failure::BadModel {
            file: file.name(),
            message: format!("it is longer than {} MiB, the longest text", MOST_BYTES >> 20),
            help: None,
        });
    }
    let source = std::str::from_utf8(&file.bytes).map_err(|error| Failure::BadModel {
        file: file.name(),
        message: format!("it is no text in UTF-8: {error}"),
        help: None,
    })?;
    let donor = file.weights.as_deref().map(donor).transpose()?;
    engine::import_text(source, donor.as_ref()).map_err(|error| loading::refused(file, error))
}

/// The model that weights are taken from.
fn donor(path: &Path) -> Outcome<Model> {
    let file = ModelFile::open(path)?;
    if file.is_artifact() || is_text(&file.bytes) {
        return Err(Failure::usage(
            "--weights-from takes the .onnx model that a graph's text is of",
        ));
    }
    loading::import(&file, &Settings::to_import(engine::ImportOptions::default()))
}

/// Takes what a schedule's text chooses for convolutions, for the first CPU of the settings.
///
/// # Errors
/// [`Failure::Usage`] for choices that cannot be taken; [`Failure::Io`] and what does not parse.
pub(super) fn take_schedule(
    (file, model): (&ModelFile, &Model),
    settings: &mut Settings,
    schedule: &Path,
) -> Outcome {
    let text = ModelFile::open(schedule)?;
    let source = std::str::from_utf8(&text.bytes)
        .map_err(|error| Failure::damaged(schedule, format!("it is no text in UTF-8: {error}")))?;
    let summary = engine::read_schedule(source)
        .map_err(|error| Failure::damaged(schedule, error.to_string()))?;
    let refused = |error| loading::refused(file, error);
    let wanted = summary.nodes.into_iter().filter_map(|node| Some((node.name, node.conv?.by)));
    let wanted: Vec<_> = wanted.collect();
    let layers = engine::layers(model, settings).map_err(refused)?;
    let because = format!("chosen in {}", text.name());
    for (name, choice) in &wanted {
        let layer = layers.iter().find(|layer| layer.name == *name);
        let layer = layer.ok_or_else(|| {
            Failure::usage(format!("`{name}` of the schedule is no convolution in blocks here"))
                .with_help("inspect --stage schedule prints those that are, for the same --cpu")
        })?;
        let chosen = engine::Chosen { choice: choice.clone(), because: because.clone() };
        let choices = &mut settings.compile.schedule.choices;
        let other = choices.insert(layer.key.clone(), chosen);
        if other.is_some_and(|other| other.because == because && other.choice != *choice) {
            return Err(Failure::usage(format!(
                "the schedule computes `{name}` otherwise than another convolution of the same kind"
            ))
            .with_help("convolutions of equal shapes are computed alike: change all of them"));
        }
    }
    check_taken(&wanted, &engine::layers(model, settings).map_err(refused)?)
}

/// Refuses choices that have not been taken.
fn check_taken(wanted: &[(String, engine::Choice)], layers: &[engine::Layer]) -> Outcome {
    for (name, choice) in wanted {
        let layer = layers.iter().find(|layer| layer.name == *name);
        let Some(layer) = layer.filter(|layer| layer.taken != *choice) else { continue };
        let ways: Vec<&str> = layer.candidates.iter().map(engine::Choice::as_str).collect();
        return Err(Failure::usage(format!("`{choice}` is no way to compute `{name}` here"))
            .with_help(format!("ways are {}", ways.join("; "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_known_by_their_first_word() {
        for text in ["graph @x {", "\n ; a comment\n\tgraph @x", "graph"] {
            assert!(is_text(text.as_bytes()), "{text:?}");
        }
        for other in ["", "; graph", "schedule @x {", "\u{8}\u{7}graph", "plan @graph {"] {
            assert!(!is_text(other.as_bytes()), "{other:?}");
        }
    }
}
