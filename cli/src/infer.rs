//! A loaded model on images or tensors: what `cardinal run` does, and what an executable does.

mod report;

use std::path::PathBuf;

use crate::classify::{self, Scores};
use crate::exit::{Failure, Outcome};
use crate::image_input::{self, Recipe};
use crate::program::{self, Program, Session};
use crate::request::RunRequest;
use crate::stdio::is_dash;
use crate::tensors::{self, Array, Named};

use report::Report;

/// Classes printed unless `--top` says otherwise.
const DEFAULT_TOP: usize = 5;

/// What is asked for, with the tensors that it names; images are read when their turn comes.
pub(crate) struct Job<'a> {
    request: &'a RunRequest,
    given: Named,
}

impl<'a> Job<'a> {
    /// Checks a request and reads its tensors. `stdin_taken` says that something else is read from
    /// stdin already.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what cannot be, and those of reading the tensors.
    pub(crate) fn new(request: &'a RunRequest, stdin_taken: bool) -> Outcome<Job<'a>> {
        check(request, stdin_taken)?;
        let mut given = Named::new();
        for argument in &request.input {
            given.extend(tensors::read(argument)?);
        }
        Ok(Job { request, given })
    }

    /// The tensors given.
    #[cfg(feature = "compiler")]
    pub(crate) fn given(&self) -> &Named {
        &self.given
    }

    /// Runs the program and prints or writes the results; `model` is its name for messages.
    ///
    /// # Errors
    /// Everything that is wrong with the inputs for this model, and with where the outputs go.
    pub(crate) fn run(self, program: &Program, model: &str) -> Outcome {
        let Job { request, given } = self;
        let threads = request.threads.unwrap_or_else(program::available_threads);
        if let Some(path) = &request.output {
            tensors::check_output(path, program.outputs().len())?;
        }
        let mut session = Session::new(program, threads)?;
        let (samples, outputs) = match request.images.as_slice() {
            [] => run_tensors(given, request, program, &mut session)?,
            images => run_images(images, request, program, &mut session, model)?,
        };
        let report = report(&samples, &outputs, request, program)?;
        if let Some(path) = &request.output {
            tensors::write(path, program.outputs(), &outputs)?;
        }
        report.print(request, threads.get())
    }
}

/// Refuses what needs one stream for two things.
fn check(request: &RunRequest, stdin_taken: bool) -> Outcome {
    let dash = |text: &String| text == "-" || text.ends_with("=-");
    let readers = usize::from(stdin_taken)
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
    let outputs = session.run(inputs)?;
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
    recipe.announce();
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
        for (part, output) in parts.iter_mut().zip(session.run(vec![input])?) {
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
    let labels = match &request.labels {
        Some(file) => {
            let skipped = request.labels_offset.unwrap_or(0);
            Some(classify::labels_in(file, skipped, scores.classes())?)
        }
        None => classify::labels_of_metadata(program.metadata(), scores.classes()),
    };
    let top = scores.top(request.top.map_or(DEFAULT_TOP, |top| top.get()));
    let classes = report::Classes { are_probabilities: scores.are_probabilities, top, labels };
    Ok(Report { samples, specs: program.outputs(), outputs, classes: Some(classes) })
}
