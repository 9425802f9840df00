//! What convolutions cost, in cycles of one core: estimates from extents alone. They decide between
//! algorithms and tiles where the caller does not.
//!
//! Constants are as measured on CPUs with AVX2 and with AVX-512 that start two multiply-adds and two
//! loads a cycle; other CPUs of these kinds differ by less than the ways that are compared.

use crate::machine::Vectors;

/// Cycles around a call of a micro-kernel.
pub(super) const CALL: f64 = 40.0;

/// Cycles of one more step, before its threads have met again.
pub(super) const STEP: f64 = 5e3;

/// Cycles of a tile of so many pixels and blocks for each contracted element, where sums stay in
/// registers for `sum` of them.
pub(super) fn tile(vectors: Vectors, pixels: usize, blocks: usize, sum: usize) -> f64 {
    // A multiply-add takes four cycles, of which two start in each; a line of weights comes from the
    // first or the second cache.
    const IN_FLIGHT: f64 = 4.0;
    const LINE: f64 = 1.5;
    // What every element costs besides; what every tile does, and every vector of its sums.
    const LOOP: f64 = 0.2;
    const TILE: f64 = 4.0;
    const SUM: f64 = 0.5;
    if pixels * blocks == 0 {
        return 0.0;
    }
    let [p, b] = [pixels, blocks].map(|n| n as f64);
    let row = b * vectors.per_block() as f64;
    let (products, loads, lines) = (p * row / 2.0, (p + row) / 2.0, LINE * b);
    // Each bounds the loop, and those that are close hinder each other.
    let bounds = [products, loads, lines, IN_FLIGHT].map(|n| n.powi(6)).into_iter().sum::<f64>();
    bounds.powf(1.0 / 6.0) + LOOP + (TILE + SUM * p * row) / sum.max(1) as f64
}

/// Bytes that come to a core while it computes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    /// Weights, from beyond the caches.
    pub(super) streamed: f64,
    /// What passes again and again, from beyond the second-level cache.
    pub(super) passed: f64,
    /// What passes again and again, from within it.
    pub(super) near: f64,
}

impl Traffic {
    /// Of weights that stay while `passing` bytes go by so often, the first time apart.
    pub(super) fn of(vectors: Vectors, weights: f64, passing: f64, times: usize) -> Traffic {
        let again =
            if passing > vectors.cached_passing() as f64 { times.saturating_sub(1) } else { 0 };
        Traffic { streamed: weights, passed: passing * again as f64, near: 0.0 }
    }

    /// Cycles of computing so long meanwhile: the shorter is hidden behind the longer, the less so the
    /// closer they are.
    pub(super) fn beside(&self, compute: f64) -> f64 {
        const STREAMED: f64 = 4.5;
        const PASSED: f64 = 16.0;
        const NEAR: f64 = 32.0;
        let memory = self.streamed / STREAMED + self.passed / PASSED + self.near / NEAR;
        (compute.powi(3) + memory.powi(3)).cbrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cycles for each element of tiles of pixels × blocks, in a 1×1 convolution of 256 channels, on a
    /// CPU of Intel's with AVX-512 (family 6, model 207).
    const AVX2: [([usize; 2], f64); 6] = [
        ([3, 1], 4.25),
        ([4, 1], 5.02),
        ([5, 1], 5.57),
        ([6, 1], 6.49),
        ([2, 2], 5.04),
        ([1, 3], 5.17),
    ];
    const AVX512: [([usize; 2], f64); 8] = [
        ([8, 1], 5.03),
        ([14, 1], 7.74),
        ([28, 1], 15.7),
        ([4, 2], 4.70),
        ([14, 2], 14.2),
        ([9, 3], 13.7),
        ([4, 4], 8.22),
        ([6, 4], 12.2),
    ];

    #[test]
    fn tiles_cost_what_was_measured() {
        for (vectors, measured) in [(Vectors::Avx2, &AVX2[..]), (Vectors::Avx512, &AVX512[..])] {
            for ([pixels, blocks], cycles) in measured {
                let estimate = tile(vectors, *pixels, *blocks, 256);
                let ratio = estimate / cycles;
                assert!((0.88..1.12).contains(&ratio), "{pixels}x{blocks}: {estimate} of {cycles}");
            }
        }
    }

    #[test]
    fn the_longer_hides_the_shorter() {
        let streamed = |bytes: f64| Traffic { streamed: bytes, ..Traffic::default() };
        assert!((streamed(4.5e6).beside(0.0) - 1e6).abs() < 1.0);
        assert!(streamed(4.5e6).beside(1e7) < 1.001e7);
        assert!(streamed(4.5e6).beside(1e6) > 1.2e6);
    }

    #[test]
    fn what_fits_passes_for_nothing() {
        let small = Traffic::of(Vectors::Avx2, 1e6, 1e5, 8);
        assert!(small.passed == 0.0);
        assert!(Traffic::of(Vectors::Avx2, 1e6, 2e6, 8).passed == 14e6);
        assert!(Traffic::of(Vectors::Avx2, 1e6, 2e6, 0).passed == 0.0);
    }
}
