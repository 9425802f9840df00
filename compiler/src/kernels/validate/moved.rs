//! Operators and steps that only move elements.

use super::memory::Run;
use super::things::Thing;
use super::{Check, Goal, Task, Validation, flat, must, position};
use crate::ir::expr::{Expr, Number};
use crate::ir::{Binary, DType, NodeId, Op};
use crate::kernels::map::Map;
use crate::kernels::to_bfloat16::ToBfloat16;
use crate::machine::F32_BYTES;
use crate::plan::Base;
use crate::plan::Role;
use crate::plan::weights::Packing;

impl Validation<'_> {
    /// The same goal for the element that operators have moved, as far back as that goes.
    pub(super) fn canonical(&self, mut goal: Goal) -> Check<Goal> {
        loop {
            let Goal::Element(thing, index) = &goal else { return Ok(goal) };
            match self.source(*thing, index)? {
                Some(next) => goal = next,
                None => return Ok(goal),
            }
        }
    }

    /// What an operator that moves elements has moved to a position.
    fn source(&self, thing: Thing, index: &[usize]) -> Check<Option<Goal>> {
        let id = thing.node;
        if thing != Thing::whole(id) {
            return Ok(None);
        }
        let from = |slot: usize, index: Vec<usize>| -> Check<Option<Goal>> {
            Ok(Some(Goal::Element(Thing::whole(self.operand(id, slot)?), index)))
        };
        let shape = |id: NodeId| self.graph.ty(id).shape();
        match &self.graph.node(id).op {
            Op::Identity => from(0, index.to_vec()),
            Op::Reshape => {
                let operand = self.operand(id, 0)?;
                from(0, position(flat(index, &shape(id)), &shape(operand)))
            }
            Op::Slice { starts, steps } => {
                let along = index.iter().zip(starts.iter().zip(steps));
                from(
                    0,
                    along.map(|(i, (s, by))| (*s as isize + *i as isize * by) as usize).collect(),
                )
            }
            Op::Transpose { perm } => {
                let mut before = vec![0; index.len()];
                perm.iter().zip(index).for_each(|(axis, at)| before[*axis] = *at);
                from(0, before)
            }
            Op::Expand => from(0, repeated(index, &shape(self.operand(id, 0)?))),
            Op::Concat { axis } => {
                let mut index = index.to_vec();
                for (slot, operand) in self.graph.operands(id) {
                    let extent = shape(operand)[*axis];
                    if index[*axis] < extent {
                        return from(slot, index);
                    }
                    index[*axis] -= extent;
                }
                Err("a concat is shorter than its result".into())
            }
            Op::Pad { before, value, .. } => {
                let inner = shape(self.operand(id, 0)?);
                let within: Option<Vec<usize>> =
                    index.iter().zip(before).map(|(at, before)| at.checked_sub(*before)).collect();
                match within.filter(|at| at.iter().zip(&inner).all(|(at, n)| at < n)) {
                    Some(within) => from(0, within),
                    None => Ok(Some(Goal::Number(*value))),
                }
            }
            Op::Binary(Binary::Pow, then) if then.is_empty() && self.exponent(id) == Some(1.0) => {
                from(0, repeated(index, &shape(self.operand(id, 0)?)))
            }
            Op::Input
            | Op::Weight(_)
            | Op::Conv(_)
            | Op::BatchNorm { .. }
            | Op::MatMul { .. }
            | Op::Unary(..)
            | Op::Binary(..)
            | Op::Where
            | Op::Cast { .. }
            | Op::Quantize
            | Op::Dequantize
            | Op::Softmax { .. }
            | Op::Pool(_)
            | Op::Reduce(_)
            | Op::SplitAttention(_)
            | Op::Gather { .. }
            | Op::Scatter { .. }
            | Op::ArgMax { .. } => Ok(None),
        }
    }

    /// The exponent of a power, where it is one constant.
    pub(super) fn exponent(&self, id: NodeId) -> Option<f32> {
        let node = self.graph.node(self.graph.operand(id, 1)?);
        match &node.op {
            Op::Weight(values) if node.ty.elements() == 1 => {
                values.to_f32(&node.ty)?.first().copied()
            }
            _ => None,
        }
    }

    /// The goals at what a step has moved to where a goal is, if it is a step that moves elements.
    pub(super) fn through(
        &self,
        task: &Task,
        run: Run,
        trips: &[usize],
    ) -> Check<Option<Vec<Task>>> {
        let step = &self.plan.steps[run.step];
        if let Some(copy) = step.kernel.get::<ToBfloat16>() {
            must(task.is_rounded, "bfloat16 are read as others than they are")?;
            return self.unrounded(task, run, copy, trips).map(Some);
        }
        let Some(map) = step.kernel.get::<Map>() else { return Ok(None) };
        if let [made] = map.dtypes[..] {
            return match task.goal {
                Goal::Element(..) => Ok(None),
                Goal::Filler | Goal::Number(_) => {
                    is_filled_with(&task.goal, task, made, &map.expr)?;
                    Ok(Some(Vec::new()))
                }
            };
        }
        let before = |bytes| -> Check<Option<Vec<Task>>> {
            let place = step.place(Role::Operand(1)).ok_or("a map of nothing")?;
            let byte =
                place.offset as i64 + self.memory.moved(run, place) + distance(map, 1, trips);
            let goal = task.goal.clone();
            Ok(Some(vec![Task { run, base: place.base, byte, bytes, goal, ..*task }]))
        };
        let x = || Expr::Operand(1);
        if map.expr == x() && map.dtypes.first() == map.dtypes.get(1) {
            return before(task.bytes);
        }
        let Goal::Element(thing, _) = &task.goal else { return Ok(None) };
        let as_made = self.bytes_of(*thing);
        match (&map.dtypes[..], task.bytes, as_made) {
            ([DType::F32, DType::U8], None, Some(bytes)) if map.expr == bytes.number(x()) => {
                before(Some(bytes))
            }
            // Under the value's own name it may be the step that rounds to bytes.
            ([DType::U8, DType::F32], Some(bytes), _)
                if map.expr == bytes.byte(x()) && step.name != self.graph.node(thing.node).name =>
            {
                before(None)
            }
            _ => Ok(None),
        }
    }

    /// The goal at what was copied as bfloat16.
    fn unrounded(
        &self,
        task: &Task,
        run: Run,
        copy: &ToBfloat16,
        trips: &[usize],
    ) -> Check<Vec<Task>> {
        let place = self.plan.steps[run.step].place(Role::In).ok_or("a copy of nothing")?;
        let strides = copy.nest.strides.get(1).ok_or("a copy of nothing")?;
        let lane = trips.get(strides.len()).copied().unwrap_or(0);
        let blocks: i64 = strides.iter().zip(trips).map(|(s, t)| *s as i64 * *t as i64).sum();
        let byte = (blocks + lane as i64) * F32_BYTES as i64;
        let byte = place.offset as i64 + self.memory.moved(run, place) + byte;
        let goal = task.goal.clone();
        let (base, is_rounded) = (place.base, false);
        Ok(vec![Task { goal, run, base, byte, bytes: None, is_rounded, ..*task }])
    }

    /// Whether a place holds a weight that is packed like this.
    pub(super) fn is_packed(&self, base: Base, id: NodeId, packing: impl Packing) -> Check<bool> {
        self.is_packed_as(base, id, &packing)
    }

    /// The same for any packing.
    pub(super) fn is_packed_as(
        &self,
        base: Base,
        id: NodeId,
        packing: &dyn Packing,
    ) -> Check<bool> {
        let (Base::Constant(at), Op::Weight(weight)) = (base, &self.graph.node(id).op) else {
            return Ok(false);
        };
        let constant = self.plan.constants.get(at).ok_or("there is no such constant")?;
        Ok(constant.data.is_of(weight, self.graph.ty(id), packing))
    }
}

/// A step that fills does it with what a goal is.
fn is_filled_with(goal: &Goal, task: &Task, made: DType, expr: &Expr) -> Check {
    let expr = match expr {
        Expr::Cast(to, number) if *to == made => number,
        other => other,
    };
    let Expr::Constant(Number(number)) = expr else { return Err("it fills with no number".into()) };
    let wanted = match (goal, task.bytes) {
        (Goal::Number(wanted), None) => *wanted,
        (_, Some(bytes)) => f64::from(bytes.zero()),
        (_, None) => 0.0,
    };
    must(number.to_bits() == wanted.to_bits(), &format!("it fills with {number}, not {wanted}"))
}

/// Bytes from an operand's place to what a map reads or writes in some trips.
pub(super) fn distance(map: &Map, operand: usize, trips: &[usize]) -> i64 {
    let strides = map.nest.strides.get(operand).map_or(&[][..], Vec::as_slice);
    let elements: i64 = strides.iter().zip(trips).map(|(s, t)| *s as i64 * *t as i64).sum();
    elements * map.dtypes.get(operand).map_or(0, |dtype| dtype.size()) as i64
}

/// The position in a tensor of this shape that is repeated at a position.
pub(super) fn repeated(index: &[usize], shape: &[usize]) -> Vec<usize> {
    let ahead = index.len().saturating_sub(shape.len());
    index[ahead..].iter().zip(shape).map(|(at, n)| if *n == 1 { 0 } else { *at }).collect()
}
