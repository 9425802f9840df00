//! `inspect --against`: what two models, compiled or not, are turned into, as a diff.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use cardinal_runtime::text;

use super::{dump, recorded};
use crate::args::{Format, InspectArgs, ModelOptions, Stage};
use crate::engine::Settings;
use crate::exit::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::{about, loading, output, program};

/// Looking for the least difference ends after this, for each stage; what is found then is no less right.
const TIME: Duration = Duration::from_secs(5);

/// The stages that are compared when none is named.
const STAGES: [Stage; 3] = [Stage::Fused, Stage::Schedule, Stage::Plan];

/// A text of each of two models.
struct Part {
    what: String,
    texts: [String; 2],
}

/// Prints the differences of two models.
///
/// # Errors
/// What is wrong with either, and those of printing.
pub(super) fn print(file: ModelFile, other: &Path, args: &InspectArgs) -> Outcome {
    check(args)?;
    let other = ModelFile::open(other)?;
    args.trust.check(&other)?;
    let files = with_weights([file, other], args)?;
    let [file, other] = &files;
    let mut parts = Vec::new();
    if args.stage.is_none() && files.iter().all(|file| file.is_artifact()) {
        let texts = [of_itself(file)?, of_itself(other)?];
        parts.push(Part { what: "what it says of itself".into(), texts });
    }
    check_artifacts(&files, args)?;
    let stages = args.stage.map_or(STAGES.to_vec(), |stage| vec![stage]);
    for stage in stages {
        let texts = [stage_text(file, stage, args)?, stage_text(other, stage, args)?];
        parts.push(Part { what: name(stage).into(), texts });
    }
    let names = files.each_ref().map(|file| text::line(&file.name()));
    let all: String = parts.iter().map(|part| part.diff(&names)).collect();
    output::print(|out| write!(out, "{all}"))
}

/// Refuses what is of one model alone.
fn check(args: &InspectArgs) -> Outcome {
    if args.format != Format::Text {
        return Err(Failure::usage("a diff is shown as text only"));
    }
    if args.tuned || args.options.schedule.is_some() {
        return Err(Failure::usage("--tuned and --schedule are of one model, not of two")
            .with_help("compile each with its own, and compare the artifacts"));
    }
    Ok(())
}

/// Both, with the model that has their weights where they are texts of graphs.
fn with_weights(files: [ModelFile; 2], args: &InspectArgs) -> Outcome<[ModelFile; 2]> {
    let weights = args.options.weights_from.as_ref();
    let is_text = |file: &ModelFile| !file.is_artifact() && loading::is_text(&file.bytes);
    if weights.is_some() && !files.iter().any(is_text) {
        return Err(Failure::usage("--weights-from is for a graph's text, and neither is one"));
    }
    Ok(files.map(|file| match is_text(&file) {
        true => file.with_weights(weights),
        false => file,
    }))
}

/// Refuses options of compiling where both are compiled already.
fn check_artifacts(files: &[ModelFile; 2], args: &InspectArgs) -> Outcome {
    if !files.iter().all(ModelFile::is_artifact) {
        return Ok(());
    }
    files.iter().try_for_each(|file| {
        let artifact = program::open_artifact(file.bytes.clone(), &file.name())?;
        loading::check_shown(&artifact, &args.options)
    })
}

impl Part {
    /// The unified diff, or that there is none.
    fn diff(&self, names: &[String; 2]) -> String {
        let [old, new] = &self.texts;
        let what = &self.what;
        if old == new {
            return format!("; {what}: the same\n");
        }
        let diff = similar::TextDiff::configure().timeout(TIME).diff_lines(old, new);
        let [a, b] = names.each_ref().map(|name| format!("{name}: {what}"));
        let mut unified = diff.unified_diff();
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = write!(out, "{}", unified.context_radius(3).header(&a, &b));
        out
    }
}

/// What an artifact says of itself, as `inspect` prints it.
fn of_itself(file: &ModelFile) -> Outcome<String> {
    let artifact = program::open_artifact(file.bytes.clone(), &file.name())?;
    let lines = about::lines(&artifact);
    Ok(lines.iter().map(|(what, value)| format!("{what:<16} {}\n", text::line(value))).collect())
}

fn stage_text(file: &ModelFile, stage: Stage, args: &InspectArgs) -> Outcome<String> {
    let step = args.step.as_deref();
    let text = match file.is_artifact() {
        true => {
            // The other options are for the model that is compiled now.
            let options = ModelOptions { cpu: args.options.cpu.clone(), ..Default::default() };
            let args = InspectArgs { stage: Some(stage), options, ..args.clone() };
            return recorded::text(file, &args);
        }
        false => {
            let settings =
                Settings { target: args.target.clone(), ..loading::settings(&args.options) };
            let model = loading::import(file, &settings)?;
            dump::text_of(&model, &settings, stage, step)
        }
    };
    text.map_err(|error| loading::refused(file, error))
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Import => "import",
        Stage::Fused => "fused",
        Stage::Schedule => "schedule",
        Stage::Plan => "plan",
        Stage::Clif => "clif",
        Stage::Asm => "asm",
    }
}
