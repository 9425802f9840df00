//! Proves a plan's memory sound. Shares no code with what laid it out.
//!
//! A plan is sound when
//!
//! 1. every place lies inside what it points into, with room for one element at least;
//! 2. a step writes only buffers and outputs, and never reads the destination's bytes through
//!    another argument unless it is the same place;
//! 3. a buffer is written before it is read, and no step touches it outside its live range;
//! 4. two buffers whose live ranges meet do not share a byte, and all lie inside the arena;
//! 5. every output is written.

use std::collections::BTreeSet;

use super::{Base, Place, Plan};
use crate::error::{Error, Result};

/// Checks every rule.
///
/// # Errors
/// [`crate::error::Problem::Internal`] naming the step and the rule.
pub fn check(plan: &Plan) -> Result<()> {
    check_overlap(plan)?;
    let mut written = BTreeSet::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let wrong = |what: String| Error::internal(format!("step {at} `{}`: {what}", step.name));
        for (i, place) in step.args.iter().enumerate() {
            check_inside(plan, *place).map_err(wrong)?;
            if !step.kernel.writes(i) {
                check_readable(&written, *place).map_err(wrong)?;
            }
            if let Base::Buffer(b) = place.base {
                let buffer = &plan.buffers[b];
                if !(buffer.first..=buffer.last).contains(&at) {
                    return Err(wrong(format!(
                        "`{}` is touched outside its live range",
                        buffer.name
                    )));
                }
            }
        }
        if step.args.is_empty() {
            return Err(wrong("has no place to write to".into()));
        }
        for (i, place) in step.args.iter().enumerate().filter(|(i, _)| step.kernel.writes(*i)) {
            match place.base {
                Base::Buffer(b) => written.insert((0, b)),
                Base::Output(o) => written.insert((1, o)),
                Base::Input(_) | Base::Constant(_) | Base::Worker => {
                    return Err(wrong(format!("argument {i} is no place to write to")));
                }
            };
        }
    }
    for (o, port) in plan.outputs.iter().enumerate() {
        if port.ty.elements() > 0 && !written.contains(&(1, o)) {
            return Err(Error::internal(format!("output `{}` is never written", port.name)));
        }
    }
    Ok(())
}

fn check_inside(plan: &Plan, place: Place) -> std::result::Result<(), String> {
    let bytes = match place.base {
        Base::Input(i) => plan.inputs.get(i).map(|p| p.ty.bytes()),
        Base::Output(i) => plan.outputs.get(i).map(|p| p.ty.bytes()),
        Base::Constant(i) => plan.constants.get(i).map(|c| c.ty.bytes()),
        Base::Buffer(i) => plan.buffers.get(i).map(|b| b.bytes),
        Base::Worker => Some(plan.worker_bytes),
    };
    match bytes {
        Some(bytes) if place.offset < bytes => Ok(()),
        Some(bytes) => {
            Err(format!("offset {} of {:?}, which has {bytes} bytes", place.offset, place.base))
        }
        None => Err(format!("{:?} does not exist", place.base)),
    }
}

fn check_readable(
    written: &BTreeSet<(u8, usize)>,
    place: Place,
) -> std::result::Result<(), String> {
    match place.base {
        Base::Input(_) | Base::Constant(_) | Base::Worker => Ok(()),
        Base::Buffer(b) if written.contains(&(0, b)) => Ok(()),
        Base::Output(o) if written.contains(&(1, o)) => Ok(()),
        Base::Buffer(_) | Base::Output(_) => {
            Err(format!("{:?} is read before it is written", place.base))
        }
    }
}

/// Sweeps over time with the set of live buffers sorted by offset: neighbours must not overlap.
fn check_overlap(plan: &Plan) -> Result<()> {
    let mut starts: Vec<Vec<usize>> = vec![Vec::new(); plan.steps.len()];
    for (b, buffer) in plan.buffers.iter().enumerate() {
        let fits =
            buffer.offset.checked_add(buffer.bytes).is_some_and(|end| end <= plan.arena_bytes);
        if !fits || buffer.first > buffer.last || buffer.last >= plan.steps.len() {
            return Err(Error::internal(format!(
                "buffer `{}` lies outside the arena or the plan",
                buffer.name
            )));
        }
        starts[buffer.first].push(b);
    }
    let mut live: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (at, new) in starts.iter().enumerate() {
        live.retain(|&(_, b)| plan.buffers[b].last >= at);
        for &b in new {
            live.insert((plan.buffers[b].offset, b));
        }
        let pairs = live.iter().zip(live.iter().skip(1));
        for (&(low, a), &(high, b)) in pairs {
            if low + plan.buffers[a].bytes > high {
                let (a, b) = (&plan.buffers[a].name, &plan.buffers[b].name);
                return Err(Error::internal(format!(
                    "buffers `{a}` and `{b}` overlap at step {at}"
                )));
            }
        }
    }
    Ok(())
}
