//! Proves a plan's memory sound. Shares no code with what laid it out.
//!
//! A plan is sound when
//!
//! 1. every place lies inside what it points into, with all that its kernel touches from there, for every
//!    group of images;
//! 2. a step has as many places as its kernel has arguments, and writes only buffers and outputs;
//! 3. a buffer is written before it is read, and lives from the first step that touches it to the last; what
//!    steps of several stages touch lives from the first of all steps on, as earlier stages run again for more
//!    images;
//! 4. two buffers whose live ranges meet do not share a byte, and all lie inside the arena;
//! 5. every output is written;
//! 6. stages come one after the other, each of a multiple of the images of the one before; of a group, any number
//!    of images may be there, for which a step has so many items as the entry point has it do, and none of these
//!    touches an image of an input or output that is not there;
//! 7. no kernel writes an element twice, but for Strassen's halves, which may share a pixel; every element
//!    of an output is written;
//! 8. what is packed for a kernel is read whole, from its first byte to its last;
//! 9. constants are of the type that their packing makes, and share no byte of the weights section; arena
//!    and scratch memory are no longer than what they hold.
//!
//! What kernels touch they say themselves ([`super::walk`]), apart from the code that does it.

use std::collections::{BTreeMap, BTreeSet};

use cardinal_runtime::abi::ALIGNMENT;

use super::{Base, KernelRef, Place, Plan, Port, Role, Step, Walk};
use crate::error::{Error, Result};
use crate::machine::F32_BYTES;

/// Checks every rule.
///
/// # Errors
/// [`crate::error::Problem::Internal`] naming the step and the rule.
pub fn check(plan: &Plan) -> Result<()> {
    check_stages(plan)?;
    check_overlap(plan)?;
    check_constants(plan)?;
    check_sizes(plan)?;
    check_lives(plan)?;
    let mut touched = Touched::new(plan);
    let mut written = BTreeSet::new();
    let mut stages: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let wrong = |what: String| Error::internal(format!("step {at} `{}`: {what}", step.name));
        check_step(plan, at, &written).map_err(wrong)?;
        touched.step(step).map_err(wrong)?;
        // Items are those of a kernel whose attributes fit each other.
        check_fewer(plan, step).map_err(wrong)?;
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
    touched.everything()
}

/// Rules 7 and 8, and what rule 1 says of kernels.
struct Touched<'p> {
    plan: &'p Plan,
    /// Elements that are written of each output, in a whole inference.
    outputs: Vec<usize>,
}

impl<'p> Touched<'p> {
    fn new(plan: &'p Plan) -> Touched<'p> {
        Touched { plan, outputs: vec![0; plan.outputs.len()] }
    }

    /// The bytes of what a place points into that a reach from there is, for every group of images.
    fn inside(
        &self,
        step: &Step,
        place: Place,
        (low, high): (i128, i128),
    ) -> std::result::Result<(usize, usize), String> {
        let bytes = bytes_of(self.plan, place.base).unwrap_or(0);
        let moved = (place.image as i128).saturating_mul(self.moved(step.stage, place.base));
        let first = usize::try_from(place.offset as i128 + low).ok();
        let last = (place.offset as i128 + high).checked_add(moved);
        let last = last.and_then(|last| usize::try_from(last).ok());
        first.zip(last.filter(|last| *last <= bytes)).ok_or_else(|| {
            let (from, base) = (place.offset, place.base);
            format!(" at {from} of {base:?}: bytes {low} to {high} from there, of {bytes}")
        })
    }

    /// Images from the first group to the last of a stage; to the last whole one, as it were, where some of
    /// it may not be there, and are not touched then.
    fn moved(&self, stage: usize, base: Base) -> i128 {
        match (base, self.plan.stages.get(stage)) {
            (Base::Input(_) | Base::Output(_), Some(together)) => {
                self.plan.images().unwrap_or(1) as i128 - *together as i128
            }
            (
                Base::Input(_)
                | Base::Output(_)
                | Base::Constant(_)
                | Base::Buffer(_)
                | Base::Worker,
                _,
            ) => last_group(self.plan, stage, base) as i128,
        }
    }

    fn step(&mut self, step: &Step) -> std::result::Result<(), String> {
        let walks = step.kernel.walks().ok_or("its kernel's attributes contradict each other")?;
        for (role, place) in step.arguments() {
            let walk = walks.iter().find(|(of, _)| *of == role).map(|(_, walk)| walk);
            let walk = walk.ok_or_else(|| format!("its kernel says nothing of {role}"))?;
            let Some(reach) = walk.reach() else { continue };
            let (first, last) =
                self.inside(step, place, reach).map_err(|e| format!("{role}{e}"))?;
            let bytes = bytes_of(self.plan, place.base).unwrap_or(0);
            if port_of(self.plan, place.base).is_some_and(|p| p.ty.dtype.size() != walk.element()) {
                return Err(format!("{role}: its elements are of another size"));
            }
            let is_packed = matches!(role, Role::Weights | Role::Bias);
            if is_packed && matches!(place.base, Base::Constant(_)) && (first, last) != (0, bytes) {
                return Err(format!("{role}: bytes {first} to {last} are read, of {bytes}"));
            }
            if role.is_written() && !walk.is_injective() && !step.kernel.may_write_twice() {
                return Err(format!("{role}: an element is written twice"));
            }
            if let (Base::Output(o), true) = (place.base, role.is_written()) {
                let written = &mut self.outputs[o];
                *written = written.saturating_add(in_all(self.plan, step.stage, walk.elements()));
            }
        }
        Ok(())
    }

    /// What must hold when every step has been noted.
    fn everything(&self) -> Result<()> {
        for (port, written) in self.plan.outputs.iter().zip(&self.outputs) {
            let all = port.ty.elements();
            if *written < all {
                let what = format!("output `{}`: {written} of {all} are written", port.name);
                return Err(Error::internal(what));
            }
        }
        Ok(())
    }
}

/// So many elements of each run of a stage's step, in a whole inference: of the last group some images may
/// not be there.
fn in_all(plan: &Plan, stage: usize, elements: usize) -> usize {
    match plan.stages.get(stage) {
        Some(together) => (elements / together).saturating_mul(plan.images().unwrap_or(1)),
        None => elements,
    }
}

/// Rule 9, of constants.
fn check_constants(plan: &Plan) -> Result<()> {
    let mut constants: Vec<_> = plan.constants.iter().collect();
    constants.sort_by_key(|constant| constant.offset);
    let mut end = 0;
    for constant in constants {
        let wrong = |what| Err(Error::internal(format!("constant `{}`: {what}", constant.name)));
        if constant.data.is_known() && constant.data.stored_type() != constant.ty {
            return wrong("its type is not that of its packing");
        }
        if constant.offset < end || !constant.offset.is_multiple_of(ALIGNMENT) {
            return wrong("it lies where another one does, or unaligned");
        }
        end = constant.offset.saturating_add(constant.ty.bytes());
        if end > plan.weight_bytes {
            return wrong("it lies outside the weights section");
        }
    }
    Ok(())
}

/// Rule 9, of the arena and of scratch memory.
fn check_sizes(plan: &Plan) -> Result<()> {
    let aligned = |bytes: usize| bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX);
    let ends = plan.buffers.iter().map(|b| aligned(b.offset.saturating_add(b.bytes)));
    let scratch = plan.steps.iter().map(|s| aligned(s.kernel.scratch().saturating_mul(F32_BYTES)));
    let wanted = [ends.max(), scratch.max()].map(|most| most.unwrap_or(0));
    let is_aligned = plan.buffers.iter().all(|b| b.offset.is_multiple_of(ALIGNMENT));
    match is_aligned && wanted == [plan.arena_bytes, plan.worker_bytes] {
        true => Ok(()),
        false => Err(Error::internal("arena or scratch memory are not as long as what they hold")),
    }
}

/// Rule 3, of how long buffers live.
fn check_lives(plan: &Plan) -> Result<()> {
    let mut touched: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        for place in &step.args {
            let Base::Buffer(b) = place.base else { continue };
            touched.entry(b).or_insert((at, at)).1 = at;
        }
    }
    for (b, buffer) in plan.buffers.iter().enumerate() {
        let Some(&(first, last)) = touched.get(&b) else { continue };
        let passed_on = plan.steps[first].stage != plan.steps[last].stage;
        if (buffer.first, buffer.last) != (if passed_on { 0 } else { first }, last) {
            let what =
                format!("buffer `{}` lives longer or shorter than it is touched", buffer.name);
            return Err(Error::internal(what));
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
    Ok(())
}

/// Rule 6.
fn check_stages(plan: &Plan) -> Result<()> {
    let is_order = plan.steps.windows(2).all(|pair| pair[0].stage <= pair[1].stage);
    let last = plan.steps.last().map_or(0, |step| step.stage);
    let divides = |pair: &[usize]| pair[1].is_multiple_of(pair[0].max(1)) && pair[0] < pair[1];
    let most = plan.images().unwrap_or(0);
    let are_groups = plan.stages.windows(2).all(divides)
        && plan.stages.iter().all(|images| (1..=most).contains(images));
    match is_order && are_groups && last <= plan.stages.len() {
        true => Ok(()),
        false => Err(Error::internal("the stages are out of order")),
    }
}

/// Where not all images of a group are there, a step has the items that the entry point counts, and of inputs
/// and outputs touches what is there.
fn check_fewer(plan: &Plan, step: &Step) -> std::result::Result<(), String> {
    let Some(&together) = plan.stages.get(step.stage) else { return Ok(()) };
    let touches = step.args.iter().any(|place| port_of(plan, place.base).is_some());
    let runs = plan.runs(step);
    if touches && together > 1 && runs.is_none() {
        return Err("touches an input or output, and its items are not those of images".into());
    }
    for there in 1..=together {
        let fewer = match runs {
            Some(_) => step.kernel.of_first(there, together),
            None => Some(step.kernel.clone()),
        };
        let fewer = fewer.ok_or_else(|| format!("it cannot be for {there} images"))?;
        let counted =
            runs.map(|runs| (there * runs).div_ceil(together) * (step.kernel.items() / runs));
        if counted.is_some_and(|counted| counted != fewer.items()) {
            return Err(format!("{there} images have {} items, not {counted:?}", fewer.items()));
        }
        if touches {
            check_images(plan, step, &fewer, there)?;
        }
    }
    Ok(())
}

/// A kernel for so many images touches no more than these of inputs and outputs.
fn check_images(
    plan: &Plan,
    step: &Step,
    fewer: &KernelRef,
    there: usize,
) -> std::result::Result<(), String> {
    let walks = fewer.walks().ok_or("its kernel's attributes contradict each other")?;
    for (role, place) in step.arguments() {
        let Some(port) = port_of(plan, place.base) else { continue };
        let image = port.ty.bytes() / plan.images().unwrap_or(1).max(1);
        let walk = walks.iter().find(|(of, _)| *of == role).map(|(_, walk)| walk);
        let Some((low, high)) = walk.and_then(Walk::reach) else { continue };
        let [offset, all] = [place.offset as i128, image.saturating_mul(there) as i128];
        if place.image != image || offset + low < 0 || offset.saturating_add(high) > all {
            return Err(format!("{role}: touches more than {there} images of `{}`", port.name));
        }
    }
    Ok(())
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
    let bytes =
        bytes_of(plan, place.base).ok_or_else(|| format!("{:?} does not exist", place.base))?;
    let moved = place.image.checked_mul(last_group(plan, stage, place.base));
    match moved.and_then(|moved| moved.checked_add(place.offset)) {
        Some(offset) if offset < bytes => Ok(()),
        _ => Err(format!("offset {} of {:?}, which has {bytes} bytes", place.offset, place.base)),
    }
}

/// Bytes of what a place points into, if there is that.
fn bytes_of(plan: &Plan, base: Base) -> Option<usize> {
    match base {
        Base::Input(i) => plan.inputs.get(i).map(|p| p.ty.bytes()),
        Base::Output(i) => plan.outputs.get(i).map(|p| p.ty.bytes()),
        Base::Constant(i) => plan.constants.get(i).map(|c| c.ty.bytes()),
        Base::Buffer(i) => plan.buffers.get(i).map(|b| b.bytes),
        Base::Worker => Some(plan.worker_bytes),
    }
}

/// The input or output that a place points into.
fn port_of(plan: &Plan, base: Base) -> Option<&Port> {
    match base {
        Base::Input(i) => plan.inputs.get(i),
        Base::Output(i) => plan.outputs.get(i),
        Base::Constant(_) | Base::Buffer(_) | Base::Worker => None,
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
