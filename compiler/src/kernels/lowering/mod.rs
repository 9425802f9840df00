//! Graph and schedule to plan: where each value lies, and the steps that make it. The schedule decides;
//! here its decisions are written down, and nothing can refuse or change one.
//!
//! Reshapes, identities and slices whose result is contiguous are views: they cost nothing. A
//! value that is a model output is made in the output itself, where nothing stands against it.

mod blocked;
mod parts;
mod stages;

use std::any::{Any, TypeId};
use std::collections::BTreeMap;

use crate::error::{Error, Problem, Result};
use crate::ir::{DType, Graph, NodeId, Op, Origin, TensorType};
use crate::limits::TENSOR_BYTES;
use crate::machine::F32_BYTES;
use crate::plan::kernel::Kernel;
use crate::plan::weights::{Packed, Packing, SectionLayout};
use crate::plan::{Base, Buffer, Constant, KernelRef, Nest, Place, Plan, Port, Role, Step, arena};
use crate::schedule::{ConvSchedule, Schedule, View};

pub(in crate::kernels) use blocked::{InBlocks, Totals};
pub(in crate::kernels) use parts::are_in_order;

/// What a constant is known by: the weight that it comes from, and how it is packed.
pub(in crate::kernels) type WeightKey = (NodeId, String);

/// A plan while it is written.
pub(crate) struct Lowering<'g, 's> {
    /// The graph, with as many images as go through the stage together.
    pub(in crate::kernels) graph: View<'g>,
    /// The graph as it is.
    pub(in crate::kernels) model: &'g Graph,
    pub(in crate::kernels) schedule: &'g Schedule,
    plan: Plan,
    /// Constants of this and of other plans.
    section: &'s mut SectionLayout<WeightKey>,
    /// The stage that is written.
    stage: usize,
    places: BTreeMap<NodeId, Place>,
    /// Values in blocks, each in one or more layouts.
    pub(in crate::kernels) blocked: BTreeMap<NodeId, Vec<InBlocks>>,
    /// Buffers of concats of which parts are made already.
    concats: BTreeMap<NodeId, Place>,
    /// What was made along with values.
    beside: BTreeMap<(NodeId, TypeId), Box<dyn Any>>,
    /// This plan's constants, by the weight and how it is packed.
    stored: BTreeMap<WeightKey, Place>,
    name: String,
    from: Vec<Origin>,
    /// Why the node is computed as it is.
    why: String,
}

impl<'g, 's> Lowering<'g, 's> {
    pub(in crate::kernels) fn new(
        model: &'g Graph,
        schedule: &'g Schedule,
        section: &'s mut SectionLayout<WeightKey>,
    ) -> Lowering<'g, 's> {
        let port = |id: NodeId, name: &str| Port { name: name.into(), ty: model.ty(id).clone() };
        let plan = Plan {
            name: model.name.clone(),
            inputs: model.inputs().iter().map(|i| port(*i, &model.node(*i).name)).collect(),
            outputs: model.outputs().iter().map(|o| port(o.node, &o.name)).collect(),
            constants: Vec::new(),
            buffers: Vec::new(),
            stages: schedule.stages().iter().map(|stage| stage.images).collect(),
            steps: Vec::new(),
            arena_bytes: 0,
            worker_bytes: 0,
            weight_bytes: 0,
        };
        Lowering {
            graph: schedule.view(model, 0),
            model,
            schedule,
            plan,
            section,
            stage: 0,
            places: BTreeMap::new(),
            blocked: BTreeMap::new(),
            concats: BTreeMap::new(),
            beside: BTreeMap::new(),
            stored: BTreeMap::new(),
            name: String::new(),
            from: Vec::new(),
            why: String::new(),
        }
    }

    /// Writes every node down, stage by stage, as `lower` does it.
    ///
    /// # Errors
    /// `lower`'s, at the node.
    pub(in crate::kernels) fn everything(
        mut self,
        lower: impl Fn(&mut Lowering<'g, 's>, NodeId) -> Result<()>,
    ) -> Result<Plan> {
        let model = self.model;
        let check = |id| match is_given_as_it_is(model, id) {
            true => Ok(()),
            false => computable(model.ty(id)).map_err(|e| located(model, id, e)),
        };
        model.topological().into_iter().try_for_each(check)?;
        let order = self.schedule.order(self.model);
        for stage in 0..=self.schedule.stages().len() {
            self.begin_stage(stage);
            for (_, id) in order.iter().filter(|(of, _)| *of == stage) {
                let node = self.model.node(*id);
                self.name.clone_from(&node.name);
                self.from.clone_from(&node.from);
                self.why.clear();
                if self.is_made_by_nothing(*id) {
                    self.make(*id);
                    continue;
                }
                lower(&mut self, *id).map_err(|e| located(self.model, *id, e))?;
            }
            self.end_stage()?;
        }
        Ok(self.finished())
    }

    // ---- what there is -----------------------------------------------------------------------

    /// The value's type, for as many images as go through the stage together.
    pub(in crate::kernels) fn ty(&self, id: NodeId) -> &'g TensorType {
        self.graph.ty(id)
    }

    pub(in crate::kernels) fn operand(&self, id: NodeId, slot: usize) -> Result<NodeId> {
        self.graph
            .operand(id, slot)
            .ok_or_else(|| Error::internal(format!("operand {slot} is missing")))
    }

    /// Height and width of a value of four axes.
    pub(in crate::kernels) fn plane(&self, id: NodeId) -> [usize; 2] {
        let shape = self.ty(id).shape();
        [shape[2], shape[3]]
    }

    /// Whether the value has no elements, so that no step makes it: it has a place, which none may touch.
    fn is_made_by_nothing(&self, id: NodeId) -> bool {
        let is_given = matches!(self.model.node(id).op, Op::Input | Op::Weight(_));
        !is_given && self.is_empty(id)
    }

    /// Whether the value has no elements.
    pub(in crate::kernels) fn is_empty(&self, id: NodeId) -> bool {
        self.ty(id).elements() == 0
    }

    /// How a convolution in blocks is computed.
    pub(in crate::kernels) fn conv(&self, id: NodeId) -> Result<&'g ConvSchedule> {
        let conv = self.schedule.conv(id);
        conv.ok_or_else(|| Error::internal("a convolution is not scheduled"))
    }

    /// Says why the steps that follow are as they are.
    pub(in crate::kernels) fn because(&mut self, why: &str) {
        self.why = why.to_owned();
    }

    /// Remembers what was made along with a value.
    pub(in crate::kernels) fn put_beside<T: 'static>(&mut self, id: NodeId, what: T) {
        self.beside.insert((id, TypeId::of::<T>()), Box::new(what));
    }

    /// What was made along with a value, if it was.
    pub(in crate::kernels) fn beside<T: 'static>(&self, id: NodeId) -> Option<&T> {
        self.beside.get(&(id, TypeId::of::<T>()))?.downcast_ref()
    }

    // ---- places ------------------------------------------------------------------------------

    /// Where the value is, row-major; a weight is stored as it is in the model on first use.
    pub(in crate::kernels) fn place(&mut self, id: NodeId) -> Result<Place> {
        if let Some(place) = self.places.get(&id) {
            return Ok(*place);
        }
        match self.model.node(id).op {
            Op::Weight(_) => return self.packed(id, crate::plan::weights::Plain),
            Op::Input => return self.input(id),
            _ => {}
        }
        if let Some(value) = self.blocked.get(&id).and_then(|all| all.first().copied()) {
            let out = self.make(id);
            self.unpack_blocks(value, out)?;
        }
        self.places.get(&id).copied().ok_or_else(|| Error::internal("a value has no place yet"))
    }

    /// Where a weight is, packed like this.
    pub(in crate::kernels) fn packed(
        &mut self,
        id: NodeId,
        packing: impl Packing,
    ) -> Result<Place> {
        let key = (id, packing.key());
        if let Some(place) = self.stored.get(&key) {
            return Ok(*place);
        }
        let node = self.model.node(id);
        let Op::Weight(weight) = &node.op else {
            let what = format!("weights that are computed at run time (`{}`)", node.name);
            return Err(Error::from(Problem::Unsupported(what))
                .with_remedy("export the model with its weights as initializers"));
        };
        let data = Packed::new(weight, &node.ty, packing)?;
        let (name, ty) = (node.name.clone(), data.stored_type());
        let constant = Constant { name, ty, data, offset: 0 };
        let constant = self.section.store(key.clone(), constant);
        let place = Place::of(Base::Constant(self.plan.constants.len()));
        self.plan.constants.push(constant);
        self.stored.insert(key, place);
        Ok(place)
    }

    /// A packed bias or the like, if the node has the operand.
    pub(in crate::kernels) fn packed_operand(
        &mut self,
        id: NodeId,
        slot: usize,
        packing: impl Packing,
    ) -> Result<Option<Place>> {
        self.graph.operand(id, slot).map(|weight| self.packed(weight, packing)).transpose()
    }

    /// A place for a new value, row-major: the model output it is, or a buffer.
    pub(in crate::kernels) fn make(&mut self, id: NodeId) -> Place {
        let place = match self.output(id) {
            Some(output) => output,
            None => self.value_buffer(id, self.ty(id).bytes()),
        };
        self.places.insert(id, place);
        place
    }

    /// A buffer of so many bytes, for this stage's own use.
    pub(in crate::kernels) fn scratch(&mut self, bytes: usize) -> Place {
        let base = Base::Buffer(self.plan.buffers.len());
        let name = self.name.clone();
        self.plan.buffers.push(Buffer { name, bytes, offset: 0, first: usize::MAX, last: 0 });
        Place::of(base)
    }

    /// A buffer of so many elements of f32.
    pub(in crate::kernels) fn scratch_of(&mut self, elements: usize) -> Place {
        self.scratch(elements * F32_BYTES)
    }

    /// The result is the operand from so many bytes on.
    pub(in crate::kernels) fn view(&mut self, id: NodeId, offset: usize) -> Result<()> {
        let place = self.place(self.operand(id, 0)?)?;
        self.places.insert(id, place.further(offset));
        Ok(())
    }

    // ---- steps -------------------------------------------------------------------------------

    /// Adds a step, unless it has nothing to do.
    ///
    /// # Errors
    /// [`Problem::Internal`] when the arguments are not the kernel's.
    pub(in crate::kernels) fn step(
        &mut self,
        kernel: impl Kernel + Clone + PartialEq,
        args: impl IntoIterator<Item = (Role, Place)>,
    ) -> Result<()> {
        let kernel = KernelRef::from(kernel);
        if kernel.items() == 0 {
            return Ok(());
        }
        let given: BTreeMap<Role, Place> = args.into_iter().collect();
        let wanted = kernel.arguments();
        let args: Option<Vec<Place>> = wanted.iter().map(|role| given.get(role).copied()).collect();
        let args = args.filter(|args| args.len() == given.len()).ok_or_else(|| {
            let given: Vec<Role> = given.keys().copied().collect();
            Error::internal(format!("{} takes {wanted:?}, not {given:?}", kernel.name()))
        })?;
        let worker = arena::round_up(kernel.scratch() * F32_BYTES);
        self.plan.worker_bytes = self.plan.worker_bytes.max(worker);
        let (name, from, why) = (self.name.clone(), self.from.clone(), self.why.clone());
        self.plan.steps.push(Step { name, kernel, args, stage: self.stage, why, from });
        Ok(())
    }

    fn finished(mut self) -> Plan {
        arena::set_lives(&mut self.plan);
        self.drop_unused_buffers();
        self.plan.arena_bytes = arena::assign(&mut self.plan.buffers);
        self.plan
    }

    /// Buffers that no step touches (of values without elements) go, and the rest is renumbered.
    fn drop_unused_buffers(&mut self) {
        let mut number = Vec::new();
        let mut kept = 0;
        for buffer in &self.plan.buffers {
            number.push(kept);
            kept += usize::from(buffer.first != usize::MAX);
        }
        self.plan.buffers.retain(|b| b.first != usize::MAX);
        for place in self.plan.steps.iter_mut().flat_map(|s| &mut s.args) {
            if let Base::Buffer(b) = &mut place.base {
                *b = number[*b];
            }
        }
    }
}

fn located(graph: &Graph, id: NodeId, error: Error) -> Error {
    let node = graph.node(id);
    let name = node.from.first().map_or(node.name.as_str(), |o| o);
    error.at(name, node.op.mnemonic())
}

/// Whether the node is a constant that nothing computes with: an output of the model at most.
fn is_given_as_it_is(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Weight(_)) && graph.uses(id).is_empty()
}

/// Refuses types that generated code does not compute in, and absurd sizes.
pub(in crate::kernels) fn computable(ty: &TensorType) -> Result<()> {
    if ty.bytes() > TENSOR_BYTES {
        let what = format!("a tensor {ty}, which takes {} bytes", ty.bytes());
        return Err(Error::too_large(what, None));
    }
    if ty.dtype != DType::F64 {
        return Ok(());
    }
    let problem = Problem::Unsupported("float64 tensors at run time".into());
    Err(Error::from(problem).with_remedy("export the model in float32"))
}

/// Strides of a dense row-major tensor.
pub(in crate::kernels) fn dense(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i] as isize;
    }
    strides
}

/// A nest over so many elements, one after the other, of two operands.
pub(in crate::kernels) fn run_of(elements: usize) -> Nest {
    Nest::collapsed(&[elements], &[vec![1], vec![1]])
}

/// Strides that repeat a dense tensor of shape `from` over `to`, as NumPy broadcasts.
pub(in crate::kernels) fn broadcast(from: &[usize], to: &[usize]) -> Vec<isize> {
    let natural = dense(from);
    let ahead = to.len() - from.len();
    let strides = from.iter().zip(&natural).zip(&to[ahead..]);
    let strides = strides.map(|((f, n), t)| if f == t { *n } else { 0 });
    std::iter::repeat_n(0, ahead).chain(strides).collect()
}

/// Elements outside, along and inside an axis.
pub(in crate::kernels) fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

pub(in crate::kernels) fn four(ty: &TensorType) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(ty.shape()).map_err(|_| Error::internal("expected four axes"))
}
