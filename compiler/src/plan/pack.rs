//! Repacks weights into the order in which kernels read them.

use super::kernel::CHANNEL_BLOCK;
use super::tile::BLOCK;
use super::winograd::transformed;

/// `[matrices][m][depth]` to `[matrices][m/8][depth][8]`, zeros beyond `m`.
///
/// A convolution's weight `[m, c/groups, kh, kw]` is `groups` matrices of `m/groups` rows; one row
/// is contiguous, so the contracted axes need no reordering.
pub(super) fn rows(weights: &[f32], matrices: usize, m: usize, depth: usize) -> Vec<f32> {
    let blocks = m.div_ceil(CHANNEL_BLOCK);
    let mut out = vec![0f32; matrices * blocks * depth * CHANNEL_BLOCK];
    let block = depth * CHANNEL_BLOCK;
    for (matrix, packed) in out.chunks_exact_mut((blocks * block).max(1)).enumerate() {
        for row in 0..m {
            let from = &weights[(matrix * m + row) * depth..][..depth];
            let to = &mut packed[row / CHANNEL_BLOCK * block + row % CHANNEL_BLOCK..];
            for (value, slot) in from.iter().zip(to.iter_mut().step_by(CHANNEL_BLOCK)) {
                *slot = *value;
            }
        }
    }
    out
}

/// `[matrices][depth][m]` to `[matrices][m/8][depth][8]`, zeros beyond `m`: the right-hand operand
/// of a matrix product.
pub(super) fn columns(weights: &[f32], matrices: usize, m: usize, depth: usize) -> Vec<f32> {
    let mut turned = vec![0f32; weights.len()];
    for (from, to) in
        weights.chunks_exact((m * depth).max(1)).zip(turned.chunks_exact_mut((m * depth).max(1)))
    {
        for k in 0..depth {
            for n in 0..m {
                to[n * depth + k] = from[k * m + n];
            }
        }
    }
    rows(&turned, matrices, m, depth)
}

/// How weights lie for a tile contraction.
pub(super) struct TileOrder {
    /// Groups of channels.
    pub(super) groups: usize,
    /// Segments of a group's output channels, each filled up to whole blocks.
    pub(super) out_segments: usize,
    /// The same of its input channels; `None` where these lie row-major.
    pub(super) in_segments: Option<usize>,
    /// Blocks of output channels of a tile.
    pub(super) tile: usize,
}

/// `[m, c, kh, kw]` to `[group][tile of blocks][c blocks][kh][kw][16][blocks][16]`, or for row-major
/// inputs `[group][tile of blocks][c][kh][kw][blocks][16]`; zeros where channels are made up.
pub(super) fn tiles(weights: &[f32], shape: [usize; 4], order: &TileOrder) -> Vec<f32> {
    let [m, c, kh, kw] = shape;
    let taps = kh * kw;
    let made = m / order.groups;
    let outputs = channels_of_blocks(made, order.out_segments);
    // Input channels in the order they are read, in steps: a tap comes between steps.
    let (inputs, step) = match order.in_segments {
        Some(segments) => (channels_of_blocks(c, segments), BLOCK),
        None => ((0..c).map(Some).collect(), 1),
    };
    let mut packed = Vec::with_capacity(order.groups * outputs.len() * inputs.len() * taps);
    for group in 0..order.groups {
        for tile in outputs.chunks(order.tile * BLOCK) {
            for read in inputs.chunks(step) {
                for tap in 0..taps {
                    for input in read {
                        packed.extend(tile.iter().map(|output| match (input, output) {
                            (Some(i), Some(o)) => {
                                weights[((group * made + o) * c + i) * taps + tap]
                            }
                            _ => 0.0,
                        }));
                    }
                }
            }
        }
    }
    packed
}

/// `[m, c, kh, kw]` with as many channels in each group on both sides to `[block][kh][kw][c][16]`.
pub(super) fn narrow(weights: &[f32], m: usize, c: usize) -> Vec<f32> {
    let taps = weights.len() / (m * c).max(1);
    let mut packed = Vec::with_capacity(weights.len());
    for block in 0..m / BLOCK {
        for tap in 0..taps {
            for channel in 0..c {
                let row = |lane: usize| (block * BLOCK + lane) * c + channel;
                packed.extend((0..BLOCK).map(|lane| weights[row(lane) * taps + tap]));
            }
        }
    }
    packed
}

/// `[m, c, 3, 3]` to `[group][tile of blocks][element][c blocks][16][blocks][16]` in Winograd's
/// transformed domain.
pub(super) fn winograd(
    weights: &[f32],
    [m, c, ..]: [usize; 4],
    order: &TileOrder,
    outputs: usize,
) -> Vec<f32> {
    let elements = (outputs + 2) * (outputs + 2);
    let filters: Vec<f32> = weights
        .chunks_exact(9)
        .flat_map(|filter| transformed(outputs, filter))
        .map(|x| x as f32)
        .collect();
    let made = m / order.groups;
    let written = channels_of_blocks(made, order.out_segments);
    let read = channels_of_blocks(c, order.in_segments.unwrap_or(1));
    let mut packed = Vec::with_capacity(order.groups * written.len() * read.len() * elements);
    for group in 0..order.groups {
        for tile in written.chunks(order.tile * BLOCK) {
            for element in 0..elements {
                for input in &read {
                    packed.extend(tile.iter().map(|output| match (input, output) {
                        (Some(i), Some(o)) => {
                            filters[((group * made + o) * c + i) * elements + element]
                        }
                        _ => 0.0,
                    }));
                }
            }
        }
    }
    packed
}

/// The channel in each place of a run of segments that are filled up to whole blocks.
fn channels_of_blocks(channels: usize, segments: usize) -> Vec<Option<usize>> {
    let length = channels / segments.max(1);
    let places = length.next_multiple_of(BLOCK);
    (0..segments * places)
        .map(|at| (at % places < length).then_some(at / places * length + at % places))
        .collect()
}

/// A vector of equal segments, each filled up with zeros to whole blocks.
pub(super) fn filled(values: &[f32], segments: usize) -> Vec<f32> {
    let order = channels_of_blocks(values.len(), segments);
    order.into_iter().map(|at| at.map_or(0.0, |at| values[at])).collect()
}

/// A matrix with rows so wide, in equal segments of rows, each filled up with rows of zeros.
pub(super) fn filled_rows(values: &[f32], segments: usize, width: usize) -> Vec<f32> {
    let order = channels_of_blocks(values.len() / width.max(1), segments);
    let mut all = Vec::with_capacity(order.len() * width);
    for row in order {
        match row {
            Some(row) => all.extend(&values[row * width..][..width]),
            None => all.extend(std::iter::repeat_n(0.0, width)),
        }
    }
    all
}
