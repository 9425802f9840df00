//! A convolution as algorithms see it: extents and where operands lie, without a graph.

use super::blocked::{Blocked, for_groups};
use super::byte_scale::ByteScale;
use super::epilogue::Fused;
use super::layout::Layouts;
use super::stages::View;
use super::tiled::narrow_groups;
use crate::ir::{Conv, NodeId, Window};
use crate::machine::{BLOCK, Dots, Element, Factor, Machine};

/// Bytes whose products are added up by an instruction.
pub(crate) const WORD: usize = 4;

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
    /// What the input is stored as, as it is read: bytes, whose weights are bytes too, or f32.
    pub(crate) reads: Element,
    /// What the bytes of the residual operand stand for, where it is bytes.
    pub(crate) residual_bytes: Option<ByteScale>,
    /// How the sums are stored: as the result lies, or as f32 where it is bytes that are made of them in
    /// a step behind.
    pub(crate) made: Blocked,
    /// Whether sums begin with a bias.
    pub(crate) bias: bool,
    /// What is done to sums in registers.
    pub(crate) fused: Fused,
}

impl ConvProblem {
    /// The convolution of a node, with its groups as they are computed. `multiplies_bytes` says whether it
    /// takes its input as bytes, where that lies as bytes.
    pub(crate) fn of(
        graph: View<'_>,
        id: NodeId,
        conv: &Conv,
        machine: Machine,
        multiplies_bytes: bool,
        layouts: &Layouts,
    ) -> Option<ConvProblem> {
        let x = graph.operand(id, 0)?;
        let (groups, mut fused) = (conv.groups, Fused::of(&conv.epilogue));
        let channels = graph.ty(x).shape()[1] / groups.max(1);
        let flat = |x: Option<NodeId>| x.and_then(|x| layouts.get(&x)).is_none_or(Blocked::is_flat);
        let residual = fused.residual.and_then(|slot| graph.operand(id, slot));
        let residual_bytes = residual.and_then(|x| layouts.get(&x)?.bytes);
        let mut made = *layouts.get(&id)?;
        let narrow = narrow_groups(&graph, id, conv);
        let source = |read| {
            let groups = tile_groups(groups, narrow, &made);
            let fits = |layout: &&Blocked| serves(layout, groups, narrow) && layout.bytes == read;
            let copied = || for_groups(graph.ty(x), apart(groups, narrow), [0; 4]).stored(read);
            layouts.get(&x).filter(fits).copied().unwrap_or_else(copied)
        };
        let read = layouts.get(&x).and_then(|layout| layout.bytes);
        let keeps_pairs = || {
            let of_group = graph.operand(id, 1).map_or(0, |weight| graph.ty(weight).shape()[1]);
            machine.dots != Some(Dots::Pairs) || keeps_pairs(&source(read), of_group)
        };
        let read = read.filter(|_| multiplies_bytes && keeps_pairs());
        let source = source(read);
        if made.bytes.is_some() {
            // Kernels of bytes round their sums, as the last step of the epilogue would.
            match read {
                Some(_) if fused.left == 1 => fused.left = 0,
                _ => made = made.with_halo([0; 4]).stored(None),
            }
        }
        let row_major = !layouts.contains_key(&x) && channels < BLOCK && narrow.is_none();
        Some(ConvProblem {
            machine,
            groups,
            narrow,
            window: conv.window,
            channels,
            source: (!row_major).then_some(source),
            reads_flat: flat(Some(x)),
            residual_flat: flat(residual),
            reads: if read.is_some() { Element::U8 } else { Element::F32 },
            residual_bytes: residual_bytes.filter(|_| read.is_some()),
            made,
            bias: graph.operand(id, 2).is_some(),
            fused,
        })
    }

    /// What tiles of the definition multiply, and how.
    pub(crate) fn factor(&self) -> Factor {
        match (self.reads, self.machine.dots) {
            (Element::Bf16, _) => Factor::Bf16,
            (reads, Some(dots)) => Factor::of(reads, dots),
            (_, None) => Factor::F32,
        }
    }

    /// The same convolution of a copy of its input in bfloat16, where the machine multiplies these, and pairs of them
    /// are found: of channels of a group, or of neighbours in a row where the input is read row-major.
    pub(crate) fn in_bfloats(&self) -> Option<ConvProblem> {
        let pairs = match self.source {
            Some(_) => self.narrow != Some(1),
            None => {
                self.groups == 1 && is_even(self.window.stride[1]) && self.window.dilation[1] == 1
            }
        };
        let can = self.machine.bfloats && self.reads == Element::F32 && pairs;
        // Whatever makes the value may do so for other images together.
        let source = self.source.map(|Blocked { segments, channels, size, halo, .. }| {
            let source = Blocked::new(self.made.images, segments, channels, size, halo);
            Blocked { element: Element::Bf16, ..source }
        });
        can.then(|| ConvProblem { reads: Element::Bf16, source, ..self.clone() })
    }

    /// What the bytes of the input stand for, where they are multiplied.
    pub(crate) fn read_bytes(&self) -> Option<ByteScale> {
        self.source.and_then(|source| source.bytes)
    }

    /// Groups as tiles see them: narrow ones are computed a block at a time.
    pub(crate) fn tile_groups(&self) -> usize {
        tile_groups(self.groups, self.narrow, &self.made)
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

    /// What a sum runs over as tiles contract it: elements, or words of four bytes.
    pub(crate) fn words(&self) -> usize {
        match self.reads {
            Element::F32 => self.depth(),
            Element::U8 | Element::I16 | Element::Bf16 if self.is_row_major() => {
                let [rows, _] = self.window.kernel;
                self.channels * rows * self.row_words()
            }
            Element::U8 | Element::I16 | Element::Bf16 => self.read_words() * self.taps(),
        }
    }

    /// Whether the input is read row-major.
    pub(crate) fn is_row_major(&self) -> bool {
        self.source.is_none() && self.narrow.is_none()
    }

    /// Words of four bytes that a row of the window has of an input that is read row-major; the last may be more than
    /// the window.
    pub(crate) fn row_words(&self) -> usize {
        self.window.kernel[1].div_ceil(self.reads.of_word())
    }

    /// Words of four bytes that a pixel of the input has. Where a block has all channels, those that are
    /// made up are left out.
    pub(crate) fn read_words(&self) -> usize {
        let word = self.reads.of_word();
        if let Some(narrow) = self.narrow {
            return narrow.div_ceil(word);
        }
        let blocks = self.read() / BLOCK;
        if blocks == 1 { self.channels.div_ceil(word) } else { blocks * BLOCK / word }
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

fn tile_groups(groups: usize, narrow: Option<usize>, made: &Blocked) -> usize {
    if narrow.is_some() { made.blocks() } else { groups }
}

/// Whether so many groups, as tiles see them, can be read from a layout: those that are parts of a block find
/// their channels where they are in the model.
pub(crate) fn serves(layout: &Blocked, groups: usize, narrow: Option<usize>) -> bool {
    match narrow {
        Some(_) => layout.segments == 1 || layout.is_full(),
        None => layout.serves(groups),
    }
}

/// Groups that have to begin at blocks: none of those that are parts of one.
pub(crate) fn apart(groups: usize, narrow: Option<usize>) -> usize {
    if narrow.is_some() { 1 } else { groups }
}

/// Whether neighbouring channels of a group, of so many, are neighbours in words too: no segment begins between
/// them. A channel of its own has a word of its own.
fn keeps_pairs(source: &Blocked, of_group: usize) -> bool {
    of_group == 1 || source.channels == of_group || (is_even(of_group) && is_even(source.channels))
}

fn is_even(n: usize) -> bool {
    n.is_multiple_of(2)
}

/// How many rows of an image are one row of tiles, where nothing lies between them.
pub(crate) fn joined_rows([h, w]: [usize; 2]) -> usize {
    let fits = |m: &usize| h.is_multiple_of(*m) && m * w <= LONGEST_ROW;
    (1..=h).rev().find(fits).unwrap_or(1)
}
