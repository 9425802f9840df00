//! `cardinal verify`: are the results right?

use crate::args::VerifyArgs;
use crate::engine;
use crate::exit::{Failure, Outcome};
use crate::loading::{self, Loaded};
use crate::model_file::ModelFile;
use crate::program::{self, Session};
use crate::tensors::{self, Array};
use crate::verdict::{self, Tolerance};
use crate::{inputs, output};

pub(crate) fn run(args: &VerifyArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let given = tensors::read_all(&args.input)?;
    let expected = tensors::read_all(&args.expected)?;
    let file = ModelFile::open(&args.model)?;
    args.trust.check(&file)?;
    if file.is_artifact() && expected.is_empty() {
        return Err(Failure::usage("the reference interpreter needs the .onnx model")
            .with_help("give the .onnx, or --expected Y.npy to compare a compiled model with"));
    }
    let loaded = loading::load(&file, &args.options, &args.isa, &given)?;
    let inputs = inputs::given_or_random(given, loaded.program.inputs(), args.seed)?;
    let specs = loaded.program.outputs();
    let expected = match expected.is_empty() {
        true => reference(&file, &loaded, &inputs)?,
        false => tensors::assign(specs, expected, "output")?,
    };
    let actual = Session::new(&loaded.program, threads)?.run(inputs)?;
    let tolerance = Tolerance { rtol: args.rtol, atol: args.atol };
    let verdicts = verdict::judge(specs, &actual, &expected, tolerance);
    let printed = output::print(|out| verdicts.iter().try_for_each(|v| v.print(out)));
    output::even_unread(printed)?;
    verdict::conclude(&verdicts)
}

fn reference(file: &ModelFile, loaded: &Loaded, inputs: &[Array]) -> Outcome<Vec<Array>> {
    let Some(model) = &loaded.model else {
        return Err(Failure::Failed("the model's graph is not at hand".into()));
    };
    let progress = loading::progress("running the reference interpreter".into());
    let outputs = engine::interpret(&model.graph, inputs);
    progress.finish_and_clear();
    outputs.map_err(|error| loading::refused(file, error))
}
