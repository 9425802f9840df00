//! Images one after the other: each is read, run and reported before the next.

use std::path::{Path, PathBuf};

use super::report::{Report, Sample};
use crate::exit::{Failure, Outcome};
use crate::image_input::{self, Recipe};
use crate::program::{Program, Session};
use crate::request::RunRequest;
use crate::tensors::{self, Array};
use crate::{names, output, render};

/// A run on images.
pub(super) struct Images<'a> {
    request: &'a RunRequest,
    program: &'a Program,
    recipe: Recipe,
    /// How many images one inference takes.
    batch: usize,
    session: Session,
    report: Report<'a>,
    /// The outputs so far, a list for each, where they are written to a file at the end.
    kept: Vec<Vec<Array>>,
    /// The inputs so far, where they are written to a file at the end.
    dumped: Vec<Array>,
    /// How many images have no result.
    bad: usize,
}

impl<'a> Images<'a> {
    /// For a model called `model`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a model that takes no images; those of [`Recipe::of`].
    pub(super) fn new(
        request: &'a RunRequest,
        program: &'a Program,
        model: &str,
        session: Session,
        report: Report<'a>,
    ) -> Outcome<Images<'a>> {
        let recipe = Recipe::of(program.inputs(), program.metadata(), &request.image, model)?;
        if !request.quiet {
            recipe.announce();
        }
        let batch = program.batch();
        let kept = program.outputs().iter().map(|_| Vec::new()).collect();
        Ok(Images {
            request,
            program,
            recipe,
            batch,
            session,
            report,
            kept,
            dumped: Vec::new(),
            bad: 0,
        })
    }

    /// Runs the model on all of them. One that is bad is one line on stderr.
    ///
    /// # Errors
    /// Those of one image, where it is the only one; [`Failure::Images`] where some are bad.
    pub(super) fn run(mut self, images: &[PathBuf]) -> Outcome {
        let alone = self.must_be_whole(images)?;
        for chunk in images.chunks(self.batch) {
            let mut read = Vec::with_capacity(chunk.len());
            for path in chunk {
                match image_input::read(path, &self.recipe) {
                    Ok(image) => read.push((path.as_path(), image)),
                    Err(failure) if alone || !failure.is_of_an_image() => return Err(failure),
                    Err(failure) => {
                        self.bad += 1;
                        render::complain(&failure);
                    }
                }
            }
            self.infer(read)?;
        }
        self.finish(images.len())
    }

    /// Whether a bad image leaves nothing to go on with: it is the only one, or the outputs are not a row an
    /// image.
    fn must_be_whole(&self, images: &[PathBuf]) -> Outcome<bool> {
        let batch = self.batch;
        if self.program.has_a_row_a_sample() {
            return Ok(images.len() == 1);
        }
        match images.len() == batch {
            true => Ok(true),
            false => Err(Failure::usage(format!(
                "this model's outputs are not a row a sample: it takes exactly {batch} images at once"
            ))),
        }
    }

    /// Runs the model on some images, at most as many as it takes; the last again where it takes no fewer.
    fn infer(&mut self, read: Vec<(&Path, Array)>) -> Outcome {
        let count = read.len();
        let (paths, mut arrays): (Vec<&Path>, Vec<Array>) = read.into_iter().unzip();
        let Some(last) = arrays.last().cloned() else { return Ok(()) };
        if self.request.dump_input().is_some() {
            self.dumped.extend_from_slice(&arrays);
        }
        if !self.program.takes_fewer() {
            arrays.resize(self.batch, last);
        }
        let input = Array::concatenate(&arrays);
        let input = input.ok_or_else(|| Failure::usage("no images are given"))?;
        let mut outputs = self.session.run(vec![input])?;
        if count < arrays.len() {
            outputs = outputs.iter().map(|output| output.rows(0, count)).collect();
        }
        let names: Vec<String> = paths.into_iter().map(names::shown).collect();
        let samples: Vec<Sample<'_>> =
            names.iter().map(|name| Sample { name, row: 0, of: 1 }).collect();
        self.report.add(&samples, &outputs)?;
        if self.request.output.is_some() {
            self.kept.iter_mut().zip(outputs).for_each(|(kept, output)| kept.push(output));
        }
        Ok(())
    }

    fn finish(self, all: usize) -> Outcome {
        let Images { request, program, session, report, kept, dumped, bad, .. } = self;
        if let (Some(path), Some(inputs)) = (request.dump_input(), Array::concatenate(&dumped)) {
            output::write(path, &tensors::encode(&inputs))?;
        }
        if let (Some(path), 0) = (&request.output, bad) {
            let outputs: Vec<Array> =
                kept.iter().filter_map(|parts| Array::concatenate(parts)).collect();
            tensors::write(path, program.outputs(), &outputs)?;
        }
        report.finish(session.threads())?;
        let after = match &request.output {
            Some(path) => format!(
                "; `{}` is not written, as its rows would not be those of the images",
                names::shown(path)
            ),
            None => String::new(),
        };
        if bad == 0 { Ok(()) } else { Err(Failure::Images { bad, all, after }) }
    }
}
