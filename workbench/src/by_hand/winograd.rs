//! A 3×3 convolution in Winograd's domain, of planes of any size: the planner takes this way for
//! large ones only.

use cardinal_compiler::plan::kernel::{Kernel, Span};
use cardinal_compiler::plan::tile::{Around, BLOCK, MicroKernel, TileStep};
use cardinal_compiler::plan::winograd::points::transformed;
use cardinal_compiler::plan::winograd::{Grid, WinogradInput, WinogradOutput};

use super::{ByHand, input, output, plan};
use crate::random::{floats, to_bytes};
use crate::rig::WORKERS;

/// One block of `[h][w][16]`, multiples of the dilation, with the border that tiles of `outputs`² need,
/// to one block without a border, with bias, the other operand and relu.
pub fn winograd(outputs: usize, dilation: usize, [h, w]: [usize; 2]) -> ByHand {
    let grid = Grid::new(outputs, dilation, [h, w], 1);
    let [top, left, bottom, right] = grid.border([h, w]);
    let (rows, width) = (top + h + bottom, left + w + right);
    let (inside, filters) = (floats(h * w * BLOCK, 1), floats(BLOCK * BLOCK * 9, 2));
    let (bias, other) = (floats(BLOCK, 3), floats(h * w * BLOCK, 4));
    let mut x = vec![0.0; rows * width * BLOCK];
    for (y, row) in inside.chunks_exact(w * BLOCK).enumerate() {
        x[((top + y) * width + left) * BLOCK..][..row.len()].copy_from_slice(row);
    }
    let expected = reference(dilation, [h, w], &inside, [&filters, &bias, &other]);
    let elements = grid.elements();
    let once = Span { count: 1, stride: 0 };
    let row = width * BLOCK;
    let to = WinogradInput { grid, images: once, blocks: once, row };
    let back = products(&to, [h, w]);
    let scratch = [to.scratch(), back.scratch()].map(|n| vec![f32::NAN; n * WORKERS]);
    let [to_scratch, back_scratch] = scratch;
    let inputs = [
        x,
        packed(outputs, &filters),
        bias,
        other,
        vec![f32::NAN; elements * to.element()],
        to_scratch,
        back_scratch,
    ];
    let steps = [
        (Kernel::WinogradInput(to), vec![input(4), input(0), input(5)]),
        (
            Kernel::WinogradOutput(back),
            vec![output(), input(4), input(1), input(6), input(2), input(3)],
        ),
    ];
    let inputs = inputs.map(|values| to_bytes(&values)).to_vec();
    ByHand { plan: plan(steps), inputs, expected }
}

fn products(to: &WinogradInput, size: [usize; 2]) -> WinogradOutput {
    let tiles = to.grid.tiles;
    let once = Around { count: 1, input: 0, output: 0, other: 0 };
    // As many rows at a time as make several items.
    let chunk = [tiles[0] / 2, 1, tiles[0]].into_iter().find(|rows| to.grid.allows(*rows));
    let chunk = chunk.expect("an item can have all rows");
    let row = size[1] * BLOCK;
    let micro = MicroKernel {
        pixels: 5.min(chunk * tiles[1]),
        blocks: 1,
        input_pixel: BLOCK,
        output_pixel: BLOCK,
        output_block: chunk * tiles[1] * BLOCK,
        reduce: vec![Span { count: 1, stride: 0 }, Span { count: BLOCK, stride: 1 }],
        ..MicroKernel::default()
    };
    WinogradOutput {
        grid: to.grid.clone(),
        images: once,
        groups: once,
        blocks: 1,
        chunk,
        size,
        element: to.element(),
        rows: [row, row],
        block: [0, 0],
        bias: true,
        steps: vec![TileStep::AddOther, TileStep::Relu],
        micro,
    }
}

/// `[made][read][3][3]` to `[element][read][made]`.
fn packed(outputs: usize, filters: &[f32]) -> Vec<f32> {
    let elements = (outputs + 2).pow(2);
    let mut all = vec![0.0; elements * BLOCK * BLOCK];
    for (i, filter) in filters.chunks_exact(9).enumerate() {
        let (made, read) = (i / BLOCK, i % BLOCK);
        for (element, value) in transformed(outputs, filter).into_iter().enumerate() {
            all[(element * BLOCK + read) * BLOCK + made] = value as f32;
        }
    }
    all
}

/// The definition, without a transform.
fn reference(
    dilation: usize,
    [h, w]: [usize; 2],
    x: &[f32],
    [filters, bias, other]: [&[f32]; 3],
) -> Vec<f64> {
    let mut all = Vec::with_capacity(x.len());
    for (i, residual) in other.iter().enumerate() {
        let (y, column, made) = (i / BLOCK / w, i / BLOCK % w, i % BLOCK);
        let mut sum = f64::from(bias[made]) + f64::from(*residual);
        for (dy, dx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
            // The window begins a dilation before.
            let at = |to: usize, tap: usize| (to + tap * dilation).checked_sub(dilation);
            let (Some(y), Some(column)) = (at(y, dy), at(column, dx)) else { continue };
            if y >= h || column >= w {
                continue;
            }
            for read in 0..BLOCK {
                let weight = filters[(made * BLOCK + read) * 9 + dy * 3 + dx];
                sum += f64::from(weight) * f64::from(x[(y * w + column) * BLOCK + read]);
            }
        }
        all.push(sum.max(0.0));
    }
    all
}
