//! The stages of a model as text.

use cardinal_compiler::codegen::{Code, FunctionInfo, Listing};
use cardinal_compiler::error::{Error, Problem};
use cardinal_compiler::ir::{self, Graph};
use cardinal_compiler::passes::NearMiss;
use cardinal_compiler::pipeline::{Keep, Trace, VariantTrace};
use cardinal_compiler::plan::{self, Plan};
use cardinal_compiler::schedule::{self, Summary};
use cardinal_runtime::text;

use crate::args::{Format, InspectArgs, Stage};
use crate::engine::{self, Model, ModelResult, Pipeline, Settings};
use crate::explain;

/// What is asked for.
pub(super) struct Dump {
    /// The text; none where the stage does not have the format.
    pub(super) text: Option<String>,
    /// What nearly matched on the way there.
    pub(super) near_misses: Vec<NearMiss>,
}

impl Dump {
    /// A stage, for the first CPU of the settings, or what a pass changed.
    ///
    /// # Errors
    /// Those of the compiler.
    pub(super) fn new(model: &Model, settings: &Settings, args: &InspectArgs) -> ModelResult<Dump> {
        if let Some(pass) = &args.diff {
            return diff(Pipeline::new(model, &settings.compile), pass);
        }
        let InspectArgs { format, why, after, step, .. } = args;
        let shown = Shown {
            stage: args.stage.unwrap_or(Stage::Fused),
            format: *format,
            why: *why,
            after: after.as_deref(),
            step: step.as_deref(),
        };
        Dump::of(model, settings, &shown)
    }

    fn of(model: &Model, settings: &Settings, shown: &Shown<'_>) -> ModelResult<Dump> {
        let pipeline = Pipeline::new(model, &settings.compile);
        let Shown { stage, format, why, after, step } = *shown;
        let trace = match stage {
            Stage::Import if !why => {
                let text = graph_text(&model.graph, format);
                return Ok(Dump { text, near_misses: Vec::new() });
            }
            Stage::Import | Stage::Fused => pipeline.passes(after)?,
            Stage::Schedule => pipeline.schedules(&[engine::first_target(settings)?])?,
            Stage::Plan | Stage::Clif | Stage::Asm => {
                pipeline.plans(&[engine::first_target(settings)?])?
            }
        };
        let variant = trace.variants.first();
        let text = match stage {
            Stage::Import => graph_text(&model.graph, format),
            Stage::Fused => graph_text(&trace.graph, format),
            Stage::Schedule => {
                let summary = |v: &VariantTrace| Summary::of(&trace.graph, &v.schedule);
                variant.and_then(|variant| schedule_text(&summary(variant), format))
            }
            Stage::Plan => {
                let plan = variant.map(VariantTrace::plan).transpose()?;
                plan.and_then(|plan| plan_text(plan, format))
            }
            Stage::Clif | Stage::Asm => {
                let clif = stage == Stage::Clif;
                code_text(&trace, Listing { clif, assembly: !clif }, format, step)?
            }
        };
        Ok(Dump { text, near_misses: trace.near_misses().cloned().collect() })
    }
}

/// How a stage is shown.
struct Shown<'a> {
    stage: Stage,
    format: Format,
    /// Whether what nearly matched is asked for.
    why: bool,
    /// The last pass.
    after: Option<&'a str>,
    /// The step whose code is asked for, if not all is.
    step: Option<&'a str>,
}

/// A stage as `inspect --stage` prints it, or the code of one step of it.
///
/// # Errors
/// Those of the compiler.
pub(crate) fn text_of(
    model: &Model,
    settings: &Settings,
    stage: Stage,
    step: Option<&str>,
) -> ModelResult<String> {
    let shown = Shown { stage, format: Format::Text, why: false, after: None, step };
    Ok(Dump::of(model, settings, &shown)?.text.unwrap_or_default())
}

/// What a pass changed.
fn diff(pipeline: Pipeline<'_>, pass: &str) -> ModelResult<Dump> {
    let trace = pipeline.keeping(Keep { graphs: true, ..Keep::default() }).passes(Some(pass))?;
    let imported = ("import", &pipeline.model().graph);
    let passes = trace.passes.iter().filter_map(|p| Some((p.pass.name, p.after.as_ref()?)));
    let points: Vec<(&str, &Graph)> = std::iter::once(imported).chain(passes).collect();
    let [before, after] = [2, 1].map(|back| points[points.len().saturating_sub(back)]);
    let [old, new] = [before, after].map(|(_, graph)| ir::text::print(graph));
    let diff = similar::TextDiff::from_lines(&old, &new);
    let header = [before, after].map(|(name, _)| format!("after {name}"));
    let mut unified = diff.unified_diff();
    let text = unified.context_radius(3).header(&header[0], &header[1]).to_string();
    let text = if text.is_empty() { format!("; {pass} changed nothing\n") } else { text };
    Ok(Dump { text: Some(text), near_misses: trace.near_misses().cloned().collect() })
}

pub(super) fn graph_text(graph: &Graph, format: Format) -> Option<String> {
    match format {
        Format::Text => Some(ir::text::print(graph)),
        Format::Json => Some(text::json(&ir::json::to_json(graph).to_string())),
        Format::Dot => Some(ir::dot::to_dot(graph)),
        Format::Svg | Format::Html => None,
    }
}

pub(super) fn schedule_text(schedule: &Summary, format: Format) -> Option<String> {
    match format {
        Format::Text => Some(schedule::text::print(schedule)),
        Format::Json => Some(text::json(&schedule::json::to_json(schedule).to_string())),
        Format::Dot | Format::Svg | Format::Html => None,
    }
}

pub(super) fn plan_text(plan: &Plan, format: Format) -> Option<String> {
    match format {
        Format::Text => Some(plan::text::print(plan)),
        Format::Json => Some(text::json(&plan::json::to_json(plan).to_string())),
        Format::Dot => Some(plan::dot::to_dot(plan)),
        Format::Svg | Format::Html => None,
    }
}

fn code_text(
    trace: &Trace,
    listing: Listing,
    format: Format,
    step: Option<&str>,
) -> ModelResult<Option<String>> {
    let (Format::Text, Some(variant)) = (format, trace.variants.first()) else { return Ok(None) };
    let code = variant.code(listing)?;
    Ok(Some(match step {
        Some(step) => only_step(variant.plan()?, code, step)?.listing(),
        None => code.listing(),
    }))
}

/// The functions of one step alone.
///
/// # Errors
/// [`Problem::BadOption`] where no step is called so.
pub(super) fn only_step(plan: &Plan, code: Code, step: &str) -> ModelResult<Code> {
    let functions = functions_of(plan, &code, step)?;
    Ok(Code { functions, ..code })
}

/// The functions of the steps that are called so, and what these call.
fn functions_of(plan: &Plan, code: &Code, name: &str) -> ModelResult<Vec<FunctionInfo>> {
    let value = name.strip_prefix('%').unwrap_or(name);
    let number = name.strip_prefix('#').and_then(|number| number.parse().ok());
    let is_of = |(at, step): (usize, &plan::Step)| step.name == value || number == Some(at);
    let functions = plan::step_functions(plan);
    let of_steps = plan.steps.iter().enumerate().zip(&functions);
    let wanted: Vec<&String> =
        of_steps.filter(|(step, _)| is_of(*step)).map(|(_, function)| function).collect();
    let is_wanted = |function: &str| function == name || wanted.iter().any(|w| *w == function);
    let chosen = explain::code::chosen(code, is_wanted);
    if chosen.is_empty() {
        let what = format!("no step of the plan and no function is called `{name}`");
        let error = Error::from(Problem::BadOption(what));
        return Err(error.with_remedy("inspect --stage plan lists the steps").into());
    }
    Ok(chosen.into_iter().cloned().collect())
}
