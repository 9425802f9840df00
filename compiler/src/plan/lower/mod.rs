//! Graph to plan: one arm per operator, and where each value lies.
//!
//! Reshapes, identities and slices whose result is contiguous are views: they cost nothing. A
//! value that is a model output is made in the output itself.

mod attention;
mod blocked;
mod contractions;
mod elementwise;
mod reductions;
mod strassen;
mod tiles;
mod weights;

use std::collections::BTreeMap;

use super::arena;
use super::batch;
use super::choice::Choices;
use super::decide::{Decision, decide};
use super::expr::Expr;
use super::groups::Groups;
use super::kernel::{Kernel, Nest};
use super::layout::{self, Blocked};
use super::tile::Vectors;
use super::{Base, Buffer, Constant, Packed, Place, Plan, Port, Step, check};
use crate::error::{Error, Problem, Result};
use crate::ir::{Conv, DType, Epilogue, Graph, NodeId, Op, Origin, TensorType};
use blocked::InBlocks;
use strassen::ReadySums;
use tiles::Totals;
use weights::{Packing, Section};

pub(super) use blocked::keeps_zero_finite;
pub(super) use tiles::tile_steps;

/// What plans depend on besides the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The vector instructions.
    pub vectors: Vectors,
    /// Use Winograd's transforms where they are faster.
    pub winograd: bool,
    /// What to take instead of the estimates' choices.
    pub choices: Choices,
}

/// Lowers a verified graph for one machine.
///
/// # Errors
/// [`Problem::Unsupported`] for element types that generated code does not compute in, and
/// [`Problem::Internal`] when the result fails its own check.
pub fn lower(graph: &Graph, machine: &Machine) -> Result<Plan> {
    let mut plans = lower_all(graph, std::slice::from_ref(machine))?;
    plans.pop().ok_or_else(|| Error::internal("there is no plan"))
}

/// Lowers a verified graph for each machine, over one weights section: what several plans pack
/// alike is stored once. The first plan's constants lie as they would if it were alone.
///
/// # Errors
/// Those of [`lower`].
pub fn lower_all(graph: &Graph, machines: &[Machine]) -> Result<Vec<Plan>> {
    let staged = batch::staged(graph);
    let graph = staged.as_ref().unwrap_or(graph);
    let mut section = Section::default();
    let mut plans = Vec::with_capacity(machines.len());
    for machine in machines {
        let mut lowering = Lowering::new(graph, machine, &mut section);
        for id in graph.topological() {
            lowering.node(id).map_err(|e| located(graph, id, e))?;
        }
        lowering.outputs()?;
        plans.push(lowering.finish());
    }
    for plan in &mut plans {
        plan.weight_bytes = section.bytes;
        check::check(plan)?;
    }
    Ok(plans)
}

fn located(graph: &Graph, id: NodeId, error: Error) -> Error {
    let node = graph.node(id);
    let name = node.from.first().map_or(node.name.as_str(), |o| o);
    error.at(name, node.op.mnemonic())
}

struct Lowering<'g, 's> {
    graph: &'g Graph,
    plan: Plan,
    /// Constants of this and of other plans.
    section: &'s mut Section,
    /// How groups of convolutions in blocks are computed.
    groups: Groups,
    /// How each convolution in blocks is computed.
    decisions: BTreeMap<NodeId, Decision>,
    /// Most scratch elements that a kernel wants for each thread.
    worker_elements: usize,
    places: BTreeMap<NodeId, Place>,
    /// Layouts of the values that are made in blocks.
    layouts: BTreeMap<NodeId, Blocked>,
    /// Values in blocks, each in one or more layouts.
    blocked: BTreeMap<NodeId, Vec<InBlocks>>,
    /// Sums that are made with the values they are of.
    totals: BTreeMap<NodeId, Totals>,
    sums: BTreeMap<NodeId, ReadySums>,
    /// This plan's constants, by the weight and how it is packed.
    stored: BTreeMap<(NodeId, Packing), Place>,
    name: String,
    from: Vec<Origin>,
    /// Why the node is computed as it is.
    why: String,
}

impl<'g, 's> Lowering<'g, 's> {
    fn new(graph: &'g Graph, machine: &Machine, section: &'s mut Section) -> Lowering<'g, 's> {
        let groups = Groups::choose(graph, machine);
        let decisions = decide(graph, machine, &groups);
        let border = |id: NodeId, conv: &Conv| match decisions.get(&id) {
            Some(decision) => decision.border(conv),
            None => [0; 4],
        };
        let without = |id: NodeId| decisions.get(&id).is_some_and(Decision::is_flat);
        let layouts = layout::assign(graph, &groups, border, without);
        let port = |id: NodeId, name: &str| Port { name: name.into(), ty: graph.ty(id).clone() };
        let plan = Plan {
            name: graph.name.clone(),
            inputs: graph.inputs().iter().map(|i| port(*i, &graph.node(*i).name)).collect(),
            outputs: graph.outputs().iter().map(|o| port(o.node, &o.name)).collect(),
            constants: Vec::new(),
            buffers: Vec::new(),
            steps: Vec::new(),
            arena_bytes: 0,
            worker_bytes: 0,
            weight_bytes: 0,
        };
        Lowering {
            graph,
            plan,
            section,
            groups,
            decisions,
            worker_elements: 0,
            places: BTreeMap::new(),
            layouts,
            blocked: BTreeMap::new(),
            totals: BTreeMap::new(),
            sums: BTreeMap::new(),
            stored: BTreeMap::new(),
            name: String::new(),
            from: Vec::new(),
            why: String::new(),
        }
    }

    fn node(&mut self, id: NodeId) -> Result<()> {
        let graph = self.graph;
        let node = graph.node(id);
        self.name.clone_from(&node.name);
        self.from.clone_from(&node.from);
        self.why.clear();
        computable(&node.ty)?;
        if self.layouts.contains_key(&id) {
            return self.blocked_node(id);
        }
        match &node.op {
            Op::Input => {
                let at = graph.inputs().iter().position(|i| *i == id).unwrap_or_default();
                self.places.insert(id, Place { base: Base::Input(at), offset: 0 });
                Ok(())
            }
            Op::Weight(_) => Ok(()),
            Op::Identity | Op::Reshape => self.view(id, 0),
            Op::Slice { starts, steps } => self.slice(id, starts, steps),
            Op::Conv(conv) => self.conv(id, conv),
            Op::MatMul { transpose_a, transpose_b, epilogue } => {
                self.matmul(id, *transpose_a, *transpose_b, epilogue)
            }
            Op::BatchNorm { epsilon } => self.batch_norm(id, *epsilon),
            Op::Unary(f, epilogue) => {
                let head = Expr::Operand(1).unary(*f);
                self.elementwise(id, 1, head, epilogue)
            }
            Op::Binary(f, epilogue) => {
                let head = self.binary_head(id, *f);
                self.elementwise(id, 2, head, epilogue)
            }
            Op::Where => {
                let arms = [1, 2, 3].map(|i| Box::new(Expr::Operand(i)));
                let [c, a, b] = arms;
                self.elementwise(id, 3, Expr::Select(c, a, b), &Epilogue::none())
            }
            Op::Cast { to } => {
                let head = Expr::Cast(*to, Box::new(Expr::Operand(1)));
                self.elementwise(id, 1, head, &Epilogue::none())
            }
            Op::Expand => self.elementwise(id, 1, Expr::Operand(1), &Epilogue::none()),
            Op::Transpose { perm } => self.transpose(id, perm),
            Op::Concat { axis } => self.concat(id, *axis),
            Op::Pad { before, value, .. } => self.pad(id, before, *value),
            Op::Softmax { axis, log } => self.softmax(id, *axis, *log),
            Op::Pool(pool) => self.pool(id, pool),
            Op::Reduce(reduce) => self.reduce(id, reduce),
            Op::SplitAttention(op) => self.split_attention(id, op),
            Op::Gather { axis } => self.gather(id, *axis),
            Op::ArgMax { axis, last, .. } => self.argmax(id, *axis, *last),
        }
    }

    /// An operator whose result lies in blocks.
    fn blocked_node(&mut self, id: NodeId) -> Result<()> {
        match &self.graph.node(id).op {
            Op::Conv(conv) => self.tiled_conv(id, conv),
            Op::Pool(pool) => self.blocked_pool(id, pool),
            Op::SplitAttention(op) => self.split_attention(id, op),
            Op::Unary(f, then) => self.blocked_elementwise(id, 1, Expr::Operand(1).unary(*f), then),
            Op::Binary(f, then) => {
                let head = Expr::Operand(1).binary(*f, Expr::Operand(2));
                self.blocked_elementwise(id, 2, head, then)
            }
            Op::Concat { axis: 0 } => self.blocked_batch(id),
            Op::Concat { .. } => self.blocked_concat(id),
            Op::Slice { starts, .. } => self.blocked_slice(id, starts[1]),
            op => Err(Error::internal(format!("{} is not made in blocks", op.mnemonic()))),
        }
    }

    // ---- places ------------------------------------------------------------------------------

    fn operand(&self, id: NodeId, slot: usize) -> Result<NodeId> {
        self.graph
            .operand(id, slot)
            .ok_or_else(|| Error::internal(format!("operand {slot} is missing")))
    }

    /// Where the value is; a weight is stored as it is in the model on first use.
    fn place(&mut self, id: NodeId) -> Result<Place> {
        if let Op::Weight(_) = self.graph.node(id).op {
            return self.packed(id, Packing::Plain);
        }
        if !self.places.contains_key(&id)
            && let Some(value) = self.blocked.get(&id).and_then(|all| all.first().copied())
        {
            let out = self.make(id);
            self.unpack_blocks(value, out);
        }
        self.places.get(&id).copied().ok_or_else(|| Error::internal("a value has no place yet"))
    }

    fn packed(&mut self, id: NodeId, packing: Packing) -> Result<Place> {
        if let Some(place) = self.stored.get(&(id, packing)) {
            return Ok(*place);
        }
        let node = self.graph.node(id);
        let Op::Weight(weight) = &node.op else {
            let what = format!("weights that are computed at run time (`{}`)", node.name);
            return Err(Error::from(Problem::Unsupported(what))
                .with_remedy("export the model with its weights as initializers"));
        };
        computable(&node.ty)?;
        let data = Packed::new(weight, &node.ty, packing)?;
        let (name, ty) = (node.name.clone(), data.stored_type());
        let constant = self.section.store(id, packing, Constant { name, ty, data, offset: 0 });
        let place = Place { base: Base::Constant(self.plan.constants.len()), offset: 0 };
        self.plan.constants.push(constant);
        self.stored.insert((id, packing), place);
        Ok(place)
    }

    /// A place for a new value: the model output it is, or a fresh buffer.
    fn make(&mut self, id: NodeId) -> Place {
        let output = self.graph.outputs().iter().position(|o| o.node == id);
        let place = match output {
            Some(at) => Place { base: Base::Output(at), offset: 0 },
            None => self.scratch(self.graph.ty(id).bytes()),
        };
        self.places.insert(id, place);
        place
    }

    fn scratch(&mut self, bytes: usize) -> Place {
        let base = Base::Buffer(self.plan.buffers.len());
        let name = self.name.clone();
        self.plan.buffers.push(Buffer { name, bytes, offset: 0, first: usize::MAX, last: 0 });
        Place { base, offset: 0 }
    }

    fn step(&mut self, kernel: Kernel, args: Vec<Place>) {
        if kernel.items() == 0 {
            return;
        }
        let (name, from, why) = (self.name.clone(), self.from.clone(), self.why.clone());
        self.plan.steps.push(Step { name, kernel, args, why, from });
    }

    // ---- views -------------------------------------------------------------------------------

    fn view(&mut self, id: NodeId, offset: usize) -> Result<()> {
        let mut place = self.place(self.operand(id, 0)?)?;
        place.offset += offset;
        self.places.insert(id, place);
        Ok(())
    }

    fn slice(&mut self, id: NodeId, starts: &[usize], steps: &[isize]) -> Result<()> {
        let source = self.operand(id, 0)?;
        let (from, to) = (self.graph.ty(source).shape(), self.graph.ty(id).shape());
        let size = self.graph.ty(id).dtype.size();
        let natural = dense(&from);
        let first: isize = starts.iter().zip(&natural).map(|(s, n)| *s as isize * n).sum();
        let strides: Vec<isize> = steps.iter().zip(&natural).map(|(s, n)| s * n).collect();
        let nest = Nest::collapsed(&to, &[dense(&to), strides]);
        let contiguous = nest.dims.is_empty() || nest.strides[1] == [1];
        if contiguous && self.graph.ty(id).elements() > 0 {
            return self.view(id, first as usize * size);
        }
        let mut place = self.place(source)?;
        place.offset += first as usize * size;
        let out = self.make(id);
        self.copy(nest, self.graph.ty(id).dtype, out, place);
        Ok(())
    }

    // ---- the end -----------------------------------------------------------------------------

    /// Copies outputs that were not made in place: views, inputs, weights, second names.
    fn outputs(&mut self) -> Result<()> {
        let graph = self.graph;
        for (at, output) in graph.outputs().iter().enumerate() {
            let here = Place { base: Base::Output(at), offset: 0 };
            let from = self.place(output.node)?;
            if from == here {
                continue;
            }
            self.name.clone_from(&output.name);
            self.from.clear();
            self.why.clear();
            let ty = graph.ty(output.node);
            let nest = Nest::collapsed(&[ty.elements()], &[vec![1], vec![1]]);
            self.copy(nest, ty.dtype, here, from);
        }
        Ok(())
    }

    fn finish(mut self) -> Plan {
        for (at, step) in self.plan.steps.iter().enumerate() {
            for place in &step.args {
                if let Base::Buffer(b) = place.base {
                    let buffer = &mut self.plan.buffers[b];
                    buffer.first = buffer.first.min(at);
                    buffer.last = buffer.last.max(at);
                }
            }
        }
        self.drop_unused_buffers();
        self.plan.worker_bytes = arena::round_up(self.worker_elements * 4);
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

/// Largest tensor that is planned, in bytes: sums of so many do not overflow, and no machine that
/// runs these models has as much memory.
const MOST_BYTES: usize = 1 << 40;

/// Refuses types that generated code does not compute in, and absurd sizes.
fn computable(ty: &TensorType) -> Result<()> {
    if ty.bytes() > MOST_BYTES {
        let problem =
            Problem::Unsupported(format!("a tensor {ty}, which takes {} bytes", ty.bytes()));
        return Err(
            Error::from(problem).with_remedy("is a shape or a padding meant to be this large?")
        );
    }
    if ty.dtype != DType::F64 {
        return Ok(());
    }
    let problem = Problem::Unsupported("float64 tensors at run time".into());
    Err(Error::from(problem).with_remedy("export the model in float32"))
}

/// Strides of a dense row-major tensor.
fn dense(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i] as isize;
    }
    strides
}

/// Strides that repeat a dense tensor of shape `from` over `to`, as NumPy broadcasts.
fn broadcast(from: &[usize], to: &[usize]) -> Vec<isize> {
    let natural = dense(from);
    let ahead = to.len() - from.len();
    let strides = from.iter().zip(&natural).zip(&to[ahead..]);
    let strides = strides.map(|((f, n), t)| if f == t { *n } else { 0 });
    std::iter::repeat_n(0, ahead).chain(strides).collect()
}

/// Elements outside, along and inside an axis.
fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

fn four(ty: &TensorType) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(ty.shape()).map_err(|_| Error::internal("expected four axes"))
}
