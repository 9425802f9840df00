//! Schedules with one field changed, for tests of what checks them.
//!
//! Every structure is taken apart by its fields' names, so that a new one has to be named here. What says
//! why something was chosen, and does not change what is computed, is left alone: estimates, candidates,
//! keys, reasons and whether it was asked for.

use std::fmt::Debug;

use super::blocked::Blocked;
use super::byte_scale::ByteScale;
use super::byte_weights::ByteWeights;
use super::epilogue::{Fused, FusedStep};
use super::groups::Groups;
use super::problem::ConvProblem;
use super::stages::{Stage, Stages};
use super::{Choice, ConvSchedule, Schedule};
use crate::ir::{Axis, Conv, Epilogue, NodeId, TensorType, Window};
use crate::machine::{Dots, Element, Machine, Vectors};

/// How many there are of a schedule.
pub fn count(schedule: &Schedule) -> usize {
    let mut change = Change { left: usize::MAX, done: None, path: Vec::new() };
    change.schedule(&mut schedule.clone());
    usize::MAX - change.left
}

/// The one of this number, from 0, with what was changed.
pub fn mutant(schedule: &Schedule, number: usize) -> Option<(String, Schedule)> {
    let mut mutant = schedule.clone();
    let mut change = Change { left: number, done: None, path: Vec::new() };
    change.schedule(&mut mutant);
    Some((change.done?, mutant))
}

/// Makes the change of one number.
struct Change {
    /// Changes before the one that is made.
    left: usize,
    done: Option<String>,
    path: Vec<String>,
}

impl Change {
    /// A value and what could stand in its place.
    fn value<T: Debug>(&mut self, name: &str, value: &mut T, others: Vec<T>) {
        for other in others {
            if self.left == 0 && self.done.is_none() {
                let path = self.path.join(" ");
                self.done = Some(format!("{path} {name}: {value:?} -> {other:?}"));
                *value = other;
            }
            self.left = self.left.saturating_sub(1);
        }
    }

    /// The fields of what has a name.
    fn within(&mut self, name: impl ToString, fields: impl FnOnce(&mut Change)) {
        self.path.push(name.to_string());
        fields(self);
        self.path.pop();
    }

    fn number(&mut self, name: &str, value: &mut usize) {
        let n = *value;
        let mut others = vec![n + 1, n.saturating_sub(1), n * 2, 0];
        others.sort_unstable();
        others.dedup();
        others.retain(|other| *other != n);
        self.value(name, value, others);
    }

    fn pair(&mut self, name: &str, [a, b]: &mut [usize; 2]) {
        self.within(name, |c| {
            c.number("0", a);
            c.number("1", b);
        });
    }

    fn flag(&mut self, name: &str, value: &mut bool) {
        let other = !*value;
        self.value(name, value, vec![other]);
    }

    fn some<T: Debug>(&mut self, name: &str, value: &mut Option<T>) {
        if value.is_some() {
            self.value(name, value, vec![None]);
        }
    }

    /// A list without one of its elements.
    fn shorter<T: Debug + Clone>(&mut self, name: &str, value: &mut Vec<T>) {
        let without = (0..value.len()).map(|at| {
            let mut other = value.clone();
            other.remove(at);
            other
        });
        let others = without.collect();
        self.value(name, value, others);
    }

    fn nodes(&mut self, name: &str, value: &mut Vec<NodeId>) {
        let swapped = (1..value.len()).map(|at| {
            let mut other = value.clone();
            other.swap(at - 1, at);
            other
        });
        let others = swapped.collect();
        self.value(name, value, others);
        self.shorter(name, value);
    }

    fn schedule(&mut self, schedule: &mut Schedule) {
        let Schedule { machine, stages, groups, layouts, convs, byte_weights } = schedule;
        self.within("machine", |c| c.machine(machine));
        self.within("stages", |c| c.stages(stages));
        let Groups { joined } = groups;
        for (id, (by, _why)) in joined.iter_mut() {
            self.within(format!("groups of {}", id.index()), |c| c.number("joined", by));
        }
        for (id, layout) in layouts.iter_mut() {
            self.within(format!("layout of {}", id.index()), |c| c.layout(layout));
        }
        for (id, conv) in convs.iter_mut() {
            self.within(format!("conv {}", id.index()), |c| c.conv(conv));
        }
        for id in layouts.keys().copied().collect::<Vec<_>>() {
            let mut other = layouts.clone();
            other.remove(&id);
            self.value("layouts", layouts, vec![other]);
        }
        for id in convs.keys().copied().collect::<Vec<_>>() {
            let mut other = convs.clone();
            other.remove(&id);
            self.value("convs", convs, vec![other]);
        }
        self.byte_weights(byte_weights);
    }

    fn byte_weights(&mut self, weights: &mut ByteWeights) {
        let ByteWeights(all) = weights;
        for (id, slot) in all.clone() {
            let mut without = all.clone();
            without.remove(&(id, slot));
            let mut elsewhere = without.clone();
            elsewhere.insert((id, slot + 1));
            self.value("byte weights", all, vec![without, elsewhere]);
        }
    }

    /// The core is what estimates were made for.
    fn machine(&mut self, machine: &mut Machine) {
        let Machine { vectors, core: _, dots, bfloats } = machine;
        self.vectors(vectors);
        let ways = [None, Some(Dots::Words), Some(Dots::Pairs)];
        let others = ways.into_iter().filter(|other| other != dots).collect();
        self.value("dots", dots, others);
        self.flag("bfloats", bfloats);
    }

    fn vectors(&mut self, vectors: &mut Vectors) {
        let all = [Vectors::Sse, Vectors::Neon, Vectors::Avx2, Vectors::Avx512];
        let others = all.into_iter().filter(|other| other != vectors).collect();
        self.value("vectors", vectors, others);
    }

    fn stages(&mut self, stages: &mut Stages) {
        let Stages { stages, rest, of } = stages;
        for (at, stage) in stages.iter_mut().enumerate() {
            self.within(at, |c| c.stage(stage));
        }
        self.nodes("rest", rest);
        for (id, stage) in of.iter_mut() {
            self.number(&format!("of {}", id.index()), stage);
        }
    }

    fn stage(&mut self, stage: &mut Stage) {
        let Stage { nodes, result, images, types } = stage;
        let before = nodes.get(nodes.len().wrapping_sub(2)).copied();
        self.nodes("nodes", nodes);
        let others = [None, before].into_iter().filter(|other| other != result).collect();
        self.value("result", result, others);
        self.number("images", images);
        for (id, ty) in types.iter_mut() {
            self.within(format!("type of {}", id.index()), |c| c.ty(ty));
        }
    }

    fn ty(&mut self, ty: &mut TensorType) {
        let TensorType { dtype: _, axes } = ty;
        for (at, axis) in axes.iter_mut().enumerate() {
            let n = axis.size();
            self.value(&at.to_string(), axis, vec![Axis::plain(n + 1), Axis::plain(n - 1)]);
        }
    }

    fn layout(&mut self, layout: &mut Blocked) {
        let Blocked { images, segments, channels, size, halo, element, bytes, image } = layout;
        self.number("images", images);
        self.number("segments", segments);
        self.number("channels", channels);
        self.pair("size", size);
        for (at, side) in halo.iter_mut().enumerate() {
            self.number(&format!("halo {at}"), side);
        }
        let other = if *element == Element::U8 { Element::F32 } else { Element::U8 };
        self.value("element", element, vec![other]);
        self.bytes("bytes", bytes);
        self.number("image", image);
    }

    fn bytes(&mut self, name: &str, bytes: &mut Option<ByteScale>) {
        if let Some(ByteScale { scale, lowest, highest }) = bytes {
            let others = vec![*scale * 2.0, *scale * 0.5, 0.0];
            self.value(&format!("{name} scale"), scale, others);
            let others = vec![*lowest + 1, *lowest - 1, 0];
            self.value(&format!("{name} lowest"), lowest, others);
            let others = vec![*highest + 1, *highest - 1, 0];
            self.value(&format!("{name} highest"), highest, others);
        }
        self.some(name, bytes);
    }

    fn conv(&mut self, conv: &mut ConvSchedule) {
        let ConvSchedule {
            key: _,
            conv: Conv { groups, window, epilogue },
            joined,
            problem,
            candidates: _,
            choice,
            is_asked_for: _,
            estimates: _,
            why: _,
            flat,
            totals,
            prepares,
        } = conv;
        self.number("groups", groups);
        self.window(window);
        self.epilogue(epilogue);
        self.number("joined", joined);
        self.within("problem", |c| c.problem(problem));
        let others = choices(choice);
        self.value("choice", choice, others);
        self.flag("flat", flat);
        self.flag("totals", totals);
        self.flag("prepares", prepares);
    }

    fn window(&mut self, window: &mut Window) {
        let Window { kernel, stride, dilation, pad_before, pad_after } = window;
        self.pair("kernel", kernel);
        self.pair("stride", stride);
        self.pair("dilation", dilation);
        self.pair("pad before", pad_before);
        self.pair("pad after", pad_after);
    }

    fn epilogue(&mut self, epilogue: &mut Epilogue) {
        let Epilogue { steps } = epilogue;
        self.shorter("epilogue", steps);
    }

    fn problem(&mut self, problem: &mut ConvProblem) {
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
        } = problem;
        self.within("machine", |c| c.machine(machine));
        self.number("groups", groups);
        if let Some(narrow) = narrow {
            self.number("narrow", narrow);
        }
        self.some("narrow", narrow);
        self.window(window);
        self.number("channels", channels);
        if let Some(source) = source {
            self.within("source", |c| c.layout(source));
        }
        self.some("source", source);
        self.flag("reads flat", reads_flat);
        self.flag("residual flat", residual_flat);
        let other = if *reads == Element::U8 { Element::F32 } else { Element::U8 };
        self.value("reads", reads, vec![other]);
        self.bytes("residual bytes", residual_bytes);
        self.within("made", |c| c.layout(made));
        self.flag("bias", bias);
        self.within("fused", |c| c.fused(fused));
    }

    fn fused(&mut self, fused: &mut Fused) {
        let Fused { steps, residual, left } = fused;
        for step in steps.iter_mut() {
            let other = match step {
                FusedStep::Relu => FusedStep::AddResidual,
                FusedStep::AddResidual => FusedStep::Relu,
            };
            self.value("step", step, vec![other]);
        }
        self.shorter("steps", steps);
        if let Some(slot) = residual {
            self.number("residual", slot);
        }
        self.some("residual", residual);
        self.number("left", left);
    }
}

/// A choice with each of its numbers one more, one less and twice as much, and in the other order of loops.
fn choices(choice: &Choice) -> Vec<Choice> {
    let text = choice.as_str();
    let is_digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let mut all = Vec::new();
    for begin in (0..text.len()).filter(|at| is_digit(*at) && (*at == 0 || !is_digit(at - 1))) {
        let end = (begin..).find(|at| !is_digit(*at)).unwrap_or(text.len());
        let Ok(number) = text[begin..end].parse::<usize>() else { continue };
        for other in [number + 1, number.saturating_sub(1), number * 2] {
            all.push(format!("{}{other}{}", &text[..begin], &text[end..]));
        }
    }
    let turned = text.replace("weights", "PIXELS").replace("pixels", "weights");
    all.push(turned.replace("PIXELS", "pixels"));
    all.retain(|other| other != text);
    all.into_iter().map(Choice::new).collect()
}
