//! How much memory an inference takes, against how much is allowed: before any of it is asked for.

use super::{Base, Place, Plan, Step};
use crate::error::{Error, Problem, Result};

/// Refuses a plan whose arena, inputs and outputs take more than `most` bytes.
///
/// # Errors
/// [`Problem::Unsupported`], at the step that touches the most of it.
pub(crate) fn check_memory(plan: &Plan, most: usize) -> Result<()> {
    let ports = plan.inputs.iter().chain(&plan.outputs).map(|port| port.ty.bytes());
    let all = ports.fold(plan.arena_bytes, usize::saturating_add);
    if all <= most {
        return Ok(());
    }
    let what = format!("an inference that takes {all} bytes of memory, of {most} allowed");
    let error = Error::from(Problem::Unsupported(what))
        .with_remedy("is the batch, a shape or a padding meant to be this large?");
    let largest = |step: &&Step| step.args.iter().map(|place| bytes(plan, *place)).max();
    // The first of several.
    Err(match plan.steps.iter().rev().max_by_key(largest) {
        Some(step) => {
            let node = step.from.first().map_or(step.name.as_str(), |origin| origin);
            error.at(node, step.kernel.name())
        }
        None => error,
    })
}

/// Bytes of what a place points into, weights apart.
fn bytes(plan: &Plan, place: Place) -> usize {
    match place.base {
        Base::Input(i) => plan.inputs.get(i).map_or(0, |port| port.ty.bytes()),
        Base::Output(i) => plan.outputs.get(i).map_or(0, |port| port.ty.bytes()),
        Base::Buffer(i) => plan.buffers.get(i).map_or(0, |buffer| buffer.bytes),
        Base::Constant(_) | Base::Worker => 0,
    }
}
