//! `cardinal run`: a model on images or tensors.

mod report;

use std::path::{Path, PathBuf};

use crate::args::{RunArgs, RunRequest};
use crate::classify::{self, Scores};
use crate::engine::{self, Program, Session};
use crate::exit::{Failure, Outcome};
use crate::image_input::{self, Recipe};
use crate::loading;
use crate::model_file::{ModelFile, is_dash};
use crate::render;
use crate::tensors::{self, Array, Named};

use report::Report;

/// Classes printed unless `--top` says otherwise.
const DEFAULT_TOP: usize = 5;

pub(crate) fn run(args: &RunArgs) -> Outcome {
    let request = &args.request;
    check_request(&args.model, request)?;
    let given = read_inputs(&request.input)?;
    let threads = request.threads.unwrap_or_else(engine::available_threads);
    let file = ModelFile::open(&args.model)?;
    let loaded = loading::load(&file, &args.options, &request.isa, loading::batch_of(&given))?;
    let program = &loaded.program;
    if let Some(path) = &request.output {
        tensors::check_output(path, program.outputs().len())?;
    }
    let mut session = Session::new(program, threads)?;
    let (samples, outputs) = match request.images.as_slice() {
        [] => run_tensors(given, request, program, &mut session)?,
        images => run_images(images, request, program, &mut session, &file.name())?,
    };
    let report = report(&samples, &outputs, request, program)?;
    if let Some(path) = &request.output {
        tensors::write(path, program.outputs(), &outputs)?;
    }
    report.print(request, threads.get())
}

/// Refuses what needs one stream for two things.
fn check_request(model: &Path, request: &RunRequest) -> Outcome {
    let dash = |text: &String| text == "-" || text.ends_with("=-");
    let readers = usize::from(is_dash(model))
        + request.images.iter().filter(|path| is_dash(path)).count()
        + request.input.iter().filter(|text| dash(text)).count()
        + usize::from(request.labels.as_deref().is_some_and(is_dash));
    if readers > 1 {
        return Err(Failure::usage("only one thing can be read from stdin"));
    }
    let to_stdout = request.output.as_deref().is_some_and(is_dash);
    if to_stdout && (request.json || request.top.is_some()) {
        return Err(Failure::usage("tensors and text cannot both go to stdout")
            .with_help("write the tensors to a file: --output y.npy"));
    }
    Ok(())
}

fn read_inputs(arguments: &[String]) -> Outcome<Named> {
    let mut given = Named::new();
    for argument in arguments {
        given.extend(tensors::read(argument)?);
    }
    Ok(given)
}

/// What one row of the outputs came from: the file, and the row in it.
type Sample = (String, usize);

fn run_tensors(
    given: Named,
    request: &RunRequest,
    program: &Program,
    session: &mut Session,
) -> Outcome<(Vec<Sample>, Vec<Array>)> {
    let inputs = tensors::assign(program.inputs(), given, "input")?;
    program.inputs().iter().zip(&inputs).try_for_each(|(spec, input)| spec.check(input))?;
    let outputs = session.run(&inputs)?;
    let rows = outputs.first().and_then(|o| o.shape.first()).copied().unwrap_or(1);
    let name = request.input.join(" ");
    Ok(((0..rows).map(|row| (name.clone(), row)).collect(), outputs))
}

fn run_images(
    images: &[PathBuf],
    request: &RunRequest,
    program: &Program,
    session: &mut Session,
    model: &str,
) -> Outcome<(Vec<Sample>, Vec<Array>)> {
    let recipe = Recipe::of(program.inputs(), program.metadata(), &request.image, model)?;
    render::note(format_args!("images: {recipe}"));
    let batch = program.inputs()[0].shape[0];
    let fits = |shape: &[usize]| shape.first() == Some(&batch);
    if images.len() != batch && !program.outputs().iter().all(|spec| fits(&spec.shape)) {
        return Err(Failure::usage(format!(
            "this model's outputs are not a row a sample: it takes exactly {batch} images at once"
        )));
    }
    let mut parts: Vec<Vec<Array>> = program.outputs().iter().map(|_| Vec::new()).collect();
    for chunk in images.chunks(batch) {
        let input = read_chunk(chunk, &recipe, batch)?;
        for (part, output) in parts.iter_mut().zip(session.run(&[input])?) {
            part.push(if chunk.len() < batch { output.rows(0, chunk.len()) } else { output });
        }
    }
    let samples = images.iter().map(|path| (path.display().to_string(), 0)).collect();
    Ok((samples, parts.iter().filter_map(|part| Array::concatenate(part)).collect()))
}

/// The images of one inference; the last one again where there are too few.
fn read_chunk(images: &[PathBuf], recipe: &Recipe, batch: usize) -> Outcome<Array> {
    let mut arrays: Vec<Array> =
        images.iter().map(|path| image_input::read(path, recipe)).collect::<Outcome<_>>()?;
    if let Some(last) = arrays.last().cloned() {
        arrays.resize(batch, last);
    }
    Array::concatenate(&arrays).ok_or_else(|| Failure::usage("no images are given"))
}

fn report<'a>(
    samples: &'a [Sample],
    outputs: &'a [Array],
    request: &RunRequest,
    program: &'a Program,
) -> Outcome<Report<'a>> {
    let scores = match outputs {
        [only] => Scores::of(only),
        _ => None,
    };
    let Some(scores) = scores else {
        if request.top.is_some() || request.labels.is_some() {
            return Err(Failure::usage("this model's output is not f32[N, C] scores of classes")
                .with_help("leave --top and --labels out, or write the output with --output"));
        }
        return Ok(Report { samples, specs: program.outputs(), outputs, classes: None });
    };
    let labels = classify::labels(request.labels.as_deref(), program.metadata(), scores.classes())?;
    let top = scores.top(request.top.map_or(DEFAULT_TOP, |top| top.get()));
    let classes = report::Classes { are_probabilities: scores.are_probabilities, top, labels };
    Ok(Report { samples, specs: program.outputs(), outputs, classes: Some(classes) })
}
