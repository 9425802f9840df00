//! What a convolution costs by its definition.

use super::LONGEST_SUM;
use crate::kernels::conv::cost::Traffic;
use crate::kernels::conv::register_tile::RegisterTile;
use crate::machine::{BLOCK, F32_BYTES};
use crate::schedule::problem::ConvProblem;

/// Cycles of a copy of the input in bfloat16.
pub(super) fn copy(problem: &ConvProblem) -> f64 {
    // Of what is read row-major, about as many pixels as there are steps.
    let row_major = || {
        problem.made.images
            * problem.made.size.iter().product::<usize>()
            * problem.channels
            * problem.window.stride.iter().product::<usize>()
    };
    let elements = problem.source.map_or_else(row_major, |source| source.elements());
    elements.div_ceil(problem.machine.vectors.lanes()) as f64 * problem.machine.costs().rounded
}

/// Cycles of a convolution by its definition, with the best tiles, in the better order.
pub(in crate::kernels::conv) fn cycles(problem: &ConvProblem) -> f64 {
    let machine = problem.machine;
    // Narrow groups take as long as blocks that do not see each other.
    let (groups, blocks, depth) = (problem.tile_groups(), problem.blocks(), problem.words());
    let ([rows, columns], images) = (problem.rows(), problem.made.images);
    let rows = images * rows;
    let sum = depth.min(LONGEST_SUM);
    let ranked = RegisterTile::ranked(machine, problem.factor(), columns, blocks, sum);
    let Some((each, tile)) = ranked.first() else { return 0.0 };
    let number = |n: usize| n as f64;
    let weights = number(depth) * number(blocks * BLOCK * F32_BYTES);
    let pixel = number(problem.read() * problem.reads.bytes());
    let pixels = number(rows) * number(columns) * pixel;
    let compute = each * number(depth) * number(rows);
    let by_weights = Traffic::of(machine, weights, pixels, blocks.div_ceil(tile.blocks));
    let by_pixels = Traffic::of(machine, weights, weights, rows);
    let cycles = [by_weights, by_pixels].map(|mut traffic| {
        // Each row runs through weights, which the first-level cache does not hold.
        traffic.near = weights * number(rows.saturating_sub(1));
        traffic.beside(compute)
    });
    number(groups) * cycles[0].min(cycles[1])
}
