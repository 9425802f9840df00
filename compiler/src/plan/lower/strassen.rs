//! Convolutions through Strassen's products of halves.

use super::Lowering;
use super::tiles::{Source, is_flat, source_of, tile_steps};
use super::weights::{Packing, TilePacking};
use crate::error::{Error, Result};
use crate::ir::{Conv, NodeId, Op, Window};
use crate::plan::cut::Cut;
use crate::plan::decide::Decision;
use crate::plan::kernel::{Kernel, Span};
use crate::plan::layout::Blocked;
use crate::plan::strassen::{self, Halves, NextSums, PRODUCTS, StrassenInput, StrassenOutput};
use crate::plan::tile::{Around, BLOCK, MicroKernel, Tile};
use crate::plan::{Base, Place};

/// Products of a part of a sum. Shorter than of other convolutions, since errors of a product come to be
/// those of several outputs.
const LONGEST_SUM: usize = 256;

/// Pixels of a piece of the sums of inputs, about.
const PIECE: usize = 256;

impl Lowering<'_, '_> {
    /// A convolution of ungrouped channels, with tiles of this size, in this order, in rows of so many
    /// pixels.
    pub(super) fn strassen_conv(
        &mut self,
        id: NodeId,
        conv: &Conv,
        (cut, pixels_first, row): (Cut, bool, usize),
    ) -> Result<()> {
        let graph = self.graph;
        let layout = self.layout(id)?;
        let (x, w) = (self.operand(id, 0)?, self.operand(id, 1)?);
        // Sums are of pixels that lie together.
        let (window, source) = match conv.window.is_sample() {
            true => {
                let from = self.in_blocks(x, 1, [0; 4])?;
                let read = self.sampled(from, conv.window.stride, layout.size);
                (Window::POINT, source_of(read, &Window::POINT, 1, None))
            }
            false => (conv.window, self.source(x, conv, 1, None)?),
        };
        let (steps, done, other) = tile_steps(&conv.epilogue);
        let other = match other {
            Some(slot) => Some(self.in_blocks_like(self.operand(id, slot)?, &layout)?),
            None => None,
        };
        let [height, width] = layout.size;
        let flat = is_flat(&source, &layout, other.as_ref(), &window);
        if !flat && !height.is_multiple_of(2) {
            // What it reads was copied for another user, with a border.
            return self.direct_conv(id, conv, cut, pixels_first);
        }
        let input = halves_of(&source, &layout, &window, flat)?;
        let ready = self.sums.get(&x).filter(|ready| ready.of == source.at && ready.input == input);
        let sums = match ready {
            Some(ready) => ready.place,
            None => {
                let sums = self.scratch(bytes_of(&input));
                self.step(Kernel::StrassenInput(input.clone()), vec![sums, source.at]);
                sums
            }
        };
        let sums_image = input.images.output;

        let mut reduce = source.reduce.clone();
        if let Some(blocks) = reduce.first_mut() {
            blocks.count /= 2;
        }
        if reduce.len() > 1 {
            reduce.retain(|span| span.count != 1);
        }
        let depth = reduce.iter().map(|span| span.count).product::<usize>() * BLOCK;
        let columns = if flat { row } else { width };
        let blocks = layout.blocks() / 2;
        let Cut { pixels, blocks: tile_blocks } = cut;
        let parts = Tile::parts_for(&reduce, LONGEST_SUM);
        let micro = MicroKernel {
            pixels,
            blocks: tile_blocks,
            weights_block: PRODUCTS * depth,
            input_pixel: source.pixel,
            output_pixel: BLOCK,
            output_block: columns * BLOCK,
            reduce,
            passes: [columns.div_ceil(pixels), 0],
            next: depth,
            ..MicroKernel::default()
        };
        let like = other.map(|o| o.layout);
        let rows = match flat {
            true => {
                let count = (height * width).div_ceil(2) / columns;
                let stride = columns * BLOCK;
                let other = like.map_or(0, |_| stride);
                Around { count, input: stride, output: stride, other }
            }
            false => Around {
                count: height / 2,
                input: source.row,
                output: layout.row(),
                other: like.map_or(0, |l| l.row()),
            },
        };
        let tile = Tile {
            images: Around {
                count: layout.images,
                input: source.image,
                output: layout.image,
                other: like.map_or(0, |l| l.image),
            },
            groups: Around { count: 1, input: 0, output: 0, other: 0 },
            blocks,
            rows,
            columns,
            pixels_first,
            parts,
            micro,
        };
        let packing = TilePacking {
            groups: 1,
            joined: self.groups.together(id),
            out_segments: layout.segments,
            in_segments: source.segments.or(Some(1)),
        };
        let weights = self.packed(w, Packing::Strassen(packing))?;
        let bias = match graph.operand(id, 2) {
            Some(bias) => Some(self.packed(bias, Packing::Blocks(layout.segments))?),
            None => None,
        };
        let out = self.new_blocked(id, layout);
        let next = match flat && done == conv.epilogue.steps.len() && self.is_halved(id) {
            true => {
                let read = source_of(out, &Window::POINT, 1, None);
                Some(halves_of(&read, &layout, &Window::POINT, true)?)
            }
            false => None,
        };
        let halves = |layout: &Blocked| Halves {
            pixels: half_of(layout, flat),
            channels: blocks * layout.block(),
        };
        let kernel = StrassenOutput {
            tile,
            block: [layout.block(), like.map_or(0, |l| l.block())],
            from: input.from,
            sums: input.to,
            sums_image,
            to: halves(&layout),
            other: like.as_ref().map_or(Halves { pixels: 0, channels: 0 }, halves),
            bias: bias.is_some(),
            steps,
            next: next.as_ref().map(|next| NextSums { to: next.to, image: next.images.output }),
        };
        self.worker_elements = self.worker_elements.max(kernel.scratch());
        let worker = Place { base: Base::Worker, offset: 0 };
        let mut args = vec![out.at, source.at, weights, sums, worker];
        args.extend(bias);
        args.extend(other.map(|o| o.at));
        if let Some(input) = next {
            let place = self.scratch(bytes_of(&input));
            self.sums.insert(id, ReadySums { place, of: out.at, input });
            args.push(place);
        }
        self.step(Kernel::StrassenOutput(kernel), args);
        self.apply_rest(id, out, &conv.epilogue, done)?;
        self.clear_border(out);
        self.blocked.insert(id, vec![out]);
        Ok(())
    }

    /// Whether a convolution of single pixels takes the value in halves of all its pixels.
    fn is_halved(&self, id: NodeId) -> bool {
        let halves = |(user, slot): (NodeId, usize)| {
            let Op::Conv(conv) = &self.graph.node(user).op else { return false };
            let flat = self.decisions.get(&user).is_some_and(Decision::is_flat);
            slot == 0 && flat && conv.window.is_point()
        };
        self.graph.uses(id).into_iter().any(halves)
    }
}

/// Sums of inputs that were made with the value.
#[derive(Debug, Clone)]
pub(super) struct ReadySums {
    place: Place,
    of: Place,
    /// The step that would make them.
    input: StrassenInput,
}

/// The step that makes the sums of inputs.
fn halves_of(
    source: &Source,
    layout: &Blocked,
    window: &Window,
    flat: bool,
) -> Result<StrassenInput> {
    let blocks = source.reduce.first().copied();
    let Span { count, stride: block } =
        blocks.ok_or_else(|| Error::internal("a convolution contracts nothing"))?;
    let pitch = source.row / window.stride[0].max(1);
    let read = strassen::half_read(window, flat, layout.size, pitch);
    let (count, channels) = (count / 2, count / 2 * block);
    let pixels = match flat {
        true => half_of(layout, flat),
        false => layout.size[0] / 2 * source.row,
    };
    // Sums lie as far apart as what they are of, for the same strides, two in a plane where they
    // fit in.
    let to = match 2 * read * BLOCK <= block {
        true => Halves { pixels: read * BLOCK, channels },
        false => Halves { pixels: channels, channels: 2 * channels },
    };
    let image = 2 * to.channels;
    let divides = |pieces: &usize| read.is_multiple_of(*pieces) && read / pieces <= PIECE;
    let pieces = (1..=read.div_ceil(PIECE) * 4).find(divides).unwrap_or(1);
    Ok(StrassenInput {
        images: Around { count: layout.images, input: source.image, output: image, other: 0 },
        blocks: Span { count, stride: block },
        pieces: [pieces, read / pieces],
        from: Halves { pixels, channels },
        to,
    })
}

/// Bytes of the sums of inputs.
fn bytes_of(input: &StrassenInput) -> usize {
    input.images.count * input.images.output * 4
}

/// Distance from one half of a value's pixels to the other. Those of an odd number share one.
fn half_of(layout: &Blocked, flat: bool) -> usize {
    let [h, w] = layout.size;
    match flat {
        true => h * w / 2 * BLOCK,
        false => h / 2 * layout.row(),
    }
}
