//! `cardinal bisect`: where do results begin to be wrong?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cardinal_compiler::ir::{Graph, Origin};

use crate::args::BisectArgs;
use crate::bisect::{Compiler, Found, Part, Report, Search, Stages as _, conclude};
use crate::exit::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::program;
use crate::stdio::is_dash;
use crate::tensors::{self, Spec};
use crate::verdict::Tolerance;
use crate::{engine, inputs, loading, output};

pub(crate) fn run(args: &BisectArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let [given, expected] = [inputs::read_all(&args.input)?, inputs::read_all(&args.expected)?];
    let path = output::place(args.output.as_deref(), default_output(&args.model));
    output::check(&path, &[&args.model])?;
    let file = ModelFile::open(&args.model)?;
    if file.is_artifact() {
        return Err(Failure::usage("what happened on the way is seen in the .onnx model only")
            .with_help("give the .onnx that it was compiled from"));
    }
    let progress = loading::progress(format!("compiling {}", file.name()));
    let settings = loading::settings(&args.options);
    let model = loading::import(&file, &settings.import)?;
    let graph = &model.graph;
    let specs: Vec<Spec> = graph.inputs().iter().map(|id| engine::spec(graph.node(*id))).collect();
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
    let tolerance = Tolerance { rtol: args.rtol, atol: args.atol };
    let search = Search { stages: &compiler, inputs: &inputs, tolerance, progress: &progress };
    let found = search.run(expected.as_deref())?;
    let nodes = origins(&compiler, &found)?;
    let part = match nodes.is_empty() {
        true => None,
        false => Some(Part::write((&file, &model), &inputs, nodes, &path)?),
    };
    progress.finish_and_clear();
    let rewrites = &compiler.changes;
    Report { model: file.name(), found: &found, rewrites, part: part.as_ref() }.print(args.json)?;
    conclude(&found)
}

/// The ONNX nodes that what was found came from.
fn origins(compiler: &Compiler<'_>, found: &Found) -> Outcome<BTreeSet<Origin>> {
    match found {
        Found::Nothing | Found::Import => Ok(BTreeSet::new()),
        Found::Rewrite(at) => {
            let removed = compiler.changes.get(*at).into_iter().flat_map(|r| &r.change.removed);
            Ok(removed.flat_map(|node| &node.from).cloned().collect())
        }
        Found::Kernel(kernel) => {
            let graph: Graph = compiler.after(compiler.rewrites())?;
            let nodes = kernel.nodes.iter().filter_map(|name| graph.find(name));
            Ok(nodes.flat_map(|id| graph.node(id).from.clone()).collect())
        }
    }
}

fn default_output(model: &Path) -> PathBuf {
    let stem = if is_dash(model) { None } else { model.file_stem() };
    let mut name = stem.unwrap_or("model".as_ref()).to_owned();
    name.push(".bisect.onnx");
    name.into()
}
