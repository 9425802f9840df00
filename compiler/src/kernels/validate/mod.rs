//! Checks a plan against its graph and schedule, element by element: translation validation. Shares no code
//! with the lowering that wrote the plan.
//!
//! A *goal* says what must lie at an address when a step runs: an element of a value, or a number. The
//! outputs are the first goals. A goal is followed back to the step that wrote the address last ([`memory`]).
//! Where that step moves elements, the goal moves along; where it is the step that makes the value, two things
//! must hold:
//!
//! - The value has one *home*: all of its elements are where its layout in the schedule has them, seen from
//!   one origin ([`things`]).
//! - What the step computes of some of its elements, in the corners of the value and elsewhere, is what the
//!   operator says: the kernel's attributes are the operator's, packings are of the right weights, and each
//!   operand's address is a new goal ([`made`]).
//!
//! Operators that only move elements have no steps to be checked: a goal for one of their elements is a goal
//! for an element of their operand ([`moved`]). So whatever a plan copies, and in whichever layouts, is
//! followed down to single elements.
//!
//! And every byte of a buffer is written, once but for what is computed in place ([`cover`]), so that borders are
//! as wide as they should be.
//!
//! Where only the first images of a group are there, the entry point runs only the items of these. So for each
//! goal, the step that wrote it must do so in the items for the images up to its own: then it does whenever that
//! image is there, and no other number of images need be looked at. Transforms of inputs into Winograd's domain are
//! excepted: which of their items an element is from is not known here.
//!
//! What is affine in the position of an element is right everywhere when it is right in the corners, so few
//! goals do for each value. Other things that code depends on follow from the schedule's choice, and are
//! compared with it: sizes of tiles, the order of loops.

mod attention;
mod blocks;
mod cover;
mod expression;
mod made;
mod memory;
mod moved;
mod planes;
mod product;
mod strassen;
mod things;
mod winograd;

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::ir::{Graph, NodeId, TensorType};
use crate::kernels::map::Map;
use crate::machine::BLOCK;
use crate::plan::{Base, Plan, Role, Step};
use crate::schedule::Schedule;
use crate::schedule::byte_scale::ByteScale;
use memory::{Memory, Run};
use things::Thing;

/// Why a plan is none of its graph.
type Check<T = ()> = std::result::Result<T, String>;

/// What must lie at an address.
#[derive(Debug, Clone, PartialEq)]
enum Goal {
    /// An element of something, by its position for all images.
    Element(Thing, Vec<usize>),
    /// A number.
    Number(f64),
    /// Anything finite: what lies in channels that are made up, whose weights are 0.
    Filler,
}

/// A goal, for an address in the memory that a run of a step sees.
#[derive(Debug, Clone)]
struct Task {
    goal: Goal,
    run: Run,
    base: Base,
    byte: i64,
    /// What the byte there stands for, if it is one that stands for a number.
    bytes: Option<ByteScale>,
    /// Whether it is rounded to bfloat16 there.
    is_rounded: bool,
    /// The image that it is wanted for, among all; none where all of them are there.
    image: Option<usize>,
}

/// Where something is made.
struct Home {
    base: Base,
    /// The byte of its first element, for the first images.
    origin: i64,
    /// The steps that make it: channels that fill no block may have one of their own.
    steps: Vec<usize>,
}

/// An element that a step makes.
struct Site<'a> {
    run: Run,
    /// The trips of the kernel's loops.
    trips: &'a [usize],
    thing: Thing,
    /// Its position for all images.
    index: &'a [usize],
}

/// The check while it runs.
struct Validation<'a> {
    graph: &'a Graph,
    schedule: &'a Schedule,
    plan: &'a Plan,
    memory: Memory<'a>,
    homes: BTreeMap<Thing, Home>,
    tasks: Vec<Task>,
    /// The image that what is looked at is wanted for; none where all of them are there.
    image: Option<usize>,
    random: u64,
}

/// Checks that every output holds what the graph says, by what the schedule says.
///
/// # Errors
/// [`Problem::Internal`](crate::error::Problem::Internal) naming the step and what is wrong.
pub fn check(graph: &Graph, schedule: &Schedule, plan: &Plan) -> Result<()> {
    let mut validation = Validation {
        graph,
        schedule,
        plan,
        memory: Memory::of(plan),
        homes: BTreeMap::new(),
        tasks: Vec::new(),
        image: None,
        random: 1,
    };
    validation.everything().map_err(|what| Error::internal(format!("the plan is wrong: {what}")))
}

impl Validation<'_> {
    fn everything(&mut self) -> Check {
        self.ports()?;
        for at in 0..self.graph.outputs().len() {
            self.output(at);
        }
        while let Some(task) = self.tasks.pop() {
            self.settle(task)?;
        }
        self.buffers_are_covered()
    }

    /// The plan has the graph's inputs and outputs, and the schedule's stages.
    fn ports(&self) -> Check {
        let Validation { graph, schedule, plan, .. } = *self;
        let types = |nodes: &mut dyn Iterator<Item = NodeId>| -> Vec<TensorType> {
            nodes.map(|id| graph.ty(id).clone()).collect()
        };
        let [inputs, outputs]: [Vec<TensorType>; 2] =
            [&plan.inputs, &plan.outputs].map(|all| all.iter().map(|p| p.ty.clone()).collect());
        let stages: Vec<usize> = schedule.stages().iter().map(|stage| stage.images).collect();
        let is_same = types(&mut graph.inputs().iter().copied()) == inputs
            && types(&mut graph.outputs().iter().map(|o| o.node)) == outputs
            && stages == plan.stages;
        must(is_same, "inputs, outputs or stages are not those of the schedule")?;
        plan.steps.iter().try_for_each(|step| self.port_images(step))
    }

    /// A step of a group of images moves by an image in inputs and outputs from one image to the next.
    fn port_images(&self, step: &Step) -> Check {
        let images = self.plan.images().filter(|_| step.stage < self.plan.stages.len());
        for place in &step.args {
            let port = match place.base {
                Base::Input(at) => self.plan.inputs.get(at),
                Base::Output(at) => self.plan.outputs.get(at),
                Base::Constant(_) | Base::Buffer(_) | Base::Worker => None,
            };
            let Some(port) = port else { continue };
            let image = images.map_or(0, |images| port.ty.bytes() / images.max(1));
            let what = format!("`{}`: an image of `{}`", step.name, port.name);
            same(&what, place.image, image)?;
        }
        Ok(())
    }

    /// Goals for some elements of an output.
    fn output(&mut self, at: usize) {
        let node = self.graph.outputs()[at].node;
        let ty = self.graph.ty(node);
        let shape = ty.shape();
        for index in self.samples(&shape) {
            let byte = (flat(&index, &shape) * ty.dtype.size()) as i64;
            let goal = Goal::Element(Thing::whole(node), index);
            let image = self.wanted_for(&goal);
            let (run, base) = (Run::end(self.plan), Base::Output(at));
            self.tasks.push(Task { goal, run, base, byte, bytes: None, is_rounded: false, image });
        }
    }

    /// Follows a goal to what wrote it.
    fn settle(&mut self, task: Task) -> Check {
        let goal = self.canonical(task.goal.clone())?;
        let task = Task { image: self.wanted_for(&goal).or(task.image), goal, ..task };
        match task.base {
            Base::Input(_) | Base::Constant(_) => self.given(&task),
            Base::Worker => Err("a value is read from scratch memory".into()),
            Base::Buffer(_) | Base::Output(_) => {
                let (base, byte) = (task.base, task.byte);
                let written = self.memory.written(task.run, base, byte);
                let (run, role, trips) = written.ok_or_else(|| {
                    format!("{}: nothing has written byte {byte} of {base:?}", self.step(task.run))
                })?;
                let name = self.step(run);
                let image = self.done_for(&task, run, role);
                self.image = image.map_err(|what| format!("{name}: {what}"))?;
                let task = Task { image: self.image, ..task };
                self.written_by(&task, run, role, &trips).map_err(|what| format!("{name}: {what}"))
            }
        }
    }

    /// The image that an element is of, if its value goes image by image.
    fn wanted_for(&self, goal: &Goal) -> Option<usize> {
        let Goal::Element(thing, index) = goal else { return None };
        let goes = self.schedule.stage_of(thing.node) < self.plan.stages.len();
        index.first().copied().filter(|_| goes)
    }

    /// The image that a step writes a goal for: it is written by items that are done whenever that image is
    /// there. Where all images are wanted, it is the first one with which the items are done.
    fn done_for(&mut self, task: &Task, by: Run, role: Role) -> Check<Option<usize>> {
        if by.together == 0 {
            return Ok(task.image);
        }
        let Some(image) = task.image else {
            let images = self.plan.images().unwrap_or(0).saturating_sub(by.first);
            let there = 1..=by.together.min(images);
            let first = there.into_iter().find(|n| self.memory.is_done(by, role, task.byte, *n));
            let first = first.ok_or("it is of none of the images that there are")?;
            return Ok(Some(by.first + first - 1));
        };
        let there = image.checked_sub(by.first).filter(|there| *there < by.together);
        let there = there.ok_or_else(|| format!("it is made of others than image {image}"))?;
        let is_done = self.memory.is_done(by, role, task.byte, there + 1);
        must(is_done, &format!("it is not made of the first {} images", there + 1))?;
        Ok(task.image)
    }

    /// A goal at an input or a constant.
    fn given(&self, task: &Task) -> Check {
        let Goal::Element(thing, index) = &task.goal else {
            return Err(format!("{:?} of {:?} is read for {:?}", task.byte, task.base, task.goal));
        };
        let is_there = match task.base {
            Base::Input(at) => self.graph.inputs().get(at) == Some(&thing.node),
            _ => self.is_packed(task.base, thing.node, crate::plan::weights::Plain)?,
        };
        let ty = self.graph.ty(thing.node);
        let byte = flat(index, &ty.shape()) * ty.dtype.size();
        let is_as_it_is = task.bytes.is_none() && !task.is_rounded;
        let is_there = is_there && byte as i64 == task.byte && is_as_it_is;
        must(
            is_there,
            &format!("{:?} does not hold {:?} {index:?} at {}", task.base, thing, task.byte),
        )
    }

    /// A goal at what a step wrote.
    fn written_by(&mut self, task: &Task, run: Run, role: Role, trips: &[usize]) -> Check {
        if let Some(next) = self.through(task, run, trips)? {
            self.tasks.extend(next);
            return Ok(());
        }
        must(!task.is_rounded, "it is read as bfloat16, and is none")?;
        let Goal::Element(thing, index) = &task.goal else {
            return must(task.goal == Goal::Filler, &format!("it makes no {:?}", task.goal));
        };
        let (thing, index) = (*thing, index.clone());
        must(task.bytes == self.bytes_of(thing), "bytes are read as others than they are")?;
        let local = local(run, &index);
        let address = self.address(thing, &local)?;
        let (base, origin) = (task.base, task.byte - self.memory.moved_by(run, role) - address);
        let Some(home) = self.homes.get_mut(&thing) else {
            self.homes.insert(thing, Home { base, origin, steps: vec![run.step] });
            return self.probe(thing, run.step, role);
        };
        if (home.base, home.origin) != (base, origin) {
            return Err(format!("{thing:?} {index:?} is not where its layout has it"));
        }
        if home.steps.contains(&run.step) {
            return Ok(());
        }
        home.steps.push(run.step);
        self.made(Site { run, trips, thing, index: &index }, role)
    }

    /// Checks some elements of something that a step makes, or that its neighbours make there.
    fn probe(&mut self, thing: Thing, step: usize, role: Role) -> Check {
        let shape = self.shape(thing)?;
        for mut index in self.samples(&shape) {
            let mut first = Run::of(self.plan, step);
            if let Some(images) = self.plan.images().filter(|_| first.together > 0) {
                let groups = images.div_ceil(first.together);
                first.first = first.together * self.any(groups);
                if let Some(image) = index.first_mut() {
                    *image = (*image).min(images - first.first - 1);
                }
            }
            let address = self.address(thing, &index)?;
            let neighbours = [Some(step + 1), step.checked_sub(1)].into_iter().flatten();
            let maps = |at: &usize| {
                let map = self.plan.steps.get(*at).and_then(|step| step.kernel.get::<Map>());
                map.is_some_and(|map| map.dtypes.len() > 1)
            };
            let found = std::iter::once(step).chain(neighbours.filter(maps)).find_map(|step| {
                let run = Run { first: first.first, ..Run::of(self.plan, step) };
                let home = self.homes.get(&thing)?;
                let place = self.plan.steps[step].place(role)?;
                let byte = home.origin + address + self.memory.moved(run, place);
                let trips =
                    self.memory.trips(run, role, byte).filter(|_| place.base == home.base)?;
                Some((run, trips))
            });
            let (run, trips) = found.ok_or_else(|| format!("{thing:?} {index:?} is not made"))?;
            if let Some(image) = index.first_mut() {
                *image += run.first;
            }
            self.image = index.first().copied().filter(|_| run.together > 0);
            self.made(Site { run, trips: &trips, thing, index: &index }, role)?;
        }
        Ok(())
    }

    // ---- what checks of steps ask -----------------------------------------------------------------------

    /// A new goal: what a run's argument holds so many bytes further.
    fn read(
        &mut self,
        run: Run,
        role: Role,
        byte: i64,
        goal: Goal,
        bytes: Option<ByteScale>,
    ) -> Check {
        let place = self.plan.steps[run.step].place(role);
        let place = place.ok_or_else(|| format!("it has no argument {role}"))?;
        let byte = place.offset as i64 + self.memory.moved(run, place) + byte;
        let (is_rounded, image) = (false, self.image);
        self.tasks.push(Task { goal, run, base: place.base, byte, bytes, is_rounded, image });
        Ok(())
    }

    /// The same, of a bfloat16.
    fn read_rounded(&mut self, run: Run, role: Role, byte: i64, goal: Goal) -> Check {
        self.read(run, role, byte, goal, None)?;
        if let Some(task) = self.tasks.last_mut() {
            task.is_rounded = true;
        }
        Ok(())
    }

    /// A step, for errors.
    fn step(&self, run: Run) -> String {
        match self.plan.steps.get(run.step) {
            Some(step) => format!("step {} `{}`", run.step, step.name),
            None => "the outputs".into(),
        }
    }

    fn operand(&self, id: NodeId, slot: usize) -> Check<NodeId> {
        self.graph.operand(id, slot).ok_or_else(|| format!("operand {slot} is missing"))
    }

    /// The value's type, for as many images as go through its stage together.
    fn ty(&self, id: NodeId, run: Run) -> &TensorType {
        self.schedule.view(self.graph, self.plan.steps[run.step].stage).ty(id)
    }

    /// A number below this one.
    fn any(&mut self, below: usize) -> usize {
        // Knuth's generator: the same for each plan.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below.max(1)
    }

    /// Positions in a value of this shape: its ends, each axis at its other end, where whole blocks end that are
    /// moved apart from the rest, and elsewhere. None in an empty one.
    fn samples(&mut self, shape: &[usize]) -> Vec<Vec<usize>> {
        if shape.contains(&0) {
            return Vec::new();
        }
        let ends: Vec<usize> = shape.iter().map(|n| n - 1).collect();
        let mut all = vec![vec![0; shape.len()], ends.clone()];
        for axis in 0..shape.len() {
            let mut random: Vec<usize> = shape.iter().map(|n| self.any(*n)).collect();
            random[axis] = ends[axis];
            all.push(random.clone());
            random[axis] = 0;
            all.push(random);
            if let (whole @ 1.., 1..) = (shape[axis] / BLOCK, shape[axis] % BLOCK) {
                let mut last = ends.clone();
                last[axis] = whole * BLOCK - 1;
                all.push(last);
            }
        }
        all.sort();
        all.dedup();
        all
    }

    /// Some numbers below this one, with its ends.
    fn some(&mut self, count: usize) -> Vec<usize> {
        let mut all = vec![0, count.saturating_sub(1), self.any(count)];
        all.sort_unstable();
        all.dedup();
        all.retain(|at| *at < count);
        all
    }
}

/// The position for the images of a run's group.
fn local(run: Run, index: &[usize]) -> Vec<usize> {
    let mut local = index.to_vec();
    if let Some(image) = local.first_mut().filter(|_| run.together > 0) {
        *image = image.wrapping_sub(run.first);
    }
    local
}

/// Says what does not hold.
fn must(holds: bool, otherwise: &str) -> Check {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// Says which of a kernel's attributes is another than it must be.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Check {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?}")) }
}

/// The number of an element of a dense tensor.
fn flat(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (i, n)| at * n + i)
}

/// The position of an element of this number.
fn position(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|n| {
            let at = flat % (*n).max(1);
            flat /= (*n).max(1);
            at
        })
        .collect();
    index.reverse();
    index
}
