//! `cardinal bisect`: where do results begin to be wrong?

use std::path::{Path, PathBuf};

use crate::args::{Arithmetic, BisectArgs, ModelOptions};
use crate::bisect::{Compiler, Part, Report, Search, conclude};
use crate::exit::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::program;
use crate::stdio::is_dash;
use crate::tensors::{self, Spec};
use crate::verdict::Tolerance;
use crate::{engine, inputs, loading, output};

pub(crate) fn run(args: &BisectArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let [given, expected] = [tensors::read_all(&args.input)?, tensors::read_all(&args.expected)?];
    let path = output::place(args.output.as_deref(), default_output(&args.model));
    check_outputs(args, &path)?;
    let file = ModelFile::open(&args.model)?;
    if file.is_artifact() {
        return Err(Failure::usage("what happened on the way is seen in the .onnx model only")
            .with_help("give the .onnx that it was compiled from"));
    }
    loading::refuse_text(&file)?;
    let progress = loading::progress(format!("compiling {}", file.name()));
    let mut settings = loading::settings(&args.options);
    let model = loading::import(&file, &settings)?;
    loading::schedule(&file, &model, &mut settings, &args.options)?;
    let graph = &model.graph;
    let specs: Vec<Spec> = graph.inputs().iter().map(|id| engine::spec(graph.node(*id))).collect();
    // What takes more memory than is allowed is refused before any of it is asked for.
    engine::compile(&model, &settings).map_err(|error| loading::refused(&file, error))?;
    let inputs = inputs::given_or_random(given, &specs, args.seed)?;
    let outputs = graph.outputs().iter();
    let outputs =
        outputs.map(|o| Spec { name: o.name.clone(), ..engine::spec(graph.node(o.node)) });
    let outputs: Vec<Spec> = outputs.collect();
    let expected = match expected.is_empty() {
        true => None,
        false => Some(tensors::assign(&outputs, expected, "output")?),
    };
    let compiler = Compiler::new(&file, &model, &settings, threads)?;
    let tolerance = args.tolerance.into();
    let (inputs, outputs, progress) = (&inputs, &outputs, &progress);
    let search = Search { stages: &compiler, inputs, outputs, tolerance, progress };
    let found = search.run(expected.as_deref())?;
    let nodes = compiler.origins(&found)?;
    let part = match nodes.is_empty() {
        true => None,
        false => {
            let what = (&search, compiler.suspect(&found));
            Some(Part::write((&file, &model), what, &nodes, &path))
        }
    };
    progress.finish_and_clear();
    let (rewrites, flags) = (&compiler.changes, flags(args));
    let written = part.as_ref().and_then(|part| part.as_ref().ok());
    let report = Report { model: file.name(), found: &found, rewrites, part: written, flags };
    output::even_unread(report.print(args.json))?;
    part.transpose()?;
    conclude(&found)
}

/// Refuses, before any work, to write to stdout, where there is no place, and over what is read.
fn check_outputs(args: &BisectArgs, path: &Path) -> Outcome {
    let beside = Part::beside(path);
    if is_dash(path) || beside == path {
        return Err(Failure::usage("what is written is a model, and an .npz beside it")
            .with_help("name the model: -o wrong.onnx"));
    }
    let given = args.input.iter().chain(&args.expected);
    let given = given.map(|argument| tensors::path_of(argument));
    let read: Vec<&Path> = given.chain([args.model.as_path()]).collect();
    output::check(path, &read)?;
    output::check(&beside, &read)
}

/// The flags of this command that the results of a part depend on, and by how much they may differ.
fn flags(args: &BisectArgs) -> String {
    let ModelOptions { cpu, no_winograd, int8_winograd, precision, portable_bits, .. } =
        &args.options;
    let mut flags = String::new();
    for (given, flag) in [
        (*no_winograd, "--no-winograd"),
        (*int8_winograd, "--int8-winograd"),
        (*portable_bits, "--portable-bits"),
        (*precision == Arithmetic::Bf16, "--precision bf16"),
        (*precision == Arithmetic::Auto, "--precision auto"),
    ] {
        if given {
            flags += &format!(" {flag}");
        }
    }
    if !cpu.is_empty() {
        flags += &format!(" --cpu {}", cpu.join(","));
    }
    let Tolerance { rtol, atol } = args.tolerance.into();
    flags + &format!(" --rtol {rtol:e} --atol {atol:e}")
}

fn default_output(model: &Path) -> PathBuf {
    let stem = if is_dash(model) { None } else { model.file_stem() };
    let mut name = stem.unwrap_or("model".as_ref()).to_owned();
    name.push(".bisect.onnx");
    name.into()
}
