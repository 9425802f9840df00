//! Inputs for a comparison: those that are given, or random ones.

use crate::exit::Outcome;
use crate::random;
use crate::tensors::{self, Array, Named, Spec};

/// What is given, in the order of what is taken; random where nothing is.
///
/// # Errors
/// [`Failure::Usage`](crate::exit::Failure::Usage) for what is not taken.
pub(crate) fn given_or_random(given: Named, specs: &[Spec], seed: u64) -> Outcome<Vec<Array>> {
    if given.is_empty() {
        return random::arrays(specs, seed);
    }
    let inputs = tensors::assign(specs, given, "input")?;
    specs.iter().zip(&inputs).try_for_each(|(spec, input)| spec.check(input))?;
    Ok(inputs)
}
