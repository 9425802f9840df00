//! `cardinal inspect`: what a model is turned into, stage by stage.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::args::{Format, InspectArgs, Stage};
use crate::engine::{self, Graph, Model, NearMiss, PassInfo, Settings};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::{about, output, program, tune};

pub(crate) fn run(args: &InspectArgs) -> Outcome {
    check_format(args)?;
    check_cpus(args)?;
    check_pass(args.after.as_deref().or(args.diff.as_deref()))?;
    let file = ModelFile::open(&args.model)?;
    if file.is_artifact() {
        return describe(&file, args);
    }
    let mut settings = Settings { target: args.target.clone(), ..loading::settings(&args.options) };
    let model = loading::import(&file, &settings.import)?;
    if args.tuned {
        settings.compile.schedule.choices = tune::recall(&file, &model, &settings, &args.tuning)?;
    }
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
        (Format::Json | Format::Dot, _) if args.diff.is_some() => {
            Err(Failure::usage("a diff is shown as text only"))
        }
        (Format::Text | Format::Json | Format::Dot, _) => Ok(()),
    }
}

fn check_cpus(args: &InspectArgs) -> Outcome {
    let lowered = matches!(args.stage, Some(Stage::Plan | Stage::Clif | Stage::Asm));
    if args.tuned && !lowered {
        return Err(Failure::usage("what is tuned is seen in the stages plan, clif and asm"));
    }
    if lowered && args.options.cpu.len() > 1 {
        return Err(Failure::usage("plans and code are shown for one CPU")
            .with_help("give one --cpu, and inspect once for each"));
    }
    Ok(())
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
    let asks = args.stage.is_some() || args.after.is_some() || args.diff.is_some();
    if asks || args.passes || args.why {
        return Err(Failure::usage(format!("`{}` is compiled already", file.name()))
            .with_help("stages and passes are those of an .onnx model"));
    }
    let lines = about::lines(&program::open_artifact(file.bytes.clone(), &file.name())?);
    match args.format {
        Format::Text | Format::Json => about::print(&lines, args.format == Format::Json),
        Format::Dot | Format::Svg | Format::Html => {
            Err(Failure::usage("an artifact is described as text or json"))
        }
    }
}

/// The graph after a pass, or as imported.
struct Point {
    /// The pass; none for the import.
    pass: Option<PassInfo>,
    /// How many nodes of each operator there are.
    operators: BTreeMap<&'static str, usize>,
}

impl Point {
    fn nodes(&self) -> usize {
        self.operators.values().sum()
    }
}

fn list_passes(file: &ModelFile, mut model: Model, format: Format) -> Outcome {
    let passes = engine::passes();
    let mut points = vec![Point { pass: None, operators: engine::operators(&model.graph) }];
    engine::optimise(&mut model.graph, None, &mut |name, graph| {
        let pass = passes.iter().find(|pass| pass.name == name).cloned();
        points.push(Point { pass, operators: engine::operators(graph) });
    })
    .map_err(|error| loading::refused(file, error))?;
    match format {
        Format::Json => output::print_json(&passes_json(&points)),
        _ => output::print(|out| write!(out, "{}", passes_text(&points))),
    }
}

fn passes_json(points: &[Point]) -> Value {
    let row = |pair: &[Point]| {
        let [before, after] = pair else { return Value::Null };
        let pass = after.pass.as_ref();
        json!({
            "name": pass.map(|p| &p.name),
            "summary": pass.map(|p| &p.summary),
            "nodes_before": before.nodes(),
            "nodes_after": after.nodes(),
            "operators_after": after.operators,
        })
    };
    let rows: Vec<Value> = points.windows(2).map(row).collect();
    json!({
        "schema": "cardinal.passes/v1",
        "operators_imported": points.first().map(|p| &p.operators),
        "passes": rows,
    })
}

fn passes_text(points: &[Point]) -> String {
    let name = |point: &Point| point.pass.as_ref().map_or(String::new(), |p| p.name.clone());
    let width = points.iter().map(|point| name(point).len()).max().unwrap_or(0);
    let mut text = String::new();
    for pair in points.windows(2) {
        let [before, after] = pair else { continue };
        let summary = after.pass.as_ref().map_or("", |p| &p.summary);
        let (from, to) = (before.nodes(), after.nodes());
        text += &format!("{:<width$}  {from:>5} -> {to:<5}  {summary}\n", name(after));
    }
    if let [first, .., last] = points {
        text += &format!("\n{:<width$} {:>6} -> fused\n", "operator", "import");
        let all: BTreeSet<_> = first.operators.keys().chain(last.operators.keys()).collect();
        for operator in all {
            let count = |point: &Point| point.operators.get(operator).copied().unwrap_or(0);
            text += &format!("{operator:<width$} {:>6} -> {}\n", count(first), count(last));
        }
    }
    text
}

/// What a pass changed.
fn diff(file: &ModelFile, mut model: Model, pass: &str) -> Outcome<(String, Vec<NearMiss>)> {
    let text = |graph: &Graph| engine::dump_graph(graph, Format::Text).unwrap_or_default();
    let mut before = (String::from("import"), text(&model.graph));
    let mut after = before.clone();
    let near_misses = engine::optimise(&mut model.graph, Some(pass), &mut |name, graph| {
        let next = (name.to_owned(), text(graph));
        before = std::mem::replace(&mut after, next);
    })
    .map_err(|error| loading::refused(file, error))?;
    let diff = similar::TextDiff::from_lines(&before.1, &after.1);
    let header = [&before.0, &after.0].map(|name| format!("after {name}"));
    let mut unified = diff.unified_diff();
    let text = unified.context_radius(3).header(&header[0], &header[1]).to_string();
    let text = if text.is_empty() { format!("; {pass} changed nothing\n") } else { text };
    Ok((text, near_misses))
}

fn dump(
    file: &ModelFile,
    mut model: Model,
    settings: &Settings,
    args: &InspectArgs,
) -> Outcome<(String, Vec<NearMiss>)> {
    if let Some(pass) = &args.diff {
        return diff(file, model, pass);
    }
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
        let reason = |m: &NearMiss| json!({"pass": m.pass, "node": m.node, "because": m.because, "from": m.from});
        let why: Vec<Value> = near_misses.iter().map(reason).collect();
        let stage = serde_json::from_str::<Value>(dump).unwrap_or(Value::Null);
        return json!({"schema": "cardinal.why/v1", "stage": stage, "near_misses": why})
            .to_string();
    }
    let comment = if format == Format::Dot { "//" } else { ";" };
    let mut text = format!("{}\n\n{comment} near misses: {}\n", dump.trim_end(), near_misses.len());
    for miss in near_misses {
        text += &format!("{comment} {} at \"{}\": {}\n", miss.pass, miss.node, miss.because);
        if miss.from.len() > 1 {
            let nodes: Vec<String> = miss.from.iter().map(|node| format!("\"{node}\"")).collect();
            text += &format!("{comment}   of {}\n", nodes.join(" "));
        }
    }
    text
}
