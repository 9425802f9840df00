//! A loaded model on images or tensors: what `cardinal run` does, and what an executable does.

mod images;
mod report;

use std::path::Path;

use crate::classify::Classifier;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::program::{self, Program, Session};
use crate::request::RunRequest;
use crate::stdio::is_dash;
use crate::tensors::{self, Named};

use images::Images;
use report::{Report, Sample};

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
        Ok(Job { request, given: tensors::read_all(&request.input)? })
    }

    /// The tensors given.
    #[cfg(feature = "compiler")]
    pub(crate) fn given(&self) -> &Named {
        &self.given
    }

    /// Runs the program and prints or writes the results; `model` is its name for messages. What is wrong
    /// with the request for this model, and with where the outputs go, is found before the first inference.
    ///
    /// # Errors
    /// Everything that is wrong with the inputs for this model, and with where the outputs go.
    pub(crate) fn run(self, program: &Program, model: &str) -> Outcome {
        let Job { request, given } = self;
        let threads = request.threads.unwrap_or_else(program::available_threads);
        if let Some(path) = &request.output {
            tensors::check_output(path, program.outputs())?;
        }
        let images = request.images.iter().map(AsRef::as_ref);
        let tensors = request.input.iter().map(|argument| tensors::path_of(argument));
        let inputs: Vec<&Path> = images.chain(tensors).collect();
        for path in request.output.iter().chain(request.dump_input()) {
            output::check(path, &inputs)?;
        }
        let classifier = Classifier::of(program.outputs(), program.metadata(), &request.classes)?;
        let report = Report::new(request, program.outputs(), classifier)?;
        let session = Session::new(program, threads)?;
        match request.images.as_slice() {
            [] => run_tensors(given, request, program, session, report),
            images => Images::new(request, program, model, session, report)?.run(images),
        }
    }
}

/// Refuses what needs one stream for two things.
fn check(request: &RunRequest, stdin_taken: bool) -> Outcome {
    let dash = |text: &String| text == "-" || text.ends_with("=-");
    let readers = usize::from(stdin_taken)
        + request.images.iter().filter(|path| is_dash(path)).count()
        + request.input.iter().filter(|text| dash(text)).count()
        + usize::from(request.classes.labels.as_deref().is_some_and(is_dash));
    if readers > 1 {
        return Err(Failure::usage("only one thing can be read from stdin"));
    }
    let written = [request.output.as_ref(), request.dump_input()];
    let to_stdout = written.iter().flatten().filter(|path| is_dash(path)).count();
    let prints = request.output.is_none() || request.wants_text();
    if to_stdout + usize::from(prints) > 1 {
        return Err(Failure::usage("tensors and text cannot both go to stdout")
            .with_help("write the tensors to a file: --output y.npy"));
    }
    Ok(())
}

fn run_tensors(
    given: Named,
    request: &RunRequest,
    program: &Program,
    mut session: Session,
    mut report: Report<'_>,
) -> Outcome {
    let inputs = tensors::assign(program.inputs(), given, "input")?;
    program.check(&inputs)?;
    let outputs = session.run(inputs)?;
    let rows = outputs.first().and_then(|o| o.shape.first()).copied().unwrap_or(1);
    let name = request.input.join(" ");
    let samples: Vec<Sample<'_>> =
        (0..rows).map(|row| Sample { name: &name, row, of: rows }).collect();
    report.add(&samples, &outputs)?;
    if let Some(path) = &request.output {
        tensors::write(path, program.outputs(), &outputs)?;
    }
    report.finish(session.threads())
}
