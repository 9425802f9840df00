//! The plan: a list of kernel calls on places in memory. No graph is in here, and no kernel is known by
//! name: `schedule` decides, `kernels` write the plan, `codegen` compiles functions.
//!
//! - [`kernel`] says what kernels are to plans, [`loops`] what their loops are,
//! - [`walk`] says which elements of its arguments a kernel touches,
//! - [`arena`] gives each buffer its place,
//! - [`weights`] packs constants, which plans only describe, into theirs,
//! - [`structure`] says what code depends on, so that weights can be replaced,
//! - [`check`] proves, sharing no code with [`arena`] and with lowering, that no step reads what is not there and that
//!   no two live buffers overlap,
//! - [`memory`] refuses what takes more memory than is allowed,
//! - [`generate`] makes a plan's code, function by function,
//! - [`text`], [`json`] and [`dot`] show it.

pub mod arena;
pub mod check;
pub mod dot;
mod generate;
pub mod json;
pub mod kernel;
pub mod loops;
mod memory;
pub mod structure;
pub mod text;
mod values;
pub mod walk;
pub mod weights;

pub use generate::{generate, step_functions};
pub use kernel::{Kernel, KernelRef, Role};
pub use loops::{Loop, Nest};
pub(crate) use memory::check_memory;
pub use walk::Walk;

use crate::ir::{Origin, TensorType};
use weights::Packed;

/// A whole inference, laid out in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// Model inputs, in order.
    pub inputs: Vec<Port>,
    /// Model outputs, in order.
    pub outputs: Vec<Port>,
    /// Read-only data, in the order of the weights section.
    pub constants: Vec<Constant>,
    /// Scratch buffers.
    pub buffers: Vec<Buffer>,
    /// How many images go through each stage together, fewest first; each number divides the next one.
    /// Empty where all steps run once.
    pub stages: Vec<usize>,
    /// Kernel calls, in order: those of the first stage, of the second, and so on, and at last those
    /// that run once.
    pub steps: Vec<Step>,
    /// Bytes of scratch memory.
    pub arena_bytes: usize,
    /// Bytes of scratch memory for each thread besides.
    pub worker_bytes: usize,
    /// Bytes of the weights section.
    pub weight_bytes: usize,
}

/// A model input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The ONNX value's name.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
}

/// Read-only data in the weights section, often repacked for the kernel that reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// The value it came from.
    pub name: String,
    /// Element type and extents as stored.
    pub ty: TensorType,
    /// The contents, packed when they are asked for.
    pub data: Packed,
    /// Byte offset in the weights section.
    pub offset: usize,
}

/// A range of the arena that holds one value for a part of the inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// The value it holds.
    pub name: String,
    /// Size in bytes.
    pub bytes: usize,
    /// Byte offset in the arena.
    pub offset: usize,
    /// First step that writes it.
    pub first: usize,
    /// Last step that touches it.
    pub last: usize,
}

/// One kernel call.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The value it makes.
    pub name: String,
    /// What it computes.
    pub kernel: KernelRef,
    /// Where each of the kernel's arguments is, in its order.
    pub args: Vec<Place>,
    /// The stage that it is of: it runs for each group of as many images as go through that together.
    /// As many as there are stages for what runs once.
    pub stage: usize,
    /// Why it is computed like this, where there was a choice; empty elsewhere.
    pub why: String,
    /// The ONNX nodes it came from.
    pub from: Vec<Origin>,
}

/// An address that the call frame resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What it points into.
    pub base: Base,
    /// Bytes from the start of it.
    pub offset: usize,
    /// Bytes from one image to the next, for a step that runs group by group in what holds more images
    /// than a group has. The first image is that of the group, counted from the first of the model
    /// in inputs and outputs, and from the first of the next stage's group in buffers.
    pub image: usize,
}

impl Place {
    /// The start of something.
    pub const fn of(base: Base) -> Place {
        Place { base, offset: 0, image: 0 }
    }

    /// The place so many bytes further.
    pub const fn further(self, bytes: usize) -> Place {
        Place { offset: self.offset + bytes, ..self }
    }
}

/// What a place points into, by position in the plan's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// A model input.
    Input(usize),
    /// A model output.
    Output(usize),
    /// A constant.
    Constant(usize),
    /// A scratch buffer.
    Buffer(usize),
    /// The scratch memory of the first thread; those of the others follow.
    Worker,
}

impl Step {
    /// The kernel's arguments with their places.
    pub fn arguments(&self) -> impl Iterator<Item = (Role, Place)> {
        self.kernel.arguments().into_iter().zip(self.args.iter().copied())
    }

    /// Bytes that it reads and writes, each once, without the scratch memory of threads.
    pub fn bytes(&self) -> usize {
        let walks = self.kernel.walks().unwrap_or_default();
        let is_touched = |role: &Role| *role != Role::Scratch && self.place(*role).is_some();
        let touched = walks.iter().filter(|(role, _)| is_touched(role));
        touched.fold(0, |bytes, (_, walk)| bytes.saturating_add(walk.bytes()))
    }

    /// Where this argument is, if the kernel has it.
    pub fn place(&self, role: Role) -> Option<Place> {
        self.arguments().find(|(known, _)| *known == role).map(|(_, place)| place)
    }
}

impl Plan {
    /// Images of an inference at most: as many as go through all stages.
    pub fn images(&self) -> Option<usize> {
        let by_image = |port: &Port| port.ty.axes.first().map(crate::ir::Axis::size);
        self.inputs.first().filter(|_| !self.stages.is_empty()).and_then(by_image)
    }

    /// The runs of images that a step's items are cut into, where of a group's images only the first are there:
    /// each has as many items, for as many images. `None` where all items are done, whatever is there.
    pub fn runs(&self, step: &Step) -> Option<usize> {
        let of = *self.stages.get(step.stage).filter(|of| **of > 1)?;
        step.kernel.of_first(1, of)?;
        let runs = step.kernel.counts().unwrap_or(of);
        (runs > 0 && of.is_multiple_of(runs)).then_some(runs)
    }

    /// Whether it computes any number of images up to [as many as there can be](Plan::images): no step runs
    /// once for all.
    pub fn takes_fewer(&self) -> bool {
        let images = self.images().unwrap_or(1);
        let by_image = |port: &Port| port.ty.axes.first().is_some_and(|a| a.size() == images);
        images > 1
            && self.steps.iter().all(|step| step.stage < self.stages.len())
            && self.inputs.iter().chain(&self.outputs).all(by_image)
    }

    /// The steps in the order in which an inference of so many images runs them.
    pub fn sequence(&self, images: usize) -> Vec<usize> {
        let mut order = Vec::new();
        if let Some(last) = self.stages.len().checked_sub(1) {
            self.run_stage(last, 0..images, &mut order);
        }
        order.extend(self.steps_of(self.stages.len()));
        order
    }

    /// What each step takes in a whole inference, and how often it runs, given what each call in the
    /// order of [`sequence`](Plan::sequence) takes.
    pub fn by_step(&self, calls: &[f64]) -> Vec<(f64, usize)> {
        let mut totals = vec![(0.0, 0); self.steps.len()];
        for (step, took) in self.sequence(self.images().unwrap_or(0)).into_iter().zip(calls) {
            let (total, count) = &mut totals[step];
            (*total, *count) = (*total + took, *count + 1);
        }
        totals
    }

    fn run_stage(&self, stage: usize, images: std::ops::Range<usize>, order: &mut Vec<usize>) {
        let together = self.stages[stage].max(1);
        for first in images.clone().step_by(together) {
            if let Some(before) = stage.checked_sub(1) {
                self.run_stage(before, first..images.end.min(first + together), order);
            }
            order.extend(self.steps_of(stage));
        }
    }

    /// Positions of the steps of a stage.
    fn steps_of(&self, stage: usize) -> impl Iterator<Item = usize> {
        self.steps.iter().enumerate().filter(move |(_, step)| step.stage == stage).map(|(i, _)| i)
    }
}
