//! Proves a plan's memory sound. Shares no code with what laid it out.
//!
//! A plan is sound when
//!
//! 1. every place lies inside what it points into, with room for one element at least, for every group
//!    of images;
//! 2. a step has as many places as its kernel has arguments, and writes only buffers and outputs;
//! 3. a buffer is written before it is read, and no step touches it outside its live range; what steps of
//!    several stages touch lives from the first step on, as earlier stages run again for more images;
//! 4. two buffers whose live ranges meet do not share a byte, and all lie inside the arena;
//! 5. every output is written;
//! 6. stages come one after the other, each of a multiple of the images of the one before, and a step
//!    that goes through several images at once touches inputs and outputs image by image.

use std::collections::{BTreeMap, BTreeSet};

use super::{Base, Place, Plan, Step};
use crate::error::{Error, Result};

/// Checks every rule.
///
/// # Errors
/// [`crate::error::Problem::Internal`] naming the step and the rule.
pub fn check(plan: &Plan) -> Result<()> {
    check_stages(plan)?;
    check_overlap(plan)?;
    let mut written = BTreeSet::new();
    let mut stages: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let wrong = |what: String| Error::internal(format!("step {at} `{}`: {what}", step.name));
        check_step(plan, at, &written).map_err(wrong)?;
        for (_, place) in step.arguments() {
            let Base::Buffer(b) = place.base else { continue };
            let stage = *stages.entry(b).or_insert(step.stage);
            let first = plan.buffers.get(b).map_or(0, |buffer| buffer.first);
            if stage != step.stage && first > 0 {
                return Err(wrong("what a stage passes on does not live from the start".into()));
            }
        }
        let places = step.arguments().filter(|(role, _)| role.is_written());
        written.extend(places.map(|(_, place)| place.base));
    }
    for (o, port) in plan.outputs.iter().enumerate() {
        if port.ty.elements() > 0 && !written.contains(&Base::Output(o)) {
            return Err(Error::internal(format!("output `{}` is never written", port.name)));
        }
    }
    Ok(())
}

/// Rules 1 to 3 for one step, given what was written before.
fn check_step(plan: &Plan, at: usize, written: &BTreeSet<Base>) -> std::result::Result<(), String> {
    let step = &plan.steps[at];
    let (wanted, given) = (step.kernel.arguments().len(), step.args.len());
    if wanted != given || wanted == 0 {
        return Err(format!("{given} places, for {wanted} arguments"));
    }
    for (role, place) in step.arguments() {
        check_inside(plan, step.stage, place)?;
        match (role.is_written(), place.base) {
            (true, Base::Input(_) | Base::Constant(_) | Base::Worker) => {
                return Err(format!("argument {role} is no place to write to"));
            }
            (true, Base::Buffer(_) | Base::Output(_)) => {}
            (false, _) => check_readable(written, place)?,
        }
        if let Base::Buffer(b) = place.base {
            let buffer = &plan.buffers[b];
            if !(buffer.first..=buffer.last).contains(&at) {
                return Err(format!("`{}` is touched outside its live range", buffer.name));
            }
        }
    }
    check_ports(plan, step)
}

/// Rule 6.
fn check_stages(plan: &Plan) -> Result<()> {
    let is_order = plan.steps.windows(2).all(|pair| pair[0].stage <= pair[1].stage);
    let last = plan.steps.last().map_or(0, |step| step.stage);
    let divides = |pair: &[usize]| pair[1].is_multiple_of(pair[0].max(1)) && pair[0] < pair[1];
    let are_groups = plan.stages.windows(2).all(divides) && !plan.stages.contains(&0);
    match is_order && are_groups && last <= plan.stages.len() {
        true => Ok(()),
        false => Err(Error::internal("the stages are out of order")),
    }
}

/// What a step of several images at once does with inputs and outputs must be cut by images: of the last
/// group some may not be there.
fn check_ports(plan: &Plan, step: &Step) -> std::result::Result<(), String> {
    let together = plan.stages.get(step.stage).copied().unwrap_or(1);
    let is_port = |place: &Place| matches!(place.base, Base::Input(_) | Base::Output(_));
    match together > 1 && step.args.iter().any(is_port) {
        true if !step.kernel.items().is_multiple_of(together) => {
            Err("touches an input or output, and its items are not those of images".into())
        }
        _ => Ok(()),
    }
}

/// Images that come before the last group of a stage, in what a place of such a step moves through.
fn last_group(plan: &Plan, stage: usize, base: Base) -> usize {
    let Some(together) = plan.stages.get(stage) else { return 0 };
    let all = plan.images().unwrap_or(1);
    let within = match base {
        Base::Input(_) | Base::Output(_) => all,
        Base::Constant(_) | Base::Buffer(_) | Base::Worker => {
            plan.stages.get(stage + 1).copied().unwrap_or(all)
        }
    };
    within.saturating_sub(1) / together * together
}

fn check_inside(plan: &Plan, stage: usize, place: Place) -> std::result::Result<(), String> {
    let bytes = match place.base {
        Base::Input(i) => plan.inputs.get(i).map(|p| p.ty.bytes()),
        Base::Output(i) => plan.outputs.get(i).map(|p| p.ty.bytes()),
        Base::Constant(i) => plan.constants.get(i).map(|c| c.ty.bytes()),
        Base::Buffer(i) => plan.buffers.get(i).map(|b| b.bytes),
        Base::Worker => Some(plan.worker_bytes),
    };
    let bytes = bytes.ok_or_else(|| format!("{:?} does not exist", place.base))?;
    let moved = place.image.checked_mul(last_group(plan, stage, place.base));
    match moved.and_then(|moved| moved.checked_add(place.offset)) {
        Some(offset) if offset < bytes => Ok(()),
        _ => Err(format!("offset {} of {:?}, which has {bytes} bytes", place.offset, place.base)),
    }
}

fn check_readable(written: &BTreeSet<Base>, place: Place) -> std::result::Result<(), String> {
    match place.base {
        Base::Input(_) | Base::Constant(_) | Base::Worker => Ok(()),
        Base::Buffer(_) | Base::Output(_) if written.contains(&place.base) => Ok(()),
        Base::Buffer(_) | Base::Output(_) => {
            Err(format!("{:?} is read before it is written", place.base))
        }
    }
}

/// Sweeps over time with the set of live buffers sorted by offset: neighbours must not overlap, when the
/// later of them begins to live.
fn check_overlap(plan: &Plan) -> Result<()> {
    let (mut starts, mut ends) =
        (vec![Vec::new(); plan.steps.len()], vec![Vec::new(); plan.steps.len()]);
    for (b, buffer) in plan.buffers.iter().enumerate() {
        let fits =
            buffer.offset.checked_add(buffer.bytes).is_some_and(|end| end <= plan.arena_bytes);
        if !fits || buffer.first > buffer.last || buffer.last >= plan.steps.len() {
            return Err(Error::internal(format!(
                "buffer `{}` lies outside the arena or the plan",
                buffer.name
            )));
        }
        starts[buffer.first].push((buffer.offset, b));
        ends[buffer.last].push((buffer.offset, b));
    }
    let mut live: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (at, (starts, ends)) in starts.into_iter().zip(ends).enumerate() {
        for new in starts {
            let before = live.range(..new).next_back().map(|before| (*before, new));
            let after = live.range(new..).next().map(|after| (new, *after));
            for ((low, a), (high, b)) in before.into_iter().chain(after) {
                if low + plan.buffers[a].bytes > high {
                    let (a, b) = (&plan.buffers[a].name, &plan.buffers[b].name);
                    return Err(Error::internal(format!(
                        "buffers `{a}` and `{b}` overlap at step {at}"
                    )));
                }
            }
            live.insert(new);
        }
        for old in ends {
            live.remove(&old);
        }
    }
    Ok(())
}
