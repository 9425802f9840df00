//! `cardinal verify`: are the results right?

use serde_json::{Value, json};

use crate::args::VerifyArgs;
use crate::engine::{self, Model, Settings};
use crate::exit::{Failure, Outcome};
use crate::layers::Layers;
use crate::loading::{self, Loaded};
use crate::model_file::ModelFile;
use crate::program::{self, Session};
use crate::tensors::{self, Array};
use crate::verdict::{self, Verdict};
use crate::{inputs, output};

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.verify/v1";

pub(crate) fn run(args: &VerifyArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let given = tensors::read_all(&args.input)?;
    let expected = tensors::read_all(&args.expected)?;
    let file = ModelFile::open(&args.model)?.with_weights(args.options.weights_from.as_ref());
    args.trust.check(&file)?;
    if file.is_artifact() && expected.is_empty() {
        return Err(Failure::usage("the reference interpreter needs the .onnx model")
            .with_help("give the .onnx, or --expected Y.npy to compare a compiled model with"));
    }
    if file.is_artifact() && args.layers {
        return Err(Failure::usage("the weights of operators are in the .onnx model only")
            .with_help("give the .onnx that it was compiled from"));
    }
    let loaded = loading::load(&file, &args.options, &args.isa, &given)?;
    let inputs = inputs::given_or_random(given, loaded.program.inputs(), args.seed)?;
    let specs = loaded.program.outputs();
    let expected = match expected.is_empty() {
        true => reference(&file, &loaded, &inputs)?,
        false => tensors::assign(specs, expected, "output")?,
    };
    let layers = match &loaded.source {
        Some(source) if args.layers => Some(layers(&file, source, args, &inputs)?),
        Some(_) | None => None,
    };
    let actual = Session::new(&loaded.program, threads)?.run(inputs)?;
    let verdicts = verdict::judge(specs, &actual, &expected, args.tolerance.into());
    output::even_unread(print(args, &verdicts, layers.as_ref()))?;
    verdict::conclude(&verdicts)?;
    layers.map_or(Ok(()), |layers| layers.conclude())
}

fn print(args: &VerifyArgs, verdicts: &[Verdict], layers: Option<&Layers>) -> Outcome {
    if args.json {
        return output::print_json(&json!({
            "schema": SCHEMA,
            "model": args.model.display().to_string(),
            "same": verdicts.iter().all(|verdict| verdict.same),
            "outputs": Value::from_iter(verdicts.iter().map(Verdict::to_json)),
            "layers": layers.map(Layers::to_json),
        }));
    }
    output::print(|out| {
        layers.map_or(Ok(()), |layers| layers.print(out))?;
        verdicts.iter().try_for_each(|verdict| verdict.print(out))
    })
}

/// The errors of all operators.
fn layers(
    file: &ModelFile,
    (model, settings): &(Model, Settings),
    args: &VerifyArgs,
    inputs: &[Array],
) -> Outcome<Layers> {
    let progress = loading::progress("running each operator in f64".into());
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let layers = Layers::measure(file, model, (settings, &args.isa), inputs, threads);
    progress.finish_and_clear();
    layers
}

fn reference(file: &ModelFile, loaded: &Loaded, inputs: &[Array]) -> Outcome<Vec<Array>> {
    let Some((model, _)) = &loaded.source else {
        return Err(Failure::Failed("the model's graph is not at hand".into()));
    };
    let progress = loading::progress("running the reference interpreter".into());
    let outputs = engine::interpret(&model.graph, inputs);
    progress.finish_and_clear();
    outputs.map_err(|error| loading::refused(file, error))
}
