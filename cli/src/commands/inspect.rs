//! `cardinal inspect`: what a model is turned into, stage by stage.

mod against;
mod dump;
mod passes;
mod picture;
mod recorded;

use cardinal_compiler::passes::{NearMiss, TABLE};
use cardinal_runtime::text;
use serde_json::{Value, json};

use crate::args::{Format, InspectArgs, Stage};
use crate::columns::{WIDTH, wrapped};
use crate::engine::{Pipeline, Settings};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::{about, output, program, tune};

use dump::Dump;

#[cfg(feature = "library")]
pub(crate) use dump::text_of;

pub(crate) fn run(args: &InspectArgs) -> Outcome {
    let args = &args.settled();
    check_format(args)?;
    check_cpus(args)?;
    check_pass(args.after.as_deref().or(args.diff.as_deref()))?;
    let file = ModelFile::open(&args.model)?;
    args.trust.check(&file)?;
    if let Some(other) = &args.against {
        return against::print(file, other, args);
    }
    let file = file.with_weights(args.options.weights_from.as_ref());
    if file.is_artifact() {
        return match recorded::is_asked_for(args) {
            true => print(&recorded::text(&file, args)?),
            false => describe(&file, args),
        };
    }
    let mut settings = Settings { target: args.target.clone(), ..loading::settings(&args.options) };
    let model = loading::import(&file, &settings)?;
    if args.tuned {
        settings.compile.schedule.choices = tune::recall(&file, &model, &settings, &args.tuning)?;
    }
    loading::schedule(&file, &model, &mut settings, &args.options)?;
    if matches!(args.format, Format::Svg | Format::Html) {
        return picture::print(&file, &model, &settings, args);
    }
    if args.passes {
        let pipeline = Pipeline::new(&model, &settings.compile);
        return passes::list(&file, pipeline, args.format);
    }
    let dump = Dump::new(&model, &settings, args);
    let Dump { text, near_misses } = dump.map_err(|error| loading::refused(&file, error))?;
    let text = text.ok_or_else(|| Failure::usage("this stage does not have that format"))?;
    let text = if args.why { with_reasons(&text, &near_misses, args.format) } else { text };
    print(&text)
}

fn print(text: &str) -> Outcome {
    output::print(|out| write!(out, "{}{}", text, if text.ends_with('\n') { "" } else { "\n" }))
}

fn check_format(args: &InspectArgs) -> Outcome {
    let stage = args.stage.unwrap_or(Stage::Fused);
    if args.step.is_some() && !matches!(stage, Stage::Clif | Stage::Asm) {
        return Err(Failure::usage("the code of a step is seen in the stages clif and asm"));
    }
    let refused = |what: &str| Err(Failure::usage(what));
    match (args.format, stage) {
        (Format::Text | Format::Json | Format::Dot, _) if args.node.is_some() => {
            Err(Failure::usage("--node says what of a picture is shown")
                .with_help("add --format svg, or --format html"))
        }
        (Format::Svg | Format::Html, Stage::Clif | Stage::Asm)
        | (Format::Json | Format::Dot, Stage::Clif | Stage::Asm) => {
            refused("code is shown as text only")
        }
        (Format::Dot, Stage::Schedule) => refused("schedules are shown as text, json or html"),
        (Format::Svg, Stage::Schedule | Stage::Plan) => {
            Err(Failure::usage("an svg is of a graph: import, fused or --after a pass")
                .with_help("--format html draws schedules and plans"))
        }
        (Format::Svg, _) if args.why => refused("an svg has no near misses, --format html has"),
        (Format::Dot | Format::Svg, _) if args.passes => {
            refused("passes are listed as text, json or html")
        }
        (Format::Json | Format::Dot | Format::Svg | Format::Html, _) if args.diff.is_some() => {
            refused("a diff is shown as text only")
        }
        (Format::Text | Format::Json | Format::Dot | Format::Svg | Format::Html, _) => Ok(()),
    }
}

fn check_cpus(args: &InspectArgs) -> Outcome {
    let lowered = args.format == Format::Html
        || matches!(args.stage, Some(Stage::Schedule | Stage::Plan | Stage::Clif | Stage::Asm));
    if args.tuned && !lowered {
        return Err(Failure::usage(
            "what is tuned is seen in the stages schedule, plan, clif and asm",
        ));
    }
    if lowered && args.options.cpu.len() > 1 {
        return Err(Failure::usage("plans and code are shown for one CPU")
            .with_help("give one --cpu, and inspect once for each"));
    }
    Ok(())
}

fn check_pass(name: Option<&str>) -> Outcome {
    match name {
        Some(name) if TABLE.iter().all(|pass| pass.name != name) => {
            let names: Vec<&str> = TABLE.iter().map(|pass| pass.name).collect();
            Err(Failure::usage(format!("there is no pass `{name}`"))
                .with_help(format!("the passes are {}", names.join(", "))))
        }
        _ => Ok(()),
    }
}

fn describe(file: &ModelFile, args: &InspectArgs) -> Outcome {
    let artifact = program::open_artifact(file.bytes.clone(), &file.name())?;
    loading::check_shown(&artifact, &args.options)?;
    match args.format {
        Format::Text => about::print(&about::lines(&artifact)),
        Format::Json => output::print_json(&about::to_json(&artifact)),
        Format::Dot | Format::Svg | Format::Html => {
            Err(Failure::usage("an artifact is described as text or json"))
        }
    }
}

/// The dump with the near misses after it, as comments in its own language.
fn with_reasons(dump: &str, near_misses: &[NearMiss], format: Format) -> String {
    if format == Format::Json {
        let reason = |miss: &NearMiss| {
            let from: Vec<&str> = miss.from.iter().map(|node| &**node).collect();
            json!({"pass": miss.pass, "node": miss.place(), "because": miss.because, "from": from})
        };
        let why: Vec<Value> = near_misses.iter().map(reason).collect();
        let stage = serde_json::from_str::<Value>(dump).unwrap_or(Value::Null);
        let why = json!({"schema": "cardinal.why/v1", "stage": stage, "near_misses": why});
        return text::json(&why.to_string());
    }
    let comment = if format == Format::Dot { "//" } else { ";" };
    let mut text = format!("{}\n\n{comment} near misses: {}\n", dump.trim_end(), near_misses.len());
    for miss in near_misses {
        let said = format!("{} at {:?}: {}", miss.pass, miss.place(), text::line(&miss.because));
        let (first, rest) = (format!("{comment} "), format!("{comment}   "));
        let room = WIDTH - rest.len();
        text += &wrapped(&said, room, &first, &rest);
        if miss.from.len() > 1 {
            let nodes: Vec<String> = miss.from.iter().map(|node| format!("{node:?}")).collect();
            text += &wrapped(&format!("of {}", nodes.join(" ")), room, &rest, &rest);
        }
    }
    text
}
