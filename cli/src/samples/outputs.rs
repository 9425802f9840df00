//! What a model makes of samples.

use std::num::NonZeroUsize;

use super::files::{Feed, Read, Samples};
use crate::exit::Outcome;
use crate::program::{Program, Session};
use crate::tensors::Array;

/// A model's own outputs for samples, one array each with a row a sample.
pub(crate) type Outputs = Vec<Array>;

/// Runs a model on samples; gives the first `own` of its outputs.
///
/// # Errors
/// What is wrong with the samples for this model.
pub(crate) fn outputs(
    (program, threads): (&Program, NonZeroUsize),
    own: usize,
    (samples, feed): (&Samples, &mut Feed<'_>),
) -> Outcome<(Outputs, Read)> {
    let mut session = Session::new(program, threads)?;
    let mut parts: Vec<Vec<Array>> = vec![Vec::new(); own];
    let read = samples.each(feed, &mut |inputs, count| {
        for (part, output) in parts.iter_mut().zip(session.run(inputs.to_vec())?) {
            part.push(rows(output, count, inputs));
        }
        Ok(())
    })?;
    let whole = parts.iter().filter_map(|part| Array::concatenate(part)).collect();
    Ok((whole, read))
}

/// The rows of an output that are of samples, where it has a row for each.
pub(crate) fn rows(output: Array, count: usize, inputs: &[Array]) -> Array {
    let batch = inputs.first().and_then(|input| input.shape.first());
    let is_of_samples = output.shape.first() == batch && batch.is_some_and(|batch| *batch > count);
    if is_of_samples { output.rows(0, count) } else { output }
}
