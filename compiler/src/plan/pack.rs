//! Repacks weights into the order in which kernels read them.

use super::kernel::CHANNEL_BLOCK;

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
