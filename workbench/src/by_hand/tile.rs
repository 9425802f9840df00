//! A blocked convolution of any size: a 1×1 convolution of a row of pixels.

use cardinal_compiler::kernels::conv::blocked::BlockedConv;
use cardinal_compiler::kernels::conv::micro_kernel::{MicroKernel, Prefetch};
use cardinal_compiler::machine::BLOCK;
use cardinal_compiler::plan::{Loop, Role};
use cardinal_compiler::schedule::epilogue::FusedStep;

use super::{ByHand, input, output, plan, step};
use crate::random::{floats, to_bytes};

/// A row of `columns` pixels, `[2 blocks][pixel][16]`, to `blocks` blocks of the same layout, in
/// tiles of `micro`'s pixels and blocks, summed in `k_splits` parts; `micro` says too whether there is a bias
/// and what steps there are.
pub fn tile(micro: MicroKernel, k_splits: usize, [columns, blocks]: [usize; 2]) -> ByHand {
    const READ: usize = 2;
    let block = columns * BLOCK;
    let reduce = vec![Loop::reading(READ, block), Loop::reading(BLOCK, 1)];
    let (input_pixel, output_pixel) = (BLOCK, BLOCK);
    let (output_block, residual_block) = (block, block);
    let weights_block = READ * BLOCK * BLOCK;
    let distance = if micro.prefetch.tiles > 0 { micro.blocks * weights_block } else { 0 };
    let prefetch = Prefetch { distance, ..micro.prefetch };
    let micro = MicroKernel {
        weights_block,
        input_pixel,
        output_pixel,
        output_block,
        residual_block,
        reduce,
        prefetch,
        ..micro
    };
    let [x, w, b, r] =
        [READ * block, READ * BLOCK * blocks * BLOCK, blocks * BLOCK, blocks * block];
    let [x, w, b, r] = [floats(x, 1), floats(w, 2), floats(b, 3), floats(r, 4)];
    let expected = reference(&micro, columns, blocks, [&x, &w, &b, &r]);
    let spec = BlockedConv {
        images: Loop::ONCE,
        groups: Loop::ONCE,
        blocks,
        rows: Loop::ONCE,
        columns,
        pixels_first: columns.is_multiple_of(2),
        k_splits,
        micro,
    };
    let roles = [Role::In, Role::Weights, Role::Bias, Role::Residual];
    let places = roles.into_iter().enumerate().map(|(i, role)| (role, input(i)));
    let places: Vec<_> = places.chain([(Role::Out, output())]).collect();
    let inputs = [x, w, b, r].map(|values| to_bytes(&values)).to_vec();
    ByHand { plan: plan(vec![step(spec, &places)]), inputs, expected }
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
                        FusedStep::AddResidual => sum + f64::from(r[all.len()]),
                        FusedStep::Relu => sum.max(0.0),
                    };
                }
                all.push(sum);
            }
        }
    }
    all
}
