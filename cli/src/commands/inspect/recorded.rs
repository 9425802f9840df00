//! The stages of a compiled model, as its artifact has recorded them.

use cardinal_compiler::ir::Graph;
use cardinal_runtime::Artifact;

use super::dump::{graph_text, only_step, plan_text, schedule_text};
use super::picture;
use crate::args::{Format, InspectArgs, Stage};
use crate::engine::{ModelResult, Record};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::page::{self, Subject};
use crate::{about, program};

/// What is to be printed of an artifact.
///
/// # Errors
/// [`Failure::Usage`] for what is not in an artifact, and what is wrong with it.
pub(super) fn text(file: &ModelFile, args: &InspectArgs) -> Outcome<String> {
    check(file, args)?;
    let artifact = program::open_artifact(file.bytes.clone(), &file.name())?;
    loading::check_shown(&artifact, &args.options)?;
    let position = about::variant(&artifact, &args.options.cpu)?;
    let refused = |error| loading::refused(file, error);
    if matches!(args.format, Format::Svg | Format::Html) {
        let record = Record::read(&artifact, position).map_err(|error| refused(error.into()))?;
        let picture = match args.format {
            Format::Html => html(file, &record, args),
            Format::Text | Format::Json | Format::Dot | Format::Svg => {
                svg(&record.graph, args.node.as_deref())
            }
        };
        let node = args.node.as_deref().unwrap_or_default();
        return picture.ok_or_else(|| picture::no_such_node(node));
    }
    let stage = args.stage.unwrap_or(Stage::Fused);
    let step = args.step.as_deref();
    let text = stage_text(&artifact, position, stage, args.format, step).map_err(refused)?;
    text.ok_or_else(|| Failure::usage("this stage does not have that format"))
}

/// Whether more is asked for than what an artifact says of itself.
pub(super) fn is_asked_for(args: &InspectArgs) -> bool {
    let of_passes = args.after.is_some() || args.diff.is_some() || args.passes || args.why;
    args.stage.is_some() || of_passes || matches!(args.format, Format::Svg | Format::Html)
}

fn check(file: &ModelFile, args: &InspectArgs) -> Outcome {
    let name = file.name();
    let refused = |what: &str| {
        let help = format!(
            "inspect the .onnx that it was compiled from, whose digest `cardinal inspect {name}` prints"
        );
        Err(Failure::usage(format!("`{name}` is compiled already: {what}")).with_help(help))
    };
    if args.after.is_some() || args.diff.is_some() || args.passes || args.why {
        return refused("what its passes did is not in it");
    }
    if args.tuned || args.target.is_some() {
        return refused("--tuned and --target say how to compile");
    }
    match (args.format, args.stage) {
        (_, Some(Stage::Import)) => refused("the graph before its passes is not in it"),
        (_, Some(Stage::Clif)) => refused("Cranelift's code is not in it; --stage asm is"),
        (
            Format::Text | Format::Json | Format::Dot | Format::Svg | Format::Html,
            None | Some(Stage::Fused | Stage::Schedule | Stage::Plan | Stage::Asm),
        ) => Ok(()),
    }
}

/// A stage of the variant at a position; none where it does not have the format.
///
/// # Errors
/// What is wrong with the record.
pub(super) fn stage_text(
    artifact: &Artifact,
    position: usize,
    stage: Stage,
    format: Format,
    step: Option<&str>,
) -> ModelResult<Option<String>> {
    let record = Record::read(artifact, position)?;
    Ok(match stage {
        Stage::Import | Stage::Clif => None,
        Stage::Fused => graph_text(&record.graph, format),
        Stage::Schedule => schedule_text(&record.schedule, format),
        Stage::Plan => plan_text(&record.with_hashes(artifact)?.plan, format),
        Stage::Asm => {
            let code = record.code(artifact, position, true)?;
            let code = match step {
                Some(step) => only_step(&record.plan, code, step)?,
                None => code,
            };
            (format == Format::Text).then(|| code.listing())
        }
    })
}

fn svg(graph: &Graph, node: Option<&str>) -> Option<String> {
    match node {
        Some(name) => page::svg_of(graph, name),
        None => Some(page::svg(graph)),
    }
}

/// The page, without import and passes.
fn html(file: &ModelFile, record: &Record, args: &InspectArgs) -> Option<String> {
    let path = file.name();
    let subject = Subject {
        file: picture::base(&path),
        before: None,
        graph: &record.graph,
        cpu: record.target.cpu(),
        schedule: &record.schedule,
        plan: &record.plan,
    };
    picture::page(&subject, args)
}
