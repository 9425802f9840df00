//! A 3×3 convolution in Winograd's domain, of planes of any size: the planner takes this way for
//! large ones only.

use cardinal_compiler::kernels::block_mean::BlockMean;
use cardinal_compiler::kernels::conv::micro_kernel::MicroKernel;
use cardinal_compiler::kernels::conv::winograd::points::Points;
use cardinal_compiler::kernels::conv::winograd::{Grid, WinogradInput, WinogradOutput};
use cardinal_compiler::machine::BLOCK;
use cardinal_compiler::plan::{KernelRef, Loop, Nest, Role};
use cardinal_compiler::schedule::epilogue::FusedStep;

use super::{ByHand, input, output, plan, step};
use crate::random::{floats, to_bytes};
use crate::rig::WORKERS;

/// One block of `[h][w][16]`, multiples of the dilation, to one like it, with bias, the residual
/// and relu; or to its mean, without the residual.
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
    let once = Loop::ONCE;
    let (size, row) = ([h, w], w * BLOCK);
    let to =
        WinogradInput { grid, size, images: once, blocks: once, row, bytes: None, rounds: false };
    let mut back = products(&to);
    if is_mean {
        back.steps = vec![FusedStep::Relu];
        back.totals = true;
        expected = means(&expected);
    }
    let scratch = [KernelRef::from(to.clone()), KernelRef::from(back.clone())];
    let scratch = scratch.map(|kernel| vec![f32::NAN; kernel.scratch() * WORKERS]);
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
    let rows = Loop::reading(to.grid.tiles[0], BLOCK);
    let places = [(Role::Out, input(4)), (Role::In, input(0)), (Role::Scratch, input(5))];
    let mut steps = vec![step(to, &places)];
    let mut places = vec![
        (Role::Out, output()),
        (Role::In, input(4)),
        (Role::Weights, input(1)),
        (Role::Scratch, input(6)),
        (Role::Bias, input(2)),
        (Role::Residual, input(3)),
        (Role::Totals, input(8)),
    ];
    if is_mean {
        places[0].1 = input(7);
    }
    steps.push(step(back, &places));
    if is_mean {
        let places = [(Role::Out, output()), (Role::In, input(8))];
        steps.push(step(mean(rows, h * w), &places));
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
fn mean(sums: Loop, pixels: usize) -> BlockMean {
    BlockMean {
        kept: Nest { dims: Vec::new(), strides: vec![Vec::new(); 2] },
        reduced: Nest { dims: vec![sums.count], strides: vec![vec![sums.input as isize]] },
        scale: 1.0 / pixels as f64,
        bytes: None,
    }
}

/// The mean of each channel.
fn means(pixels: &[f64]) -> Vec<f64> {
    let count = pixels.len() / BLOCK;
    let sum = |channel: usize| pixels.iter().skip(channel).step_by(BLOCK).sum::<f64>();
    (0..BLOCK).map(|channel| sum(channel) / count as f64).collect()
}

fn products(to: &WinogradInput) -> WinogradOutput {
    let (tiles, size) = (to.grid.tiles, to.size);
    let once = Loop::ONCE;
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
        reduce: vec![Loop::ONCE, Loop::reading(BLOCK, 1)],
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
        steps: vec![FusedStep::AddResidual, FusedStep::Relu],
        totals: false,
        made: None,
        micro,
    }
}

/// `[made][read][3][3]` to `[element][read][made]`.
fn packed(outputs: usize, filters: &[f32]) -> Vec<f32> {
    let elements = (outputs + 2).pow(2);
    let mut all = vec![0.0; elements * BLOCK * BLOCK];
    for (i, filter) in filters.chunks_exact(9).enumerate() {
        let (made, read) = (i / BLOCK, i % BLOCK);
        let transformed = Points::of_floats(outputs).transformed(filter);
        for (element, value) in transformed.into_iter().enumerate() {
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
