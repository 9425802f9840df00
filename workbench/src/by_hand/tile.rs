//! A tile contraction of any size: a 1×1 convolution of a row of pixels.

use cardinal_compiler::plan::kernel::{Kernel, Span};
use cardinal_compiler::plan::tile::{Around, BLOCK, MicroKernel, Tile, TileStep};

use super::{ByHand, input, output, plan};
use crate::random::{floats, to_bytes};

/// A row of `columns` pixels, `[2 blocks][pixel][16]`, to `blocks` blocks of the same layout, in
/// tiles of `micro`'s pixels and blocks, summed in `parts`; `micro` says too whether there is a bias
/// and what steps there are.
pub fn tile(micro: MicroKernel, parts: usize, [columns, blocks]: [usize; 2]) -> ByHand {
    const READ: usize = 2;
    let block = columns * BLOCK;
    let reduce = vec![Span { count: READ, stride: block }, Span { count: BLOCK, stride: 1 }];
    let (input_pixel, output_pixel) = (BLOCK, BLOCK);
    let (output_block, other_block) = (block, block);
    let weights_block = READ * BLOCK * BLOCK;
    let next = if micro.passes[0] > 0 { micro.blocks * weights_block } else { 0 };
    let micro = MicroKernel {
        weights_block,
        input_pixel,
        output_pixel,
        output_block,
        other_block,
        reduce,
        next,
        ..micro
    };
    let once = Around { count: 1, input: 0, output: 0, other: 0 };
    let [x, w, b, r] =
        [READ * block, READ * BLOCK * blocks * BLOCK, blocks * BLOCK, blocks * block];
    let [x, w, b, r] = [floats(x, 1), floats(w, 2), floats(b, 3), floats(r, 4)];
    let expected = reference(&micro, columns, blocks, [&x, &w, &b, &r]);
    let mut args = vec![output(), input(0), input(1)];
    if micro.bias {
        args.push(input(2));
    }
    if micro.steps.contains(&TileStep::AddOther) {
        args.push(input(3));
    }
    let spec = Tile {
        images: once,
        groups: once,
        blocks,
        rows: once,
        columns,
        pixels_first: columns.is_multiple_of(2),
        parts,
        micro,
    };
    let inputs = [x, w, b, r].map(|values| to_bytes(&values)).to_vec();
    ByHand { plan: plan([(Kernel::Tile(spec), args)]), inputs, expected }
}

/// The definition, element by element.
fn reference(
    micro: &MicroKernel,
    columns: usize,
    blocks: usize,
    [x, w, b, r]: [&[f32]; 4],
) -> Vec<f64> {
    let depth = micro.depth();
    let mut all = Vec::with_capacity(blocks * columns * BLOCK);
    for block in 0..blocks {
        for pixel in 0..columns {
            for lane in 0..BLOCK {
                let mut sum = 0.0;
                for i in 0..depth {
                    let weight = (block * depth + i) * BLOCK + lane;
                    let from = (i / BLOCK * columns + pixel) * BLOCK + i % BLOCK;
                    sum += f64::from(w[weight]) * f64::from(x[from]);
                }
                if micro.bias {
                    sum += f64::from(b[block * BLOCK + lane]);
                }
                for step in &micro.steps {
                    sum = match step {
                        TileStep::AddOther => sum + f64::from(r[all.len()]),
                        TileStep::Relu => sum.max(0.0),
                    };
                }
                all.push(sum);
            }
        }
    }
    all
}
