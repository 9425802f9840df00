//! Parts of concats along channels, each made where the concat has it. So nothing is copied, and of concats that
//! begin with the same parts the smaller ones are views of the largest.

use super::{InBlocks, Lowering};
use crate::ir::{NodeId, Op};
use crate::machine::BLOCK;
use crate::plan::Place;
use crate::schedule::blocked::Blocked;

impl Lowering<'_, '_> {
    /// Where the largest concat that reads a value in blocks has it, if it can be made there: where neither has a
    /// border, and there are no other images between its blocks.
    pub(super) fn place_in_concat(&mut self, id: NodeId, layout: Blocked) -> Option<InBlocks> {
        if layout.images != 1 || !self.schedule.stages().is_empty() || !layout.is_full() {
            return None;
        }
        let users = self.model.uses(id).into_iter();
        let concats =
            users.filter_map(|(user, slot)| Some((self.part(id, layout, user, slot)?, user)));
        let ((_, before), concat) = concats.max_by_key(|((channels, _), _)| *channels)?;
        let at =
            self.concat_buffer(concat)?.further(layout.bytes_of(before / BLOCK * layout.block()));
        Some(InBlocks { at, layout })
    }

    /// Channels of a concat, and those before the part that a value is of it.
    fn part(
        &self,
        id: NodeId,
        layout: Blocked,
        concat: NodeId,
        slot: usize,
    ) -> Option<(usize, usize)> {
        let whole = self.schedule.layout(concat)?;
        let is_alike = whole.bytes == layout.bytes && whole.is_flat() && layout.is_flat();
        let Op::Concat { axis: 1 } = self.model.node(concat).op else { return None };
        let operands = self.model.operands(concat);
        let times = operands.iter().filter(|(_, operand)| *operand == id).count();
        let before = operands.iter().filter(|(at, _)| *at < slot);
        let before: usize = before.map(|(_, operand)| self.ty(*operand).shape()[1]).sum();
        let fits = is_alike && times == 1 && before.is_multiple_of(BLOCK);
        fits.then_some((whole.channels * whole.segments, before))
    }

    /// The buffer of a concat, which its first part makes.
    fn concat_buffer(&mut self, concat: NodeId) -> Option<Place> {
        if let Some(place) = self.concats.get(&concat) {
            return Some(*place);
        }
        let whole = self.schedule.layout(concat)?;
        let place = self.scratch(whole.bytes_of(whole.elements()));
        self.concats.insert(concat, place);
        Some(place)
    }

    /// Where a concat has been begun, if it has.
    pub(super) fn begun_concat(&self, id: NodeId, layout: Blocked) -> Option<InBlocks> {
        self.concats.get(&id).map(|at| InBlocks { at: *at, layout })
    }
}

/// Whether values in blocks lie one after the other, as parts of one without a border.
pub(in crate::kernels) fn are_in_order(parts: &[InBlocks], whole: &Blocked) -> bool {
    let Some(first) = parts.first() else { return false };
    let mut end = first.at;
    let follows = |part: &InBlocks| {
        let here = part.at == end;
        let blocks = part.layout.blocks() * part.layout.block();
        end = end.further(part.layout.bytes_of(blocks));
        here && part.layout.is_flat() && part.layout.bytes == whole.bytes
    };
    whole.images == 1 && whole.is_flat() && parts.iter().all(follows)
}
