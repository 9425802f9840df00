//! Trial runs of a model while it is compiled, on random inputs that are always the same.

use cardinal_runtime::Artifact;

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
    let program = Program::load(artifact, None, name)?;
    let inputs = random::arrays(program.inputs(), SEED)?;
    let outputs = Session::new(&program, available_threads())?.run(inputs)?;
    Ok(Trial { specs: program.outputs().to_vec(), outputs })
}
