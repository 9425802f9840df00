//! Plan to machine code: one function for each distinct kernel, and one entry point that calls them in
//! the plan's order.

use super::{Base, KernelRef, Place, Plan, Step};
use crate::codegen::{Address, Call, Code, Linker, Listing, Program, Region, Target};
use crate::error::{Error, Result};

/// Generates code for a checked plan.
///
/// # Errors
/// [`crate::error::Problem::Target`] when the target cannot be generated for.
pub fn generate(plan: &Plan, target: &Target, listing: Listing) -> Result<Code> {
    let kernels = distinct(plan);
    let mut linker = Linker::new(target, listing)?;
    let mut offsets = Vec::with_capacity(kernels.len());
    for (i, kernel) in kernels.iter().enumerate() {
        let function = kernel.emit(&mut linker)?;
        let name = function_name(kernel, i);
        offsets.push(linker.place(&name, function, kernel.optimize())?);
    }
    let call = |step: &Step| {
        let at = kernels.iter().position(|kernel| **kernel == step.kernel);
        let offset = at.and_then(|i| offsets.get(i).copied());
        let kernel = offset.ok_or_else(|| Error::internal("a step's kernel was not generated"))?;
        Ok(called(plan, step, kernel))
    };
    let calls = plan.steps.iter().map(call).collect::<Result<Vec<Call>>>()?;
    linker.program(&Program { stages: plan.stages.clone(), calls })
}

/// The name of the function of each step, in order.
pub fn step_functions(plan: &Plan) -> Vec<String> {
    let kernels = distinct(plan);
    let name = |step: &Step| {
        let at = kernels.iter().position(|kernel| **kernel == step.kernel);
        function_name(&step.kernel, at.unwrap_or_default())
    };
    plan.steps.iter().map(name).collect()
}

fn function_name(kernel: &KernelRef, number: usize) -> String {
    format!("{}.{number}", kernel.name())
}

/// Steps with equal kernels share a function.
fn distinct(plan: &Plan) -> Vec<&KernelRef> {
    let mut kernels: Vec<&KernelRef> = Vec::new();
    for step in &plan.steps {
        if !kernels.contains(&&step.kernel) {
            kernels.push(&step.kernel);
        }
    }
    kernels
}

/// A step as a call of the kernel at this offset.
fn called(plan: &Plan, step: &Step, kernel: usize) -> Call {
    let moves =
        |place: &Place| place.image > 0 && matches!(place.base, Base::Input(_) | Base::Output(_));
    let together = plan.stages.get(step.stage).copied().unwrap_or(1);
    // Of the last group of images some may not be there: then those are not to be touched either.
    let by_image = together > 1 && step.args.iter().any(moves);
    Call {
        kernel,
        items: step.kernel.items(),
        stage: step.stage,
        by_image,
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
