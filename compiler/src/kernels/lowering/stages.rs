//! Stages while a plan is written: what one passes on to the next, and inputs and outputs of which a
//! stage sees some images at a time.

use super::{Lowering, run_of};
use crate::error::Result;
use crate::ir::{NodeId, Op};
use crate::plan::{Base, Place};

impl Lowering<'_, '_> {
    /// What follows is of this stage.
    pub(super) fn begin_stage(&mut self, stage: usize) {
        self.stage = stage;
        self.graph = self.schedule.view(self.model, stage);
    }

    /// Copies the outputs that were not made in place, and passes the stage's result on.
    pub(super) fn end_stage(&mut self) -> Result<()> {
        self.outputs()?;
        let result = self.schedule.stages().get(self.stage).and_then(|stage| stage.result);
        match result.filter(|id| self.graph.is_used(*id)) {
            Some(id) => self.pass_on(id),
            None => Ok(()),
        }
    }

    /// Images of a group of the stage that is written; `None` for what runs once.
    fn group(&self) -> Option<usize> {
        self.schedule.stages().get(self.stage).map(|stage| stage.images)
    }

    /// Images of a group of the next stage, or all: how many of this one's result are read.
    fn passed_images(&self) -> usize {
        let next = self.schedule.stages().get(self.stage + 1).map(|stage| stage.images);
        next.or(self.plan.images()).unwrap_or(1)
    }

    /// Where a model input is: in place, or copied where a group has several images, of which some may
    /// not be there.
    pub(super) fn input(&mut self, id: NodeId) -> Result<Place> {
        let at = self.model.inputs().iter().position(|i| *i == id).unwrap_or_default();
        let mut place = Place::of(Base::Input(at));
        if let Some(images) = self.group() {
            let ty = self.ty(id);
            place.image = ty.bytes() / images;
            if images > 1 {
                let copied = self.scratch(ty.bytes());
                self.copy(run_of(ty.elements()), ty.dtype, copied, place)?;
                place = copied;
            }
        }
        self.places.insert(id, place);
        Ok(place)
    }

    /// The model output that a value is, if it can be made there: not where a group has several images,
    /// of which some may not be there, nor where a later stage reads it, for which it has as many images as
    /// whole groups have.
    pub(super) fn output(&self, id: NodeId) -> Option<Place> {
        let at = *self.model.outputs_of(id).first()?;
        if self.schedule.stage_of(id) != self.stage {
            return None;
        }
        let place = Place::of(Base::Output(at));
        match self.group() {
            None => Some(place),
            Some(1) if !self.is_passed_on(id) => {
                Some(Place { image: self.ty(id).bytes(), ..place })
            }
            Some(_) => None,
        }
    }

    /// Whether the value is what this stage passes on to the next.
    fn is_passed_on(&self, id: NodeId) -> bool {
        let result = self.schedule.stages().get(self.stage).and_then(|stage| stage.result);
        result == Some(id) && self.graph.is_used(id)
    }

    /// A buffer for a new value, of so many bytes for a group of images: a part of what is passed on, if
    /// this is that.
    pub(super) fn value_buffer(&mut self, id: NodeId, bytes: usize) -> Place {
        match self.group().filter(|_| self.is_passed_on(id)) {
            None => self.scratch(bytes),
            Some(images) => {
                let image = bytes / images;
                // The last group may go beyond what is read.
                let made = self.passed_images().next_multiple_of(images);
                let whole = self.scratch(image * made);
                Place { image, ..whole }
            }
        }
    }

    /// The value as the next stage sees it: with all images of that stage's group.
    fn pass_on(&mut self, id: NodeId) -> Result<()> {
        let images = self.passed_images();
        let made = self.blocked.get(&id).and_then(|all| all.first()).copied();
        self.beside.retain(|(of, _), _| *of != id);
        if let Some(mut made) = made.filter(|made| made.at.image != 0) {
            made.at.image = 0;
            made.layout.images = images;
            self.places.remove(&id);
            self.blocked.insert(id, vec![made]);
            return Ok(());
        }
        let mut place = self.place(id)?;
        let is_buffer = matches!(place.base, Base::Buffer(_));
        if !is_buffer || place.image == 0 {
            let ty = self.ty(id);
            let whole = self.value_buffer(id, ty.bytes());
            self.copy(run_of(ty.elements()), ty.dtype, whole, place)?;
            place = whole;
        }
        place.image = 0;
        self.blocked.remove(&id);
        self.places.insert(id, place);
        Ok(())
    }

    /// Copies outputs of this stage that were not made in place: views, inputs, weights, second names.
    fn outputs(&mut self) -> Result<()> {
        let model = self.model;
        let last = self.schedule.stages().len();
        for (at, output) in model.outputs().iter().enumerate() {
            let computes = !matches!(model.node(output.node).op, Op::Input | Op::Weight(_));
            let of = if computes { self.schedule.stage_of(output.node) } else { last };
            if of != self.stage {
                continue;
            }
            let ty = self.ty(output.node);
            let image = self.group().map_or(0, |images| ty.bytes() / images);
            let here = Place { image, ..Place::of(Base::Output(at)) };
            let from = self.place(output.node)?;
            if from == here {
                continue;
            }
            self.name.clone_from(&output.name);
            self.from.clear();
            self.why.clear();
            self.copy(run_of(ty.elements()), ty.dtype, here, from)?;
        }
        Ok(())
    }
}
