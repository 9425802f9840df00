//! `inspect --format html` and `--format svg`.

use cardinal_compiler::pipeline::Keep;
use cardinal_compiler::schedule::Summary;

use crate::args::{Format, InspectArgs, Stage};
use crate::engine::{self, Model, ModelResult, Pipeline, Settings};
use crate::exit::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::page::{self, Opening, Subject};
use crate::{loading, output};

/// Prints a picture of the model.
///
/// # Errors
/// What the compiler refuses, a name that nothing has, and those of printing.
pub(super) fn print(
    file: &ModelFile,
    model: &Model,
    settings: &Settings,
    args: &InspectArgs,
) -> Outcome {
    let picture = match args.format {
        Format::Html => html(file, model, settings, args),
        Format::Text | Format::Json | Format::Dot | Format::Svg => svg(model, settings, args),
    };
    let picture = picture.map_err(|error| loading::refused(file, error))?;
    let picture = picture.ok_or_else(|| no_such_node(args.node.as_deref().unwrap_or_default()))?;
    output::print(|out| write!(out, "{picture}"))
}

pub(super) fn no_such_node(name: &str) -> Failure {
    Failure::usage(format!("there is nothing called `{name}` that could be drawn"))
        .with_help("inspect without --format and --node prints all names")
}

/// The page; none where it is to be opened at a node that there is not.
fn html(
    file: &ModelFile,
    model: &Model,
    settings: &Settings,
    args: &InspectArgs,
) -> ModelResult<Option<String>> {
    let keep = Keep { graphs: true, changes: true };
    let pipeline = Pipeline::new(model, &settings.compile).keeping(keep);
    let trace = pipeline.plans(&[engine::first_target(settings)?])?;
    let Some(variant) = trace.variants.first() else { return Ok(None) };
    let path = file.name();
    let subject = Subject {
        file: base(&path),
        before: Some((&model.graph, &trace.passes)),
        graph: &trace.graph,
        cpu: variant.target.cpu(),
        schedule: &Summary::of(&trace.graph, &variant.schedule),
        plan: variant.plan()?,
    };
    Ok(page(&subject, args))
}

/// The page, opened where it is asked for; none where there is no such node.
pub(super) fn page(subject: &Subject<'_>, args: &InspectArgs) -> Option<String> {
    let opened = match (args.stage, subject.before) {
        (Some(Stage::Import), Some((imported, _))) => imported,
        _ => subject.graph,
    };
    let node = match &args.node {
        Some(name) => Some(page::named(opened, name)?),
        None => None,
    };
    let opening = Opening { tab: tab(args), pass: args.after.as_deref(), node };
    Some(page::html(subject, &opening))
}

/// A file's name without its folders.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The tab of the page that is asked for.
fn tab(args: &InspectArgs) -> &'static str {
    match args.stage {
        Some(Stage::Import) => "import",
        Some(Stage::Schedule) => "schedule",
        Some(Stage::Plan) => "plan",
        None if args.passes || args.after.is_some() => "passes",
        None | Some(Stage::Fused | Stage::Clif | Stage::Asm) => "fused",
    }
}

fn svg(model: &Model, settings: &Settings, args: &InspectArgs) -> ModelResult<Option<String>> {
    let pipeline = Pipeline::new(model, &settings.compile);
    let fused = match args.stage {
        Some(Stage::Import) => None,
        _ => Some(pipeline.passes(args.after.as_deref())?.graph),
    };
    let graph = fused.as_ref().unwrap_or(&model.graph);
    Ok(match &args.node {
        Some(name) => page::svg_of(graph, name),
        None => Some(page::svg(graph)),
    })
}
