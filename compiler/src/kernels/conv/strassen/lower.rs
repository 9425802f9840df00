//! Strassen's products as two steps: sums of inputs, and products with their sums.

use super::pack::QuarterSums;
use super::spec::{Halves, NextSums, PRODUCTS, StrassenInput, StrassenOutput, half_read};
use super::{LONGEST_SUM, Way};
use crate::error::{Error, Result};
use crate::ir::{NodeId, Window};
use crate::kernels::conv::blocked::BlockedConv;
use crate::kernels::conv::micro_kernel::{MicroKernel, Prefetch};
use crate::kernels::conv::pack::ChannelPacking;
use crate::kernels::conv::source::Source;
use crate::kernels::conv::{Extras, finish, result};
use crate::kernels::lowering::{InBlocks, Lowering};
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::{Base, Loop, Place, Role};
use crate::schedule::ConvSchedule;
use crate::schedule::blocked::Blocked;

/// Pixels of a piece of the sums of inputs, about.
const PIECE: usize = 256;

pub(super) fn lower(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    conv: &ConvSchedule,
    way: Way,
) -> Result<()> {
    let flat = conv.flat;
    let layout = conv.problem.made;
    let (x, w) = (l.operand(id, 0)?, l.operand(id, 1)?);
    let (window, source) = read(l, x, conv, &layout)?;
    let residual = Extras::residual(l, id, conv, &layout, flat)?;
    let input = sums_of(&source, &layout, &window, flat)?;
    let ready = l.beside::<ReadySums>(x);
    let ready = ready.filter(|ready| ready.of == source.at && ready.input == input);
    let sums = match ready.map(|ready| ready.place) {
        Some(ready) => ready,
        None => {
            let sums = l.scratch(bytes_of(&input));
            l.step(input.clone(), [(Role::Out, sums), (Role::In, source.at)])?;
            sums
        }
    };
    let packing = ChannelPacking {
        groups: 1,
        joined: conv.joined,
        out_segments: layout.segments,
        in_segments: source.segments.or(Some(1)),
    };
    let weights = l.packed(w, QuarterSums(packing))?;
    let extras = Extras::with_bias(l, id, &layout, residual)?;
    let out = result(l, id, conv)?;
    let next = conv.prepares.then(|| next_sums(out)).transpose()?;
    let tile = product(conv, way, &source, &extras, &layout);
    let kernel = output(conv, tile, &input, &extras, next.as_ref());
    let ready = next.map(|input| {
        let place = l.scratch(bytes_of(&input));
        ReadySums { place, of: out.at, input }
    });
    let args = [
        (Role::Out, out.at),
        (Role::In, source.at),
        (Role::Weights, weights),
        (Role::Sums, sums),
        (Role::Scratch, Place::of(Base::Worker)),
    ];
    let made = ready.as_ref().map(|ready| (Role::NextSums, ready.place));
    l.step(kernel, args.into_iter().chain(extras.arguments()).chain(made))?;
    finish(l, id, conv, out)?;
    if let Some(ready) = ready {
        l.put_beside(id, ready);
    }
    Ok(())
}

/// What is read, and the window over that: sums are of pixels that lie together, so those of a window in
/// steps are copied.
fn read(
    l: &mut Lowering<'_, '_>,
    x: NodeId,
    conv: &ConvSchedule,
    layout: &Blocked,
) -> Result<(Window, Source)> {
    let window = conv.problem.window;
    if !window.is_sample() {
        return Ok((window, Source::of(l, x, &conv.problem, conv.flat)?));
    }
    let from = l.in_blocks(x, None, 1, [0; 4])?;
    let read = l.sampled(from, window.stride, layout.size)?;
    Ok((Window::POINT, Source::in_blocks(read, &Window::POINT, 1, None)))
}

/// The sums that the next convolution wants of this value, as one of all its pixels.
fn next_sums(out: InBlocks) -> Result<StrassenInput> {
    let read = Source::in_blocks(out, &Window::POINT, 1, None);
    sums_of(&read, &out.layout, &Window::POINT, true)
}

/// A product of quarters.
fn product(
    conv: &ConvSchedule,
    way: Way,
    source: &Source,
    extras: &Extras,
    layout: &Blocked,
) -> BlockedConv {
    let [height, width] = layout.size;
    let mut reduce = source.reduce.clone();
    if let Some(blocks) = reduce.first_mut() {
        blocks.count /= 2;
    }
    if reduce.len() > 1 {
        reduce.retain(|r| r.count != 1);
    }
    let depth = reduce.iter().map(|r| r.count).product::<usize>() * BLOCK;
    let columns = if conv.flat { way.row } else { width };
    let rows = match conv.flat {
        true => {
            let (count, stride) = ((height * width).div_ceil(2) / columns, columns * BLOCK);
            Loop { residual: extras.distance(|_| stride), ..Loop::over(count, stride, stride) }
        }
        false => Loop {
            residual: extras.distance(|l| l.row()),
            ..Loop::over(height / 2, source.row, layout.row())
        },
    };
    BlockedConv {
        images: Loop {
            residual: extras.distance(|l| l.image),
            ..Loop::over(layout.images, source.image, layout.image)
        },
        groups: Loop::ONCE,
        blocks: layout.blocks() / 2,
        rows,
        columns,
        pixels_first: way.pixels_first,
        k_splits: BlockedConv::k_splits_for(&reduce, LONGEST_SUM),
        micro: MicroKernel {
            pixels: way.tile.pixels,
            blocks: way.tile.blocks,
            weights_block: PRODUCTS * depth,
            input_pixel: source.pixel,
            output_pixel: BLOCK,
            output_block: columns * BLOCK,
            prefetch: Prefetch {
                tiles: columns.div_ceil(way.tile.pixels),
                earlier: 0,
                distance: depth,
            },
            reduce,
            ..MicroKernel::default()
        },
    }
}

/// All seven products, and their sums.
fn output(
    conv: &ConvSchedule,
    tile: BlockedConv,
    input: &StrassenInput,
    extras: &Extras,
    next: Option<&StrassenInput>,
) -> StrassenOutput {
    let (layout, blocks) = (conv.problem.made, tile.blocks);
    let halves = |layout: &Blocked| Halves {
        pixels: half_of(layout, conv.flat),
        channels: blocks * layout.block(),
    };
    StrassenOutput {
        block: [layout.block(), extras.distance(|l| l.block())],
        from: input.from,
        sums: input.to,
        sums_image: input.images.output,
        to: halves(&layout),
        residual: extras.residual.as_ref().map(|r| halves(&r.layout)).unwrap_or_default(),
        bias: conv.problem.bias,
        steps: conv.problem.fused.steps.clone(),
        next: next.map(|next| NextSums { to: next.to, image: next.images.output }),
        tile,
    }
}

/// Sums of inputs that were made with the value.
#[derive(Debug, Clone)]
struct ReadySums {
    place: Place,
    of: Place,
    /// The step that would make them.
    input: StrassenInput,
}

/// The step that makes the sums of inputs.
fn sums_of(
    source: &Source,
    layout: &Blocked,
    window: &Window,
    flat: bool,
) -> Result<StrassenInput> {
    let blocks = source.reduce.first().copied();
    let Loop { count, input: block, .. } =
        blocks.ok_or_else(|| Error::internal("a convolution contracts nothing"))?;
    let pitch = source.row / window.stride[0].max(1);
    let read = half_read(window, flat, layout.size, pitch);
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
        images: Loop::over(layout.images, source.image, image),
        blocks: Loop::reading(count, block),
        pieces: [pieces, read / pieces],
        from: Halves { pixels, channels },
        to,
    })
}

/// Bytes of the sums of inputs.
fn bytes_of(input: &StrassenInput) -> usize {
    input.images.count * input.images.output * F32_BYTES
}

/// Distance from one half of a value's pixels to the other. Those of an odd number share one.
fn half_of(layout: &Blocked, flat: bool) -> usize {
    let [h, w] = layout.size;
    match flat {
        true => h * w / 2 * BLOCK,
        false => h / 2 * layout.row(),
    }
}
