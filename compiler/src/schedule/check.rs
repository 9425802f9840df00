//! Checks a schedule against its graph, apart from what decides.
//!
//! A schedule is sound when
//!
//! 1. every node that computes is in one stage, or runs once behind all of them, after what it reads; of an
//!    earlier stage it reads nothing but the result of the one before;
//! 2. each stage's images are a multiple of those of the one before, and its types have as many;
//! 3. a value in blocks is of f32 and four axes, has their extents in as many segments as divide its channels,
//!    and the border that the convolutions over it read; a slice lies as what it is of;
//! 4. a value is bytes only where its last step rounds to what these stand for, or it is picked of such a value,
//!    and only on a machine that multiplies bytes;
//! 5. each convolution in blocks is the graph's, with its groups joined or not, and is computed by an algorithm
//!    that takes its elements, by a choice that was offered or asked for;
//! 6. its problem says of operands and result what their layouts say;
//! 7. what is made along with a result is read in the same stage;
//! 8. weights of dense layers are bytes where they are multiples of a scale, and nowhere else.
//!
//! Whether steps compute what the graph says is checked when they are written.

use std::collections::{BTreeMap, BTreeSet};

use super::blocked::Blocked;
use super::byte_scale::ByteScale;
use super::byte_weights::ByteWeights;
use super::epilogue::FusedStep;
use super::problem::ConvProblem;
use super::stages::View;
use super::tiled::narrow_groups;
use super::{Algorithms, ConvSchedule, Schedule};
use crate::error::{Error, Result};
use crate::ir::{
    Axis, Binary, Conv, DType, Graph, NodeId, Op, PoolKind, SplitAttention, Step, Unary,
};
use crate::machine::{BLOCK, Element};

/// What is wrong.
type Check<T = ()> = std::result::Result<T, &'static str>;

/// Checks every rule.
///
/// # Errors
/// [`Problem::Internal`](crate::error::Problem::Internal) naming the node and the rule.
pub(crate) fn check(graph: &Graph, schedule: &Schedule, algorithms: Algorithms) -> Result<()> {
    let checking = Checking { graph, schedule, algorithms };
    checking.stages().map_err(|what| Error::internal(format!("the schedule's stages: {what}")))?;
    let all = schedule.layouts.keys().chain(schedule.convs.keys());
    for &id in all.chain(schedule.groups.joined.keys()) {
        let wrong = |what| {
            let name = graph.contains(id).then(|| graph.node(id).name.as_str());
            Error::internal(format!("the schedule of `{}`: {what}", name.unwrap_or_default()))
        };
        must(graph.contains(id), "there is no such node").map_err(wrong)?;
        checking.node(id).map_err(wrong)?;
    }
    let is_blocked = |id: NodeId| schedule.convs.contains_key(&id);
    match ByteWeights::find(graph, is_blocked) == schedule.byte_weights {
        true => Ok(()),
        false => Err(Error::internal("the schedule's weights of bytes are not those that can be")),
    }
}

struct Checking<'s> {
    graph: &'s Graph,
    schedule: &'s Schedule,
    algorithms: Algorithms,
}

impl<'s> Checking<'s> {
    /// Rules 1 and 2.
    fn stages(&self) -> Check {
        let Checking { graph, schedule, .. } = *self;
        let stages = &schedule.stages;
        let mut done: BTreeSet<NodeId> = BTreeSet::new();
        let mut images = 0;
        let all = graph.inputs().first().and_then(|input| graph.ty(*input).axes.first());
        let all = all.map_or(1, Axis::size);
        for (at, (_, nodes)) in stages.views(graph).enumerate() {
            let before = at.checked_sub(1).and_then(|before| stages.all().get(before));
            for &id in nodes {
                must(graph.contains(id) && stages.of(id) == at, "a node is of another one")?;
                for (_, operand) in graph.operands(id) {
                    let is_given = matches!(graph.node(operand).op, Op::Input | Op::Weight(_));
                    let is_passed = before.is_some_and(|stage| stage.result == Some(operand));
                    let is_here = stages.of(operand) == at && done.contains(&operand);
                    must(is_given || is_passed || is_here, "a node reads what is not passed on")?;
                }
                must(done.insert(id), "a node runs twice")?;
            }
            let Some(stage) = stages.all().get(at) else { continue };
            let is_multiple = stage.images > images && stage.images.is_multiple_of(images.max(1));
            must(is_multiple && stage.images <= all, "images are no multiple")?;
            images = stage.images;
            let is_last = stage.result.is_none_or(|id| nodes.last() == Some(&id));
            must(is_last, "a stage's result is not its last value")?;
            self.types(&stage.types, images)?;
        }
        let computes = |id: &NodeId| !matches!(graph.node(*id).op, Op::Input | Op::Weight(_));
        must(done == graph.nodes().filter(computes).collect(), "a node does not run")
    }

    /// The types of all that goes image by image.
    fn types(&self, types: &BTreeMap<NodeId, crate::ir::TensorType>, images: usize) -> Check {
        let Checking { graph, schedule, .. } = *self;
        let by_image = schedule.stages.all().iter().flat_map(|stage| &stage.nodes).copied();
        let by_image: BTreeSet<NodeId> = by_image.chain(graph.inputs().iter().copied()).collect();
        must(types.keys().copied().collect::<BTreeSet<_>>() == by_image, "types of others")?;
        let is_scaled = |(id, ty): (&NodeId, &crate::ir::TensorType)| {
            let of = graph.ty(*id);
            let first = ty.axes.first().map(Axis::size);
            (ty.dtype, ty.axes.get(1..), first) == (of.dtype, of.axes.get(1..), Some(images))
        };
        must(types.iter().all(is_scaled), "a type is not that of as many images")
    }

    fn view(&self, id: NodeId) -> View<'s> {
        self.schedule.view(self.graph, self.schedule.stage_of(id))
    }

    fn node(&self, id: NodeId) -> Check {
        let op = &self.graph.node(id).op;
        if let Some((joined, _)) = self.schedule.groups.joined.get(&id) {
            let Op::Conv(conv) = op else { return Err("its groups are joined, and it has none") };
            must(*joined > 0 && conv.groups.is_multiple_of(*joined), "so many are not joined")?;
        }
        let layout = self.schedule.layout(id);
        match (op, layout, self.schedule.convs.get(&id)) {
            (Op::Conv(conv), Some(layout), Some(scheduled)) => {
                self.layout(id, &layout)?;
                self.conv(id, conv, scheduled)?;
                self.problem(id, &layout, scheduled)
            }
            (Op::Conv(_), Some(_), None) => Err("it is a convolution in blocks, by no algorithm"),
            (_, _, Some(_)) => Err("it is no convolution in blocks"),
            (_, Some(layout), None) => self.layout(id, &layout),
            (_, None, None) => Ok(()),
        }
    }

    /// Rules 3 and 4.
    fn layout(&self, id: NodeId, layout: &Blocked) -> Check {
        let (view, shape) = (self.view(id), self.view(id).ty(id).shape());
        let [n, c, h, w] = <[usize; 4]>::try_from(shape).map_err(|_| "it has not four axes")?;
        must(view.ty(id).dtype == DType::F32, "it is not of f32")?;
        let Blocked { images, segments, channels, size, halo, element, bytes, image } = *layout;
        let is_whole = (images, segments * channels, size) == (n, c, [h, w]) && segments > 0;
        must(is_whole, "its layout has other extents")?;
        let wanted = if bytes.is_some() { Element::U8 } else { Element::F32 };
        must(element == wanted, "its elements stand for nothing")?;
        if bytes.is_some() {
            must(self.schedule.machine.dots.is_some(), "the machine multiplies no bytes")?;
            must(self.rounded(id) == bytes, "it is not rounded to its bytes")?;
        }
        if let Op::Slice { .. } = view.node(id).op {
            let source = view.operand(id, 0).and_then(|x| self.schedule.layout(x));
            let source = source.ok_or("it is a slice of a value that lies in no blocks")?;
            let wanted = Blocked { images: n, segments: 1, channels: c, ..source };
            return must(*layout == wanted, "it does not lie as what it is of");
        }
        must(halo == self.border(id), "its border is not the one that is read")?;
        let distance = layout.blocks() * layout.block();
        must(image == distance, "its images do not follow each other")?;
        must(segments == 1 || self.wants(id, segments), "no group or split begins at its segments")
    }

    /// What a value is rounded to, if that is bytes.
    fn rounded(&self, id: NodeId) -> Option<ByteScale> {
        let op = &self.graph.node(id).op;
        let picked = || self.schedule.layout(self.graph.operand(id, 0)?)?.bytes;
        match (op, op.epilogue().and_then(|then| then.steps.last())) {
            (_, Some(Step::Unary(last))) => ByteScale::of(last),
            (_, Some(Step::Binary(..))) => None,
            (Op::Unary(function, _), None) => ByteScale::of(function),
            (Op::Pool(pool), None) if pool.kind == PoolKind::Max => picked(),
            (Op::Slice { .. }, None) => picked(),
            (_, None) => None,
        }
    }

    /// The border that convolutions read of a value, be it through slices; none where it is made without.
    fn border(&self, id: NodeId) -> [usize; 4] {
        let mut border = [0; 4];
        if self.schedule.convs.get(&id).is_some_and(|conv| conv.flat) {
            return border;
        }
        let mut values = vec![id];
        while let Some(value) = values.pop() {
            let users = self.graph.uses(value).into_iter();
            let users =
                users.filter(|(user, slot)| *slot == 0 && self.schedule.layout(*user).is_some());
            for (user, _) in users {
                match &self.graph.node(user).op {
                    Op::Slice { .. } => values.push(user),
                    Op::Conv(conv) => {
                        let by = self.schedule.convs.get(&user).map(|conv| &conv.choice);
                        let by = by.and_then(|choice| self.algorithms.of(choice));
                        let read = by.map_or([0; 4], |algorithm| algorithm.border(&conv.window));
                        border = std::array::from_fn(|side| border[side].max(read[side]));
                    }
                    _ => {}
                }
            }
        }
        border
    }

    /// Whether so many segments are groups or splits of what makes a value or reads it, be it through
    /// operators that leave channels where they are.
    fn wants(&self, id: NodeId, segments: usize) -> bool {
        let mut seen = BTreeSet::from([id]);
        let mut values = vec![id];
        while let Some(value) = values.pop() {
            let op = &self.graph.node(value).op;
            let groups = self.schedule.convs.get(&value).map(|conv| conv.conv.groups);
            let made = match op {
                Op::SplitAttention(op) => Some(op.cardinality),
                _ => groups,
            };
            if made == Some(segments) {
                return true;
            }
            for (user, _) in self.graph.uses(value) {
                let read = match &self.graph.node(user).op {
                    Op::SplitAttention(op) => Some(op.cardinality * op.radix),
                    _ => self.schedule.convs.get(&user).map(|conv| conv.conv.groups),
                };
                if read == Some(segments) {
                    return true;
                }
            }
            let keeps = |id: &NodeId| {
                let op = &self.graph.node(*id).op;
                matches!(op, Op::Pool(_) | Op::Unary(..) | Op::Binary(..))
                    || matches!(op, Op::SplitAttention(op) if op.radix == 1)
            };
            let users = self.graph.uses(value).into_iter().map(|(user, _)| user).filter(keeps);
            let from = self.graph.operand(value, 0).filter(|_| keeps(&value));
            values.extend(users.chain(from).filter(|id| seen.insert(*id)));
        }
        false
    }

    /// Rules 5 and 7.
    fn conv(&self, id: NodeId, conv: &Conv, scheduled: &ConvSchedule) -> Check {
        let Checking { graph, schedule, algorithms } = *self;
        must(scheduled.joined == schedule.groups.together(id), "its groups are not joined so")?;
        let groups = conv.groups / scheduled.joined.max(1);
        let wanted = Conv { groups, ..conv.clone() };
        must(scheduled.conv == wanted, "it is another convolution")?;
        let algorithm = algorithms.of(&scheduled.choice).ok_or("it is computed by no algorithm")?;
        must(algorithm.takes(scheduled.problem.reads), "its algorithm does not take its elements")?;
        let is_offered = scheduled.candidates.contains(&scheduled.choice);
        must(is_offered || scheduled.is_asked_for, "its choice was not offered")?;
        let is_flat = schedule.layout(id).is_some_and(|layout| layout.is_flat());
        must(!scheduled.flat || is_flat, "its result has a border")?;
        let is_of_one = conv.window.is_point() || conv.window.is_sample();
        must(!scheduled.flat || is_of_one, "its rows matter, as it reads neighbours")?;
        let stage = schedule.stage_of(id);
        let users =
            || graph.uses(id).into_iter().filter(|(user, _)| schedule.stage_of(*user) == stage);
        let squeezes = |(user, slot): (NodeId, usize)| {
            matches!(graph.node(user).op, Op::SplitAttention(_)) && slot == SplitAttention::U
        };
        let is_finished = scheduled.problem.fused.left == 0;
        let totals =
            is_finished && algorithm.makes_totals(&scheduled.problem) && users().any(squeezes);
        must(scheduled.totals == totals, "sums of its rows are made for nobody, or missing")?;
        let continues = |(user, slot): (NodeId, usize)| {
            schedule.convs.get(&user).is_some_and(|next| {
                let is_alike = next.choice.algorithm() == scheduled.choice.algorithm();
                slot == 0 && is_alike && algorithm.prepares(scheduled, next)
            })
        };
        let prepares = is_finished && users().any(continues);
        must(scheduled.prepares == prepares, "sums of its outputs are made for nobody, or missing")
    }

    /// Rule 6.
    fn problem(&self, id: NodeId, layout: &Blocked, scheduled: &ConvSchedule) -> Check {
        let (view, conv) = (self.view(id), &scheduled.conv);
        let of = |slot: usize| view.operand(id, slot);
        let x = of(0).ok_or("it reads nothing")?;
        let lies = |id: NodeId| self.schedule.layout(id);
        // Names its fields, so that none is forgotten.
        let ConvProblem {
            machine,
            groups,
            narrow,
            window,
            channels,
            source,
            reads_flat,
            residual_flat,
            reads,
            residual_bytes,
            made,
            bias,
            fused,
        } = &scheduled.problem;
        must(*machine == self.schedule.machine, "it is for another machine")?;
        must(*groups == conv.groups && *window == conv.window, "its problem is another one's")?;
        must(*narrow == narrow_groups(&view, id, conv), "its groups are of another width")?;
        must(*channels == view.ty(x).shape()[1] / groups.max(&1), "it reads other channels")?;
        must(*bias == of(2).is_some(), "a bias is missing, or none is there")?;
        let (steps, slot) = in_registers(&conv.epilogue.steps);
        must((&fused.steps, fused.residual) == (&steps, slot), "its epilogue is another")?;
        let flat = |id: Option<NodeId>| id.and_then(lies).is_none_or(|layout| layout.is_flat());
        let residual = slot.and_then(of);
        must(*reads_flat == flat(Some(x)), "its input lies otherwise")?;
        must(*residual_flat == flat(residual), "its residual lies otherwise")?;
        let bytes = source.and_then(|source| source.bytes);
        let wanted = if bytes.is_some() { Element::U8 } else { Element::F32 };
        must(*reads == wanted, "it reads other elements")?;
        let added = residual.and_then(lies).and_then(|layout| layout.bytes);
        must(*residual_bytes == added.filter(|_| bytes.is_some()), "its residual is of others")?;
        self.source(view, x, scheduled)?;
        let left = conv.epilogue.steps.len() - steps.len();
        let rounds = bytes.is_some() && layout.bytes.is_some() && left == 1;
        let (wanted, left) = match (layout.bytes, rounds) {
            (Some(_), true) => (*layout, 0),
            (Some(_), false) => (layout.with_halo([0; 4]).stored(None), left),
            (None, _) => (*layout, left),
        };
        must(*made == wanted && fused.left == left, "its sums are stored otherwise")
    }

    /// How a convolution's input lies: as it is made, or in a copy.
    fn source(&self, view: View<'_>, x: NodeId, scheduled: &ConvSchedule) -> Check {
        let problem = &scheduled.problem;
        let made = self.schedule.layout(x);
        let is_narrow = problem.narrow.is_some();
        let Some(source) = problem.source else {
            let is_row_major = made.is_none() && problem.channels < BLOCK && !is_narrow;
            return must(is_row_major, "its input is read row-major, and lies in blocks");
        };
        let groups = problem.groups;
        let counted = |l: &Blocked| l.segments == 1 || l.is_full();
        let serves = |l: Blocked| if is_narrow { counted(&l) } else { l.serves(groups) };
        if made == Some(source) {
            return must(serves(source), "its groups begin at no blocks");
        }
        let is_served = made.is_some_and(|l| serves(l) && l.bytes == source.bytes);
        must(!is_served, "its input is copied for nothing")?;
        let shape = view.ty(x).shape();
        let is_aligned = is_narrow || problem.channels.is_multiple_of(BLOCK);
        let segments = if is_aligned { 1 } else { problem.groups };
        let size = [shape[2], shape[3]];
        let wanted = Blocked::new(shape[0], segments, shape[1] / segments, size, [0; 4]);
        let bytes = made.and_then(|made| made.bytes).filter(|_| source.bytes.is_some());
        must(source == wanted.stored(bytes), "the copy of its input lies otherwise")
    }
}

/// The first steps of an epilogue that registers can do, with the slot of what they add.
fn in_registers(steps: &[Step]) -> (Vec<FusedStep>, Option<usize>) {
    let mut residual = None;
    let done = steps.iter().map_while(|step| match step {
        Step::Unary(Unary::Relu) => Some(FusedStep::Relu),
        Step::Binary(Binary::Add, slot) if residual.is_none() => {
            residual = Some(*slot);
            Some(FusedStep::AddResidual)
        }
        Step::Unary(_) | Step::Binary(..) => None,
    });
    let done = done.collect();
    (done, residual)
}

fn must(holds: bool, otherwise: &'static str) -> Check {
    if holds { Ok(()) } else { Err(otherwise) }
}
