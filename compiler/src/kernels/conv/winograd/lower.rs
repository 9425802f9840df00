//! Winograd's filtering as two steps: pixels to the transformed domain, and products with the way back.

use super::Way;
use super::grid::Grid;
use super::pack::{Transformed, TransformedBfloats, TransformedHalves};
use super::products::Item;
use super::spec::{WinogradInput, WinogradOutput};
use crate::error::{Error, Result};
use crate::ir::NodeId;
use crate::kernels::conv::micro_kernel::{MicroKernel, Prefetch, contracted};
use crate::kernels::conv::pack::ChannelPacking;
use crate::kernels::conv::{Extras, finish, result};
use crate::kernels::lowering::{InBlocks, Lowering, Totals};
use crate::machine::{BLOCK, Dots, Element, F32_BYTES, Factor};
use crate::plan::{Base, Loop, Place, Role};
use crate::schedule::ConvSchedule;

pub(super) fn lower(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    conv: &ConvSchedule,
    way: Way,
) -> Result<()> {
    let Item { together, chunk, tile } = way.item;
    if [together, chunk, tile.pixels, tile.blocks].contains(&0) {
        return Err(Error::internal("an item of Winograd's products is of nothing"));
    }
    let problem = &conv.problem;
    let layout = conv.problem.made;
    let (x, w) = (l.operand(id, 0)?, l.operand(id, 1)?);
    let dilation = problem.window.dilation[0];
    let grid = Grid::new(way.outputs, dilation, layout.size, way.item.together);
    let from = l.in_blocks(x, problem.read_bytes(), problem.groups, [0; 4])?;
    let residual = Extras::residual(l, id, conv, &layout, false)?;
    let input = WinogradInput {
        grid,
        size: layout.size,
        images: Loop::reading(from.layout.images, from.layout.image),
        blocks: Loop::reading(from.layout.blocks(), from.layout.block()),
        row: from.layout.row(),
        bytes: problem.read_bytes(),
        rounds: way.rounds,
    };
    let [_, made] = input.stored();
    let transformed = l.scratch(input.grid.elements() * input.element() * made.bytes());
    let scratch = Place::of(Base::Worker);
    let args = [(Role::Out, transformed), (Role::In, from.at), (Role::Scratch, scratch)];
    l.step(input.clone(), args)?;

    let packing = ChannelPacking {
        groups: problem.groups,
        joined: conv.joined,
        out_segments: layout.segments,
        in_segments: Some(from.layout.segments),
    };
    let outputs = way.outputs;
    let weights = match problem.read_bytes() {
        None if way.rounds => l.packed(w, TransformedBfloats { packing, outputs })?,
        None => l.packed(w, Transformed(packing, outputs))?,
        Some(read) => l.packed(w, TransformedHalves { packing, outputs, read })?,
    };
    let extras = Extras::with_bias(l, id, &layout, residual)?;
    let kernel = output(conv, way, input, from, &extras);
    let out = result(l, id, conv)?;
    let totals = kernel.totals.then(|| {
        let rows = kernel.grid.tiles[0];
        let place = l.scratch(layout.images * kernel.totals_image() * F32_BYTES);
        Totals { place, of: out.at, rows }
    });
    let args = [
        (Role::Out, out.at),
        (Role::In, transformed),
        (Role::Weights, weights),
        (Role::Scratch, scratch),
    ];
    let made = totals.map(|totals| (Role::Totals, totals.place));
    l.step(kernel, args.into_iter().chain(extras.arguments()).chain(made))?;
    finish(l, id, conv, out)?;
    if let Some(totals) = totals {
        l.put_beside(id, totals);
    }
    Ok(())
}

/// The products and the way back, of what was transformed like this.
fn output(
    conv: &ConvSchedule,
    way: Way,
    input: WinogradInput,
    from: InBlocks,
    extras: &Extras,
) -> WinogradOutput {
    let (problem, layout) = (&conv.problem, conv.problem.made);
    let (groups, blocks) = (problem.groups, problem.blocks());
    let [rows, columns] = input.grid.tiles;
    let read_blocks = from.layout.blocks() / groups;
    let plane = rows * columns * BLOCK;
    // Elements of a block lie together for all images. Words are what is read.
    let [_, element] = input.stored();
    let word = element.of_word();
    let stride = from.layout.images * plane / word;
    WinogradOutput {
        images: Loop {
            residual: extras.distance(|l| l.image),
            ..Loop::over(layout.images, plane / word, layout.image)
        },
        groups: Loop {
            residual: extras.distance(|l| blocks * l.block()),
            ..Loop::over(groups, read_blocks * stride, blocks * layout.block())
        },
        blocks,
        chunk: way.item.chunk,
        size: layout.size,
        element: input.element() / word,
        rows: [layout.row(), extras.distance(|l| l.row())],
        block: [layout.block(), extras.distance(|l| l.block())],
        bias: problem.bias,
        totals: conv.totals,
        steps: problem.fused.steps.clone(),
        made: layout.bytes,
        micro: MicroKernel {
            element,
            pairs: matches!(problem.factor(), Factor::U8(Dots::Pairs)),
            ..micro_kernel(way, &input.grid, element, [read_blocks, stride])
        },
        grid: input.grid,
    }
}

/// The register tile of the products of such elements, over so many blocks of input channels that lie so far
/// apart.
fn micro_kernel(
    way: Way,
    grid: &Grid,
    element: Element,
    [read_blocks, stride]: [usize; 2],
) -> MicroKernel {
    let (tile, words) = (way.item.tile, BLOCK / element.of_word());
    let reduce = contracted(vec![Loop::reading(read_blocks, stride)], words);
    let of = MicroKernel { element, reduce: reduce.clone(), ..MicroKernel::default() };
    let weights = of.lines() * BLOCK;
    let columns = way.item.together * way.item.chunk * grid.tiles[1];
    MicroKernel {
        pixels: tile.pixels,
        blocks: tile.blocks,
        weights_block: grid.elements() * weights,
        input_pixel: words,
        output_pixel: BLOCK,
        output_block: columns * BLOCK,
        reduce,
        prefetch: Prefetch { tiles: columns.div_ceil(tile.pixels), earlier: 0, distance: weights },
        ..MicroKernel::default()
    }
}
