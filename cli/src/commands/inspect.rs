//! `cardinal inspect`: what a model is turned into, stage by stage.

use serde_json::{Value, json};

use crate::args::{Format, InspectArgs, Stage};
use crate::engine::{self, Model, NearMiss, Settings};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::output;

pub(crate) fn run(args: &InspectArgs) -> Outcome {
    check_format(args)?;
    check_pass(args.after.as_deref())?;
    let file = ModelFile::open(&args.model)?;
    if file.is_artifact() {
        return describe(&file, args);
    }
    let settings = Settings { target: args.target.clone(), ..loading::settings(&args.options) };
    let model = loading::import(&file, &settings.import)?;
    if args.passes {
        return list_passes(&file, model, args.format);
    }
    let (text, near_misses) = dump(&file, model, &settings, args)?;
    let text = if args.why { with_reasons(&text, &near_misses, args.format) } else { text };
    output::print(|out| write!(out, "{}{}", text, if text.ends_with('\n') { "" } else { "\n" }))
}

fn check_format(args: &InspectArgs) -> Outcome {
    let stage = args.stage.unwrap_or(Stage::Fused);
    match (args.format, stage) {
        (Format::Svg | Format::Html, _) => {
            Err(Failure::usage("this build does not draw svg or html yet")
                .with_help("draw it with Graphviz: --format dot | dot -Tsvg"))
        }
        (Format::Json | Format::Dot, Stage::Clif | Stage::Asm) => {
            Err(Failure::usage("code is shown as text only"))
        }
        (Format::Dot, _) if args.passes => Err(Failure::usage("passes are listed as text or json")),
        (Format::Text | Format::Json | Format::Dot, _) => Ok(()),
    }
}

fn check_pass(name: Option<&str>) -> Outcome {
    let passes = engine::passes();
    match name {
        Some(name) if passes.iter().all(|pass| pass.name != name) => {
            let names: Vec<&str> = passes.iter().map(|pass| pass.name.as_str()).collect();
            Err(Failure::usage(format!("there is no pass `{name}`"))
                .with_help(format!("the passes are {}", names.join(", "))))
        }
        _ => Ok(()),
    }
}

fn describe(file: &ModelFile, args: &InspectArgs) -> Outcome {
    if args.stage.is_some() || args.after.is_some() || args.passes || args.why {
        return Err(Failure::usage(format!("`{}` is compiled already", file.name()))
            .with_help("stages and passes are those of an .onnx model"));
    }
    let lines = engine::describe(&engine::open_artifact(file.bytes.clone(), &file.name())?);
    match args.format {
        Format::Text => {
            output::print(|out| lines.iter().try_for_each(|(k, v)| writeln!(out, "{k:<16} {v}")))
        }
        Format::Json => {
            let pair = |(k, v): &(String, String)| json!([k, v]);
            output::print_json(&json!({
                "schema": "cardinal.artifact/v1",
                "about": lines.iter().map(pair).collect::<Vec<_>>(),
            }))
        }
        Format::Dot | Format::Svg | Format::Html => {
            Err(Failure::usage("an artifact is described as text or json"))
        }
    }
}

/// One row of `--passes`: name, summary, nodes before, nodes after.
type Row = (String, String, usize, usize);

fn list_passes(file: &ModelFile, mut model: Model, format: Format) -> Outcome {
    let mut after = Vec::new();
    let mut before = model.graph.len();
    engine::optimise(&mut model.graph, None, &mut |pass, graph| {
        after.push((pass.to_owned(), graph.len()));
    })
    .map_err(|error| loading::refused(file, error))?;
    let summaries = engine::passes();
    let rows: Vec<Row> = after
        .into_iter()
        .map(|(name, nodes)| {
            let summary = summaries.iter().find(|p| p.name == name).map(|p| p.summary.clone());
            (name, summary.unwrap_or_default(), std::mem::replace(&mut before, nodes), nodes)
        })
        .collect();
    print_passes(&rows, format)
}

fn print_passes(rows: &[Row], format: Format) -> Outcome {
    if format == Format::Json {
        let row = |(name, summary, before, after): &Row| json!({"name": name, "summary": summary, "nodes_before": before, "nodes_after": after});
        let rows: Vec<Value> = rows.iter().map(row).collect();
        return output::print_json(&json!({"schema": "cardinal.passes/v1", "passes": rows}));
    }
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    output::print(|out| {
        rows.iter().try_for_each(|(name, summary, before, after)| {
            writeln!(out, "{name:<width$}  {before:>5} -> {after:<5}  {summary}")
        })
    })
}

fn dump(
    file: &ModelFile,
    mut model: Model,
    settings: &Settings,
    args: &InspectArgs,
) -> Outcome<(String, Vec<NearMiss>)> {
    let refused = |error| loading::refused(file, error);
    let stage = args.stage.unwrap_or(Stage::Fused);
    let missing = || Failure::usage("this stage does not have that format");
    if matches!(stage, Stage::Plan | Stage::Clif | Stage::Asm) {
        let text = engine::dump_lowered(&model, settings, stage, args.format).map_err(refused)?;
        let near_misses = match args.why {
            true => engine::optimise(&mut model.graph, None, &mut |_, _| ()).map_err(refused)?,
            false => Vec::new(),
        };
        return Ok((text.ok_or_else(missing)?, near_misses));
    }
    let imported = engine::dump_graph(&model.graph, args.format);
    if stage == Stage::Import && !args.why {
        return Ok((imported.ok_or_else(missing)?, Vec::new()));
    }
    let until = args.after.as_deref();
    let near_misses = engine::optimise(&mut model.graph, until, &mut |_, _| ()).map_err(refused)?;
    let text = match stage {
        Stage::Import => imported,
        _ => engine::dump_graph(&model.graph, args.format),
    };
    Ok((text.ok_or_else(missing)?, near_misses))
}

/// The dump with the near misses after it, as comments in its own language.
fn with_reasons(dump: &str, near_misses: &[NearMiss], format: Format) -> String {
    if format == Format::Json {
        let reason = |m: &NearMiss| json!({"pass": m.pass, "node": m.node, "because": m.because});
        let why: Vec<Value> = near_misses.iter().map(reason).collect();
        let stage = serde_json::from_str::<Value>(dump).unwrap_or(Value::Null);
        return json!({"schema": "cardinal.why/v1", "stage": stage, "near_misses": why})
            .to_string();
    }
    let comment = if format == Format::Dot { "//" } else { ";" };
    let mut text = format!("{}\n\n{comment} near misses: {}\n", dump.trim_end(), near_misses.len());
    for miss in near_misses {
        text += &format!("{comment} {} at \"{}\": {}\n", miss.pass, miss.node, miss.because);
    }
    text
}
