//! Plan to machine code: one function for each distinct kernel, and one entry point that calls them in
//! the plan's order.

use std::collections::HashMap;

use super::{Base, KernelRef, Place, Plan, Step};
use crate::codegen::{Address, Call, Code, Linker, Listing, Program, Region, Target};
use crate::error::Result;

/// Generates code for a checked plan.
///
/// # Errors
/// [`crate::error::Problem::Target`] when the target cannot be generated for.
pub fn generate(plan: &Plan, target: &Target, listing: Listing) -> Result<Code> {
    let distinct = Distinct::of(plan);
    let mut linker = Linker::new(target, listing)?;
    let mut offsets = Vec::with_capacity(distinct.kernels.len());
    for (i, kernel) in distinct.kernels.iter().enumerate() {
        let function = kernel.emit(&mut linker)?;
        let name = function_name(kernel, i);
        offsets.push(linker.place(&name, function, kernel.optimize())?);
    }
    let steps = plan.steps.iter().zip(&distinct.of_steps);
    let calls = steps.map(|(step, kernel)| called(plan, step, offsets[*kernel])).collect();
    linker.program(&Program { stages: plan.stages.clone(), calls })
}

/// The name of the function of each step, in order.
pub fn step_functions(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().zip(Distinct::of(plan).of_steps);
    steps.map(|(step, kernel)| function_name(&step.kernel, kernel)).collect()
}

fn function_name(kernel: &KernelRef, number: usize) -> String {
    format!("{}.{number}", kernel.name())
}

/// The kernels of a plan. Steps with equal kernels, by their `Debug` texts, share a function.
struct Distinct<'p> {
    /// Each once, in the order of the steps that have them first.
    kernels: Vec<&'p KernelRef>,
    /// Which of them each step has.
    of_steps: Vec<usize>,
}

impl<'p> Distinct<'p> {
    fn of(plan: &'p Plan) -> Distinct<'p> {
        let mut kernels = Vec::new();
        let mut numbers = HashMap::new();
        let number = |step: &'p Step| {
            let next = numbers.len();
            let number = *numbers.entry(format!("{:?}", step.kernel)).or_insert(next);
            if number == next {
                kernels.push(&step.kernel);
            }
            number
        };
        let of_steps = plan.steps.iter().map(number).collect();
        Distinct { kernels, of_steps }
    }
}

/// A step as a call of the kernel at this offset.
fn called(plan: &Plan, step: &Step, kernel: usize) -> Call {
    Call {
        kernel,
        items: step.kernel.items(),
        stage: step.stage,
        runs: plan.runs(step),
        counts: step.kernel.counts(),
        args: step.args.iter().map(|place| address(plan, *place)).collect(),
    }
}

fn address(plan: &Plan, place: Place) -> Address {
    let (region, before) = match place.base {
        Base::Input(i) => (Region::Input(i), 0),
        Base::Output(i) => (Region::Output(i), 0),
        Base::Constant(i) => (Region::Weights, plan.constants[i].offset),
        Base::Worker => (Region::Arena, plan.arena_bytes),
        Base::Buffer(i) => (Region::Arena, plan.buffers[i].offset),
    };
    Address { region, offset: before + place.offset, image: place.image }
}
