//! A convolution as algorithms see it: extents and where operands lie, without a graph.

use super::blocked::{Blocked, for_groups};
use super::epilogue::Fused;
use super::layout::{Layouts, narrow_groups};
use super::stages::View;
use crate::ir::{Conv, NodeId, Window};
use crate::machine::{BLOCK, Element, Machine};

/// Pixels that a row of tiles has at most, where rows can be joined.
const LONGEST_ROW: usize = 256;

/// Everything that the cost of a convolution in blocks depends on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConvProblem {
    /// The machine.
    pub(crate) machine: Machine,
    /// Groups of channels, as they are computed.
    pub(crate) groups: usize,
    /// Channels of a group that is a part of a block.
    pub(crate) narrow: Option<usize>,
    /// The window.
    pub(crate) window: Window,
    /// Input channels of a group in the model.
    pub(crate) channels: usize,
    /// How the input lies in blocks, as its maker or a copy has it; `None` for one that is read
    /// row-major, as it has fewer channels than a block.
    pub(crate) source: Option<Blocked>,
    /// Whether the input lies without a border, or is brought into such a layout.
    pub(crate) reads_flat: bool,
    /// Whether the residual operand does, or there is none.
    pub(crate) residual_flat: bool,
    /// How the result lies.
    pub(crate) made: Blocked,
    /// Whether sums begin with a bias.
    pub(crate) bias: bool,
    /// What is done to sums in registers.
    pub(crate) fused: Fused,
}

impl ConvProblem {
    /// The convolution of a node, with its groups as they are computed.
    pub(crate) fn of(
        graph: View<'_>,
        id: NodeId,
        conv: &Conv,
        machine: Machine,
        layouts: &Layouts,
    ) -> Option<ConvProblem> {
        let x = graph.operand(id, 0)?;
        let (groups, fused) = (conv.groups, Fused::of(&conv.epilogue));
        let channels = graph.ty(x).shape()[1] / groups.max(1);
        let flat = |x: Option<NodeId>| x.and_then(|x| layouts.get(&x)).is_none_or(Blocked::is_flat);
        let residual = fused.residual.and_then(|slot| graph.operand(id, slot));
        let made = *layouts.get(&id)?;
        let fits = |layout: &&Blocked| layout.serves(groups) && layout.element == made.element;
        let made_so = layouts.get(&x).filter(fits).copied();
        let copied = || for_groups(graph.ty(x), groups, [0; 4]).of(made.element);
        let row_major = !layouts.contains_key(&x) && channels < BLOCK;
        Some(ConvProblem {
            machine,
            groups,
            narrow: narrow_groups(&graph, id, conv),
            window: conv.window,
            channels,
            source: (!row_major).then(|| made_so.unwrap_or_else(copied)),
            reads_flat: flat(Some(x)),
            residual_flat: flat(residual),
            made,
            bias: graph.operand(id, 2).is_some(),
            fused,
        })
    }

    /// What the input, the weights, the residual operand and the result are stored as. An input that is
    /// read row-major is f32, and so is everything else then.
    pub(crate) fn element(&self) -> Element {
        self.made.element
    }

    /// Groups as tiles see them: narrow ones are computed a block at a time.
    pub(crate) fn tile_groups(&self) -> usize {
        if self.narrow.is_some() { self.made.blocks() } else { self.groups }
    }

    /// Blocks of output channels of such a group.
    pub(crate) fn blocks(&self) -> usize {
        self.made.blocks() / self.tile_groups()
    }

    /// Elements of a window.
    pub(crate) fn taps(&self) -> usize {
        self.window.kernel.iter().product()
    }

    /// Input channels of such a group, with those that fill up blocks.
    pub(crate) fn read(&self) -> usize {
        match (self.narrow, self.source) {
            (Some(narrow), _) => narrow,
            (None, Some(source)) => source.blocks() / self.tile_groups() * BLOCK,
            (None, None) => self.channels,
        }
    }

    /// Elements that a sum runs over.
    pub(crate) fn depth(&self) -> usize {
        self.read() * self.taps()
    }

    /// Whether no side has a border, for a window of one pixel: then it need not know where image rows
    /// end.
    pub(crate) fn is_flat(&self) -> bool {
        self.window.is_point() && self.made.is_flat() && self.reads_flat && self.residual_flat
    }

    /// How many rows of an image are one row of tiles.
    pub(crate) fn joined_rows(&self) -> usize {
        if self.is_flat() { joined_rows(self.made.size) } else { 1 }
    }

    /// Rows of tiles of an image, and pixels of each.
    pub(crate) fn rows(&self) -> [usize; 2] {
        let ([h, w], joined) = (self.made.size, self.joined_rows());
        [h / joined, joined * w]
    }
}

/// How many rows of an image are one row of tiles, where nothing lies between them.
pub(crate) fn joined_rows([h, w]: [usize; 2]) -> usize {
    let fits = |m: &usize| h.is_multiple_of(*m) && m * w <= LONGEST_ROW;
    (1..=h).rev().find(fits).unwrap_or(1)
}
