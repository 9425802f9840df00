//! How much memory an inference takes, against how much is allowed: before any of it is asked for.

use super::{Base, Place, Plan, Step};
use crate::error::{Error, Result};

/// Refuses a plan whose arena, inputs and outputs take more than `most` bytes.
///
/// # Errors
/// [`Problem::TooLarge`](crate::error::Problem::TooLarge), at the step that touches the most of it.
pub(crate) fn check_memory(plan: &Plan, most: usize) -> Result<()> {
    let ports = plan.inputs.iter().chain(&plan.outputs).map(|port| port.ty.bytes());
    let all = ports.fold(plan.arena_bytes, usize::saturating_add);
    if all <= most {
        return Ok(());
    }
    let largest = |step: &&Step| step.args.iter().map(|place| bytes(plan, *place)).max();
    // The first of several.
    let step = plan.steps.iter().rev().max_by_key(largest);
    let one = step.as_ref().and_then(largest).unwrap_or(0);
    let what = format!(
        "an inference that takes {all} bytes of memory, of {most} allowed, and {one} for one value alone"
    );
    let error = Error::too_large(what, Some(format!("--max-memory {}", enough(all))));
    Err(match step {
        Some(step) => {
            let node = step.from.first().map_or(step.name.as_str(), |origin| origin);
            error.at(node, step.kernel.name())
        }
        None => error,
    })
}

/// A size that is as large, in the largest unit that does not make it much larger.
fn enough(bytes: usize) -> String {
    const UNITS: [(&str, u32); 2] = [("GiB", 30), ("MiB", 20)];
    let fits = |(_, log2): &(&str, u32)| bytes >> log2 >= 10;
    let (unit, log2) = UNITS.into_iter().find(fits).unwrap_or(("KiB", 10));
    format!("{}{unit}", bytes.div_ceil(1 << log2))
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
