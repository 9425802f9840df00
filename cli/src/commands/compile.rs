//! `cardinal compile`: a model to a file.

mod native;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::args::{CompileArgs, Emit};
use crate::engine::{self, Compiled, Settings};
use crate::executable;
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::output;
use crate::render;
use crate::stdio::is_dash;
use crate::tune::{self, Report};

pub(crate) fn run(args: &CompileArgs) -> Outcome {
    let output = args.output.clone().unwrap_or_else(|| default_output(&args.model, args.emit));
    let emit = kind_of(args.emit, &output)?;
    match emit {
        Emit::Artifact => {}
        Emit::Exe => executable::check_target(args.target.as_deref())?,
        Emit::Obj | Emit::Shared => native::check(&output, &args.options)?,
    }
    if args.json && is_dash(&output) {
        return Err(Failure::usage("standard output cannot take both the model and --json")
            .with_help("write the model to a file: -o FILE"));
    }
    let begin = Instant::now();
    let file = ModelFile::open(&args.model)?;
    if file.is_artifact() {
        return Err(Failure::usage(format!("`{}` is compiled already", file.name()))
            .with_help("compile takes an .onnx model"));
    }
    let compiling = format!("compiling {}", file.name());
    let progress = loading::progress(compiling.clone());
    let mut settings = Settings { target: args.target.clone(), ..loading::settings(&args.options) };
    settings.compile.check_rewrites = args.check_rewrites;
    settings.compile.threads = args.threads.unwrap_or(settings.compile.threads);
    let model = loading::import(&file, &settings.import)?;
    let refused = |error| loading::refused(&file, error);
    let tuned = match args.tune {
        true => {
            let tuned = tune::tune(&file, &model, &settings, &args.tuning, &progress)?;
            settings.compile.choices = tuned.0;
            progress.set_message(compiling);
            Some(tuned.1)
        }
        false => None,
    };
    let sample = match emit {
        Emit::Exe => Some(executable::sample(&model, &settings, refused)?),
        Emit::Artifact | Emit::Obj | Emit::Shared => None,
    };
    let compiled = engine::compile(&model, &settings).map_err(refused)?;
    let native = match emit {
        Emit::Obj | Emit::Shared => Some(native::make(emit, &output, &file, &compiled)?),
        Emit::Artifact | Emit::Exe => None,
    };
    progress.finish_and_clear();
    match (native, sample) {
        (Some(files), _) => native::write(&output, &files)?,
        (None, Some(sample)) => executable::write(&output, &compiled.artifact, &sample)?,
        (None, None) => output::write(&output, compiled.artifact.as_bytes())?,
    }
    if let Some(tuned) = &tuned {
        tuned.print();
    }
    render::note(format_args!(
        "{} -> {}: {} nodes, {} of code for {}, {} of weights, {} of scratch memory, in {:.2} s",
        file.name(),
        if is_dash(&output) { "standard output".into() } else { output.display().to_string() },
        compiled.nodes,
        size(compiled.code_bytes),
        compiled.cpus.join(", "),
        size(compiled.weight_bytes),
        size(compiled.arena_bytes),
        begin.elapsed().as_secs_f64(),
    ));
    match args.json {
        true => output::print_json(&to_json(&file, &output, &compiled, tuned.as_ref())),
        false => Ok(()),
    }
}

/// What was written, as an object of the schema cardinal.compile/v1.
fn to_json(file: &ModelFile, output: &Path, compiled: &Compiled, tuned: Option<&Report>) -> Value {
    json!({
        "schema": "cardinal.compile/v1",
        "model": file.name(),
        "output": output.display().to_string(),
        "nodes": compiled.nodes,
        "cpus": compiled.cpus,
        "code_bytes": compiled.code_bytes,
        "weight_bytes": compiled.weight_bytes,
        "arena_bytes": compiled.arena_bytes,
        "tune": tuned.map(Report::to_json),
    })
}

fn default_output(model: &Path, emit: Option<Emit>) -> PathBuf {
    let stem = if is_dash(model) { None } else { model.file_stem() };
    let mut name = stem.unwrap_or("model".as_ref()).to_owned();
    name.push(match emit {
        Some(Emit::Obj) => ".o",
        Some(Emit::Shared) => ".so",
        Some(Emit::Exe) => "",
        Some(Emit::Artifact) | None => ".cardinal",
    });
    name.into()
}

fn kind_of(emit: Option<Emit>, output: &Path) -> Outcome<Emit> {
    if let Some(emit) = emit {
        return Ok(emit);
    }
    if is_dash(output) {
        return Ok(Emit::Artifact);
    }
    match output.extension().map(|e| e.to_string_lossy()).as_deref() {
        Some("cardinal") => Ok(Emit::Artifact),
        Some("o") => Ok(Emit::Obj),
        Some("so") => Ok(Emit::Shared),
        None => Ok(Emit::Exe),
        Some(other) => Err(Failure::usage(format!("no kind of output is called .{other}"))
            .with_help("use .cardinal, .o, .so or no extension, or say what to write with --emit")),
    }
}

/// `1.2 MB`
fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_says_what_is_written_unless_emit_does() {
        let kind = |path: &str| kind_of(None, Path::new(path)).ok();
        assert_eq!(kind("a/m.cardinal"), Some(Emit::Artifact));
        assert_eq!(kind("-"), Some(Emit::Artifact));
        assert_eq!(kind("m.o"), Some(Emit::Obj));
        assert_eq!(kind("m.so"), Some(Emit::Shared));
        assert_eq!(kind("a.b/m"), Some(Emit::Exe));
        assert_eq!(kind("m.onnx"), None);
        assert_eq!(kind_of(Some(Emit::Artifact), Path::new("m.bin")).ok(), Some(Emit::Artifact));
    }

    #[test]
    fn the_default_output_is_in_this_folder() {
        let output = |model: &str, emit| default_output(Path::new(model), emit);
        assert_eq!(output("/a/b/r50.v2.onnx", None), Path::new("r50.v2.cardinal"));
        assert_eq!(output("-", None), Path::new("model.cardinal"));
        assert_eq!(output("a/r50.onnx", Some(Emit::Obj)), Path::new("r50.o"));
        assert_eq!(output("r50.onnx", Some(Emit::Shared)), Path::new("r50.so"));
        assert_eq!(output("a/r50.onnx", Some(Emit::Exe)), Path::new("r50"));
    }
}
