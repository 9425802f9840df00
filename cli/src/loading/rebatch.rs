//! A batch for models that fix another: followed through the graph, and checked by running the model both ways.

use cardinal_compiler::error::Error as ModelError;
use cardinal_compiler::options::{CompileOptions, ImportOptions};

use super::{import_as_it_is, refused};
use crate::compare::compare;
use crate::engine::{self, Model, Settings};
use crate::exit::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::program::{Program, Session, available_threads};
use crate::tensors::Array;
use crate::{random, render, trial};

/// Largest difference between images of a batch and one by one, relative to the largest magnitude of the output:
/// the order of sums may differ.
const TOLERANCE: f64 = 1e-3;
/// The same where values are rounded, as some then are rounded to the neighbour: a few steps of 8 bits.
const ROUNDED_TOLERANCE: f64 = 2e-2;

/// Imports a model for the batch that is asked for, which an import refused with this error as the model fixes
/// another.
///
/// # Errors
/// [`Failure::Model`] naming the node that stands in the way; [`Failure::Mismatch`] where images of a batch are not
/// what the model makes of them one by one.
pub(super) fn import(
    file: &ModelFile,
    settings: &Settings,
    error: Box<ModelError>,
) -> Outcome<Model> {
    let options = &settings.import;
    let Some([batch, images]) = engine::fixed_batch(&error) else {
        return Err(refused(file, error));
    };
    let shapes = options.shapes.values().filter_map(|shape| shape.first().copied());
    // Options that contradict each other are no batch to follow.
    if options.batch.into_iter().chain(shapes).any(|asked| asked != images) {
        return Err(refused(file, error));
    }
    let mut own = ImportOptions { batch: None, ..options.clone() };
    own.shapes.values_mut().filter_map(|shape| shape.first_mut()).for_each(|first| *first = batch);
    let model = import_as_it_is(file, &own)?;
    let many = engine::rebatched(&model, images).map_err(|error| refused(file, error))?;
    check(file, &model, &many, &settings.compile)?;
    render::note(format_args!(
        "{}: it has batch {batch}, and gets {images}: the same on random images, in a batch and by {batch}",
        file.name()
    ));
    Ok(many)
}

/// Runs both on random images: the one on all of them, the other on as many as it takes, again and again.
fn check(file: &ModelFile, own: &Model, many: &Model, options: &CompileOptions) -> Outcome {
    let settings = engine::for_comparison(options);
    let program = |model: &Model| -> Outcome<Program> {
        let artifact = engine::compile(model, &settings).and_then(|made| made.to_artifact());
        Program::load(artifact.map_err(|error| refused(file, error))?, None, &file.name())
    };
    let tolerance = match engine::rounds_values(&own.graph) {
        true => ROUNDED_TOLERANCE,
        false => TOLERANCE,
    };
    let (own, many) = (program(own)?, program(many)?);
    let (few, all) = (own.batch(), many.batch());
    // Both numbers of images are made of whole inferences of the smaller.
    let inputs = random::arrays(many.inputs(), trial::SEED)?;
    let found = Session::new(&many, available_threads())?.run(inputs.clone())?;
    let mut session = Session::new(&own, available_threads())?;
    for first in (0..all).step_by(few) {
        let count = few.min(all - first);
        let part = |array: &Array| -> Outcome<Array> {
            let mut parts = vec![array.rows(first, first + count)];
            // The last again, where fewer are left than the model takes.
            let last = array.rows(first + count - 1, first + count);
            parts.extend(std::iter::repeat_n(last, few - count));
            Array::concatenate(&parts).ok_or_else(|| Failure::Failed("there are no images".into()))
        };
        let expected = session.run(inputs.iter().map(part).collect::<Outcome<Vec<Array>>>()?)?;
        for (found, expected) in found.iter().zip(&expected) {
            let comparison = compare(&found.rows(first, first + count), &expected.rows(0, count));
            if !comparison.within(tolerance, 0.0) {
                return Err(differs(file, first, comparison.max_rel));
            }
        }
    }
    Ok(())
}

fn differs(file: &ModelFile, image: usize, by: f64) -> Failure {
    Failure::Mismatch(format!(
        "`{}`: in a batch, image {image} differs by {by:.1e} from what the model makes of it alone; export it with a \
         dynamic batch",
        file.name()
    ))
}
