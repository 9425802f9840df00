//! `cardinal serve`: models over HTTP.

use std::path::{Path, PathBuf};

use crate::args::ServeArgs;
use crate::exit::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::serve::{Hosted, serve};
use crate::stdio::is_dash;
use crate::{loading, names};

pub(crate) fn run(args: &ServeArgs) -> Outcome {
    check_names(&args.models)?;
    let models = args.models.iter().map(|path| load(path, args));
    serve(models.collect::<Outcome<Vec<Hosted>>>()?, &args.serving)
}

/// Loads or compiles a model.
fn load(path: &Path, args: &ServeArgs) -> Outcome<Hosted> {
    let name = name_of(path)?;
    let file = ModelFile::open(path)?.with_weights(args.options.weights_from.as_ref());
    args.trust.check(&file)?;
    let isa = &args.serving.isa;
    let program = loading::load(&file, &args.options, isa, &Vec::new())?.program;
    Hosted::new(name, program, &args.serving, &file.name())
}

/// The stem of a model's file.
fn name_of(path: &Path) -> Outcome<String> {
    let stem = path.file_stem().filter(|_| !is_dash(path));
    stem.map(|stem| names::shown(Path::new(stem))).ok_or_else(|| {
        Failure::usage(format!("`{}` has no name to be served under", names::shown(path)))
            .with_help("give a file, whose stem is the model's name")
    })
}

fn check_names(models: &[PathBuf]) -> Outcome {
    let names = models.iter().map(|path| name_of(path)).collect::<Outcome<Vec<String>>>()?;
    for (at, name) in names.iter().enumerate() {
        if let Some(before) = names[..at].iter().position(|other| other == name) {
            let [first, second] = [before, at].map(|at| names::shown(&models[at]));
            return Err(Failure::usage(format!(
                "`{first}` and `{second}` would both be served as `{name}`"
            ))
            .with_help(
                "rename one of the files, as with a link: a model's name is its file's stem",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_one_name_are_refused() {
        let check = |names: &[&str]| check_names(&names.iter().map(Into::into).collect::<Vec<_>>());
        assert!(check(&["a/m.onnx", "b.cardinal", "m.x.onnx"]).is_ok());
        let said = check(&["a/m.onnx", "b.cardinal", "m.cardinal"]).unwrap_err().to_string();
        assert!(said.contains("`a/m.onnx` and `m.cardinal`"), "{said}");
        assert!(check(&["-"]).is_err() && check(&[".."]).is_err());
    }
}
