//! Trial runs of a model while it is compiled, on random inputs that are always the same.

use cardinal_runtime::{Artifact, DType};

use crate::exit::Outcome;
use crate::program::{Program, Session, available_threads};
use crate::random;
use crate::tensors::{Array, Spec};

/// Seed of the inputs.
pub(crate) const SEED: u64 = 0;

/// What came out of one.
pub(crate) struct Trial {
    /// What the outputs are.
    pub(crate) specs: Vec<Spec>,
    /// The outputs.
    pub(crate) outputs: Vec<Array>,
}

/// Runs an artifact once; `name` is the model's for messages.
///
/// # Errors
/// Those of loading it, and [`Failure::Failed`](crate::exit::Failure::Failed) for want of memory.
pub(crate) fn run(artifact: Artifact, name: &str) -> Outcome<Trial> {
    run_on(artifact, name, |_| {})
}

/// The same on inputs that are a thousandth larger or smaller, in turns.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn run_nearby(artifact: Artifact, name: &str) -> Outcome<Trial> {
    const APART: f32 = 1.0 / 1024.0;
    run_on(artifact, name, |input| {
        if input.dtype != DType::F32 {
            return;
        }
        let by = [1.0 + APART, 1.0 - APART].into_iter().cycle();
        for (element, by) in input.bytes.as_chunks_mut::<4>().0.iter_mut().zip(by) {
            *element = (f32::from_le_bytes(*element) * by).to_le_bytes();
        }
    })
}

fn run_on(artifact: Artifact, name: &str, change: impl Fn(&mut Array)) -> Outcome<Trial> {
    let program = Program::load(artifact, None, name)?;
    let mut inputs = random::arrays(program.inputs(), SEED)?;
    inputs.iter_mut().for_each(change);
    let outputs = Session::new(&program, available_threads())?.run(inputs)?;
    Ok(Trial { specs: program.outputs().to_vec(), outputs })
}
