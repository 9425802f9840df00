//! Values in blocks: where they are.

use super::Lowering;
use crate::error::{Error, Result};
use crate::ir::NodeId;
use crate::machine::BLOCK;
use crate::plan::Place;
use crate::schedule::blocked::Blocked;

/// A value in blocks: where its first pixel inside the border is.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct InBlocks {
    pub(in crate::kernels) at: Place,
    pub(in crate::kernels) layout: Blocked,
}

/// Sums of the rows of a value in blocks, `[image][block][row][16]`, that were made along with it.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct Totals {
    pub(in crate::kernels) place: Place,
    pub(in crate::kernels) of: Place,
    /// Rows that each plane was summed in.
    pub(in crate::kernels) rows: usize,
}

impl InBlocks {
    /// The place so many elements further.
    pub(in crate::kernels) fn moved(self, elements: usize) -> Place {
        self.at.further(self.layout.bytes_of(elements))
    }

    /// The place so many elements before.
    pub(in crate::kernels) fn back(self, elements: usize) -> Place {
        Place { offset: self.at.offset - self.layout.bytes_of(elements), ..self.at }
    }
}

impl Lowering<'_, '_> {
    /// A buffer for a copy in blocks.
    pub(in crate::kernels) fn make_blocked(&mut self, layout: Blocked) -> InBlocks {
        let buffer = self.scratch(layout.bytes_of(layout.elements()));
        InBlocks { at: buffer.further(layout.bytes_of(layout.origin())), layout }
    }

    /// A place for a new value in blocks: a part of a concat or of what the stage passes on, or a buffer of its own.
    pub(in crate::kernels) fn new_blocked(&mut self, id: NodeId, layout: Blocked) -> InBlocks {
        let begun = self.begun_concat(id, layout);
        if let Some(place) = begun.or_else(|| self.place_in_concat(id, layout)) {
            return place;
        }
        let buffer = self.value_buffer(id, layout.bytes_of(layout.elements()));
        InBlocks { at: buffer.further(layout.bytes_of(layout.origin())), layout }
    }

    /// The value as it lies in blocks, of bytes or of f32, if it does and has no row-major copy, and no
    /// channel is made up.
    pub(in crate::kernels) fn as_made_in_blocks(&self, x: NodeId) -> Option<InBlocks> {
        let made = self.blocked.get(&x).filter(|_| !self.places.contains_key(&x))?;
        made.iter().find(|value| value.layout.is_full()).copied()
    }

    /// Whole blocks of channels are a view.
    pub(in crate::kernels) fn blocked_slice(&mut self, id: NodeId, first: usize) -> Result<()> {
        let layout = self.layout(id)?;
        let x = self.operand(id, 0)?;
        let whole = self.blocked.get(&x).and_then(|all| all.first().copied());
        let whole = whole.ok_or_else(|| Error::internal("a slice of a value not in blocks"))?;
        let view = InBlocks { at: whole.moved(first / BLOCK * layout.block()), layout };
        self.blocked.insert(id, vec![view]);
        Ok(())
    }

    pub(in crate::kernels) fn layout(&self, id: NodeId) -> Result<Blocked> {
        let layout = self.schedule.layout(id);
        layout.ok_or_else(|| Error::internal("a value in blocks has no layout"))
    }
}
