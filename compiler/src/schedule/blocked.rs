//! How a value lies in blocks of 16 channels.

use super::byte_scale::ByteScale;
use crate::ir::{SplitAttention, TensorType};
use crate::machine::{BLOCK, Element};

/// `[n][segment][block][h][w][16]` with a border of what stands for 0 around each plane. A segment is a run of
/// channels that begins at a block of its own, because a group of a convolution or a split begins
/// there; channels that fill its last block up are zero. Strides are in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// Images.
    pub(crate) images: usize,
    /// Runs of channels.
    pub(crate) segments: usize,
    /// Channels of a run.
    pub(crate) channels: usize,
    /// Height and width.
    pub(crate) size: [usize; 2],
    /// Rows above, columns left, rows below, columns right.
    pub(crate) halo: [usize; 4],
    /// What it is made of.
    pub(crate) element: Element,
    /// What its elements stand for where they are bytes.
    pub(crate) bytes: Option<ByteScale>,
    /// Distance between images.
    pub(crate) image: usize,
}

impl Blocked {
    /// A layout of f32.
    pub(crate) fn new(
        images: usize,
        segments: usize,
        channels: usize,
        size: [usize; 2],
        halo: [usize; 4],
    ) -> Blocked {
        let (element, bytes) = (Element::F32, None);
        let mut layout =
            Blocked { images, segments, channels, size, halo, element, bytes, image: 0 };
        layout.image = layout.blocks() * layout.block();
        layout
    }

    /// The same channels of planes of another size.
    pub(crate) fn with_size(&self, size: [usize; 2]) -> Blocked {
        Blocked::new(self.images, self.segments, self.channels, size, self.halo).stored(self.bytes)
    }

    /// The same with another border.
    pub(crate) fn with_halo(&self, halo: [usize; 4]) -> Blocked {
        Blocked::new(self.images, self.segments, self.channels, self.size, halo).stored(self.bytes)
    }

    /// The same of bytes that stand for this, or of f32.
    pub(crate) fn stored(self, bytes: Option<ByteScale>) -> Blocked {
        let element = if bytes.is_some() { Element::U8 } else { Element::F32 };
        Blocked { element, bytes, ..self }
    }

    /// What stands for 0, as an element.
    pub(crate) fn zero(&self) -> f64 {
        self.bytes.map_or(0.0, |bytes| f64::from(bytes.zero()))
    }

    /// Blocks of a segment.
    pub(crate) fn segment_blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Blocks of an image.
    pub(crate) fn blocks(&self) -> usize {
        self.segments * self.segment_blocks()
    }

    /// Distance between rows.
    pub(crate) fn row(&self) -> usize {
        (self.size[1] + self.halo[1] + self.halo[3]) * BLOCK
    }

    /// Distance between blocks.
    pub(crate) fn block(&self) -> usize {
        (self.size[0] + self.halo[0] + self.halo[2]) * self.row()
    }

    /// Where the first pixel inside the border is.
    pub(crate) fn origin(&self) -> usize {
        self.halo[0] * self.row() + self.halo[1] * BLOCK
    }

    /// Elements in memory.
    pub(crate) fn elements(&self) -> usize {
        self.images * self.image
    }

    /// Bytes of so many elements.
    pub(crate) fn bytes_of(&self, elements: usize) -> usize {
        elements * self.element.bytes()
    }

    /// Whether there is no border.
    pub(crate) fn is_flat(&self) -> bool {
        self.halo == [0; 4]
    }

    /// Whether so many groups of channels begin at blocks.
    pub(crate) fn serves(&self, groups: usize) -> bool {
        let aligned = (self.segments * self.channels / groups).is_multiple_of(BLOCK);
        self.segments.is_multiple_of(groups) || (aligned && self.is_full()) || groups == 1
    }

    /// Whether channels begin at blocks where those of the other do.
    pub(crate) fn is_like(&self, other: &Blocked) -> bool {
        self.segments == other.segments || (self.is_full() && other.is_full())
    }

    /// Whether Split-Attention can read it: each split begins at a block. A single one of each group
    /// may begin anywhere, if no channel is made up, as nothing is summed over splits.
    pub(crate) fn is_of_splits(&self, op: &SplitAttention) -> bool {
        let splits = op.cardinality * op.radix;
        let aligned = (self.segments * self.channels / splits).is_multiple_of(BLOCK);
        self.segments == splits || (self.is_full() && (aligned || op.radix == 1))
    }

    /// Whether no channel is made up.
    pub(crate) fn is_full(&self) -> bool {
        self.channels.is_multiple_of(BLOCK)
    }
}

/// The layout that a value is brought into for a user whose groups of channels begin at blocks; of f32,
/// which all kernels take.
pub(crate) fn for_groups(ty: &TensorType, groups: usize, halo: [usize; 4]) -> Blocked {
    let shape = ty.shape();
    let aligned = (shape[1] / groups).is_multiple_of(BLOCK);
    let segments = if aligned { 1 } else { groups };
    Blocked::new(shape[0], segments, shape[1] / segments, [shape[2], shape[3]], halo)
}
