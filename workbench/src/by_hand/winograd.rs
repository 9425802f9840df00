//! A 3×3 convolution in Winograd's domain, of planes of any size: the planner takes this way for
//! large ones only.

use cardinal_compiler::plan::kernel::{BlockMean, Kernel, Nest, Span};
use cardinal_compiler::plan::tile::{Around, BLOCK, MicroKernel, TileStep};
use cardinal_compiler::plan::winograd::points::transformed;
use cardinal_compiler::plan::winograd::{Grid, WinogradInput, WinogradOutput};

use super::{ByHand, input, output, plan};
use crate::random::{floats, to_bytes};
use crate::rig::WORKERS;

/// One block of `[h][w][16]`, multiples of the dilation, to one like it, with bias, the other operand
/// and relu; or to its mean, without the other operand.
pub fn winograd(outputs: usize, dilation: usize, [h, w]: [usize; 2], result: Result) -> ByHand {
    let grid = Grid::new(outputs, dilation, [h, w], 1);
    let (x, filters) = (floats(h * w * BLOCK, 1), floats(BLOCK * BLOCK * 9, 2));
    let is_mean = result == Result::Mean;
    let (bias, mut other) = (floats(BLOCK, 3), floats(h * w * BLOCK, 4));
    if is_mean {
        other.fill(0.0);
    }
    let mut expected = reference(dilation, [h, w], &x, [&filters, &bias, &other]);
    let elements = grid.elements();
    let once = Span { count: 1, stride: 0 };
    let (size, row) = ([h, w], w * BLOCK);
    let to = WinogradInput { grid, size, images: once, blocks: once, row };
    let mut back = products(&to);
    if is_mean {
        back.steps = vec![TileStep::Relu];
        back.totals = true;
        expected = means(&expected);
    }
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
        vec![f32::NAN; h * w * BLOCK],
        vec![f32::NAN; back.totals_image()],
    ];
    let rows = Span { count: to.grid.tiles[0], stride: BLOCK };
    let mut steps = vec![(Kernel::WinogradInput(to), vec![input(4), input(0), input(5)])];
    let back = Kernel::WinogradOutput(back);
    let mut arguments = vec![output(), input(4), input(1), input(6), input(2), input(3)];
    if is_mean {
        (arguments[0], arguments[5]) = (input(7), input(8));
        steps.push((back, arguments));
        steps.push((mean(rows, h * w), vec![output(), input(8)]));
    } else {
        steps.push((back, arguments));
    }
    let inputs = inputs.map(|values| to_bytes(&values)).to_vec();
    ByHand { plan: plan(steps), inputs, expected }
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// Every pixel.
    Pixels,
    /// The mean of each channel, from the sums of rows of tiles.
    Mean,
}

/// The mean over so many pixels, of sums.
fn mean(sums: Span, pixels: usize) -> Kernel {
    Kernel::BlockMean(BlockMean {
        kept: Nest { dims: Vec::new(), strides: vec![Vec::new(); 2] },
        reduced: Nest { dims: vec![sums.count], strides: vec![vec![sums.stride as isize]] },
        scale: 1.0 / pixels as f64,
    })
}

/// The mean of each channel.
fn means(pixels: &[f64]) -> Vec<f64> {
    let count = pixels.len() / BLOCK;
    let sum = |channel: usize| pixels.iter().skip(channel).step_by(BLOCK).sum::<f64>();
    (0..BLOCK).map(|channel| sum(channel) / count as f64).collect()
}

fn products(to: &WinogradInput) -> WinogradOutput {
    let (tiles, size) = (to.grid.tiles, to.size);
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
        totals: false,
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
