//! `cardinal verify`: are the results right?

use std::io::{self, Write};

use crate::args::VerifyArgs;
use crate::compare::compare;
use crate::engine::{self, Session};
use crate::exit::{Failure, Outcome};
use crate::loading::{self, Loaded};
use crate::model_file::ModelFile;
use crate::tensors::{self, Array, Named, Spec};
use crate::{output, random};

pub(crate) fn run(args: &VerifyArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(engine::available_threads);
    let given = read_all(&args.input)?;
    let expected = read_all(&args.expected)?;
    let file = ModelFile::open(&args.model)?;
    if file.is_artifact() && expected.is_empty() {
        return Err(Failure::usage("the reference interpreter needs the .onnx model")
            .with_help("give the .onnx, or --expected Y.npy to compare a compiled model with"));
    }
    let loaded = loading::load(&file, &args.options, &args.isa, loading::batch_of(&given))?;
    let inputs = inputs(given, loaded.program.inputs(), args.seed)?;
    let specs = loaded.program.outputs();
    let expected = match expected.is_empty() {
        true => reference(&file, &loaded, &inputs)?,
        false => tensors::assign(specs, expected, "output")?,
    };
    let actual = Session::new(&loaded.program, threads)?.run(&inputs)?;
    let verdicts: Vec<Verdict> = specs
        .iter()
        .zip(actual.iter().zip(&expected))
        .map(|(spec, (actual, expected))| Verdict::of(spec, actual, expected, args))
        .collect();
    output::print(|out| verdicts.iter().try_for_each(|v| v.print(out)))?;
    match verdicts.iter().filter(|v| !v.same).count() {
        0 => Ok(()),
        bad => Err(Failure::Mismatch(format!("{bad} of {} outputs differ", verdicts.len()))),
    }
}

fn read_all(arguments: &[String]) -> Outcome<Named> {
    let mut all = Named::new();
    for argument in arguments {
        all.extend(tensors::read(argument)?);
    }
    Ok(all)
}

fn inputs(given: Named, specs: &[Spec], seed: u64) -> Outcome<Vec<Array>> {
    if given.is_empty() {
        return Ok(random::arrays(specs, seed));
    }
    let inputs = tensors::assign(specs, given, "input")?;
    specs.iter().zip(&inputs).try_for_each(|(spec, input)| spec.check(input))?;
    Ok(inputs)
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

/// What became of one output.
struct Verdict {
    same: bool,
    text: String,
}

impl Verdict {
    fn of(spec: &Spec, actual: &Array, expected: &Array, args: &VerifyArgs) -> Verdict {
        let name = &spec.name;
        if (actual.dtype, &actual.shape) != (expected.dtype, &expected.shape) {
            let text = format!("{name}: {}, but {} is expected", actual.ty(), expected.ty());
            return Verdict { same: false, text };
        }
        let c = compare(actual, expected);
        let same = c.within(args.rtol, args.atol);
        let mut text = format!(
            "{name} {}: max abs error {:.3e}, {:.3e} of the largest magnitude {:.4}",
            actual.ty(),
            c.max_abs,
            c.max_rel,
            c.scale,
        );
        if let Some((agree, rows)) = c.argmax {
            text += &format!(", argmax agrees in {agree} of {rows}");
        }
        if !same {
            let (rtol, atol) = (args.rtol, args.atol);
            text += &format!(", worst at element {}; allowed {atol:e} + {rtol:e} of it", c.worst);
        }
        Verdict { same, text }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} {}", if self.same { "same     " } else { "DIFFERENT" }, self.text)
    }
}
